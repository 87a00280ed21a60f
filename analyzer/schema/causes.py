"""Why a quantized file is worse than its float parent: the causes that an audit knows, and what it found of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .interval import Interval

TESTED, RULED_OUT, NOT_TESTABLE = "tested", "ruled_out", "not_testable"


@dataclass(frozen=True)
class CauseKind:
    """One cause that an audit knows.

    Attributes:
      meaning: What is wrong, in one sentence.
      counterfactual: What is mended, and nothing else, to measure it.
      remedy: What to do about it.
      breadth: How much a mend of it covers: 0 names one mistake, 1 a property of the file, 2 a whole source of error.
        Of causes whose mends do nearly the same, the narrowest is named first.
    """

    meaning: str
    counterfactual: str
    remedy: str
    breadth: int


CAUSES: Mapping[str, CauseKind] = {
    "not_the_parent": CauseKind(
        "The file was not made from this float model.",
        "All of the file's weights and biases replaced by the float model's.",
        "Audit the file with the float model that it was converted from.",
        0,
    ),
    "channel_order": CauseKind(
        "The file takes the channels of its input in another order than the float model.",
        "The file itself run on inputs whose channels are permuted, every order tried.",
        "Feed the file its own order, or convert again from the model with the right order.",
        0,
    ),
    "input_scaling": CauseKind(
        "The file takes input values of another range than the float model.",
        "The file itself run on inputs that are normalised in other common ways.",
        "Feed the file what it was made for, or convert again with the normalisation that the application uses.",
        0,
    ),
    "scale_corrupted": CauseKind(
        "The scale of a tensor contradicts the float model's values.",
        "The layer's weights or output put back on the scale that the float model gives.",
        "Convert again; if it comes back, report it to the converter's authors with the layer's name.",
        0,
    ),
    "bias_saturation": CauseKind(
        "Biases were too large for their integers and were cut off.",
        "The biases that lie at the end of int32 replaced by the float model's.",
        "Widen the layer's weight scales, or leave the layer in float.",
        0,
    ),
    "mixed_range_output": CauseKind(
        "One output tensor holds values of unlike ranges, such as boxes of 0..640 and scores of 0..1, on one scale.",
        "The parts of the output rounded on a scale of their own, as outputs apart would be.",
        "Return the parts as outputs of their own, or scale them to one range inside the model.",
        0,
    ),
    "calibration_unlike_evaluation": CauseKind(
        "The file was calibrated on inputs unlike those that it is used on.",
        "The ranges of all activations taken from the data of the audit, in the same bits.",
        "Calibrate again on samples that are prepared exactly as in use.",
        0,
    ),
    "too_few_samples": CauseKind(
        "The file was calibrated on too few samples: its ranges are what a handful of samples gives.",
        "The ranges of all activations taken from all of the audit's data, in the same bits.",
        "Calibrate again on 100 to 500 samples.",
        0,
    ),
    "per_tensor_weights": CauseKind(
        "Weights have one scale for the whole tensor, though their channels have unlike ranges.",
        "Those weights rounded anew with a scale for each channel, in the same bits.",
        "Convert with per-channel weights; where the target has none, equalize the channels first.",
        1,
    ),
    "relu6_clipping": CauseKind(
        "Outputs behind ReLU6 are cut off below what the float model gives.",
        "The outputs of ReLU6 rounded as in the file, and not clipped.",
        "Calibrate again with minimum and maximum instead of a clipping method.",
        1,
    ),
    "ranges_clipped": CauseKind(
        "Ranges of activations are narrower than the values that occur.",
        "The ranges that clip widened to the values that occur, in the same bits.",
        "Calibrate again with minimum and maximum, or on more samples.",
        1,
    ),
    "unused_range": CauseKind(
        "Ranges hold values that cannot occur there, such as negative ones behind a ReLU.",
        "Those ranges cut to what can occur, in the same bits.",
        "Convert with asymmetric activations.",
        1,
    ),
    "ranges_too_wide": CauseKind(
        "Ranges of activations are wider than the values that occur, so that steps are coarser than they need to be.",
        "The ranges that are too wide narrowed to the values that occur, in the same bits.",
        "Calibrate again on samples as in use, or with a method that leaves outliers out.",
        1,
    ),
    "add_scale_mismatch": CauseKind(
        "A sum has operands of unlike scales: the coarse one's step hides the fine one's values.",
        "The coarser operand of each such sum not rounded.",
        "Run the sum and what writes its coarser operand in 16 bits, or in float.",
        1,
    ),
    "depthwise_weights": CauseKind(
        "The weights of depthwise convolutions do not survive their bits.",
        "The weights of depthwise convolutions in float.",
        "Keep the worst depthwise layer in float or in 16-bit weights, or repair the weights (bitplan repair).",
        1,
    ),
    "channel_spread_after_bn_fold": CauseKind(
        "BatchNorm, folded into the weights, left channels of very unlike ranges on one scale.",
        "Weights of such layers with a scale for each channel, and their outputs not rounded.",
        "Equalize the channels across layers (bitplan repair --steps equalization).",
        2,
    ),
    "input_quantization": CauseKind(
        "The input loses too much when it is rounded and clipped.",
        "The input in float.",
        "Give the input its exact range, or 16 bits.",
        2,
    ),
    "output_rounding": CauseKind(
        "The output is rounded so coarsely that answers change or tie.",
        "The output, and what the error is measured at, in float.",
        "Leave the output in float or in 16 bits.",
        2,
    ),
    "kernel_difference": CauseKind(
        "The kernels that ran the file round unlike what its integers stand for.",
        "The file itself run by the reference kernels instead of XNNPACK.",
        "Judge the file with the kernels of the device.",
        2,
    ),
    "weight_rounding": CauseKind(
        "Weights do not survive their bits, in layers that are no depthwise convolutions.",
        "The weights of all these layers in float.",
        "More bits or float for the worst layer, or repair the weights (bitplan repair).",
        2,
    ),
    "activation_rounding": CauseKind(
        "Activations are rounded too coarsely for this network.",
        "No activation rounded.",
        "16-bit activations or float for the worst layers (bitplan plan).",
        2,
    ),
    "float_fallback": CauseKind(
        "Ops run in float although the file is quantized.",
        "None: an op in float adds no error; it costs time, and an integer target cannot run it.",
        "Look for the op in the converter's list of integer ops, and replace it.",
        2,
    ),
    "external_buffers": CauseKind(
        "Buffers lie behind the flatbuffer, where TFLite Micro reads garbage without an error.",
        "The file written anew with its buffers inside.",
        "Write the file anew with its buffers inside (bitplan writes no others).",
        2,
    ),
}
"""By name, narrow causes first; what comes earlier is named first where two are equally narrow and do the same."""


@dataclass(frozen=True)
class Cause:
    """What a counterfactual run found of one cause.

    Attributes:
      name: A key of `CAUSES`.
      layer: Label of the layer that was mended; of the worst one where several were; "" where none can be named.
      layers: How many layers or tensors were mended together.
      status: `tested` (it is a cause: mending it takes error away), `ruled_out` or `not_testable`.
      share_of_error: How much of the output error goes when this alone is mended: 1 is all of it, negative where the
        mend makes it worse. None where no run can tell.
      share_interval: Its 95 % interval over samples; None also where there is only one sample.
      samples: That the share stands on.
      accuracy_recovered: Points of accuracy (or of agreement with the float model where there are no labels) that
        mending this alone gives back, paired; None where no classes are scored, or it was not measured.
      accuracy_samples: Evaluation samples that `accuracy_recovered` stands on; 0 where it was not measured.
      accuracy_lost: What the file loses on the same samples as it is, in the same points.
      evidence: What was seen and measured, in words with numbers; why it could not be tested.
      remedy: What to do.
    """

    name: str
    layer: str
    status: str
    share_of_error: float | None
    evidence: str
    remedy: str
    layers: int = 0
    share_interval: Interval | None = None
    samples: int = 0
    accuracy_recovered: Interval | None = None
    accuracy_samples: int = 0
    accuracy_lost: float | None = None


@dataclass(frozen=True)
class CauseTrial:
    """All causes of one file, tried.

    Attributes:
      found: Those that were tested and take error away, worst first.
      others: Those that were ruled out, or could not be tested.
      nmse: Output error of the file itself on the studied samples, as the causes are measured: an output that mixes
        ranges counts column by column, each against its own variance.
      simulated_nmse: The same of the float network with all of the file's numbers put in, which mends are run on.
        Both are None where nothing could be tried.
      samples: How many were studied.
    """

    found: tuple[Cause, ...]
    others: tuple[Cause, ...]
    nmse: float | None
    simulated_nmse: float | None
    samples: int

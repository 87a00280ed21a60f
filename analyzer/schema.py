"""The vocabulary that every stage shares: frozen data classes, no TensorFlow, no I/O.

Units are in the names: `_bytes`, `_bits`, `_db`, `_ms`. MB is 10^6 bytes, KiB is 1024. "nmse" is the mean squared error
divided by the variance of the float output, averaged over the compared outputs: 0 is perfect, 1 is as bad as answering
with the mean.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1


# --- schemes ---------------------------------------------------------------------------------------------------------


class Format(enum.StrEnum):
    """How an activation tensor lies in memory."""

    INT8 = "int8"
    INT16 = "int16"
    FLOAT = "float"

    @property
    def bits(self) -> int:
        return {Format.INT8: 8, Format.INT16: 16, Format.FLOAT: 32}[self]


@dataclass(frozen=True)
class Scheme:
    """A precision for one op.

    Attributes:
      name: As people write it: `w8a16` is 8-bit weights and 16-bit activations.
      weight_bits: 4, 8, 16 (as an int8 pair, hi + lo) or 32 (float).
      format: Format in which the op reads and writes activations.
    """

    name: str
    weight_bits: int
    format: Format

    @property
    def is_float(self) -> bool:
        return self.format is Format.FLOAT

    @property
    def is_split(self) -> bool:
        """Whether the weights are kept as two int8 tensors, hi + lo."""
        return self.weight_bits == 16

    @property
    def weight_variant(self) -> str:
        """The key under which this scheme's weight error is measured; `""` for float.

        The split has two: the partial sums are rounded to the activation format before they are added.
        """
        if self.is_float:
            return ""
        return f"w16a{self.format.bits}" if self.is_split else f"w{self.weight_bits}"


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("w4a8", 4, Format.INT8),
        Scheme("w4a16", 4, Format.INT16),
        Scheme("w8a8", 8, Format.INT8),
        Scheme("w8a16", 8, Format.INT16),
        Scheme("w16a8", 16, Format.INT8),
        Scheme("w16a16", 16, Format.INT16),
        Scheme("float", 32, Format.FLOAT),
    )
}
DEFAULT_ALLOWED: tuple[str, ...] = ("w4a8", "w8a8", "w8a16", "w16a8", "w16a16", "float")
ACTIVATION_VARIANTS: Mapping[str, Format] = {"a8": Format.INT8, "a16": Format.INT16}


# --- the network -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tensor:
    """One tensor of the flatbuffer.

    Attributes:
      index: Position in the subgraph's tensor list.
      name: Unique within the model; a label, never a key.
      shape: -1 for a dynamic dimension.
      dtype: numpy's name, e.g. `float32`, `int32`.
      buffer: Index of the constant buffer, None for an activation. Tensors may share one.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    buffer: int | None = None

    @property
    def is_constant(self) -> bool:
        return self.buffer is not None

    @property
    def elements(self) -> int:
        """Number of elements of one sample (dynamic dimensions count as 1)."""
        return math.prod(abs(size) for size in self.shape)


@dataclass(frozen=True)
class Op:
    """One operation, with what a planner needs to know of it.

    Attributes:
      index: Position in execution order.
      key: Position and structure, e.g. `3:DEPTHWISE_CONV_2D:1x3x3x32`; equal for a retrained model of equal structure.
      opcode: TFLite's name, e.g. `CONV_2D`.
      layer: Label for people: the Keras layer's name where one can be parsed, else the output tensor's name.
      inputs, outputs: Tensor indices; -1 is an absent optional input.
      weights: Tensor index of the weights of a conv, depthwise, fully connected or transposed conv op, else None.
      bias: Tensor index of the bias, else None.
      constants: Tensor indices of float constant operands that are neither (second inputs of ADD, MUL ...).
      channel_axis: Axis of `weights` along which int8 weights have a scale each, else None.
      kinds: Names from `KINDS`, most telling first.
      macs: Multiply-accumulates for one sample.
      schemes: Names of the schemes that exist for this op; always holds `float`.
      refusal: Why nothing but float exists, else "".
    """

    index: int
    key: str
    opcode: str
    layer: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: int | None = None
    bias: int | None = None
    constants: tuple[int, ...] = ()
    channel_axis: int | None = None
    activation: str = "NONE"
    kinds: tuple[str, ...] = ()
    macs: int = 0
    schemes: tuple[str, ...] = ("float",)
    refusal: str = ""

    def variant(self, scheme: Scheme) -> str:
        """The variant under which the error of this op's constants is measured; "" where it has none, and in float.

        Constant operands without weights are rounded as activations are: `c8` or `c16`.
        """
        if scheme.is_float:
            return ""
        if self.weights is not None:
            return scheme.weight_variant
        return f"c{scheme.format.bits}" if self.constants else ""


KINDS: Mapping[str, str] = {
    "input": "the model's input itself",
    "depthwise": "depthwise convolution: few weights per channel, each channel on its own",
    "pointwise": "1x1 convolution",
    "convolution": "convolution larger than 1x1",
    "fully connected": "dense layer",
    "residual add": "sum of two activations with unlike scales",
    "relu6": "ReLU6 fused into the op",
    "batchnorm folded": "BatchNorm folded into the weights: unlike ranges per channel",
    "first": "first op with weights",
    "last": "last op with weights",
    "pooling": "pooling or mean",
    "activation": "activation function of its own",
    "elementwise": "element by element",
    "movement": "moves values, computes nothing",
    "other": "anything else",
}


@dataclass(frozen=True)
class Graph:
    """A float network as data. Ops are in execution order.

    Attributes:
      inputs, outputs: Tensor indices.
      compared: For each output, the tensor at which errors are measured: the input of a closing SOFTMAX or LOGISTIC,
        else the output itself.
      is_classifier: One output of shape [1, classes], behind SOFTMAX or told to score classes by labels.
      digest: SHA-256 of the float flatbuffer.
      file_bytes: Its size.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    compared: tuple[int, ...]
    is_classifier: bool
    digest: str
    file_bytes: int

    def producer(self, tensor: int) -> int | None:
        """Index of the op that writes `tensor`; None for inputs and constants."""
        return next((op.index for op in self.ops if tensor in op.outputs), None)

    def consumers(self, tensor: int) -> tuple[int, ...]:
        """Indices of the ops that read `tensor`, in execution order."""
        return tuple(op.index for op in self.ops if tensor in op.inputs)

    def activations_in(self, op: Op) -> tuple[int, ...]:
        """Tensor indices of the float activations that `op` reads, each once, in order."""
        seen = dict.fromkeys(t for t in op.inputs if t >= 0)
        return tuple(t for t in seen if not self.tensors[t].is_constant and self.tensors[t].dtype == "float32")

    def activations_out(self, op: Op) -> tuple[int, ...]:
        """Tensor indices of the float activations that `op` writes."""
        return tuple(t for t in op.outputs if self.tensors[t].dtype == "float32")


# --- calibration -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of one width, a power of two, so that histograms merge exactly by joining pairs.

    Attributes:
      start: Index of the first bin: it covers `[start * width, (start + 1) * width)`.
      width: Bin width, `2.0 ** exponent`.
      counts: At most 512.
    """

    start: int
    width: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Range:
    """What calibration saw in one activation tensor.

    Attributes:
      minimum, maximum: True extremes over all samples (or the FAKE_QUANT op's own range).
      declared: Whether the range comes from a FAKE_QUANT op of a QAT model instead of the data.
    """

    tensor: int
    minimum: float
    maximum: float
    histogram: Histogram
    mean: float
    variance: float
    declared: bool = False


@dataclass(frozen=True)
class Calibration:
    """Ranges of all float activations, by tensor index.

    Attributes:
      data_digest: SHA-256 over the samples in content order, so that it does not depend on their order.
      partial_sums: By op index, the extremes of `op(x, hi, bias)` and `op(x, lo, 0)` before the fused activation, for
        ops whose weights can be split.
      random: Whether the data was made up because none was given.
    """

    ranges: Mapping[int, Range]
    partial_sums: Mapping[int, tuple[tuple[float, float], tuple[float, float]]]
    samples: int
    data_digest: str
    random: bool = False


# --- sensitivity -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutputError:
    """Error at the network's output against the float network, over `samples` samples.

    Attributes:
      nmse: See the module's docstring.
      standard_error: Of `nmse`, over samples.
      sqnr_db: Signal-to-quantization-noise ratio; `inf` where nothing changed.
      kl: KL(float || quantized) of the class distributions, nats; None unless a classifier.
      agreement: Share of samples with the same top-1; None unless a classifier.
      accuracy: Share of right top-1; None without labels.
      metric: Mean of the user's `--metric`; None where there is none.
    """

    nmse: float
    standard_error: float
    sqnr_db: float
    samples: int
    kl: float | None = None
    agreement: float | None = None
    accuracy: float | None = None
    metric: float | None = None


@dataclass(frozen=True)
class Source:
    """A place where quantization enters the network.

    Attributes:
      part: `weights` (with constant operands), `activation` (an op's output), `edge` (a tensor as one of its several
        consumers reads it) or `input` (a model input).
      variant: `w4 w8 w16a8 w16a16` for weights, `c8 c16` for constant operands, `a8 a16` for the others.
      tensor: The activation; for weights the op's first output.
      op: The op whose weights or output it is; None for an input.
      consumer: The reading op of an `edge`.
    """

    part: str
    variant: str
    tensor: int
    op: int | None = None
    consumer: int | None = None

    @property
    def id(self) -> str:
        reader = "" if self.consumer is None else f">{self.consumer}"
        return f"{self.part}:{self.tensor}{reader}:{self.variant}"


@dataclass(frozen=True)
class Measurement:
    """One source quantized, everything else in float.

    Attributes:
      local_nmse: Error *at* the layer, MSE over the variance of its output: a poor guide, shown for comparison.
      method: `exact` or `linear`.
    """

    source: Source
    error: OutputError
    local_nmse: float
    method: str = "exact"


@dataclass(frozen=True)
class LeftFloat:
    """The other direction: one op in float while every other op is int8.

    Attributes:
      error: Of the real mixed file.
      gain: nmse of int8 everywhere minus nmse with this op in float.
    """

    op: int
    error: OutputError
    gain: float


@dataclass(frozen=True)
class SensitivityTable:
    """All measurements of one sweep.

    Attributes:
      int8: Error of int8 everywhere on the same samples, of the real file; None where it was not measured.
      output_variance: Of the compared float outputs, one each.
    """

    measurements: tuple[Measurement, ...]
    left_float: tuple[LeftFloat, ...]
    int8: OutputError | None
    output_variance: tuple[float, ...]
    samples: int
    data_digest: str
    graph_digest: str

    def nmse(self, source_id: str) -> float:
        """nmse of a source by `Source.id`; KeyError where it was not measured."""
        return self._by_id[source_id].error.nmse

    @property
    def _by_id(self) -> dict[str, Measurement]:
        return {m.source.id: m for m in self.measurements}

    def layer_nmse(self, op: Op, scheme: Scheme) -> tuple[float, float]:
        """(weights, output activation) nmse of one op under one scheme; 0 where there is nothing to quantize."""
        table = self._by_id
        weights = table.get(f"weights:{op.outputs[0]}:{op.variant(scheme)}")
        outputs = [table.get(f"activation:{t}:a{scheme.format.bits}") for t in op.outputs]
        return (
            weights.error.nmse if weights else 0.0,
            float(sum(m.error.nmse for m in outputs if m)),
        )

    def to_pandas(self) -> Any:
        """The measurements as a pandas.DataFrame, one row a source; needs pandas."""
        import pandas

        return pandas.DataFrame([
            {"source": m.source.id, "part": m.source.part, "variant": m.source.variant, "op": m.source.op,
             "nmse": m.error.nmse, "standard_error": m.error.standard_error, "sqnr_db": m.error.sqnr_db,
             "kl": m.error.kl, "agreement": m.error.agreement, "accuracy": m.error.accuracy,
             "local_nmse": m.local_nmse, "samples": m.error.samples, "method": m.method}
            for m in self.measurements
        ])  # fmt: skip


# --- plan ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assignment:
    """One op's scheme in a plan.

    Attributes:
      op: `Op.key`.
      layer: Label only; ignored when a plan is read.
      predicted_nmse: This op's share of the predicted error.
      bytes: Predicted bytes of its weights, bias and scales under the scheme.
    """

    op: str
    layer: str
    scheme: str
    predicted_nmse: float = 0.0
    bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """A scheme for every op, in execution order.

    Attributes:
      strategy: `milp`, `greedy`, `threshold` or the name of a uniform scheme.
      io: Format of the model's inputs and outputs.
      budget_bytes: Limit on the file; None for none.
      predicted_bytes: Of the file.
      predicted_nmse: At the output, the sum of all noise terms.
      mip_gap: Relative optimality gap; None where no solver ran.
      status: The solver's own word.
      smallest_bytes: Predicted size of the smallest file these schemes allow.
    """

    assignments: tuple[Assignment, ...]
    strategy: str
    io: Format
    allowed: tuple[str, ...]
    graph_digest: str
    predicted_bytes: int
    predicted_nmse: float
    budget_bytes: int | None = None
    smallest_bytes: int | None = None
    mip_gap: float | None = None
    status: str = ""
    target: str = "any"

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        return tuple(SCHEMES[a.scheme] for a in self.assignments)

    @classmethod
    def bare(cls, graph: Graph, schemes: Sequence[str], io: Format = Format.FLOAT, strategy: str = "given") -> Plan:
        """A plan with nothing predicted: one scheme name for each op, in execution order."""
        return cls(
            assignments=tuple(Assignment(op.key, op.layer, s) for op, s in zip(graph.ops, schemes, strict=True)),
            strategy=strategy,
            io=io,
            allowed=tuple(dict.fromkeys(schemes)),
            graph_digest=graph.digest,
            predicted_bytes=0,
            predicted_nmse=0.0,
        )


# --- verification ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, in the figure's own unit."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Evaluation:
    """One file measured on evaluation samples, paired with the float model on the same ones.

    Attributes:
      name: `float`, `int8 everywhere`, `w8a16 everywhere`, `plan` ...
      file_bytes: Size of the file.
      arena_bytes: Span of all activations that LiteRT's planner allocates without delegates.
      kernels: `xnnpack` or `reference`.
      error: Against float on `samples` samples, labels included where there are some.
      drop_points: Accuracy of float minus this one's, percentage points; where there are no labels, 100 minus the
        agreement with float. Paired bootstrap interval.
      drop_of: `accuracy`, `agreement` or `metric`: what `drop_points` is a drop of.
      mcnemar_p: Exact McNemar test of the difference; None without labels.
      subset: Whether fewer than all evaluation samples were used.
      float_accuracy: The float model's on the same samples.
    """

    name: str
    file_bytes: int
    arena_bytes: int
    kernels: str
    error: OutputError
    drop_points: Interval | None
    drop_of: str
    mcnemar_p: float | None = None
    subset: bool = False
    float_accuracy: float | None = None


@dataclass(frozen=True)
class TypeMismatch:
    """A tensor of the emitted file whose type is not the planned one."""

    op: str
    layer: str
    tensor: str
    expected: str
    found: str


@dataclass(frozen=True)
class Verification:
    """What the emitted file really is.

    Attributes:
      evaluations: `float` first, then the baselines, `plan` last; then the same on subsets and other kernels.
      mismatches: Empty where the file is what was planned.
      tensor_types: Count of tensors by type in the emitted file.
      data_digest: Of the evaluation samples.
      on_calibration: There was no evaluation data; the figures stand on the calibration samples, on which the plan was
        chosen.
    """

    evaluations: tuple[Evaluation, ...]
    mismatches: tuple[TypeMismatch, ...]
    tensor_types: Mapping[str, int]
    file_digest: str
    samples: int
    data_digest: str
    predicted_bytes: int
    predicted_nmse: float
    measured_nmse: float | None
    on_calibration: bool = False

    def find(self, name: str, subset: bool = False) -> Evaluation | None:
        return next((e for e in self.evaluations if e.name == name and e.subset == subset), None)


# --- the audit -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AuditCause:
    """One source of a quantized file's error, measured alone in the float network.

    Attributes:
      name: `weights`, `activation` or `input`.
      layer: Label of the op, or of the input.
      opcode: TFLite's name; "" for an input.
      nmse: At the network's output.
      share_of_error: Of the sum over all sources, 0 to 1.
      evidence: What was measured, in words.
    """

    name: str
    layer: str
    opcode: str
    nmse: float
    share_of_error: float
    evidence: str


@dataclass(frozen=True)
class Audit:
    """A float model beside a quantized file of it.

    Attributes:
      causes: Worst first.
      evaluation: The quantized file on all evaluation samples.
      matched_ops, total_ops: How many of the float network's ops were found in the file.
      unmatched: Keys of those that were not.
      parts_nmse: Sum of the sources.
      measured_nmse: Of the file itself on the same samples; what `parts_nmse` misses of it is interaction and kernels.
      samples: On which the sources stand.
      external_buffers: Whether buffers lie behind the flatbuffer, where TFLite Micro reads garbage.
    """

    causes: tuple[AuditCause, ...]
    evaluation: Evaluation
    float_bytes: int
    quantized_bytes: int
    tensor_types: Mapping[str, int]
    matched_ops: int
    total_ops: int
    unmatched: tuple[str, ...]
    parts_nmse: float
    measured_nmse: float
    samples: int
    external_buffers: bool


# --- the run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Provenance:
    """How a run came about.

    Attributes:
      command: As typed, or "" from Python.
      versions: Of Bitplan and the packages that decide its numbers.
      calibration, evaluation: What the data is, as declared: source, preprocessing, digest.
      measured: Times (`_s`) and memory (`_bytes`): outside the promise that equal runs give equal bytes.
    """

    command: str
    seed: int
    versions: Mapping[str, str]
    model_name: str
    model_digest: str
    calibration: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """Everything a report shows; parts that were not computed are None."""

    provenance: Provenance
    graph: Graph
    calibration: Calibration | None = None
    sensitivity: SensitivityTable | None = None
    plan: Plan | None = None
    verification: Verification | None = None
    notes: tuple[str, ...] = ()

"""What an audit says of the drop itself: which classes and samples it hits, and where on the way it arises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .interval import Interval


@dataclass(frozen=True)
class ClassDrop:
    """Accuracy on the samples of one class, before and after.

    Attributes:
      label: Class index.
      name: "" where nobody knows it.
      samples: Of this class.
      float_accuracy, accuracy: Shares of right top-1, 0 to 1.
      drop_points: Percentage points, with the paired 95 % interval of this class alone: of 20 classes one such interval
        misses on average.
      p_holm: Exact McNemar test, corrected for the number of classes after Holm.
    """

    label: int
    name: str
    samples: int
    float_accuracy: float
    accuracy: float
    drop_points: Interval
    p_holm: float


@dataclass(frozen=True)
class Flip:
    """A sample that the quantized file puts into another class than the float network does.

    Attributes:
      index: Its place in the evaluation data as brought, from 0.
      origin: What to call it: a file's name, or `sample 12`.
      outcome: `lost` (only float is right), `gained` (only the quantized file is), `changed` (neither is, or there is
        no label).
      label: None where there is none.
      float_class, quantized_class: Top-1.
      float_confidence, quantized_confidence: Probability of that class, 0 to 1, as each file gives it; a softmax is
        taken where the output is logits.
      thumbnail: Data URI of the sample as brought, "" where it is no image or not among the first ones.
    """

    index: int
    origin: str
    outcome: str
    label: int | None
    float_class: int
    float_confidence: float
    quantized_class: int
    quantized_confidence: float
    thumbnail: str = ""


@dataclass(frozen=True)
class Flips:
    """All samples whose class changes.

    Attributes:
      samples: That were looked at.
      lost, gained, changed: How many there are of each outcome.
      listed: Those that both files are surest of first; where there are very many, not all.
    """

    samples: int
    lost: int
    gained: int
    changed: int
    listed: tuple[Flip, ...]

    @property
    def total(self) -> int:
        return self.lost + self.gained + self.changed


@dataclass(frozen=True)
class SetMetric:
    """A figure of all samples together, such as mAP; higher is better.

    Attributes:
      name: `module:function`.
      float_value, quantized_value: With percentile bootstrap intervals over samples.
      drop: Float minus quantized, both on the same resamples.
      samples: Of the data.
      resamples: Drawn.
      undefined: Resamples on which the function gave no finite number, e.g. for want of a positive; left out.
    """

    name: str
    float_value: Interval
    quantized_value: Interval
    drop: Interval
    samples: int
    resamples: int
    undefined: int


@dataclass(frozen=True)
class OutputGap:
    """How far some outputs lie from others of the same samples.

    Attributes:
      found, reference: Whose outputs, in words.
      samples: That were compared.
      nmse: At the network's outputs, divided by the variance of one and the same outputs in every gap of a list: the
        framework's where they are given, else the float network's.
      max_abs: Largest difference of one element.
      max_steps: The same in steps of the quantized output's scale; None where that output has none.
      equal: Samples that are equal in every element.
      agreement: Share of samples with the same top-1; None unless a classifier.
      drop_points: Accuracy of `reference` minus that of `found`, percentage points; None without labels.
      mcnemar_p: Exact McNemar test of it.
    """

    found: str
    reference: str
    samples: int
    nmse: float
    max_abs: float
    equal: int
    max_steps: float | None = None
    agreement: float | None = None
    drop_points: Interval | None = None
    mcnemar_p: float | None = None


@dataclass(frozen=True)
class DeviceDifference:
    """The first element in which a device's answer to a sample is another one.

    Attributes:
      index: The sample's place in the evaluation data as brought, from 0.
      output, element: Which output, and which of its elements, flattened.
      expected, found: In LiteRT and on the device, dequantized.
    """

    index: int
    output: int
    element: int
    expected: float
    found: float


@dataclass(frozen=True)
class DeviceJudgement:
    """What a board produced, held against the same file in LiteRT and against float.

    Attributes:
      against_file: With each of LiteRT's sets of kernels that were run.
      nearest: Index in `against_file` of the one that the device is nearest to.
      against_float: The float network's answers, or rather what is lost of them.
      differing: The first samples that differ from the nearest kernels.
    """

    against_file: tuple[OutputGap, ...]
    nearest: int
    against_float: OutputGap
    differing: tuple[DeviceDifference, ...]


@dataclass(frozen=True)
class Drop:
    """The drop in detail.

    Attributes:
      samples_needed: About how many decide whether there is a drop at all; None where these decide it already, where
        there is no drop to judge, or where no number would do.
      classes: Largest drop first; empty without labels.
      class_names: By class index; empty where nobody knows them.
      flips: None unless a classifier.
      set_metric: None where none was asked for.
      conversion: Framework to float file, float file to quantized file, and framework to quantized file; empty where
        the framework's outputs were not given.
      device: None where no device's outputs were given.
      notes: What a reader should know.
    """

    samples_needed: int | None = None
    classes: tuple[ClassDrop, ...] = ()
    class_names: tuple[str, ...] = ()
    flips: Flips | None = None
    set_metric: SetMetric | None = None
    conversion: tuple[OutputGap, ...] = ()
    device: DeviceJudgement | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VectorTensor:
    """One input or output of exported vectors.

    Attributes:
      name: As the file has it.
      shape: Of one sample, the file's leading dimension included.
      dtype: numpy's name; the bytes are little-endian, in C order.
      scale, zero_point: value = scale * (integer - zero_point); a scale of 0 where the tensor is not quantized.
      sample_bytes: Of one sample in `raw`: sample k starts at k * sample_bytes.
      raw, array: The files that hold all samples, without a header and as `.npy`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    sample_bytes: int
    raw: str
    array: str


@dataclass(frozen=True)
class VectorManifest:
    """Golden inputs and outputs of a file, for a board to replay.

    Attributes:
      model: The file's name.
      model_sha256: Of the file that was run.
      kernels: With which LiteRT made the outputs: `xnnpack`, `builtin` or `reference`.
      runtime: Name and version of that LiteRT.
      data: As it was named.
      samples: How many.
      index: Place of each sample in the data as brought, from 0.
      labels: Of each sample; None where there are none.
      inputs, outputs: In the file's own order.
      sha256: Of every file beside the manifest, by name.
    """

    model: str
    model_sha256: str
    kernels: str
    runtime: str
    data: str
    samples: int
    index: tuple[int, ...]
    labels: tuple[int, ...] | None
    inputs: tuple[VectorTensor, ...]
    outputs: tuple[VectorTensor, ...]
    sha256: Mapping[str, str]

"""What calibration and the sweep found in a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .network import Op, Scheme


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
      minimum, maximum: What to quantize for: true extremes over all samples, or the FAKE_QUANT op's own range; or what
        a repair has chosen in their place (`strategies/repair/ranges.py`), which may clip what the histogram holds.
      declared: Whether the range comes from a FAKE_QUANT op of a QAT model instead of the data.
    """

    tensor: int
    minimum: float
    maximum: float
    histogram: Histogram
    mean: float
    variance: float
    declared: bool = False


PartialSums = Mapping[int, tuple[tuple[float, float], tuple[float, float]]]
"""By op index: (minimum, maximum) of the high and of the low partial sum."""


@dataclass(frozen=True)
class Calibration:
    """Ranges of all float activations, by tensor index.

    Attributes:
      data_digest: SHA-256 over the samples in content order, so that it does not depend on their order.
      partial_sums: By op index, the extremes of `op(x, hi, bias)` and `op(x, lo, 0)` before the fused activation, for
        ops whose weights can be split.
      random: Whether the data was made up because none was given.
      per_tensor_sums: The same where hi and lo have one scale for the tensor; empty until somebody asks for them
        (`with_per_tensor_sums`).
    """

    ranges: Mapping[int, Range]
    partial_sums: PartialSums
    samples: int
    data_digest: str
    random: bool = False
    per_tensor_sums: PartialSums = field(default_factory=dict)

    def sums(self, per_channel: bool) -> PartialSums:
        """Partial sums by op index, of weights with a scale for each channel or with one for the tensor."""
        return self.partial_sums if per_channel else self.per_tensor_sums


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
      per_channel: Whether weights get a scale for each channel; else they get one for the tensor, and the id ends in
        `t`: `weights:109:w8t`.
    """

    part: str
    variant: str
    tensor: int
    op: int | None = None
    consumer: int | None = None
    per_channel: bool = True

    @classmethod
    def of_weights(cls, op: Op, variant: str, *, per_channel: bool = True) -> Source:
        """The source of an op's weights, or of its constant operands, which have one scale either way."""
        return cls("weights", variant, op.outputs[0], op.index, per_channel=per_channel or op.weights is None)

    @property
    def is_ranked(self) -> bool:
        """Whether rankings of 8-bit sources count it; an edge is a part of its tensor."""
        return self.variant in ("w8", "c8", "a8") and self.part != "edge"

    @property
    def id(self) -> str:
        reader = "" if self.consumer is None else f">{self.consumer}"
        return f"{self.part}:{self.tensor}{reader}:{self.variant}{'' if self.per_channel else 't'}"


@dataclass(frozen=True)
class Measurement:
    """One source quantized, everything else in float.

    Attributes:
      local_nmse: Error *at* the layer, MSE over the variance of its output: a poor guide, shown for comparison. None
        where only the effect at the output was estimated.
      method: `exact` (quantized alone, and run) or `linear` (estimated to first order).
    """

    source: Source
    error: OutputError
    local_nmse: float | None
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
      mode: How it was asked for: `exact` (every source), `linear` (estimates), or `refined` (estimates, and the worst
        sources exactly).
      not_differentiable: What kept estimates from being made, so that every source was measured exactly instead.
      per_channel: Whether its weights have a scale for each channel, or one for the tensor.
    """

    measurements: tuple[Measurement, ...]
    left_float: tuple[LeftFloat, ...]
    int8: OutputError | None
    output_variance: tuple[float, ...]
    samples: int
    data_digest: str
    graph_digest: str
    mode: str = "exact"
    not_differentiable: tuple[str, ...] = ()
    per_channel: bool = True

    def nmse(self, source_id: str) -> float:
        """nmse of a source by `Source.id`; KeyError where it was not measured."""
        return self._by_id[source_id].error.nmse

    @property
    def _by_id(self) -> dict[str, Measurement]:
        return {m.source.id: m for m in self.measurements}

    def layer_nmse(self, op: Op, scheme: Scheme) -> tuple[float, float]:
        """(weights, output activation) nmse of one op under one scheme; 0 where there is nothing to quantize."""
        table = self._by_id
        weights = table.get(Source.of_weights(op, op.variant(scheme), per_channel=self.per_channel).id)
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

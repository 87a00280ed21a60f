"""Samples to ranges and histograms of every activation, in one pass with bounded memory.

True extremes, not the quantizer's own order-dependent moving average, which clips. Independent of the order of the
samples: counts are integers, extremes have no order, and sums are added exactly (`math.fsum`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ..errors import DataError, UnsupportedModel
from ..network import runtime
from ..network.rewrite import split_weights
from ..network.subgraph import Cutter
from ..schema import Calibration, Graph, Histogram, PartialSums, Range

BINS = 512
_SMALLEST_EXPONENT = -100
"""Bins are at least this narrow power of two wide, so that a tensor of zeros has a histogram too."""

Progress = Callable[[int, int], None]


class SampleSource(Protocol):
    """What calibration and the sweep need of a data set (`analyzer.inputs.dataset.Samples`)."""

    @property
    def digest(self) -> str: ...
    def __len__(self) -> int: ...
    def block(self, start: int, stop: int) -> list[np.ndarray]: ...


@dataclass
class RangeRecorder:
    """Running statistics of one tensor; two merge into what one would have seen."""

    minimum: float = math.inf
    maximum: float = -math.inf
    exponent: int = _SMALLEST_EXPONENT
    counts: dict[int, int] = field(default_factory=dict)
    sums: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    elements: int = 0
    finite: bool = True

    def add(self, values: np.ndarray) -> None:
        """Takes in the values of one sample, any shape, float32."""
        low, high = float(values.min()), float(values.max())
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        flat = values.ravel()
        self.sums.append(float(flat.sum(dtype=np.float64)))
        self.squares.append(float(np.einsum("i,i->", flat, flat, dtype=np.float64, casting="unsafe")))
        self.elements += values.size
        self._widen(bin_exponent(self.minimum, self.maximum))
        bins = np.floor(flat * np.float32(2.0**-self.exponent)).astype(np.int64)
        start = int(bins.min())
        for offset, count in enumerate(np.bincount(bins - start)):
            if count:
                self.counts[start + offset] = self.counts.get(start + offset, 0) + int(count)

    def merge(self, other: RangeRecorder) -> RangeRecorder:
        """What one recorder would hold that had seen both halves."""
        low, high = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        merged = RangeRecorder(low, high, elements=self.elements + other.elements)
        merged.finite = self.finite and other.finite
        merged.sums, merged.squares = self.sums + other.sums, self.squares + other.squares
        for part in (self, other):
            part._widen(bin_exponent(low, high))
            for index, count in part.counts.items():
                merged.counts[index] = merged.counts.get(index, 0) + count
            merged.exponent = part.exponent
        return merged

    def finish(self, tensor: int, declared: tuple[float, float] | None) -> Range:
        """The statistics as a `Range`; `declared` replaces the extremes that were seen."""
        first = min(self.counts)
        counts = tuple(self.counts.get(i, 0) for i in range(first, max(self.counts) + 1))
        histogram = Histogram(first, 2.0**self.exponent, counts)
        ends = self.minimum, self.maximum
        return range_of(tensor, ends, declared, histogram, self.sums, self.squares, self.elements)

    def _widen(self, exponent: int) -> None:
        shift = exponent - self.exponent
        if shift > 0:
            joined: dict[int, int] = {}
            for index, count in self.counts.items():
                joined[index >> shift] = joined.get(index >> shift, 0) + count
            self.counts, self.exponent = joined, exponent


def range_of(
    tensor: int,
    seen: tuple[float, float],
    declared: tuple[float, float] | None,
    histogram: Histogram,
    sums: Iterable[float],
    squares: Iterable[float],
    elements: int,
) -> Range:
    """A tensor's statistics, from those of its samples.

    Args:
      tensor: Its index.
      seen: Its extremes.
      declared: A range that wins over them.
      histogram: Of all its values.
      sums, squares: Of each sample's values, and of their squares; the order does not matter.
      elements: How many values there are.
    """
    mean = math.fsum(sums) / elements
    variance = max(math.fsum(squares) / elements - mean * mean, 0.0)
    return Range(tensor, *(declared or seen), histogram, mean, variance, declared is not None)


def calibrate(
    data: bytes,
    graph: Graph,
    samples: SampleSource,
    *,
    declared: Mapping[str, tuple[float, float]] | None = None,
    random: bool = False,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> Calibration:
    """Ranges of every float activation, and of the partial sums of every op whose weights can be split.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      samples: At least one.
      declared: Ranges of FAKE_QUANT ops by tensor name; they win over the data.
      random: Recorded: the samples are made up.
      workers: Threads.
      progress: Called with (samples done, samples in all).

    Raises:
      DataError: There are no samples.
      UnsupportedModel: An activation is not finite.
    """
    if len(samples) == 0:
        raise no_samples()
    activations = sorted({t for op in graph.ops for t in graph.activations_out(op)})
    split = _SplitNetwork(data, graph, activations, per_channel=True)
    recorders = _record(split.flatbuffer, len(activations), split.count, samples, workers, progress)
    inputs = _record_inputs(graph, samples)

    for tensor, recorder in zip(activations, recorders, strict=False):
        if not recorder.finite:
            raise not_finite(graph.tensors[tensor].name)
    declared = declared or {}
    found = dict(zip(activations, recorders, strict=False)) | inputs
    ranges = {t: r.finish(t, declared.get(graph.tensors[t].name)) for t, r in sorted(found.items())}
    return Calibration(
        ranges=ranges,
        partial_sums=split.sums(recorders[len(activations) :]),
        samples=len(samples),
        data_digest=samples.digest,
        random=random,
    )


def no_samples() -> DataError:
    """The error for calibration data without a sample."""
    return DataError("there are no calibration samples", "give at least one; 100 to 500 are usual")


def not_finite(tensor: str) -> UnsupportedModel:
    """The error for an activation that holds NaN or infinity, by its name."""
    return UnsupportedModel(
        f"the float model itself gives values that are not finite: tensor {tensor}",
        "check the preprocessing (--scale) and the model with one sample",
    )


def with_per_tensor_sums(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    samples: SampleSource,
    *,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> Calibration:
    """A calibration with the partial sums of weights that are split with one scale for the tensor.

    One more pass over the samples, for targets that have nothing else; none where they are there already.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Of the same samples.
      samples: Those of the calibration.
      workers: Threads.
      progress: Called with (samples done, samples in all).
    """
    if calibration.per_tensor_sums or not _splittable(graph):
        return calibration
    if samples.digest != calibration.data_digest:
        raise ValueError("the calibration is of other samples")
    split = _SplitNetwork(data, graph, (), per_channel=False)
    recorders = _record(split.flatbuffer, 0, split.count, samples, workers, progress)
    return replace(calibration, per_tensor_sums=split.sums(recorders))


def _splittable(graph: Graph) -> list[int]:
    return [op.index for op in graph.ops if "w16a8" in op.schemes]


class _SplitNetwork:
    """A network with everything split that can be.

    Attributes:
      flatbuffer: Its outputs are some activations of the network, and behind them all partial sums.
      count: Of partial sums.
    """

    def __init__(self, data: bytes, graph: Graph, activations: Sequence[int], *, per_channel: bool) -> None:
        split, splits = split_weights(data, _splittable(graph), per_channel=per_channel)
        cutter = Cutter(split)
        partial = {
            cutter.tensor(name): (s.op, part)
            for s in splits
            for part, name in enumerate((s.high_output, s.low_output))
        }  # fmt: skip
        wanted = [*(cutter.tensor(graph.tensors[t].name) for t in activations), *partial]
        self.flatbuffer, self.count = cutter.whole(wanted).flatbuffer, len(partial)
        self._places = list(partial.values())

    def sums(self, recorders: Sequence[RangeRecorder]) -> PartialSums:
        """Extremes of the partial sums by op, from a recorder for each."""
        found = {
            place: (recorder.minimum, recorder.maximum)
            for place, recorder in zip(self._places, recorders, strict=True)
        }  # fmt: skip
        return {op: (found[op, 0], found[op, 1]) for op in sorted({op for op, _ in found})}


def bin_exponent(low: float, high: float) -> int:
    """The narrowest power of two at which `[low, high]` fits into `BINS` bins; grows with the range, never shrinks."""
    largest = max(abs(low), abs(high))
    if not math.isfinite(largest):
        return _SMALLEST_EXPONENT
    exponent = max(_SMALLEST_EXPONENT, math.frexp(largest)[1] - 24 if largest else _SMALLEST_EXPONENT)
    while math.floor(high * 2.0**-exponent) - math.floor(low * 2.0**-exponent) + 1 > BINS:
        exponent += 1
    return exponent


def _record(
    flatbuffer: bytes, full: int, extremes: int, samples: SampleSource, workers: int, progress: Progress | None
) -> list[RangeRecorder]:
    done = [0] * workers

    def part(worker: int, start: int, stop: int) -> list[RangeRecorder]:
        runner = runtime.Runner(flatbuffer)
        recorders = [RangeRecorder() for _ in range(full + extremes)]
        for position in range(start, stop):
            sample = [array[0] for array in samples.block(position, position + 1)]
            for k, values in enumerate(runner.run_reusing(sample)):
                if not np.isfinite(values).all():
                    recorders[k].finite = False
                elif k < full:
                    recorders[k].add(values)
                else:
                    recorders[k].minimum = min(recorders[k].minimum, float(values.min()))
                    recorders[k].maximum = max(recorders[k].maximum, float(values.max()))
            done[worker] += 1
            if progress:
                progress(sum(done), len(samples))
        return recorders

    bounds = np.linspace(0, len(samples), min(workers, len(samples)) + 1).astype(int)
    with ThreadPoolExecutor(len(bounds) - 1) as pool:
        parts = list(pool.map(part, range(len(bounds)), bounds[:-1], bounds[1:]))
    return [_merged([recorders[k] for recorders in parts]) for k in range(full + extremes)]


def _merged(recorders: Sequence[RangeRecorder]) -> RangeRecorder:
    first, *rest = recorders
    for recorder in rest:
        first = first.merge(recorder)
    return first


def _record_inputs(graph: Graph, samples: SampleSource) -> dict[int, RangeRecorder]:
    recorders = {t: RangeRecorder() for t in graph.inputs if graph.tensors[t].dtype == "float32"}
    for position in range(len(samples)):
        for tensor, values in zip(graph.inputs, samples.block(position, position + 1), strict=True):
            if tensor in recorders:
                recorders[tensor].add(values)
    return recorders

"""Samples to ranges and histograms of every activation, in one pass with bounded memory.

True extremes, not the quantizer's own order-dependent moving average, which clips. Independent of the order of the
samples: counts are integers, extremes have no order, and sums are added exactly (`math.fsum`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..errors import DataError, UnsupportedModel
from ..network import runtime
from ..network.rewrite import split_weights
from ..network.subgraph import Cutter
from ..schema import Calibration, Graph, Histogram, Range

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
        self._widen(_exponent(self.minimum, self.maximum))
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
            part._widen(_exponent(low, high))
            for index, count in part.counts.items():
                merged.counts[index] = merged.counts.get(index, 0) + count
            merged.exponent = part.exponent
        return merged

    def finish(self, tensor: int, declared: tuple[float, float] | None) -> Range:
        """The statistics as a `Range`; `declared` replaces the extremes that were seen."""
        first = min(self.counts)
        counts = tuple(self.counts.get(i, 0) for i in range(first, max(self.counts) + 1))
        mean = math.fsum(self.sums) / self.elements
        variance = max(math.fsum(self.squares) / self.elements - mean * mean, 0.0)
        low, high = declared or (self.minimum, self.maximum)
        histogram = Histogram(first, 2.0**self.exponent, counts)
        return Range(tensor, low, high, histogram, mean, variance, declared is not None)

    def _widen(self, exponent: int) -> None:
        shift = exponent - self.exponent
        if shift > 0:
            joined: dict[int, int] = {}
            for index, count in self.counts.items():
                joined[index >> shift] = joined.get(index >> shift, 0) + count
            self.counts, self.exponent = joined, exponent


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
        raise DataError("there are no calibration samples", "give at least one; 100 to 500 are usual")
    activations = sorted({t for op in graph.ops for t in graph.activations_out(op)})
    splittable = [op.index for op in graph.ops if "w16a8" in op.schemes]
    split, splits = split_weights(data, splittable)
    names = {name: (s.op, part) for s in splits for part, name in enumerate((s.high_output, s.low_output))}
    cutter = Cutter(split)
    partial = {cutter.tensor(name): where for name, where in names.items()}
    whole = cutter.whole([cutter.tensor(graph.tensors[t].name) for t in activations] + list(partial))
    recorders = _record(whole.flatbuffer, len(activations), len(partial), samples, workers, progress)
    inputs = _record_inputs(graph, samples)

    for tensor, recorder in zip(activations, recorders, strict=False):
        if not recorder.finite:
            raise UnsupportedModel(
                f"the float model itself gives values that are not finite: tensor {graph.tensors[tensor].name}",
                "check the preprocessing (--scale) and the model with one sample",
            )
    declared = declared or {}
    found = dict(zip(activations, recorders, strict=False)) | inputs
    ranges = {t: r.finish(t, declared.get(graph.tensors[t].name)) for t, r in sorted(found.items())}
    halves: dict[int, list[tuple[float, float]]] = {s.op: [(0.0, 0.0), (0.0, 0.0)] for s in splits}
    for (op, part), recorder in zip(partial.values(), recorders[len(activations) :], strict=True):
        halves[op][part] = (recorder.minimum, recorder.maximum)
    return Calibration(
        ranges=ranges,
        partial_sums={op: (high, low) for op, (high, low) in sorted(halves.items())},
        samples=len(samples),
        data_digest=samples.digest,
        random=random,
    )


def _exponent(low: float, high: float) -> int:
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

"""Statistics of every activation sample by sample, taken once: ranges and histograms of any subset without another run.

`calibrate` gives the same for one set of samples, but for last digits: its network also has the partial sums of split
weights, and XNNPACK groups ops in another way. Here each sample keeps its own extremes, sums and histogram, and what
a subset has follows exactly: bins are powers of two wide, so a histogram widens by joining bins and loses nothing that
the subset's own would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..network import runtime
from ..network.subgraph import Cutter
from ..schema import Graph, Histogram, Range
from .calibration import Progress, SampleSource, bin_exponent, no_samples, not_finite, range_of

_LARGEST_SHIFT = 62
"""Of an int64. Indices of bins stay below 2 ** 25, so that only 0 is a multiple of what larger shifts stand for."""


@dataclass(frozen=True, eq=False)
class SampleStatistics:
    """One tensor in one sample.

    Attributes:
      exponent: Bins are `2.0 ** exponent` wide.
      start: Index of the first bin.
      counts: Unsigned integers [bins], as narrow as they may be.
      total, squares: Sums of the elements and of their squares.
      elements: How many.
    """

    minimum: float
    maximum: float
    exponent: int
    start: int
    counts: np.ndarray
    total: float
    squares: float
    elements: int

    @classmethod
    def of(cls, values: np.ndarray) -> SampleStatistics:
        """Of finite float32 values of any shape."""
        flat = values.ravel()
        low, high = float(flat.min()), float(flat.max())
        exponent = bin_exponent(low, high)
        bins = np.floor(flat * np.float32(2.0**-exponent)).astype(np.int64)
        start = int(bins.min())
        counts = np.bincount(bins - start)
        narrow = counts.astype(np.min_scalar_type(counts.max()))
        squares = float(np.einsum("i,i->", flat, flat, dtype=np.float64, casting="unsafe"))
        return cls(low, high, exponent, start, narrow, float(flat.sum(dtype=np.float64)), squares, flat.size)


class Pool:
    """What a set of samples holds, sample by sample.

    Args:
      parts: By tensor index, one entry for each sample, in the samples' order.
    """

    def __init__(self, parts: Mapping[int, Sequence[SampleStatistics]]) -> None:
        self._parts = parts

    def ranges(
        self, graph: Graph, chosen: Sequence[int], declared: Mapping[str, tuple[float, float]] | None = None
    ) -> dict[int, Range]:
        """What `calibrate(...).ranges` would be of some of the samples.

        Args:
          graph: The float network.
          chosen: Positions of the samples; at least one.
          declared: Ranges of FAKE_QUANT ops by tensor name; they win over the data.

        Raises:
          DataError: No sample is chosen.
        """
        if len(chosen) == 0:
            raise no_samples()
        declared = declared or {}
        return {
            tensor: _range(tensor, [parts[k] for k in chosen], declared.get(graph.tensors[tensor].name))
            for tensor, parts in self._parts.items()
        }


def take_statistics(
    data: bytes,
    graph: Graph,
    samples: SampleSource,
    *,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> Pool:
    """Runs the float network over samples once and keeps the statistics of each; about 1 KB a sample and tensor.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      samples: At least one.
      workers: Threads.
      progress: Called with (samples done, samples in all).

    Raises:
      DataError: There are no samples.
      UnsupportedModel: An activation is not finite.
    """
    if len(samples) == 0:
        raise no_samples()
    written = sorted({t for op in graph.ops for t in graph.activations_out(op)})
    read = [k for k, t in enumerate(graph.inputs) if graph.tensors[t].dtype == "float32"]
    network = Cutter(data).whole(written).flatbuffer
    done = [0] * workers

    def part(worker: int) -> list[tuple[int, list[SampleStatistics]]]:
        runner, rows = runtime.Runner(network), []
        for position in range(worker, len(samples), workers):
            sample = [array[0] for array in samples.block(position, position + 1)]
            activations = runner.run_reusing(sample)
            for tensor, values in zip(written, activations, strict=True):
                if not np.isfinite(values).all():
                    raise not_finite(graph.tensors[tensor].name)
            every = [*activations, *(sample[k] for k in read)]
            rows.append((position, [SampleStatistics.of(values) for values in every]))
            done[worker] += 1
            if progress:
                progress(sum(done), len(samples))
        return rows

    with ThreadPoolExecutor(workers) as pool:
        by_position = dict(row for rows in pool.map(part, range(workers)) for row in rows)
    tensors = [*written, *(graph.inputs[k] for k in read)]
    return Pool({
        tensor: [by_position[position][place] for position in range(len(samples))]
        for place, tensor in sorted(enumerate(tensors), key=lambda entry: entry[1])
    })  # fmt: skip


def _range(tensor: int, parts: Sequence[SampleStatistics], declared: tuple[float, float] | None) -> Range:
    low, high = min(part.minimum for part in parts), max(part.maximum for part in parts)
    exponent = bin_exponent(low, high)
    shifts = [exponent - part.exponent for part in parts]
    spans = [(p.start >> s, (p.start + len(p.counts) - 1) >> s) for p, s in zip(parts, shifts, strict=True)]
    first = min(start for start, _ in spans)
    counts = np.zeros(max(stop for _, stop in spans) - first + 1, np.int64)
    for part, shift, (start, stop) in zip(parts, shifts, spans, strict=True):
        # Where each group of bins that become one begins; only the first may begin in the middle of a group.
        edges = (np.arange(start + 1, stop + 1) << min(shift, _LARGEST_SHIFT)) - part.start
        joined = np.add.reduceat(part.counts, np.concatenate([[0], edges]), dtype=np.int64)
        counts[start - first : stop - first + 1] += joined
    histogram = Histogram(first, 2.0**exponent, tuple(counts.tolist()))
    sums, squares = (part.total for part in parts), (part.squares for part in parts)
    return range_of(tensor, (low, high), declared, histogram, sums, squares, sum(part.elements for part in parts))

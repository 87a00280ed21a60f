"""The extremes of every float activation, sample by sample: what ranges would be if a file were calibrated on fewer."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..network import runtime
from ..network.subgraph import Cutter
from ..schema import Graph
from .calibration import SampleSource


@dataclass(frozen=True, eq=False)
class Extremes:
    """Extremes of the float activations, model inputs included, by tensor index.

    Attributes:
      minima, maxima: float64 [samples] each.
      channel_spans: float64 [channels] each: width of the range of each entry of the last axis over all samples.
      samples: How many.
    """

    minima: Mapping[int, np.ndarray]
    maxima: Mapping[int, np.ndarray]
    channel_spans: Mapping[int, np.ndarray]
    samples: int

    def range_of(self, tensor: int) -> tuple[float, float]:
        """(minimum, maximum) over all samples."""
        return float(self.minima[tensor].min()), float(self.maxima[tensor].max())


def sample_extremes(
    data: bytes, graph: Graph, samples: SampleSource, *, workers: int = runtime.DEFAULT_WORKERS
) -> Extremes:
    """Runs the float network once over the samples.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      samples: At least one.
      workers: Threads.
    """
    tensors = sorted({t for op in graph.ops for t in graph.activations_out(op)})
    flatbuffer = Cutter(data).whole(tensors).flatbuffer
    inputs = [t for t in graph.inputs if graph.tensors[t].dtype == "float32"]
    count = len(samples)
    every = [*inputs, *tensors]
    low, high = np.empty((len(every), count)), np.empty((len(every), count))

    def part(worker: int) -> list[tuple[np.ndarray, np.ndarray]]:
        runner = runtime.Runner(flatbuffer)
        ends: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(1), np.zeros(1))] * len(every)
        for position in range(worker, count, workers):
            sample = [array[0] for array in samples.block(position, position + 1)]
            given = [v for t, v in zip(graph.inputs, sample, strict=True) if t in inputs]
            for k, values in enumerate((*given, *runner.run_reusing(sample))):
                rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
                below, above = rows.min(axis=0), rows.max(axis=0)
                low[k, position], high[k, position] = below.min(), above.max()
                ends[k] = np.minimum(ends[k][0], below), np.maximum(ends[k][1], above)
        return ends

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(part, range(min(workers, count))))
    spans = {}
    for k, tensor in enumerate(every):
        above = np.max([ends[k][1] for ends in parts], axis=0)
        below = np.min([ends[k][0] for ends in parts], axis=0)
        spans[tensor] = np.asarray(above - below, np.float64)
    return Extremes(dict(zip(every, low, strict=True)), dict(zip(every, high, strict=True)), spans, count)

"""How much a network's float output changes when its constants do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...analyzer.conversion.verification import with_compared
from ...analyzer.measures.calibration import SampleSource
from ...analyzer.network import runtime
from ...analyzer.schema import Graph


def largest_change(
    before: bytes, after: bytes, graph: Graph, samples: SampleSource, *, workers: int = runtime.DEFAULT_WORKERS
) -> float:
    """The largest difference of any compared output value, in standard deviations of that output.

    Args:
      before, after: Two float networks with the same ops and tensors.
      graph: Of either.
      samples: To run them on.
      workers: Threads.
    """
    files, count = [with_compared(data, graph) for data in (before, after)], len(graph.compared)

    def part(worker: int) -> list[list[list[np.ndarray]]]:
        runners = [runtime.Runner(file) for file in files]
        return [
            [
                runtime.run_one(runner, [a[0] for a in samples.block(position, position + 1)])[:count]
                for runner in runners
            ]
            for position in range(worker, len(samples), workers)
        ]

    with ThreadPoolExecutor(workers) as pool:
        rows = [row for rows in pool.map(part, range(workers)) for row in rows]
    changes = []
    for k in range(count):
        old, new = (np.stack([row[side][k] for row in rows]).astype(np.float64) for side in (0, 1))
        changes.append(float(np.abs(new - old).max()) / (float(old.std()) or 1.0))
    return max(changes)

"""What other ranges for one tensor do to the network's output, all else in float."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ...analyzer.measures import quantization as q
from ...analyzer.measures.calibration import Progress, SampleSource
from ...analyzer.measures.sweep import Path, Sweep, Task, shard_size, variance_of
from ...analyzer.schema import Calibration, Graph, Op, Source

Rounded = Callable[[int], np.ndarray]
"""The changed tensor's values for a sample of the loaded shard, by index."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A tensor, and the ways to round it that are compared.

    Attributes:
      tensor: The activation that changes.
      grids: Of the activation itself, by the name of the way; empty where the op's weights change.
      op: The op whose weights change.
      weights: float32, already rounded, by the name of the way.
    """

    tensor: int
    grids: Mapping[str, q.AffineParams] = field(default_factory=dict)
    op: Op | None = None
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)


def measure_ways(
    flatbuffer: bytes,
    graph: Graph,
    calibration: Calibration,
    subjects: Sequence[Subject],
    samples: SampleSource,
    *,
    count: int,
    workers: int,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """The error at the network's output that each way to round each subject makes alone.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      calibration: Gives the variances that errors are divided by.
      subjects: What to round.
      samples: To measure on.
      count: Only the first so many of them.
      workers: Threads.
      progress: Called with (steps done, steps in all), a step being one subject on one shard of samples.

    Returns:
      For each subject, the nmse (mean over the network's outputs) by the name of the way.
    """
    sweep = Sweep(Task(flatbuffer, graph, calibration, _nothing), workers)
    rows: list[dict[str, list[float]]] = [{} for _ in subjects]
    size, count = shard_size(graph), min(count, len(samples))
    shards = [(start, min(start + size, count)) for start in range(0, count, size)]
    done: list[int] = []

    def measure(index: int, count: int) -> None:
        for name, errors in _errors(sweep, subjects[index], count).items():
            rows[index].setdefault(name, []).extend(errors)
        done.append(index)
        if progress:
            progress(len(done), len(subjects) * len(shards))

    for start, stop in shards:
        sweep.load(samples.block(start, stop), None)
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(measure, range(len(subjects)), [stop - start] * len(subjects)))
    return [{name: math.fsum(errors) / len(errors) for name, errors in ways.items()} for ways in rows]


def _errors(sweep: Sweep, subject: Subject, count: int) -> dict[str, list[float]]:
    """The error of each of the first `count` samples of the shard, by the name of the way."""
    path = Path(sweep, subject.tensor, None)
    found = {}
    for name, rounded in _ways(sweep, subject).items():
        found[name] = [_error(sweep, path, sample, rounded(sample)) for sample in range(count)]
    return found


def _ways(sweep: Sweep, subject: Subject) -> dict[str, Rounded]:
    ways: dict[str, Rounded] = {
        name: functools.partial(_on_grid, sweep, subject.tensor, grid) for name, grid in subject.grids.items()
    }
    for name, weights in subject.weights.items():
        assert subject.op is not None and subject.op.weights is not None
        ways[name] = sweep.alone(subject.op, subject.tensor, {subject.op.weights: weights})
    return ways


def _on_grid(sweep: Sweep, tensor: int, grid: q.AffineParams, sample: int) -> np.ndarray:
    return q.fake_quantize(sweep.value(tensor, sample), grid)


def _error(sweep: Sweep, path: Path, sample: int, changed: np.ndarray) -> float:
    """Mean over the network's outputs of one sample's squared error, over the output's variance."""
    found = []
    for target, answer in zip(path.targets, path.run(sample, changed), strict=True):
        wanted = sweep.value(target.tensor, sample)
        difference = answer.reshape(wanted.shape).astype(np.float64) - wanted
        found.append(float(np.mean(difference * difference)) / variance_of(sweep.calibration, target.tensor))
    return math.fsum(found) / len(found)


def _nothing(_sweep: Sweep, source: Source) -> Rounded:
    raise ValueError(f"no source is measured here: {source.id}")

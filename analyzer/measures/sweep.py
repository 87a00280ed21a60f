"""The machinery of an exact sweep: change one tensor, run only what lies behind it, compare at the network's output.

For every op the values that the float network computes are taken once (per block of samples); a changed output of the
op is then pushed through only what lies behind it.

The unit of work is (tensor, block of samples). Each is saved when done, so that a killed sweep goes on where it
stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np

from ..network import flatbuffer as fb
from ..network import runtime
from ..network.runtime import drop_batch
from ..network.subgraph import Cutter, Piece
from ..schema import Calibration, Graph, Measurement, Op, Source
from ..serialize import from_jsonable, to_jsonable
from .calibration import Progress, SampleSource
from .metrics import ErrorSums
from .per_sample import Metric

_BLOCK_BYTES = 256 * 2**20
_LARGEST_BLOCK = 64


class LabelledSource(SampleSource, Protocol):
    """Samples in content order, with labels where there are some."""

    @property
    def labels(self) -> np.ndarray | None: ...


class Store(Protocol):
    """Finished units by key (`analyzer.runs.UnitStore`)."""

    def get(self, key: str) -> dict[str, Any] | None: ...
    def put(self, key: str, value: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Target:
    """Where one output's error is measured for a given change: the compared tensor if reached, else the output."""

    tensor: int
    is_logits: bool


@dataclass(frozen=True)
class Job:
    """All sources that start at one tensor: an op's output, or an input."""

    tensor: int
    op: Op | None
    sources: tuple[Source, ...]


Perturb = Callable[[int], Iterable[tuple[Source, np.ndarray]]]
"""The changed values of a job's tensor for one sample of the loaded block, source by source."""


def run_jobs(
    sweep: Sweep,
    jobs: Sequence[Job],
    perturbation: Callable[[Sweep, Job], Perturb],
    *,
    key: Callable[[Job, str], str] | None = None,
    store: Store | None = None,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> dict[str, Measurement]:
    """Measures all sources of some jobs over all samples, block by block.

    Args:
      sweep: The float network and its samples.
      jobs: What to change.
      perturbation: How.
      key: The key of (job, digest of the block) under which a finished unit is saved.
      store: Where; nothing is saved without it.
      workers: Threads.
      progress: Called with (units done, units in all).

    Returns:
      Measurements by `Source.id`.
    """
    bounds = sweep.blocks()
    parts: dict[str, list[dict[str, Any]]] = {s.id: [] for job in jobs for s in job.sources}
    finished, lock = 0, threading.Lock()

    def measure(job: Job, found: dict[str, Any] | None, unit_key: str) -> dict[str, Any]:
        nonlocal finished
        unit = found if found is not None else sweep.measure(job, perturbation(sweep, job))
        with lock:
            finished += 1
            if store is not None and found is None:
                store.put(unit_key, unit)
            if progress:
                progress(finished, len(jobs) * len(bounds))
        return unit

    for start, stop in bounds:
        digest = sweep.block_digest(start, stop) if store is not None and key else ""
        keys = [key(job, digest) if store is not None and key else "" for job in jobs]
        found = [store.get(k) if store is not None else None for k in keys]
        if None in found:
            sweep.load(start, stop)
        with ThreadPoolExecutor(workers) as pool:
            for unit in pool.map(measure, jobs, found, keys):
                for source_id, part in unit.items():
                    parts[source_id].append(part)
    return {s.id: sweep.finish(s, parts[s.id]) for job in jobs for s in job.sources}


class Sweep:
    """One float network with the activations of one block of samples."""

    def __init__(
        self, data: bytes, graph: Graph, calibration: Calibration, samples: LabelledSource, metric: Metric | None
    ) -> None:
        self.graph, self.calibration = graph, calibration
        self._samples, self._metric = samples, metric
        self._cutter = Cutter(data)
        self._model = fb.read(data)
        self._tensors = sorted({t for op in graph.ops for t in op.outputs} | set(graph.outputs) | set(graph.compared))
        self._runner: runtime.Runner | None = None
        self._values: dict[int, np.ndarray] = {}
        self._range = (0, 0)
        self.variances = tuple(variance_of(calibration, t) for t in graph.compared)

    def blocks(self) -> list[tuple[int, int]]:
        """Bounds of the blocks of samples."""
        size, count = _block_size(self.graph), len(self._samples)
        return [(start, min(start + size, count)) for start in range(0, count, size)]

    def block_digest(self, start: int, stop: int) -> str:
        """SHA-256 over the samples of a block and their labels."""
        return _shard_key(self._samples, start, stop)

    def load(self, start: int, stop: int) -> None:
        """Runs the float network on the samples `[start, stop)` and keeps every activation."""
        produced = [t for t in self._tensors if not self.graph.tensors[t].is_constant and t not in self.graph.inputs]
        if self._runner is None:
            self._runner = runtime.Runner(self._cutter.whole(produced).flatbuffer)
            size = _block_size(self.graph)
            for tensor, port in zip(produced, self._runner.outputs, strict=True):
                self._values[tensor] = np.empty((size, *port.shape), port.dtype)
        arrays = self._samples.block(start, stop)
        self._values.update(zip(self.graph.inputs, arrays, strict=True))
        for i in range(stop - start):
            for tensor, values in zip(produced, self._runner.run_reusing([a[i] for a in arrays]), strict=True):
                self._values[tensor][i] = values
        self._range = (start, stop)

    def measure(self, job: Job, perturb: Perturb) -> dict[str, Any]:
        """Error sums of every source of a job on the loaded block, by source id, ready for JSON."""
        start, stop = self._range
        whole = [s for s in job.sources if s.part != "edge"]
        result: dict[str, list[list[np.ndarray]]] = {s.id: [] for s in job.sources}
        local: dict[str, list[float]] = {s.id: [] for s in job.sources}
        paths: dict[int | None, Path] = {None: Path(self, job.tensor, None)} if whole else {}
        paths |= {s.consumer: Path(self, job.tensor, s.consumer) for s in job.sources if s.part == "edge"}
        for i in range(stop - start):
            original = self._values[job.tensor][i]
            for source, changed in perturb(i):
                result[source.id].append(paths[source.consumer].run(i, changed))
                difference = (changed.reshape(original.shape) - original).astype(np.float64)
                local[source.id].append(float(np.mean(difference * difference)))
        labels = self._samples.labels
        unit: dict[str, Any] = {}
        for source in job.sources:
            path = paths[source.consumer]
            sums = ErrorSums.of(
                [np.stack([drop_batch(self._values[t.tensor][i]) for i in range(stop - start)]) for t in path.targets],
                [np.stack([drop_batch(row[k]) for row in result[source.id]]) for k in range(len(path.targets))],
                variances=[variance_of(self.calibration, t.tensor) for t in path.targets],
                is_classifier=self.graph.is_classifier,
                are_logits=path.targets[0].is_logits,
                labels=None if labels is None else labels[start:stop],
                user_metric=self._metric,
            )
            unit[source.id] = {"error": to_jsonable(sums), "local": local[source.id]}
        return unit

    def finish(self, source: Source, parts: Sequence[Mapping[str, Any]]) -> Measurement:
        """Joins the blocks of one source."""
        sums = reduce(ErrorSums.merge, (from_jsonable(ErrorSums, part["error"]) for part in parts))
        local = np.array([value for part in parts for value in part["local"]])
        scale = variance_of(self.calibration, source.tensor)
        return Measurement(source, sums.to_output_error(), float(local.mean()) / scale)

    def value(self, tensor: int, sample: int) -> np.ndarray:
        return np.asarray(self._values[tensor][sample])

    def alone(
        self, op: Op, tensor: int, constants: Mapping[int, np.ndarray], *, plain: bool = False
    ) -> Callable[[int], np.ndarray]:
        """One op with other constants, from its cached inputs: sample of the loaded block -> values of `tensor`.

        Args:
          op: Which.
          tensor: One of its outputs.
          constants: New values by tensor index.
          plain: Without the fused activation function.
        """
        piece = self._cutter.single(op.index, constants, without_activation=plain)
        runner, place = runtime.Runner(piece.flatbuffer), piece.outputs.index(tensor)
        return lambda sample: runner.run([self.value(t, sample) for t in piece.inputs])[place]

    def suffix(self, tensor: int, outputs: Sequence[int], consumer: int | None) -> Piece:
        return self._cutter.suffix(tensor, outputs, consumer)

    def constant(self, tensor: int) -> np.ndarray:
        values = fb.constant(self._model, self._model.subgraphs[0].tensors[tensor])
        assert values is not None, "only constants are asked for"
        return values


class Path:
    """What runs behind one changed tensor."""

    def __init__(self, sweep: Sweep, tensor: int, consumer: int | None) -> None:
        graph = sweep.graph
        self._sweep, self._tensor = sweep, tensor
        wanted = list(dict.fromkeys((*graph.compared, *graph.outputs)))
        piece = sweep.suffix(tensor, wanted, consumer)
        itself = () if consumer is not None else (tensor,)
        reached = {*piece.outputs, *itself}
        self.targets = tuple(
            Target(c, c != o) if c in reached or o not in reached else Target(o, False)
            for c, o in zip(graph.compared, graph.outputs, strict=True)
        )
        piece = sweep.suffix(tensor, [t for t in piece.outputs if t in {x.tensor for x in self.targets}], consumer)
        self._piece = piece
        self._runner = runtime.Runner(piece.flatbuffer) if piece.outputs else None
        self._itself = itself

    def run(self, sample: int, changed: np.ndarray) -> list[np.ndarray]:
        """The targets' values where the tensor has been changed for one sample."""
        values = dict.fromkeys(self._itself, changed)
        if self._runner:
            others = [self._sweep.value(t, sample) for t in self._piece.inputs[1:]]
            values |= zip(self._piece.outputs, self._runner.run([changed, *others]), strict=True)
        return [values.get(t.tensor, self._sweep.value(t.tensor, sample)) for t in self.targets]


def jobs_of(sources: Sequence[Source], graph: Graph) -> list[Job]:
    """Groups sources by the tensor that they change."""
    by_tensor: dict[int, list[Source]] = {}
    for source in sources:
        by_tensor.setdefault(source.tensor, []).append(source)
    producers = {t: op for op in graph.ops for t in op.outputs}
    return [Job(tensor, producers.get(tensor), tuple(found)) for tensor, found in by_tensor.items()]


def _block_size(graph: Graph) -> int:
    """Samples whose every activation fits into the block's memory; the same on every machine."""
    per_sample = sum(4 * graph.tensors[t].elements for op in graph.ops for t in op.outputs)
    return max(1, min(_LARGEST_BLOCK, _BLOCK_BYTES // max(per_sample, 1)))


def variance_of(calibration: Calibration, tensor: int) -> float:
    """Variance that a tensor's error is divided by; its mean square where it does not vary, 1 where it is 0."""
    seen = calibration.ranges.get(tensor)
    if seen is None:
        return 1.0
    return seen.variance or seen.mean**2 or 1.0


def _shard_key(samples: LabelledSource, start: int, stop: int) -> str:
    parts = [fb.digest(np.ascontiguousarray(array).tobytes()) for array in samples.block(start, stop)]
    labels = samples.labels
    if labels is not None:
        parts.append(fb.digest(np.ascontiguousarray(labels[start:stop], np.int64).tobytes()))
    return fb.digest("".join(parts).encode())

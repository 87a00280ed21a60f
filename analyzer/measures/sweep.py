"""The machinery of an exact sweep: change one tensor, run only what lies behind it, compare at the network's output.

For every op the values that the float network computes are taken once (per shard of samples); a changed output of the
op is then pushed through only what lies behind it.

The unit of work is (tensor, shard of samples): `exact.py` says which there are, `distribution.py` who does them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..network import flatbuffer as fb
from ..network import runtime
from ..network.runtime import drop_batch
from ..network.subgraph import Cutter
from ..schema import Calibration, Graph, Op, Source
from .calibration import SampleSource
from .per_sample import Metric
from .rows import Rows

_SHARD_BYTES = 256 * 2**20
_LARGEST_SHARD = 64


class LabelledSource(SampleSource, Protocol):
    """Samples in content order, with labels where there are some."""

    @property
    def labels(self) -> np.ndarray | None: ...
    @property
    def hashes(self) -> Sequence[bytes]: ...


@dataclass(frozen=True)
class Target:
    """Where one output's error is measured for a given change: the compared tensor if reached, else the output."""

    tensor: int
    is_logits: bool


Change = Callable[["Sweep", Source], Callable[[int], np.ndarray]]
"""Prepares a source: its answer gives the changed tensor's values for a sample of the loaded shard, by index."""


@dataclass(frozen=True, eq=False)
class Task:
    """What all units of a sweep have in common.

    Attributes:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Ranges that the changes take.
      change: How a source is quantized.
      metric: See `per_sample.Metric`.
    """

    data: bytes
    graph: Graph
    calibration: Calibration
    change: Change
    metric: Metric | None = None


@dataclass(frozen=True)
class Unit:
    """What one worker does at a time.

    Attributes:
      tensor: The tensor that all of its sources change: an op's output, or an input.
      wanted: Sources, each with the samples of the shard that it is measured on, by index.
    """

    tensor: int
    wanted: tuple[tuple[Source, tuple[int, ...]], ...]


class Sweep:
    """One float network with the activations of one shard of samples.

    Args:
      task: The network, and how a source is quantized.
      threads: Interpreters that a shard is loaded with, side by side.
    """

    def __init__(self, task: Task, threads: int = 1) -> None:
        self.graph, self.calibration = task.graph, task.calibration
        self._task = task
        self._cutter = Cutter(task.data)
        self._model = fb.read(task.data)
        self._threads = threads
        self._runners: tuple[tuple[int, ...], list[runtime.Runner]] = ((), [])
        self._values: dict[int, np.ndarray] = {}
        self._labels: np.ndarray | None = None

    def load(
        self, inputs: Sequence[np.ndarray], labels: np.ndarray | None, tensors: Collection[int] | None = None
    ) -> None:
        """Runs the float network on a shard of samples and keeps its activations.

        Args:
          inputs: One array [n, ...] for each input of the network, n at most `shard_size`.
          labels: Class indices [n].
          tensors: The activations to keep, from `needed`; None keeps all. Keeping them takes as long as computing them.
        """
        graph = self.graph
        wanted = {t for op in graph.ops for t in op.outputs} if tensors is None else set(tensors)
        kept = tuple(sorted(t for t in wanted - set(graph.inputs) if not graph.tensors[t].is_constant))
        if kept != self._runners[0] or not self._runners[1]:
            whole = self._cutter.whole(kept).flatbuffer
            self._runners = (kept, [runtime.Runner(whole) for _ in range(self._threads)] if kept else [])
            self._values = {
                tensor: np.empty((shard_size(graph), *port.shape), port.dtype)
                for runner in self._runners[1][:1] for tensor, port in zip(kept, runner.outputs, strict=True)
            }  # fmt: skip
        self._labels = labels
        self._values.update(zip(graph.inputs, inputs, strict=True))
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(functools.partial(self._take, inputs), range(len(self._runners[1]))))

    def _take(self, inputs: Sequence[np.ndarray], thread: int) -> None:
        """Runs every sample that falls to a thread."""
        kept, runners = self._runners
        for i in range(thread, len(inputs[0]), len(runners)):
            for tensor, values in zip(kept, runners[thread].run_reusing([a[i] for a in inputs]), strict=True):
                self._values[tensor][i] = values

    def needed(self, units: Sequence[Unit]) -> frozenset[int]:
        """The activations that measuring some units reads."""
        tensors: set[int] = set()
        for unit in units:
            for source in {(s.consumer, s.op if s.part == "weights" else None): s for s, _ in unit.wanted}.values():
                tensors.update((unit.tensor, *Path(self, unit.tensor, source.consumer).tensors))
                if source.part == "weights" and source.op is not None:
                    tensors.update(t for t in self.graph.ops[source.op].inputs if t >= 0)
        return frozenset(t for t in tensors if not self.graph.tensors[t].is_constant)

    def measure(self, unit: Unit) -> list[Rows]:
        """Measures a unit on the loaded shard: the rows of each of its sources, in their order."""
        paths: dict[int | None, Path] = {}
        found = []
        for source, samples in unit.wanted:
            if source.consumer not in paths:
                paths[source.consumer] = Path(self, unit.tensor, source.consumer)
            found.append(self._rows(source, paths[source.consumer], samples))
        return found

    def value(self, tensor: int, sample: int) -> np.ndarray:
        """A float activation of one sample of the loaded shard."""
        return np.asarray(self._values[tensor][sample])

    def alone(
        self, op: Op, tensor: int, constants: Mapping[int, np.ndarray], *, plain: bool = False
    ) -> Callable[[int], np.ndarray]:
        """One op with other constants, from its cached inputs: sample of the loaded shard -> values of `tensor`.

        Args:
          op: Which.
          tensor: One of its outputs.
          constants: New values by tensor index.
          plain: Without the fused activation function.
        """
        piece = self._cutter.single(op.index, constants, without_activation=plain)
        runner, place = runtime.Runner(piece.flatbuffer), piece.outputs.index(tensor)
        return lambda sample: runner.run([self.value(t, sample) for t in piece.inputs])[place]

    def constant(self, tensor: int) -> np.ndarray:
        """Values of a constant tensor."""
        values = fb.constant(self._model, self._model.subgraphs[0].tensors[tensor])
        assert values is not None, "only constants are asked for"
        return values

    @property
    def cutter(self) -> Cutter:
        return self._cutter

    def _rows(self, source: Source, path: Path, samples: tuple[int, ...]) -> Rows:
        change = self._task.change(self, source)
        answers: list[list[np.ndarray]] = []
        local: list[float] = []
        for sample in samples:
            original, changed = self.value(source.tensor, sample), change(sample)
            answers.append(path.run(sample, changed))
            difference = (changed.reshape(original.shape) - original).astype(np.float64)
            local.append(float(np.mean(difference * difference)))
        return Rows.of(
            [target.tensor for target in path.targets],
            [np.stack([drop_batch(self.value(t.tensor, i)) for i in samples]) for t in path.targets],
            [np.stack([drop_batch(answer[k]) for answer in answers]) for k in range(len(path.targets))],
            local,
            is_classifier=self.graph.is_classifier,
            are_logits=path.targets[0].is_logits,
            labels=None if self._labels is None else self._labels[list(samples)],
            user_metric=self._task.metric,
        )


class Path:
    """What runs behind one changed tensor."""

    def __init__(self, sweep: Sweep, tensor: int, consumer: int | None) -> None:
        graph = sweep.graph
        self._sweep = sweep
        self._itself = () if consumer is not None else (tensor,)
        wanted = tuple(dict.fromkeys((*graph.compared, *graph.outputs)))
        reached = {*sweep.cutter.reached(tensor, wanted, consumer), *self._itself}
        self.targets = tuple(
            Target(c, c != o) if c in reached or o not in reached else Target(o, False)
            for c, o in zip(graph.compared, graph.outputs, strict=True)
        )
        targets = {target.tensor for target in self.targets}
        self._piece = sweep.cutter.suffix(tensor, [t for t in wanted if t in targets], consumer)

    @property
    def tensors(self) -> tuple[int, ...]:
        """The float activations that it reads."""
        return (*self._piece.inputs[1:], *(target.tensor for target in self.targets))

    @functools.cached_property
    def _runner(self) -> runtime.Runner | None:
        return runtime.Runner(self._piece.flatbuffer) if self._piece.outputs else None

    def run(self, sample: int, changed: np.ndarray) -> list[np.ndarray]:
        """The targets' values where the tensor has been changed for one sample."""
        values = dict.fromkeys(self._itself, changed)
        if self._runner:
            others = [self._sweep.value(t, sample) for t in self._piece.inputs[1:]]
            values |= zip(self._piece.outputs, self._runner.run([changed, *others]), strict=True)
        return [values.get(t.tensor, self._sweep.value(t.tensor, sample)) for t in self.targets]


def shard_size(graph: Graph) -> int:
    """Samples whose every activation fits into 256 MiB, at most 64; the same on every machine."""
    per_sample = sum(4 * graph.tensors[t].elements for op in graph.ops for t in op.outputs)
    return max(1, min(_LARGEST_SHARD, _SHARD_BYTES // max(per_sample, 1)))


def variance_of(calibration: Calibration, tensor: int) -> float:
    """Variance that a tensor's error is divided by; its mean square where it does not vary, 1 where it is 0."""
    seen = calibration.ranges.get(tensor)
    if seen is None:
        return 1.0
    return seen.variance or seen.mean**2 or 1.0

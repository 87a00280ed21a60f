"""An exact sweep over any sources: what is kept already, what is left to do, and the figures of both together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from ..schema import Measurement, Source
from ..units import MemoryStore, Store
from .calibration import Progress
from .crew import Crew
from .distribution import Hands, Shard, Work
from .kept_rows import KeptRows
from .rows import Rows
from .sweep import LabelledSource, Task, Unit, shard_size, variance_of

Parts = list[tuple[np.ndarray, Rows]]


class ExactSweep:
    """Measures sources exactly, each alone in the float network, on one set of samples; usable many times over.

    What it has measured is kept, and between two calls its workers keep the network and the shard that they have in
    hand. Close it, or use it as a context manager.

    Args:
      task: The network, and how a source is quantized.
      samples: In content order, at least one.
      key: Of everything that a source's rows depend on, beside the sample.
      store: Rows are taken from here and put here; None keeps them in memory.
      crew: Who works.
    """

    def __init__(
        self,
        task: Task,
        samples: LabelledSource,
        *,
        key: Callable[[Source], str] = lambda source: source.id,
        store: Store | None = None,
        crew: Crew | None = None,
    ) -> None:
        self._task, self._samples, self._key = task, samples, key
        self._crew = crew or Crew()
        self._kept = KeptRows(MemoryStore() if store is None else store, _identities(task, samples))
        self._hands: Hands | None = None

    def measure(self, sources: Sequence[Source], *, progress: Progress | None = None) -> dict[str, Measurement]:
        """Measures the given sources over all samples.

        Args:
          sources: Any of the network's, each once.
          progress: Called with (units done, units to do); units that are kept already are neither.

        Returns:
          Measurements by `Source.id`.

        Raises:
          UsageError: The metric fails, or cannot be sent to another process.
          WorkerError: A worker died, or the cluster cannot be reached; what was measured is kept.
        """
        parts: dict[str, Parts] = {}
        missing: dict[Source, np.ndarray] = {}
        for source in sources:
            parts[source.id], missing[source] = self._kept.find(self._key(source))
        work = self._work({source: which for source, which in missing.items() if which.any()})
        total = sum(len(units) for _, units in work)
        if total:
            with contextlib.closing(self._ready().measure(work)) as results:
                for done, (shard, unit, found) in enumerate(results, start=1):
                    for (source, places), rows in zip(unit.wanted, found, strict=True):
                        samples = np.array(shard.samples)[list(places)]
                        self._kept.put(self._key(source), samples.tolist(), rows)
                        parts[source.id].append((samples, rows))
                    if progress:
                        progress(done, total)
        count = len(self._samples)
        return {s.id: Rows.joined(parts[s.id], count).measurement(s, self.variance) for s in sources}

    def variance(self, tensor: int) -> float:
        """What an error at a tensor is divided by; see `variance_of`."""
        return variance_of(self._task.calibration, tensor)

    def close(self) -> None:
        """Lets the workers go; harmless when repeated."""
        if self._hands is not None:
            self._hands.close()
            self._hands = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> Hands:
        if self._hands is None:
            self._hands = self._crew.hands(self._task)
        return self._hands

    def _work(self, missing: dict[Source, np.ndarray]) -> Work:
        """Units for what is missing: shards of only those samples that some source lacks.

        Args:
          missing: Whether each sample is missing, bool [samples], by source.
        """
        if not missing:
            return []
        needed = np.flatnonzero(np.any(list(missing.values()), axis=0))
        size = shard_size(self._task.graph)
        return [
            (self._shard(part), _units(missing, part))
            for part in (needed[start : start + size] for start in range(0, len(needed), size))
        ]

    def _shard(self, samples: np.ndarray) -> Shard:
        graph = self._task.graph
        each = sum(graph.tensors[t].elements * np.dtype(graph.tensors[t].dtype).itemsize for t in graph.inputs)
        return Shard(tuple(samples.tolist()), each * len(samples), lambda: _read(self._samples, samples))


def _units(missing: dict[Source, np.ndarray], samples: np.ndarray) -> list[Unit]:
    """The units of one shard: for each tensor the sources that change it, each with the samples that it lacks."""
    by_tensor: dict[int, list[tuple[Source, tuple[int, ...]]]] = {}
    for source, which in missing.items():
        places = tuple(np.flatnonzero(which[samples]).tolist())
        if places:
            by_tensor.setdefault(source.tensor, []).append((source, places))
    return [Unit(tensor, tuple(wanted)) for tensor, wanted in by_tensor.items()]


def _read(samples: LabelledSource, indices: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Prepares some samples: one array [n, ...] for each model input, and their labels."""
    runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    blocks = [samples.block(int(run[0]), int(run[-1]) + 1) for run in runs]
    inputs = [np.concatenate([block[k] for block in blocks]) for k in range(len(blocks[0]))]
    return inputs, None if samples.labels is None else np.asarray(samples.labels)[indices]


def _identities(task: Task, samples: LabelledSource) -> list[str]:
    """What tells samples apart: their content, and their label where a figure depends on it."""
    names = [content.hex() for content in samples.hashes]
    if samples.labels is None or not (task.graph.is_classifier or task.metric):
        return names
    return [f"{name} {label}" for name, label in zip(names, samples.labels.tolist(), strict=True)]

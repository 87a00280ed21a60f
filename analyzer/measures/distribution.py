"""Doing the units of a sweep on this machine, by threads or by processes, through joblib.

Whoever does them (`cluster.py` has the third kind), the rows are the same: each sample runs alone, and rows are put in
the order of the samples afterwards.
"""

from __future__ import annotations

import pathlib
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import WorkerError
from ..network import flatbuffer as fb
from .rows import Rows
from .sweep import Sweep, Task, Unit
from .worker import FileParcel, measure_unit, pack_shard, pack_task

GO_ON = "what was measured is kept: the same command goes on where it stopped"
_GROUP_BYTES = 128 * 2**20
"""Prepared samples that are under way to workers at a time."""


@dataclass(frozen=True)
class Shard:
    """Samples that are worked on together.

    Attributes:
      samples: Their indices.
      bytes: Of the samples as the model takes them.
      read: Prepares them: the arguments of `Sweep.load`.
    """

    samples: tuple[int, ...]
    bytes: int
    read: Callable[[], tuple[list[np.ndarray], np.ndarray | None]]


Work = Sequence[tuple[Shard, Sequence[Unit]]]
Done = tuple[Shard, Unit, list[Rows]]


class Hands(Protocol):
    """Those who work on one task."""

    def measure(self, work: Work) -> Generator[Done, None, None]:
        """Measures units shard by shard, and gives each when it is done, in whatever order.

        Raises:
          WorkerError: A worker died, or cannot be reached.
        """

    def close(self) -> None:
        """Lets the workers go; harmless when repeated."""


class ThreadHands:
    """Threads of this process, which share the activations of one shard."""

    def __init__(self, task: Task, threads: int) -> None:
        self._task, self._threads = task, threads
        self._sweep: Sweep | None = None
        self._loaded: tuple[tuple[int, ...], frozenset[int]] = ((), frozenset())

    def measure(self, work: Work) -> Generator[Done, None, None]:
        from joblib import Parallel, delayed

        for shard, units in work:
            sweep = self._load(shard, units)
            parallel = Parallel(self._threads, backend="threading", return_as="generator_unordered")
            calls = (delayed(_numbered)(i, sweep.measure, unit) for i, unit in enumerate(units))
            for i, rows in drained(parallel(calls)):
                yield shard, units[i], rows

    def close(self) -> None:
        self._sweep, self._loaded = None, ((), frozenset())

    def _load(self, shard: Shard, units: Sequence[Unit]) -> Sweep:
        if self._sweep is None:
            self._sweep = Sweep(self._task, self._threads)
        tensors = self._sweep.needed(units)
        samples, present = self._loaded
        if samples != shard.samples or not tensors <= present:
            self._loaded = ((), frozenset())  # a load that fails leaves no whole shard behind
            self._sweep.load(*shard.read(), tensors)
            self._loaded = (shard.samples, tensors)
        return self._sweep


class ProcessHands:
    """Processes of this machine; the network and the samples reach them through files.

    Raises:
      UsageError: The metric cannot be sent to another process.
    """

    def __init__(self, task: Task, processes: int) -> None:
        packed = pack_task(task)
        self._processes = processes
        self._folder = tempfile.TemporaryDirectory(prefix="bitplan-")
        self._network = self._filed("network", packed)

    def measure(self, work: Work) -> Generator[Done, None, None]:
        from joblib import Parallel
        from joblib.externals.loky.process_executor import BrokenProcessPool

        for group in groups(work):
            shards = [self._filed(f"shard-{i}", pack_shard(*shard.read())) for i, (shard, _) in enumerate(group)]
            parallel = Parallel(
                self._processes, backend="loky", return_as="generator_unordered", batch_size=1, max_nbytes=None
            )
            try:
                yield from placed(parallel(calls(self._network, shards, group)), group)
            except BrokenProcessPool as error:
                raise WorkerError("a worker process died, perhaps for want of memory", GO_ON) from error

    def close(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(max_workers=self._processes, reuse=True).shutdown()
        self._folder.cleanup()

    def _filed(self, name: str, content: bytes) -> FileParcel:
        path = pathlib.Path(self._folder.name) / name
        path.write_bytes(content)
        return FileParcel(fb.digest(content), path)


def groups(work: Work) -> Iterator[Work]:
    """Cuts work into runs of shards whose samples may be under way together."""
    group: list[tuple[Shard, Sequence[Unit]]] = []
    size = 0
    for shard, units in work:
        if group and size + shard.bytes > _GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append((shard, units))
        size += shard.bytes
    if group:
        yield group


def calls(network: object, shards: Sequence[object], group: Work) -> Iterator[tuple[Any, ...]]:
    """joblib's calls for a group's units, shard by shard, so that workers change the shard as seldom as can be.

    Args:
      network, shards: The parcels, or whatever becomes one on the way.
      group: Their shards and units.
    """
    from joblib import delayed

    for number, (shard, (_, units)) in enumerate(zip(shards, group, strict=True)):
        for i, unit in enumerate(units):
            yield delayed(_numbered)((number, i), measure_unit, network, shard, unit)


def placed(results: Generator[tuple[tuple[int, int], list[Rows]], None, None], group: Work) -> Iterator[Done]:
    """The results of `calls` with the shards and units that they are of."""
    for (number, i), rows in drained(results):
        shard, units = group[number]
        yield shard, units[i], rows


def drained(results: Generator[Any, None, None]) -> Iterator[Any]:
    """joblib's results; whoever stops taking them stops the workers too, without a word from joblib."""
    try:
        for result in results:  # noqa: UP028 - `yield from` would close them before warnings are caught
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.close()


def _numbered(number: Any, function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    return number, function(*arguments)

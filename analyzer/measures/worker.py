"""What a worker process does: opens the network once, runs it on the shard in hand once, and measures units.

Nothing here needs TensorFlow, and every interpreter runs on one thread.
"""

from __future__ import annotations

import contextlib
import pathlib
import pickle
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import UsageError, WorkerError
from ..units import versions_of
from .per_sample import Metric
from .rows import Rows
from .sweep import Sweep, Task, Unit

PACKAGES = ("bitplan", "ai-edge-litert", "numpy")
"""What an exact figure is computed with, beside the code of these modules."""


class Parcel(Protocol):
    """Something that travels to a worker once and is needed there many times.

    Attributes:
      digest: SHA-256 of the content.
    """

    @property
    def digest(self) -> str: ...
    def read(self) -> bytes: ...


@dataclass(frozen=True)
class HeldParcel:
    """A parcel whose content this process was given beforehand, see `hold`.

    Attributes:
      owner: By whom.
    """

    digest: str
    owner: str

    def read(self) -> bytes:
        try:
            return _held[self.owner][self.digest]
        except KeyError as error:
            raise WorkerError("a worker was not given what it needs", "run the command again") from error


def hold(owner: str, contents: Mapping[str, bytes]) -> None:
    """Keeps contents by digest in this process, for the parcels of one owner."""
    _held[owner] = contents


def drop(owner: str) -> None:
    """Forgets what an owner gave to hold."""
    _held.pop(owner, None)


@dataclass(frozen=True)
class FileParcel:
    """A parcel in a file that all workers can read."""

    digest: str
    path: pathlib.Path

    def read(self) -> bytes:
        return self.path.read_bytes()


def pack_task(task: Task) -> bytes:
    """A task as bytes, with the versions that a worker must have.

    Raises:
      UsageError: The metric cannot be sent to another process.
    """
    import cloudpickle

    try:
        metric = cloudpickle.dumps(task.metric)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"the metric cannot be sent to worker processes: {reason}",
            "define it as a function of a module that holds no open files, locks or models; or work without --workers",
        ) from error
    rest = pickle.dumps((task.data, task.graph, task.calibration, task.change))
    return pickle.dumps((versions_of(*PACKAGES), rest, metric))


def unpack_task(content: bytes) -> Task:
    """What `pack_task` packed.

    Raises:
      WorkerError: This process has other versions, or lacks the metric's module.
    """
    versions, rest, metric = pickle.loads(content)
    here = versions_of(*PACKAGES)
    if here != versions:
        raise WorkerError(
            f"a worker has {', '.join(here)} where {', '.join(versions)} is asked for",
            "install the same versions for every worker: their figures would not fit together",
        )
    data, graph, calibration, change = pickle.loads(rest)
    return Task(data, graph, calibration, change, _metric(metric))


def pack_shard(inputs: list[np.ndarray], labels: np.ndarray | None) -> bytes:
    """The samples of a shard as bytes; arguments are those of `Sweep.load`."""
    return pickle.dumps((inputs, labels), protocol=5)


def measure_unit(network: Parcel, shard: Parcel, unit: Unit) -> list[Rows]:
    """Measures one unit in whatever process this is called.

    Args:
      network: A packed task.
      shard: Packed samples.
      unit: What to measure on them.
    """
    with _bench.loaded(network, shard) as sweep:
        return sweep.measure(unit)


class Bench:
    """What a worker process has in hand: one network, and its activations for one shard of samples.

    Threads share both; one that needs another shard waits until nobody uses the present one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._sweep: Sweep | None = None
        self._network = ""
        self._shard = ""

    @contextlib.contextmanager
    def loaded(self, network: Parcel, shard: Parcel) -> Iterator[Sweep]:
        """The network with the shard's activations; they stay as long as the context does."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._users or (self._network, self._shard) == (network.digest, shard.digest)
            )
            sweep = self._take(network, shard)
            self._users += 1
        try:
            yield sweep
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _take(self, network: Parcel, shard: Parcel) -> Sweep:
        if self._sweep is None or self._network != network.digest:
            self._sweep, self._network, self._shard = None, "", ""  # the old one's memory goes first
            self._sweep = Sweep(unpack_task(network.read()))
            self._network = network.digest
        if self._shard != shard.digest:
            self._shard = ""  # a load that fails leaves no whole shard behind
            self._sweep.load(*pickle.loads(shard.read()))
            self._shard = shard.digest
        return self._sweep


def _metric(packed: bytes) -> Metric | None:
    try:
        return pickle.loads(packed)  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        raise WorkerError(
            f"a worker cannot import the metric: there is no module {error.name} there",
            "install the module for every worker, or put its folder on their PYTHONPATH",
        ) from error


_bench = Bench()
_held: dict[str, Mapping[str, bytes]] = {}

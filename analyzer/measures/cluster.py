"""Doing the units of a sweep on a Dask cluster, through joblib.

The network travels to each worker once, also to one that joins later, and each shard of samples once. They travel as
worker plugins: what is scattered, Dask's memory manager thins out to one copy, which is lost with its worker. A unit
whose worker dies is given to another one by Dask; where none is left, the run waits until one joins. A client that is
killed leaves what it sent with the scheduler, for as long as that runs.

This module is loaded only where a cluster is asked for; its workers load it too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from distributed import Client, KilledWorker
from distributed.diagnostics.plugin import WorkerPlugin
from joblib import Parallel
from joblib._dask import DaskDistributedBackend

from ..errors import WorkerError
from ..network import flatbuffer as fb
from .distribution import GO_ON, Done, Work, calls, groups, placed
from .sweep import Task
from .worker import HeldParcel, drop, hold, pack_shard, pack_task

_CONNECT_SECONDS = 10
_TRIES = 3
_NO_WORKERS = ("the cluster has no workers that answer", "start some with `dask worker ADDRESS`, then go on")


class ClusterHands:
    """The workers of a Dask scheduler.

    Args:
      task: The sweep's.
      scheduler: Its address.

    Raises:
      UsageError: The metric cannot be sent to another process.
      WorkerError: The scheduler does not answer, or has no workers.
    """

    def __init__(self, task: Task, scheduler: str) -> None:
        packed = pack_task(task)
        try:
            self._client = Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:  # ValueError: no address at all
            raise WorkerError(
                f"no Dask scheduler answers at {scheduler}",
                "start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
            ) from error
        self._sent = 0
        try:
            with _explained():
                self._luggage, (self._network,) = self._send([packed])
        except WorkerError:
            self._client.close()
            raise

    def measure(self, work: Work) -> Generator[Done, None, None]:
        for group in groups(work):
            with _explained():
                name, shards = self._send([pack_shard(*shard.read()) for shard, _ in group])
                backend = _Backend(client=self._client, wait_for_workers_timeout=_CONNECT_SECONDS)
                parallel = Parallel(-1, backend=backend, return_as="generator_unordered", batch_size=1)
                try:
                    yield from placed(parallel(calls(self._network, shards, group)), group)
                finally:
                    self._take_back(name)

    def close(self) -> None:
        self._take_back(self._luggage)
        self._client.close()

    def _send(self, contents: Sequence[bytes]) -> tuple[str, list[HeldParcel]]:
        """Gives contents to all workers, present and future: the name to take them back by, and the parcels."""
        self._sent += 1
        name = f"bitplan-{self._client.id}-{self._sent}"
        parcels = [HeldParcel(fb.digest(content), name) for content in contents]
        luggage = Luggage(name, {p.digest: content for p, content in zip(parcels, contents, strict=True)})
        for left in reversed(range(_TRIES)):
            try:
                self._client.register_plugin(luggage, name=name)
                break
            except OSError:  # a worker died while it was told
                if not left:
                    raise
        return name, parcels

    def _take_back(self, name: str) -> None:
        if self._client.status == "running":
            with contextlib.suppress(OSError, TimeoutError, CancelledError):  # whoever is gone holds nothing
                self._client.unregister_worker_plugin(name)


class Luggage(WorkerPlugin):  # type: ignore[misc]
    """Contents of parcels, kept by every worker until they are taken back."""

    def __init__(self, name: str, contents: Mapping[str, bytes]) -> None:
        self.name = name
        self._contents = contents

    def setup(self, worker: object) -> None:
        hold(self.name, self._contents)

    def teardown(self, worker: object) -> None:
        drop(self.name)


class _Backend(DaskDistributedBackend):  # type: ignore[misc]
    """joblib's Dask backend, which ends a call where Dask gives a unit up.

    joblib's own hears only of what the unit itself raises. It waits for ever for one whose worker died too often, or
    whose scheduler is gone.
    """

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
        future = super().submit(func, callback)

        def finished(done: Any) -> None:
            if callback is not None and done.exception() is not None:
                callback(done.exception())

        future.add_done_callback(finished)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        if isinstance(out, BaseException):  # Dask's own: those of a unit come wrapped
            raise out
        return super().retrieve_result_callback(out)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Errors of the cluster in our words; those that a unit raises pass."""
    try:
        yield
    except KilledWorker as error:
        raise WorkerError(f"the cluster's workers died again and again: {_line(error)}", GO_ON) from error
    except TimeoutError as error:
        raise WorkerError(*_NO_WORKERS) from error
    except ModuleNotFoundError as error:
        raise WorkerError(
            f"the cluster's processes lack the module {error.name}",
            "install bitplan[cluster] of this version for the scheduler and for every worker",
        ) from error
    except (CancelledError, OSError) as error:
        raise WorkerError(f"the cluster is gone: {_line(error)}", GO_ON) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

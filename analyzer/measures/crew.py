"""Who is asked to do a sweep."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from ..errors import UsageError
from ..network.runtime import DEFAULT_WORKERS
from .distribution import Hands, ProcessHands, ThreadHands
from .sweep import Task


@dataclass(frozen=True)
class Crew:
    """Threads of this process, local processes, or a cluster.

    Attributes:
      threads: Threads, where neither processes nor a cluster are asked for.
      processes: Local processes; 0 for none. A single one is this process itself.
      scheduler: Address of a Dask scheduler, such as `tcp://10.0.0.1:8786`; "" for none.
    """

    threads: int = DEFAULT_WORKERS
    processes: int = 0
    scheduler: str = ""

    @classmethod
    def of(cls, workers: int | None, scheduler: str = "") -> Crew:
        """What `--workers` and `--scheduler` ask for; `workers` None takes threads.

        Raises:
          UsageError: They contradict each other, or the extra for clusters is not installed.
        """
        if workers is not None and workers < 1:
            raise UsageError(f"{workers} workers cannot work", "take at least 1")
        if workers is not None and scheduler:
            raise UsageError(
                "--workers starts processes on this machine, --scheduler gives the work to a cluster",
                "give one of the two",
            )
        if scheduler and importlib.util.find_spec("distributed") is None:
            raise UsageError("--scheduler needs Dask, which is not installed", "pip install 'bitplan[cluster]'")
        return cls(workers or DEFAULT_WORKERS, workers or 0, scheduler)

    def hands(self, task: Task) -> Hands:
        """Makes the crew ready for a task; whoever asks closes what this answers.

        Raises:
          UsageError: The metric cannot be sent to another process.
          WorkerError: The cluster cannot be reached.
        """
        if self.scheduler:
            from .cluster import ClusterHands

            return ClusterHands(task, self.scheduler)
        return ProcessHands(task, self.processes) if self.processes > 1 else ThreadHands(task, self.threads)

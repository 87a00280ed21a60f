"""What can go wrong because of what a user brought, each with what to do about it.

Everything else that is raised is a defect of Bitplan and keeps its traceback.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_LIMIT = 1
EXIT_USAGE = 2
EXIT_MISMATCH = 3
EXIT_UNDECIDED = 5
EXIT_INTERRUPTED = 130


class BitplanError(Exception):
    """An error that its reader can mend.

    Args:
      problem: One line: what is wrong.
      remedy: One line: what to do next.
    """

    exit_code = EXIT_USAGE

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n{remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problem, self.remedy)  # errors of worker processes arrive as they were raised


class UsageError(BitplanError):
    """The options contradict each other, or one cannot be read."""


class UnsupportedModel(BitplanError):
    """The model holds something that Bitplan refuses by name."""


class AlreadyQuantized(UnsupportedModel):
    """The model has quantized tensors, so there is no float reference in it."""


class DataError(BitplanError):
    """The samples do not fit the model, or cannot be read."""


class ShapeMismatch(BitplanError):
    """Two arrays that must have the same shape do not."""


class ImpossibleBudget(BitplanError):
    """No assignment fits the budgets.

    Args:
      problem, remedy: As in `BitplanError`.
      smallest: The least that the limit would have to be, as far as is known.
      limit: What is limited: `file_bytes`, `arena_bytes`, `latency`, `bops` or `noise`.
    """

    exit_code = EXIT_LIMIT

    def __init__(self, problem: str, remedy: str, smallest: float, limit: str = "file_bytes") -> None:
        super().__init__(problem, remedy)
        self.smallest = smallest
        self.limit = limit

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problem, self.remedy, self.smallest, self.limit)


class SolverStopped(BitplanError):
    """The planner's solver stopped before it could prove its plan good enough."""


class RunFolderError(BitplanError):
    """The run folder lacks a stage, or holds one of another model."""


class InUse(RunFolderError):
    """Another process holds a file."""


class WorkerError(BitplanError):
    """Worker processes, or a cluster of them, cannot be reached, or died."""


class PlanMismatch(BitplanError):
    """The emitted file is not what the plan asked for."""

    exit_code = EXIT_MISMATCH

"""What a page shows of repairs, computed; as in `cells.py`."""

from __future__ import annotations

from dataclasses import dataclass

from .cells import Table


@dataclass(frozen=True)
class Fall:
    """One bar of the waterfall, from where the figure stood to where it went.

    Attributes:
      kind: `before repair`, `kept`, `dropped` or `after repair`; the first and the last start at 0.
      start, end: Points of accuracy, or an error.
      low, high: 95 % interval of `end`; equal to it where there is none.
      change: `end` - `start` as text, or `end` for the first and the last.
    """

    label: str
    kind: str
    start: float
    end: float
    low: float
    high: float
    change: str
    note: str


@dataclass(frozen=True)
class Learned:
    """One mark of a training curve; `chosen` is the one whose weights were taken."""

    repair: str
    step: int
    error: float
    chosen: bool


@dataclass(frozen=True)
class RepairPart:
    """What repairs did to the file.

    Attributes:
      outcome: What was kept and what that came to, in a line.
      basis: What the figures stand on, and what the file's size was.
      falls: The waterfall, empty where no repair was tried to its end.
      axis: Title of its figures with their unit.
      error: Name of the error that decided, with its unit.
      learned, training: The curves of repairs that learn step by step; empty and None without any.
      kernels: The simulation and both sets of kernels beside each other; None where nothing was simulated.
      kernels_note: What that table means, "" without it.
    """

    outcome: str
    basis: str
    falls: tuple[Fall, ...]
    axis: str
    error: str
    steps: Table
    learned: tuple[Learned, ...]
    training: Table | None
    kernels: Table | None
    kernels_note: str

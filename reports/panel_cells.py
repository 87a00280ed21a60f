"""What the panel of one layer shows, and what a budget buys, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bins:
    """A histogram of columns of one width.

    Attributes:
      start: Where the first column begins.
      width: Of a column; 0 where all values are equal.
      counts: Of values, exact.
    """

    start: float
    width: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class WeightDrawing:
    """An op's weights.

    Attributes:
      low, high: Extremes of each channel, or of `joined` neighbouring ones.
    """

    bins: Bins
    joined: int
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class ActivationDrawing:
    """One output of an op.

    Attributes:
      minimum, maximum: The range it is quantized for.
      clips: Whether any value that calibration saw lies outside of it.
      note: What of it is clipped, and how much of the range the values use.
    """

    bins: Bins
    minimum: float
    maximum: float
    clips: bool
    note: str


@dataclass(frozen=True)
class Choice:
    """A scheme that an op could have.

    Attributes:
      cells: Texts, as many as `PanelsPart.columns` has behind the scheme.
      chosen: Whether the plan gives it.
    """

    scheme: str
    cells: tuple[str, ...]
    chosen: bool


@dataclass(frozen=True)
class Panel:
    """One layer.

    Attributes:
      op: Its index.
      label: As in every table.
      why: Sentences: why it has its scheme, or why it can have no other.
    """

    op: int
    label: str
    why: tuple[str, ...]
    weights: WeightDrawing | None
    activations: tuple[ActivationDrawing, ...]
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class PanelsPart:
    """The panels of all layers.

    Attributes:
      columns: Heads of the table of schemes, each with what its figure is.
      first: Index of the op whose panel is open at first: the one with the largest error, else the first.
    """

    panels: tuple[Panel, ...]
    columns: tuple[tuple[str, str], ...]
    first: int


@dataclass(frozen=True)
class Stop:
    """What one budget buys.

    Attributes:
      title: The plan and the budgets that it is the best for.
      facts: Names and values.
      schemes: Name for each op.
      borders: Whether each op converts what it reads.
      changed: How the plan differs from the run's own, a sentence.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    schemes: tuple[str, ...]
    borders: tuple[bool, ...]
    changed: str


@dataclass(frozen=True)
class BudgetPart:
    """The slider: plans by rising amount.

    Attributes:
      label: What the budget is of.
      own: Position of the run's own plan.
    """

    label: str
    stops: tuple[Stop, ...]
    own: int


@dataclass(frozen=True)
class Figure:
    """One figure of the card: what it was, what it is, and what that stands on."""

    title: str
    before: str
    after: str
    change: str
    basis: str

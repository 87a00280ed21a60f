"""What a page shows, computed: plain frozen data with its text and its sort value; nothing here formats or draws."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
      text: As shown.
      value: By which it sorts; None sorts last in both directions.
      note: What a reader learns by pointing at it.
      detail: A second, smaller line.
      is_name: The text came from the model: isolated from the direction of writing around it.
      href: Anchor on this page, "" for none.
    """

    text: str
    value: float | str | None = None
    note: str = ""
    detail: str = ""
    is_name: bool = False
    href: str = ""


@dataclass(frozen=True)
class Column:
    """A column's head.

    Attributes:
      note: What the figure is, in a sentence.
      numeric: Right-aligned, and sorted from the largest down at first.
    """

    label: str
    note: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
      cells: As many as the table has columns; the first is the row's head.
      anchor: Id within the page, "" for none.
      role: `plan`, `float`, `aside` (a subset, another kernel) or "".
    """

    cells: tuple[Cell, ...]
    anchor: str = ""
    role: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      id: Unique within the page.
      notes: Sentences below it: what the figures stand on.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """A piece of a sentence: `style` is "" (plain), `figure` or `name`."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
      tone: `good`, `fair` (a measurable loss is left), `bad` (the file is not what was planned) or `open` (not
        measured).
      label: The tone in words: colour alone says nothing to many readers.
      sentences: Each a run of spans.
    """

    tone: str
    label: str
    sentences: tuple[tuple[Span, ...], ...]

    @property
    def text(self) -> str:
        """The sentences as plain text."""
        return " ".join("".join(span.text for span in sentence) for sentence in self.sentences)


@dataclass(frozen=True)
class Bar:
    """One mark of a chart.

    Attributes:
      anchor: Of the layer's row in the table.
      low, high: 95 % interval over samples; equal to `value` where there is none.
      estimated: Whether the value was estimated to first order; else it was measured.
    """

    label: str
    part: str
    value: float
    low: float
    high: float
    note: str
    anchor: str = ""
    estimated: bool = False


@dataclass(frozen=True)
class Ranking:
    """The worst layers under one scheme, worst first; a layer has one bar for each of its parts."""

    scheme: str
    bars: tuple[Bar, ...]
    logarithmic: bool
    shown: int
    total: int


@dataclass(frozen=True)
class Dot:
    """A source that was measured, by its error at the layer (`local`) and at the network's output."""

    label: str
    part: str
    local: float
    output: float
    anchor: str = ""


@dataclass(frozen=True)
class SensitivityPart:
    """Where the error comes from.

    Attributes:
      findings: Sentences computed from the figures.
      method: One of them: which figures were measured, and which estimated.
      has_estimates: Whether any figure of the default scheme is an estimate.
      dots: Only sources that were measured: an estimate has no error at the layer.
    """

    findings: tuple[str, ...]
    method: str
    has_estimates: bool
    default: str
    rankings: tuple[Ranking, ...]
    kinds: tuple[Bar, ...]
    dots: tuple[Dot, ...]
    by_scheme: Table
    local_note: str
    directions: Table | None
    directions_note: str
    unit: str


@dataclass(frozen=True)
class OpinionPart:
    """What the target's own tool says of the emitted file.

    Attributes:
      source: Tool, version and setting: what every figure of it is shown with.
      refusal: Why the target cannot run the file; "" where it can.
      memory: LiteRT's figures beside the tool's; None where the file was refused.
      items: Names and values of the rest.
    """

    source: str
    refusal: str
    memory: Table | None
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FrontierDot:
    """One plan in the frontier's chart.

    Attributes:
      family: `frontier`, `plan`, `by hand`, `greedy` or `threshold`.
      on_line: Whether it is a point of the frontier itself.
      amount: Of what the frontier runs along, in the axis' unit.
      predicted: nmse, above 0.
      measured: nmse of the emitted file; None where there is none.
      place: Of the plan among those that the slider goes through; None for one made in another way.
    """

    label: str
    family: str
    on_line: bool
    amount: float
    predicted: float
    measured: float | None
    note: str
    place: int | None = None


@dataclass(frozen=True)
class FrontierPart:
    """The best plans for every amount of something.

    Attributes:
      findings: Sentences: what it is, where it beats greedy, and whether any other plan beats it.
      dots: By rising amount; plans without any error are left out, for they have no place on a logarithmic axis.
      axis: Title of the amount with its unit.
      rivals: Plans made in other ways; None without any.
    """

    findings: tuple[str, ...]
    dots: tuple[FrontierDot, ...]
    axis: str
    table: Table
    rivals: Table | None


@dataclass(frozen=True)
class TrialPart:
    """The emitted file before the evaluation.

    Attributes:
      basis: What the figures stand on.
      held_back: Whether these samples were kept from ranges and sensitivities.
      outcome: Predicted and measured error of the plan that was kept, and whether the allowed drop holds.
      remeasured: None where nothing was measured again.
    """

    basis: str
    held_back: bool
    outcome: str
    rounds: Table
    remeasured: Table | None
    advice: tuple[str, ...]


@dataclass(frozen=True)
class PlanPart:
    """The plan itself.

    Attributes:
      mix: How many ops have which scheme.
      limits: What it may use, what it is predicted to use, and what its file uses; None where nothing is predicted.
      price: What a little more would buy, a sentence; "" where nobody computed it.
    """

    mix: str
    limits: Table | None
    price: str
    frontier: FrontierPart | None
    trial: TrialPart | None
    reasons: Table | None


@dataclass(frozen=True)
class StripCell:
    """One op of the strip.

    Attributes:
      label: The layer's name.
      scheme: Name of its scheme.
      mark: The scheme in two or three characters.
      border: What changes format at its inputs, "" for nothing.
      height: Of its error bar, 0 to 1; None where the table has no error of it.
      estimated: Whether more than half of that error is an estimate.
      note: Everything about it in one line.
    """

    anchor: str
    label: str
    scheme: str
    mark: str
    border: str
    height: float | None
    estimated: bool
    note: str


@dataclass(frozen=True)
class Strip:
    """The network in execution order.

    Attributes:
      legend: Scheme, its mark, and what it means with the number of ops that have it.
      exit_border: What changes format between the last ops and the model's outputs, "" for nothing.
    """

    cells: tuple[StripCell, ...]
    legend: tuple[tuple[str, str, str], ...]
    summary: str
    has_errors: bool
    has_borders: bool
    exit_border: str = ""

    @property
    def has_estimates(self) -> bool:
        return any(cell.estimated for cell in self.cells)


@dataclass(frozen=True)
class Sparkline:
    """A histogram for drawing.

    Attributes:
      heights: 0 to 1, left to right over minimum to maximum.
      zero: Where 0 lies, 0 to 1; None outside the range.
      inner: Where the middle 99.8 % of the values lie, 0 to 1.
    """

    heights: tuple[float, ...]
    zero: float | None
    inner: tuple[float, float]


@dataclass(frozen=True)
class RangesPart:
    """Calibration ranges, or weights: a table, and for each of its rows the histogram."""

    table: Table
    sparklines: tuple[Sparkline, ...]


@dataclass(frozen=True)
class Facts:
    """A titled list of names and values."""

    title: str
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunPart:
    """What was run. `measured` stands apart: equal runs differ there and nowhere else."""

    facts: tuple[Facts, ...]
    warnings: tuple[str, ...]
    measured: Facts | None

"""Runs beside one another: before and after a retraining, several targets, several budgets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ..analyzer.schema import Interval
from . import amounts, numbers
from .cells import Cell, Column, Row, Table, Verdict
from .export import plain
from .plan import diff_totals
from .side_figures import Side, SideFigures, side_figures
from .sources import labels, sample_word
from .verdict import build_verdict

COMPARISON_VERSION = 1


@dataclass(frozen=True)
class SideBySide:
    """The page as data.

    Attributes:
      findings: Every other run against the first, a sentence or two each.
      plans: The same of their plans, as predicted, where the structure is the same.
      verdicts: Each run's own answer.
      table: One row a run.
      changed: Ops whose schemes differ; None without any.
      layers: All ops of the runs that have a plan for the first run's structure; None where that is fewer than two.
      notes: What cannot be compared.
    """

    title: str
    findings: tuple[str, ...]
    plans: tuple[str, ...]
    verdicts: tuple[tuple[str, Verdict], ...]
    figures: tuple[SideFigures, ...]
    table: Table
    changed: Table | None
    layers: Table | None
    notes: tuple[str, ...]


def build_side_by_side(sides: Sequence[Side]) -> SideBySide:
    """Computes the page; pure.

    Args:
      sides: At least two; the first is what the others are held against.
    """
    figures = tuple(side_figures(side) for side in sides)
    others = zip(sides[1:], figures[1:], strict=True)
    return SideBySide(
        title=f"{numbers.plural(len(sides), 'run')} side by side",
        findings=tuple(_against(sides[0], side, figures[0], found) for side, found in others),
        plans=tuple(_plans(sides[0], side) for side in sides[1:] if side.diff is not None),
        verdicts=tuple((numbers.name(side.name), build_verdict(side.results)) for side in sides),
        figures=figures,
        table=_table(sides, figures),
        changed=_layers(sides, only_changed=True),
        layers=_layers(sides, only_changed=False),
        notes=_notes(sides, figures),
    )  # fmt: skip


def comparison_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that `comparison_json` keeps to."""
    text = resources.files(__package__).joinpath("schemas/comparison.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def comparison_json(sides: Sequence[Side]) -> dict[str, Any]:
    """The same figures, unrounded, as plain JSON values in a fixed order."""
    document = {
        "format": "bitplan-comparison",
        "version": COMPARISON_VERSION,
        "runs": [dataclasses.asdict(side_figures(side)) for side in sides],
        "layers": [
            {"op": op, "layer": layer, "schemes": dict(schemes), "differ": len(set(schemes.values())) > 1}
            for op, layer, schemes in _schemes(sides)
        ],
        "notes": _notes(sides, [side_figures(side) for side in sides]),
    }
    found: dict[str, Any] = plain(document)
    return found


# --- sentences -------------------------------------------------------------------------------------------------------


def _against(first: Side, side: Side, one: SideFigures, other: SideFigures) -> str:
    """What the second run has instead of the first's."""
    facts = []
    if one.file_bytes is not None and other.file_bytes is not None:
        facts.append(f"flash {_change(other.file_bytes - one.file_bytes)}{_how(one, other)}")
    if one.arena_bytes is not None and other.arena_bytes is not None:
        if one.arena_by == other.arena_by:
            facts.append(f"RAM ({one.arena_by}) {_change(other.arena_bytes - one.arena_bytes)}{_how(one, other)}")
        else:
            both = [f"{numbers.kibibytes(f.arena_bytes or 0)} ({f.arena_by})" for f in (other, one)]
            facts.append(f"RAM {both[0]} instead of {both[1]}: unlike figures")
    text = f"{numbers.name(side.name)} against {numbers.name(first.name)}: {', '.join(facts) or 'no sizes to compare'}."
    return text + _drops(one, other, sample_word(side.results.graph))


def _plans(first: Side, side: Side) -> str:
    """What the second run's plan has instead of the first's, as predicted."""
    assert side.diff is not None and side.results.plan is not None
    said = diff_totals(side.diff, side.results.plan.latency_unit)
    return f"{numbers.name(side.name)} against {numbers.name(first.name)}: {said}"


def _change(change: int) -> str:
    return "the same" if change == 0 else numbers.signed_bytes(change)


def _how(one: SideFigures, other: SideFigures) -> str:
    if one.measured and other.measured:
        return ""
    return " (predicted)" if not (one.measured or other.measured) else " (one of them predicted)"


def _drops(one: SideFigures, other: SideFigures, word: str) -> str:
    if one.drop is None or other.drop is None or one.drop_of != other.drop_of:
        return ""
    unit = {"accuracy": " points of accuracy", "agreement": " % other answers", "metric": " of the metric"}[one.drop_of]
    bases = [_basis(other, word), _basis(one, word)]
    if bases[0] == bases[1]:
        bases.pop()
    ours, theirs, basis = numbers.interval(other.drop), numbers.interval(one.drop), "; ".join(bases)
    if one.drop == other.drop and len(bases) == 1:
        return f" Drop against float: {ours}{unit} in both ({basis})."
    text = f" Drop, each against its own float network: {ours}{unit} instead of {theirs} ({basis})."
    if one.drop.low <= other.drop.high and other.drop.low <= one.drop.high:
        text += " The intervals overlap: these samples may not tell the two apart."
    return text


def _basis(found: SideFigures, word: str) -> str:
    return f"{numbers.count(found.samples or 0)} {word}, {numbers.kernels(found.kernels)}"


def _notes(sides: Sequence[Side], figures: Sequence[SideFigures]) -> tuple[str, ...]:
    notes = []
    measured = [f for f in figures if f.measured]
    if len({f.data_digest for f in measured}) > 1:
        notes.append("The runs were judged on different samples: their accuracies are of different things.")
    if len({f.kernels for f in measured}) > 1:
        notes.append("The runs were measured with different kernels.")
    if any(f.on_calibration for f in measured):
        named = ", ".join(numbers.name(f.name) for f in measured if f.on_calibration)
        notes.append(f"Without evaluation data, on the samples that the plan was chosen on: {named}.")
    if len({f.model_digest for f in figures}) > 1:
        notes.append("The float networks differ: every drop is against the run's own.")
    unlike = [numbers.name(side.name) for side in sides[1:] if side.results.plan and side.diff is None]
    if sides[0].results.plan is None:
        notes.append(f"{numbers.name(sides[0].name)} has no plan: nothing is compared layer by layer.")
    elif unlike:
        notes.append(
            f"Of another structure than {numbers.name(sides[0].name)}, so not compared layer by layer: "
            f"{', '.join(unlike)}."
        )
    return tuple(notes)


# --- tables ----------------------------------------------------------------------------------------------------------


def _table(sides: Sequence[Side], figures: Sequence[SideFigures]) -> Table:
    kinds = {f.drop_of for f in figures if f.drop}
    candidates = (
        (Column("Run", "The run folder, and the model in it"), _run, True),
        (Column("Target"), lambda f, _: Cell(numbers.name(f.target), f.target), any(f.target for f in figures)),
        (Column(amounts.FLASH, "Of the .tflite file; MB is 10^6 bytes", True), _flash, _any(figures, "file_bytes")),
        (Column("RAM", "Of activations, and by whom; KiB is 1024 bytes", True), _ram, _any(figures, "arena_bytes")),
        (Column("Accuracy", "Share of right top-1 answers, with its 95 % score interval", True), _accuracy,
         _any(figures, "accuracy")),
        (Column(_drop_label(kinds), "Paired over the same samples, 95 % interval", True), _drop, bool(kinds)),
        (Column("Output error", "nmse at the network's output", True), _error, _any(figures, "nmse")),
        (Column("Time on a CPU", "Of one sample, one thread of the machine that judged the file", True), _cpu,
         _any(figures, "cpu_ms")),
        (Column("Predicted latency", "By the target's table, one op after the other", True), _latency,
         _any(figures, "predicted_latency")),
        (Column("Schemes", "How many ops have which"), _mix, any(f.schemes for f in figures)),
        (Column("Measured on"), _measured_on, any(f.measured for f in figures)),
    )  # fmt: skip
    shown = [(column, make) for column, make, wanted in candidates if wanted]
    rows = tuple(
        Row(tuple(make(f, figures[0]) for _, make in shown), role="float" if f is figures[0] else "") for f in figures
    )
    notes = [f"Changes are against {numbers.name(sides[0].name)}."]
    if not all(f.measured for f in figures):
        notes.append(f"{numbers.ALMOST_EQUAL} marks what is predicted of a file that was not measured.")
    return Table("runs", "The runs", tuple(column for column, _ in shown), rows, tuple(notes))


def _any(figures: Sequence[SideFigures], field: str) -> bool:
    return any(getattr(f, field) is not None for f in figures)


def _drop_label(kinds: set[str]) -> str:
    labels = {"accuracy": "Drop, points", "agreement": "Other answer, %", "metric": "Drop of the metric"}
    return labels[next(iter(kinds))] if len(kinds) == 1 else "Drop against float"


def _run(f: SideFigures, _first: SideFigures) -> Cell:
    detail = f"{numbers.name(f.model) or 'model'}, {numbers.megabytes(f.float_bytes)} in float"
    return Cell(numbers.name(f.name), f.name, detail=detail, is_name=True)


def _bytes(value: int | None, first: int | None, text: str, f: SideFigures, detail: str = "") -> Cell:
    if value is None:
        return Cell("", None)
    change = "" if first is None or value == first else numbers.signed_bytes(value - first)
    note = f"{numbers.count(value)} bytes"
    return Cell(numbers.marked(text, f.measured), value, note, "; ".join(filter(None, (change, detail))))


def _flash(f: SideFigures, first: SideFigures) -> Cell:
    return _bytes(f.file_bytes, first.file_bytes, numbers.megabytes(f.file_bytes or 0, 3), f)


def _ram(f: SideFigures, first: SideFigures) -> Cell:
    comparable = first.arena_bytes if f.arena_by == first.arena_by else None
    return _bytes(f.arena_bytes, comparable, numbers.kibibytes(f.arena_bytes or 0), f, f.arena_by)


def _accuracy(f: SideFigures, _first: SideFigures) -> Cell:
    if f.accuracy is None:
        return Cell("", None)
    percent = Interval(*(100 * x for x in (f.accuracy.value, f.accuracy.low, f.accuracy.high)))
    detail = "" if f.float_accuracy is None else f"float: {numbers.percent(f.float_accuracy, 2)}"
    return Cell(f"{numbers.interval(percent)} %", f.accuracy.value, detail=detail)


def _drop(f: SideFigures, first: SideFigures) -> Cell:
    if f.drop is None:
        return Cell("", None)
    kind = {"agreement": "other answers, %", "metric": "of the metric"}.get(f.drop_of, "points of accuracy")
    return Cell(numbers.interval(f.drop), f.drop.value, detail="" if f.drop_of == first.drop_of else kind)


def _error(f: SideFigures, _first: SideFigures) -> Cell:
    return Cell("", None) if f.nmse is None else Cell(numbers.marked(numbers.significant(f.nmse), f.measured), f.nmse)


def _cpu(f: SideFigures, _first: SideFigures) -> Cell:
    return Cell("", None) if f.cpu_ms is None else Cell(f"{numbers.significant(f.cpu_ms)} ms", f.cpu_ms)


def _latency(f: SideFigures, _first: SideFigures) -> Cell:
    if f.predicted_latency is None:
        return Cell("", None)
    whose = "no device: counted in bits" if f.target == "any" else f"on {numbers.name(f.target)}"
    return Cell(amounts.latency(f.predicted_latency, f.latency_unit), f.predicted_latency, detail=whose)


def _mix(f: SideFigures, _first: SideFigures) -> Cell:
    text = amounts.mix([scheme for scheme, count in f.schemes.items() for _ in range(count)])
    return Cell(text, text)


def _measured_on(f: SideFigures, _first: SideFigures) -> Cell:
    if not f.measured:
        return Cell("not measured", -1)
    word = "calibration samples" if f.on_calibration else "samples"
    return Cell(_basis(f, word), f.samples)


def _schemes(sides: Sequence[Side]) -> list[tuple[str, str, dict[str, str]]]:
    """Key, layer and each run's scheme of every op, of the runs with a plan for the first one's structure."""
    first, others = sides[0], [side for side in sides[1:] if side.diff is not None]
    if first.results.plan is None or not others:
        return []
    layer = labels(first.results.graph)
    found = []
    for index, assignment in enumerate(first.results.plan.assignments):
        schemes = {first.name: assignment.scheme}
        for side in others:
            assert side.diff is not None
            schemes[side.name] = side.diff.ops[index].after
        found.append((assignment.op, layer.get(index, numbers.name(assignment.layer)), schemes))
    return found


def _layers(sides: Sequence[Side], *, only_changed: bool) -> Table | None:
    found = _schemes(sides)
    if not found:
        return None
    names = list(found[0][2])
    diffs = {side.name: side.diff for side in sides}
    rows = []
    for index, (_, layer, schemes) in enumerate(found):
        differ = len(set(schemes.values())) > 1
        if only_changed and not differ:
            continue
        cells = [Cell(layer, layer, is_name=True), Cell(str(index), index)]
        for name in names:
            diff = diffs[name]
            change = diff.ops[index] if diff is not None and diff.ops[index].changed else None
            detail = "" if change is None or not change.bytes_change else numbers.signed_bytes(change.bytes_change)
            note = "" if change is None else f"predicted error {numbers.signed(change.noise_change)}"
            cells.append(Cell(schemes[name], schemes[name], note, detail))
        rows.append(Row(tuple(cells), role="plan" if differ and not only_changed else ""))
    if not rows:
        return None
    columns = (
        Column("Layer"),
        Column("#", "Position in execution order", True),
        *(Column(numbers.name(n)) for n in names),
    )
    if only_changed:
        count = f"{len(rows)} of {numbers.plural(len(found), 'op')}"
        note = f"Bytes of weights, biases and scales are predicted, against {numbers.name(names[0])}."
        return Table("changed", f"Ops whose schemes differ: {count}", columns, tuple(rows), (note,))
    return Table("schemes", "All ops; the marked ones differ", columns, tuple(rows))

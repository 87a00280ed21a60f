"""What a plan may use, what it is predicted to use, and what its file uses."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..analyzer.schema import Plan, Price, Results
from . import amounts, numbers
from .cells import Cell, Column, Row, Table

_BYTES = ("file_bytes", "arena_bytes")


@dataclass(frozen=True)
class _Figure:
    """One row: `limit` and `measured` are None where there is none."""

    of: str
    note: str
    limit: float | None
    predicted: float
    measured: float | None


def limits_table(results: Results) -> Table | None:
    """One row for each figure that is predicted; None where a plan predicts nothing, as one from elsewhere does.

    Columns are there where they have something: a limit was set, or the file was measured.
    """
    plan = results.plan
    figures = _figures(results)
    if plan is None or not figures:
        return None
    limited = any(figure.limit is not None for figure in figures)
    measured = any(figure.measured is not None for figure in figures)
    columns = [Column("Of the plan")]
    if limited:
        columns.append(Column("Limit", "What the plan was asked to keep", True))
    columns.append(Column("Predicted", "By the planner, before the file was made", True))
    if measured:
        columns += [
            Column("Measured", "On the emitted file", True),
            Column("Measured against predicted", "", True),
        ]
    rows = tuple(Row(_cells(figure, plan, limited, measured)) for figure in figures)
    notes = []
    if any(figure.of == "latency" for figure in figures):
        notes.append(f"{amounts.latency_label(plan)}: {amounts.lowered(amounts.latency_note(plan))}.")
    if measured and results.repair and results.repair.kept:
        notes.append("Predictions are of the plan without repair; the file that was measured is the repaired one.")
    caption = "Predicted and measured" if measured else "Predicted"
    return Table("limits", caption, tuple(columns), rows, tuple(notes))


def _figures(results: Results) -> list[_Figure]:
    plan, verification = results.plan, results.verification
    if plan is None:
        return []
    emitted = verification.find("plan") if verification else None
    size = verification.predicted_bytes if verification else plan.predicted_bytes
    error = verification.predicted_nmse if verification else plan.predicted_nmse
    if size <= 0:
        return []
    candidates = (
        _Figure("file_bytes", "", plan.budget_bytes, size, emitted.file_bytes if emitted else None),
        _Figure(
            "arena_bytes",
            amounts.arena_note(plan),
            plan.arena_budget_bytes,
            _known(plan.predicted_arena_bytes),
            emitted.arena_bytes if emitted else None,
        ),
        _Figure("latency", amounts.latency_note(plan), plan.latency_budget, _known(plan.predicted_latency), None),
        _Figure(
            "bops",
            "Multiply-accumulates, times weight bits, times activation bits, of one sample",
            plan.bops_budget,
            _known(plan.predicted_bops),
            None,
        ),
        _Figure("noise", "", plan.noise_budget, error, verification.measured_nmse if verification else None),
    )
    return [figure for figure in candidates if not math.isnan(figure.predicted)]


def _known(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _cells(figure: _Figure, plan: Plan, limited: bool, measured: bool) -> tuple[Cell, ...]:
    cells = [Cell(amounts.title(figure.of, plan), amounts.title(figure.of, plan), figure.note)]
    if limited:
        used = figure.predicted if figure.measured is None else figure.measured
        share = "" if not figure.limit else f"{numbers.percent(used / figure.limit, 1)} used"
        cells.append(_cell(figure.of, figure.limit, plan, share))
    cells.append(_cell(figure.of, figure.predicted, plan))
    if measured:
        found = figure.measured
        cells.append(_cell(figure.of, found, plan))
        cells.append(Cell("" if found is None else _against(figure.of, figure.predicted, found)))
    return tuple(cells)


def _cell(of: str, value: float | None, plan: Plan, detail: str = "") -> Cell:
    if value is None:
        return Cell("", None)
    text = numbers.plural(round(value), "byte") if of in _BYTES else amounts.amount(of, value, plan.latency_unit)
    return Cell(text, value, detail=detail)


def _against(of: str, predicted: float, measured: float) -> str:
    if of in _BYTES:
        return _difference(round(measured - predicted), round(predicted))
    if predicted == measured:
        return "exact"
    if predicted <= 0 or measured <= 0:
        return "not comparable"
    return f"{numbers.significant(measured / predicted)} times the prediction"


def _difference(extra: int, base: int) -> str:
    if extra == 0:
        return "exact"
    share = f" ({numbers.percent(abs(extra) / base, 2)})" if base else ""
    return f"{numbers.signed_bytes(extra)}{share}"


def price_sentence(price: Price | None, plan: Plan | None) -> str:
    """What a little more would buy; "" where nobody computed it.

    The rate between two points says nothing of what lies between them, nor behind the second: where the step goes
    farther, the point itself is named.
    """
    if price is None or plan is None:
        return ""
    if price.noise <= 0:
        return "No predicted error is left that more could remove."
    what = {"file_bytes": "of flash", "arena_bytes": "of RAM", "latency": "of latency", "bops": "bit operations"}[
        price.of
    ]
    distance = price.next_amount - price.amount
    far = price.step > distance
    step = _step(price.of, min(price.step, distance), plan.latency_unit)
    removed = price.noise - price.next_noise if far else price.bought
    here, there = (amounts.amount(price.of, value, plan.latency_unit) for value in (price.amount, price.next_amount))
    before, after = numbers.significant(price.noise), numbers.significant(price.next_noise)
    return (
        f"The next {step} {what} would remove {numbers.percent(removed / price.noise)} of the predicted error"
        f"{':' if far else ', at the rate'} from one plan ({here}, error {before}) to the next ({there}, {after})."
    )


def _step(of: str, step: float, unit: str) -> str:
    if of not in _BYTES:
        return amounts.amount(of, step, unit)
    if step < 1000:
        return numbers.plural(round(step), "byte")
    return f"{numbers.significant(step / 1e3)} kB" if step < 1e6 else f"{numbers.significant(step / 1e6)} MB"

"""Why each op has its scheme: what that costs, what it gains, and the next best choice."""

from __future__ import annotations

from ..analyzer.schema import SCHEMES, Alternative, Plan, Reason, Results
from . import amounts, numbers
from .cells import Cell, Column, Row, Table
from .sources import labels, op_anchor

_NOTES = (
    "Single steps from the plan: one op changes, and the movement ops behind it, while all others keep their schemes.",
)


def reason_table(results: Results) -> Table | None:
    """One row an op, in execution order; None where nobody asked why."""
    reasons = results.planning.reasons if results.planning else ()
    plan = results.plan
    if not reasons or plan is None:
        return None
    layer, position = labels(results.graph), {op.key: op.index for op in results.graph.ops}
    together = sum(reason.noise for reason in reasons)
    columns = (
        Column("Layer"),
        Column("#", "Position in execution order", True),
        Column("Scheme"),
        Column("Bytes", "Of its weights, bias and scales", True),
        Column(amounts.latency_title(plan), f"Of the op alone. {amounts.latency_note(plan)}", True),
        Column("Error", "Its share of the predicted output error (nmse)", True),
        Column("Share", "Of the predicted error of all ops", True),
        Column("Gain over the next cheaper", "Output error (nmse) that the next smaller scheme would add", True),
        Column("Next best", "The scheme that would add the least error if this one were not to be had"),
        Column("Change of error", "What that would add to the predicted output error (nmse)", True),
        Column("Fits", "Whether the plan would keep its limits"),
    )
    rows = []
    for reason in reasons:
        op = position.get(reason.op)
        name = numbers.name(reason.layer) if op is None else layer[op]
        cells = (
            Cell(name, name, is_name=True, href="" if op is None else f"#{op_anchor(op)}"),
            Cell("", None) if op is None else Cell(str(op), op),
            Cell(reason.scheme, _order(reason.scheme)),
            Cell(numbers.count(reason.bytes) if reason.bytes else "", reason.bytes or None),
            Cell(numbers.significant(reason.latency), reason.latency),
            Cell(numbers.significant(reason.noise), reason.noise),
            Cell(numbers.percent(reason.noise / together, 1) if together > 0 else "", reason.noise),
            _gain(reason),
            *_next_best(reason.next_best, plan),
        )
        rows.append(Row(cells))
    return Table("reasons", "Why this plan, op by op", columns, tuple(rows), _NOTES)


def _order(scheme: str) -> int | None:
    names = list(SCHEMES)
    return names.index(scheme) if scheme in names else None


def _gain(reason: Reason) -> Cell:
    other = reason.cheaper
    if other is None:
        return Cell("", None, "No scheme of it is smaller")
    more = numbers.plural(-other.bytes_change, "byte")
    return Cell(
        numbers.significant(other.noise_change), other.noise_change, detail=f"over {other.scheme}, for {more} more"
    )


def _next_best(other: Alternative | None, plan: Plan) -> tuple[Cell, Cell, Cell]:
    if other is None:
        return Cell("", None, "It has no other scheme"), Cell("", None), Cell("", None)
    changes = [numbers.signed_bytes(other.bytes_change)] if other.bytes_change else []
    if other.latency_change:
        unit = amounts.MS if plan.latency_unit == amounts.MS else f"{numbers.TIMES} int8"
        changes.append(f"{amounts.latency_label(plan).lower()} {numbers.signed(other.latency_change)} {unit}")
    return (
        Cell(other.scheme, _order(other.scheme), detail=", ".join(changes)),
        Cell(numbers.signed(other.noise_change), other.noise_change),
        Cell("yes" if other.fits else "no"),
    )

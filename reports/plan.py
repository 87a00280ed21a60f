"""The plan: what it uses of its limits, what else there was, how it was tried, and why it is as it is."""

from __future__ import annotations

from ..analyzer.schema import Evaluation, OpChange, PlanDiff, Results
from . import amounts, numbers
from .cells import Cell, Column, PlanPart, Row, Table
from .frontier import frontier_part
from .limits import limits_table, price_sentence
from .reasons import reason_table
from .trial import trial_part


def plan_part(results: Results) -> PlanPart | None:
    """Everything about the plan but its strip; None without one."""
    plan, planning = results.plan, results.planning
    if plan is None:
        return None
    return PlanPart(
        mix=f"{amounts.mix([a.scheme for a in plan.assignments])}: {_made(results)}.",
        limits=limits_table(results),
        price=price_sentence(planning.price if planning else None, plan),
        frontier=frontier_part(results),
        trial=trial_part(results),
        reasons=reason_table(results),
    )


def _made(results: Results) -> str:
    plan = results.plan
    assert plan is not None
    least = {
        "noise": "the least predicted error", "file_bytes": "the smallest file", "arena_bytes": "the smallest arena",
        "latency": "the shortest predicted time", "bops": "the fewest bit operations",
    }[plan.minimised]  # fmt: skip
    how = {"milp": f"{least} within the limits", "given": "a plan from elsewhere"}
    made = how.get(plan.strategy, f"made by {numbers.name(plan.strategy)}")
    return f"{made}, for the target {numbers.name(plan.target)}"


def diff_table(found: PlanDiff) -> Table:
    """The ops whose schemes differ, in execution order."""
    columns = (
        Column("Layer"),
        Column("#", "Position in execution order", True),
        Column("Before"),
        Column("After"),
        Column("Bytes", "Change of its weights, bias and scales", True),
        Column("Error", "Change of its share of the predicted output error (nmse)", True),
    )
    position = {op.op: index for index, op in enumerate(found.ops)}
    rows = tuple(_change(op, position[op.op]) for op in found.changes)
    return Table("diff", "Ops that differ", columns, rows)


def _change(op: OpChange, index: int) -> Row:
    return Row((
        Cell(numbers.name(op.layer), op.layer, is_name=True),
        Cell(str(index), index),
        Cell(op.before, op.before),
        Cell(op.after, op.after),
        Cell(numbers.signed_bytes(op.bytes_change), op.bytes_change),
        Cell(numbers.signed(op.noise_change), op.noise_change),
    ))  # fmt: skip


def diff_totals(found: PlanDiff, latency_unit: str = "") -> str:
    """What changes as a whole, in a sentence or two.

    Args:
      found: Of two plans.
      latency_unit: `Plan.latency_unit` of both.
    """
    changed, ops = len(found.changes), len(found.ops)
    facts = [f"flash {numbers.signed_bytes(found.bytes_change)}"]
    arena = "not known for both" if found.arena_change is None else numbers.signed_bytes(found.arena_change)
    facts.append(f"arena {arena}")
    if found.latency_change is not None:
        unit = {"ms": " ms", "": ""}.get(latency_unit, f" {numbers.TIMES} int8")
        facts.append(f"latency {numbers.signed(found.latency_change)}{unit}")
    facts.append(f"predicted error {numbers.signed(found.noise_change)}")
    text = f"{changed} of {numbers.plural(ops, 'op')} differ; as predicted, {', '.join(facts)}."
    if not found.same_network:
        text += " The networks have other weights, so their errors and sizes are of different things."
    return text


def diff_measured(before: Evaluation, after: Evaluation) -> str:
    """What two emitted files were measured to be, in a sentence."""
    return f"Measured: {_measured(before)} -> {_measured(after)}."


def _measured(evaluation: Evaluation) -> str:
    facts = [
        f"flash {numbers.count(evaluation.file_bytes)} bytes",
        f"arena {numbers.count(evaluation.arena_bytes)} bytes",
    ]
    if evaluation.drop_points is not None:
        drop = numbers.interval(evaluation.drop_points)
        facts.append(f"{evaluation.drop_of} drop {drop} points ({evaluation.error.samples} samples)")
    return ", ".join(facts)

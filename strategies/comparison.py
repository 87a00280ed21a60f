"""Two plans op by op."""

from __future__ import annotations

from ..analyzer.errors import UsageError
from ..analyzer.schema import OpChange, Plan, PlanDiff


def diff_plans(a: Plan, b: Plan) -> PlanDiff:
    """Compares two plans, be they of one network or of two of equal structure, such as a model trained again.

    Args:
      a: The earlier plan.
      b: The later one; gives the labels.

    Raises:
      UsageError: A plan is of a network of another structure.
    """
    _check_structure([assignment.op for assignment in a.assignments], [assignment.op for assignment in b.assignments])
    ops = tuple(
        OpChange(y.op, y.layer, x.scheme, y.scheme, y.predicted_nmse - x.predicted_nmse, y.bytes - x.bytes)
        for x, y in zip(a.assignments, b.assignments, strict=True)
    )
    arena = latency = None
    if a.predicted_arena_bytes is not None and b.predicted_arena_bytes is not None:
        arena = b.predicted_arena_bytes - a.predicted_arena_bytes
    comparable = (a.latency_unit, a.target) == (b.latency_unit, b.target)
    if comparable and a.predicted_latency is not None and b.predicted_latency is not None:
        latency = b.predicted_latency - a.predicted_latency
    return PlanDiff(
        ops, a.graph_digest == b.graph_digest, b.predicted_nmse - a.predicted_nmse,
        b.predicted_bytes - a.predicted_bytes, arena, latency,
    )  # fmt: skip


def _check_structure(one: list[str], other: list[str]) -> None:
    if one == other:
        return
    wrong = next((f"{a} and {b}" for a, b in zip(one, other, strict=False) if a != b), None)
    problem = f"their ops differ, first {wrong}" if wrong else f"they have {len(one)} and {len(other)} ops"
    raise UsageError(
        f"the plans are of networks of unlike structure: {problem}",
        "compare plans of one network, or of the same network trained again",
    )

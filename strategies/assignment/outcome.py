"""Schemes -> Plan, with the figures that every strategy reports in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from ...analyzer.conversion.costs import Costs
from ...analyzer.errors import ImpossibleBudget
from ...analyzer.schema import Assignment, Format, Graph, Plan, Scheme
from .noise import Noise, evaluate_noise, noise_shares


def build_plan(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    schemes: Sequence[Scheme],
    *,
    strategy: str,
    io: Format,
    allowed: Sequence[str],
    budget_bytes: int | None,
    smallest_bytes: int | None = None,
    mip_gap: float | None = None,
    status: str = "",
) -> Plan:
    """Puts a plan together; see `Plan` for the arguments.

    Raises:
      RunFolderError: A noise term that the schemes need was not measured.
    """
    shares = noise_shares(graph, noise, schemes, io)
    counted: set[tuple[int, str]] = set()
    assignments = []
    for op, scheme, share in zip(graph.ops, schemes, shares, strict=True):
        choice = (op.index, scheme.name)
        keys = [key for key in costs.shared.get(choice, ()) if key not in counted]
        counted.update(keys)
        size = costs.op_bytes[choice] + sum(costs.shared_bytes[key] for key in keys)
        assignments.append(Assignment(op.key, op.layer, scheme.name, share, size))
    return Plan(
        assignments=tuple(assignments),
        strategy=strategy,
        io=io,
        allowed=tuple(allowed),
        graph_digest=graph.digest,
        predicted_bytes=costs.total(schemes, io),
        predicted_nmse=evaluate_noise(graph, noise, schemes, io),
        budget_bytes=budget_bytes,
        smallest_bytes=smallest_bytes,
        mip_gap=mip_gap,
        status=status,
    )


def impossible(budget_bytes: int, smallest_bytes: int, allowed: Sequence[str]) -> ImpossibleBudget:
    """The error for a budget below the smallest file."""
    return ImpossibleBudget(
        f"the budget of {budget_bytes} bytes is below the smallest possible file: {smallest_bytes} bytes "
        f"with {', '.join(allowed)}",
        f"raise --size-budget to at least {smallest_bytes}B, or allow narrower schemes (--allow w4a8,...)",
        smallest_bytes,
    )

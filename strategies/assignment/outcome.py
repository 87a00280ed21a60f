"""Schemes -> Plan, with the figures that every strategy reports in the same way, and the error where none fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...analyzer.errors import ImpossibleBudget
from ...analyzer.schema import Assignment, Plan, Scheme
from .budgets import MS
from .noise import noise_shares
from .problem import Problem

_DIGITS = 4
"""Significant digits of what a message asks people to type, rounded up."""


def build_plan(
    problem: Problem,
    schemes: Sequence[Scheme],
    *,
    strategy: str,
    smallest_bytes: int | None = None,
    mip_gap: float | None = None,
    status: str = "",
) -> Plan:
    """Puts a plan together; see `Plan` for the arguments.

    Raises:
      RunFolderError: A noise term that the schemes need was not measured.
    """
    graph, costs, io, budgets = problem.graph, problem.resources.costs, problem.io, problem.budgets
    shares = noise_shares(graph, problem.noise, schemes, io)
    counted: set[tuple[int, str]] = set()
    assignments = []
    for op, scheme, share in zip(graph.ops, schemes, shares, strict=True):
        choice = (op.index, scheme.name)
        keys = [key for key in costs.shared.get(choice, ()) if key not in counted]
        counted.update(keys)
        size = costs.op_bytes[choice] + sum(costs.shared_bytes[key] for key in keys)
        assignments.append(Assignment(op.key, op.layer, scheme.name, share, size))
    usage = problem.usage(schemes)
    return Plan(
        assignments=tuple(assignments),
        strategy=strategy,
        io=io,
        allowed=problem.allowed,
        graph_digest=graph.digest,
        predicted_bytes=usage.file_bytes,
        predicted_nmse=usage.noise,
        budget_bytes=budgets.file_bytes,
        smallest_bytes=smallest_bytes,
        mip_gap=mip_gap,
        status=status,
        target=problem.target.name,
        per_channel=problem.noise.per_channel,
        minimised=problem.goal,
        predicted_arena_bytes=problem.memory.packed(schemes),
        predicted_latency=usage.latency,
        latency_unit=problem.resources.unit,
        predicted_bops=usage.bops,
        arena_budget_bytes=budgets.arena_bytes,
        latency_budget=budgets.latency,
        bops_budget=budgets.bops,
        noise_budget=budgets.noise,
    )


def impossible(problem: Problem, limit: str, smallest: float) -> ImpossibleBudget:
    """The error for a limit that no plan keeps.

    Args:
      problem: With the limit.
      limit: Its name, as in `Budgets`.
      smallest: The least that it would have to be.
    """
    given = problem.budgets.limits()[limit]
    which = f"with {', '.join(problem.allowed)}"
    if problem.target.name != "any":
        which += f" on {problem.target.name}"
    if len(problem.budgets.limits()) > 1:
        which += " within the other limits"
    if limit == "file_bytes":
        return ImpossibleBudget(
            f"the budget of {given:.0f} bytes is below the smallest possible file: {smallest:.0f} bytes {which}",
            f"raise --size-budget to at least {smallest:.0f}B, or allow narrower schemes (--allow w4a8,...)",
            smallest,
        )
    if limit == "arena_bytes":
        return ImpossibleBudget(
            f"the arena budget of {given:.0f} bytes is below the smallest arena found: {smallest:.0f} bytes {which}",
            f"raise --arena-budget to at least {smallest:.0f}B, or allow 8-bit activations (--allow w8a8,...)",
            smallest,
            limit,
        )
    if limit == "noise":
        return ImpossibleBudget(
            f"no plan has a predicted error of {given:.3g}: the least is {smallest:.3g} {which}",
            "allow a larger drop, or wider schemes (--allow w8a16,w16a16,float)",
            smallest,
            limit,
        )
    least = _rounded_up(smallest)
    if limit == "bops":
        return ImpossibleBudget(
            f"the budget of {given:.4g} bit operations is below the fewest possible: {least} {which}",
            f"raise --bops-budget to at least {least}, or allow narrower schemes (--allow w4a8,...)",
            smallest,
            limit,
        )
    unit = "ms" if problem.resources.unit == MS else "x"
    return ImpossibleBudget(
        f"the latency budget of {given:.4g}{unit} is below the shortest possible: {least}{unit} {which}"
        + ("" if unit == "ms" else "; int8 everywhere is 1x"),
        f"raise --latency-budget to at least {least}{unit}, or allow faster schemes (--allow w8a8,...)",
        smallest,
        limit,
    )


def _rounded_up(value: float) -> str:
    """A positive number in `_DIGITS` significant digits or all digits before the point, never below the value."""
    if value <= 0:
        return "0"
    places = max(0, _DIGITS - 1 - math.floor(math.log10(value)))
    scaled = math.ceil(value * 10**places) / 10**places
    return f"{scaled:.{places}f}"

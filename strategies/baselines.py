"""The plans that people make without a program, to be set beside a frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..analyzer.conversion.costs import Costs
from ..analyzer.errors import BitplanError
from ..analyzer.schema import SCHEMES, Format, Graph, Plan, Rival, Target
from .assignment import STRATEGIES
from .assignment.budgets import Budgets
from .assignment.choices import uniform_schemes
from .assignment.noise import Noise
from .assignment.outcome import build_plan
from .assignment.problem import Problem, state_problem

_ROUNDINGS = 1e-9
"""Share of an amount by which sums in another order may differ."""


def baselines(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    along: str = "file_bytes",
    budgets: Budgets,
    allowed: Sequence[str],
    io: Format,
    target: Target,
    at: Sequence[float] = (),
) -> Mapping[str, Plan]:
    """The plans that people make without a program, as far as the target, the schemes and the limits let them.

    Args:
      graph, noise, costs, along, budgets, allowed, io, target: As for `frontier`.
      at: Amounts of `along` at which the strategies greedy and threshold are tried.

    Returns:
      By name, such as `int8 everywhere`, `first and last layer in float` or `greedy at 2750000`.
    """
    problem = state_problem(
        graph, noise, costs, budgets=budgets.limited(along, None), allowed=allowed, io=io, target=target
    )
    found = {}
    for name, schemes in _by_hand(problem).items():
        plan = _checked(problem, name, schemes)
        if plan is not None:
            found[name] = plan
    for strategy in ("greedy", "threshold"):
        for amount in at:
            try:
                found[f"{strategy} at {amount:g}"] = STRATEGIES[strategy](
                    graph, noise, costs, budgets=problem.budgets.limited(along, amount), allowed=allowed, io=io,
                    target=target,
                )  # fmt: skip
            except BitplanError:
                continue
    return found


def rivals(points: Sequence[Plan], plans: Mapping[str, Plan], along: str) -> tuple[Rival, ...]:
    """Sets plans beside the points of a frontier that use no more.

    Args:
      points: From `frontier`.
      plans: By name, such as `baselines`.
      along: What the frontier runs along.
    """
    found = []
    for name, plan in plans.items():
        amount = plan.predicted(along)
        below = [point for point in points if point.predicted(along) <= amount * (1 + _ROUNDINGS)]
        beside = (below[-1].predicted(along), below[-1].predicted_nmse) if below else (None, None)
        found.append(Rival(name, amount, plan.predicted_nmse, *beside))
    return tuple(found)


def _by_hand(problem: Problem) -> Mapping[str, list[str]]:
    """Names of schemes by the name of the plan, whether it can be had or not."""
    graph = problem.graph
    int8, int16, int4, floating = (
        [scheme.name for scheme in uniform_schemes(graph, name, problem.target)]
        for name in ("w8a8", "w8a16", "w4a8", "float")
    )
    weighted = [op.index for op in graph.ops if op.weights is not None]
    ends = {weighted[0], weighted[-1]} if weighted else set()
    depthwise = {op.index for op in graph.ops if op.opcode == "DEPTHWISE_CONV_2D"}
    plans = {
        "int8 everywhere": int8,
        "w8a16 everywhere": int16 if "w8a16" in int16 else [],
        "int4 everywhere": int4 if "w4a8" in int4 else [],
        "first and last layer in float": _with(int8, floating, ends, "float"),
        "all depthwise in 16 bit": _with(int8, int16, depthwise, "w8a16"),
    }
    return {name: schemes for name, schemes in plans.items() if schemes}


def _with(usual: Sequence[str], other: Sequence[str], ops: set[int], scheme: str) -> list[str]:
    """One plan with some ops as in another; nothing where there are none, or where one of them lacks the scheme."""
    if not ops or any(other[op] != scheme for op in ops):
        return []
    return [other[op] if op in ops else name for op, name in enumerate(usual)]


def _checked(problem: Problem, name: str, names: Sequence[str]) -> Plan | None:
    """The plan where its schemes are allowed, the target can run it and it keeps the limits."""
    settled = problem.settled([SCHEMES[scheme] for scheme in names])
    if settled is None or not problem.offers(settled):
        return None
    if problem.usage(settled).exceeded(problem.budgets.limits()):
        return None
    return build_plan(problem, settled, strategy=name)

"""A plan by one threshold: ops that hurt more than it get their widest scheme, all others their narrowest."""

from __future__ import annotations

from collections.abc import Sequence

from ...analyzer.conversion.costs import Costs
from ...analyzer.schema import Format, Graph, Plan, Scheme, Target
from .budgets import Budgets
from .choices import settle
from .feasibility import smallest_schemes
from .noise import Noise, noise_shares
from .outcome import build_plan
from .problem import Problem, state_problem


def assign(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    budgets: Budgets,
    allowed: Sequence[str],
    io: Format,
    target: Target,
    minimise: str = "noise",
) -> Plan:
    """Ranks ops by their share of the smallest plan's error and widens as many of the first ones as the limits hold.

    The number of widened ops is found by bisection. Arguments and errors as for `milp.assign`.
    """
    problem = state_problem(
        graph, noise, costs, budgets=budgets, allowed=allowed, io=io, target=target, minimise=minimise
    )
    smallest = smallest_schemes(problem)
    shares = noise_shares(graph, noise, smallest, io)
    ranking = sorted(range(len(shares)), key=lambda op: (-shares[op], op))
    tried = [smallest]
    # All of them first, which is the answer where there is no limit.
    low, high, middle = 0, len(ranking), len(ranking)
    while low <= high:
        plan = _widened(problem, smallest, ranking[:middle])
        if _keeps(problem, plan):
            tried.append(plan)
            low = middle + 1
        else:
            high = middle - 1
        middle = (low + high) // 2
    best = min(tried, key=lambda schemes: _rank(problem, schemes))
    changed = sum(after != before for after, before in zip(best, smallest, strict=True))
    return build_plan(
        problem, best, strategy="threshold", smallest_bytes=costs.total(smallest, io), status=f"{changed} ops widened"
    )


def _widened(problem: Problem, smallest: Sequence[Scheme], ops: Sequence[int]) -> list[Scheme]:
    schemes = list(smallest)
    for op in ops:
        schemes[op] = problem.choices[op][-1]
    settle(problem.noise.wiring, problem.choices, schemes, problem.io)
    return schemes


def _keeps(problem: Problem, schemes: Sequence[Scheme]) -> bool:
    return problem.can_run(schemes) and not problem.usage(schemes).exceeded(problem.budgets.limits())


def _rank(problem: Problem, schemes: Sequence[Scheme]) -> tuple[float, int, float]:
    usage = problem.usage(schemes)
    return getattr(usage, problem.goal), usage.file_bytes, usage.latency

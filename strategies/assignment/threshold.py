"""A plan by one threshold: ops that hurt more than it get their widest scheme, all others their narrowest."""

from __future__ import annotations

from collections.abc import Sequence

from ...analyzer.conversion.costs import Costs
from ...analyzer.schema import Format, Graph, Plan, Scheme
from .choices import schemes_for_ops, settle
from .noise import Noise, evaluate_noise, noise_shares
from .outcome import build_plan, impossible
from .program import build_program
from .solver import smallest_schemes


def assign(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    budget_bytes: int | None,
    allowed: Sequence[str],
    io: Format,
) -> Plan:
    """Ranks ops by their share of the smallest plan's error and widens as many of the first ones as the budget holds.

    The number of widened ops is found by bisection. Arguments and errors as for `milp.assign`.
    """
    choices = schemes_for_ops(graph, allowed)
    smallest = smallest_schemes(build_program(graph, noise, costs, choices, io), choices)
    smallest_bytes = costs.total(smallest, io)
    if budget_bytes is not None and smallest_bytes > budget_bytes:
        raise impossible(budget_bytes, smallest_bytes, allowed)
    shares = noise_shares(graph, noise, smallest, io)
    ranking = sorted(range(len(shares)), key=lambda op: (-shares[op], op))

    def widened(count: int) -> list[Scheme]:
        schemes = list(smallest)
        for op in ranking[:count]:
            schemes[op] = choices[op][-1]
        settle(noise.wiring, choices, schemes, io)
        return schemes

    tried = {0: smallest}
    low, high = 0, len(ranking)
    while low <= high:
        middle = (low + high) // 2 if tried.keys() != {0} else high
        tried[middle] = widened(middle)
        if budget_bytes is None or costs.total(tried[middle], io) <= budget_bytes:
            low = middle + 1
        else:
            del tried[middle]
            high = middle - 1
    best = min(
        tried.values(), key=lambda schemes: (evaluate_noise(graph, noise, schemes, io), costs.total(schemes, io))
    )
    return build_plan(
        graph, noise, costs, best, strategy="threshold", io=io, allowed=allowed, budget_bytes=budget_bytes,
        smallest_bytes=smallest_bytes, status=f"{_widened(best, smallest)} ops widened",
    )  # fmt: skip


def _widened(schemes: Sequence[Scheme], smallest: Sequence[Scheme]) -> int:
    return sum(after != before for after, before in zip(schemes, smallest, strict=True))

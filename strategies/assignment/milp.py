"""The plan with the least predicted error within a size budget, by mixed-integer linear programming (HiGHS)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...analyzer.conversion.costs import Costs
from ...analyzer.errors import SolverStopped
from ...analyzer.schema import Format, Graph, Plan, Scheme
from .choices import Choices, schemes_for_ops
from .greedy import climb
from .ledger import Ledger
from .noise import Noise, evaluate_noise
from .outcome import build_plan, impossible
from .program import Program, build_program
from .solver import smallest_schemes, solve

GAP_LIMIT = 1e-3
"""Largest relative gap between a plan and the proven bound that is accepted."""

_GAP_ASKED = 1e-4
_SCALE = 1e4
"""What the noise of a known plan counts in the objective: HiGHS stops at an absolute gap of 1e-6."""

_BYTES_SHARE = 1e-6
"""What all bytes of the largest file count beside the noise of a known plan: enough to tell equal plans apart."""

_NOTHING = 1e-12
"""Share of the whole noise below which a term counts as none: sums in float64 are no more exact."""

_RESCALE = 10
"""How many times better than the known plan a plan must be for the objective to be scaled anew."""

_ROUNDS = 6


def assign(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    budget_bytes: int | None,
    allowed: Sequence[str],
    io: Format,
) -> Plan:
    """Finds the schemes with the least predicted error whose file fits the budget.

    Of plans with equal error the smaller one is taken. The result depends on nothing but the arguments.

    Args:
      graph: The float network.
      noise: Error terms, from `build_noise`.
      costs: File bytes, from `build_costs`.
      budget_bytes: Largest predicted file; None for no limit.
      allowed: Names of schemes; see `schemes_for_ops` for ops that have none of them.
      io: Format of the model's inputs and outputs.

    Raises:
      ImpossibleBudget: No plan fits; the message states the smallest file.
      RunFolderError: The sensitivity table lacks a term.
      SolverStopped: The solver could not prove its plan to within `GAP_LIMIT`.
      UsageError: `allowed` names an unknown scheme.
    """
    choices = schemes_for_ops(graph, allowed)
    program = build_program(graph, noise, costs, choices, io)
    smallest = smallest_schemes(program, choices)
    smallest_bytes = costs.total(smallest, io)
    if budget_bytes is not None and smallest_bytes > budget_bytes:
        raise impossible(budget_bytes, smallest_bytes, allowed)
    search = _Search(graph, noise, costs, choices, budget_bytes, io)
    search.offer(smallest)
    search.offer([options[-1] for options in choices])
    bound, status = _prove(program, search)
    gap = max(0.0, search.noise - bound) / search.noise if search.noise > 0 else 0.0
    if gap > GAP_LIMIT:
        raise SolverStopped(
            f"the solver stopped with a plan that is proven to within {gap:.2%} only; {GAP_LIMIT:.1%} is demanded",
            "allow fewer schemes (--allow), or choose the strategy greedy, which proves nothing",
        )
    return build_plan(
        graph, noise, costs, search.schemes, strategy="milp", io=io, allowed=allowed, budget_bytes=budget_bytes,
        smallest_bytes=smallest_bytes, mip_gap=gap, status=status,
    )  # fmt: skip


class _Search:
    """The best plan so far. Each plan that is offered and fits the budget is improved by single steps first."""

    def __init__(
        self, graph: Graph, noise: Noise, costs: Costs, choices: Choices, budget_bytes: int | None, io: Format
    ) -> None:
        self.choices, self.costs, self.budget_bytes, self.io = choices, costs, budget_bytes, io
        self._graph, self._noise_terms = graph, noise
        self.schemes: list[Scheme] = []
        self.noise, self._bytes = np.inf, 0

    def offer(self, schemes: Sequence[Scheme]) -> None:
        ledger = Ledger(self._graph, self._noise_terms, self.costs, self.choices, schemes, self.io)
        if self.budget_bytes is not None and ledger.bytes > self.budget_bytes:
            return
        climb(ledger, self.choices, self.budget_bytes)
        found = evaluate_noise(self._graph, self._noise_terms, ledger.schemes, self.io)
        size = self.costs.total(ledger.schemes, self.io)
        if (found, size) < (self.noise, self._bytes):
            self.schemes, self.noise, self._bytes = ledger.schemes, found, size


def _prove(program: Program, search: _Search) -> tuple[float, str]:
    """Offers the program's optimum to a search and returns (proven lower bound of the noise, HiGHS' word).

    A known plan sets the scale of the objective, and whatever term alone exceeds its noise is left out of the program.
    A much better plan sets a new scale: a gap that was small beside the old plan may be large beside it.
    """
    noise, sizes = np.array(program.noise), np.array(program.bytes)
    largest = max(1.0, program.bytes_constant + float(sizes.sum()))
    bound, status = program.noise_constant, ""
    for _ in range(_ROUNDS):
        known, nothing = search.noise - program.noise_constant, _NOTHING * search.noise
        usable = noise <= known * (1 + 1e-9) + nothing
        upper = usable.astype(float)
        if known <= nothing:
            # Nothing is left to lower: of all plans without noise, take the smallest.
            objective = sizes
        else:
            objective = _SCALE * (np.where(usable, noise, 0.0) / known + _BYTES_SHARE * sizes / largest)
        solution = solve(
            program, search.choices, objective, gap=_GAP_ASKED, upper=upper, budget_bytes=search.budget_bytes,
            total_bytes=lambda schemes: search.costs.total(schemes, search.io),
        )  # fmt: skip
        status = solution.status
        if solution.schemes is not None:
            search.offer(solution.schemes)
        if known <= nothing:
            break
        bound = max(bound, program.noise_constant + (solution.bound / _SCALE - _BYTES_SHARE) * known)
        if search.noise - program.noise_constant > known / _RESCALE:
            break
    return bound, status

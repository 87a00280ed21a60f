"""The best plan within all limits, by mixed-integer linear programming (HiGHS)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...analyzer.conversion.costs import Costs
from ...analyzer.conversion.placement import ALIGNMENT
from ...analyzer.errors import SolverStopped
from ...analyzer.schema import Format, Graph, Plan, Scheme, Target
from .budgets import Budgets
from .feasibility import smallest_schemes
from .greedy import climbed
from .noise import Noise
from .outcome import build_plan
from .problem import Problem, state_problem
from .resources import Usage
from .rows import Program
from .solver import Solution, solve

GAP_LIMIT = 1e-3
"""Largest relative gap between a plan and the proven bound that is accepted."""

_GAP_ASKED = 1e-4
_LARGE = 2000
_GAP_OF_LARGE = 8e-4
"""What is asked where there are more than `_LARGE` choices: the last bit takes longest, and no op counts for much."""

_SCALE = 1e4
"""What the goal of a known plan counts in the objective: HiGHS stops at an absolute gap of 1e-6."""

_TIES = {"file_bytes": 1e-6, "latency": 1e-8}
"""What all bytes of the largest file, and the time of the slowest plan, count beside the goal of a known plan: enough
to tell equal plans apart."""

_NOTHING = 1e-12
"""Share of the whole below which a term counts as none: sums in float64 are no more exact."""

_TINY = 1e-100
"""What counts as nothing whatever the whole is: its inverse is no number."""

_RESCALE = 10
"""How many times better than the known plan a plan must be for the objective to be scaled anew."""

_ROUNDS = 6


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
    """Finds the schemes with the least predicted error, or the least of something else, within all limits.

    Of equal plans the one with the smaller file is taken, then the faster one. The result depends on nothing but the
    arguments.

    Args:
      graph: The float network.
      noise: Error terms, from `build_noise`.
      costs: File bytes, from `build_costs`.
      budgets: Limits on the plan.
      allowed: Names of schemes; see `schemes_for_ops` for ops that have none of them.
      io: Format of the model's inputs and outputs.
      target: Where the model will run: an op gets only schemes that it has there.
      minimise: `noise`, `file_bytes`, `arena_bytes`, `latency` or `bops`.

    Raises:
      ImpossibleBudget: No plan fits; the message states which limit is in the way and the least it would have to be.
      RunFolderError: The sensitivity table lacks a term.
      SolverStopped: The solver could not prove its plan to within `GAP_LIMIT`.
      UnsupportedModel: The target cannot run an op in any scheme.
      UsageError: `allowed` names an unknown scheme, or the target cannot join two formats that must meet.
    """
    problem = state_problem(
        graph, noise, costs, budgets=budgets, allowed=allowed, io=io, target=target, minimise=minimise
    )
    return Planner(problem).plan(problem.budgets)


class Planner:
    """Solves one problem under several budgets; what does not depend on them is done once.

    Args:
      problem: Its own budgets do not count, but for whether there is one on the arena.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._program = problem.program()

    def plan(self, budgets: Budgets, known: Sequence[Sequence[Scheme]] = ()) -> Plan:
        """The best plan.

        Args:
          budgets: Limits; none on the arena unless the problem has one or minimises it.
          known: Plans that may be near the best one. Those that keep the limits are starting points.

        Raises:
          ImpossibleBudget, SolverStopped: As for `assign`.
        """
        problem = self.problem.within(budgets)
        smallest = smallest_schemes(problem, self._program)
        search = _Search(problem)
        for schemes in (smallest, [options[-1] for options in problem.choices], *known):
            search.take(schemes)
        bound, status = _prove(self._program, search)
        gap = _gap(search, bound)
        if search.gaps and gap > GAP_LIMIT:
            status = "not proven: too many plans whose arena has gaps"
        if gap > GAP_LIMIT and not search.gaps:
            raise SolverStopped(
                f"the solver stopped with a plan that is proven to within {gap:.2%} only; {GAP_LIMIT:.1%} is demanded",
                "allow fewer schemes (--allow), or choose the strategy greedy, which proves nothing",
            )
        smallest_bytes = problem.resources.costs.total(smallest, problem.io)
        return build_plan(
            problem, search.schemes, strategy="milp", smallest_bytes=smallest_bytes, mip_gap=gap, status=status
        )


def _gap(search: _Search, bound: float) -> float:
    """Relative gap between the best plan and a proven bound."""
    value = search.value
    if search.problem.goal == "arena_bytes":
        bound += ALIGNMENT - 1  # which may or may not be padding behind the last tensor
    return max(0.0, value - bound) / value if value > 0 else 0.0


class _Search:
    """The best plan so far.

    Attributes:
      schemes: Of the best plan.
      value: What it has of the goal.
      gaps: Whether plans were met whose arena has gaps.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.schemes: list[Scheme] = []
        self.value, self._rank = np.inf, (np.inf, np.inf, np.inf)
        self.gaps = False
        self._top: list[Scheme] | None = None  # what was reached by steps last: no more of them help
        self._limits = problem.budgets.limits()

    def improve(self, schemes: Sequence[Scheme]) -> Sequence[Scheme]:
        """The best plan, once this one and what single steps make of it have been taken into account."""
        if list(schemes) == self._top or not self.take(schemes):
            return self.schemes
        self._top = climbed(self.problem, schemes)
        if self._top is not None:
            self.take(self._top)
        return self.schemes

    def take(self, schemes: Sequence[Scheme]) -> bool:
        """Whether a plan may be, can run and keeps the limits; if it is the best so far, it is remembered."""
        settled = self.problem.settled(schemes)
        if settled is None or not self.problem.offers(settled):
            return False
        usage = self.problem.usage(settled)
        if usage.exceeded(self._limits):
            return False
        rank = self._ranked(usage)
        if rank < self._rank:
            self.schemes, self.value, self._rank = settled, rank[0], rank
        return True

    def _ranked(self, usage: Usage) -> tuple[float, float, float]:
        return float(getattr(usage, self.problem.goal)), float(usage.file_bytes), usage.latency


def _prove(program: Program, search: _Search) -> tuple[float, str]:
    """Offers the program's optimum to a search and returns (proven lower bound of the goal, HiGHS' word).

    A known plan sets the scale of the objective, and whatever term alone exceeds what it has is left out of the
    program. A much better plan sets a new scale: a gap that was small beside the old plan may be large beside it.
    """
    constant = program.constants[search.problem.goal]
    bound, status = -np.inf, ""
    for first in (True, *(False for _ in range(_ROUNDS))):
        known, nothing = search.value - constant, _NOTHING * search.value
        done = known <= max(nothing, _TINY)
        solution = _improve(program, search, known, nothing, relaxed=first and not done)
        status, search.gaps = solution.status, search.gaps or solution.gaps
        search.improve(search.schemes if solution.schemes is None else solution.schemes)
        if done or solution.infeasible:
            # No plan has less than what all have, or none has less than the best one.
            return search.value, status
        proven = constant + (solution.bound / _SCALE - sum(_TIES.values())) * known
        bound = max(bound, min(proven, search.value))
        if not first and search.value - constant > known / _RESCALE:
            break
    return bound, status


def _improve(program: Program, search: _Search, known: float, nothing: float, *, relaxed: bool) -> Solution:
    """Solves the program for something better than a plan that has `known` of the goal beyond what all plans have."""
    goal = search.problem.goal
    amounts = np.array(program.amounts[goal])
    upper = np.ones(len(amounts))
    if known <= max(nothing, _TINY):
        # Nothing is left to lower: of all such plans take the smallest.
        upper[amounts > nothing] = 0.0
        weights = {"file_bytes": _SCALE / _whole(program, "file_bytes")}
    else:
        if goal != "arena_bytes" and not (amounts < 0).any():
            upper[amounts > known * (1 + 1e-9) + nothing] = 0.0
        weights = {name: _SCALE * share / _whole(program, name) for name, share in _TIES.items()}
        weights[goal] = _SCALE / known
    gap = _GAP_OF_LARGE if len(program.choice) > _LARGE else _GAP_ASKED
    return solve(program, search.problem, weights, gap=gap, upper=upper, improve=search.improve, relaxed=relaxed)


def _whole(program: Program, name: str) -> float:
    """More of something than any plan uses beyond what all use."""
    return float(np.abs(program.amounts[name]).sum()) or 1.0

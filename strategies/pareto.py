"""The best plans for every size (or arena, latency, number of bit operations): what each bit more would buy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..analyzer.conversion.costs import Costs
from ..analyzer.errors import UsageError
from ..analyzer.schema import Format, Frontier, FrontierPoint, Graph, Plan, Price, Rival, Target
from .assignment.budgets import Budgets
from .assignment.feasibility import least, without
from .assignment.milp import GAP_LIMIT, Planner
from .assignment.noise import Noise
from .assignment.problem import Problem, state_problem
from .baselines import baselines, rivals

ALONG = ("file_bytes", "arena_bytes", "latency", "bops")
"""What a frontier can run along."""

POINTS = 24
_TRIES = 2
"""How many budgets are tried for each point that is wanted: some have no plan of their own."""

_CLOSE = 1e-3
"""Relative distance of two budgets between which nobody looks for another plan."""

_STRATEGIES_AT = 6
"""At how many amounts the frontier is compared with greedy and threshold."""

_FLOOR = 1e-4
"""Share of the largest error below which differences do not count for where points are placed."""

_ROUNDINGS = 1e-9

STEPS = {"file_bytes": 100_000.0, "arena_bytes": 50_000.0}
"""How many bytes more are priced."""

SHARE = 0.1
"""The same for latency and bit operations, as a share of the budget."""


def frontier(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    along: str = "file_bytes",
    budgets: Budgets,
    allowed: Sequence[str],
    io: Format,
    target: Target,
    points: int = POINTS,
    through: Sequence[float] = (),
) -> tuple[Plan, ...]:
    """Plans of least predicted error for budgets from the least possible to the one that the best plan needs.

    Each budget is a program of its own, which starts from the plans of its neighbours. The next budget is the middle of
    the two neighbouring points that are farthest apart, in size and in error together, both on logarithmic scales.

    Args:
      graph, noise, costs, allowed, io, target: As for `milp.assign`.
      along: One of `ALONG`.
      budgets: Limits that all plans keep; that on `along` does not count.
      points: How many plans are wanted; there may be fewer.
      through: Amounts of `along` for which the best plan shall be among the points.

    Returns:
      By rising amount and falling error: none uses more than another without having less error.

    Raises:
      ImpossibleBudget: No plan keeps the other limits.
      UsageError: Nothing called `along` can be limited.
    """
    problem = state_problem(
        graph, noise, costs, budgets=budgets.limited(along, None), allowed=allowed, io=io, target=target
    )
    found = _Frontier(problem, along)
    found.pass_through(through)
    found.fill(points)
    return found.points()


def frontier_beside_baselines(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    along: str = "file_bytes",
    budgets: Budgets,
    allowed: Sequence[str],
    io: Format,
    target: Target,
    points: int = POINTS,
) -> tuple[tuple[Plan, ...], tuple[Rival, ...]]:
    """A frontier, and beside it the plans of `baselines`, each with the best plan that uses no more.

    Arguments and errors as for `frontier`. There are up to `_STRATEGIES_AT` points for each of greedy and threshold,
    and a point of the frontier for each baseline, beside the `points` that are asked for.
    """
    problem = state_problem(
        graph, noise, costs, budgets=budgets.limited(along, None), allowed=allowed, io=io, target=target
    )
    found = _Frontier(problem, along)
    found.fill(points)
    amounts = [plan.predicted(along) for plan in found.points()]
    plans = baselines(
        graph, noise, costs, along=along, budgets=budgets, allowed=allowed, io=io, target=target,
        at=amounts[1 :: max(1, len(amounts) // _STRATEGIES_AT)],
    )  # fmt: skip
    for plan in plans.values():
        found.begin_at(plan)
    found.pass_through([plan.predicted(along) for plan in plans.values()])
    return found.points(), rivals(found.points(), plans, along)


@dataclass(frozen=True)
class _Between:
    """Two neighbouring plans; for budgets up to `low` the first is known to be the best."""

    low: float
    left: Plan
    right: Plan


class _Frontier:
    """A frontier that can be made finer.

    Args:
      problem: Without a limit on what the frontier runs along.
      along: One of `ALONG`.
    """

    def __init__(self, problem: Problem, along: str) -> None:
        if along not in ALONG:
            raise UsageError(f"there is no frontier along {along}", f"choose from {', '.join(ALONG)}")
        self._problem, self._along = problem, along
        best = Planner(problem).plan(problem.budgets)
        # From here on the arena counts where the frontier runs along it.
        self._planner = Planner(problem.within(self._limited(best.predicted(along))))
        self._smallest = self._plan(self._least(), best)
        self._gaps = [_Between(self._smallest.predicted(along), self._smallest, best)]

    def points(self) -> tuple[Plan, ...]:
        """What is known so far, by rising amount and falling error."""
        return undominated([plan for gap in self._gaps for plan in (gap.left, gap.right)], self._along)

    def fill(self, count: int) -> None:
        """Looks for plans where neighbours are farthest apart, until there are so many."""
        for _ in range(_TRIES * count):
            wide = [gap for gap in self._gaps if self._width(gap) > 0]
            if len({id(plan) for gap in self._gaps for plan in (gap.left, gap.right)}) >= count or not wide:
                break
            gap = max(wide, key=self._width)
            self._split(gap, self._middle(gap))

    def pass_through(self, amounts: Sequence[float]) -> None:
        """Looks for the best plans at some amounts."""
        for amount in sorted(amounts):
            gap = next((g for g in self._gaps if g.low <= amount < g.right.predicted(self._along)), None)
            if gap is not None:
                self._split(gap, amount)

    def begin_at(self, plan: Plan) -> None:
        """Looks for the best plan that uses no more than this one, where this one uses less than all points do.

        The least amount is known to a tensor's alignment only, where it is the arena's.
        """
        amount = plan.predicted(self._along)
        if amount < self._smallest.predicted(self._along) * (1 - _ROUNDINGS):
            before, self._smallest = self._smallest, self._plan(amount, plan)
            self._gaps.insert(0, _Between(amount, self._smallest, before))

    def _split(self, gap: _Between, amount: float) -> None:
        """Looks for the best plan at an amount between two neighbours."""
        found = self._plan(amount, gap.left, gap.right)
        if found.predicted_nmse < gap.left.predicted_nmse * (1 - _ROUNDINGS):
            new = [_Between(gap.low, gap.left, found), _Between(amount, found, gap.right)]
        else:
            new = [replace(gap, low=amount)]
        self._gaps = [other for old in self._gaps for other in (new if old is gap else [old])]

    def _plan(self, amount: float, *near: Plan) -> Plan:
        return self._planner.plan(self._limited(amount), [plan.schemes for plan in near])

    def _limited(self, amount: float) -> Budgets:
        """The budgets with one on what the frontier runs along, of at least this amount."""
        whole = self._along in ("file_bytes", "arena_bytes")
        return self._problem.budgets.limited(self._along, math.ceil(amount) if whole else amount * (1 + _ROUNDINGS))

    def _least(self) -> float:
        """The least amount that any plan uses within the other limits."""
        problem = replace(without(self._problem, self._along), goal=self._along)
        schemes = least(problem, problem.program(), self._along)
        assert schemes is not None, "there is a best plan, so there is a smallest one"
        return float(getattr(problem.usage(schemes), self._along))

    def _middle(self, gap: _Between) -> float:
        high = gap.right.predicted(self._along)
        return math.sqrt(gap.low * high) if gap.low > 0 else high / 2

    def _width(self, gap: _Between) -> float:
        """How far two neighbours are apart; 0 where nothing is worth looking for between them."""
        high = gap.right.predicted(self._along)
        if high <= gap.low * (1 + _CLOSE) or self._middle(gap) >= high:
            return 0.0
        floor = _FLOOR * self._smallest.predicted_nmse
        errors = [max(plan.predicted_nmse, floor) for plan in (gap.left, gap.right)]
        if errors[1] <= 0:
            return 0.0
        # Something is left of a gap without a visible difference, for the end where all errors are tiny.
        return math.log(high / max(gap.low, high / 1000)) * (math.log(max(1.0, errors[0] / errors[1])) + _CLOSE)


def undominated(plans: Sequence[Plan], along: str) -> tuple[Plan, ...]:
    """The plans to which no other has less error without using more, each once, by rising amount."""
    kept: list[Plan] = []
    for plan in sorted(plans, key=lambda plan: (plan.predicted(along), plan.predicted_nmse)):
        if not kept or plan.predicted_nmse < kept[-1].predicted_nmse:
            kept.append(plan)
    return tuple(kept)


def to_frontier(points: Sequence[Plan], rivals: Sequence[Rival], along: str) -> Frontier:
    """Plans as the points of a frontier.

    Args:
      points: From `frontier`.
      rivals: From `rivals`.
      along: What it runs along.
    """
    found = [
        FrontierPoint(
            tuple(scheme.name for scheme in plan.schemes), plan.predicted_nmse, plan.predicted_bytes,
            plan.predicted_arena_bytes, plan.predicted_latency, plan.predicted_bops,
        )
        for plan in points
    ]  # fmt: skip
    return Frontier(along, tuple(found), tuple(rivals))


def price(points: Sequence[Plan], along: str, at: float, step: float) -> Price | None:
    """What a little more would buy, from the point of a frontier that is there now and a better one.

    The better one is the best that the step reaches; where it reaches none, the next one.

    Args:
      points: From `frontier`.
      along: What it runs along.
      at: Amount that is used now.
      step: How much more, in the same unit.

    Returns:
      None below the first point and behind the last.
    """
    below = [plan for plan in points if plan.predicted(along) <= at]
    above = [plan for plan in points if plan.predicted(along) > at]
    if not below or not above:
        return None
    within = [plan for plan in above if plan.predicted(along) <= at + step]
    return _price(below[-1], within[-1] if within else above[0], along, step)


def price_beside(graph: Graph, noise: Noise, costs: Costs, plan: Plan, *, target: Target) -> Price | None:
    """What a little more of a plan's budget would buy, where no frontier was computed.

    The program is solved once more with a budget that is larger by `STEPS` (latency and bit operations: by `SHARE` of
    it). Of several budgets it is the one whose step lowers the error most.

    Args:
      graph: The float network.
      noise: Its error terms.
      costs: File bytes, those that the plan was made with.
      plan: A plan of least error for this network.
      target: Where it shall run.

    Returns:
      None where no larger budget brings a better plan, and where the plan has least of something else than error.

    Raises:
      RunFolderError, SolverStopped, UnsupportedModel, UsageError: As for `milp.assign`.
    """
    budgets = Budgets.of(plan)
    if plan.minimised != "noise":
        return None
    found = []
    for name, limit in budgets.limits().items():
        if name not in ALONG:
            continue
        step = STEPS.get(name, SHARE * limit)
        problem = state_problem(
            graph, noise, costs, budgets=budgets.limited(name, limit + step), allowed=plan.allowed, io=plan.io,
            target=target,
        )  # fmt: skip
        better = Planner(problem).plan(problem.budgets, [plan.schemes])
        if better.predicted_nmse < plan.predicted_nmse * (1 - GAP_LIMIT) and better.predicted(name) > plan.predicted(
            name
        ):
            found.append(_price(plan, better, name, step))
    return max(found, key=lambda price: price.bought, default=None)


def _price(now: Plan, then: Plan, along: str, step: float) -> Price:
    return Price(
        along, step, now.predicted(along), now.predicted_nmse, then.predicted(along), then.predicted_nmse
    )  # fmt: skip

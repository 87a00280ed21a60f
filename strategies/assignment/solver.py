"""HiGHS on a planning problem: one objective, any number of limits, a plan that has been rounded and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ...analyzer.errors import SolverStopped
from ...analyzer.schema import Scheme
from ...analyzer.silence import silenced
from .problem import Problem
from .program import chosen, thriftiest
from .relief import relieve
from .resources import Usage
from .rows import Program
from .steps import exclusive, too_large

_NODES = 20_000
"""Limit on branch-and-bound nodes. A limit on time would make the plan depend on the machine."""

_LIMIT_UNITS = 1000.0
"""What a limit counts in its own row: HiGHS' tolerance is absolute, and 1e-6 bytes is more than it can keep."""

_SLACK = 1e-9
"""Share of a limit by which it is lowered beyond the excess of a plan that missed it."""

_MARGIN = 1e-6
"""Share of an objective by which HiGHS' figures may be off."""

_ROUNDS = 8
"""How often limits are lowered."""

_GAPS = 16
"""How many plans with gaps in their arena are looked at in a search."""

_CORE = 1e-5
"""Allowance of the first core: a few choices at whose best mix the relaxed optimum is nearly reached."""

_OPTIMAL, _STOPPED, _INFEASIBLE = 0, 1, 2
_FAILED = "allow other schemes (--allow), or choose the strategy greedy"


@dataclass(frozen=True)
class Solution:
    """A solved program.

    Attributes:
      schemes: One for each op; None where no plan was found that keeps the limits.
      bound: Proven lower bound of the objective.
      status: HiGHS' own word.
      infeasible: Whether it is proven that no plan exists.
      gaps: Whether plans were met whose arena has gaps.
    """

    schemes: tuple[Scheme, ...] | None
    bound: float
    status: str
    infeasible: bool = False
    gaps: bool = False


def solve(
    program: Program,
    problem: Problem,
    weights: Mapping[str, float],
    *,
    gap: float,
    upper: np.ndarray | None = None,
    improve: Callable[[Sequence[Scheme]], Sequence[Scheme]] | None = None,
    relaxed: bool = False,
) -> Solution:
    """Minimises a weighted sum of what plans use within a problem's limits.

    The relaxed program comes first: its optimum has few fractions, so that each op's argmax is nearly the best plan.
    Branch and bound comes next, over the few choices that cost next to nothing at that optimum (a core); where its plan
    is not proven to within the gap, over all choices that do not alone cost more than the best plan is away from the
    optimum (reduced cost fixing).

    HiGHS accepts constraints that are missed by a tolerance, and argmax misses them too. What a plan really uses is
    computed again; where it exceeds a limit, the program is solved with a limit that is lower by the excess. The arena
    has gaps beside, of which the program's rows do not know: where they matter, the height of a plan, and of all that
    lie in memory alike, becomes a row of its own. The program keeps these rows for later calls.

    Args:
      program: Of the problem.
      problem: With its limits.
      weights: By name from `MINIMISED`, so that differences of 1e-6 in the sum do not matter.
      gap: Relative gap at which the search may stop.
      upper: Upper bounds [variables] from 0 to 1; None for all 1.
      improve: Makes a better plan of one within the limits, or answers a better one that is known.
      relaxed: Whether to stop behind the relaxed program, which takes a fraction of the time.

    Raises:
      SolverStopped: HiGHS failed.
    """
    return _Search(program, problem, weights, gap, upper, improve).run(relaxed)


class _Search:
    def __init__(
        self,
        program: Program,
        problem: Problem,
        weights: Mapping[str, float],
        gap: float,
        upper: np.ndarray | None,
        improve: Callable[[Sequence[Scheme]], Sequence[Scheme]] | None,
    ) -> None:
        self._program, self._problem, self._weights, self._gap = program, problem, weights, gap
        self._improve, self._gaps = improve, 0
        self._limits = problem.budgets.limits()
        self._upper = np.ones(len(program.integer)) if upper is None else upper
        self._exclusive: list[tuple[int, ...]] = []
        if problem.budgets.arena_bytes is not None:
            self._exclusive = exclusive(program, problem.budgets.arena_bytes)
            out = too_large(program, problem.budgets.arena_bytes)
            self._upper = np.array([0.0 if v in out else most for v, most in enumerate(self._upper)])
        objective = sum(weight * np.array(program.amounts[name]) for name, weight in weights.items())
        self._objective = np.where(self._upper > 0, objective, 0.0)
        self._rows, self._lower, self._above = program.matrix()
        self._best: tuple[float, tuple[Scheme, ...]] | None = None
        self._bound = self._root = -np.inf
        self._reduced_costs = np.zeros(len(self._upper))

    def run(self, relaxed: bool) -> Solution:
        if not self._relax():
            return self._solution("Infeasible", infeasible=True)
        status = "Optimal"
        for allowance in (_CORE, None):
            if relaxed or self._is_close():
                break
            status, infeasible = self._branch(allowance)
            if infeasible:
                return self._solution(status, infeasible=self._best is None)
        return self._solution(status)

    def _is_close(self) -> bool:
        """Whether the best plan is proven to within the gap."""
        return self._best is not None and self._best[0] - self._bound <= self._gap * abs(self._best[0])

    def _relax(self) -> bool:
        """Solves the relaxed program and offers what it comes to.

        Returns:
          False where it is proven that no plan exists.
        """
        left = self._left()
        first: Any = None
        for _ in range(_ROUNDS):
            result = self._relaxed(left)
            if result.status != _OPTIMAL:
                if first is None and result.status == _INFEASIBLE:
                    return False
                break
            first = first or result
            schemes = self._problem.settled(chosen(self._program, self._problem.choices, result.x))
            if schemes is None:
                break
            used = self._problem.usage(schemes)
            exceeded = used.exceeded(self._limits)
            if not exceeded or self._offer_thrifty(result.x, exceeded):
                if not exceeded:
                    self._offer(schemes, used)
                break
            _lower(left, exceeded, used, self._limits)
        if first is not None:
            self._root = float(first.fun) - _MARGIN * abs(float(first.fun))
            self._bound = self._root
            self._reduced_costs = first.lower.marginals + first.upper.marginals
        return True

    def _core(self, allowance: float | None) -> tuple[np.ndarray, float]:
        """Leaves choices out.

        Args:
          allowance: Choices that alone cost more than this above the relaxed optimum are left out, as a share of that;
            None to leave out only what no plan better than the best one has.

        Returns:
          (upper bounds [variables], what every plan costs at least that was left out).
        """
        beyond = np.inf if self._best is None else self._best[0]
        if allowance is not None:
            beyond = min(beyond, self._root + allowance * abs(self._root))
        room = beyond - self._root + _MARGIN * abs(beyond)
        return np.where(self._reduced_costs > room, 0.0, self._upper), beyond

    def _offer_thrifty(self, values: np.ndarray, exceeded: Sequence[str]) -> bool:
        """Offers what a relaxed optimum comes to where it shall use little; whether that keeps the limits."""
        amounts = sum(np.array(self._program.amounts[name]) / (self._limits[name] or 1.0) for name in exceeded)
        schemes = self._problem.settled(thriftiest(self._program, self._problem.choices, values, np.asarray(amounts)))
        if schemes is None:
            return False
        used = self._problem.usage(schemes)
        if used.exceeded(self._limits):
            return False
        self._offer(schemes, used)
        return True

    def _branch(self, allowance: float | None) -> tuple[str, bool]:
        """Branch and bound over a core of the choices.

        Args:
          allowance: Of `_core`.

        Returns:
          (HiGHS' own word, whether it is proven that there is no other plan).
        """
        from scipy import optimize

        upper, beyond = self._core(allowance)
        left, lowered = self._left(), False
        status = ""
        for _ in range(_ROUNDS + _GAPS):
            matrix, lower, above = self._constraints(left)
            with silenced(1):  # HiGHS prints some lines whatever its options say
                result = optimize.milp(
                    self._objective,
                    integrality=np.array(self._program.integer, np.int64),
                    bounds=optimize.Bounds(0.0, upper),
                    constraints=[optimize.LinearConstraint(matrix, lower, above)],
                    options={"mip_rel_gap": self._gap, "node_limit": _NODES},
                )
            status = status if lowered else _word(result.message)
            if result.status not in (_OPTIMAL, _STOPPED, _INFEASIBLE):
                raise SolverStopped(f"the solver failed: {result.message}", _FAILED)
            if result.mip_dual_bound is not None and not lowered:
                self._prove(min(float(result.mip_dual_bound), beyond))
            if result.x is None:
                if result.status == _INFEASIBLE and not lowered:
                    self._prove(beyond)
                    return status, beyond == np.inf
                break
            schemes = tuple(chosen(self._program, self._problem.choices, result.x))
            used = self._problem.usage(schemes)
            exceeded = used.exceeded(self._limits)
            if not exceeded:
                self._offer(schemes, used)
                peak = self._peak(result.x)
                if peak is None or used.arena_bytes <= peak or self._is_close() or not self._learn(schemes, used):
                    break
            elif exceeded == ("arena_bytes",) and self._learn(schemes, used):
                relieved = relieve(self._problem, schemes) if self._best is None else None
                if relieved is not None:
                    self._offer(relieved, self._problem.usage(relieved))
            else:
                _lower(left, exceeded, used, self._limits)
                lowered = True
        return status, False

    def _peak(self, values: np.ndarray) -> float | None:
        """Bytes of the arena but for its gaps; None where they are not minimised."""
        peak = self._program.peak if "arena_bytes" in self._weights else None
        return None if peak is None else float(values[peak]) * self._program.amounts["arena_bytes"][peak]

    def _learn(self, schemes: Sequence[Scheme], used: Usage) -> bool:
        """Remembers how high the arena of a plan is, and of all that lie in memory alike.

        Returns:
          False where that brings nothing: it is known already, or this has been done too often.
        """
        if self._gaps == _GAPS:
            return False
        self._gaps += 1
        return self._program.learn(self._problem.memory.stack(schemes), used.arena_bytes)

    def _prove(self, bound: float) -> None:
        self._bound = max(self._bound, min(bound, np.inf if self._best is None else self._best[0]))

    def _offer(self, schemes: Sequence[Scheme], used: Usage) -> None:
        if self._improve:
            schemes = self._improve(schemes)
            used = self._problem.usage(schemes)
        # The program's arena is never more than the real one, so this is never less than the program's objective.
        constants = self._program.constants
        value = sum(weight * (getattr(used, name) - constants[name]) for name, weight in self._weights.items())
        if self._best is None or value < self._best[0]:
            self._best = float(value), tuple(schemes)

    def _solution(self, status: str, *, infeasible: bool = False) -> Solution:
        schemes = None if self._best is None else self._best[1]
        return Solution(schemes, self._bound, status, infeasible, self._gaps > 0)

    def _left(self) -> dict[str, float]:
        """What the limits leave beyond what every plan uses."""
        return {name: limit - self._program.constants[name] for name, limit in self._limits.items()}

    def _constraints(self, left: Mapping[str, float]) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
        """All rows, with limits and heights behind the program's own, as (matrix, lower bounds, upper bounds)."""
        rows, above = [self._rows], [self._above]
        for name, value in left.items():
            amounts = np.array(self._program.amounts[name])
            # Scaled to where HiGHS is exact.
            unit = (value if value > 0 else float(np.abs(amounts).max(initial=0.0)) or 1.0) / _LIMIT_UNITS
            rows.append(sparse.csr_array(amounts[None, :] / unit))
            above.append(np.array([value / unit]))
        for row, bound in self._arena_rows():
            places = (np.zeros(len(row), int), np.array(list(row), int))
            rows.append(sparse.csr_array((np.array(list(row.values())), places), shape=(1, len(self._upper))))
            above.append(np.array([bound]))
        extra = sum(len(a) for a in above[1:])
        lower = np.concatenate([self._lower, np.full(extra, -np.inf)])
        return sparse.vstack(rows, format="csr"), lower, np.concatenate(above)

    def _arena_rows(self) -> list[tuple[dict[int, float], float]]:
        limit = self._problem.budgets.arena_bytes
        limits = ([limit] if limit is not None else []) + ([None] if "arena_bytes" in self._weights else [])
        rows = [self._program.height_row(h, limit) for h in self._program.heights.values() for limit in limits]
        known = [(dict.fromkeys(group, 1.0), 1.0) for group in self._exclusive]
        return known + [row for row in rows if row is not None]

    def _relaxed(self, left: Mapping[str, float]) -> Any:
        from scipy import optimize

        matrix, lower, above = self._constraints(left)
        equal = lower == above
        at_least, at_most = ~equal & np.isfinite(lower), ~equal & np.isfinite(above)
        with silenced(1):
            return optimize.linprog(
                self._objective,
                A_ub=sparse.vstack([-matrix[at_least], matrix[at_most]], format="csr"),
                b_ub=np.concatenate([-lower[at_least], above[at_most]]),
                A_eq=matrix[equal],
                b_eq=lower[equal],
                bounds=np.stack([np.zeros(len(self._upper)), self._upper], axis=1),
                method="highs-ds",
            )


def _lower(left: dict[str, float], exceeded: Sequence[str], used: Usage, limits: Mapping[str, float]) -> None:
    """Lowers the limits that a plan exceeds by what it exceeds them by."""
    for name in exceeded:
        left[name] -= getattr(used, name) - limits[name] + _SLACK * abs(limits[name])


def _word(message: str) -> str:
    """`Optimization terminated successfully. (HiGHS Status 7: Optimal)` as `Optimal`."""
    return message.rpartition("Status ")[2].partition(": ")[2].rstrip(")") or message

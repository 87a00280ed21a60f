"""HiGHS on a `Program`: one objective, one optional budget, a plan that has been rounded and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...analyzer.errors import SolverStopped
from ...analyzer.schema import Scheme
from ...analyzer.silence import silenced
from .choices import Choices
from .program import Program, chosen

_NODES = 20_000
"""Limit on branch-and-bound nodes. A limit on time would make the plan depend on the machine."""

_BUDGET_UNIT = 1000
"""Bytes in which the budget's row is written: HiGHS' tolerance is absolute, and 1e-6 bytes is more than it can keep."""

_ROUNDS = 8
_OPTIMAL, _LIMIT, _INFEASIBLE = 0, 1, 2


@dataclass(frozen=True)
class Solution:
    """A solved program.

    Attributes:
      schemes: One for each op; None where HiGHS found no plan within its limits, or none that keeps the budget.
      bound: Proven lower bound of the objective.
      status: HiGHS' own word.
    """

    schemes: tuple[Scheme, ...] | None
    bound: float
    status: str


def solve(
    program: Program,
    choices: Choices,
    objective: Sequence[float] | np.ndarray,
    *,
    gap: float,
    upper: np.ndarray | None = None,
    budget_bytes: int | None = None,
    total_bytes: Callable[[Sequence[Scheme]], int] | None = None,
) -> Solution:
    """Minimises an objective over a program.

    HiGHS accepts constraints that are missed by a tolerance. Each op takes its argmax and the true size is computed
    again; where it exceeds the budget, the program is solved with a budget that is smaller by the excess.

    Args:
      program: The variables and rows.
      choices: From `schemes_for_ops`.
      objective: Coefficients [variables], scaled so that differences of 1e-6 do not matter.
      gap: Relative gap at which HiGHS may stop.
      upper: Upper bounds [variables] of 0 or 1; None for all 1.
      budget_bytes: Limit on the file; None for none.
      total_bytes: File size of a plan; needed with a budget.

    Raises:
      SolverStopped: HiGHS failed.
    """
    from scipy import optimize

    rows, lower, above = program.matrix()
    constraints = [optimize.LinearConstraint(rows, lower, above)]
    sizes = np.array(program.bytes) / _BUDGET_UNIT
    limit = None if budget_bytes is None else budget_bytes - program.bytes_constant
    bound = -np.inf
    for _ in range(_ROUNDS):
        extra = [] if limit is None else [optimize.LinearConstraint(sizes[None, :], -np.inf, limit / _BUDGET_UNIT)]
        with silenced(1):  # HiGHS prints some lines whatever its options say
            result = optimize.milp(
                np.asarray(objective, np.float64),
                integrality=np.array(program.integer, np.int64),
                bounds=optimize.Bounds(0.0, np.ones(len(sizes)) if upper is None else upper),
                constraints=[*constraints, *extra],
                options={"mip_rel_gap": gap, "node_limit": _NODES},
            )
        if result.status not in (_OPTIMAL, _LIMIT, _INFEASIBLE):
            raise SolverStopped(
                f"the solver failed: {result.message}", "allow other schemes (--allow), or choose the strategy greedy"
            )
        if result.mip_dual_bound is not None and bound == -np.inf:
            bound = float(result.mip_dual_bound)
        if result.x is None:
            return Solution(None, bound, _word(result.message))
        schemes = chosen(program, choices, result.x)
        excess = 0 if budget_bytes is None or total_bytes is None else total_bytes(schemes) - budget_bytes
        if excess <= 0:
            return Solution(tuple(schemes), bound, _word(result.message))
        assert limit is not None
        limit -= excess
    return Solution(None, bound, _word(result.message))


def smallest_schemes(program: Program, choices: Choices) -> list[Scheme]:
    """The schemes whose predicted file is smallest.

    Raises:
      SolverStopped: The solver found no plan.
    """
    solution = solve(program, choices, program.bytes, gap=0.0)
    if solution.schemes is None:
        raise SolverStopped("the solver found no smallest file within its limits", "allow fewer schemes (--allow)")
    return list(solution.schemes)


def _word(message: str) -> str:
    """`Optimization terminated successfully. (HiGHS Status 7: Optimal)` as `Optimal`."""
    return message.rpartition("Status ")[2].partition(": ")[2].rstrip(")") or message

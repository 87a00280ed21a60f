"""Whether any plan keeps all limits: the smallest file among those that do, or the limit that stands in the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...analyzer.errors import BitplanError, SolverStopped, UsageError
from ...analyzer.schema import Scheme
from .budgets import Budgets
from .outcome import impossible
from .problem import Problem
from .rows import Program
from .solver import solve

_UNITS = 1e4
"""What all of something counts in an objective: HiGHS stops at an absolute gap of 1e-6."""

_GAP = 1e-6


def smallest_schemes(problem: Problem, program: Program | None = None) -> list[Scheme]:
    """The schemes with the smallest predicted file that keep all limits.

    Args:
      problem: With its limits.
      program: Of the problem; None to build it.

    Raises:
      ImpossibleBudget: None do; it names the limit that stands in the way and what it would have to be.
      SolverStopped: The solver found none within its own limits, and cannot tell whether there are any.
      UsageError: Without any limit there is none either, for want of border ops.
    """
    program = program or problem.program()
    # Without the limit on the file, so that the smallest one is known where it exceeds it.
    found = least(without(problem, "file_bytes"), program, "file_bytes")
    budget = problem.budgets.file_bytes
    if found is not None and (budget is None or problem.resources.costs.total(found, problem.io) <= budget):
        return found
    if found is not None:
        raise impossible(problem, "file_bytes", problem.resources.costs.total(found, problem.io))
    raise _obstacle(problem)


def without(problem: Problem, *names: str) -> Problem:
    """The same problem with fewer limits."""
    return replace(problem, budgets=replace(problem.budgets, **dict.fromkeys(names)))


def least(problem: Problem, program: Program, name: str) -> list[Scheme] | None:
    """The plan with the least of something within a problem's limits; None where there is none.

    Raises:
      SolverStopped: The solver cannot tell.
    """
    whole = float(np.abs(program.amounts[name]).sum()) or 1.0
    solution = solve(program, problem, {name: _UNITS / whole}, gap=_GAP)
    if solution.schemes is not None:
        return list(solution.schemes)
    if not solution.infeasible:
        raise SolverStopped(
            "the solver found no plan within its own limits, and cannot tell whether there is one",
            "raise the budgets, or allow fewer schemes (--allow)",
        )
    return None


def _obstacle(problem: Problem) -> BitplanError:
    """Names a limit that no plan keeps together with the others, and the least that it would have to be.

    The first limit without which the others can be kept; where there is none, the first that cannot be kept together
    with those before it.
    """
    limits = problem.budgets.limits()
    free = without(problem, *limits)
    if least(free, free.program(), "file_bytes") is None:
        return UsageError(
            f"{problem.target.name} cannot join the formats of any plan with {', '.join(problem.allowed)} and "
            f"{problem.io.value} inputs and outputs",
            "allow other schemes (--allow), choose another --io, or another --target",
        )
    for name in limits:
        smallest = _least_value(without(problem, name), name)
        if smallest is not None:
            return impossible(problem, name, smallest)
    names = list(limits)
    for count, name in enumerate(names, 1):
        smallest = _least_value(without(problem, *names[count - 1 :]), name)
        assert smallest is not None, "without limits, and behind kept ones, there is a plan"
        if smallest > limits[name]:
            before = replace(Budgets(), **{n: getattr(problem.budgets, n) for n in names[:count]})
            return impossible(replace(problem, budgets=before), name, smallest)
    raise AssertionError("every limit can be kept together with those before it")


def _least_value(problem: Problem, name: str) -> float | None:
    problem = replace(problem, goal=name)  # so that the arena counts where it is asked for
    found = least(problem, problem.program(), name)
    return None if found is None else float(getattr(problem.usage(found), name))

"""Plans whose arena has gaps, against every assignment."""

from __future__ import annotations

import dataclasses

import pytest
from bitplan.analyzer.schema import (
    SCHEMES,
)
from bitplan.strategies.assignment.budgets import Budgets
from bitplan.strategies.assignment.noise import build_noise
from bitplan.strategies.assignment.problem import state_problem
from bitplan.strategies.assignment.solver import solve
from hypothesis import assume, given
from hypothesis import strategies as st

from .brute_force import (
    MEMORY_SCHEMES,
    PADDING,
    SLOW,
    all_assignments,
    arena_bytes,
    assign,
    names_of,
    rounding_noise,
    some,
)
from .random_problems import Problem, problems


@SLOW
@given(problems(7), st.sampled_from(MEMORY_SCHEMES), st.floats(0, 1), st.sampled_from(["noise", "arena_bytes"]))
def test_milp_finds_the_best_plan_where_the_arena_has_gaps(problem: Problem, allowed, where: float, goal: str) -> None:
    problem = dataclasses.replace(problem, allowed=allowed)
    every = {names: (rounding_noise(problem, names), arena_bytes(problem, names)) for names in all_assignments(problem)}
    noises, arenas = (sorted({found[i] for found in every.values()}) for i in (0, 1))
    if goal == "noise":
        limit = arenas[int(where * (len(arenas) - 1))]
        plan = assign(problem, "milp", Budgets(arena_bytes=limit))
        best = min(noise for noise, arena in every.values() if arena <= limit)
        assert plan.predicted_nmse == pytest.approx(best, rel=2e-4, abs=1e-12)
        assert plan.predicted_arena_bytes <= limit
    else:
        limit = noises[int(where * (len(noises) - 1))] * (1 + 1e-6) + 1e-12
        plan = assign(problem, "milp", Budgets(noise=limit), minimise=goal)
        least = min(arena for noise, arena in every.values() if noise <= limit)
        assert plan.predicted_arena_bytes == pytest.approx(least, abs=PADDING[goal])
        assert plan.predicted_nmse <= limit
    assert plan.predicted_arena_bytes == every[names_of(plan)][1]
    assert plan.mip_gap is not None and plan.mip_gap <= 1e-3


@SLOW
@given(problems(7), st.sampled_from(MEMORY_SCHEMES), st.floats(0, 1), st.booleans())
def test_the_solver_alone_proves_no_more_than_is_true(problem: Problem, allowed, where: float, small: bool) -> None:
    """Without the steps that lead from its plans to better ones."""
    problem = dataclasses.replace(problem, allowed=allowed)
    every = {names: (rounding_noise(problem, names), arena_bytes(problem, names)) for names in all_assignments(problem)}
    arenas = sorted({arena for _, arena in every.values()})
    limit = arenas[int(where * (len(arenas) - 1))]
    goal = "arena_bytes" if small else "noise"
    stated = state_problem(
        problem.graph, build_noise(problem.graph, problem.table), problem.costs, budgets=Budgets(arena_bytes=limit),
        allowed=allowed, io=problem.io, target=problem.target, minimise=goal,
    )  # fmt: skip
    best = min(found[small] for found in every.values() if found[1] <= limit)
    assume(best > 1e-6)
    program = stated.program()

    solution = solve(program, stated, {goal: 1e4 / best}, gap=1e-4)

    assert solution.schemes is not None
    found = every[tuple(scheme.name for scheme in solution.schemes)]
    assert found[1] <= limit
    assert program.constants[goal] + solution.bound * best / 1e4 <= best * (1 + 1e-5)
    if small:
        assert found[1] == pytest.approx(best, abs=63)
    else:
        assert found[0] == pytest.approx(best, rel=2e-4)


@SLOW
@given(problems(8), st.sampled_from(MEMORY_SCHEMES))
def test_plans_that_lie_in_memory_alike_are_as_high(problem: Problem, allowed: tuple[str, ...]) -> None:
    """A plan's height, as a row, rules that plan out, and no plan whose arena is smaller."""
    problem = dataclasses.replace(problem, allowed=allowed)
    stated = state_problem(
        problem.graph, build_noise(problem.graph, problem.table), problem.costs, budgets=Budgets(), allowed=allowed,
        io=problem.io, target=problem.target, minimise="arena_bytes",
    )  # fmt: skip
    program = stated.program()
    every = {names: arena_bytes(problem, names) for names in some(all_assignments(problem), 64)}
    for names, height in every.items():
        program.heights.clear()
        program.learn(stated.memory.stack([SCHEMES[name] for name in names]), height)
        (known,) = program.heights.values()
        limited, minimised = (program.height_row(known, limit) for limit in (height - 1.0, None))
        assert program.height_row(known, float(height)) is None
        for others, found in every.items():
            made = {program.choice[op, name] for op, name in enumerate(others)}
            excess = sum(value for variable, value in limited[0].items() if variable in made) - limited[1]
            if found < height or others == names:
                assert (excess > 0) == (others == names)
            row, bound = minimised
            least = sum(value for variable, value in row.items() if variable in made) - bound
            least *= program.amounts["arena_bytes"][program.peak] / -row[program.peak]
            assert least + program.constants["arena_bytes"] <= found + 1e-3
            if others == names:
                assert least + program.constants["arena_bytes"] == pytest.approx(height)

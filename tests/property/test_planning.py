"""Plans within a file budget, and the program, against every assignment of small random networks."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from bitplan.analyzer.errors import ImpossibleBudget, UsageError
from bitplan.analyzer.schema import (
    SCHEMES,
)
from bitplan.strategies.assignment.budgets import MINIMISED, Budgets
from bitplan.strategies.assignment.greedy import climb
from bitplan.strategies.assignment.ledger import Ledger
from bitplan.strategies.assignment.memory import Memory
from bitplan.strategies.assignment.noise import build_noise, evaluate_noise, noise_shares
from bitplan.strategies.assignment.problem import state_problem
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from .brute_force import (
    SLOW,
    all_assignments,
    assign,
    figures,
    file_bytes,
    is_plan,
    names_of,
    offered,
    options_of,
    rounding_noise,
    some,
)
from .random_problems import Problem, problems


@SLOW
@given(problems(), st.floats(0, 1))
def test_milp_finds_the_best_of_all_assignments(problem: Problem, where: float) -> None:
    every = {names: (rounding_noise(problem, names), file_bytes(problem, names)) for names in all_assignments(problem)}
    sizes = sorted(size for _, size in every.values())
    budget = round(sizes[0] + where * (sizes[-1] - sizes[0]))
    best = min(noise for noise, size in every.values() if size <= budget)

    plan = assign(problem, "milp", budget)

    assert names_of(plan) in every
    assert plan.smallest_bytes == sizes[0]
    assert (plan.predicted_nmse, plan.predicted_bytes) == pytest.approx(every[names_of(plan)], rel=1e-9, abs=1e-15)
    assert plan.predicted_bytes <= budget
    assert plan.predicted_nmse == pytest.approx(best, rel=2e-5, abs=1e-12)
    assert plan.mip_gap is not None and plan.mip_gap <= 1e-3


@SLOW
@given(problems(any_target=False), st.randoms(use_true_random=False))
def test_the_program_counts_what_every_assignment_uses(problem: Problem, random) -> None:
    """Without the search around it, which finds the best plans of small networks whatever the program says."""
    if not all(offered(problem)):
        return
    problem = dataclasses.replace(problem, allowed=tuple(SCHEMES))
    options = options_of(problem)
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    try:
        stated = state_problem(
            problem.graph, noise, problem.costs, budgets=Budgets(), allowed=problem.allowed, io=problem.io,
            target=problem.target, minimise="arena_bytes",
        )  # fmt: skip
    except UsageError:
        return  # two formats that must meet cannot
    program = stated.program()
    matrix, lower, upper = program.matrix()
    rows = (sparse.vstack([-matrix, matrix]), np.concatenate([-lower, upper]))
    bounded = np.isfinite(rows[1])
    for _ in range(8):
        names = tuple(random.choice(names_of_op) for names_of_op in options)
        made = {program.choice[op, name] for op, name in enumerate(names)}
        bounds = [(float(v in made),) * 2 if v in program.choice.values() else (0, 1) for v in range(matrix.shape[1])]
        for use in MINIMISED:
            least = linprog(program.amounts[use], rows[0][bounded], rows[1][bounded], bounds=bounds)
            assert (least.status == 0) == is_plan(problem, options, names)
            if least.status != 0:
                break
            found, used = least.fun + program.constants[use], getattr(figures(problem, names), use)
            if use == "arena_bytes":
                # Memory between the tensors is no part of the program.
                occupants = stated.memory.occupants
                assert found == pytest.approx(Memory(occupants, [SCHEMES[n] for n in names]).peak - 63, rel=1e-6)
                assert found <= used * (1 + 1e-6)
            else:
                assert found == pytest.approx(used, rel=1e-7, abs=1e-12)


@SLOW
@given(problems())
def test_of_all_plans_without_error_the_smallest_is_taken(problem: Problem) -> None:
    every = {names: (rounding_noise(problem, names), file_bytes(problem, names)) for names in all_assignments(problem)}
    perfect = [size for noise, size in every.values() if noise == 0]
    plan = assign(problem, "milp", None)
    if perfect:
        assert (plan.predicted_nmse, plan.predicted_bytes) == (0.0, min(perfect))
    else:
        assert plan.predicted_nmse == pytest.approx(min(noise for noise, _ in every.values()), rel=2e-5)


@SLOW
@given(problems())
def test_budget_below_the_smallest_file_names_the_smallest_file(problem: Problem) -> None:
    smallest = min(file_bytes(problem, names) for names in all_assignments(problem))
    for strategy in ("milp", "greedy", "threshold"):
        with pytest.raises(ImpossibleBudget, match=f"{smallest} bytes"):
            assign(problem, strategy, smallest - 1)
        assert assign(problem, strategy, smallest).predicted_bytes == smallest


@SLOW
@given(problems(), st.integers(0, 3000))
def test_no_strategy_exceeds_the_budget_or_beats_the_milp(problem: Problem, above: int) -> None:
    smallest = min(file_bytes(problem, names) for names in all_assignments(problem))
    best = assign(problem, "milp", smallest + above)
    for strategy in ("greedy", "threshold"):
        plan = assign(problem, strategy, smallest + above)
        assert names_of(plan) in all_assignments(problem)
        assert plan.predicted_bytes == file_bytes(problem, names_of(plan)) <= smallest + above
        assert plan.predicted_nmse == pytest.approx(rounding_noise(problem, names_of(plan)), rel=1e-9, abs=1e-15)
        assert best.predicted_nmse <= plan.predicted_nmse * (1 + 2e-5)


@SLOW
@given(problems(), st.lists(st.integers(0, 3000), min_size=2, max_size=4))
def test_a_larger_budget_is_never_worse(problem: Problem, above: list[int]) -> None:
    smallest = min(file_bytes(problem, names) for names in all_assignments(problem))
    errors = [assign(problem, "milp", smallest + extra).predicted_nmse for extra in sorted(above)]
    assert all(later <= earlier * (1 + 2e-5) for earlier, later in itertools.pairwise(errors))


@SLOW
@given(problems())
def test_shares_of_ops_sum_to_the_error_at_its_meaning(problem: Problem) -> None:
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    for names in some(all_assignments(problem), 20):
        schemes = [SCHEMES[name] for name in names]
        expected = pytest.approx(rounding_noise(problem, names), rel=1e-9, abs=1e-15)
        assert evaluate_noise(problem.graph, noise, schemes, problem.io) == expected
        assert sum(noise_shares(problem.graph, noise, schemes, problem.io)) == expected
        assert problem.costs.total(schemes, problem.io) == file_bytes(problem, names)


@SLOW
@given(problems(), st.integers(0, 3000))
def test_the_same_problem_gives_the_same_plan(problem: Problem, above: int) -> None:
    smallest = min(file_bytes(problem, names) for names in all_assignments(problem))
    assert assign(problem, "milp", smallest + above) == assign(problem, "milp", smallest + above)


@SLOW
@given(problems(), st.sampled_from(["w4a8", "w8a8", "w8a16", "float"]))
def test_uniform_gives_every_op_the_scheme_it_has(problem: Problem, scheme: str) -> None:
    plan = assign(problem, "uniform", None, scheme=scheme)
    for op, name in zip(problem.graph.ops, names_of(plan), strict=True):
        instead = {"w4a8": ("w8a8", "float"), "w8a8": ("float",), "w8a16": ("w8a8", "float"), "float": ()}[scheme]
        assert name == next(n for n in (scheme, *instead) if n in op.schemes)


@SLOW
@given(problems(any_target=False), st.randoms(use_true_random=False))
def test_what_steps_add_up_to_is_what_their_plan_uses(problem: Problem, random) -> None:
    every = all_assignments(problem) if all(offered(problem)) else []
    if not every:
        return
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    stated = state_problem(
        problem.graph, noise, problem.costs, budgets=Budgets(), allowed=problem.allowed, io=problem.io,
        target=problem.target,
    )  # fmt: skip
    ledger = Ledger(stated, [SCHEMES[name] for name in random.choice(every)])
    climb(ledger, stated)
    names = tuple(scheme.name for scheme in ledger.schemes)
    assert names in every
    for use, found in ledger.used.items():
        assert found == pytest.approx(getattr(figures(problem, names), use), rel=1e-9, abs=1e-12)

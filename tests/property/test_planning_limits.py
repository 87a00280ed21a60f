"""Plans within any limits on random targets, against every assignment: the best, frontiers, explanations."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from bitplan.analyzer.errors import BitplanError, ImpossibleBudget
from bitplan.strategies import pareto
from bitplan.strategies.assignment.budgets import MINIMISED, Budgets
from bitplan.strategies.assignment.noise import build_noise
from bitplan.strategies.explain import explain
from hypothesis import given
from hypothesis import strategies as st

from .brute_force import (
    PADDING,
    SLOW,
    Figures,
    all_assignments,
    assign,
    figures,
    kept,
    limited,
    names_of,
    offered,
    plan_figures,
)
from .random_problems import Problem


def check_obstacle(error: BitplanError, every: list[Figures], limits: dict[str, float]) -> None:
    """The limit that it names is the first without which the others hold, and its value is the least that will do."""
    assert isinstance(error, ImpossibleBudget)
    names = list(limits)
    for name in names:
        others = {other: limit for other, limit in limits.items() if other != name}
        values = [getattr(found, name) for found in every if kept(found, others)]
        if values:
            break
    else:
        for count, name in enumerate(names):
            before = {other: limits[other] for other in names[:count]}
            values = [getattr(found, name) for found in every if kept(found, before)]
            if min(values) > limits[name]:
                break
    assert error.limit == name
    assert error.smallest == pytest.approx(min(values), rel=1e-5, abs=PADDING[name])


@SLOW
@given(limited(), st.sampled_from(MINIMISED))
def test_milp_finds_the_best_plan_within_all_limits_on_any_target(case: tuple[Problem, Budgets], goal: str) -> None:
    problem, budgets = case
    if not all(offered(problem)):
        with pytest.raises(BitplanError, match="mine cannot run"):
            assign(problem, "milp", budgets, minimise=goal)
        return
    every = {names: figures(problem, names) for names in all_assignments(problem)}
    limits = dict(budgets.limits())
    fitting = [getattr(found, goal) for found in every.values() if kept(found, limits)]
    if not fitting:
        with pytest.raises(BitplanError) as error:
            assign(problem, "milp", budgets, minimise=goal)
        if every:
            check_obstacle(error.value, list(every.values()), limits)
        return

    plan = assign(problem, "milp", budgets, minimise=goal)

    found = every[names_of(plan)]
    assert kept(found, limits)
    assert dataclasses.astuple(plan_figures(plan)) == pytest.approx(dataclasses.astuple(found), rel=1e-9, abs=1e-15)
    assert getattr(found, goal) == pytest.approx(min(fitting), rel=2e-4, abs=PADDING[goal])
    assert plan.mip_gap is not None and plan.mip_gap <= 1e-3


@SLOW
@given(limited(), st.sampled_from(MINIMISED))
def test_a_limit_below_the_least_names_the_least(case: tuple[Problem, Budgets], name: str) -> None:
    problem, budgets = case
    every = [figures(problem, names) for names in all_assignments(problem)] if all(offered(problem)) else []
    fitting = [getattr(found, name) for found in every if kept(found, dict(budgets.limited(name, None).limits()))]
    if not fitting or min(fitting) <= PADDING[name] + 1e-6:
        return
    below = budgets.limited(name, (min(fitting) - PADDING[name]) * 0.999)
    with pytest.raises(ImpossibleBudget) as error:
        assign(problem, "milp", below)
    check_obstacle(error.value, every, dict(below.limits()))


@SLOW
@given(limited(), st.sampled_from(["milp", "greedy", "threshold", "uniform"]), st.sampled_from(MINIMISED))
def test_no_strategy_exceeds_any_limit_or_takes_what_the_target_lacks(case, strategy: str, goal: str) -> None:
    problem, budgets = case
    try:
        plan = assign(problem, strategy, budgets, minimise=goal)
    except BitplanError:
        return  # when the program finds none there is none: see above
    found = figures(problem, names_of(plan))
    assert kept(found, dict(budgets.limits()))
    assert all(name in there for name, there in zip(names_of(plan), offered(problem), strict=True))
    assert dataclasses.astuple(plan_figures(plan)) == pytest.approx(dataclasses.astuple(found), rel=1e-9, abs=1e-15)


@SLOW
@given(limited(), st.floats(1, 3))
def test_any_larger_limit_is_never_worse(case, factor: float) -> None:
    problem, budgets = case
    try:
        tight = assign(problem, "milp", budgets)
    except BitplanError:
        return
    for limit, before in budgets.limited("noise", None).limits().items():
        wide = assign(problem, "milp", budgets.limited(limit, before * factor))
        assert wide.predicted_nmse <= tight.predicted_nmse * (1 + 2e-4), limit


@SLOW
@given(limited(), st.sampled_from(pareto.ALONG))
def test_frontier_is_the_best_at_each_point_and_on_or_below_every_baseline(case, along: str) -> None:
    problem, budgets = case
    budgets = budgets.limited(along, None).limited("noise", None)
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    given_ = {
        "along": along, "budgets": budgets, "allowed": problem.allowed, "io": problem.io, "target": problem.target,
        "points": 8,
    }  # fmt: skip
    fitting = []
    if all(offered(problem)):
        every = [figures(problem, names) for names in all_assignments(problem)]
        fitting = [found for found in every if kept(found, dict(budgets.limits()))]
    if not fitting:
        with pytest.raises(BitplanError):
            pareto.frontier_beside_baselines(problem.graph, noise, problem.costs, **given_)
        return

    points, rivals = pareto.frontier_beside_baselines(problem.graph, noise, problem.costs, **given_)

    found = [plan_figures(plan) for plan in points]
    for point in found:
        best = min(other.noise for other in fitting if getattr(other, along) <= getattr(point, along) * (1 + 1e-9))
        assert point.noise == pytest.approx(best, rel=2e-4, abs=1e-12)
    for smaller, larger in itertools.pairwise(found):
        assert getattr(smaller, along) < getattr(larger, along) and smaller.noise > larger.noise
    least, best = min(getattr(other, along) for other in fitting), min(other.noise for other in fitting)
    assert getattr(found[0], along) == pytest.approx(least, rel=1e-5, abs=PADDING[along])
    assert found[-1].noise == pytest.approx(best, rel=2e-4, abs=1e-12)
    for rival in rivals:
        assert rival.frontier_noise is not None, rival.name
        assert rival.frontier_noise <= rival.noise * (1 + 2e-4) + 1e-12, rival.name
        assert rival.frontier_amount <= rival.amount * (1 + 1e-9)


@SLOW
@given(limited())
def test_explanations_are_differences_of_whole_plans(case) -> None:
    problem, budgets = case
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    try:
        plan = assign(problem, "milp", budgets)
    except BitplanError:
        return
    reasons = explain(problem.graph, noise, problem.costs, plan, target=problem.target)
    now = plan_figures(plan)
    every = set(all_assignments(problem))
    for index, reason in enumerate(reasons):
        for other in (reason.cheaper, reason.next_best):
            names = [*names_of(plan)[:index], other.scheme, *names_of(plan)[index + 1 :]] if other else []
            if tuple(names) not in every:
                continue  # there is none, or movement ops go along
            then = figures(problem, tuple(names))
            assert other.noise_change == pytest.approx(then.noise - now.noise, rel=1e-6, abs=1e-9)
            assert other.bytes_change == then.file_bytes - now.file_bytes
            assert other.latency_change == pytest.approx(then.latency - now.latency, rel=1e-6, abs=1e-9)
            assert other.fits == kept(then, dict(budgets.limits()))
        assert reason.cheaper is None or reason.cheaper.bytes_change < 0
    assert math.fsum(reason.noise for reason in reasons) == pytest.approx(now.noise, rel=1e-9, abs=1e-15)

"""Frontiers, prices and reasons on a network that people could have trained: the demo's, analyzed at few samples."""

from __future__ import annotations

import itertools

import pytest
from bitplan.analyzer.conversion.costs import build_costs
from bitplan.analyzer.schema import DEFAULT_ALLOWED, SCHEMES, Format
from bitplan.strategies import pareto
from bitplan.strategies.assignment import STRATEGIES
from bitplan.strategies.assignment.budgets import Budgets
from bitplan.strategies.assignment.choices import schemes_for_ops, settle
from bitplan.strategies.assignment.noise import build_noise, evaluate_noise
from bitplan.strategies.assignment.resources import build_resources
from bitplan.strategies.explain import explain
from bitplan.strategies.targets import load_target
from conftest_data import demo

pytestmark = pytest.mark.slow

WITHIN = 2e-4
"""Twice the gap that the solver is asked for."""


@pytest.fixture(scope="module")
def network():
    """(graph, noise, costs) of the demo model."""
    import bitplan as bp

    data, images, _ = demo()
    run = bp.analyze(data, images[:16].astype("float32") / 127.5 - 1, left_float=False)
    return run.graph, build_noise(run.graph, run.sensitivity), build_costs(run.graph, run.flatbuffer)


def given(target: str, io: Format, budgets: Budgets | None = None) -> dict:
    return {
        "budgets": budgets or Budgets(), "allowed": tuple(SCHEMES), "io": io, "target": load_target(target)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "along", "io"),
    [
        ("litert-cpu", "file_bytes", Format.FLOAT),
        ("litert-cpu", "latency", Format.FLOAT),
        ("ethos-u55", "arena_bytes", Format.INT8),
    ],
)
def test_frontier_is_on_or_below_every_baseline(network, target, along, io):
    points, rivals = pareto.frontier_beside_baselines(*network, along=along, points=4, **given(target, io))

    for smaller, larger in itertools.pairwise(points):
        assert smaller.predicted(along) < larger.predicted(along)
        assert smaller.predicted_nmse > larger.predicted_nmse
    names = {rival.name for rival in rivals}
    assert {"int8 everywhere", "w8a16 everywhere", "all depthwise in 16 bit"} <= names
    assert {name.split()[0] for name in names} >= {"greedy", "threshold"}
    assert ("first and last layer in float" in names) == (target != "ethos-u55"), "it never runs a float op"
    for rival in rivals:
        assert rival.frontier_noise is not None, rival.name
        assert rival.frontier_amount <= rival.amount
        assert rival.frontier_noise <= rival.noise * (1 + WITHIN) + 1e-12, rival.name
    if (target, along) == ("litert-cpu", "latency"):
        # If it were nowhere well below greedy, nobody would need a program.
        greedy = [rival for rival in rivals if rival.name.startswith("greedy")]
        assert max(rival.noise / rival.frontier_noise for rival in greedy if rival.frontier_noise) > 1.2
    if target == "ethos-u55":
        assert not any(scheme.is_float for plan in points for scheme in plan.schemes)


def test_a_price_without_a_frontier_is_that_of_the_plan_at_the_larger_budget(network):
    graph, _, costs = network
    int8 = costs.total([SCHEMES["w8a8"]] * len(graph.ops), Format.FLOAT)
    options = given("any", Format.FLOAT, Budgets(file_bytes=int8))
    plan = STRATEGIES["milp"](*network, **options)

    price = pareto.price_beside(*network, plan, target=options["target"])

    assert price is not None
    assert (price.of, price.step) == ("file_bytes", 100_000)
    assert (price.amount, price.noise) == (plan.predicted_bytes, plan.predicted_nmse)
    better = STRATEGIES["milp"](*network, **options | {"budgets": Budgets(file_bytes=int8 + 100_000)})
    assert price.next_noise == pytest.approx(better.predicted_nmse, rel=WITHIN)
    assert price.amount < price.next_amount <= int8 + 100_000
    assert 0 < price.bought <= price.noise - price.next_noise


def test_reasons_are_differences_of_whole_plans(network):
    graph, noise, costs = network
    target = load_target("litert-cpu")
    budgets = Budgets(file_bytes=310_000, latency=1.3)
    plan = STRATEGIES["milp"](
        *network, budgets=budgets, allowed=DEFAULT_ALLOWED, io=Format.FLOAT, target=target
    )  # fmt: skip
    choices = schemes_for_ops(graph, DEFAULT_ALLOWED, target)
    resources = build_resources(graph, costs, target, Format.FLOAT)

    checked = 0
    for index, reason in enumerate(explain(*network, plan, target=target)):
        assert (reason.op, reason.scheme) == (graph.ops[index].key, plan.assignments[index].scheme)
        for other in (reason.cheaper, reason.next_best):
            if other is None:
                continue
            schemes = list(plan.schemes)
            schemes[index] = SCHEMES[other.scheme]
            settle(noise.wiring, choices, schemes, Format.FLOAT)
            error, size = evaluate_noise(graph, noise, schemes, Format.FLOAT), costs.total(schemes, Format.FLOAT)
            time = resources.total_latency(schemes, Format.FLOAT)
            assert other.noise_change == pytest.approx(error - plan.predicted_nmse, rel=1e-6, abs=1e-12)
            assert other.bytes_change == size - plan.predicted_bytes
            assert other.latency_change == pytest.approx(time - plan.predicted_latency, abs=1e-9)
            assert other.fits == (size <= 310_000 and time <= 1.3)
            checked += 1
    assert checked > len(graph.ops)

"""Points and prices of frontiers, on plans that are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bitplan.analyzer.schema import Format, Plan, Price, Rival
from bitplan.strategies import pareto
from bitplan.strategies.assignment.noise import build_noise
from bitplan.strategies.baselines import rivals

from .small_problems import ANY, BORDER_BYTES, THREE, WEIGHT_BYTES, costs, plan, table

INT8 = 500 + 3 * WEIGHT_BYTES + 2 * BORDER_BYTES


def point(size: int, noise: float) -> Plan:
    return replace(Plan.bare(THREE, ["w8a8"] * 3), predicted_bytes=size, predicted_nmse=noise)


POINTS = (point(1000, 0.5), point(1040, 0.3), point(1090, 0.2), point(1500, 0.1))


def test_a_price_is_the_best_that_the_step_reaches() -> None:
    assert pareto.price(POINTS, "file_bytes", 1010, 100) == Price("file_bytes", 100, 1000, 0.5, 1090, 0.2)
    price = pareto.price(POINTS, "file_bytes", 1000, 100)
    assert price is not None and price.bought == pytest.approx(0.3), "not more than there is to be bought"


def test_a_step_that_reaches_no_point_buys_its_part_of_the_next_one() -> None:
    price = pareto.price(POINTS, "file_bytes", 1090, 41)
    assert price is not None
    assert (price.next_amount, price.bought) == (1500, pytest.approx(0.01))


@pytest.mark.parametrize("at", [999, 1500, 9999])
def test_outside_a_frontier_nothing_has_a_price(at: int) -> None:
    assert pareto.price(POINTS, "file_bytes", at, 100) is None


def test_points_and_rivals_make_a_frontier() -> None:
    beside = rivals(POINTS, {"by hand": point(1060, 0.4), "too small": point(900, 0.9)}, "file_bytes")
    assert beside == (
        Rival("by hand", 1060, 0.4, 1040, 0.3),
        Rival("too small", 900, 0.9, None, None),
    )
    frontier = pareto.to_frontier(POINTS, beside, "file_bytes")
    assert frontier.along == "file_bytes"
    assert frontier.rivals == beside
    assert [(p.file_bytes, p.noise) for p in frontier.points] == [(1000, 0.5), (1040, 0.3), (1090, 0.2), (1500, 0.1)]
    assert frontier.points[0].schemes == ("w8a8", "w8a8", "w8a8")
    assert frontier.points[0].emitted_bytes is None


def price_of(found: Plan) -> Price | None:
    sensitivities = table(THREE)
    return pareto.price_beside(THREE, build_noise(THREE, sensitivities), costs(THREE), found, target=ANY)


def test_without_a_frontier_the_price_comes_from_the_plan_at_the_larger_budget() -> None:
    now = plan(THREE, table(THREE), INT8)
    assert price_of(now) == Price(
        "file_bytes", 100_000, now.predicted_bytes, now.predicted_nmse, 500 + 3 * 4 * WEIGHT_BYTES, 0.0
    )


def test_nothing_has_a_price_where_no_budget_binds() -> None:
    assert price_of(plan(THREE, table(THREE), None)) is None
    assert price_of(plan(THREE, table(THREE), 10**6)) is None, "the budget is larger than the best plan"
    assert price_of(plan(THREE, table(THREE), INT8, ("w8a8",), io=Format.INT8)) is None, "there is no other plan"


def test_nothing_has_a_price_where_least_of_something_else_is_wanted() -> None:
    assert price_of(plan(THREE, table(THREE), INT8, minimise="latency")) is None

"""What people ask of a plan, and what that means in bytes, times and bit operations."""

from __future__ import annotations

import pytest
from bitplan.analyzer.conversion.arena import build_arena
from bitplan.analyzer.errors import UsageError
from bitplan.analyzer.schema import SCHEMES, Format
from bitplan.strategies.assignment.resources import build_resources
from bitplan.strategies.request import Request, budgets_of, has_slow_kernels, parse_points
from bitplan.strategies.targets import load_target, shipped_targets

from .small_problems import ANY, CONV, chain, costs

GRAPH = chain(*[("CONV_2D", CONV)] * 3)


def budgets(size=None, latency=None, **wishes):
    resources = build_resources(GRAPH, costs(GRAPH), ANY, Format.FLOAT)
    return budgets_of(Request(**wishes), GRAPH, resources, default_size=size, default_latency=latency)


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"size_budget": "small"}, "small"),
        ({"arena_budget": "1.5"}, "1.5"),
        ({"latency_budget": "fast"}, "fast"),
        ({"bops_budget": "-1"}, "-1"),
        ({"max_drop": "one point"}, "one point"),
        ({"allow": ("w2a2",)}, "w2a2"),
        ({"allow": ()}, "no scheme"),
        ({"io": "int4"}, "int4"),
        ({"strategy": "luck"}, "luck"),
        ({"minimise": "price"}, "price"),
        ({"pareto": "error"}, "error"),
        ({"verify_points": 3}, "no points"),
        ({"minimise": "size"}, "least size alone"),
        ({"minimise": "error", "max_drop": "1pt"}, "limit already"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_with_a_way_out(wishes, says) -> None:
    with pytest.raises(UsageError) as found:
        Request(**wishes)
    assert says in found.value.problem
    assert found.value.remedy


def test_a_largest_drop_makes_the_file_small_unless_something_else_is_named() -> None:
    assert Request().goal == "noise"
    assert Request(max_drop="1pt").goal == "file_bytes"
    assert Request(max_drop="1pt", minimise="arena").goal == "arena_bytes"


@pytest.mark.parametrize(("text", "points"), [("1pt", 1.0), ("0.5", 0.5), (" 2 points ", 2.0), ("0.25%", 0.25)])
def test_points(text: str, points: float) -> None:
    assert parse_points(text) == points


def test_budgets_are_read_in_their_own_units() -> None:
    found = budgets(size_budget="2x", latency_budget="1.5x", bops_budget="0.5x")
    assert found.file_bytes == GRAPH.file_bytes // 2
    assert found.latency == pytest.approx(1.5)
    assert found.bops == 0  # the ops of this network have no multiply-accumulates
    assert found.arena_bytes is None


def test_an_arena_is_compared_with_that_of_float() -> None:
    whole = build_arena(GRAPH).packed([SCHEMES["float"]] * 3, Format.FLOAT)
    assert budgets(arena_budget="1x").arena_bytes == whole > 2 * 8 * 4  # what one op reads and writes
    assert budgets(arena_budget="2x").arena_bytes == whole // 2
    assert budgets(arena_budget="100").arena_bytes == 100


def test_defaults_hold_until_somebody_speaks() -> None:
    assert (budgets(size=700, latency=1.3).file_bytes, budgets(size=700, latency=1.3).latency) == (700, 1.3)
    spoken = budgets(size=700, latency=1.3, size_budget="none", latency_budget="none")
    assert (spoken.file_bytes, spoken.latency) == (None, None)
    assert budgets(size=700, size_budget="1KB").file_bytes == 1000


def test_milliseconds_need_a_measured_target() -> None:
    with pytest.raises(UsageError, match="milliseconds"):
        budgets(latency_budget="3ms")


def test_slow_kernels_are_a_matter_of_the_cpu() -> None:
    assert [name for name in shipped_targets() if has_slow_kernels(load_target(name))] == ["litert-cpu"]

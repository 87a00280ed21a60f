"""The frontier on the page: its table, its chart, and what is said of plans made in other ways."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from bitplan.analyzer.schema import Frontier, FrontierPoint, Results, Rival
from bitplan.reports.cells import FrontierDot, FrontierPart, Table
from bitplan.reports.charts import build_charts
from bitplan.reports.frontier_chart import frontier_chart
from bitplan.reports.parts import View
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_planning as planning
from ..results_planning import texts, with_plan, with_planning


@pytest.fixture(scope="module")
def mobilenet() -> View:
    return build_view(factory.mobilenet())


def test_the_plan_is_marked_on_the_frontier_by_its_schemes(mobilenet):
    part = mobilenet.plan.frontier
    assert [row.role for row in part.table.rows] == [""] * 6 + ["plan"] + [""] * 6
    assert texts(part.table, 6) == [
        "7", "2.735 MB", "603 KiB", "1.30 × int8", "0.0109", "0.0125", "0.44 ± 0.60", "64 w8a8, 1 float",
    ]  # fmt: skip
    assert part.table.rows[6].cells[1].detail == "file: 2\u202f735\u202f248 bytes"
    (dot,) = (dot for dot in part.dots if dot.family == "plan")
    assert (dot.amount, dot.on_line) == (2.73518, True) and dot.measured == pytest.approx(0.012535)


def test_a_plan_that_is_no_point_stands_beside_the_frontier_with_what_the_trial_found():
    base = factory.mobilenet()
    points = tuple(dataclasses.replace(p, schemes=("w8a16",) * 65) for p in base.planning.frontier.points)
    part = build_view(
        with_planning(base, frontier=dataclasses.replace(base.planning.frontier, points=points))
    ).plan.frontier
    (row,) = (row for row in part.table.rows if row.role == "plan")
    assert row.cells[0].detail == "the plan, beside the frontier" and len(part.table.rows) == 14
    assert [cell.text for cell in row.cells[4:7]] == ["0.0109", "0.0112", "0.50 ± 0.80"]
    (dot,) = (dot for dot in part.dots if dot.family == "plan")
    assert not dot.on_line and dot.measured == 0.0112


def test_a_plan_without_error_is_in_the_table_but_not_on_a_logarithmic_scale(mobilenet):
    part = mobilenet.plan.frontier
    assert texts(part.table, 12)[4] == "0" and part.table.notes[1].startswith("A plan without any predicted error")
    assert sum(dot.on_line for dot in part.dots) == 12 and min(dot.predicted for dot in part.dots) == 9e-5


def greedy(*noises: tuple[float, float | None]) -> Results:
    """A frontier beside greedy plans: (noise, that of the best point which uses no more)."""
    base = factory.mobilenet()
    rivals = tuple(
        Rival(f"greedy at {2_000_000 + k}", 2_000_000 + k, noise, None if best is None else 1.9e6, best)
        for k, (noise, best) in enumerate(noises)
    )
    return with_planning(base, frontier=dataclasses.replace(base.planning.frontier, rivals=rivals))


def test_it_is_said_where_and_by_how_much_the_program_beats_greedy(mobilenet):
    assert mobilenet.plan.frontier.findings[1:] == (
        "The program beats greedy at 2 of 3 sizes: by most at 1.930 MB, with 18 % less predicted error (0.214 instead"
        " of 0.262).",
        "None of the 10 plans made in other ways predicts less error at its size.",
    )


@pytest.mark.parametrize(
    ("noises", "sentence"),
    [
        (
            [(0.2, 0.2), (0.1, 0.0999999)],
            "The program nowhere beats greedy: at 2 sizes, its plan predicts no less error.",
        ),
        (
            [(0.2, 0.2)],
            "The program nowhere beats greedy: at the size at which both were tried, its plan predicts no less error.",
        ),
        (
            [(0.2, 0.2), (0.1, 0.05), (0.3, None)],
            "The program beats greedy at 1 of 2 sizes: by most at 2.000 MB, with 50 % less predicted error (0.0500"
            " instead of 0.100).",
        ),
    ],
)  # fmt: skip
def test_a_tie_with_greedy_is_no_victory(noises, sentence):
    assert build_view(greedy(*noises)).plan.frontier.findings[1] == sentence


def test_a_frontier_that_another_plan_beats_says_so():
    said = build_view(greedy((0.1, 0.2))).plan.frontier.findings
    assert said[1].startswith("The program nowhere beats greedy")
    assert (
        said[2] == "It does NOT lie below every other plan: greedy at 2.000 MB predicts less error at no larger size."
    )


def test_without_rivals_nothing_is_said_of_them():
    part = build_view(greedy()).plan.frontier
    assert len(part.findings) == 1 and part.rivals is None


@pytest.mark.parametrize(
    ("along", "axis", "amount"),
    [
        ("arena_bytes", "RAM (arena), KiB", 304_128 / 1024),
        ("latency", "work, int8 everywhere = 1", 1.0),
        ("bops", "bit operations, G", 2.1),
    ],
)
def test_a_frontier_runs_along_anything(along, axis, amount):
    base = factory.mobilenet()
    part = build_view(with_planning(base, frontier=planning.frontier(base.plan, along))).plan.frontier
    assert part.axis == axis and min(dot.amount for dot in part.dots if dot.on_line) == pytest.approx(amount)
    assert ("Bit operations" in [c.label for c in part.table.columns]) == (along == "bops")


# --- its chart -------------------------------------------------------------------------------------------------------


def spec_of(results: Results) -> dict:
    return frontier_chart(build_view(results).plan.frontier).specs[""]


def test_the_chart_tells_what_was_measured_from_what_was_predicted():
    points = next(layer for layer in spec_of(factory.mobilenet())["layer"] if "fill" in layer["encoding"])
    fill = points["encoding"]["fill"]["scale"]
    looks = dict(zip(fill["domain"], fill["range"], strict=True))
    assert [kind for kind, colour in looks.items() if colour != "transparent"] == ["measured"]
    assert list(looks) == ["best plan, predicted", "measured", "greedy", "threshold", "by hand"]


def dot(amount: float, predicted: float, label: str, family: str = "by hand") -> FrontierDot:
    return FrontierDot(label, family, False, amount, predicted, None, "")


def placed(dots: list[FrontierDot]) -> list[dict]:
    part = FrontierPart((), tuple(dots), "MB", Table("frontier", "", (), ()), None)
    spec = frontier_chart(part).specs[""]
    texts = [layer["data"]["name"] for layer in spec["layer"] if "text" in layer["encoding"]]
    return [row for name in texts for row in spec["datasets"][name]]


def test_names_of_close_marks_do_not_cover_one_another():
    dots = [dot(2.7 + k / 100, 0.07 + k / 1e4, f"plan {k}") for k in range(5)] + [
        dot(1.0, 1.0, "a"),
        dot(9.0, 1e-4, "b"),
    ]
    rows = placed(dots)
    assert sorted(row["label"] for row in rows) == sorted(one.label for one in dots)
    pixel = math.log(1.6 * 1.6 * 1e4) / 400
    heights = sorted(math.log(row["place"]) / pixel for row in rows)
    assert min(b - a for a, b in itertools.pairwise(heights)) > 14.9
    heap = [row for row in rows if row["label"].startswith("plan")]
    assert {row["beside"] for row in heap} == {2.74}
    # The nearest mark's name is on top, so that the lines to the names do not cross.
    assert [row["label"] for row in sorted(heap, key=lambda row: -row["place"])] == [
        f"plan {k}" for k in (4, 3, 2, 1, 0)
    ]


def test_the_plans_name_stands_where_no_other_plan_can_be():
    def texts(amount: float) -> list[dict]:
        plan = dot(amount, 0.01, "the plan", "plan")
        part = FrontierPart((), (dot(1.0, 1.0, "a"), plan, dot(9.0, 1e-4, "b")), "MB", Table("t", "", (), ()), None)
        layers = frontier_chart(part).specs[""]["layer"]
        return [layer["mark"] for layer in layers if layer["mark"].get("fontWeight") == "bold"]

    assert [(mark["align"], mark["dy"]) for mark in texts(4.0)] == [("right", 14)]
    assert [(mark["align"], mark["dy"]) for mark in texts(1.0)] == [("left", -14)]


def test_names_at_the_lower_edge_stay_on_the_chart():
    rows = placed(
        [dot(1.0, 1e-3, "low"), *(dot(1.0 + k / 100, 1e-3, f"low {k}") for k in range(4)), dot(3.0, 1.0, "x")]
    )
    assert min(row["place"] for row in rows) >= 1e-3 / 1.6 * (1 - 1e-9)


def test_one_plan_alone_is_a_chart_too():
    base = factory.mobilenet()
    alone = Frontier("file_bytes", (FrontierPoint(("w8a8",), 0.1, 2_000_000),), ())
    assert spec_of(with_planning(base, frontier=alone))["layer"]
    nothing = Frontier("file_bytes", (FrontierPoint(("w8a8",), 0.0, 2_000_000),), ())
    bare = with_plan(with_planning(base, frontier=nothing), predicted_nmse=0.0)
    assert "frontier" not in [chart.id for chart in build_charts(bare)]
    assert build_view(bare).plan.frontier.table.rows

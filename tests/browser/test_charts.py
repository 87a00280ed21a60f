"""What the charts of a page show, in a real browser."""

from __future__ import annotations

import pytest
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_refined, results_repairs

pytestmark = pytest.mark.slow


def test_text_in_charts_can_be_read_on_a_dark_page(visit):
    opened = visit("mobilenet", color_scheme="dark")
    opened.drawn()
    fill = "getComputedStyle(document.querySelector('.plot svg text')).fill"
    assert opened.page.evaluate(fill) == opened.page.evaluate("getComputedStyle(document.body).color")


def test_another_scheme_and_another_scale_redraw_the_ranking(visit):
    opened = visit("mobilenet")
    opened.drawn()
    plot = opened.page.locator("[data-chart=ranking]")
    assert plot.get_attribute("data-drawn") == "w8a8|log"
    scheme, scale = (opened.page.locator("[data-choice=ranking]").nth(i) for i in (0, 1))
    scheme.select_option("w4a8")
    opened.page.wait_for_selector("[data-drawn='w4a8|log'] svg")
    assert "Conv1" in plot.locator("svg text").all_text_contents()
    scale.select_option("linear")
    opened.page.wait_for_selector("[data-drawn='w4a8|linear'] svg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_estimates_are_outlined_and_measured_figures_filled(visit, scheme):
    opened = visit("refined", color_scheme=scheme)
    opened.drawn()
    plot = opened.page.locator("[data-chart=ranking]")
    assert {"weights", "output activation", "measured", "estimated"} <= set(
        plot.locator("svg text").all_text_contents()
    )
    marks = plot.locator("svg .mark-symbol.role-mark path[aria-roledescription=point]")
    looks = marks.evaluate_all(
        "marks => marks.map(m => [m.getAttribute('aria-label'), m.getAttribute('fill-opacity'),"
        " m.getAttribute('stroke')])"
    )
    looks = [look for look in looks if "figure" in look[0]]
    ranking = build_view(results_refined.refined()).sensitivity.rankings[0]
    assert len(looks) == len(ranking.bars)
    for said, opacity, stroke in looks:
        assert (float(opacity) < 0.2) == ("estimated to first order" in said)
        assert stroke.startswith("#")
    strip = opened.page.locator(".strip .bar i")
    filled = "bars => bars.map(b => getComputedStyle(b).backgroundColor !== 'rgba(0, 0, 0, 0)')"
    assert sum(strip.evaluate_all(filled)) == strip.count() - opened.page.locator(".strip .estimated").count()
    assert 0 < opened.page.locator(".strip .estimated").count() < strip.count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_frontier_shows_the_plan_its_rivals_and_what_was_measured(visit, scheme):
    opened = visit("mobilenet", color_scheme=scheme)
    opened.drawn()
    plot = opened.page.locator("[data-chart=frontier]")
    said = set(plot.locator("svg text").all_text_contents())
    assert {"the plan", "int8 everywhere", "all depthwise in 16 bit", "flash (file), MB"} <= said
    assert {"best plan, predicted", "measured", "greedy", "threshold", "by hand"} <= said
    marks = plot.locator("svg .mark-symbol.role-mark path[aria-roledescription=point]")
    fills = marks.evaluate_all(
        "marks => marks.filter(m => m.getAttribute('aria-label').includes('figures')).map(m => m.getAttribute('fill'))"
    )
    dots = build_view(factory.mobilenet()).plan.frontier.dots
    measured = sum(dot.measured is not None for dot in dots)
    assert len(fills) == len(dots) + measured
    assert sum(fill != "transparent" for fill in fills) == measured == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_waterfall_fills_what_was_kept_and_outlines_what_was_dropped(visit, scheme):
    opened = visit("repaired", color_scheme=scheme)
    opened.drawn()
    plot = opened.page.locator("[data-chart=waterfall]")
    texts = plot.locator("svg text").all_text_contents()
    assert {
        "before repair",
        "after repair",
        "kept",
        "dropped",
        "−1.36",
        "drop of accuracy against float, points",
    } <= set(texts)
    bars = plot.locator("svg .mark-rect.role-mark path").evaluate_all(
        "bars => bars.map(b => [b.getAttribute('fill'), b.getBoundingClientRect()])"
        ".map(([fill, box]) => [fill, box.left, box.right])"
    )
    falls = build_view(results_repairs.repaired()).repairs.falls
    assert len(bars) == len(falls) == 6
    assert [fill == "transparent" for fill, _, _ in bars] == [fall.kind == "dropped" for fall in falls]
    # Places on the screen are the figures, by one straight line.
    _, left, right = bars[0]
    for fall, (_, low, high) in zip(falls, bars, strict=True):
        for value, place in ((min(fall.start, fall.end), low), (max(fall.start, fall.end), high)):
            assert place == pytest.approx(left + value / falls[0].end * (right - left), abs=3)
    assert right - left > 200
    lines = plot.locator("svg .intervals_marks line")
    assert lines.count() == 6
    ink = opened.page.evaluate("getComputedStyle(document.body).color")
    assert lines.first.evaluate("line => getComputedStyle(line).stroke") == ink


def test_the_training_curve_marks_what_was_chosen(visit):
    opened = visit("repaired")
    opened.drawn()
    points = opened.page.locator("[data-chart=training] svg path[aria-roledescription=point]")
    assert points.count() == 7
    opened.page.locator("#repairs details summary").click()
    assert opened.column("training", 3).count("yes") == 1 and opened.column("training", 1)[4] == "256"


def test_names_beside_the_frontier_do_not_cover_one_another(visit):
    opened = visit("mobilenet")
    opened.drawn()
    texts = opened.page.locator("[data-chart=frontier] svg .mark-text.role-mark text")
    boxes = [texts.nth(index).bounding_box() for index in range(texts.count())]
    assert len(boxes) == 6
    for place, one in enumerate(boxes):
        for other in boxes[place + 1 :]:
            beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
            below = abs(one["y"] - other["y"]) >= min(one["height"], other["height"]) - 2
            assert beside or below

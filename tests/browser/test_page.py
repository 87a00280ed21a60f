"""The page in a real browser with the network off: charts drawn, tables sorted, names harmless."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest
from bitplan.reports.html import render
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_planning as planning
from .. import results_refined, results_repairs, results_samples

pytestmark = pytest.mark.slow

CHROMIUM = pathlib.Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is absent: install Debian's package `chromium`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    made = tmp_path_factory.mktemp("pages")
    for name in ("mobilenet", "islands", "two_layers", "inspected", "unevaluated", "hostile"):
        (made / f"{name}.html").write_text(render(getattr(factory, name)()), encoding="utf-8")
    (made / "refined.html").write_text(render(results_refined.refined()), encoding="utf-8")
    for name in ("repaired", "without_classes"):
        (made / f"{name}.html").write_text(render(getattr(results_repairs, name)()), encoding="utf-8")
    (made / "samples.html").write_text(render(results_samples.sampled()), encoding="utf-8")
    (made / "hostile_samples.html").write_text(render(results_samples.hostile()), encoding="utf-8")
    (made / "hostile_repairs.html").write_text(render(results_repairs.hostile()), encoding="utf-8")
    device = planning.on_target(factory.mobilenet(), "ethos-u55", planning.vela())
    (made / "device.html").write_text(render(device), encoding="utf-8")
    return made


class Visit:
    """A page opened offline, with everything it asked for and complained about."""

    def __init__(self, browser, path: pathlib.Path, **context) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.context.set_offline(True)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def drawn(self) -> None:
        """Waits until every chart is there."""
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('[data-chart]')]"
            ".every((plot) => plot.dataset.drawn && plot.querySelector('svg'))"
        )

    def close(self) -> None:
        """Closes it; it must have asked for nothing and complained of nothing."""
        self.context.close()
        assert [url for url in self.requests if url != self.url and not url.startswith("data:")] == []
        assert self.complaints == []

    def column(self, table: str, position: int) -> list[str]:
        """Texts of one column's visible cells."""
        return self.page.eval_on_selector_all(
            f"#table-{table} tbody tr:not([hidden])", f"rows => rows.map(r => r.cells[{position}].innerText.trim())"
        )


@pytest.fixture
def visit(browser, folder) -> Iterator[object]:
    opened: list[Visit] = []

    def start(name: str, **context) -> Visit:
        opened.append(Visit(browser, folder / f"{name}.html", **context))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet", "islands", "two_layers", "inspected", "unevaluated", "hostile", "refined", "device", "repaired",
        "without_classes", "hostile_repairs", "samples", "hostile_samples",
    ],
)  # fmt: skip
def test_every_chart_is_drawn_offline_without_a_request_or_a_complaint(visit, name):
    opened = visit(name)
    opened.drawn()
    charts = opened.page.locator("[data-chart] svg")
    assert charts.count() == opened.page.locator("[data-chart]").count()
    for index in range(charts.count()):
        box = charts.nth(index).bounding_box()
        assert box["width"] > 200 and box["height"] > 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_readers_colour_scheme(visit, scheme):
    opened = visit("mobilenet", color_scheme=scheme)
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_text_in_charts_can_be_read_on_a_dark_page(visit):
    opened = visit("mobilenet", color_scheme="dark")
    opened.drawn()
    fill = "getComputedStyle(document.querySelector('.plot svg text')).fill"
    assert opened.page.evaluate(fill) == opened.page.evaluate("getComputedStyle(document.body).color")


@pytest.mark.parametrize("name", ["islands", "mobilenet", "device", "repaired", "samples", "hostile_samples"])
def test_a_phone_needs_no_sideways_scrolling(visit, name):
    opened = visit(name, viewport={"width": 390, "height": 844})
    opened.drawn()
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_click_sorts_and_a_second_one_turns_the_order(visit):
    opened = visit("mobilenet")
    before = opened.column("layers", 0)
    head = opened.page.locator("#table-layers thead th", has_text="Weights error")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert opened.column("layers", 0)[:2] == ["expanded_conv_depthwise", "Conv1"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    shown = opened.column("layers", 9)
    numbers = [float(text.replace("−", "-")) for text in shown if text]
    assert numbers == sorted(numbers)
    # What was not measured stays last in both directions.
    assert shown[len(numbers) :] == [""] * (len(shown) - len(numbers)) and len(numbers) == 53
    head.locator("button").click()
    assert head.get_attribute("aria-sort") is None
    assert opened.column("layers", 0) == before


def test_the_keyboard_sorts_too(visit):
    opened = visit("mobilenet")
    opened.page.locator("#table-kinds thead button", has_text="Ops").focus()
    opened.page.keyboard.press("Enter")
    assert opened.column("kinds", 0)[0] == "pointwise"
    opened.page.keyboard.press("Space")
    assert opened.column("kinds", 1)[0] == "1"


def test_the_filter_shows_the_rows_that_hold_every_word(visit):
    opened = visit("mobilenet")
    opened.page.fill("#filter-layers", "DEPTHWISE block_1")
    names = opened.column("layers", 0)
    assert names[0] == "block_1_depthwise" and all("depthwise" in name for name in names)
    # block_1 and block_10 to block_16
    assert len(names) == 8
    assert opened.page.locator("output[for=filter-layers]").inner_text() == "8 of 65"


def test_a_link_to_a_filtered_row_shows_it(visit):
    opened = visit("mobilenet")
    opened.page.fill("#filter-layers", "softmax")
    opened.page.locator("#network .strip a").nth(1).click()
    opened.page.locator(".panel a[data-row]").click()
    assert opened.page.locator("#op-1").is_visible()
    assert opened.page.input_value("#filter-layers") == ""


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


def test_a_column_with_estimates_sorts_by_value(visit):
    opened = visit("refined")
    head = opened.page.locator("#table-layers thead th", has_text="Weights error")
    head.locator("button").click()
    shown = [text for text in opened.column("layers", 9) if text]
    numbers = [float(text.replace("−", "-").removeprefix("≈").strip()) for text in shown]
    assert numbers == sorted(numbers, reverse=True) and shown[0] == "0.0629" and shown[-1].startswith("≈")


def test_the_strip_tells_what_a_cell_is_to_pointer_and_keyboard(visit):
    opened = visit("islands")
    opened.page.locator(".strip a").nth(1).hover()
    said = opened.page.locator(".strip-detail").inner_text()
    assert said.startswith("1. expanded_conv_depthwise · DEPTHWISE_CONV_2D · w16a16 (16/16) · 832 bytes")
    opened.page.mouse.move(0, 0)
    opened.page.locator(".strip a").nth(4).focus()
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.locator(".strip-detail").inner_text().startswith("5. block_1_project")


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


def test_the_plans_tables_are_there_and_can_be_sorted_and_filtered(visit):
    opened = visit("mobilenet")
    rows = {"limits": 5, "frontier": 13, "rivals": 10, "rounds": 2, "remeasured": 2, "reasons": 65, "times": 3}
    for table, count in rows.items():
        assert opened.page.locator(f"#table-{table} tbody tr").count() == count, table
    assert opened.column("reasons", 1) == [str(op) for op in range(65)]
    gain = opened.page.locator("#table-reasons thead th", has_text="Gain over the next cheaper")
    gain.locator("button").click()
    shown = [float(text.split("\n")[0]) for text in opened.column("reasons", 7) if text]
    assert shown == sorted(shown, reverse=True) and len(shown) == 36
    opened.page.fill("#filter-reasons", "block_16 w4a8")
    assert sorted(opened.column("reasons", 0)) == ["block_16_expand", "block_16_project"]


def test_what_the_targets_tool_says_is_on_the_page(visit):
    opened = visit("device")
    card = opened.page.locator("#opinion")
    assert card.is_visible() and opened.page.locator("#table-opinion tbody tr").count() == 2
    assert "SOFTMAX, PRELU" in card.inner_text() and "ethos-u-vela 5.2.0" in card.inner_text()
    head = opened.page.locator("#table-comparison thead th").nth(2)
    assert head.inner_text() == "LiteRT's arena on this host, not the device's"
    assert opened.page.locator("[data-chart=frontier]").count() == 1


def test_hostile_names_are_shown_as_text_in_page_and_charts(visit):
    opened = visit("hostile")
    opened.drawn()
    assert opened.page.locator("#table-layers tbody th").nth(1).inner_text() == "</script><b>\"'"
    assert "</script><b>\"'" in opened.page.locator("[data-chart=ranking] svg text").all_text_contents()
    assert opened.page.locator("img").count() == 0
    # The tooltip is the one place where Vega writes HTML.
    opened.page.locator("[data-chart=ranking] svg .mark-symbol path").first.hover()
    tooltip = opened.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "</script><b>\"'" in tooltip.inner_text() and tooltip.locator("b").count() == 0


def test_without_javascript_the_tables_and_the_strip_are_there(visit):
    opened = visit("mobilenet", java_script_enabled=False)
    page = opened.page
    for table, rows in {"layers": 65, "frontier": 13, "rounds": 2, "reasons": 65}.items():
        assert page.locator(f"#table-{table} tbody tr").count() == rows
    assert page.locator(".strip a").count() == 65
    assert page.locator(".plot .fallback").first.is_visible()
    assert not page.locator("#filter-layers").is_visible()
    page.locator("details summary").first.click()
    assert page.locator("#table-by-scheme").is_visible()


def test_random_data_is_written_across_screen_and_print(visit):
    opened = visit("unevaluated")
    opened.drawn()
    assert opened.page.locator(".banner").is_visible() and not opened.page.locator(".watermark").is_visible()
    opened.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert opened.page.locator(".banner").bounding_box()["y"] == 0
    opened.page.emulate_media(media="print")
    assert opened.page.locator(".banner").is_visible() and opened.page.locator(".watermark").is_visible()


def test_print_shows_whole_tables_and_no_controls(visit):
    opened = visit("mobilenet", color_scheme="dark")
    opened.drawn()
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not opened.page.locator(".filter").first.is_visible()
    assert opened.page.evaluate("getComputedStyle(document.querySelector('.tall')).maxHeight") == "none"
    assert opened.page.pdf(format="A4").startswith(b"%PDF")

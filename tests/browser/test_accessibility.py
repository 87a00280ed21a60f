"""The pages for people with a keyboard, a screen reader or weak eyes: axe-core finds nothing serious.

It comes from npm: `npm ci --prefix tests/browser`, or `$BITPLAN_AXE` names the script.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator

import pytest
from bitplan.analyzer.schema import Results
from bitplan.reports.audit import render_audit
from bitplan.reports.html import render, render_side_by_side
from bitplan.reports.inspection import render_inspection
from bitplan.reports.side_by_side import build_side_by_side
from bitplan.reports.side_by_side_charts import side_by_side_charts
from bitplan.reports.side_figures import Side
from bitplan.reports.study_page import render_study
from bitplan.strategies.comparison import diff_plans

from .. import results_audits as audits
from .. import results_factory as factory
from .. import results_planning as planning
from .visits import RESULTS, Visit

pytestmark = pytest.mark.slow

AXE = pathlib.Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
RUNS = (
    "mobilenet", "islands", "two_layers", "inspected", "unevaluated", "hostile", "mismatched", "refined", "repaired",
    "samples", "device",
)  # fmt: skip
WRITERS: dict[str, Callable[[], str]] = {
    **{name: lambda name=name: render(RESULTS[name]()) for name in RUNS},
    "side_by_side": lambda: side_by_side(),
    "audit": lambda: render_audit(audits.audit(), "mobilenetv2", audits.times()),
    "plain_audit": lambda: render_audit(audits.plain_audit(), "two_layers"),
    "file_alone": lambda: render_inspection(audits.inspection(), "int8.tflite"),
    "keyboard": lambda: render(few_layers()),
    "study": lambda: render_study(audits.study(), "mobilenetv2"),
}
"""Every kind of page that Bitplan writes."""

PHONE = {"viewport": {"width": 390, "height": 844}}

RUN = """
async (options) => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const found = await axe.run(document, {resultTypes: ["violations"], ...options});
  return found.violations.map((one) => ({
    rule: one.id, impact: one.impact, help: one.help,
    places: one.nodes.slice(0, 5).map((node) => `${node.target.join(" ")}: ${node.failureSummary}`),
  }));
}
"""
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
"""The rules that another colour scheme can break: it changes nothing else."""


@pytest.fixture(scope="module")
def axe() -> str:
    path = pathlib.Path(os.environ.get("BITPLAN_AXE") or AXE)
    if not path.is_file():
        reason = f"{path} is absent: run npm ci --prefix tests/browser"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return path.read_text(encoding="utf-8")


def side_by_side() -> str:
    first, second = factory.mobilenet(), factory.islands()
    sides = (Side("before", first), Side("after", second, diff_plans(first.plan, second.plan)))
    view = build_side_by_side(sides)
    return render_side_by_side(view, side_by_side_charts(view))


def few_layers() -> Results:
    """Everything that can be used, in few layers: nobody tabs through hundreds of rows in a test."""
    base = factory.two_layers()
    assert base.plan is not None
    known = planning.planning(base.graph, base.plan)
    return dataclasses.replace(base, planning=known, weights=factory.weights(base.graph))


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Callable[[str], pathlib.Path]:
    """Writes a page when it is first asked for."""
    made = tmp_path_factory.mktemp("pages")

    def page(name: str) -> pathlib.Path:
        path = made / f"{name}.html"
        if not path.exists():
            path.write_text(WRITERS[name](), encoding="utf-8")
        return path

    return page


@pytest.fixture
def visit(browser, pages) -> Iterator[object]:
    opened: list[Visit] = []

    def start(name: str, **context) -> Visit:
        opened.append(Visit(browser, pages(name), **context))
        opened[-1].drawn()
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def violations(opened: Visit, axe: str, **options: object) -> list[dict]:
    opened.page.evaluate(axe)
    return opened.page.evaluate(RUN, options)


def serious(found: list[dict]) -> list[dict]:
    return [one for one in found if one["impact"] in ("serious", "critical")]


def said(found: list[dict]) -> str:
    return "\n".join(f"{one['impact']} {one['rule']}: {one['help']}\n  " + "\n  ".join(one["places"]) for one in found)


@pytest.mark.parametrize("name", WRITERS)
def test_axe_finds_nothing_serious_in_the_light_and_in_the_dark(visit, axe, name):
    opened = visit(name)
    found = serious(violations(opened, axe))
    assert not found, said(found)
    opened.page.emulate_media(color_scheme="dark")
    found = serious(violations(opened, axe, **COLOURS))
    assert not found, said(found)


@pytest.mark.parametrize("name", ["islands", "side_by_side", "audit", "study"])
def test_axe_finds_nothing_serious_on_a_phone(visit, axe, name):
    found = serious(violations(visit(name, **PHONE), axe))
    assert not found, said(found)


def test_axe_itself_sees_what_is_wrong(visit, axe):
    opened = visit("two_layers")
    opened.page.evaluate("document.body.append(Object.assign(document.createElement('button')))")
    assert "button-name" in {one["rule"] for one in serious(violations(opened, axe))}
    opened.page.emulate_media(color_scheme="dark")
    opened.page.add_style_tag(content=".verdict p { color: #333 !important; }")
    assert "color-contrast" in {one["rule"] for one in serious(violations(opened, axe, **COLOURS))}


STOPS = """
() => {
  globalThis.stops = [];
  addEventListener("focusin", ({ target }) => {
    const seen = (one) => {
      const style = getComputedStyle(one);
      return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    };
    const within = [target, ...target.querySelectorAll("*")];
    globalThis.stops.push({
      element: target,
      name: target.tagName.toLowerCase() + (target.id ? "#" + target.id : ""),
      seen: target.matches(":focus-visible") && within.some(seen),
    });
  });
}
"""
REACHED = """
(selector) => {
  const reached = new Set(globalThis.stops.map((stop) => stop.element));
  const missed = [...document.querySelectorAll(selector)].filter((one) => !reached.has(one));
  return missed.map((one) => one.outerHTML.slice(0, 120));
}
"""


def tabbed(opened: Visit, presses: int) -> None:
    """Goes through the page with the tab key; folded parts are open, and the panel shows its layer already."""
    if opened.page.locator(".panel").count():
        opened.page.locator(".panel").scroll_into_view_if_needed()
        opened.page.wait_for_selector(".panel dl")
    opened.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    opened.page.evaluate(STOPS)
    for _ in range(presses):
        opened.page.keyboard.press("Tab")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("keyboard", ["#budget-slider", "[data-choice]", "thead button", ".scroll", ".panel button"]),
        ("inspected", ["[data-filter]", "thead button"]),
        ("audit", ["thead button", ".scroll"]),
        ("study", ["thead button", "[data-choice]"]),
        ("side_by_side", ["thead button", ".scroll"]),
    ],
)
def test_the_tab_key_reaches_everything_that_can_be_used_and_shows_where_it_is(visit, name, wanted):
    opened = visit(name)
    count = "document.querySelectorAll('a[href], button, input, select, summary, [tabindex]').length"
    tabbed(opened, opened.page.evaluate(count))
    for selector in wanted:
        assert opened.page.locator(selector).count() > 0, selector
        visible = f":is({selector}):not([data-close], :disabled)"
        assert opened.page.evaluate(REACHED, visible) == [], selector
    unseen = opened.page.evaluate("globalThis.stops.filter((stop) => !stop.seen).map((stop) => stop.name)")
    assert unseen == []


def test_the_arrow_keys_move_the_slider(visit):
    opened = visit("keyboard")
    slider, output = opened.page.locator("#budget-slider"), opened.page.locator("#budget output")
    slider.focus()
    before = output.inner_text()
    opened.page.keyboard.press("ArrowLeft")
    assert output.inner_text() != before and slider.get_attribute("aria-valuetext") == output.inner_text()

"""The pages for people with a keyboard, a screen reader or weak eyes: axe-core finds nothing serious.

It comes from npm: `npm ci --prefix tests/browser`, or `$BITPLAN_AXE` names the script.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest
from bitplan.reports.html import render, render_side_by_side
from bitplan.reports.side_by_side import build_side_by_side
from bitplan.reports.side_by_side_charts import side_by_side_charts
from bitplan.reports.side_figures import Side
from bitplan.strategies.comparison import diff_plans

from .. import results_factory as factory
from .. import results_planning as planning
from .. import results_refined, results_repairs, results_samples
from .test_page import Visit, browser  # noqa: F401

pytestmark = pytest.mark.slow

AXE = pathlib.Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
PAGES = (
    "mobilenet", "islands", "two_layers", "inspected", "unevaluated", "hostile", "mismatched", "refined", "repaired",
    "device", "samples", "side_by_side",
)  # fmt: skip
PHONE = {"viewport": {"width": 390, "height": 844}}

RUN = """
async () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.map((one) => ({
    rule: one.id, impact: one.impact, help: one.help,
    places: one.nodes.slice(0, 5).map((node) => `${node.target.join(" ")}: ${node.failureSummary}`),
  }));
}
"""


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


def html(name: str) -> str:
    if name == "side_by_side":
        return side_by_side()
    if name == "refined":
        return render(results_refined.refined())
    if name == "repaired":
        return render(results_repairs.repaired())
    if name == "samples":
        return render(results_samples.sampled())
    if name == "device":
        return render(planning.on_target(factory.mobilenet(), "ethos-u55", planning.vela()))
    return render(getattr(factory, name)())


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> pathlib.Path:
    made = tmp_path_factory.mktemp("pages")
    for name in PAGES:
        (made / f"{name}.html").write_text(html(name), encoding="utf-8")
    return made


@pytest.fixture
def visit(browser, pages) -> Iterator[object]:  # noqa: F811
    opened: list[Visit] = []

    def start(name: str, **context) -> Visit:
        opened.append(Visit(browser, pages / f"{name}.html", **context))
        opened[-1].drawn()
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def violations(opened: Visit, axe: str) -> list[dict]:
    opened.page.evaluate(axe)
    return opened.page.evaluate(RUN)


def said(found: list[dict]) -> str:
    return "\n".join(f"{one['impact']} {one['rule']}: {one['help']}\n  " + "\n  ".join(one["places"]) for one in found)


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(visit, axe, name):
    found = violations(visit(name), axe)
    assert not [one for one in found if one["impact"] in ("serious", "critical")], said(found)


@pytest.mark.parametrize("name", ["mobilenet", "repaired", "mismatched", "unevaluated", "samples", "side_by_side"])
def test_axe_finds_nothing_serious_in_the_dark(visit, axe, name):
    found = violations(visit(name, color_scheme="dark"), axe)
    assert not [one for one in found if one["impact"] in ("serious", "critical")], said(found)


@pytest.mark.parametrize("name", ["islands", "side_by_side"])
def test_axe_finds_nothing_serious_on_a_phone(visit, axe, name):
    found = violations(visit(name, **PHONE), axe)
    assert not [one for one in found if one["impact"] in ("serious", "critical")], said(found)


def test_axe_itself_sees_what_is_wrong(visit, axe):
    opened = visit("two_layers")
    opened.page.evaluate("document.body.append(Object.assign(document.createElement('button')))")
    found = violations(opened, axe)
    assert "button-name" in {one["rule"] for one in found if one["impact"] == "critical"}

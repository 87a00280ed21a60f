"""docs/report.md explains every chart and every table that a report can have, under the names that it gives them."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import pytest
from bitplan.reports.cells import Table
from bitplan.reports.charts import DROP_TITLES, charts_of
from bitplan.reports.side_by_side import build_side_by_side
from bitplan.reports.side_by_side_charts import side_by_side_charts
from bitplan.reports.side_figures import Side
from bitplan.reports.view import build_view
from bitplan.strategies.comparison import diff_plans

from .. import results_factory as factory
from .. import results_planning as planning
from .. import results_refined, results_repairs, results_samples

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "report.md"


def tables(part):
    if isinstance(part, Table):
        yield part
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            yield from tables(getattr(part, field.name))
    elif isinstance(part, tuple | list):
        for one in part:
            yield from tables(one)


def explained():
    """What stands in bold, on however many lines."""
    return {" ".join(name.split()) for name in re.findall(r"\*\*(.+?)\*\*", PAGE.read_text(), flags=re.S)}


def name(caption):
    """A caption without what it says of this run."""
    return re.split(r":|;", caption)[0]


@pytest.mark.parametrize(
    "results",
    [
        factory.mobilenet, factory.mismatched, factory.two_layers, factory.regression, results_refined.refined,
        results_repairs.repaired, results_samples.sampled,
        lambda: planning.on_target(factory.mobilenet(), "ethos-u55", planning.vela()),
    ],
    ids=["mobilenet", "mismatched", "two_layers", "regression", "refined", "repaired", "samples", "device"],
)  # fmt: skip
def test_every_chart_and_table_is_explained(results):
    view = build_view(results())
    wanted = {name(table.caption) for table in tables(view)} | {chart.title.split(":")[0] for chart in charts_of(view)}
    known = {one.split(":")[0] for one in explained()}
    assert wanted <= known, wanted - known


def test_every_kind_of_drop_is_explained():
    assert {title for title, _ in DROP_TITLES.values()} <= explained()


def test_the_page_of_several_runs_is_explained():
    first, second = factory.mobilenet(), factory.islands()
    view = build_side_by_side((Side("a", first), Side("b", second, diff_plans(first.plan, second.plan))))
    wanted = {name(table.caption) for table in tables(view)} | {chart.title for chart in side_by_side_charts(view)}
    assert wanted <= explained(), wanted - explained()

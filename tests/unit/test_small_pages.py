"""A network of two layers: nothing on its page that only a larger one has a use for."""

from __future__ import annotations

import dataclasses

import pytest
from bitplan.reports import charts, frontier
from bitplan.reports.html import render
from bitplan.reports.view import build_view

from .. import results_factory as factory


def help_of(results, chart_id):
    return next((chart.help for chart in charts.build_charts(results) if chart.id == chart_id), None)


def test_few_rows_have_no_filter_and_many_have_one():
    assert 'id="filter-' not in render(factory.two_layers())
    assert 'id="filter-layers"' in render(factory.mobilenet())


def test_two_bars_are_no_chart_and_their_table_stays():
    small = factory.two_layers()
    assert len({bar.label for bar in build_view(small).sensitivity.kinds}) == 2
    assert help_of(small, "kinds") is None and 'id="table-kinds"' in render(small)
    assert help_of(factory.mobilenet(), "kinds")


def test_the_ranking_speaks_of_the_worst_only_where_it_leaves_some_out():
    assert help_of(factory.mobilenet(), "ranking").startswith("The 25 worst layers, ")
    assert help_of(factory.two_layers(), "ranking").startswith("Every layer and the model's input, ")


def test_of_two_ops_the_second_is_the_other_one():
    base = factory.two_layers()
    graph = dataclasses.replace(base.graph, ops=base.graph.ops[:2], outputs=base.graph.ops[1].outputs)
    plan = factory.plan(graph, {graph.ops[0].layer: "float"}, 9_000, 0.004, None)
    text = build_view(dataclasses.replace(base, graph=graph, plan=plan)).verdict.text
    assert "keeps 1 of 2 ops in float and the other one in w8a8" in text


@pytest.mark.parametrize(
    ("shrunk", "axis", "largest"), [(1, "flash (file), MB", 1e6), (100, "flash (file), KiB", 1024)]
)
def test_a_frontier_of_small_files_counts_in_kib_as_its_table_does(shrunk, axis, largest):
    base = factory.mobilenet()
    found = base.planning.frontier
    points = tuple(dataclasses.replace(p, file_bytes=p.file_bytes // shrunk) for p in found.points)
    planning = dataclasses.replace(base.planning, frontier=dataclasses.replace(found, points=points))
    part = frontier.frontier_part(dataclasses.replace(base, planning=planning))
    assert part.axis == axis
    assert {p.file_bytes / largest for p in points if p.noise > 0} <= {dot.amount for dot in part.dots}
    unit = axis.rsplit(maxsplit=1)[-1]
    column = [c.label for c in part.table.columns].index("Flash (file)")
    assert all(unit in row.cells[column].text for row in part.table.rows if shrunk == 1 or row.role != "plan")

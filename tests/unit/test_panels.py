"""What a layer's panel says: what is clipped, its schemes, why it has its own; and the plans of the slider."""

from __future__ import annotations

import dataclasses
import json

import pytest
from bitplan.analyzer.schema import Histogram, Range
from bitplan.reports import budget, panels
from bitplan.reports.html import compact
from bitplan.reports.view import build_view

from .. import results_factory as factory


def seen(low: float, high: float, counts: tuple[int, ...], start: int = 0, width: float = 1.0) -> Range:
    return Range(0, low, high, Histogram(start, width, counts), 0.0, 1.0)


WHOLE = seen(0.0, 6.0, (10, 0, 20, 30, 20, 10, 10))  # ten values are 6 exactly: the bin behind it begins there


@pytest.mark.parametrize(
    ("low", "high", "share", "exact"),
    [
        (0.0, 6.0, 0.0, True),
        (-1.0, 9.0, 0.0, True),
        (0.0, 5.0, 0.2, True),  # 5 to 6, and what is 6
        (0.0, 4.0, 0.4, True),
        (1.0, 6.0, 0.1, True),
        (0.0, 5.5, 0.15, False),  # half of a bin, if its values are spread evenly
    ],
)
def test_what_lies_outside_of_a_range_is_counted_bin_by_bin(low, high, share, exact):
    used = dataclasses.replace(WHOLE, minimum=low, maximum=high)
    found, sure = panels.clipped(used, WHOLE)
    assert found == pytest.approx(share) and sure == exact


def test_values_of_unknown_extremes_lie_in_the_range_wherever_they_can():
    # Equalization has moved the values: what calibration saw first says nothing of their extremes.
    other = seen(-3.0, 3.0, (1, 2, 1), -2, 2.0)
    assert panels.clipped(seen(0.25, 6.0, WHOLE.histogram.counts), other) == (0.0, True)
    assert panels.clipped(dataclasses.replace(WHOLE, maximum=4.0, declared=True), other)[0] == pytest.approx(0.4)


def test_columns_keep_every_count():
    found = panels._columns_of(Histogram(-5, 0.25, (0, 0, *range(1, 201), 0)))
    assert sum(found.counts) == sum(range(1, 201)) and len(found.counts) <= panels.COLUMNS
    assert (found.start, found.width) == (-0.75, 1.25)


def test_a_panel_has_every_scheme_with_the_figures_of_the_tables():
    results = factory.mobilenet()
    part = panels.panels_part(results)
    assert part.first == 1 and len(part.panels) == 65
    for panel, op, assigned in zip(part.panels, results.graph.ops, results.plan.assignments, strict=True):
        assert {choice.scheme for choice in panel.choices} == set(op.schemes)
        assert [choice.scheme for choice in panel.choices if choice.chosen] == [assigned.scheme]
        assert all(len(choice.cells) == len(part.columns) for choice in panel.choices)
    worst = {choice.scheme: choice.cells[0] for choice in part.panels[1].choices}
    assert worst["w8a8"] == "0.0629" and worst["float"] == "0"


def test_without_anything_known_there_are_no_panels_and_without_a_frontier_no_slider():
    assert build_view(factory.inspected()).panels is None
    assert build_view(factory.two_layers()).budget is None and build_view(factory.two_layers()).panels


def test_the_slider_has_every_op_of_every_plan():
    results = factory.mobilenet()
    part = budget.budget_part(results)
    packed = json.loads(compact(budget.block(part)))
    assert packed["own"] == part.own == 6 and "the plan of this run" in part.stops[6].title
    for stop, entry in zip(part.stops, packed["stops"], strict=True):
        assert tuple(packed["schemes"][letter.lower()] for letter in entry["ops"]) == stop.schemes
        assert tuple(letter.isupper() for letter in entry["ops"]) == stop.borders
    # One op in float in the midst of int8: it converts, and the next one converts back; float comes in and goes out.
    assert [place for place, border in enumerate(part.stops[6].borders) if border] == [0, 1, 2]


def test_blocks_cannot_end_their_element():
    text = str(compact({"name": "</script><!--&'\u2028"}))
    assert not {"<", ">", "&", "'", "\u2028"} & set(text)
    assert json.loads(text) == {"name": "</script><!--&'\u2028"}

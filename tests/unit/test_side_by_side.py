"""Runs beside one another: the figures are the runs' own, what cannot be compared is said and not shown."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import jsonschema
import pytest
from bitplan.analyzer.errors import UsageError
from bitplan.comparing import Comparison, compare
from bitplan.reports.accuracies import wilson
from bitplan.reports.html import render_side_by_side
from bitplan.reports.notebook import comparison_html
from bitplan.reports.side_by_side import build_side_by_side, comparison_json, comparison_schema
from bitplan.reports.side_by_side_charts import side_by_side_charts
from bitplan.reports.side_figures import Side
from bitplan.strategies.comparison import diff_plans

from .. import results_factory as factory
from .. import results_planning as planning


def sides(*results, names=("before", "after", "third")):
    first = results[0]
    made = [Side(names[0], first)]
    for name, other in zip(names[1 : len(results)], results[1:], strict=True):
        same = first.plan and other.plan and len(first.plan.assignments) == len(other.plan.assignments)
        made.append(Side(name, other, diff_plans(first.plan, other.plan) if same else None))
    return tuple(made)


@pytest.fixture
def pair():
    return sides(factory.mobilenet(), factory.islands())


def cells(table, row):
    return {column.label: cell for column, cell in zip(table.columns, table.rows[row].cells, strict=True)}


def page(found):
    view = build_side_by_side(found)
    return render_side_by_side(view, side_by_side_charts(view))


def test_every_run_has_its_own_figures(pair):
    view = build_side_by_side(pair)
    before, after = cells(view.table, 0), cells(view.table, 1)
    assert (before["Flash (file)"].value, after["Flash (file)"].value) == (2_735_248, 2_773_536)
    assert after["Flash (file)"].detail == "+38\u202f288 bytes" and before["Flash (file)"].detail == ""
    assert after["RAM"].detail == "−22\u202f472 bytes; LiteRT's arena"
    assert (before["Drop, points"].text, after["Drop, points"].text) == ("0.58 ± 0.52", "0.00 ± 0.36")
    assert before["Accuracy"].detail == "float: 86.50 %"
    assert after["Measured on"].text == "5000 samples, XNNPACK"
    assert before["Predicted latency"].detail == "no device: counted in bits"


@pytest.mark.parametrize(("right", "samples"), [(0, 5), (5, 5), (221, 256), (4325, 5000), (1, 1)])
def test_the_ends_of_wilsons_interval_are_where_a_share_differs_by_as_many_of_its_standard_errors(right, samples):
    share, z = right / samples, 1.959963984540054
    found = wilson(share, samples)
    assert 0 <= found.low <= share <= found.high <= 1 and found.low < found.high
    for end in (found.low, found.high):
        assert (end - share) ** 2 == pytest.approx(z * z * end * (1 - end) / samples, rel=1e-6, abs=1e-12)


def test_an_accuracys_interval_is_wilsons(pair):
    p, n, z = 0.8592, 5000, 1.959964
    found = build_side_by_side(pair).figures[0].accuracy
    # The interval is where a share differs from p by z of its own standard errors.
    for end in (found.low, found.high):
        assert abs(end - p) == pytest.approx(z * math.sqrt(end * (1 - end) / n))


def test_the_others_are_held_against_the_first_in_words(pair):
    (sentence,) = build_side_by_side(pair).findings
    assert sentence.startswith(
        "after against before: flash +38\u202f288 bytes, RAM (LiteRT's arena) −22\u202f472 bytes. "
    )
    assert "0.00 ± 0.36 points of accuracy instead of 0.58 ± 0.52 (5000 images, XNNPACK)" in sentence
    assert "The intervals overlap" in sentence
    assert build_side_by_side(pair).plans[0].startswith("after against before: 9 of 65 ops differ; as predicted, flash")


def test_intervals_that_do_not_overlap_are_told_apart():
    first, second = factory.mobilenet(), factory.mobilenet()
    evaluations = tuple(
        dataclasses.replace(e, drop_points=factory.Interval(9.0, 8.0, 10.0)) if e.name == "plan" else e
        for e in second.verification.evaluations
    )
    worse = dataclasses.replace(second, verification=dataclasses.replace(second.verification, evaluations=evaluations))
    (sentence,) = build_side_by_side(sides(first, worse)).findings
    assert "9.00 ± 1.00 points of accuracy instead of 0.58 ± 0.52" in sentence and "overlap" not in sentence


def test_equal_runs_say_so():
    (sentence,) = build_side_by_side(sides(factory.mobilenet(), factory.mobilenet())).findings
    assert "flash the same" in sentence and "0.58 ± 0.52 points of accuracy in both" in sentence
    assert "overlap" not in sentence
    assert build_side_by_side(sides(factory.mobilenet(), factory.mobilenet())).changed is None


def test_layers_that_differ_are_listed_and_marked(pair):
    view = build_side_by_side(pair)
    assert len(view.changed.rows) == 9 and len(view.layers.rows) == 65
    marked = [row.cells[0].text for row in view.layers.rows if row.role == "plan"]
    assert marked == [row.cells[0].text for row in view.changed.rows]
    assert [cell.text for cell in view.changed.rows[1].cells] == ["expanded_conv_depthwise", "1", "float", "w16a16"]
    assert view.changed.rows[1].cells[3].detail == "−576 bytes"


def test_a_devices_own_memory_is_not_set_against_litert():
    npu = planning.on_target(factory.mobilenet(), "ethos-u55", planning.vela())
    view = build_side_by_side(sides(factory.mobilenet(), npu))
    assert cells(view.table, 1)["RAM"].detail.startswith("ethos-u-vela")
    assert "unlike figures" in view.findings[0]
    bare = planning.on_target(factory.mobilenet(), "ethos-u55", None)
    ram = cells(build_side_by_side(sides(factory.mobilenet(), bare)).table, 1)["RAM"]
    assert ram.detail == "LiteRT's arena on this host, not the device's"


def test_networks_of_another_structure_are_compared_as_a_whole_only():
    view = build_side_by_side(sides(factory.mobilenet(), factory.two_layers()))
    assert view.layers is None and view.changed is None
    assert any(note.startswith("Of another structure than before") for note in view.notes)
    assert any("different samples" in note for note in view.notes)
    assert "instead of" not in view.findings[0]  # a drop of accuracy and one of agreement
    assert side_by_side_charts(view) == ()


def test_what_was_not_measured_is_marked_as_predicted():
    planned = dataclasses.replace(factory.mobilenet(), verification=None)
    view = build_side_by_side(sides(factory.mobilenet(), planned))
    assert cells(view.table, 1)["Flash (file)"].text.startswith("≈ ")
    assert cells(view.table, 1)["Measured on"].text == "not measured"
    assert "(one of them predicted)" in view.findings[0]
    assert any("≈" in note for note in view.table.notes)


def test_runs_without_a_plan_stand_there_with_what_they_have():
    view = build_side_by_side(sides(factory.analyzed(), factory.inspected()))
    assert [column.label for column in view.table.columns] == ["Run", "Time on a CPU"]
    assert view.notes == ("before has no plan: nothing is compared layer by layer.",)


def test_runs_that_coincide_share_a_mark():
    view = build_side_by_side(sides(factory.mobilenet(), factory.islands(), factory.mobilenet()))
    chart = side_by_side_charts(view)[0]
    assert "before, third" in json.dumps(chart.specs)


@pytest.mark.parametrize(
    "other", ["islands", "two_layers", "analyzed", "unevaluated", "regression", "hostile", "inspected"]
)
def test_the_document_keeps_to_its_published_schema(other):
    found = sides(factory.mobilenet(), getattr(factory, other)())
    document = comparison_json(found)
    jsonschema.Draft202012Validator(comparison_schema()).validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert comparison_json(found) == document


def test_the_schema_is_a_schema_and_describes_every_field():
    published = comparison_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    document = comparison_json(sides(factory.mobilenet(), factory.islands()))
    assert list(published["properties"]) == list(document)
    assert list(published["$defs"]["run"]["properties"]) == list(document["runs"][0])
    assert list(published["$defs"]["layer"]["properties"]) == list(document["layers"][0])
    for part in ("run", "layer", "interval"):
        assert all(entry.get("description") for entry in published["$defs"][part]["properties"].values())


def test_the_document_says_what_the_page_says(pair):
    document = comparison_json(pair)
    assert [run["file_bytes"] for run in document["runs"]] == [2_735_248, 2_773_536]
    assert sum(layer["differ"] for layer in document["layers"]) == 9
    assert document["layers"][1]["schemes"] == {"before": "float", "after": "w16a16"}


def test_hostile_names_are_text():
    hostile = factory.hostile()
    named = sides(hostile, factory.hostile(), names=(factory.HOSTILE[0], factory.HOSTILE[1]))
    for html in (page(named), comparison_html(build_side_by_side(named))):
        assert "<img src=x" not in html and "<b>\"'" not in html and "{{ 7*7 }}" in html
        assert "L" * 200 not in re.sub(r"<script.*?</script>", "", html, flags=re.S)


def test_equal_runs_give_equal_pages(pair):
    assert page(pair) == page(pair)


def test_one_run_is_no_comparison(tmp_path):
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([tmp_path])


def test_a_notebook_shows_it(pair):
    html = Comparison(pair)._repr_html_()
    assert "2.774 MB" in html and "after against before" in html

"""Samples that change their class, and the calibration study, on the page of a run."""

from __future__ import annotations

import dataclasses
import re

import jsonschema
import pytest
from bitplan.analyzer.schema import Verification
from bitplan.analyzer.serialize import from_jsonable, to_jsonable
from bitplan.reports.charts import build_charts
from bitplan.reports.export import report_json, report_schema
from bitplan.reports.html import render
from bitplan.reports.study_chart import study_chart
from bitplan.reports.study_page import render_study
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_samples as samples


@pytest.fixture(scope="module")
def page() -> str:
    return render(samples.sampled())


def section(page: str, name: str) -> str:
    return re.search(rf'<section id="{name}">.*?</section>', page, flags=re.S)[0]


def test_both_parts_stand_between_the_plan_and_what_was_run(page):
    order = re.findall(r'<section id="([a-z-]+)"', page)
    assert order[-6:] == ["flips", "study", "tables", "weights", "calibration", "run"]
    contents = re.search(r"<nav.*?</nav>", page, flags=re.S)[0]
    assert contents.index('href="#flips"') < contents.index('href="#study"') < contents.index('href="#run"')


def test_the_surest_samples_are_shown_with_both_confidences(page):
    part = section(page, "flips")
    assert "43 of 5000 samples change their class: 30 lost (only float is right), 9 gained" in part
    assert "4 changed between two wrong classes" in part
    assert part.count("<li ") == part.count("<img ") == 24
    assert "The 24 that both files are surest of are shown; report.json lists all." in part
    first = re.search(r"<li .*?</li>", part, flags=re.S)[0]
    for word in ("sample 0", "cat (3), 95 %", "dog (5), 93 %", "only float is right"):
        assert word in first, word


@pytest.mark.parametrize("found", [None, samples.flips(0, 0, 0)])
def test_without_such_samples_the_part_is_absent(found):
    results = samples.with_flips(factory.mobilenet(), found)
    assert build_view(results).flips is None
    assert 'id="flips"' not in render(results) and 'href="#flips"' not in render(results)


def test_one_sample_changes_its_class_and_without_labels_nobody_is_right():
    one = build_view(samples.with_flips(factory.mobilenet(), samples.flips(1, 0, 0))).flips
    assert one.summary == "1 of 5000 samples changes its class: 1 lost (only float is right)." and not one.note
    unlabelled = build_view(samples.with_flips(factory.mobilenet(), samples.flips(labelled=False), ())).flips
    assert unlabelled.summary == "43 of 5000 samples change their class: 43 changed."
    assert {(card.label, card.said) for card in unlabelled.cards} == {("", "")}
    assert unlabelled.cards[0].before == "class 3, 95 %"


def test_names_of_files_and_classes_stay_text_and_the_page_stays_small():
    page = render(samples.hostile())
    part = section(page, "flips")
    assert "<img" not in part and "<script" not in part and "&lt;img src=x" in part
    many = samples.flips(1000, 0, 0, pictures=0)
    assert len(render(samples.with_flips(factory.mobilenet(), many)).encode()) < 2_500_000


def test_the_study_says_what_to_take_beside_what_was_taken(page):
    part = section(page, "study")
    assert "Take <b>100 samples and mse ranges</b>" in part
    assert "This run was calibrated on 256 samples." in part
    assert 'data-chart="study"' in part and part.count('<tr class="plan"') == 1
    charts = {chart.id: chart for chart in build_charts(samples.sampled())}
    assert charts["study"].specs == study_chart(samples.study()).specs
    without = render(factory.mobilenet())
    assert 'id="study"' not in without and 'href="#study"' not in without


def test_one_size_of_sets_makes_no_chart():
    one = samples.study((30,))
    results = dataclasses.replace(factory.mobilenet(), study=one)
    assert "study" not in {chart.id for chart in build_charts(results)}
    for page in (render(results), render_study(one, "net")):
        assert 'id="table-study"' in page and "chart-study" not in page
    assert "vegaEmbed" not in render_study(one, "net") and "vegaEmbed" in render_study(samples.study(), "net")


@pytest.mark.parametrize("results", [samples.sampled, samples.hostile])
def test_both_keep_to_the_published_schema(results):
    jsonschema.Draft202012Validator(report_schema()).validate(report_json(results()))


def test_the_schema_describes_every_key_of_both():
    document, published = report_json(samples.sampled()), report_schema()["$defs"]
    verification = document["verification"]
    for name, part in (
        ("verification", verification), ("flips", verification["flips"]), ("flip", verification["flips"]["listed"][0]),
        ("study", document["study"]), ("study_band", document["study"]["recommended"]),
    ):  # fmt: skip
        assert set(published[name]["properties"]) == set(published[name]["required"]) == set(part), name
    assert verification["flips"]["listed"][0]["thumbnail"] == samples.PIXEL
    assert report_json(factory.mobilenet())["study"] is None


def test_a_verification_of_an_older_folder_has_none_of_it():
    written = to_jsonable(factory.verification())
    old = {name: value for name, value in written.items() if name not in ("flips", "class_names")}
    assert len(old) == len(written) - 2
    found = from_jsonable(Verification, old)
    assert found == factory.verification() and found.flips is None
    again = from_jsonable(Verification, to_jsonable(samples.sampled().verification))
    assert again == samples.sampled().verification

"""What a study recommends and what it says."""

from __future__ import annotations

import dataclasses

import pytest
from bitplan.analyzer.errors import UsageError
from bitplan.analyzer.schema import Interval, Study, StudyBand
from bitplan.reports.study import study_table, study_verdict
from bitplan.reports.study_chart import study_chart
from bitplan.strategies.study import parse_methods, recommend


def said(study):
    return study_verdict(study).text


def band(size, method, value, spread=0.0, **more):
    return StudyBand(
        size, "random", method, 3 if spread else 1, Interval(value, value - spread, value + spread), **more
    )


def test_the_smallest_set_within_the_spread_of_the_best_is_recommended():
    best = band(300, "mse", 0.10, 0.01)
    assert recommend([band(10, "mse", 0.12), band(100, "mse", 0.109), band(30, "mse", 0.1101), best]).size == 100
    assert recommend([band(10, "kl", 0.11), best]).method == "kl"
    assert recommend([band(10, "kl", 0.111), best]) == best
    alone = band(300, "kl", 0.10)
    assert recommend([band(100, "kl", 0.1009), alone]).size == 100, "one set has no spread: 1 % may be chance"
    assert recommend([band(100, "kl", 0.1011), alone]) == alone
    assert recommend([band(100, "min-max", 0.1009), band(100, "kl", 0.1)]).method == "min-max", "the first of equals"


def test_methods_go_by_short_names_and_by_their_own():
    assert parse_methods(["min_max", "percentile", "percentile-99.9", "min-max"]) == (
        "min-max", "percentile-99.99", "percentile-99.9",
    )  # fmt: skip


@pytest.fixture
def study():
    seen = {
        "evaluation_nmse": Interval(0.2, 0.19, 0.21), "accuracy": Interval(0.8, 0.79, 0.81),
        "drop": Interval(2.0, 0.5, 3.5),
    }  # fmt: skip
    bands = (
        band(10, "min-max", 0.30, 0.02, **seen), band(100, "min-max", 0.20, 0.01, **seen),
        band(10, "kl", 0.25, 0.02, **seen), band(100, "kl", 0.15, 0.01, **seen),
    )  # fmt: skip
    return Study((), bands, bands[3], 100, 64, True, 200, "accuracy", 0.82)


def test_the_verdict_says_what_to_take_and_what_more_samples_do(study):
    text = said(study)
    assert "Take 100 samples and kl ranges" in text and "0.150 (0.140 to 0.160)" in text
    assert "More samples lower it: 0.250 (0.230 to 0.270) with 10, 0.150 (0.140 to 0.160) with 100." in text
    assert "The plain extremes of 100 samples give 0.200 (0.190 to 0.210)." in text
    assert "On 200 evaluation samples, on which nothing was chosen, it loses 2.00 ± 1.50 points of accuracy." in text
    unsure = dataclasses.replace(study.recommended, drop=Interval(2.0, -0.5, 4.5))
    text = said(dataclasses.replace(study, recommended=unsure))
    assert "it shows no measurable loss: 2.00 ± 2.50 points of accuracy." in text and "loses" not in text
    bands = tuple(dataclasses.replace(b, held_back_nmse=study.bands[0].held_back_nmse) for b in study.bands)
    assert "no more than other samples" in said(dataclasses.replace(study, bands=bands, recommended=bands[0]))
    assert "raise it" in said(
        dataclasses.replace(study, bands=(study.bands[3], dataclasses.replace(study.bands[0], size=300, method="kl")))
    )


def test_the_table_marks_the_recommended_row_and_shows_only_what_was_measured(study):
    table = study_table(study)
    assert [row.role for row in table.rows] == ["", "", "", "plan"]
    assert [c.label for c in table.columns][-3:] == ["Error, evaluation", "Accuracy", "Drop, points"]
    bare = tuple(dataclasses.replace(b, evaluation_nmse=None, accuracy=None, drop=None) for b in study.bands)
    less = study_table(Study((), bare, bare[3], 100, 64, False, 0))
    assert [c.label for c in less.columns] == ["Ranges", "Samples", "Sets", "Error, held back"]
    assert all(len(row.cells) == 4 for row in less.rows) and "taken out of the pool" in less.notes[0]


def rows_of(spec):
    """What a chart draws; written down once for all of its layers."""
    (rows,) = spec["datasets"].values()
    return rows


def test_the_chart_has_a_choice_for_each_figure_that_there_is(study):
    chart = study_chart(study)
    assert list(chart.specs) == ["error, held back", "error, evaluation", "accuracy"]
    assert {row["value"] for row in rows_of(chart.specs["accuracy"])} == {0.8}
    assert [row["low"] for row in rows_of(chart.specs["error, held back"])] == pytest.approx([0.28, 0.19, 0.23, 0.14])
    bare = tuple(dataclasses.replace(b, evaluation_nmse=None, accuracy=None, drop=None) for b in study.bands)
    assert list(study_chart(Study((), bare, bare[3], 100, 64, False, 0)).specs) == [""]


def test_an_unknown_method_names_each_choice_once():
    with pytest.raises(UsageError) as caught:
        parse_methods(["best"])
    choices = caught.value.remedy.removeprefix("choose from ").split(", ")
    assert len(choices) == len(set(choices)) and "mse" in choices

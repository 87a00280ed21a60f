"""The answer: what its sentences claim, and what they may not claim."""

from __future__ import annotations

import dataclasses

import pytest
from bitplan.analyzer.schema import Interval, Results
from bitplan.reports.cells import Cell
from bitplan.reports.parts import View
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_planning as planning
from .. import results_refined


def text(view: View) -> str:
    return view.verdict.text


def with_evaluations(base: Results, evaluations) -> Results:
    return dataclasses.replace(base, verification=dataclasses.replace(base.verification, evaluations=evaluations))


@pytest.fixture(scope="module")
def mobilenet() -> View:
    return build_view(factory.mobilenet())


def test_the_answer_is_two_sentences_with_cause_size_and_loss(mobilenet):
    assert len(mobilenet.verdict.sentences) == 2
    assert text(mobilenet) == (
        "int8 everywhere loses 3.4 ± 0.8 points; 84 % of its output error enters at the weights of"
        " expanded_conv_depthwise (288 weights); with that op alone in float, 83 % of the error is gone. The plan keeps"
        " 1 of 65 ops in float and the others in w8a8, fits in 2.74 MB (3.26× smaller than the float .tflite of"
        " 8.93 MB; within the budget of 2.80 MB) with 603 KiB of RAM (within the budget of 684 KiB), +912 bytes of"
        " flash and +306 KiB of RAM over int8 everywhere, and loses 0.6 ± 0.5 points, both on 5000 images (XNNPACK)."
    )
    assert mobilenet.verdict.tone == "fair"


def test_an_interval_that_holds_0_is_no_measurable_loss():
    view = build_view(factory.islands())
    assert "shows no measurable loss (0.0 ± 0.4 points)" in text(view)
    assert view.verdict.tone == "good"


def test_a_gain_is_called_a_gain():
    base = factory.mobilenet()
    evaluations = tuple(
        dataclasses.replace(e, drop_points=Interval(-0.9, -1.3, -0.5)) if e.name == "plan" else e
        for e in base.verification.evaluations
    )
    view = build_view(with_evaluations(base, evaluations))
    assert "scores 0.9 ± 0.4 points better than float" in text(view)


def test_without_labels_agreement_with_float_stands_in_and_accuracy_is_not_mentioned():
    view = build_view(factory.two_layers())
    assert "answers unlike the float model 1.3 ± 0.7 % of the time" in text(view)
    assert "points" not in text(view)
    assert "Accuracy" not in [c.label for c in view.comparison.columns]
    assert any("No labels were given" in note for note in view.comparison.notes)


def test_no_classes_and_no_metric_leave_the_output_error():
    view = build_view(factory.regression())
    assert "has an output error (nmse) of 0.00410 (23.9 dB)" in text(view)
    assert "±" not in text(view)
    assert view.drops == ()


def test_a_file_that_is_not_as_planned_is_said_first():
    view = build_view(factory.mismatched())
    assert text(view).startswith("The emitted file is NOT what was planned: 1 tensor has another type")
    assert view.verdict.tone == "bad"
    assert view.mismatches.rows[0].cells[2:] == (Cell("float32", "float32"), Cell("int8", "int8"))


def test_figures_from_calibration_samples_are_said_to_be_such_first():
    view = build_view(factory.unevaluated())
    assert text(view).startswith("Nothing was measured on evaluation data: the figures stand on the 64 calibration")
    assert view.verdict.tone == "open"


def test_without_a_plan_nothing_is_said_of_a_file():
    view = build_view(factory.analyzed())
    assert text(view).endswith("No plan was made in this run, and no file emitted.")
    assert view.comparison is None and view.strip is None and view.plan is None
    assert view.sensitivity is not None and view.ranges is not None


def test_an_inspected_model_has_only_its_inventory():
    view = build_view(factory.inspected())
    assert text(view) == (
        "The model has 65 ops, 2.20 M weights and 8.93 MB as a float .tflite; every op can be quantized."
        " Nothing has been measured yet."
    )
    parts = (view.comparison, view.sensitivity, view.strip, view.ranges, view.plan, view.run.measured)
    assert parts == (None,) * 6
    columns = ["Layer", "#", "Op", "Kind", "Weights", "MACs", "Output", "Can take"]
    assert [c.label for c in view.layers.columns] == columns


def test_figures_on_different_samples_each_name_their_own():
    base = factory.mobilenet()
    evaluations = tuple(
        dataclasses.replace(e, error=dataclasses.replace(e.error, samples=700)) if e.name == "int8 everywhere" else e
        for e in base.verification.evaluations
    )
    said = text(build_view(with_evaluations(base, evaluations)))
    assert "on 700 images (XNNPACK)" in said and "on 5000 images (XNNPACK)" in said and "both" not in said


def test_error_without_a_dominant_source_names_no_culprit():
    base = factory.mobilenet()
    flat = tuple(
        dataclasses.replace(m, error=dataclasses.replace(m.error, nmse=0.001)) for m in base.sensitivity.measurements
    )
    view = build_view(dataclasses.replace(base, sensitivity=dataclasses.replace(base.sensitivity, measurements=flat)))
    assert "the error has no single cause" in text(view)


def test_a_share_that_stands_on_an_estimate_is_not_told_as_measured():
    assert "; about 84 % of its output error enters at the weights of" in text(build_view(results_refined.refined()))
    said = text(build_view(results_refined.linear()))
    assert "; an estimated 76 % of its output error enters at the weights of" in said
    base = results_refined.refined()
    joint = dataclasses.replace(base.sensitivity.int8, nmse=0.08)
    larger = dataclasses.replace(base, sensitivity=dataclasses.replace(base.sensitivity, int8=joint))
    # Of the joint error, which was measured as the source was: nothing in it is an estimate.
    assert "; 79 % of its output error enters at the weights of" in text(build_view(larger))


def test_a_spread_of_estimates_is_told_as_one():
    base = results_refined.estimated()
    table = base.sensitivity
    flat = tuple(dataclasses.replace(m, error=dataclasses.replace(m.error, nmse=0.001)) for m in table.measurements)
    said = text(build_view(dataclasses.replace(base, sensitivity=dataclasses.replace(table, measurements=flat))))
    assert "the five largest of 119 sources hold about 4 % of the sum, the largest, by estimate, the " in said


def test_where_only_int4_fits_the_budget_it_is_what_the_plan_is_held_against():
    base = factory.mobilenet()
    int8 = base.verification.evaluations[1]
    int4 = dataclasses.replace(
        int8, name="int4 everywhere", file_bytes=1_665_152, drop_points=Interval(38.7, 37.1, 40.2)
    )
    evaluations = (*base.verification.evaluations[:2], int4, *base.verification.evaluations[2:])
    tight = dataclasses.replace(base, plan=dataclasses.replace(base.plan, budget_bytes=2_000_000))
    said = text(build_view(with_evaluations(tight, evaluations)))
    assert said.startswith("int8 everywhere takes 2.73 MB, over the budget; int4 everywhere loses 38.7 ± 1.6 points; ")
    assert "of the summed w4a8 error of all sources enters at the weights of Conv1" in said
    assert text(build_view(with_evaluations(base, evaluations))) == text(build_view(base))


def test_errors_that_cancel_do_not_make_one_source_look_like_all_of_them():
    base = factory.mobilenet()
    joint = dataclasses.replace(base.sensitivity.int8, nmse=0.03)
    view = build_view(dataclasses.replace(base, sensitivity=dataclasses.replace(base.sensitivity, int8=joint)))
    # 1.27 of 1.514 summed, not of the smaller joint error.
    assert "84 % of its output error" in text(view)
    assert any("they cancel in part" in finding for finding in view.sensitivity.findings)


def test_a_file_over_its_budget_is_said_to_be():
    base = factory.mobilenet()
    view = build_view(dataclasses.replace(base, plan=dataclasses.replace(base.plan, budget_bytes=2_735_247)))
    assert view.verdict.tone == "bad"
    # 2.74 MB is both sizes rounded: the digits that decide are shown.
    assert "2\u202f735\u202f248 bytes" in text(view) and "OVER the budget of 2\u202f735\u202f247 bytes" in text(view)


def test_the_arena_is_the_targets_own_where_its_tool_says_one():
    base = factory.mobilenet()
    assert "with 603 KiB of LiteRT's arena on this host, not the device's (within" in text(
        build_view(planning.on_target(base, "ethos-u55"))
    )
    view = build_view(planning.on_target(base, "ethos-u55", planning.vela()))
    assert "with 725 KiB of RAM by ethos-u-vela (OVER the budget of 684 KiB)" in text(view)
    assert (view.verdict.tone, view.verdict.label) == ("bad", "Over the arena budget")


def test_a_file_that_its_target_refuses_is_no_good_file():
    view = build_view(planning.on_target(factory.islands(), "tflite-micro", planning.refused()))
    assert (view.verdict.tone, view.verdict.label) == ("bad", "The target's own tool refuses the file")


def test_a_drop_that_did_not_hold_in_the_trial_is_said_to_be_one():
    base = factory.mobilenet()
    trial = dataclasses.replace(base.planning.trial, answer="fails")
    failed = dataclasses.replace(base, planning=dataclasses.replace(base.planning, trial=trial))
    assert build_view(failed).verdict.label == "The allowed drop does not hold"


@pytest.mark.parametrize("name", ["mobilenet", "islands", "two_layers", "mismatched", "unevaluated", "hostile"])
def test_no_interval_without_its_number_of_samples_and_kernels(name):
    said = text(build_view(getattr(factory, name)()))
    assert said.count("±") <= 2
    assert ("both on " in said and "(XNNPACK)" in said) or said.count("(XNNPACK)") == said.count("±")


@pytest.mark.parametrize(
    ("flash", "ram", "words"),
    [
        (0, 0, "no more flash and no more RAM than int8 everywhere"),
        (-38_672, 0, "38 672 bytes less flash and no more RAM than int8 everywhere"),
        (-38_672, 2048, "−38 672 bytes of flash and +2.0 KiB of RAM over int8 everywhere"),
        (912, 0, "+912 bytes of flash and no more RAM over int8 everywhere"),
    ],
)
def test_what_a_file_takes_more_or_less_than_int8(flash, ram, words):
    results = factory.mobilenet()
    judged = results.verification
    int8 = next(e for e in judged.evaluations if e.name == "int8 everywhere" and not e.subset)
    same = tuple(
        dataclasses.replace(e, file_bytes=int8.file_bytes + flash, arena_bytes=int8.arena_bytes + ram)
        if e.name == "plan" and not e.subset
        else e
        for e in judged.evaluations
    )
    assert words in text(build_view(with_evaluations(results, same)))


def test_a_small_file_and_its_float_parent_have_one_unit():
    results = factory.mobilenet()
    small = tuple(
        dataclasses.replace(e, file_bytes={"float": 317_488, "plan": 51_904}.get(e.name, 90_576))
        for e in results.verification.evaluations
    )
    graph = dataclasses.replace(results.graph, file_bytes=317_488)
    view = build_view(dataclasses.replace(with_evaluations(results, small), graph=graph))
    assert "50.7 KiB (6.12× smaller than the float .tflite of 310 KiB" in text(view)
    assert (view.card[0].before, view.card[0].after) == ("310 KiB", "50.7 KiB")
    assert {row.cells[1].text for row in view.comparison.rows} == {"310 KiB", "50.7 KiB", "88.5 KiB"}

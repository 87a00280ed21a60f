"""The plan on the page: what it says of limits, frontier, trial and reasons, and whose figures it shows."""

from __future__ import annotations

import dataclasses

import pytest
from bitplan.analyzer.schema import Interval, Price, Results
from bitplan.reports import amounts
from bitplan.reports.limits import price_sentence
from bitplan.reports.parts import View
from bitplan.reports.summary import markdown_summary, plan_summary
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_planning as planning
from ..results_planning import texts, with_plan, with_planning


@pytest.fixture(scope="module")
def mobilenet() -> View:
    return build_view(factory.mobilenet())


def with_trial(base: Results, **parts) -> Results:
    return with_planning(base, trial=dataclasses.replace(base.planning.trial, **parts))


# --- whose figures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "unit", "own"),
    [
        ("any", "int8 = 1", True), ("litert-cpu", "int8 = 1", True), ("my-laptop", "ms", True),
        ("tflite-micro", "int8 = 1", False), ("ethos-u55", "int8 = 1", False), ("my-board", "", False),
    ],
)  # fmt: skip
def test_litert_s_arena_is_called_ram_where_litert_runs_alone(target, unit, own):
    view = build_view(with_plan(factory.mobilenet(), target=target, latency_unit=unit))
    label = "RAM (arena)" if own else "LiteRT's arena on this host, not the device's"
    for table in (view.comparison, view.plan.frontier.table, view.plan.trial.rounds):
        heads = [column.label for column in table.columns]
        assert heads[heads.index("Flash (file)") + 1] == label, table.id
    assert view.plan.limits.rows[1].cells[0].text == label


def test_a_relative_latency_names_its_base_and_its_table():
    view = build_view(planning.on_target(factory.mobilenet(), "ethos-u55"))
    assert texts(view.plan.limits, 2)[:3] == ["Latency", "", "1.07 × int8"]
    assert view.plan.limits.notes == (
        "Latency: times of int8 everywhere on ethos-u55, from its table; one op after the other.",
    )
    measured = build_view(with_plan(factory.mobilenet(), target="my-laptop", latency_unit="ms"))
    assert texts(measured.plan.limits, 2)[2] == "1.14 ms"
    assert "from the times that were measured for my-laptop" in measured.plan.limits.notes[0]


def test_times_of_this_cpu_are_predicted_only_for_this_kind_of_target(mobilenet):
    assert [c.label for c in mobilenet.times.columns] == ["File", "Time", "Against int8"]
    assert [texts(mobilenet.times, row) for row in (1, 2)] == [
        ["int8 everywhere", "2.04 ms", "1.00 ×"], ["plan", "2.37 ms", "1.16 ×"],
    ]  # fmt: skip
    cpu = build_view(with_plan(factory.mobilenet(), target="litert-cpu")).times
    assert texts(cpu, 2) == ["plan", "2.37 ms", "1.16 ×", "1.14 × int8"]
    device = build_view(planning.on_target(factory.mobilenet(), "ethos-u55")).times
    assert [c.label for c in device.columns] == ["File", "Time", "Against int8"]
    assert device.notes == ("One thread of this machine's CPU: says nothing of ethos-u55.",)
    origin = dataclasses.replace(factory.provenance(), measured={"plan_s": 1.0})
    assert build_view(dataclasses.replace(factory.mobilenet(), provenance=origin)).times is None


def test_the_tools_figures_stand_beside_litert_s():
    view = build_view(planning.on_target(factory.mobilenet(), "tflite-micro", planning.micro()))
    part = view.opinion
    assert [c.label for c in part.memory.columns] == [
        "Of the emitted file", "LiteRT on this host", "tflite-micro 0.dev20260101",
    ]  # fmt: skip
    assert texts(part.memory, 1) == ["RAM", "617\u202f472 bytes", "471\u202f808 bytes"]
    assert ("Same answer as LiteRT", "96.9 % of 64 samples") in part.items
    assert not any(name == "Left to the CPU" for name, _ in part.items)
    vela = build_view(planning.on_target(factory.mobilenet(), "ethos-u55", planning.vela())).opinion
    assert ("Left to the CPU", "SOFTMAX, PRELU") in vela.items and ("Cycles total", "1\u202f904\u202f213") in vela.items
    clean = dataclasses.replace(planning.vela(), cpu_ops=())
    assert ("Left to the CPU", "nothing") in build_view(
        planning.on_target(factory.mobilenet(), "ethos-u55", clean)
    ).opinion.items


def test_a_refused_file_has_no_figures():
    part = build_view(planning.on_target(factory.mobilenet(), "tflite-micro", planning.refused())).opinion
    assert part.refusal == "it has no <b>PRELU</b>" and part.memory is None and part.items == ()


# --- the trial -------------------------------------------------------------------------------------------------------


def test_the_trials_rounds_and_what_they_stand_on(mobilenet):
    part = mobilenet.plan.trial
    assert part.held_back and part.basis.startswith("Measured on 512 images that were held back: neither ranges nor")
    assert texts(part.rounds, 0) == [
        "1", "first plan", "", "0.00710", "0.0114", "38 %", "2.774 MB", "581 KiB", "1.20 ± 0.80", "no",
    ]  # fmt: skip
    assert part.rounds.rows[1].role == "plan" and part.rounds.rows[1].cells[-1].text == "yes"
    assert texts(part.remeasured, 0) == ["expanded_conv_depthwise", "1", "float", "0.00210", "0.00640"]
    assert part.remeasured.rows[0].cells[0].href == "#op-1"


def test_a_trial_on_the_calibration_samples_says_that_they_were_not_held_back():
    part = build_view(with_trial(factory.mobilenet(), held_back=False, samples=1)).plan.trial
    assert not part.held_back and part.basis.startswith("NOT held back: for want of others, these are the 1 image from")


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        ("holds", "A drop of at most 1 point was asked for: it holds."),
        ("fails", "A drop of at most 1 point was asked for: it does NOT hold; this is the best plan found."),
        ("undecided", "A drop of at most 1 point was asked for: too few samples to tell whether it holds."),
        ("", "0.50 ± 0.80 points."),
    ],
)
def test_the_trials_answer_is_a_sentence(answer, ending):
    said = build_view(with_trial(factory.mobilenet(), answer=answer)).plan.trial.outcome
    assert said.startswith("After 2 rounds: predicted error 0.0109, measured 0.0112 (off by 3 %).")
    assert said.endswith(ending)


def test_a_round_that_measured_no_error_is_off_by_nothing_that_can_be_said():
    base = factory.mobilenet()
    kept = dataclasses.replace(base.planning.trial.rounds[1], measured_nmse=0.0, drop_points=None, noise_limit=None)
    part = build_view(with_trial(base, rounds=(kept,), answer="")).plan.trial
    assert part.outcome == "After 1 round: predicted error 0.0109, measured 0."
    assert [c.label for c in part.rounds.columns][2:5] == ["Predicted error", "Measured error", "Off by"]
    assert part.rounds.rows[0].cells[4].text == "" and part.remeasured is None


# --- why -------------------------------------------------------------------------------------------------------------


def test_every_op_has_its_reasons_in_execution_order(mobilenet):
    table = mobilenet.plan.reasons
    assert [row.cells[1].value for row in table.rows] == list(range(65))
    reason = factory.mobilenet().planning.reasons[0]
    cells = table.rows[0].cells
    assert [cell.text for cell in cells[:4]] == ["Conv1", "0", "w8a8", "1120"]
    assert cells[6].text == "1.5 %" and cells[7].value == reason.cheaper.noise_change
    assert cells[7].detail == "over w4a8, for 560 bytes more"
    assert (cells[8].text, cells[9].value, cells[10].text) == ("float", reason.next_best.noise_change, "no")
    assert cells[8].detail == "+2240 bytes, work +0.0400 × int8"


def test_an_op_without_a_choice_has_no_other():
    base = factory.mobilenet()
    alone = dataclasses.replace(base.planning.reasons[0], cheaper=None, next_best=None)
    cells = build_view(with_planning(base, reasons=(alone,))).plan.reasons.rows[0].cells
    assert [cell.value for cell in cells[7:10]] == [None] * 3 and cells[8].note == "It has no other scheme"


# --- the price -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "sentence"),
    [
        (
            Price("file_bytes", 100_000, 2e6, 0.1, 2.4e6, 0.02),
            "The next 100 kB of flash would remove 20 % of the predicted error, at the rate from one plan (2.000 MB,"
            " error 0.100) to the next (2.400 MB, 0.0200).",
        ),
        (
            Price("file_bytes", 100_000, 2e6, 0.1, 2_000_912, 0.02),
            "The next 912 bytes of flash would remove 80 % of the predicted error: from one plan (2.000 MB, error"
            " 0.100) to the next (2.001 MB, 0.0200).",
        ),
        (
            Price("arena_bytes", 1024, 300 * 1024, 0.1, 310 * 1024, 0.05),
            "The next 1.02 kB of RAM would remove 5 % of the predicted error, at the rate from one plan (300 KiB, error"
            " 0.100) to the next (310 KiB, 0.0500).",
        ),
        (Price("file_bytes", 1e5, 2e6, 0.0, 3e6, 0.0), "No predicted error is left that more could remove."),
        (None, ""),
    ],
)
def test_the_price_names_the_step_only_where_the_rate_reaches_so_far(price, sentence):
    assert price_sentence(price, factory.mobilenet().plan) == sentence


# --- in Markdown -----------------------------------------------------------------------------------------------------


def test_a_plans_summary_fits_a_terminal(mobilenet):
    text = plan_summary(mobilenet.plan)
    assert text.startswith("64 w8a8, 1 float: the least predicted error within the limits, for the target any.")
    for said in ("97.7 % used", "88.2 % used", mobilenet.plan.trial.outcome, mobilenet.plan.price, "- a larger --size"):
        assert said in text
    assert len(text.splitlines()) < 40


def test_no_name_becomes_markup_in_the_markdown_summary():
    bad = dataclasses.replace(planning.vela(), tool="<b>tool", cpu_ops=("<b>op",))
    assert "<b" not in markdown_summary(planning.on_target(factory.hostile(), "<b>", bad)).replace("\\<", "")
    text = markdown_summary(planning.on_target(factory.hostile(), "<b>", planning.refused()))
    assert text.startswith("## \\</script\\>\\<b\\>\"'\n")
    assert "**It refuses the file:** it has no \\<b\\>PRELU\\</b\\>" in text
    assert not any(tag in text.replace("\\<", "") for tag in ("<b", "</script", "<img"))


def test_a_run_without_a_plan_has_a_summary_too():
    assert markdown_summary(factory.inspected()).count("\n") < 10
    assert "## mobilenetv2\\_cifar10\\_96.keras" in markdown_summary(factory.analyzed())


def test_an_interval_stands_with_every_drop():
    base = factory.mobilenet()
    wide = dataclasses.replace(base.planning.trial.rounds[1], drop_points=Interval(0.5, 0.1, 1.9))
    part = build_view(with_trial(base, rounds=(wide,))).plan.trial
    assert part.rounds.rows[0].cells[-2].text == "0.50 (0.10 to 1.90)" in part.outcome


def test_amounts_name_their_unit():
    assert amounts.mix(["w8a8", "float", "w8a8"]) == "2 w8a8, 1 float"
    assert amounts.lowered("The file is too large.") == "the file is too large."
    assert amounts.lowered("BatchNorm, folded") == "BatchNorm, folded" and amounts.lowered("") == ""
    assert (amounts.file_size(217_640), amounts.file_size(2_176_400)) == ("0.2176 MB", "2.176 MB")
    assert amounts.amount("latency", 1.5, "ms") == "1.50 ms" and amounts.amount("bops", 2.5e9, "") == "2.50 G"

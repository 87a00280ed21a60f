"""Repairs on the page: the waterfall, the steps, the simulation beside the kernels, and what the verdict claims."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from bitplan.analyzer.schema import HeldBackError, Interval, KernelAgreement, Likeness, RepairStep, Results
from bitplan.reports.charts import build_charts
from bitplan.reports.figures import draw_figures
from bitplan.reports.repair_cells import RepairPart
from bitplan.reports.summary import markdown_summary
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_repairs as repairs


@pytest.fixture(scope="module")
def part() -> RepairPart:
    return build_view(repairs.repaired()).repairs


def with_log(**changes) -> Results:
    return dataclasses.replace(repairs.repaired(), repair=dataclasses.replace(repairs.log(), **changes))


def part_of(**changes) -> RepairPart:
    return build_view(with_log(**changes)).repairs


def judged(before: Interval | None, after: Interval | None, more_bytes: int = 0, **changes) -> Results:
    """The repaired network with other drops; `changes` are of the file before repair."""
    base = repairs.repaired()
    found = []
    for e in base.verification.evaluations:
        if e.name == "plan before repair":
            e = dataclasses.replace(e, drop_points=before, **changes)
        elif e.name == "plan" and not e.subset:
            e = dataclasses.replace(e, drop_points=after, file_bytes=e.file_bytes + more_bytes)
        found.append(e)
    return dataclasses.replace(base, verification=dataclasses.replace(base.verification, evaluations=tuple(found)))


def last_sentence(results: Results) -> str:
    return "".join(span.text for span in build_view(results).verdict.sentences[-1])


def test_a_run_without_repairs_has_no_such_part():
    assert build_view(factory.mobilenet()).repairs is None
    assert not {"waterfall", "training"} & {chart.id for chart in build_charts(factory.mobilenet())}
    assert "Repair" not in build_view(factory.mobilenet()).verdict.text


# --- the waterfall ---------------------------------------------------------------------------------------------------


def test_the_waterfall_falls_through_what_was_kept_alone(part):
    assert [(fall.label, fall.kind) for fall in part.falls] == [
        ("before repair", "before repair"), ("ranges", "kept"), ("bias correction", "kept"), ("rounding", "dropped"),
        ("self-distillation", "kept"), ("after repair", "after repair"),
    ]  # fmt: skip
    before, *tried, after = part.falls
    won = math.fsum(fall.end - fall.start for fall in tried if fall.kind == "kept")
    assert after.end == pytest.approx(before.end + won) == pytest.approx(0.20)
    assert (before.start, after.start) == (0.0, 0.0)
    level = before.end
    for fall in tried:
        assert fall.start == level
        level = fall.end if fall.kind == "kept" else level
    assert [fall.change for fall in part.falls] == ["3.32", "−0.98", "−0.78", "+0.39", "−1.36", "0.20"]
    assert (tried[0].low, tried[0].high) == (2.34 - 1.4, 2.34 + 1.4)
    assert tried[0].note == "3.32 → 2.34 ± 1.40 points; kept"


def test_without_drops_the_error_falls_and_has_no_interval():
    part = build_view(repairs.without_classes()).repairs
    assert part.axis == "nmse" and [fall.end for fall in part.falls] == [0.0041, 0.0041, 0.0017, 0.0017]
    assert all(fall.low == fall.end == fall.high for fall in part.falls)
    assert "interval" not in next(c.help for c in build_charts(repairs.without_classes()) if c.id == "waterfall")


def test_one_step_without_a_drop_makes_it_a_waterfall_of_errors():
    first, *others = repairs.steps()
    part = part_of(steps=(dataclasses.replace(first, drop_after=None), *others))
    assert part.axis == "KL divergence, nats" and part.falls[0].end == 0.0410


def test_a_repair_that_was_tried_again_has_a_bar_of_its_own():
    first = repairs.steps()[0]
    labels = [fall.label for fall in part_of(steps=(first, first)).falls]
    assert labels == ["before repair", "ranges", "ranges (2)", "after repair"]


def test_the_outline_is_the_dropped_step(part):
    spec = next(chart for chart in build_charts(repairs.repaired()) if chart.id == "waterfall").specs[""]
    fill = next(layer["encoding"]["fill"] for layer in spec["layer"] if "fill" in layer["encoding"])["scale"]
    looks = dict(zip(fill["domain"], fill["range"], strict=True))
    assert [kind for kind, colour in looks.items() if colour == "transparent"] == ["dropped"]
    levels = [row["level"] for rows in spec["datasets"].values() for row in rows if "level" in row]
    assert levels == [3.32, 2.34, 1.56, 1.56, 0.20]


def test_tens_of_points_are_written_out_on_the_axis():
    steps = tuple(
        dataclasses.replace(step, drop_before=repairs.drop(37.8, 3.6), drop_after=repairs.drop(2.4, 0.9))
        for step in repairs.steps()[:1]
    )
    charts = build_charts(with_log(steps=steps))
    svg = next(f.svg for f in draw_figures([c for c in charts if c.id == "waterfall"], "net"))
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert {"0", "10", "20", "30", "40"} <= set(texts) and not any("e+" in text for text in texts)


def test_where_nothing_was_tried_there_is_no_waterfall():
    step = RepairStep("ranges", False, 0.04, None, skipped="no time left")
    part = part_of(steps=(step,))
    assert part.falls == () and part.learned == () and part.training is None
    assert part.outcome == "No repair was kept: the file is as planned."
    assert part_of(steps=()).outcome == "No repair was tried."
    assert "waterfall" not in {chart.id for chart in build_charts(with_log(steps=(step,)))}


# --- tables and sentences --------------------------------------------------------------------------------------------


def test_every_step_has_a_row_with_its_error_and_its_drop(part):
    assert [c.label for c in part.steps.columns] == [
        "Repair", "Outcome", "KL divergence before, nats", "KL divergence after, nats", "Drop before, points",
        "Drop after, points", "What it changed",
    ]  # fmt: skip
    rows = [[cell.text for cell in row.cells] for row in part.steps.rows]
    assert rows[1] == [
        "bias correction", "kept", "0.0312", "0.0221", "2.34 ± 1.40", "1.56 ± 1.30",
        "52 of 53 biases moved; by at most 0.31 of a step",
    ]  # fmt: skip
    assert rows[3] == ["equalization", "not tried", "0.0221", "", "1.56 ± 1.30", "", ""]
    assert [row.cells[1].detail for row in part.steps.rows] == [
        "", "", "the error did not fall", "no weights share a scale", "",
    ]  # fmt: skip
    assert [row.role for row in part.steps.rows] == ["plan", "plan", "", "aside", "plan"]


def test_a_step_that_was_cut_off_is_not_called_dropped():
    cut = RepairStep("rounding", False, 0.04, None)
    cells = part_of(steps=(cut,)).steps.rows[0].cells
    assert cells[1].text == "not finished" and cells[3].text == ""


def test_a_repair_that_was_dropped_although_the_error_fell_is_not_said_to_have_failed_to():
    better = RepairStep("rounding", False, 0.04, 0.0399)
    assert part_of(steps=(better,)).steps.rows[0].cells[1].detail == ""


def test_what_the_steps_stand_on_is_said(part):
    assert part.outcome == (
        "Kept 3 of 5 repairs: ranges, bias correction, self-distillation. KL divergence: 0.0410 → 0.00420 nats. Drop of"
        " accuracy: 3.32 ± 1.60 → 0.20 ± 0.90 points."
    )
    assert part.basis == (
        "Each step was kept or dropped by the emitted file's error on 512 images that were held back; repairs were made"
        " from 4096 others. Evaluation images were not looked at. The file has 2\u202f735\u202f248 bytes before and"
        " after."
    )
    other = part_of(drop_of="expected accuracy", bytes=repairs.PLAIN_BYTES + 120, held_back=1).basis
    assert "on 1 image that" in other and "float network's own probabilities" in other
    assert other.endswith("bytes before and 2\u202f735\u202f368 after (+120 bytes).")


def test_the_curve_marks_the_least_held_back_error_and_the_first_of_equals(part):
    assert [(one.step, one.chosen) for one in part.learned if one.chosen] == [(256, True)]
    assert len(part.training.rows) == len(part.learned) == 6
    flat = dataclasses.replace(repairs.steps()[4], curve=(HeldBackError(0, 0.5), HeldBackError(9, 0.5)))
    assert [one.chosen for one in part_of(steps=(flat,)).learned] == [True, False]


# --- simulated and real ----------------------------------------------------------------------------------------------


def test_the_simulation_stands_beside_both_kernels(part):
    assert [[cell.text for cell in row.cells] for row in part.kernels.rows] == [
        ["simulation", "XNNPACK", "98.44 %", "0.00210", "512"],
        ["simulation", "reference kernels", "98.63 %", "0.00180", "512"],
        ["reference kernels", "XNNPACK", "99.02 %", "0.00120", "512"],
    ]
    assert part.kernels_note.endswith("it is 0.58 points farther from XNNPACK than LiteRT's other kernels are.")


def test_a_simulation_that_is_close_enough_is_called_so():
    near = KernelAgreement(Likeness(0.99, 0.1), Likeness(0.99, 0.1), Likeness(0.99, 0.2), 64)
    assert part_of(kernels=near).kernels_note.endswith("it is no farther from XNNPACK than LiteRT's other kernels are.")
    exact = KernelAgreement(*(Likeness(1.0, 0.0),) * 3, 64)
    assert not part_of(kernels=exact).kernels_note.startswith("LiteRT's own")


def test_without_classes_the_kernels_are_compared_by_their_difference():
    part = build_view(repairs.without_classes()).repairs
    assert [c.label for c in part.kernels.columns] == ["One", "The other", "Difference (nmse)", "Samples"]
    assert "by an nmse of 1.1e−6, the reference kernels by 2.3e−6: it is no farther" in part.kernels_note
    far = KernelAgreement(Likeness(None, 3e-6), Likeness(None, 3e-6), Likeness(None, 2e-6), 9)
    found = dataclasses.replace(repairs.without_classes().repair, kernels=far)
    note = build_view(dataclasses.replace(repairs.without_classes(), repair=found)).repairs.kernels_note
    assert note.endswith("it is farther from XNNPACK than LiteRT's other kernels are.")
    none = part_of(kernels=None)
    assert none.kernels is None and none.kernels_note == ""


# --- before and after, and the verdict -------------------------------------------------------------------------------


def test_the_file_before_repair_stands_right_above_the_repaired_one():
    view = build_view(repairs.repaired())
    names = [row.cells[0].text for row in view.comparison.rows]
    assert names[:4] == ["float", "int8 everywhere", "plan before repair", "plan"] and len(names) == 7
    assert [row.role for row in view.comparison.rows][2:4] == ["", "plan"]
    assert [bar.label for bar in view.drops][:3] == ["int8 everywhere", "plan before repair", "plan"]


@pytest.mark.parametrize(
    ("before", "after", "more", "said"),
    [
        (
            Interval(3.42, 2.62, 4.22), Interval(0.06, -0.48, 0.60), 0,
            "Repair lowered the drop from 3.4 ± 0.8 to 0.1 ± 0.5 points at no cost in size.",
        ),
        (
            Interval(3.42, 2.62, 4.22), Interval(0.06, -0.48, 0.60), 52,
            "Repair lowered the drop from 3.4 ± 0.8 to 0.1 ± 0.5 points for 52 bytes more.",
        ),
        (
            Interval(0.8, 0.1, 1.5), Interval(0.3, -0.4, 1.0), -1,
            "Repair took the drop from 0.8 ± 0.7 to 0.3 ± 0.7 points for 1 byte less; the intervals overlap, so these"
            " samples do not show that it won anything.",
        ),
        (
            Interval(0.3, 0.1, 0.5), Interval(2.0, 1.5, 2.5), 0,
            "Repair RAISED the drop from 0.3 ± 0.2 to 2.0 ± 0.5 points at no cost in size.",
        ),
    ],
)  # fmt: skip
def test_the_verdict_claims_what_intervals_that_lie_apart_show(before, after, more, said):
    assert last_sentence(judged(before, after, more)) == said


def test_nothing_is_claimed_of_figures_that_do_not_compare():
    drop = Interval(3.42, 2.62, 4.22)
    for changes in ({"kernels": "reference"}, {"drop_of": "agreement"}):
        assert "Repair" not in last_sentence(judged(drop, drop, **changes))
    assert "Repair" not in last_sentence(judged(None, drop))


def test_without_drops_the_verdict_compares_errors_by_their_own_intervals():
    said = last_sentence(repairs.without_classes())
    assert said.startswith("Repair lowered the output error (nmse) from 0.00410 ± ") and said.endswith("52 bytes more.")


def test_predictions_beside_a_repaired_file_are_said_to_be_of_the_plan():
    note = "Predictions are of the plan without repair; the file that was measured is the repaired one."
    assert build_view(repairs.repaired()).plan.limits.notes[-1] == note
    assert note not in build_view(factory.mobilenet()).plan.limits.notes


def test_repairs_in_markdown_are_inert():
    text = markdown_summary(repairs.repaired())
    assert "Kept 3 of 5 repairs" in text and "| self-distillation" in text and "| reference kernels |" in text
    bad = markdown_summary(repairs.hostile())
    assert "<img" not in bad.replace("\\<", "") and "</script" not in bad.replace("\\<", "")

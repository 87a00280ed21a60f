"""What the terminal prints of plans, and the JSON that stands for it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from bitplan.analyzer.schema import OpChange, PlanDiff, Results, RunDiff
from bitplan.reports import numbers
from bitplan.terminal import Console

from .. import results_factory as factory
from .. import results_repairs

CHANGES = (
    OpChange("0:CONV_2D", "Conv1", "w8a8", "w8a8", 0.0, 0),
    OpChange("1:DEPTHWISE_CONV_2D", "</script>|\u202edw", "w8a8", "float", -0.061, 912),
    OpChange("2:CONV_2D", "out", "w8a8", "w4a8", 0.002, -640),
)
DIFF = PlanDiff(CHANGES, True, -0.059, 272, 313_344, 0.07)


@dataclasses.dataclass
class Finished:
    """As much of a run as a console looks at."""

    found: Results
    folder: None = None

    def results(self) -> Results:
        return self.found


def test_a_plan_is_printed_with_limits_trial_and_price(capsys):
    Console(False).result(Finished(factory.mobilenet()), ("plan",))
    said = capsys.readouterr().out
    assert said.index("The frontier: predicted error against size") < said.index("64 w8a8, 1 float")
    for text in ("97.7 % used", "After 2 rounds: predicted error 0.0109", "The next 100 kB of flash would remove 13 %"):
        assert text in said


def test_a_plan_without_a_planning_is_printed_too(capsys):
    Console(False).result(Finished(factory.islands()), ("plan",))
    said = capsys.readouterr().out
    assert "56 w8a8, 5 w16a16, 3 w4a8, 1 w8a16" in said and "Flash (file)" in said and "frontier" not in said


def test_repairs_are_printed_as_a_table_and_a_line_of_what_was_kept(capsys):
    Console(False).result(Finished(results_repairs.repaired()), ("repair",))
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line.startswith("| ")][2:]
    assert [row[:2] for row in rows] == [
        ["ranges", "kept"], ["bias correction", "kept"], ["rounding", "dropped (the error did not fall)"],
        ["equalization", "not tried (no weights share a scale)"], ["self-distillation", "kept"],
    ]  # fmt: skip
    outcome = said.index("Kept 3 of 5 repairs: ranges, bias correction, self-distillation.")
    assert said.index("| self-distillation") < outcome < said.index("Each step was kept or dropped by")


def test_without_repairs_nothing_is_printed_of_them(capsys):
    Console(False).result(Finished(factory.mobilenet()), ("repair",))
    assert capsys.readouterr().out == ""


def test_hostile_words_of_repairs_are_harmless_in_a_terminal(capsys):
    Console(False).result(Finished(results_repairs.hostile()), ("repair",))
    said = capsys.readouterr().out
    assert "\\<img src=x" in said and "\u202e" not in said


def test_two_plans_are_compared_op_by_op(capsys):
    Console(False).diff(RunDiff(DIFF, "int8 = 1", None, None))
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split(" | ")] for line in said.splitlines() if line.startswith("| ")][2:]
    assert [row[1:] for row in rows] == [
        ["1", "w8a8", "float", "+912 bytes", "−0.0610 |"], ["2", "w8a8", "w4a8", "−640 bytes", "+0.00200 |"],
    ]  # fmt: skip
    assert "\\</script>\\|\\u202edw" in said and "\u202e" not in said
    assert said.splitlines()[-1] == (
        "2 of 3 ops differ; as predicted, flash +272 bytes, arena +313\u202f344 bytes, latency +0.0700 × int8,"
        " predicted error −0.0590."
    )


def test_equal_plans_have_no_table(capsys):
    Console(False).diff(RunDiff(PlanDiff(CHANGES[:1], False, 0.0, 0, None, None), "", None, None))
    assert capsys.readouterr().out == (
        "0 of 1 op differ; as predicted, flash 0 bytes, arena not known for both, predicted error 0. The networks have"
        " other weights, so their errors and sizes are of different things.\n"
    )


@pytest.mark.parametrize("found", [DIFF, PlanDiff((), True, 0.0, 0, None, None)])
def test_a_comparison_as_json_is_the_comparison(found, capsys):
    Console(True).diff(RunDiff(found, "ms", None, None))
    document = json.loads(capsys.readouterr().out)["plans"]
    assert document["bytes_change"] == found.bytes_change and len(document["ops"]) == len(found.ops)
    assert set(document) == {field.name for field in dataclasses.fields(PlanDiff)}


def test_files_that_were_measured_stand_beside_each_other(capsys):
    verification = factory.islands().verification
    before, after = verification.find("int8 everywhere"), verification.find("plan")
    Console(False).diff(RunDiff(DIFF, "", before, after))
    line = capsys.readouterr().out.splitlines()[-1]
    for evaluation in (before, after):
        assert f"flash {numbers.count(evaluation.file_bytes)} bytes" in line
        assert f"arena {numbers.count(evaluation.arena_bytes)} bytes" in line
    assert line.count("points (") == 2

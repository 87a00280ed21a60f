"""What a table of options advises and shows."""

from __future__ import annotations

import dataclasses

import pytest
from bitplan.analyzer.schema import Evaluation, Interval, Option, OptionTable, OutputError
from bitplan.reports.options import advice, making_table, option_tables, options_table
from bitplan.strategies.options import advise


def option(name, nmse, **more):
    error = OutputError(0.1, 0.01, 10.0, 200, accuracy=0.9)
    evaluation = Evaluation(name, 300_000, 50_000, "xnnpack", error, Interval(1.0, -1.0, 3.0), "accuracy")
    fields = {"facts": ("as it is",), "evaluation": evaluation, "latency": 1.0, "runs_on": ("litert-cpu",)}
    held_back = dataclasses.replace(error, nmse=nmse)
    return Option(name, **{**fields, "held_back": held_back, "refused_by": {"coral": "it has no ADD in float"}, **more})


@pytest.fixture
def table():
    slow = option("int16", 0.01)
    slow = dataclasses.replace(slow, evaluation=dataclasses.replace(slow.evaluation, subset=True))
    gone = Option("int4_repair", missing="any has no 4-bit weights\u202e")
    return OptionTable(
        (option("leave", 0.3), option("repair", 0.1), slow, gone), "repair", "litert-cpu", "int8 = 1", 900_000, 200, 64
    )  # fmt: skip


def test_the_first_of_those_as_good_as_the_best_is_advised():
    assert advise([option("leave", 0.30), option("repair", 0.1), option("hybrid", 0.0995)]) == "repair"
    assert advise([option("leave", 0.30), option("repair", 0.1), option("hybrid", 0.05)]) == "hybrid"
    assert advise([option("leave", 0.10), option("repair", 0.0995)]) == "leave"
    assert advise([]) == "leave"


def test_the_table_shows_what_was_measured_and_why_a_file_is_missing(table):
    shown = options_table(table)
    assert all(len(row.cells) == len(shown.columns) for row in shown.rows)
    assert [row.role for row in shown.rows] == ["float", "plan", "", "aside"]
    assert [cell.text for cell in shown.rows[1].cells] == [
        "Int8 anew, repaired", "0.30 MB", "48.8 KiB", "3.00× smaller", "90.00 %", "1.00 ± 2.00", "200", "0.100",
        "1.00×", "1 of 2",
    ]  # fmt: skip
    assert shown.rows[2].cells[6].detail == "the first ones" and "first samples alone" in shown.notes[1]
    assert shown.rows[3].cells[0].detail == "no file: any has no 4-bit weights\\u202e"
    made = making_table(table)
    assert [cell.text for cell in made.rows[0].cells[1:]] == ["as it is", "litert-cpu", "coral: it has no ADD in float"]


def test_times_stand_apart(table):
    tables = option_tables(table, {"leave": 1.5, "int16": 70.0})
    assert [t.id for t in tables] == ["options", "making", "option-times"]
    assert [row.cells[1].text for row in tables[2].rows] == ["1.50 ms", "70.0 ms"]
    assert [t.id for t in option_tables(table, {})] == ["options", "making"]


def test_advice_says_what_helps_and_by_how_much(table):
    text = "".join(span.text for span in advice(table))
    assert "int8 anew, repaired, with an error on 64 held-back samples of 0.100 instead of 0.300" in text
    assert "on 200 evaluation samples its drop is 1.00 ± 2.00 points of accuracy" in text
    assert "leave it" in "".join(span.text for span in advice(dataclasses.replace(table, advised="leave")))

"""Estimated and measured figures on the page: which is which, and what follows from that."""

from __future__ import annotations

import dataclasses

import pytest
from bitplan.analyzer.schema import Results
from bitplan.reports.cells import Cell, Table
from bitplan.reports.parts import View
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_refined


@pytest.fixture(scope="module")
def mobilenet() -> View:
    return build_view(factory.mobilenet())


@pytest.fixture(scope="module")
def refined() -> View:
    return build_view(results_refined.refined())


def column(table: Table, label: str) -> list[Cell]:
    position = [c.label for c in table.columns].index(label)
    return [row.cells[position] for row in table.rows]


def measurements(results: Results, scheme: str = "w8a8"):
    """By part and op, those that a network under one of two schemes has."""
    variants = {"w8a8": ("w8", "a8"), "w4a8": ("w4", "a8")}[scheme]
    wanted = (m for m in results.sensitivity.measurements if m.source.variant in variants)
    return {(m.source.part, m.source.op): m for m in wanted}


def test_every_estimate_and_every_sum_with_one_in_it_carries_the_sign(refined):
    results = results_refined.refined()
    found = measurements(results)
    for part, label in (("weights", "Weights error"), ("activation", "Activation error")):
        for op, cell in enumerate(column(refined.layers, label)):
            if (part, op) in found:
                assert cell.text.startswith("≈ ") == (found[part, op].method == "linear")
                how = "estimated to first order" if found[part, op].method == "linear" else "measured"
                assert cell.note.startswith(f"{how}; 95 % interval over samples ")
    by_name = {op.layer: op.index for op in results.graph.ops}
    for name in ("w8a8", "w4a8"):
        found = measurements(results, name)
        for row, cell in zip(
            refined.sensitivity.by_scheme.rows, column(refined.sensitivity.by_scheme, name), strict=True
        ):
            parts = [m for (_, op), m in found.items() if op == by_name.get(row.cells[0].text)]
            if cell.text:
                assert cell.text.startswith("≈ ") == any(m.method == "linear" for m in parts), row
    assert [c.text for c in refined.kinds.rows[2].cells[:5]] == ["convolution", "1", "1.99 M", "0.00168", "0.000842"]
    assert refined.kinds.rows[0].cells[3].text.startswith("≈ ")
    marked = (refined.layers, refined.kinds, refined.sensitivity.by_scheme, refined.sensitivity.directions)
    for table in marked:
        assert table.notes[-1].startswith("≈ marks a first-order estimate"), table.id
    for table in (refined.layers, refined.kinds):
        assert [c.label for c in table.columns].count("≈ Share") == 1


def test_a_table_without_estimates_carries_no_sign(mobilenet):
    part = mobilenet.sensitivity
    for table in (mobilenet.layers, mobilenet.kinds, part.by_scheme, part.directions):
        assert not any("≈" in cell.text for row in table.rows for cell in row.cells)
        assert not any("≈" in said for said in (*table.notes, *(c.label for c in table.columns)))
    assert not any("≈" in finding for finding in part.findings)
    assert not any(bar.estimated for bar in (*part.kinds, *part.rankings[0].bars))
    assert not mobilenet.strip.has_estimates


def test_bars_tell_estimates_from_measured_figures(refined):
    results = results_refined.refined()
    names = {op.index: op.layer for op in results.graph.ops} | {None: "model input"}
    parts = {"weights": "weights", "activation": "output activation", "input": "model input"}
    for ranking in refined.sensitivity.rankings[:2]:
        found = {(names[op], parts[part]): m for (part, op), m in measurements(results, ranking.scheme).items()}
        for bar in ranking.bars:
            assert bar.estimated == (found[bar.label, bar.part].method == "linear")
            assert ("estimated to first order" in bar.note) == bar.estimated == bar.note.startswith("≈ ")
            assert bar.low < bar.value < bar.high
    assert {bar.estimated for bar in refined.sensitivity.rankings[0].bars} == {True, False}


def test_a_kinds_estimates_stand_apart_from_what_was_measured(refined):
    depthwise = [bar for bar in refined.sensitivity.kinds if bar.label == "depthwise"]
    assert [(bar.part, bar.estimated) for bar in depthwise] == [
        ("weights", False), ("weights", True), ("output activation", True),
    ]  # fmt: skip
    assert refined.kinds.rows[0].cells[3].value == pytest.approx(depthwise[0].value + depthwise[1].value)
    assert depthwise[0].note.endswith("over 2 sources, measured")


def test_the_strip_outlines_errors_that_are_mostly_estimates(refined):
    cells = refined.strip.cells
    # Its weights, nearly all of its error, were measured.
    assert not cells[1].estimated and "w8a8 error ≈ 0.0629" in cells[1].note
    assert not cells[0].estimated and "w8a8 error 0.00252" in cells[0].note
    assert cells[3].estimated and refined.strip.has_estimates


def test_an_estimate_has_no_error_at_the_layer(refined):
    found = measurements(results_refined.refined())
    for op, cell in enumerate(column(refined.layers, "At the layer")):
        own = [m for (_, other), m in found.items() if other == op]
        local = [m.local_nmse for m in own if m.local_nmse is not None]
        assert cell.value == (max(local) if local else None) and (cell.text == "") == (not local)
        assert ("was not measured" in cell.note) == (0 < len(local) < len(own))
    measured = [m for m in found.values() if m.method == "exact"]
    assert len(refined.sensitivity.dots) == len(measured) == 10
    assert refined.sensitivity.local_note.startswith("Of the 10 sources that were measured the one that hurts")
    assert refined.sensitivity.local_note.endswith("For the others only the error at the output was estimated.")
    assert build_view(results_refined.linear()).sensitivity.local_note == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "refined",
            "10 of 119 w8a8 sources, the 8 worst among them, were measured exactly, one at a time; the others were"
            " estimated to first order (marked ≈), as were 207 of the 208 that other schemes and mixed networks add.",
        ),
        (
            "linear",
            "1 of 119 w8a8 sources, which cannot be estimated, was measured exactly, one at a time; the others were"
            " estimated to first order (marked ≈), as were 207 of the 208 that other schemes and mixed networks add.",
        ),
        (
            "estimated",
            "All 119 w8a8 sources were estimated to first order (marked ≈), as were all 208 that other schemes and"
            " mixed networks add.",
        ),
        (
            "not_differentiable",
            "No estimates could be made because of WHILE, CUSTOM <b>Fft</b>: every source was measured exactly"
            " instead, one at a time.",
        ),
    ],
)
def test_one_sentence_says_how_the_table_was_made(name, sentence):
    part = build_view(getattr(results_refined, name)()).sensitivity
    assert part.method == sentence and sentence in part.findings


def test_a_table_of_measurements_says_so(mobilenet):
    assert mobilenet.sensitivity.method == "Every source was measured exactly, one at a time."


def test_no_more_of_the_worst_are_said_to_be_measured_than_were():
    base = results_refined.refined()
    worst = max(base.sensitivity.measurements, key=lambda m: m.error.nmse if m.source.variant == "w8" else 0.0)
    linear = tuple(
        dataclasses.replace(m, method="linear", local_nmse=None) if m is worst else m
        for m in base.sensitivity.measurements
    )
    table = dataclasses.replace(base.sensitivity, measurements=linear)
    said = build_view(dataclasses.replace(base, sensitivity=table)).sensitivity.method
    assert said.startswith("9 of 119 w8a8 sources were measured exactly")


def test_estimates_on_fewer_samples_say_so(refined, mobilenet):
    said = "Each measured figure stands on 256 calibration samples, each estimate on 128."
    assert said in refined.sensitivity.findings
    assert "Each figure stands on 256 calibration samples." in mobilenet.sensitivity.findings
    base = results_refined.estimated()
    table = dataclasses.replace(base.sensitivity, int8=None, left_float=())
    alone = build_view(dataclasses.replace(base, sensitivity=table))
    assert "Each figure stands on 128 calibration samples." in alone.sensitivity.findings


def test_a_sum_with_estimates_beside_the_joint_error_blames_them_too():
    base = results_refined.refined()
    joint = dataclasses.replace(base.sensitivity.int8, nmse=0.03)
    view = build_view(dataclasses.replace(base, sensitivity=dataclasses.replace(base.sensitivity, int8=joint)))
    assert view.sensitivity.findings[1].startswith("One at a time the sources sum to ≈ 0.0750; ")
    assert view.sensitivity.findings[1].endswith("they cancel in part, or the estimates are too large.")


def test_where_few_ops_were_left_in_float_both_ranks_count_these_alone(refined):
    base = results_refined.refined()
    left = {one.op for one in base.sensitivity.left_float}
    part = refined.sensitivity
    assert part.directions_note.startswith(f"Leaving an op in float was measured for {len(left)} of 65 ops; ranks ")
    names = {op.layer: op.index for op in base.graph.ops}
    alone, gain = ([row.cells[k].text for row in part.directions.rows] for k in (2, 4))
    for row, one, other in zip(part.directions.rows, alone, gain, strict=True):
        assert bool(one) == bool(other) == (names[row.cells[0].text] in left)
        assert (row.cells[3].text == "not measured") == (not one)
    ranks = [str(rank) for rank in range(1, len(left) + 1)]
    assert sorted(filter(None, alone)) == sorted(filter(None, gain)) == ranks


def test_one_op_left_in_float_is_compared_with_nothing():
    part = build_view(results_refined.linear()).sensitivity
    assert part.directions_note == "Leaving an op in float was measured for 1 of 65 ops; ranks count these alone."
    assert build_view(results_refined.estimated()).sensitivity.directions is None

"""The divided error as tables: everything is shown, nothing is added up wrong."""

from __future__ import annotations

import pytest
from bitplan.analyzer.schema import (
    Attribution,
    ErrorInteraction,
    FileCoverage,
    KindShare,
    LayerShare,
    NotAligned,
)
from bitplan.analyzer.serialize import from_jsonable, to_jsonable
from bitplan.reports.attribution import attribution_tables


def found(layers=3, not_aligned=()):
    return Attribution(
        measured_nmse=0.1, standard_error=0.01, substituted_nmse=0.12,
        kinds=(KindShare("weights", 0.13, 0.01, 1.3, 0.12, 0.125), KindShare("kernels", -0.03, 0.001, -0.3)),
        layers=tuple(LayerShare(f"l{k}", f"{k}:X:1", "X", "weights", 0.01, 0.001, 0.1) for k in range(layers)),
        interactions=(ErrorInteraction("weights", "bias", -0.05, 0.01),),
        layer_interactions=(ErrorInteraction("a", "b", 0.001, 0.001),),
        coverage=FileCoverage(2, 3, 90, 100, {"names": 2}, 0, not_aligned), samples=32,
    )  # fmt: skip


def tables(value):
    return {table.id: table for table in attribution_tables(value)}


def test_kinds_are_shown_with_the_whole_they_sum_to():
    table = tables(found())["error-kinds"]
    assert [row.cells[0].text for row in table.rows] == ["weights", "kernels"]
    assert [row.cells[1].value for row in table.rows] == [1.3, -0.3]
    assert table.rows[1].cells[3].text == ""
    assert "0.100" in table.notes[0]
    assert "32 samples" in table.notes[0]


def test_layers_that_are_not_shown_are_counted_and_summed():
    assert tables(found())["error-layers"].notes == ()
    table = tables(found(layers=45))["error-layers"]
    assert len(table.rows) == 40
    assert "5 more changes sum to 0.0500" in table.notes[0]


def test_only_what_the_samples_show_counts_as_an_interaction():
    table = tables(found())["error-pairs"]
    assert [row.cells[2].text for row in table.rows] == ["cancel"]
    assert ErrorInteraction("a", "b", 0.03, 0.01).effect == "amplify"
    assert ErrorInteraction("a", "b", 0.02, 0.01).effect == "none"


def test_what_could_not_be_aligned_is_listed_with_its_reason():
    assert "not-aligned" not in tables(found())
    table = tables(found(not_aligned=(NotAligned("2:X:1", "l2", "float", "the other file has no X", False),)))
    assert [cell.text for cell in table["not-aligned"].rows[0].cells] == ["l2", "float", "the other file has no X"]
    assert "90 %" in table["not-aligned"].notes[0]


@pytest.mark.parametrize("layers", [0, 2])
def test_it_survives_its_file(layers):
    value = found(layers)
    assert from_jsonable(Attribution, to_jsonable(value)) == value

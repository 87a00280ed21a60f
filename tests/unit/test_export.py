"""What other programs read: a document that keeps to its published schema, and a table that reads back exactly."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import jsonschema
import pytest
from bitplan.reports.export import CSV_COLUMNS, report_json, report_schema, sensitivity_csv

from .. import results_factory as factory

CASES = [
    "mobilenet", "islands", "two_layers", "inspected", "analyzed", "mismatched", "unevaluated", "regression", "hostile",
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_report_keeps_to_the_published_schema(name):
    document = report_json(getattr(factory, name)())
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_schema_is_a_schema_and_describes_every_key():
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    document = report_json(factory.mobilenet())
    assert list(schema["properties"]) == list(document)
    for part in ("provenance", "graph", "calibration", "sensitivity", "plan", "verification"):
        assert set(schema["$defs"][part]["properties"]) == set(document[part]), part


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("plan", "io"), "int4"),
        (("verification", "evaluations", 0, "file_bytes"), -1),
        (("sensitivity", "measurements", 0, "method"), "guessed"),
        (("graph", "ops", 0, "key"), None),
    ],
)
def test_a_document_that_breaks_the_schema_is_refused(path, value):
    document = report_json(factory.mobilenet())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(report_schema()).validate(document)


def test_figures_are_not_rounded():
    results = factory.mobilenet()
    document = report_json(results)
    assert document["sensitivity"]["measurements"][7]["error"]["nmse"] == results.sensitivity.measurements[7].error.nmse
    assert document["verification"]["evaluations"][1]["drop_points"] == {"value": 3.42, "low": 2.62, "high": 4.22}


def test_infinity_is_written_by_name():
    document = report_json(factory.mobilenet())
    assert document["verification"]["evaluations"][0]["error"]["sqnr_db"] == "inf"
    assert float(document["verification"]["evaluations"][0]["error"]["sqnr_db"]) == math.inf


def test_rankings_hold_each_layers_parts():
    ranking = report_json(factory.mobilenet())["sensitivity"]["rankings"][0]
    worst = ranking["layers"][0]
    assert (ranking["scheme"], worst["op"], worst["rank"]) == ("w8a8", 1, 1)
    assert worst["weights_nmse"] == pytest.approx(1.27 / 20.2)
    assert worst["nmse"] == worst["weights_nmse"] + worst["activation_nmse"]
    assert [layer["rank"] for layer in ranking["layers"] if layer["op"] is None] == [3]


def test_equal_runs_differ_under_measured_alone():
    first = factory.mobilenet()
    second = dataclasses.replace(first, provenance=factory.provenance(measured={"verify_s": 99.0}))
    one, other = report_json(first), report_json(second)
    assert one.pop("measured") != other.pop("measured")
    assert json.dumps(one) == json.dumps(other)


def test_the_csv_has_one_row_a_source_largest_first_and_reads_back_exactly():
    results = factory.mobilenet()
    rows = list(csv.DictReader(io.StringIO(sensitivity_csv(results))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == len(results.sensitivity.measurements)
    nmse = [float(row["nmse"]) for row in rows]
    assert nmse == sorted((m.error.nmse for m in results.sensitivity.measurements), reverse=True)
    by_id = {m.source.id: m for m in results.sensitivity.measurements}
    for row in rows:
        found = by_id[row["source"]]
        assert (float(row["nmse"]), float(row["sqnr_db"])) == (found.error.nmse, found.error.sqnr_db)
        assert row["op"] == ("" if found.source.op is None else str(found.source.op))


def test_the_csv_survives_any_name():
    results = factory.hostile()
    rows = list(csv.DictReader(io.StringIO(sensitivity_csv(results), newline="")))
    assert set(factory.HOSTILE) <= {row["layer"] for row in rows}


def test_without_a_sweep_the_csv_is_its_header():
    assert sensitivity_csv(factory.inspected()) == ",".join(CSV_COLUMNS) + "\n"

"""What other programs read: a document that keeps to its published schema, and a table that reads back exactly."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import jsonschema
import pytest
from bitplan.analyzer import schema
from bitplan.reports.export import CSV_COLUMNS, report_json, report_schema, sensitivity_csv

from .. import results_factory as factory
from .. import results_planning as planning
from .. import results_refined, results_repairs

CASES = [
    "mobilenet", "islands", "two_layers", "inspected", "analyzed", "mismatched", "unevaluated", "regression", "hostile",
]  # fmt: skip


REPAIRED = ["repaired", "without_classes", "hostile"]
REFINED = ["refined", "linear", "estimated", "not_differentiable"]


@pytest.mark.parametrize("name", CASES + REFINED)
def test_every_report_keeps_to_the_published_schema(name):
    document = report_json(getattr(results_refined if name in REFINED else factory, name)())
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


@pytest.mark.parametrize("name", REPAIRED)
def test_every_report_of_repairs_keeps_to_the_published_schema(name):
    document = report_json(getattr(results_repairs, name)())
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_repairs_are_written_with_the_names_of_those_that_were_kept():
    found = report_json(results_repairs.repaired())["repair"]
    assert found["kept"] == ["ranges", "bias_correction", "distillation"]
    assert found["steps"][3]["after"] is None and found["steps"][3]["skipped"] == "no weights share a scale"
    assert found["steps"][4]["drop_after"] == {"value": 0.2, "low": 0.2 - 0.9, "high": 1.1}
    assert found["steps"][4]["curve"][4] == {"step": 256, "error": 0.0043}
    assert found["kernels"]["simulated_xnnpack"] == {"agreement": 0.9844, "nmse": 0.0021}
    assert report_json(factory.mobilenet())["repair"] is None


def test_the_schema_is_a_schema_and_describes_every_key():
    published = report_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    document = report_json(results_repairs.repaired())
    assert list(published["properties"]) == list(document)
    for part in ("provenance", "graph", "calibration", "sensitivity", "plan", "planning", "repair", "verification"):
        assert set(published["$defs"][part]["properties"]) == set(document[part]), part


@pytest.mark.parametrize(
    ("definition", "kind", "computed"),
    [
        ("planning", schema.Planning, ()),
        ("reason", schema.Reason, ()),
        ("alternative", schema.Alternative, ()),
        ("price", schema.Price, ("bought",)),
        ("trial", schema.Trial, ()),
        ("round", schema.Round, ("off",)),
        ("remeasured", schema.Remeasured, ()),
        ("frontier", schema.Frontier, ()),
        ("frontier_point", schema.FrontierPoint, ()),
        ("rival", schema.Rival, ()),
        ("weight_profile", schema.WeightProfile, ()),
        ("opinion", schema.Opinion, ()),
        ("repair", schema.RepairLog, ("kept",)),
        ("repair_step", schema.RepairStep, ()),
        ("held_back_error", schema.HeldBackError, ()),
        ("kernel_agreement", schema.KernelAgreement, ()),
        ("likeness", schema.Likeness, ()),
    ],
)
def test_every_field_of_a_planning_an_opinion_and_a_repair_is_described(definition, kind, computed):
    described = report_schema()["$defs"][definition]
    names = [field.name for field in dataclasses.fields(kind)]
    assert list(described["properties"]) == described["required"] == [*names, *computed]
    assert all(entry.get("description") for entry in (described, *described["properties"].values()))


def test_a_planning_is_written_with_what_it_computes():
    found = report_json(factory.mobilenet())["planning"]
    assert found["price"]["bought"] == pytest.approx(0.0013 * 100_000 / 469_888)
    assert found["trial"]["rounds"][0]["off"] == pytest.approx(0.0043 / 0.0114)
    assert [point["measured_nmse"] is not None for point in found["frontier"]["points"]].count(True) == 3
    assert len(found["reasons"]) == 65 and found["reasons"][1]["scheme"] == "float"


@pytest.mark.parametrize("made", ["vela", "micro", "refused"])
def test_what_a_targets_tool_says_keeps_to_the_schema(made):
    opinion = getattr(planning, made)()
    document = report_json(planning.on_target(factory.mobilenet(), "ethos-u55", opinion))
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    assert document["verification"]["opinion"]["refusal"] == opinion.refusal
    assert document["verification"]["opinion"]["figures"] == dict(opinion.figures)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("planning", "trial", "answer"), "maybe"),
        (("planning", "frontier", "along"), "colour"),
        (("planning", "reasons", 0, "cheaper", "fits"), "yes"),
        (("repair", "error_of"), "accuracy"),
        (("repair", "steps", 0, "kept"), None),
        (("repair", "kernels", "reference_xnnpack", "agreement"), 98.4),
        (("version",), 2),
        (("plan", "io"), "int4"),
        (("verification", "evaluations", 0, "file_bytes"), -1),
        (("sensitivity", "measurements", 0, "method"), "guessed"),
        (("sensitivity", "rankings", 0, "layers", 0, "weights_method"), "guessed"),
        (("sensitivity", "mode"), "guessed"),
        (("graph", "ops", 0, "key"), None),
    ],
)
def test_a_document_that_breaks_the_schema_is_refused(path, value):
    document = report_json(results_repairs.repaired())
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


def test_rankings_tell_estimates_from_measured_figures():
    document = report_json(results_refined.refined())["sensitivity"]
    assert document["mode"] == "refined"
    ranking = document["rankings"][0]
    first, second = ranking["layers"][:2]
    assert ranking["method"] == "linear"
    assert (first["method"], first["weights_method"], first["activation_method"]) == ("linear", "exact", "linear")
    assert (second["method"], second["weights_method"], second["activation_method"]) == ("exact", "exact", "exact")
    (entrance,) = (layer for layer in ranking["layers"] if layer["op"] is None)
    assert (entrance["weights_method"], entrance["activation_method"]) == (None, "exact")
    assert {layer["method"] for layer in report_json(factory.mobilenet())["sensitivity"]["rankings"][0]["layers"]} == {
        "exact"
    }


def test_what_an_estimate_does_not_know_is_null_and_an_empty_field():
    results = results_refined.refined()
    unknown = ("kl", "agreement", "accuracy", "metric")
    entries = {entry["id"]: entry for entry in report_json(results)["sensitivity"]["measurements"]}
    rows = {row["source"]: row for row in csv.DictReader(io.StringIO(sensitivity_csv(results)))}
    assert {row["method"] for row in rows.values()} == {"exact", "linear"}
    for m in results.sensitivity.measurements:
        entry, row = entries[m.source.id], rows[m.source.id]
        assert entry["method"] == row["method"] == m.method
        assert int(row["samples"]) == entry["error"]["samples"] == (128 if m.method == "linear" else 256)
        if m.method == "linear":
            assert entry["local_nmse"] is None and all(entry["error"][key] is None for key in unknown)
            assert [row[key] for key in (*unknown, "local_nmse")] == [""] * 5
        else:
            assert float(row["local_nmse"]) == entry["local_nmse"] == m.local_nmse


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

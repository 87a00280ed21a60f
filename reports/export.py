"""Results for other programs: `report.json`, whose form is published beside this file, and `sensitivity.csv`.

Figures are unrounded. JSON has no infinity, so a signal-to-noise ratio of a source that changed nothing is written
`"inf"`, as in the other files of a run folder.
"""

from __future__ import annotations

import csv
import dataclasses
import enum
import io
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

from ..analyzer.schema import SCHEMES, Op, OutputError, Planning, RepairLog, Results, SensitivityTable
from .sources import Contribution, LayerError, all_exact, contributions, layer_errors, swept_schemes, total
from .verdict import build_verdict

REPORT_VERSION = 1

CSV_COLUMNS = (
    "source", "part", "variant", "op", "layer", "opcode", "kinds", "tensor", "consumer",
    "nmse", "standard_error", "sqnr_db", "kl", "agreement", "accuracy", "metric", "local_nmse", "samples", "method",
)  # fmt: skip


def report_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that `report_json` keeps to."""
    text = resources.files(__package__).joinpath("schemas/report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def report_json(results: Results) -> dict[str, Any]:
    """Everything the page shows, as plain JSON values in a fixed order.

    Equal results give equal documents; what differs between equal runs lies under `measured` alone. Parts that were not
    computed are null.

    Args:
      results: Of any stage.
    """
    verdict = build_verdict(results)
    graph = dataclasses.asdict(results.graph)
    graph["ops"] = [_op(op, entry) for op, entry in zip(results.graph.ops, graph["ops"], strict=True)]
    origin = dataclasses.asdict(results.provenance)
    measured = origin.pop("measured")
    document = {
        "format": "bitplan-report",
        "version": REPORT_VERSION,
        "verdict": {"tone": verdict.tone, "label": verdict.label, "text": verdict.text},
        "provenance": origin,
        "graph": graph,
        "calibration": _calibration(results),
        "sensitivity": _sensitivity(results),
        "plan": dataclasses.asdict(results.plan) if results.plan else None,
        "planning": _planning(results.planning) if results.planning else None,
        "repair": _repair(results.repair) if results.repair else None,
        "verification": dataclasses.asdict(results.verification) if results.verification else None,
        "study": dataclasses.asdict(results.study) if results.study else None,
        "notes": results.notes,
        "weights": [dataclasses.asdict(profile) for profile in results.weights],
        "measured": measured,
    }
    found: dict[str, Any] = plain(document)
    return found


def _op(op: Op, entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "kind": op.kinds[0] if op.kinds else "other"}


def _calibration(results: Results) -> dict[str, Any] | None:
    calibration = results.calibration
    if calibration is None:
        return None
    ranges = [dataclasses.asdict(calibration.ranges[t]) for t in sorted(calibration.ranges)]
    return {
        "samples": calibration.samples,
        "data_digest": calibration.data_digest,
        "random": calibration.random,
        "ranges": ranges,
        "partial_sums": [{"op": op, "hi": hi, "lo": lo} for op, (hi, lo) in sorted(calibration.partial_sums.items())],
    }


def _sensitivity(results: Results) -> dict[str, Any] | None:
    table = results.sensitivity
    if table is None:
        return None
    document = dataclasses.asdict(table)
    document["measurements"] = [
        {"id": measurement.source.id, **entry}
        for measurement, entry in zip(table.measurements, document["measurements"], strict=True)
    ]
    document["rankings"] = [_ranking(table, name) for name in swept_schemes(table)]
    return document


def _ranking(table: SensitivityTable, scheme: str) -> dict[str, Any]:
    parts = contributions(table, SCHEMES[scheme])
    layers = [_layer(rank, error) for rank, error in enumerate(layer_errors(table, SCHEMES[scheme]), 1)]
    return {"scheme": scheme, "sum_nmse": total(parts), "method": _method(all_exact(parts)), "layers": layers}


def _layer(rank: int, error: LayerError) -> dict[str, Any]:
    return {
        "rank": rank,
        "op": error.op,
        "tensor": error.tensor,
        "nmse": error.nmse,
        "method": _method(error.exact),
        **_part("weights", error.weights),
        **_part("activation", error.activation),
    }


def _planning(planning: Planning) -> dict[str, Any]:
    """With the figures that its classes compute."""
    document = dataclasses.asdict(planning)
    if planning.price:
        document["price"]["bought"] = planning.price.bought
    if planning.trial:
        for entry, tried in zip(document["trial"]["rounds"], planning.trial.rounds, strict=True):
            entry["off"] = tried.off
    return document


def _repair(repair: RepairLog) -> dict[str, Any]:
    """With the names of what was kept."""
    return {**dataclasses.asdict(repair), "kept": repair.kept}


def _part(name: str, part: Contribution | None) -> dict[str, Any]:
    return {
        f"{name}_nmse": part.nmse if part else None,
        f"{name}_method": _method(part.exact) if part else None,
    }


def _method(exact: bool) -> str:
    """As in `Measurement.method`; a sum is `linear` as soon as one part of it is."""
    return "exact" if exact else "linear"


def plain(value: Any) -> Any:
    """Tuples to lists, enumerations to their values, NumPy scalars to Python's; infinities and NaN to their names."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "item") and not isinstance(value, int | float):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)


def sensitivity_csv(results: Results) -> str:
    r"""The measurements as CSV (RFC 4180, lines end in `\n`), the largest error first; only the header without a sweep.

    Columns are `CSV_COLUMNS`; a field without a value is empty, numbers are written so that they read back exactly.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    table = results.sensitivity
    if table is not None:
        for m in sorted(table.measurements, key=lambda m: (-m.error.nmse, m.source.id)):
            source, op = m.source, None if m.source.op is None else results.graph.ops[m.source.op]
            place = [op.index, op.layer, op.opcode, "; ".join(op.kinds)] if op else ["", "", "", "input"]
            consumer = "" if source.consumer is None else source.consumer
            tensor = results.graph.tensors[source.tensor].name
            figures = _figures(m.error)
            writer.writerow(
                [
                    source.id,
                    source.part,
                    source.variant,
                    *place,
                    tensor,
                    consumer,
                    *figures,
                    _field(m.local_nmse),
                    m.error.samples,
                    m.method,
                ]
            )
    return out.getvalue()


def _figures(error: OutputError) -> list[str]:
    values = (error.nmse, error.standard_error, error.sqnr_db, error.kl, error.agreement, error.accuracy, error.metric)
    return [_field(value) for value in values]


def _field(value: float | None) -> str:
    return "" if value is None else repr(float(value))

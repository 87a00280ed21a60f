"""What was run: enough to run it again, with times and memory apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..analyzer.schema import Results
from . import amounts, numbers
from .cells import Facts, RunPart
from .device import TIMES

LONGEST_VALUE = 400


def run_part(results: Results) -> RunPart:
    """Model, data, settings, versions and warnings; the measured block apart."""
    origin = results.provenance
    facts = [Facts("Model", _model(results))]
    if origin.calibration or results.calibration:
        facts.append(Facts("Calibration data", _calibration(results)))
    if origin.evaluation or (results.verification and not results.verification.on_calibration):
        facts.append(Facts("Evaluation data", _evaluation(results)))
    if results.plan:
        facts.append(Facts("Plan", _plan(results)))
    if results.verification:
        facts.append(Facts("Emitted file", _file(results)))
    run = [
        ("Command", numbers.name(origin.command, LONGEST_VALUE) if origin.command else "from Python"),
        ("Seed", str(origin.seed)),
    ]
    facts.append(Facts("Run", (*run, *sorted((key, str(value)) for key, value in origin.versions.items()))))
    measured = Facts(
        "Measured", tuple((_title(key), _measured(key, value)) for key, value in sorted(origin.measured.items()))
    )
    warnings = tuple(numbers.name(text, LONGEST_VALUE) for text in origin.warnings)
    return RunPart(tuple(facts), warnings, measured if measured.items else None)


def _model(results: Results) -> tuple[tuple[str, str], ...]:
    origin, graph = results.provenance, results.graph
    items = [("Name", numbers.name(origin.model_name)), ("SHA-256", origin.model_digest)]
    if graph.digest != origin.model_digest:
        items.append(("SHA-256 of the float .tflite", graph.digest))
    items.append(("Float .tflite", f"{numbers.count(graph.file_bytes)} bytes"))
    return tuple(items)


def _calibration(results: Results) -> tuple[tuple[str, str], ...]:
    items = _declared(results.provenance.calibration)
    if results.calibration:
        items.append(("Samples", numbers.count(results.calibration.samples)))
        items.append(("SHA-256, any order", results.calibration.data_digest))
        if results.calibration.random:
            items.append(("Origin", "random numbers: no data was given"))
    return _once(items)


def _evaluation(results: Results) -> tuple[tuple[str, str], ...]:
    items = _declared(results.provenance.evaluation)
    if results.verification:
        items.append(("Samples", numbers.count(results.verification.samples)))
        if results.verification.data_digest:
            items.append(("SHA-256", results.verification.data_digest))
        items.append(("Used for choosing anything", "no"))
    return _once(items)


def _plan(results: Results) -> tuple[tuple[str, str], ...]:
    plan = results.plan
    assert plan is not None
    items = [
        ("Strategy", plan.strategy),
        ("Schemes allowed", ", ".join(plan.allowed)),
        ("Target", plan.target),
        ("Inputs and outputs", plan.io.value),
    ]
    limits = {
        "file_bytes": plan.budget_bytes, "arena_bytes": plan.arena_budget_bytes, "latency": plan.latency_budget,
        "bops": plan.bops_budget, "noise": plan.noise_budget,
    }  # fmt: skip
    for of, limit in limits.items():
        if limit is not None:
            sized = of in ("file_bytes", "arena_bytes")
            text = f"{numbers.count(round(limit))} bytes" if sized else amounts.amount(of, limit, plan.latency_unit)
            items.append((f"Limit: {amounts.title(of, plan)}", text))
    if plan.smallest_bytes is not None:
        items.append(("Smallest possible", f"{numbers.count(plan.smallest_bytes)} bytes, predicted"))
    if plan.status:
        items.append(("Solver", plan.status))
    if plan.mip_gap is not None:
        items.append(("Optimality gap", numbers.percent(plan.mip_gap, 3)))
    return tuple(items)


def _file(results: Results) -> tuple[tuple[str, str], ...]:
    verification = results.verification
    assert verification is not None
    types = ", ".join(f"{numbers.count(n)} {dtype}" for dtype, n in sorted(verification.tensor_types.items()))
    planned = (
        "yes" if not verification.mismatches else f"NO: {numbers.plural(len(verification.mismatches), 'tensor')} differ"
    )
    items = [("As planned", planned)] if results.plan else []
    return (*items, ("Tensors by type", types), ("SHA-256", verification.file_digest))


def _declared(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was said of the data, without what is empty or said elsewhere."""
    items = []
    for key, value in values.items():
        if key in ("count", "random", "notes") or value in (None, "", (), [], {}):
            continue
        if key == "class_counts" and isinstance(value, Mapping):
            items.append(("Classes", _classes(value)))
        elif key == "inputs" and isinstance(value, list | tuple):
            items.append(("Inputs", numbers.name("; ".join(_input(entry) for entry in value), LONGEST_VALUE)))
        else:
            items.append((_title(key), numbers.name(_value(value), LONGEST_VALUE)))
    return items


def _classes(counts: Mapping[str, Any]) -> str:
    fewest, most = min(counts.values()), max(counts.values())
    return (
        f"{len(counts)}, with {fewest} to {most} samples each"
        if fewest != most
        else f"{len(counts)}, with {most} samples each"
    )


def _input(entry: Any) -> str:
    if not isinstance(entry, Mapping) or not {"name", "shape", "dtype", "minimum", "maximum"} <= entry.keys():
        return _value(entry)
    extent = f"{_value(entry['minimum'])} to {_value(entry['maximum'])}"
    more = f", mean {_value(entry['mean'])}" if "mean" in entry else ""
    return f"{entry['name']}: {_value(entry['shape'])} {entry['dtype']}, {extent}{more}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return numbers.significant(value)
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key.replace('_', ' ')} {_value(inner)}"
            for key, inner in value.items()
            if inner not in (None, "", [], {})
        )
    if isinstance(value, list | tuple):
        between = "\N{MULTIPLICATION SIGN}" if value and all(isinstance(inner, int) for inner in value) else ", "
        return between.join(_value(inner) for inner in value)
    return str(value)


def _once(items: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Without a value that was declared and measured alike."""
    seen: set[str] = set()
    kept = []
    for title, value in items:
        if value not in seen or len(value) < 8:
            kept.append((title, value))
        seen.add(value)
    return tuple(dict(kept).items())


def _title(key: str) -> str:
    if key in TIMES:
        return f"{TIMES[key][:1].upper()}{TIMES[key][1:]}, on this machine's CPU"
    for suffix in ("_s", "_bytes"):
        key = key.removesuffix(suffix)
    return key.replace("_", " ").capitalize()


def _measured(key: str, value: float) -> str:
    if key.endswith("_bytes"):
        return numbers.megabytes(round(value), 0 if value >= 1e8 else 1)
    if key.endswith("_s"):
        return f"{numbers.significant(value)} s"
    if key.endswith("_ms"):
        return f"{numbers.significant(value)} ms"
    return numbers.significant(value)

"""What to do about a quantized file: the part of an audit that makes other files and measures them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .analysis import analyze
from .analyzer.conversion.verification import Candidate
from .analyzer.errors import DataError
from .analyzer.network import flatbuffer as fb
from .analyzer.network.timing import time_model
from .analyzer.runs import RunFolder, content_key
from .analyzer.schema import Graph, OptionTable
from .record import Measured, versions_key
from .repairing import material_of, parse_duration
from .run_data import evaluation_samples
from .session import DEFAULT_MODE, Run
from .strategies.assignment.budgets import parse_size
from .strategies.options import measure_options
from .strategies.remedies import Case, OptionFile, OptionMemory, int8_plan, make_files
from .strategies.targets import DEFAULT_TARGET, load_target, to_toml

DEFAULT_TIME = "5m"
"""For the repairs of each repaired file."""

_TIMED_S = 0.3
"""Seconds that each file is timed for."""


def advise(
    run: Run,
    quantized: Candidate,
    *,
    graph: Graph,
    target: str = DEFAULT_TARGET,
    size_budget: str = "",
    time_budget: str = DEFAULT_TIME,
    folder: RunFolder | None = None,
) -> tuple[OptionTable, dict[str, float]]:
    """Makes the file of every option and measures them beside the one that was brought.

    Args:
      run: Prepared, with calibration and evaluation data.
      quantized: The file that was brought, with the tensors that stand for `graph.compared`.
      graph: The float network, compared where the file can be.
      target: Name of a shipped table, or path of another.
      size_budget: Of the hybrid plan: `2.75MB`, `3.2x` ...; "" for a little more than the file has.
      time_budget: For the repairs of each repaired file; "none" for no limit.
      folder: Where files are kept, and found again; None for nowhere.

    Returns:
      The options, and milliseconds of their files on this machine by name.

    Raises:
      UsageError: The target, the size or the time cannot be read.
    """
    evaluation = evaluation_samples(run)
    assert evaluation is not None, "an audit has evaluation data"
    where = load_target(target)
    seconds = _seconds(time_budget)
    size = parse_size(size_budget, run.graph.file_bytes) if size_budget.strip() else None
    run = analyze(run, DEFAULT_MODE, left_float=True, per_channel=where.per_channel)
    assert run.sensitivity is not None
    material = material_of(run, int8_plan(run.graph, where, quantized.flatbuffer))
    case = Case(material, run.sensitivity, quantized, where, size, seconds)
    files = make_files(case, memory=_memory(case, folder), reporter=run.reporter)
    found = measure_options(case, files, evaluation, graph=graph, metric=run.metric(), reporter=run.reporter)
    times = {name: time_model(made.file, seconds=_TIMED_S) for name, made in files.items() if made.file}
    return found, {name: round(milliseconds, 4) for name, milliseconds in times.items()}


def check_wishes(calibration: Any, target: str, size_budget: str, time_budget: str) -> None:
    """Rejects what can be seen to be wrong before anything long is started.

    Raises:
      DataError: There is no calibration data.
      UsageError: The target, the size or the time cannot be read.
    """
    if calibration is None:
        raise DataError("other files are made from calibration data", "give --calibration, or leave --options out")
    load_target(target)
    if size_budget.strip():
        parse_size(size_budget, 1)  # of any float file: only whether it can be read
    _seconds(time_budget)


def _seconds(time_budget: str) -> float | None:
    return None if time_budget.strip().lower() == "none" else parse_duration(time_budget)


@dataclass(frozen=True)
class _Kept:
    """An option's file as the folder holds it; the file lies beside it."""

    facts: tuple[str, ...]
    missing: str


def _memory(case: Case, folder: RunFolder | None) -> OptionMemory:
    """Finished files lie in the folder, under a key of all that they are made from."""
    if folder is None:
        return OptionMemory()
    material = case.material
    ranges = [(tensor, seen.minimum, seen.maximum) for tensor, seen in material.calibration.ranges.items()]
    key = content_key(
        "option-1", versions_key(), fb.digest(material.flatbuffer), fb.digest(case.quantized.flatbuffer), ranges,
        to_toml(case.target), material.plan.io.value, material.samples.digest, material.held_back.digest,
        case.sensitivity.data_digest, case.largest_bytes, case.time_budget_s, material.seed,
    )  # fmt: skip

    def load(name: str) -> OptionFile | None:
        kept = folder.load(f"option_{name}", _Kept, key)
        if kept is None or (not kept.missing and not (folder.path / f"option_{name}.tflite").is_file()):
            return None
        return OptionFile(b"" if kept.missing else folder.read_bytes(f"option_{name}.tflite"), kept.facts, kept.missing)

    def save(name: str, made: OptionFile) -> None:
        folder.discard(f"option_{name}.json", f"option_{name}.tflite")
        if made.file:
            folder.write_bytes(f"option_{name}.tflite", made.file)
        folder.save(f"option_{name}", _Kept(made.facts, made.missing), key)

    return OptionMemory(load, save)


def save_times(times: Mapping[str, float], folder: RunFolder) -> None:
    """Keeps what was timed apart from what equal runs have in common."""
    folder.save("measured", Measured({f"latency_{name}_ms": value for name, value in times.items()}), "")

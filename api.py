"""The Python interface: what each command of the same name calls.

import bitplan as bp
run = bp.analyze("model.keras", images, evaluation=(x, y))
result = run.plan(size_budget="2.80MB").convert()
result.save("out/")
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from .analyzer.cache import Cache, CacheContents, parse_age
from .analyzer.errors import UsageError
from .analyzer.inputs.loader import load_float
from .analyzer.measures.sensitivity import check_mode
from .analyzer.network.graph import build_graph
from .analyzer.schema import (
    REPAIRS,
    SCHEMES,
)
from .auditing import audit
from .auditing_alone import audit_alone
from .checking import check
from .comparing import compare
from .diffing import diff
from .latency import measure_latency
from .opening import open_run
from .preparing import DEFAULT_SAMPLES, prepare
from .record import (
    Inputs,
    Options,
)  # fmt: skip
from .repairing import check_export, export_learned, parse_duration
from .session import DEFAULT_MODE, Reporter, Run, ignore, silent
from .strategies.ladder import check_steps
from .strategies.repair.ranges import check_method
from .strategies.request import Request
from .strategies.targets import load_target
from .studying import calibrate_study
from .vectors import export_vectors


def analyze(
    model: Any,
    calibration: Any = None,
    *,
    sensitivity: str = DEFAULT_MODE,
    left_float: bool = True,
    per_channel: bool = True,
    **options: Any,
) -> Run:
    """Sensitivities of a model: `prepare`'s arguments and those of `Run.analyze`."""
    check_mode(sensitivity)
    prepared = prepare(model, calibration, **options)
    return prepared.analyze(sensitivity=sensitivity, left_float=left_float, per_channel=per_channel)


def plan(run: Run | str | pathlib.Path, size_budget: str | int | None = None, **options: Any) -> Run:
    """Chooses schemes for an analyzed run or its folder; the arguments of `Run.plan`."""
    return _opened(run).plan(size_budget, **options)


def convert(run: Run | str | pathlib.Path) -> Run:
    """Makes and checks the `.tflite` of a planned run or its folder."""
    return _opened(run).convert()


def run(
    model: Any,
    calibration: Any = None,
    *,
    repair: bool = False,
    time_budget: str | float | None = None,
    **options: Any,
) -> Run:
    """The whole way: analyze, plan, convert, verify, and report where there is a folder.

    Args:
      model, calibration: As for `prepare`.
      repair, time_budget: Whether to repair the planned network, and how long that may take; see `Run.repair`.
      options: `prepare`'s arguments, those of `Run.analyze`, and the fields of `Request`.
    """
    wishes = {field.name: options.pop(field.name) for field in fields(Request) if field.name in options}
    request = Request(**wishes)
    parse_duration(time_budget)
    per_channel = load_target(request.target).per_channel
    planned = analyze(model, calibration, per_channel=per_channel, **options).plan(**wishes)
    result = (planned.repair(time_budget=time_budget) if repair else planned).convert().verify()
    return result.report() if result.folder else result


def repair(
    model: Any,
    calibration: Any = None,
    *,
    scheme: str = "",
    steps: Sequence[str] = (),
    time_budget: str | float | None = None,
    ranges: str = "auto",
    export_keras: str | pathlib.Path | None = None,
    **options: Any,
) -> Run:
    """Wins accuracy back without spending bits: analyze, plan, repair, convert, verify, report where there is a folder.

    Args:
      model, calibration: As for `prepare`.
      scheme: One for all ops that have it (`w8a8`, `w4a8`), or the path of a `plan.json`; "" for a plan within budgets.
      steps, time_budget, ranges: As for `Run.repair`.
      export_keras: Where to write the Keras model with the learned weights, as `.keras`; `model` must be one.
      options: `prepare`'s arguments, those of `Run.analyze`, and the fields of `Request`.
    """
    check_steps(steps or REPAIRS)
    parse_duration(time_budget)
    check_method(ranges)
    if export_keras is not None:
        check_export(model, export_keras)
    wishes = {field.name: options.pop(field.name) for field in fields(Request) if field.name in options}
    if scheme in SCHEMES:
        wishes |= {"strategy": "uniform", "allow": (scheme,), "size_budget": "none", "latency_budget": "none"}
    request = Request(**wishes)
    analyzed = analyze(model, calibration, per_channel=load_target(request.target).per_channel, **options)
    from_file = scheme and scheme not in SCHEMES
    planned = analyzed.with_plan_file(pathlib.Path(scheme)) if from_file else analyzed.plan(**wishes)
    repaired = planned.repair(steps, time_budget=time_budget, ranges=ranges)
    if export_keras is not None:
        export_learned(repaired, model, export_keras, trust_model=options.get("trust_model", False))
    result = repaired.convert().verify()
    return result.report() if result.folder else result


def inspect(
    model: Any, *, trust_model: bool = False, reporter: Reporter = silent, warn: Callable[[str], None] = ignore
) -> Run:
    """Reads a model and measures nothing: `graph` has every op, its kinds, costs and schemes."""
    reporter("Loading the model")(0, 1)
    loaded = load_float(model, trust_model=trust_model, warn=warn)
    options = Options(loaded.name, None, None)
    inputs = Inputs(options, loaded.declared_ranges, loaded.notes, {}, {}, ())
    return Run(loaded.flatbuffer, build_graph(loaded.flatbuffer), inputs)


DEMO_BUDGET = "300KB"
"""Of the demo: below int8 everywhere, so that some layers have to take 4 bits, and it matters which."""


def demo(
    *,
    out: str | pathlib.Path,
    size_budget: str | None = None,
    force: bool = False,
    workers: int | None = None,
    scheduler: str = "",
    reporter: Reporter = silent,
    warn: Callable[[str], None] = ignore,
    command: str = "",
) -> Run:
    """The whole way on the network and the data that come with Bitplan (Fashion-MNIST, MIT licence)."""
    folder = pathlib.Path(__file__).parent / "analyzer" / "demo"
    data = folder / "data.npz"
    return run(
        folder / "fashion_mobilenet.tflite",
        f"{data}:x_calibration,y_calibration",
        evaluation=f"{data}:x_eval,y_eval",
        scale="tf",
        size_budget=size_budget or DEMO_BUDGET,
        out=out,
        force=force,
        workers=workers,
        scheduler=scheduler,
        reporter=reporter,
        warn=warn,
        command=command,
    )


def cache(*, clear: bool = False, older_than: str = "") -> CacheContents:
    """What the user's cache of finished measurements holds.

    Args:
      clear: Remove it, but for what other processes are using.
      older_than: Remove only what was not used for so long, such as `30d`.

    Raises:
      UsageError: `older_than` is no age, or stands without `clear`.
    """
    age = parse_age(older_than) if older_than else 0.0
    if older_than and not clear:
        raise UsageError("--older-than says what to remove", "add --clear")
    return Cache().clear(age) if clear else Cache().contents()


def _opened(run: Run | str | pathlib.Path) -> Run:
    return run if isinstance(run, Run) else open_run(run)


__all__ = [
    "DEFAULT_SAMPLES", "Run", "analyze", "audit", "audit_alone", "cache", "calibrate_study", "check", "compare",
    "convert", "demo", "diff", "export_vectors", "inspect", "measure_latency", "open_run", "plan", "prepare", "repair",
    "run",
]  # fmt: skip

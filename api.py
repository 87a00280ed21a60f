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
from .analyzer.inputs.class_names import class_names
from .analyzer.inputs.dataset import (
    Samples,
    input_specs,
    random_samples,
)
from .analyzer.inputs.declaration import DataDeclaration
from .analyzer.inputs.functions import import_function
from .analyzer.inputs.loader import load_float
from .analyzer.inputs.preprocessing import resize_text
from .analyzer.measures.crew import Crew
from .analyzer.measures.per_sample import Metric
from .analyzer.measures.sensitivity import check_mode
from .analyzer.network.graph import build_graph
from .analyzer.runs import RunFolder
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
from .record import (
    Inputs,
    Options,
    as_classifier,
    data_warnings,
    judged_at_outputs,
)  # fmt: skip
from .repairing import check_export, export_learned, parse_duration
from .run_data import RANDOM_SAMPLES
from .session import DEFAULT_MODE, Reporter, Run, ignore, silent
from .strategies.ladder import check_steps
from .strategies.repair.ranges import check_method
from .strategies.request import Request
from .strategies.targets import load_target
from .studying import calibrate_study
from .vectors import export_vectors

DEFAULT_SAMPLES = 256


def prepare(
    model: Any,
    calibration: Any = None,
    *,
    evaluation: Any = None,
    calibration_samples: int = DEFAULT_SAMPLES,
    balanced: bool = False,
    resize: str | int | tuple[int, int] = "",
    scale: str = "raw",
    preprocess: str = "",
    metric: str | Metric | None = None,
    seed: int = 0,
    out: str | pathlib.Path | None = None,
    force: bool = False,
    trust_model: bool = False,
    compare_data: bool = True,
    workers: int | None = None,
    scheduler: str = "",
    reporter: Reporter = silent,
    warn: Callable[[str], None] = ignore,
    command: str = "",
) -> Run:
    """Brings model and data together, checks that they fit, and measures nothing yet.

    Args:
      model: Path of a `.tflite`, `.keras`, `.h5` or SavedModel, the bytes of a `.tflite`, or a `keras.Model`.
      calibration: DATA as on the command line, or arrays, a `tf.data.Dataset`, a `representative_dataset` callable;
        None makes random samples up, which every result then says.
      evaluation: The same, with labels where there are some; None leaves the file unjudged.
      calibration_samples: The first so many; `balanced` draws them evenly over the classes instead.
      resize, scale, preprocess: Declared preprocessing of both, see `DataDeclaration`.
      metric: `module:function`, or the function itself: per sample, higher is better.
      seed: Of draws, made-up data and the bootstrap.
      out: Run folder; None keeps everything in memory.
      force: Take a folder that holds something else.
      trust_model: Whether code inside a model file may run.
      compare_data: Whether to warn where calibration and evaluation data are unlike, or share samples.
      workers: Processes for the sweep, and threads for everything else; None takes threads for all of it.
      scheduler: Address of a Dask scheduler that the sweep's work goes to instead.
      reporter, warn: Take progress and warnings.
      command: As typed, for the record.
    """
    warnings: list[str] = []

    def note(message: str) -> None:
        if message not in warnings:
            warnings.append(message)
            warn(message)

    crew = Crew.of(workers, scheduler)
    if isinstance(metric, str) and metric:
        import_function(metric)  # a name that leads nowhere is better known now than after the calibration

    reporter("Loading the model")(0, 1)
    loaded = load_float(model, trust_model=trust_model, warn=note)
    graph = build_graph(loaded.flatbuffer)
    specs = input_specs(graph)

    def declare(data: Any, limit: int | None, even: bool) -> tuple[DataDeclaration | None, Samples | None]:
        if data is None:
            return None, None
        name = str(data) if isinstance(data, str | pathlib.Path) else ""
        declaration = DataDeclaration(name, _resize_text(resize), scale, preprocess, limit, even, seed)
        reporter(f"Reading {name or 'the data'}")(0, 1)
        return declaration, declaration.load(specs, note, None if name else data)

    calibration_declared, calibration_read = declare(calibration, calibration_samples, balanced)
    evaluation_declared, evaluation_read = declare(evaluation, None, False)
    used = calibration_read or random_samples(specs, RANDOM_SAMPLES, seed).in_content_order()
    if calibration_read is None:
        note("no calibration data was given: random values stand in, and every figure is about them")
    if evaluation_read is not None and compare_data:
        for message in data_warnings(used, evaluation_read):
            note(message)
    graph = as_classifier(judged_at_outputs(graph, metric), evaluation_read, calibration_read)
    beside = [pathlib.Path(model)] if isinstance(model, str | pathlib.Path) else []
    called = class_names((), graph, evaluation_read or calibration_read, beside, note)
    options = Options(
        model_name=loaded.name,
        calibration=calibration_declared,
        evaluation=evaluation_declared,
        metric=metric if isinstance(metric, str) else getattr(metric, "__qualname__", "") if metric else "",
        seed=seed,
        command=command,
    )
    inputs = Inputs(
        options=options,
        declared_ranges=loaded.declared_ranges,
        notes=loaded.notes,
        calibration=used.describe(),
        evaluation=evaluation_read.describe() if evaluation_read is not None else {},
        warnings=tuple(warnings),
        class_names=called,
    )
    folder = RunFolder.create(out, force, key=graph.digest) if out is not None else None
    run = Run(
        loaded.flatbuffer, graph, inputs, folder=folder, crew=crew, reporter=reporter, warn=note,
        calibration_object=None if isinstance(calibration, str | pathlib.Path) else calibration,
        calibration_data=calibration_read, evaluation_data=evaluation_read,
        metric_function=None if isinstance(metric, str) else metric,
    )  # fmt: skip
    if folder is not None:
        folder.write_bytes("float.tflite", loaded.flatbuffer)
        run.save_stage("inputs", inputs, "")
    return run


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


def _resize_text(size: str | int | tuple[int, int]) -> str:
    """A size as typed on the command line."""
    return size if isinstance(size, str) else resize_text((size, size) if isinstance(size, int) else size)


def _opened(run: Run | str | pathlib.Path) -> Run:
    return run if isinstance(run, Run) else open_run(run)


__all__ = [
    "DEFAULT_SAMPLES", "Run", "analyze", "audit", "audit_alone", "cache", "calibrate_study", "check", "compare",
    "convert", "demo", "diff", "export_vectors", "inspect", "measure_latency", "open_run", "plan", "prepare", "repair",
    "run",
]  # fmt: skip

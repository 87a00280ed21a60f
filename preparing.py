"""The first step of everything: a model and data are brought together."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from .analyzer.inputs.class_names import class_names
from .analyzer.inputs.dataset import Samples, input_specs, random_samples
from .analyzer.inputs.declaration import DataDeclaration
from .analyzer.inputs.functions import import_function
from .analyzer.inputs.loader import load_float
from .analyzer.inputs.preprocessing import resize_text
from .analyzer.measures.crew import Crew
from .analyzer.measures.per_sample import Metric
from .analyzer.network.graph import build_graph
from .analyzer.runs import RunFolder
from .record import Inputs, Options, as_classifier, data_warnings, judged_at_outputs
from .run_data import RANDOM_SAMPLES
from .session import Reporter, Run, ignore, silent

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


def _resize_text(size: str | int | tuple[int, int]) -> str:
    """A size as typed on the command line."""
    return size if isinstance(size, str) else resize_text((size, size) if isinstance(size, int) else size)

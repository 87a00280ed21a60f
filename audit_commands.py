"""The commands about files that are already quantized: what they lost, why, and whether that may ship."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated

import typer

from .commands import command_line, writing
from .options import (
    TARGETS,
    Balanced,
    CalibrationData,
    EvaluationData,
    Force,
    Json,
    MetricName,
    Model,
    OptionsOption,
    Out,
    Preprocess,
    Resize,
    Scale,
    Seed,
    TargetOption,
    Threads,
    TimeBudget,
    Trust,
)


class Kernels(enum.StrEnum):
    """LiteRT's sets of kernels."""

    xnnpack = "xnnpack"
    builtin = "builtin"
    reference = "reference"


SetMetricName = Annotated[
    str,
    typer.Option(
        "--set-metric",
        metavar="MODULE:FUNCTION",
        help="metric(outputs, targets) of all samples at once (mAP, F1), higher is better; resampled for its interval.",
    ),
]
Targets = Annotated[
    str | None,
    typer.Option(metavar="FILE.npz:ARRAY", help="What the set metric compares with, a row a sample; else the labels."),
]
FrameworkOutputs = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--reference",
        metavar="FILE.npz",
        help="The framework's own outputs for the evaluation data, in order: splits conversion from quantization.",
    ),
]
DeviceOutputs = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--device",
        metavar="FILE.npz",
        help="What a board answered to the vectors of `bitplan export-vectors`: is it what LiteRT answers?",
    ),
]
FileBudget = Annotated[
    str,
    typer.Option(
        "--size-budget",
        metavar="SIZE",
        help="Of the hybrid plan: 2.75MB, 310KiB or 3.2x (than float). Unless given: QUANTIZED's size + 3 %.",
    ),
]
ClassNames = Annotated[
    pathlib.Path | None,
    typer.Option(metavar="FILE", help="A class name a line; else the folders' names, or labels.txt beside a model."),
]


def register(app: typer.Typer) -> None:
    """Adds this module's commands to the program's, in the order in which the help lists them."""
    app.command(epilog="bitplan audit float.tflite int8.tflite --evaluation test.npz:x,y --scale tf --out audit")(audit)
    app.command(
        "export-vectors",
        epilog="bitplan export-vectors int8.tflite --evaluation test.npz:x,y --scale tf --samples 64 --out vectors",
    )(export_vectors)
    app.command(
        epilog="bitplan check out --max-drop 1pt --max-bytes 2.8MB\n\nbitplan check audit --max-metric-drop 0.01"
    )(check)


def audit(
    float_model: Annotated[str, typer.Argument(metavar="FLOAT", help="The float model; left out, QUANTIZED alone.")],
    quantized: Annotated[
        pathlib.Path | None, typer.Argument(metavar="QUANTIZED", help="The quantized .tflite, from any converter.")
    ] = None,
    evaluation: EvaluationData = None,
    calibration: CalibrationData = None,
    resize: Resize = "",
    scale: Scale = "raw",
    preprocess: Preprocess = "",
    metric: MetricName = "",
    set_metric: SetMetricName = "",
    targets: Targets = None,
    reference: FrameworkOutputs = None,
    device: DeviceOutputs = None,
    class_names: ClassNames = None,
    samples: Annotated[int, typer.Option(min=1, help="Take so many samples to find where the error comes from.")] = 256,
    options: OptionsOption = None,
    target: TargetOption = TARGETS[0],
    size_budget: FileBudget = "",
    time_budget: TimeBudget = "5m",
    seed: Seed = 0,
    out: Out = pathlib.Path("bitplan-audit"),
    force: Force = False,
    trust_model: Trust = False,
    workers: Threads = 2,
    as_json: Json = False,
) -> None:
    """Why did the accuracy drop? Compares a float model with an already quantized file."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console, writing(out, force):
        if quantized is None:
            console.inspection(api.audit_alone(float_model, out=out, force=force), out)
            return
        found = api.audit(
            float_model, quantized, evaluation=evaluation, calibration=calibration, resize=resize, scale=scale,
            preprocess=preprocess, metric=metric or None, set_metric=set_metric or None, targets=targets,
            reference=reference, device=device, class_names=class_names or (), samples=samples,
            what_to_do=options, target=target, size_budget=size_budget, time_budget=time_budget,
            seed=seed, out=out, force=force, trust_model=trust_model, workers=workers, command=command_line(),
            reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.audit(found, out)


def export_vectors(
    model: Model,
    evaluation: EvaluationData = None,
    samples: Annotated[int, typer.Option(min=1, help="Take so many samples, the first ones.")] = 64,
    balanced: Balanced = False,
    resize: Resize = "",
    scale: Scale = "raw",
    preprocess: Preprocess = "",
    kernels: Annotated[Kernels, typer.Option(help="With which LiteRT makes the outputs.")] = Kernels.xnnpack,
    seed: Seed = 0,
    out: Out = pathlib.Path("bitplan-vectors"),
    force: Force = False,
    trust_model: Trust = False,
    as_json: Json = False,
) -> None:
    """Writes golden inputs and outputs of a file for a board to replay; `audit --device` judges what it answers."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console, writing(out, force):
        found = api.export_vectors(
            model, evaluation=evaluation, samples=samples, balanced=balanced, resize=resize, scale=scale,
            preprocess=preprocess, kernels=kernels.value, seed=seed, out=out, force=force, trust_model=trust_model,
            reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.vectors(found, out)


def check(
    folder: Annotated[pathlib.Path, typer.Argument(help="The folder of a run or of an audit.")],
    max_drop: Annotated[str, typer.Option(metavar="POINTS", help="Largest drop, e.g. 1pt.")] = "",
    max_bytes: Annotated[str, typer.Option(metavar="SIZE", help="Largest file, e.g. 2.8MB.")] = "",
    max_metric_drop: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Largest drop of your metric, in its own unit.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Do the limits hold? Exits with 0 (they do), 1 (one does not) or 5 (too few samples to tell)."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console:
        found = api.check(folder, max_drop=max_drop, max_bytes=max_bytes, max_metric_drop=max_metric_drop)
        console.check(found)
    raise typer.Exit(found.exit_code)

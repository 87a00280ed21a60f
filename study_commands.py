"""The command of the calibration study."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from .analyzer.errors import UsageError
from .commands import command_line, names, writing
from .options import EvaluationData, Force, Json, Model, Out, Preprocess, Resize, Scale, Threads, Trust


def register(app: typer.Typer) -> None:
    """Adds this module's command to the program's."""
    app.command(
        "calibrate-study",
        epilog="bitplan calibrate-study model.tflite --calibration photos/ --evaluation test.npz:x,y --resize 96 "
        "--scale tf --out study",
    )(calibrate_study)


def calibrate_study(
    model: Model,
    calibration: Annotated[
        str, typer.Option("--calibration", metavar="DATA", help="What sets are drawn from; what follows is held back.")
    ],
    evaluation: EvaluationData = None,
    sizes: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Samples in a set, at most 1000.")
    ] = "10,30,100,300,1000",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Sets of each size.")] = 5,
    methods: Annotated[
        str, typer.Option(metavar="NAMES", help="Ways to choose a range from what a set has shown.")
    ] = "min_max,percentile,mse,kl",
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Draw sets evenly over the classes too, beside random ones.")
    ] = False,
    held_back: Annotated[int, typer.Option(min=1, help="Calibration samples to compare files on.")] = 256,
    evaluation_samples: Annotated[
        int | None, typer.Option(min=1, help="Show only so many evaluation samples; unless given, all.")
    ] = None,
    resize: Resize = "",
    scale: Scale = "raw",
    preprocess: Preprocess = "",
    out: Out = pathlib.Path("bitplan-study"),
    force: Force = False,
    trust_model: Trust = False,
    workers: Threads = 2,
    as_json: Json = False,
) -> None:
    """How many calibration samples, which ones, which ranges? Measures an int8 file of each."""
    from .studying import calibrate_study
    from .terminal import Console

    with Console(as_json) as console, writing(out, force):
        found = calibrate_study(
            model, calibration, evaluation=evaluation, sizes=_numbers(sizes), seeds=seeds, methods=names(methods),
            balanced=balanced, held_back=held_back, evaluation_samples=evaluation_samples, resize=resize, scale=scale,
            preprocess=preprocess, out=out, force=force, trust_model=trust_model, workers=workers,
            command=command_line(), reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.study(found, out)


def _numbers(text: str) -> tuple[int, ...]:
    found = names(text)
    if not all(name.isascii() and name.isdigit() for name in found):
        raise UsageError(f"the sizes {text!r} cannot be read", "write whole numbers: 10,30,100,300,1000")
    return tuple(int(name) for name in found)

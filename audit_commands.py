"""The commands about files that are already quantized: what they lost, why, and whether that may ship."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from .commands import command_line, writing
from .options import (
    CalibrationData,
    EvaluationData,
    Folder,
    Force,
    Json,
    Out,
    Preprocess,
    Resize,
    Scale,
    Seed,
    Threads,
    Trust,
)


def register(app: typer.Typer) -> None:
    """Adds this module's commands to the program's, in the order in which the help lists them."""
    app.command(epilog="bitplan audit float.tflite int8.tflite --evaluation test.npz:x,y --scale tf --out audit")(audit)
    app.command(epilog="bitplan check out --max-drop 1pt --max-bytes 2.8MB")(check)


def audit(
    float_model: Annotated[str, typer.Argument(metavar="FLOAT", help="The float model.")],
    quantized: Annotated[pathlib.Path, typer.Argument(help="The quantized .tflite, from any converter.")],
    evaluation: EvaluationData = None,
    calibration: CalibrationData = None,
    resize: Resize = "",
    scale: Scale = "raw",
    preprocess: Preprocess = "",
    samples: Annotated[int, typer.Option(min=1, help="Take so many samples to find where the error comes from.")] = 256,
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
        found = api.audit(
            float_model, quantized, evaluation=evaluation, calibration=calibration, resize=resize, scale=scale,
            preprocess=preprocess, samples=samples, seed=seed, out=out, force=force, trust_model=trust_model,
            workers=workers, command=command_line(), reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.audit(found, out)


def check(
    folder: Folder,
    max_drop: Annotated[str, typer.Option(metavar="POINTS", help="Largest drop, e.g. 1pt.")] = "",
    max_bytes: Annotated[str, typer.Option(metavar="SIZE", help="Largest file, e.g. 2.8MB.")] = "",
    as_json: Json = False,
) -> None:
    """Do the limits hold? Exits with 0 (they do), 1 (one does not) or 5 (too few samples to tell)."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console:
        found = api.check(folder, max_drop=max_drop, max_bytes=max_bytes)
        console.check(found)
    raise typer.Exit(found.exit_code)

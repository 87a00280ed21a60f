"""The command of the calibration study."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from .analyzer.errors import UsageError
from .commands import command_line, names, writing
from .options import EvaluationData, Force, Json, Preprocess, Resize, Scale, Threads, Trust

_OF_A_MODEL = ("calibration", "evaluation", "resize", "scale", "preprocess", "out", "force", "trust_model")
"""What a run has already."""


def register(app: typer.Typer) -> None:
    """Adds this module's command to the program's."""
    app.command(
        "calibrate-study",
        epilog="bitplan calibrate-study model.tflite --calibration photos/ --evaluation test.npz:x,y --resize 96 "
        "--scale tf --out study; bitplan calibrate-study out",
    )(calibrate_study)


def calibrate_study(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A model, or the folder of a run: its model and data; its page then shows the study.")
    ],
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", metavar="DATA", help="What sets are drawn from; what follows is held back."),
    ] = None,
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
    out: Annotated[
        pathlib.Path, typer.Option("--out", "-o", metavar="DIR", help="Where the study of a model is written.")
    ] = pathlib.Path("bitplan-study"),
    force: Force = False,
    trust_model: Trust = False,
    workers: Threads = 2,
    as_json: Json = False,
) -> None:
    """How many calibration samples, which ones, which ranges? Measures an int8 file of each."""
    from .analyzer.runs import RunFolder
    from .studying import calibrate_study, refuse_beside_a_run, run_folder
    from .terminal import Console

    run = run_folder(model)
    of_model: dict[str, Any] = {}
    if run is None:
        of_model = {
            "calibration": calibration, "evaluation": evaluation, "resize": resize, "scale": scale,
            "preprocess": preprocess, "out": out, "force": force, "trust_model": trust_model,
        }  # fmt: skip
    else:
        refuse_beside_a_run([f"--{name.replace('_', '-')}" for name in _OF_A_MODEL if _typed(context, name)])
    with Console(as_json) as console, writing(out, force) if run is None else RunFolder.open(run).lock():
        found = calibrate_study(
            model, sizes=_numbers(sizes), seeds=seeds, methods=names(methods), balanced=balanced, held_back=held_back,
            evaluation_samples=evaluation_samples, workers=workers, command=command_line(), reporter=console.reporter,
            warn=console.warn, **of_model,
        )  # fmt: skip
        console.close_progress()
        console.study(found, out if run is None else run)


def _typed(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _numbers(text: str) -> tuple[int, ...]:
    found = names(text)
    if not all(name.isascii() and name.isdigit() for name in found):
        raise UsageError(f"the sizes {text!r} cannot be read", "write whole numbers: 10,30,100,300,1000")
    return tuple(int(name) for name in found)

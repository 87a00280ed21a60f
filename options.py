"""The command line's options, each said once: its type, its name and its help."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated

import typer

from .analyzer.schema import DEFAULT_ALLOWED, RANGE_METHODS, REPAIRS
from .strategies.targets import DEFAULT_TARGET, shipped_targets


class Io(enum.StrEnum):
    """Type of the model's inputs and outputs."""

    float = "float"
    int8 = "int8"
    int16 = "int16"


class Strategy(enum.StrEnum):
    """Ways to choose."""

    milp = "milp"
    greedy = "greedy"
    threshold = "threshold"
    uniform = "uniform"


class Minimise(enum.StrEnum):
    """What a plan can have least of."""

    error = "error"
    size = "size"
    arena = "arena"
    latency = "latency"
    bops = "bops"


class Pareto(enum.StrEnum):
    """What a frontier can run along."""

    size = "size"
    arena = "arena"
    latency = "latency"
    bops = "bops"


class Sensitivity(enum.StrEnum):
    """Ways to find sensitivities."""

    refined = "refined"
    linear = "linear"
    exact = "exact"


_DATA = "FILE.npz:INPUT[,LABELS], a FOLDER of images (subfolder = class), module:function, or tfds:NAME/SPLIT."
Model = Annotated[str, typer.Argument(help="A .tflite, .keras or .h5 file, or a SavedModel folder.")]
Folder = Annotated[pathlib.Path, typer.Argument(help="The run folder of the stage before.")]
Folders = Annotated[
    list[pathlib.Path], typer.Argument(metavar="FOLDER...", help="The run folder; several are put side by side.")
]
ComparisonOut = Annotated[
    pathlib.Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Where the common page of several runs is written."),
]
Figures = Annotated[
    pathlib.Path | None, typer.Option(metavar="DIR", help="Also write every chart there, as SVG and PNG for slides.")
]
CalibrationData = Annotated[
    str | None, typer.Option("--calibration", metavar="DATA", help=f"What ranges and plan are chosen on. {_DATA}")
]
EvaluationData = Annotated[
    str | None, typer.Option("--evaluation", metavar="DATA", help="What judges the emitted file, once, at the end.")
]
SampleCount = Annotated[int, typer.Option("--calibration-samples", min=1, help="Take so many calibration samples.")]
Balanced = Annotated[bool, typer.Option("--balanced", help="Draw them evenly over the classes, not the first ones.")]
Resize = Annotated[str, typer.Option(metavar="SIZE", help="Resize images, bilinear: 96 or 96x128 (height x width).")]
Scale = Annotated[str, typer.Option(help="Scale of the values: tf (-1..1), torch (ImageNet), 0-1 or raw.")]
Preprocess = Annotated[str, typer.Option(metavar="MODULE:FUNCTION", help="Your own preprocessing of one sample.")]
MetricName = Annotated[
    str, typer.Option("--metric", metavar="MODULE:FUNCTION", help="metric(output, reference, label), higher is better.")
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--size-budget", metavar="SIZE", help="2.75MB, 310KiB, 3.2x (than float), or none. Unless given: int8 + 3 %."
    ),
]
ArenaBudget = Annotated[
    str, typer.Option("--arena-budget", metavar="SIZE", help="Peak activation memory, as LiteRT's planner lays it out.")
]
LatencyBudget = Annotated[
    str,
    typer.Option(
        "--latency-budget",
        metavar="TIME",
        help="1.3x (of int8 everywhere), 3.4ms (measured targets), or none. On a CPU 1.3x unless given.",
    ),
]
BopsBudget = Annotated[
    str, typer.Option("--bops-budget", metavar="COUNT", help="Multiply-accumulates x weight bits x activation bits.")
]
MaxDrop = Annotated[
    str,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        help="Largest loss of accuracy, e.g. 1pt; the size (--minimise) is then as small as can be.",
    ),
]
MinimiseOption = Annotated[
    Minimise | None, typer.Option("--minimise", help="Least of what; with --max-drop the size, else the error.")
]
ParetoOption = Annotated[
    Pareto | None, typer.Option("--pareto", help="Also the best plan for every size (or arena, latency, bops).")
]
VerifyPoints = Annotated[
    int, typer.Option("--verify-points", min=0, help="Convert and measure so many plans of the frontier.")
]
Allow = Annotated[
    str, typer.Option(metavar="SCHEMES", help="Comma-separated: w4a8, w4a16, w8a8, w8a16, w16a8, w16a16, float.")
]
DEFAULT_ALLOW = ",".join(DEFAULT_ALLOWED)
TARGETS = (DEFAULT_TARGET, *(name for name in shipped_targets() if name != DEFAULT_TARGET))
IoOption = Annotated[Io, typer.Option("--io", help="Type of the model's inputs and outputs.")]
TargetOption = Annotated[
    str, typer.Option("--target", metavar="NAME|FILE", help=f"Where it will run: {', '.join(TARGETS)}, or a .toml.")
]
StrategyOption = Annotated[Strategy, typer.Option("--strategy", help="How to choose.")]
Seed = Annotated[int, typer.Option(help="Of draws, made-up data and the bootstrap.")]
Out = Annotated[pathlib.Path, typer.Option("--out", "-o", metavar="DIR", help="The run folder.")]
Force = Annotated[bool, typer.Option("--force", help="Write into a folder that holds something else.")]
Trust = Annotated[bool, typer.Option("--trust-model", help="Let code inside the model file (Lambda layers) run.")]
Threads = Annotated[int, typer.Option("--workers", min=1, max=64, help="Threads.")]
Workers = Annotated[
    int | None, typer.Option(min=1, max=256, help="Sweep with so many processes; unless given, with 2 threads.")
]
Scheduler = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS", help="Sweep on a running Dask cluster, e.g. tcp://10.0.0.1:8786; bitplan\\[cluster]."
    ),
]
SensitivityOption = Annotated[
    Sensitivity,
    typer.Option(help="Estimate all and measure the worst (refined), only estimate (linear), or measure all (exact)."),
]
LeftFloat = Annotated[
    bool, typer.Option("--left-float/--no-left-float", help="Also measure the worst layers in float, the rest in int8.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
OptionsOption = Annotated[
    bool | None,
    typer.Option(
        "--options/--no-options",
        help="Make and measure other files: what to do about it. Unless given, where there is calibration data.",
    ),
]
RepairOption = Annotated[bool, typer.Option("--repair", help="Win accuracy back without spending bits; minutes.")]
DEFAULT_STEPS = ",".join(REPAIRS)
StepsOption = Annotated[str, typer.Option("--steps", metavar="NAMES", help="Repairs to try, comma-separated.")]
RangesOption = Annotated[
    str,
    typer.Option("--ranges", metavar="METHOD", help=f"How ranges are chosen: {', '.join(RANGE_METHODS)}."),
]
TimeBudget = Annotated[str, typer.Option("--time-budget", metavar="TIME", help="For all repairs: 15m, 90s, 1h.")]
ExportKeras = Annotated[
    pathlib.Path | None,
    typer.Option("--export-keras", metavar="FILE", help="Also the Keras model with the learned weights, as .keras."),
]
SchemeOption = Annotated[
    str, typer.Option("--scheme", metavar="NAME|FILE", help="One scheme for all ops (w8a8, w4a8), or a plan.json.")
]

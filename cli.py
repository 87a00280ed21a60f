"""The command line: each command parses, calls one function of `bitplan.api`, and prints.

Figures go to stdout, everything else (progress, warnings, errors) to stderr. With `--json` stdout is one JSON document.
Exit codes: 0 good; 1 a limit does not hold; 2 usage or unsupported input; 3 the emitted file differs from the plan;
5 undecided, too few samples.
"""

from __future__ import annotations

import contextlib
import enum
import json
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from .analyzer.errors import EXIT_OK, EXIT_USAGE, BitplanError
from .analyzer.schema import DEFAULT_ALLOWED

if TYPE_CHECKING:
    from .session import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds the layers that quantization hurts, and the precision for each of them that fits your size limit.\n\n"
    "Start with [bold]bitplan demo[/bold], then [bold]bitplan run MODEL --calibration DATA --evaluation DATA[/bold].",
    epilog="DATA: FILE.npz:INPUT[,LABELS] | FOLDER of images | module:function | tfds:NAME/SPLIT",
)


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


class Target(enum.StrEnum):
    """Where the model will run; only what every runtime of LiteRT has, for now."""

    any = "any"


class Sensitivity(enum.StrEnum):
    """Ways to find sensitivities."""

    refined = "refined"
    linear = "linear"
    exact = "exact"


_DATA = "FILE.npz:INPUT[,LABELS], a FOLDER of images (subfolder = class), module:function, or tfds:NAME/SPLIT."
Model = Annotated[str, typer.Argument(help="A .tflite, .keras or .h5 file, or a SavedModel folder.")]
Folder = Annotated[pathlib.Path, typer.Argument(help="The run folder of the stage before.")]
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
Allow = Annotated[
    str, typer.Option(metavar="SCHEMES", help="Comma-separated: w4a8, w4a16, w8a8, w8a16, w16a8, w16a16, float.")
]
DEFAULT_ALLOW = ",".join(DEFAULT_ALLOWED)
IoOption = Annotated[Io, typer.Option("--io", help="Type of the model's inputs and outputs.")]
TargetOption = Annotated[Target, typer.Option("--target", help="Where the model will run.")]
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


@app.command(
    epilog="bitplan run model.keras --calibration photos/ --evaluation test.npz:x,y --resize 96 --scale tf "
    "--size-budget 2.8MB --out out"
)
def run(
    model: Model,
    calibration: CalibrationData = None,
    evaluation: EvaluationData = None,
    calibration_samples: SampleCount = 256,
    balanced: Balanced = False,
    resize: Resize = "",
    scale: Scale = "raw",
    preprocess: Preprocess = "",
    metric: MetricName = "",
    size_budget: Budget = None,
    allow: Allow = DEFAULT_ALLOW,
    target: TargetOption = Target.any,
    io: IoOption = Io.float,
    strategy: StrategyOption = Strategy.milp,
    seed: Seed = 0,
    out: Out = pathlib.Path("bitplan-out"),
    force: Force = False,
    trust_model: Trust = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    sensitivity: SensitivityOption = Sensitivity.refined,
    left_float: LeftFloat = True,
    as_json: Json = False,
) -> None:
    """The whole way: measure every layer, choose a plan, convert, verify, report."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console, _writing(out, force):
        result = api.run(
            model, calibration, evaluation=evaluation, calibration_samples=calibration_samples, balanced=balanced,
            resize=resize, scale=scale, preprocess=preprocess, metric=metric or None, size_budget=size_budget,
            allow=_names(allow), io=io.value, strategy=strategy.value, seed=seed, out=out, force=force,
            trust_model=trust_model, workers=workers, scheduler=scheduler,
            sensitivity=sensitivity.value, left_float=left_float,
            command=_command(), reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.result(result, ("worst", "comparison", "answer", "files"))


@app.command(epilog="bitplan inspect model.tflite")
def inspect(model: Model, trust_model: Trust = False, as_json: Json = False) -> None:
    """Lists every op: layer, kind, weights, multiply-accumulates, activation bytes, and the schemes it can take."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console:
        found = api.inspect(model, trust_model=trust_model, reporter=console.reporter, warn=console.warn)
        console.close_progress()
        console.inventory(found)


@app.command(epilog="bitplan analyze model.tflite --calibration calib.npz:x --scale tf --out out")
def analyze(
    model: Model,
    calibration: CalibrationData = None,
    evaluation: EvaluationData = None,
    calibration_samples: SampleCount = 256,
    balanced: Balanced = False,
    resize: Resize = "",
    scale: Scale = "raw",
    preprocess: Preprocess = "",
    metric: MetricName = "",
    seed: Seed = 0,
    out: Out = pathlib.Path("bitplan-out"),
    force: Force = False,
    trust_model: Trust = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    sensitivity: SensitivityOption = Sensitivity.refined,
    left_float: LeftFloat = True,
    as_json: Json = False,
) -> None:
    """Calibrates and measures the sensitivity of every layer; a killed run goes on where it stopped."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console, _writing(out, force):
        result = api.analyze(
            model, calibration, evaluation=evaluation, calibration_samples=calibration_samples, balanced=balanced,
            resize=resize, scale=scale, preprocess=preprocess, metric=metric or None, seed=seed, out=out, force=force,
            trust_model=trust_model, workers=workers, scheduler=scheduler,
            sensitivity=sensitivity.value, left_float=left_float,
            command=_command(), reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.result(result, ("worst", "files"))


@app.command(epilog="bitplan plan out --size-budget 2.75MB --allow w8a8,w16a8")
def plan(
    folder: Folder,
    size_budget: Budget = None,
    allow: Allow = DEFAULT_ALLOW,
    target: TargetOption = Target.any,
    io: IoOption = Io.float,
    strategy: StrategyOption = Strategy.milp,
    as_json: Json = False,
) -> None:
    """Chooses a precision for every layer of an analyzed model, and writes plan.json, which you may edit."""
    _stage(as_json, folder, ("plan", "files"), with_plan=False, step=lambda r: r.plan(
        size_budget, allow=_names(allow), io=io.value, strategy=strategy.value))  # fmt: skip


@app.command(epilog="bitplan convert out --plan my-plan.json")
def convert(
    folder: Folder,
    plan: Annotated[pathlib.Path | None, typer.Option(help="Another plan.json, such as an edited one.")] = None,
    as_json: Json = False,
) -> None:
    """Makes model.tflite from plan.json and checks the type of every tensor in it."""
    _stage(as_json, folder, ("files",), lambda r: r.with_plan_file(plan).convert(), with_plan=plan is None)


@app.command(epilog="bitplan verify out --evaluation test.npz:x,y")
def verify(folder: Folder, evaluation: EvaluationData = None, as_json: Json = False) -> None:
    """Runs model.tflite and its baselines beside the float model."""
    _stage(as_json, folder, ("comparison", "answer", "files"), lambda r: r.convert().verify(evaluation))


@app.command(epilog="bitplan report out")
def report(folder: Folder, as_json: Json = False) -> None:
    """Writes report.html and report.json from whatever the run folder holds."""
    _stage(as_json, folder, ("answer", "files"), lambda r: r.report())


@app.command(epilog="bitplan audit float.tflite int8.tflite --evaluation test.npz:x,y --scale tf --out audit")
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

    with Console(as_json) as console, _writing(out, force):
        found = api.audit(
            float_model, quantized, evaluation=evaluation, calibration=calibration, resize=resize, scale=scale,
            preprocess=preprocess, samples=samples, seed=seed, out=out, force=force, trust_model=trust_model,
            workers=workers, command=_command(), reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.audit(found, out)


@app.command(epilog="bitplan check out --max-drop 1pt --max-bytes 2.8MB")
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


@app.command(epilog="bitplan demo --out demo")
def demo(
    out: Out = pathlib.Path("bitplan-demo"),
    size_budget: Budget = None,
    force: Force = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    as_json: Json = False,
) -> None:
    """Runs everything on a small network and data that come with Bitplan; under two minutes."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console, _writing(out, force):
        result = api.demo(
            out=out, size_budget=size_budget, force=force, workers=workers, scheduler=scheduler, command=_command(),
            reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.result(result, ("worst", "comparison", "answer", "files"))


@app.command(epilog="bitplan cache --clear --older-than 30d")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove the results, but for those in use.")] = False,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Remove only what was not used for so long: 30d, 12h, 2w.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Shows the results that are kept for later runs, or clears them: $BITPLAN_CACHE, at most 2 GB, oldest go first."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console:
        console.cache(api.cache(clear=clear, older_than=older_than))


def main() -> None:
    """Entry point: errors of the user's become two lines and an exit code; with `--json`, a document as well."""
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=not as_json)
    except BitplanError as error:
        if as_json:
            _print_error(error.problem, error.remedy, error.exit_code)
        print(f"bitplan: {error.problem}\n  {error.remedy}", file=sys.stderr)
        sys.exit(error.exit_code)
    except typer.TyperException as error:  # only with --json: else typer shows it and exits by itself
        code = getattr(error, "exit_code", EXIT_USAGE)
        problem = getattr(error, "format_message", lambda: "")() or "there is no command"
        _print_error(problem, "see bitplan --help", code)
        print(f"bitplan: {problem}", file=sys.stderr)
    except (KeyboardInterrupt, typer.Abort):
        print("bitplan: stopped; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or EXIT_OK)


def _print_error(problem: str, remedy: str, exit_code: int) -> None:
    print(json.dumps({"error": problem, "remedy": remedy, "exit_code": exit_code}))


def _stage(
    as_json: bool, folder: pathlib.Path, parts: tuple[str, ...], step: Callable[[Run], Run], *, with_plan: bool = True
) -> None:
    """A command that reads a run folder, takes one step, and prints."""
    from . import api
    from .analyzer.runs import RunFolder
    from .terminal import Console

    with Console(as_json) as console, RunFolder.open(folder).lock():
        opened = api.open_run(folder, with_plan=with_plan, reporter=console.reporter, warn=console.warn)
        result = step(opened)
        console.close_progress()
        console.result(result, parts)


@contextlib.contextmanager
def _writing(out: pathlib.Path, force: bool) -> Iterator[None]:
    """Keeps other processes out of the run folder; one that holds something else is refused before any work."""
    from .analyzer.runs import RunFolder

    with RunFolder.create(out, force).lock():
        yield


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _command() -> str:
    return shlex.join(["bitplan", *sys.argv[1:]])

"""The command line: each command parses, calls one function of `bitplan.api`, and prints.

Figures go to stdout, everything else (progress, warnings, errors) to stderr. With `--json` stdout is one JSON document.
Exit codes: 0 good; 1 a limit does not hold; 2 usage or unsupported input; 3 the emitted file differs from the plan;
5 undecided, too few samples.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Annotated

import typer

from . import audit_commands, study_commands
from .analyzer.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, BitplanError, UsageError
from .commands import command_line, exit_with_answer, names, side_by_side, stage, writing
from .options import (
    DEFAULT_ALLOW,
    DEFAULT_STEPS,
    TARGETS,
    Allow,
    ArenaBudget,
    Balanced,
    BopsBudget,
    Budget,
    CalibrationData,
    ComparisonOut,
    EvaluationData,
    ExportKeras,
    Figures,
    Folder,
    Folders,
    Force,
    Io,
    IoOption,
    Json,
    LatencyBudget,
    LeftFloat,
    MaxDrop,
    MetricName,
    MinimiseOption,
    Model,
    Out,
    ParetoOption,
    Preprocess,
    RangesOption,
    RepairOption,
    Resize,
    SampleCount,
    Scale,
    Scheduler,
    SchemeOption,
    Seed,
    Sensitivity,
    SensitivityOption,
    StepsOption,
    Strategy,
    StrategyOption,
    TargetOption,
    TimeBudget,
    Trust,
    VerifyPoints,
    Workers,
)

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


@app.command(
    epilog="bitplan run model.keras --calibration photos/ --evaluation test.npz:x,y --resize 96 --scale tf "
    "--target litert-cpu --size-budget 2.8MB --out out"
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
    arena_budget: ArenaBudget = "",
    latency_budget: LatencyBudget = "",
    bops_budget: BopsBudget = "",
    max_drop: MaxDrop = "",
    minimise: MinimiseOption = None,
    target: TargetOption = TARGETS[0],
    io: IoOption = Io.float,
    strategy: StrategyOption = Strategy.milp,
    pareto: ParetoOption = None,
    verify_points: VerifyPoints = 0,
    repair: RepairOption = False,
    time_budget: TimeBudget = "",
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

    with Console(as_json) as console, writing(out, force):
        result = api.run(
            model, calibration, evaluation=evaluation, calibration_samples=calibration_samples, balanced=balanced,
            resize=resize, scale=scale, preprocess=preprocess, metric=metric or None, size_budget=size_budget,
            arena_budget=arena_budget, latency_budget=latency_budget, bops_budget=bops_budget, max_drop=max_drop,
            minimise=minimise or "", allow=names(allow), target=target, io=io.value, strategy=strategy.value,
            pareto=pareto or "", verify_points=verify_points, repair=repair, time_budget=time_budget, seed=seed,
            out=out, force=force, trust_model=trust_model, workers=workers, scheduler=scheduler,
            sensitivity=sensitivity.value, left_float=left_float,
            command=command_line(), reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.result(result, ("worst", "plan", "repair", "comparison", "answer", "files"))
    exit_with_answer(result)


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

    with Console(as_json) as console, writing(out, force):
        result = api.analyze(
            model, calibration, evaluation=evaluation, calibration_samples=calibration_samples, balanced=balanced,
            resize=resize, scale=scale, preprocess=preprocess, metric=metric or None, seed=seed, out=out, force=force,
            trust_model=trust_model, workers=workers, scheduler=scheduler,
            sensitivity=sensitivity.value, left_float=left_float,
            command=command_line(), reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.result(result, ("worst", "files"))


@app.command(epilog="bitplan plan out --size-budget 2.75MB --target ethos-u55 --pareto size --verify-points 4")
def plan(
    folder: Folder,
    size_budget: Budget = None,
    allow: Allow = DEFAULT_ALLOW,
    arena_budget: ArenaBudget = "",
    latency_budget: LatencyBudget = "",
    bops_budget: BopsBudget = "",
    max_drop: MaxDrop = "",
    minimise: MinimiseOption = None,
    target: TargetOption = TARGETS[0],
    io: IoOption = Io.float,
    strategy: StrategyOption = Strategy.milp,
    pareto: ParetoOption = None,
    verify_points: VerifyPoints = 0,
    as_json: Json = False,
) -> None:
    """Chooses a precision for every layer of an analyzed model, and writes plan.json, which you may edit."""
    result = stage(as_json, folder, ("plan", "files"), with_plan=False, step=lambda r: r.plan(
        size_budget, arena_budget=arena_budget, latency_budget=latency_budget, bops_budget=bops_budget,
        max_drop=max_drop, minimise=minimise or "", allow=names(allow), target=target, io=io.value,
        strategy=strategy.value, pareto=pareto or "", verify_points=verify_points))  # fmt: skip
    exit_with_answer(result)


@app.command(
    epilog="bitplan repair model.keras --calibration photos/ --evaluation test.npz:x,y --resize 96 --scale tf "
    "--scheme w4a8 --time-budget 15m --out repaired"
)
def repair(
    model: Model,
    calibration: CalibrationData = None,
    evaluation: EvaluationData = None,
    calibration_samples: SampleCount = 256,
    balanced: Balanced = False,
    resize: Resize = "",
    scale: Scale = "raw",
    preprocess: Preprocess = "",
    metric: MetricName = "",
    scheme: SchemeOption = "",
    size_budget: Budget = None,
    arena_budget: ArenaBudget = "",
    latency_budget: LatencyBudget = "",
    allow: Allow = DEFAULT_ALLOW,
    target: TargetOption = TARGETS[0],
    io: IoOption = Io.float,
    steps: StepsOption = DEFAULT_STEPS,
    ranges: RangesOption = "auto",
    time_budget: TimeBudget = "15m",
    export_keras: ExportKeras = None,
    seed: Seed = 0,
    out: Out = pathlib.Path("bitplan-out"),
    force: Force = False,
    trust_model: Trust = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Wins accuracy back without spending bits: repairs the planned network, without labels, and makes its file."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console, writing(out, force):
        result = api.repair(
            model, calibration, evaluation=evaluation, calibration_samples=calibration_samples, balanced=balanced,
            resize=resize, scale=scale, preprocess=preprocess, metric=metric or None, scheme=scheme,
            size_budget=size_budget, arena_budget=arena_budget, latency_budget=latency_budget, allow=names(allow),
            target=target, io=io.value, steps=names(steps), ranges=ranges, time_budget=time_budget,
            export_keras=export_keras, seed=seed, out=out, force=force, trust_model=trust_model, workers=workers,
            left_float=False, command=command_line(), reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.result(result, ("plan", "repair", "comparison", "answer", "files"))


@app.command(epilog="bitplan convert out --plan my-plan.json")
def convert(
    folder: Folder,
    plan: Annotated[pathlib.Path | None, typer.Option(help="Another plan.json, such as an edited one.")] = None,
    as_json: Json = False,
) -> None:
    """Makes model.tflite from plan.json and checks the type of every tensor in it."""
    stage(as_json, folder, ("files",), lambda r: r.with_plan_file(plan).convert(), with_plan=plan is None)


@app.command(epilog="bitplan verify out --evaluation test.npz:x,y")
def verify(folder: Folder, evaluation: EvaluationData = None, as_json: Json = False) -> None:
    """Runs model.tflite and its baselines beside the float model."""
    stage(as_json, folder, ("comparison", "answer", "files"), lambda r: r.convert().verify(evaluation))


@app.command(epilog="bitplan report out --figures slides; bitplan report before after --out compared")
def report(folders: Folders, out: ComparisonOut = None, figures: Figures = None, as_json: Json = False) -> None:
    """Writes report.html and report.json from whatever the run folder holds; puts several runs side by side."""
    if len(folders) > 1:
        side_by_side(as_json, folders, out, figures)
        return
    if out is not None:
        raise UsageError("--out is for several runs", f"leave it out: the report goes into {folders[0]}")
    stage(as_json, folders[0], ("answer", "files"), lambda r: r.report(figures))


audit_commands.register(app)
study_commands.register(app)


@app.command(epilog="bitplan diff out-1 out-2")
def diff(
    before: Annotated[pathlib.Path, typer.Argument(help="A run folder, or a plan.json.")],
    after: Annotated[pathlib.Path, typer.Argument(help="Another, of the same network, retrained or not.")],
    as_json: Json = False,
) -> None:
    """What changed between two plans or two runs: ops, bytes, memory, error, and accuracy where it was measured."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console:
        console.diff(api.diff(before, after))


@app.command(epilog="bitplan measure-latency model.tflite --out cpu.toml")
def measure_latency(
    model: Model,
    out: Annotated[
        pathlib.Path, typer.Option("--out", "-o", metavar="FILE", help="The table, for --target of plan and run.")
    ] = pathlib.Path("latency.toml"),
    base: Annotated[
        str, typer.Option(metavar="TARGET", help="Time the schemes of this target, a name or a .toml file.")
    ] = "litert-cpu",
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads that a kernel may use.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="To spend on each op and scheme.")] = 0.05,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    trust_model: Trust = False,
    as_json: Json = False,
) -> None:
    """Times every op in every scheme on this machine, without data, and writes a target to plan with."""
    from . import api
    from .terminal import Console

    with Console(as_json) as console:
        found = api.measure_latency(
            model, out=out, base=base, threads=threads, seconds=seconds, force=force, trust_model=trust_model,
            reporter=console.reporter, warn=console.warn,
        )  # fmt: skip
        console.close_progress()
        console.latencies(found)


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

    with Console(as_json) as console, writing(out, force):
        result = api.demo(
            out=out, size_budget=size_budget, force=force, workers=workers, scheduler=scheduler, command=command_line(),
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
        code = EXIT_INTERRUPTED
    except SystemExit as ended:  # how typer ends, also where somebody pressed Ctrl-C
        code = ended.code
    if code == EXIT_INTERRUPTED:
        print("bitplan: stopped; the same command goes on where it stopped", file=sys.stderr)
    sys.exit(code or EXIT_OK)


def _print_error(problem: str, remedy: str, exit_code: int) -> None:
    print(json.dumps({"error": problem, "remedy": remedy, "exit_code": exit_code}))

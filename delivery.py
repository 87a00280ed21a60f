"""What leaves a run: its folder with every result in it, and the report."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .analyzer.errors import RunFolderError, UsageError
from .analyzer.files import atomic_write
from .analyzer.runs import RunFolder
from .analyzer.schema import Format, Plan, Provenance, Results, Study
from .analyzer.serialize import dumps
from .record import AFTER_ANALYSIS, NODE_DATA, study_key, versions
from .repairing import save_repair
from .session import Reporter, Run
from .strategies.targets import ANY_TARGET, to_toml

if TYPE_CHECKING:
    from .reports.chart_parts import Chart


def save(run: Run, folder: str | pathlib.Path, *, force: bool) -> Run:
    """See `Run.save`."""
    study = study_of(run)
    target = RunFolder.create(folder, force, key=run.graph.digest)
    target.discard("calibration.json", "sensitivity.json", "study.json", *AFTER_ANALYSIS)
    run = replace(run, folder=target)
    run.save_stage("inputs", run.inputs, "")
    target.write_bytes("float.tflite", run.flatbuffer)
    for stage, value in (("calibration", run.calibration), ("sensitivity", run.sensitivity), ("plan", run.plan_)):
        if value is not None:
            run.save_stage(stage, value, "")
    if study is not None:
        run.save_stage("study", study, study_key(run.graph, run.inputs))
    if run.planning is not None:
        run.save_stage("planning", run.planning, "")
    if run.repair_ is not None and run.network is not None:
        save_repair(run, run.repair_, run.network)
    if run.target is not None:
        target.write_bytes("target.toml", to_toml(run.target).encode())
    if run.plan_ is not None:
        run = run.convert()
        if run.verification is None:
            run = run.verify()
        else:
            run.save_stage("verification", run.verification, "")
    write_report(run)
    return run


def write_report(run: Run, figures: str | pathlib.Path | None = None) -> None:
    """Writes the report into the run's folder: the page, and the same for other programs.

    `report.html`, `report.md`, `report.json`, `sensitivity.csv`, and node data for Model Explorer.

    Args:
      run: Of any stage.
      figures: Folder for the page's charts as SVG and PNG; None draws none.
    """
    from .reports.export import report_json, sensitivity_csv
    from .reports.html import render
    from .reports.model_explorer import node_data
    from .reports.summary import markdown_summary

    if run.folder is None:
        raise UsageError("a report needs a folder", "use save(folder)")
    results = results_of(run)
    if results.study is None and run.folder.has("study"):
        run.warn(
            "the calibration study in the folder is one of another network or of other data, and is not shown; "
            f"make it again with `bitplan calibrate-study {run.folder.path}`"
        )
    run.folder.write_bytes("report.json", dumps(report_json(results)).encode())
    run.folder.write_bytes("report.html", render(results).encode())
    run.folder.write_bytes("report.md", markdown_summary(results).encode())
    if results.sensitivity is not None:
        run.folder.write_bytes("sensitivity.csv", sensitivity_csv(results).encode())
    for name, document in node_data(results).items():
        run.folder.write_bytes(NODE_DATA[name], dumps(document).encode())
    if figures is not None:
        from .reports.charts import build_charts

        write_figures(build_charts(results), run.inputs.options.model_name or "model", figures, run.reporter)


def write_figures(
    charts: Sequence[Chart], subject: str, folder: str | pathlib.Path, reporter: Reporter
) -> tuple[pathlib.Path, ...]:
    """Writes charts as SVG and PNG; answers their paths.

    Args:
      charts: Of a page.
      subject: What they are charts of, for their titles.
      folder: Made where it is missing; other files in it stay.
      reporter: Takes progress.

    Raises:
      RunFolderError: The file system refuses.
    """
    from .reports.figures import draw_figures

    target = make_folder(folder, "--figures")
    update, total = reporter("Drawing figures"), sum(len(chart.specs) for chart in charts)
    written = []
    for done, figure in enumerate(draw_figures(charts, subject), 1):
        for suffix, data in (("svg", figure.svg.encode()), ("png", figure.png)):
            written.append(target / f"{figure.name}.{suffix}")
            atomic_write(written[-1], data)
        update(done, total)
    return tuple(written)


def make_folder(path: str | pathlib.Path, option: str) -> pathlib.Path:
    """A folder that is there, made where it was missing; `option` is what named it.

    Raises:
      RunFolderError: The file system refuses.
    """
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"cannot make the folder {folder}: {error.strerror}", f"choose another {option}"
        ) from error
    return folder


def results_of(run: Run) -> Results:
    """What a report shows."""
    from .analyzer.measures.weights import weight_profiles

    options = run.inputs.options
    return Results(
        provenance=Provenance(
            command=options.command,
            seed=options.seed,
            versions=versions(),
            model_name=options.model_name,
            model_digest=run.graph.digest,
            calibration=run.inputs.calibration,
            evaluation=run.inputs.evaluation,
            warnings=run.inputs.warnings,
            measured=run.measured,
        ),
        graph=run.graph,
        calibration=run.calibration,
        sensitivity=run.sensitivity,
        plan=run.plan_,
        planning=run.planning,
        repair=run.repair_,
        verification=run.verification,
        notes=(*run.inputs.notes, *_plan_notes(run)),
        weights=weight_profiles(run.flatbuffer, run.graph),
        emitted_ranges=run.network.calibration if run.network is not None else None,
        study=study_of(run),
    )


def study_of(run: Run) -> Study | None:
    """The calibration study that lies in the run's folder; None where it is one of another network or of other data."""
    return run.folder.load("study", Study, study_key(run.graph, run.inputs)) if run.folder else None


def _plan_notes(run: Run) -> tuple[str, ...]:
    if run.plan_ is None:
        return ()
    return (*_outside_of_what_is_allowed(run.plan_), *_slow_on_a_cpu(run, run.plan_))


def _outside_of_what_is_allowed(plan: Plan) -> tuple[str, ...]:
    others = [a for a in plan.assignments if a.scheme not in plan.allowed]
    if not others:
        return ()
    named = ", ".join(f"{a.layer} ({a.scheme})" for a in others[:5]) + (" ..." if len(others) > 5 else "")
    count = "1 op has" if len(others) == 1 else f"{len(others)} ops have"
    return (f"{count} none of the allowed schemes ({', '.join(plan.allowed)}): {named}.",)


def _slow_on_a_cpu(run: Run, plan: Plan) -> tuple[str, ...]:
    slow = sum(
        1 for op, scheme in zip(run.graph.ops, plan.schemes, strict=True) if scheme.format is Format.INT16 and op.macs
    )
    if not slow or plan.target != ANY_TARGET:
        return ()
    layers = "layer runs" if slow == 1 else "layers run"
    return (
        f"{slow} {layers} with int16 activations. On a CPU, LiteRT has only reference kernels for them, tens of "
        "times slower than int8; where the model runs on a CPU, plan with --target litert-cpu.",
    )

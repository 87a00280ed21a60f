"""What leaves a run: its folder with every result in it, and the report."""

from __future__ import annotations

import pathlib
from dataclasses import replace

from .analyzer.errors import UsageError
from .analyzer.runs import RunFolder
from .analyzer.schema import Format, Plan, Provenance, Results
from .analyzer.serialize import dumps
from .record import AFTER_ANALYSIS, versions
from .repairing import save_repair
from .session import Run
from .strategies.targets import ANY_TARGET, to_toml


def save(run: Run, folder: str | pathlib.Path, *, force: bool) -> Run:
    """See `Run.save`."""
    target = RunFolder.create(folder, force, key=run.graph.digest)
    target.discard("calibration.json", "sensitivity.json", *AFTER_ANALYSIS)
    run = replace(run, folder=target)
    run.save_stage("inputs", run.inputs, "")
    target.write_bytes("float.tflite", run.flatbuffer)
    for stage, value in (("calibration", run.calibration), ("sensitivity", run.sensitivity), ("plan", run.plan_)):
        if value is not None:
            run.save_stage(stage, value, "")
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


def write_report(run: Run) -> None:
    """Writes `report.json`, `report.html` and `report.md` into the run's folder."""
    from .reports.export import report_json
    from .reports.html import render
    from .reports.summary import markdown_summary

    if run.folder is None:
        raise UsageError("a report needs a folder", "use save(folder)")
    results = results_of(run)
    run.folder.write_bytes("report.json", dumps(report_json(results)).encode())
    run.folder.write_bytes("report.html", render(results).encode())
    run.folder.write_bytes("report.md", markdown_summary(results).encode())


def results_of(run: Run) -> Results:
    """What a report shows."""
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
    )


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

"""The first stage of a run: calibration, then the sensitivity of every layer."""

from __future__ import annotations

from dataclasses import replace

from .analyzer.conversion.counterfactual import measure_left_float
from .analyzer.inputs.dataset import Samples
from .analyzer.measures import linear, sensitivity
from .analyzer.measures.calibration import calibrate, with_per_tensor_sums
from .analyzer.runs import content_key
from .analyzer.schema import Calibration, SensitivityTable
from .analyzer.serialize import dumps
from .record import AFTER_ANALYSIS, versions_key
from .run_data import calibration_samples
from .session import Run


def analyze(run: Run, mode: str, *, left_float: bool, per_channel: bool = True) -> Run:
    """See `Run.analyze`; `per_channel` says whether weights get a scale for each channel, or one for the tensor."""
    samples = calibration_samples(run)
    run, calibration, calibrated = _calibrated(run, samples)
    if not per_channel:
        run, calibration = _with_per_tensor_sums(run, samples, calibration, calibrated)
    swept = (sensitivity.VERSION, linear.VERSION, mode, left_float, per_channel)
    key = content_key("sensitivity", swept, calibrated, samples.labels_digest or "", run.context())
    found = run.load_stage("sensitivity", SensitivityTable, key)
    if found is not None:
        return replace(run, sensitivity=found)
    run, table = _swept(run, samples, calibration, mode, per_channel)
    if left_float:
        run, table = _with_left_float(run, samples, calibration, table)
    run = replace(run, sensitivity=table, plan_=None, planning=None, model=None, verification=None)
    if run.folder:
        run.folder.discard(*AFTER_ANALYSIS)
    run.save_stage("sensitivity", table, key)
    return run


def _calibrated(run: Run, samples: Samples) -> tuple[Run, Calibration, str]:
    declared = {name: tuple(bounds) for name, bounds in run.inputs.declared_ranges.items()}
    key = content_key("calibration", versions_key(), run.graph.digest, samples.digest, dumps(declared))
    found = run.folder.load("calibration", Calibration, key) if run.folder else None
    if found is not None:
        return replace(run, calibration=found), found, key
    with run.timed("calibration_s") as measured:
        calibration = calibrate(
            run.flatbuffer, run.graph, samples, declared=run.inputs.declared_ranges,
            random=samples.random, workers=run.workers, progress=run.reporter("Calibrating"),
        )  # fmt: skip
    run = replace(run, calibration=calibration, measured=measured())
    run.save_stage("calibration", calibration, key)
    return run, calibration, key


def _with_per_tensor_sums(
    run: Run, samples: Samples, calibration: Calibration, key: str
) -> tuple[Run, Calibration]:  # fmt: skip
    """The calibration with what weights that share one scale need beside it; kept in its place."""
    if calibration.per_tensor_sums:
        return run, calibration
    progress = run.reporter("Calibrating weights with one scale")
    more = with_per_tensor_sums(
        run.flatbuffer, run.graph, calibration, samples, workers=run.workers, progress=progress
    )  # fmt: skip
    run.save_stage("calibration", more, key)
    return replace(run, calibration=more), more


def _swept(
    run: Run, samples: Samples, calibration: Calibration, mode: str, per_channel: bool
) -> tuple[Run, SensitivityTable]:
    known = run.sensitivity
    if known is not None and (known.mode, known.data_digest) != (mode, samples.digest):
        known = None
    with run.timed("sweep_s") as measured, run.units() as store:
        table = sensitivity.measure_sensitivity(
            run.flatbuffer, run.graph, calibration, samples, mode=mode, per_channel=per_channel, known=known,
            metric=run.metric(), context=run.context(), store=store, crew=run.crew,
            estimating=run.reporter("Estimating each layer's sensitivity"),
            progress=run.reporter("Measuring sensitivities"),
        )  # fmt: skip
    if table.not_differentiable:
        run.warn(
            f"no gradient is known for {', '.join(table.not_differentiable)}: every layer was measured exactly,"
            " which takes longer"
        )
    return replace(run, measured=measured()), table


def _with_left_float(
    run: Run, samples: Samples, calibration: Calibration, table: SensitivityTable
) -> tuple[Run, SensitivityTable]:
    """The other direction, of every op with a source that was measured exactly."""
    exact = {m.source.op for m in table.measurements if m.method == "exact" and m.source.op is not None}
    with run.timed("left_float_s") as measured, run.units() as store:
        int8, left = measure_left_float(
            run.flatbuffer, run.graph, calibration, samples, ops=sorted(exact), context=run.context(),
            per_channel=table.per_channel, store=store, workers=run.workers,
            progress=run.reporter("Leaving single layers in float"),
        )  # fmt: skip
    return replace(run, measured=measured()), replace(table, int8=int8, left_float=left)

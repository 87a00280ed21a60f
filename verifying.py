"""The last stage of a run: the emitted file on the evaluation samples, beside the float model and its baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .analyzer.errors import RunFolderError
from .analyzer.inputs.samples import Samples
from .analyzer.runs import content_key
from .analyzer.schema import Verification
from .run_data import calibration_samples, evaluation_samples, with_evaluation
from .session import Run
from .strategies.judgement import judge, times_on_this_machine

_VERSION = "verification-2"
"""Part of the key: raise it when a verification comes to hold more than it did."""


def verify(run: Run, evaluation: Any = None) -> Run:
    """See `Run.verify`."""
    if run.model is None or run.plan_ is None or run.calibration is None:
        raise RunFolderError("there is no emitted file", "run `bitplan convert` first")
    declared = run.inputs.options.evaluation
    gone = declared is not None and not declared.data and run.evaluation_data is None
    if evaluation is None and gone and run.verification is not None:
        return run  # the data was a Python object of another process, which judged this very file
    run = run if evaluation is None else with_evaluation(run, evaluation)
    assert run.model is not None and run.plan_ is not None and run.calibration is not None
    samples = evaluation_samples(run)
    on_calibration = samples is None
    samples = calibration_samples(run) if samples is None else samples
    names = run.inputs.class_names
    key = content_key(
        _VERSION, run.context(), run.plan_key(), run.model, samples.digest, samples.labels_digest or "",
        on_calibration, run.inputs.options.seed, _called(samples), names,
    )  # fmt: skip
    found = run.load_stage("verification", Verification, key)
    if found is not None:
        return replace(run, verification=found)
    with run.timed("verify_s") as measured:
        verification = judge(
            run.flatbuffer, run.graph, run.calibration, run.plan_, run.model, samples, on_calibration=on_calibration,
            class_names=names, repaired=run.network is not None, target=run.target, metric=run.metric(),
            seed=run.inputs.options.seed, workers=run.workers, warn=run.warn,
            progress=run.reporter("Running the emitted file and its baselines"),
        )  # fmt: skip
    times = times_on_this_machine(
        run.flatbuffer, run.graph, run.calibration, run.plan_, run.model, run.target
    )  # fmt: skip
    run = replace(run, verification=verification, measured={**measured(), **times})
    run.save_stage("verification", verification, key)
    return run


def _called(samples: Samples) -> str:
    """Key of what the samples are called, in the order of their content: digests know neither names nor places."""
    return content_key([samples.origin(index) for index in range(len(samples))])

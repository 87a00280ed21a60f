"""The samples of a run: what it was given, or what its declarations bring again."""

from __future__ import annotations

import pathlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .analyzer.inputs.dataset import Samples, input_specs, random_samples
from .analyzer.inputs.declaration import DataDeclaration
from .record import as_classifier, data_warnings

if TYPE_CHECKING:
    from .session import Run

RANDOM_SAMPLES = 32
"""Made-up samples where no calibration data is given: enough for ranges, and they mean nothing more."""


def calibration_samples(run: Run) -> Samples:
    """In content order; made up where none were given."""
    declaration = run.inputs.options.calibration
    if declaration is None:
        return random_samples(input_specs(run.graph), RANDOM_SAMPLES, run.inputs.options.seed).in_content_order()
    if isinstance(run.calibration_data, Samples):
        return run.calibration_data
    return declaration.load(input_specs(run.graph), run.warn, run.calibration_data)


def evaluation_samples(run: Run) -> Samples | None:
    """In content order; None where none were given."""
    declaration = run.inputs.options.evaluation
    if declaration is None:
        return None
    if isinstance(run.evaluation_data, Samples):
        return run.evaluation_data
    return declaration.load(input_specs(run.graph), run.warn, run.evaluation_data)


def with_evaluation(run: Run, evaluation: Any) -> Run:
    """The run with other evaluation data, checked as the first was and preprocessed alike.

    Args:
      run: Any run.
      evaluation: DATA as typed, a path, or a Python object.
    """
    base = run.inputs.options.evaluation or run.inputs.options.calibration or DataDeclaration("")
    name = str(evaluation) if isinstance(evaluation, str | pathlib.Path) else ""
    declaration = replace(base, data=name, limit=None, balanced=False)
    found: list[str] = []
    samples = declaration.load(input_specs(run.graph), found.append, None if name else evaluation)
    found += data_warnings(calibration_samples(run), samples)
    for message in found:
        run.warn(message)
    options = replace(run.inputs.options, evaluation=declaration)
    warnings = tuple(dict.fromkeys((*run.inputs.warnings, *found)))
    inputs = replace(run.inputs, options=options, evaluation=samples.describe(), warnings=warnings)
    run = replace(run, inputs=inputs, evaluation_data=samples, graph=as_classifier(run.graph, samples))
    run.save_stage("inputs", inputs, "")
    return run

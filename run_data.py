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


def held_back_samples(run: Run, count: int) -> Samples | None:
    """Calibration data that neither ranges nor sensitivities were made from: what follows the calibration samples.

    None of them is an evaluation sample, by content.

    Args:
      run: Any run.
      count: At most so many.

    Returns:
      In content order; None where the data has no more samples, or a later process cannot read it again.
    """
    found = _following(run, count, {*calibration_samples(run).hashes})
    return None if found is None else found.take(min(count, len(found)))


def samples_to_learn_from(run: Run, held_back: Samples, count: int) -> Samples:
    """The calibration samples and what follows them, without those that are held back and those that judge.

    Args:
      run: Any run.
      held_back: From `held_back_samples`, or a part of the calibration samples.
      count: At most so many.

    Returns:
      In content order.
    """
    apart = {*held_back.hashes}
    found = _following(run, count + len(held_back), apart)
    if found is not None:
        return found.take(min(count, len(found)))
    calibration = calibration_samples(run)
    return calibration.subset([index for index, digest in enumerate(calibration.hashes) if digest not in apart])


def _following(run: Run, count: int, apart: set[bytes]) -> Samples | None:
    """The calibration samples and `count` samples behind them, without some and without those that judge."""
    declaration = run.inputs.options.calibration
    if declaration is None or declaration.limit is None or not (declaration.data or run.calibration_object is not None):
        return None
    evaluation = run.inputs.options.evaluation
    judges = evaluation_samples(run) if evaluation and (evaluation.data or run.evaluation_data is not None) else None
    apart = apart | {*(judges.hashes if judges is not None else ())}
    more = replace(declaration, limit=declaration.limit + count, balanced=False)
    found = more.load(input_specs(run.graph), lambda _message: None, run.calibration_object)
    left = [index for index, digest in enumerate(found.hashes) if digest not in apart]
    return found.subset(left) if left else None


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
    inputs = replace(
        run.inputs, options=options, evaluation=samples.describe(), warnings=warnings,
        class_names=samples.class_names or run.inputs.class_names,
    )  # fmt: skip
    run = replace(run, inputs=inputs, evaluation_data=samples, graph=as_classifier(run.graph, samples))
    run.save_stage("inputs", inputs, "")
    return run

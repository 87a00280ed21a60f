"""`bitplan check`: do the limits of a run, or of an audited file, hold? For people's continuous integration."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .analyzer.errors import EXIT_LIMIT, EXIT_OK, EXIT_UNDECIDED, RunFolderError, UsageError
from .analyzer.measures.statistics import Decision, decide, pairs_needed
from .analyzer.runs import RunFolder
from .analyzer.schema import Audit, Evaluation, Interval, SetMetric

if TYPE_CHECKING:
    from .session import Run

_WORDS: Mapping[Decision, str] = {"holds": "within", "broken": "OVER", "undecided": "undecided against"}
_CODES = {"holds": EXIT_OK, "broken": EXIT_LIMIT, "undecided": EXIT_UNDECIDED}


@dataclass(frozen=True)
class Check:
    """The answer.

    Attributes:
      line: For a person.
      exit_code: 0 holds, 1 broken, 5 undecided.
      file_bytes: Of the emitted file.
      samples: On which the drops stand.
      drop_points, drop_low, drop_high: The measured drop and its 95 % interval; None where none was asked for.
      metric: What the user's metric is called; "" where none was asked for.
      metric_drop, metric_low, metric_high: Its drop, in its own unit.
    """

    line: str
    exit_code: int
    file_bytes: int
    samples: int
    drop_points: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    metric: str = ""
    metric_drop: float | None = None
    metric_low: float | None = None
    metric_high: float | None = None


def check(
    folder: str | pathlib.Path, *, max_drop: str = "", max_bytes: str = "", max_metric_drop: float | None = None
) -> Check:
    """Compares a verified run, or an audit, with limits.

    Args:
      folder: Of a run, or of an audit.
      max_drop: Largest drop in points, e.g. `1pt`; "" for no such limit.
      max_bytes: Largest file, e.g. `2.8MB`; "" for no such limit.
      max_metric_drop: Largest drop of the user's metric, of a set of samples before one of each, in its own unit.

    Raises:
      UsageError: There is no limit to check, or no such drop was measured.
    """
    if not (max_drop or max_bytes or max_metric_drop is not None):
        raise UsageError(
            "there is nothing to check", "give --max-drop 1pt, --max-bytes 2.8MB or --max-metric-drop 0.01, or several"
        )
    if max_metric_drop is not None and not (math.isfinite(max_metric_drop) and max_metric_drop >= 0):
        raise UsageError(f"a metric cannot be held to a drop of {max_metric_drop:g}", "give a number, 0 or more")
    judged = _judged(folder)
    evaluation = judged.evaluation
    points, metric = None, None
    parts = [_size(judged, max_bytes)] if max_bytes else []
    if max_drop:
        points = _points(judged)
        parts.append(_judge_points(evaluation, points, max_drop))
    if max_metric_drop is not None:
        metric = _metric(judged)
        parts.append(_judge_metric(metric, max_metric_drop))
    codes = [code for _, code in parts]
    code = EXIT_LIMIT if EXIT_LIMIT in codes else max(codes)
    word = {EXIT_OK: "holds", EXIT_LIMIT: "BROKEN", EXIT_UNDECIDED: "undecided"}[code]
    return Check(
        line=f"{word}: {'; '.join(text for text, _ in parts)}",
        exit_code=code,
        file_bytes=evaluation.file_bytes,
        samples=evaluation.error.samples,
        drop_points=points.value if points else None,
        drop_low=points.low if points else None,
        drop_high=points.high if points else None,
        metric=metric.name if metric else "",
        metric_drop=metric.drop.value if metric else None,
        metric_low=metric.drop.low if metric else None,
        metric_high=metric.drop.high if metric else None,
    )


@dataclass(frozen=True)
class _MetricDrop:
    """Of a user's metric: what it is called, what was lost with its interval, and on how many samples."""

    name: str
    drop: Interval
    samples: int


@dataclass(frozen=True)
class _Judged:
    """What a folder says of the file that may ship.

    Attributes:
      kind: `run` or `audit`.
      remedy: What to do where it has no drop in points.
      on_calibration: Whether its drop stands on the samples that the plan was chosen on.
      set_metric: Of the samples together; None where there is none.
    """

    evaluation: Evaluation
    float_bytes: int
    kind: str
    remedy: str
    on_calibration: bool = False
    set_metric: SetMetric | None = None


def _judged(folder: str | pathlib.Path) -> _Judged:
    from .opening import open_run

    opened = RunFolder.open(folder)
    if not opened.has("inputs") and opened.has("audit"):
        audit = opened.load("audit", Audit, key="")
        if audit is None:
            raise UsageError(
                f"the audit in {folder} saw the quantized file alone, which has no drop",
                "audit it beside its float model: bitplan audit FLOAT QUANTIZED --evaluation DATA",
            )
        remedy = "audit it with labelled evaluation data, and without --metric"
        of_set = audit.drop.set_metric if audit.drop is not None else None
        return _Judged(audit.evaluation, audit.float_bytes, "audit", remedy, set_metric=of_set)
    if not opened.has("inputs"):
        raise RunFolderError(
            f"{folder} holds neither a run nor a finished audit", "run `bitplan run` or `bitplan audit` first"
        )
    verification = open_run(folder).verification
    if verification is None:
        raise RunFolderError(f"{folder} has no verification of the file that is in it", "run `bitplan verify` first")
    evaluation, floating = verification.find("plan"), verification.find("float")
    assert evaluation is not None, "every verification judges the plan"
    return _Judged(
        evaluation, floating.file_bytes if floating else 0, "run", "verify it with labelled evaluation data",
        verification.on_calibration,
    )  # fmt: skip


def _size(judged: _Judged, max_bytes: str) -> tuple[str, int]:
    """What is said of the file's size, and the exit code of that."""
    from .strategies.assignment.budgets import parse_size

    limit, size = parse_size(max_bytes, judged.float_bytes), judged.evaluation.file_bytes
    fits = size <= limit
    return f"{size} bytes, {'within' if fits else 'OVER'} {limit}", EXIT_OK if fits else EXIT_LIMIT


def _points(judged: _Judged) -> Interval:
    """The drop in points."""
    drop = judged.evaluation.drop_points
    if drop is None or judged.evaluation.drop_of == "metric":
        raise UsageError(f"the {judged.kind} measured no drop in points", judged.remedy)
    _demand_evaluation(judged)
    return drop


def _metric(judged: _Judged) -> _MetricDrop:
    """The drop of the user's metric."""
    found, evaluation = judged.set_metric, judged.evaluation
    if found is None and (evaluation.drop_of != "metric" or evaluation.drop_points is None):
        raise UsageError(
            f"the {judged.kind} measured no metric of yours",
            "give the audit --set-metric module:function, or the run or the audit --metric module:function",
        )
    _demand_evaluation(judged)
    if found is not None:
        return _MetricDrop(found.name, found.drop, found.samples)
    assert evaluation.drop_points is not None
    return _MetricDrop("metric", evaluation.drop_points, evaluation.error.samples)


def _demand_evaluation(judged: _Judged) -> None:
    if judged.on_calibration:
        raise UsageError(
            "the run has no evaluation data: its drop stands on the samples that the plan was chosen on",
            "run `bitplan verify DIR --evaluation DATA` first",
        )


def _judge_points(evaluation: Evaluation, drop: Interval, max_drop: str) -> tuple[str, int]:
    from .strategies.request import parse_points

    limit = parse_points(max_drop)
    decision = decide(drop, limit)
    enough = "" if decision != "undecided" else _images_needed(evaluation, limit)
    text = (
        f"{evaluation.drop_of} drop {drop.value:.2f} points (95 %: {drop.low:.2f} to {drop.high:.2f}, "
        f"n = {evaluation.error.samples}, {evaluation.kernels}), {_WORDS[decision]} {limit:g}{enough}"
    )
    return text, _CODES[decision]


def _judge_metric(found: _MetricDrop, limit: float) -> tuple[str, int]:
    decision, drop = decide(found.drop, limit), found.drop
    text = (
        f"{found.name} drop {drop.value:.4g} (95 %: {drop.low:.4g} to {drop.high:.4g}, n = {found.samples}), "
        f"{_WORDS[decision]} {limit:g}"
    )
    return text, _CODES[decision]


def answer_code(run: Run) -> int:
    """Exit code of a run that was asked for a largest drop: 0 it holds, 1 it does not, 5 too few samples to tell.

    The evaluation data judges where it has labels and the file was run on it; else the samples of the trial do.
    """
    trial = run.planning.trial if run.planning is not None else None
    if trial is None or trial.max_drop_points is None:
        return EXIT_OK
    verification = run.verification
    if verification is not None and not verification.on_calibration:
        judged = verification.find("plan")
        if judged is not None and judged.drop_of == "accuracy" and judged.drop_points is not None:
            return _CODES[decide(judged.drop_points, trial.max_drop_points)]
    return {"holds": EXIT_OK, "fails": EXIT_LIMIT, "undecided": EXIT_UNDECIDED}[trial.answer]


def _images_needed(evaluation: Evaluation, limit: float) -> str:
    if evaluation.discordant is None:
        return ""
    needed = pairs_needed(*evaluation.discordant, evaluation.error.samples, limit)
    if needed is None:
        return "; the drop lies so close to the limit that no number of images decides"
    return f"; needs about {math.ceil(needed / 100) * 100} images to decide"

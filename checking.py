"""`bitplan check`: do the limits of a run, or of an audited file, hold? For people's continuous integration."""

from __future__ import annotations

import math
import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .analyzer.errors import EXIT_LIMIT, EXIT_OK, EXIT_UNDECIDED, RunFolderError, UsageError
from .analyzer.measures.statistics import Decision, decide, pairs_needed
from .analyzer.runs import RunFolder
from .analyzer.schema import Audit, Evaluation, Interval

if TYPE_CHECKING:
    from .session import Run

_CODES = {"holds": EXIT_OK, "broken": EXIT_LIMIT, "undecided": EXIT_UNDECIDED}


@dataclass(frozen=True)
class Check:
    """The answer.

    Attributes:
      line: For a person.
      exit_code: 0 holds, 1 broken, 5 undecided.
      drop_points, drop_low, drop_high: The measured drop and its 95 % interval; None where none was asked for.
      file_bytes: Of the emitted file.
      samples: On which the drop stands.
    """

    line: str
    exit_code: int
    file_bytes: int
    samples: int
    drop_points: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None


def check(folder: str | pathlib.Path, *, max_drop: str = "", max_bytes: str = "") -> Check:
    """Compares a verified run, or an audit, with limits.

    Args:
      folder: Of a run, or of an audit.
      max_drop: Largest drop in points, e.g. `1pt`; "" for no such limit.
      max_bytes: Largest file, e.g. `2.8MB`; "" for no such limit.

    Raises:
      UsageError: There is no limit to check, or no drop was measured.
    """
    from .strategies.assignment.budgets import parse_size
    from .strategies.request import parse_points

    if not (max_drop or max_bytes):
        raise UsageError("there is nothing to check", "give --max-drop 1pt, --max-bytes 2.8MB, or both")
    judged = _judged(folder)
    evaluation = judged.evaluation
    parts, codes = [], [EXIT_OK]
    if max_bytes:
        limit = parse_size(max_bytes, judged.float_bytes)
        fits = evaluation.file_bytes <= limit
        codes.append(EXIT_OK if fits else EXIT_LIMIT)
        parts.append(f"{evaluation.file_bytes} bytes, {'within' if fits else 'OVER'} {limit}")
    drop = evaluation.drop_points if max_drop else None
    if max_drop:
        if drop is None or evaluation.drop_of == "metric":
            raise UsageError(f"the {judged.kind} measured no drop in points", judged.remedy)
        if judged.on_calibration:
            raise UsageError(
                "the run has no evaluation data: its drop stands on the samples that the plan was chosen on",
                "run `bitplan verify DIR --evaluation DATA` first",
            )
        points = parse_points(max_drop)
        decision = decide(drop, points)
        codes.append(_CODES[decision])
        parts.append(_drop_text(evaluation, drop, points, decision))
    code = EXIT_LIMIT if EXIT_LIMIT in codes else max(codes)
    word = {EXIT_OK: "holds", EXIT_LIMIT: "BROKEN", EXIT_UNDECIDED: "undecided"}[code]
    return Check(
        line=f"{word}: {'; '.join(parts)}",
        exit_code=code,
        file_bytes=evaluation.file_bytes,
        samples=evaluation.error.samples,
        drop_points=drop.value if drop else None,
        drop_low=drop.low if drop else None,
        drop_high=drop.high if drop else None,
    )


@dataclass(frozen=True)
class _Judged:
    """What a folder says of the file that may ship.

    Attributes:
      kind: `run` or `audit`.
      remedy: What to do where it has no drop in points.
      on_calibration: Whether its drop stands on the samples that the plan was chosen on.
    """

    evaluation: Evaluation
    float_bytes: int
    kind: str
    remedy: str
    on_calibration: bool = False


def _judged(folder: str | pathlib.Path) -> _Judged:
    from .opening import open_run

    opened = RunFolder.open(folder)
    audit = None if opened.has("inputs") else opened.load("audit", Audit)
    if audit is not None:
        remedy = "audit it with labelled evaluation data, and without --metric"
        return _Judged(audit.evaluation, audit.float_bytes, "audit", remedy)
    verification = open_run(folder).verification
    if verification is None:
        raise RunFolderError(f"{folder} has no verification of the file that is in it", "run `bitplan verify` first")
    evaluation, floating = verification.find("plan"), verification.find("float")
    assert evaluation is not None, "every verification judges the plan"
    return _Judged(
        evaluation, floating.file_bytes if floating else 0, "run", "verify it with labelled evaluation data",
        verification.on_calibration,
    )  # fmt: skip


def _drop_text(evaluation: Evaluation, drop: Interval, limit: float, decision: Decision) -> str:
    word = {"holds": "within", "broken": "OVER", "undecided": "undecided against"}[decision]
    enough = "" if decision != "undecided" else _images_needed(evaluation, limit)
    return (
        f"{evaluation.drop_of} drop {drop.value:.2f} points (95 %: {drop.low:.2f} to {drop.high:.2f}, "
        f"n = {evaluation.error.samples}, {evaluation.kernels}), {word} {limit:g}{enough}"
    )


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

"""What one run comes to, beside others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ..analyzer.schema import Evaluation, Interval, PlanDiff, Results
from . import amounts, numbers
from .accuracies import wilson
from .device import TIMES
from .verdict import build_verdict

_CPU_TIME = next(key for key, name in TIMES.items() if name == "plan")


@dataclass(frozen=True)
class Side:
    """One of the runs.

    Attributes:
      name: Unlike the others'.
      diff: Its plan against the first run's; None for the first, and where there is nothing to compare op by op.
    """

    name: str
    results: Results
    diff: PlanDiff | None = None


@dataclass(frozen=True)
class SideFigures:
    """What one run comes to.

    Attributes:
      measured: Whether file, memory and error are those of the emitted file; else they are predicted.
      arena_bytes: By the target's own tool where that looked at the file, else LiteRT's on the host.
      arena_by: Whose figure that is.
      accuracy: With the Wilson score interval, which holds for this file alone: two files on the same samples are told
        apart by `drop`, which is paired.
      float_accuracy: Of the float network on the same samples.
      drop: Against the run's own float network, in percentage points, or units of the metric.
      samples, kernels, data_digest: What accuracy, drop and error stand on.
      on_calibration: No evaluation data: the plan was chosen on these samples.
      cpu_ms: One sample on one thread of the CPU that ran the evaluation.
      predicted_latency: On the target, in `latency_unit`.
      schemes: How many ops have which.
    """

    name: str
    model: str
    model_digest: str
    target: str
    verdict: dict[str, str]
    measured: bool
    float_bytes: int
    file_bytes: int | None
    arena_bytes: int | None
    arena_by: str
    nmse: float | None
    accuracy: Interval | None
    float_accuracy: float | None
    drop: Interval | None
    drop_of: str
    samples: int | None
    kernels: str
    data_digest: str
    on_calibration: bool
    cpu_ms: float | None
    predicted_latency: float | None
    latency_unit: str
    schemes: Mapping[str, int]


def side_figures(side: Side) -> SideFigures:
    """One run's figures, in the units of their names."""
    results = side.results
    plan, verification = results.plan, results.verification
    emitted = verification.find("plan") if verification else None
    verdict = build_verdict(results)
    arena, arena_by = _arena(results, emitted)
    known = plan is not None and plan.predicted_bytes > 0
    nmse = plan.predicted_nmse if plan and known else None
    return SideFigures(
        name=side.name,
        model=results.provenance.model_name,
        model_digest=results.graph.digest,
        target=plan.target if plan else "",
        verdict={"tone": verdict.tone, "label": verdict.label, "text": verdict.text},
        measured=emitted is not None,
        float_bytes=results.graph.file_bytes,
        file_bytes=emitted.file_bytes if emitted else plan.predicted_bytes if plan and known else None,
        arena_bytes=arena,
        arena_by=arena_by,
        nmse=emitted.error.nmse if emitted else nmse,
        accuracy=wilson(emitted.error.accuracy, emitted.error.samples)
        if emitted and emitted.error.accuracy is not None
        else None,
        float_accuracy=emitted.float_accuracy if emitted and emitted.error.accuracy is not None else None,
        drop=emitted.drop_points if emitted else None,
        drop_of=emitted.drop_of if emitted and emitted.drop_points else "",
        samples=emitted.error.samples if emitted else None,
        kernels=emitted.kernels if emitted else "",
        data_digest=verification.data_digest if verification and emitted else "",
        on_calibration=verification.on_calibration if verification else False,
        cpu_ms=results.provenance.measured.get(_CPU_TIME),
        predicted_latency=plan.predicted_latency if plan else None,
        latency_unit=plan.latency_unit if plan else "",
        schemes=dict(sorted(Counter(a.scheme for a in plan.assignments).items())) if plan else {},
    )


def _arena(results: Results, emitted: Evaluation | None) -> tuple[int | None, str]:
    opinion = results.verification.opinion if results.verification else None
    if opinion is not None and opinion.arena_bytes is not None:
        return opinion.arena_bytes, numbers.name(f"{opinion.tool} {opinion.version}")
    whose = amounts.ON_HOST if not amounts.runs_litert(results.plan) else "LiteRT's arena"
    if emitted is not None:
        return emitted.arena_bytes, whose
    predicted = results.plan.predicted_arena_bytes if results.plan else None
    return predicted, whose if predicted is not None else ""

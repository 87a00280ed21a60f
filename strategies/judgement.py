"""What the emitted file is worth: itself and its baselines on the same samples. Nothing is decided here."""

from __future__ import annotations

from ..analyzer.conversion.converter import convert
from ..analyzer.conversion.type_check import check_types, count_types
from ..analyzer.conversion.verification import Candidate, evaluate, reference_subset, slow_subset
from ..analyzer.measures.calibration import Progress
from ..analyzer.measures.per_sample import Metric
from ..analyzer.measures.sweep import LabelledSource
from ..analyzer.network import flatbuffer as fb
from ..analyzer.network import runtime
from ..analyzer.schema import SCHEMES, Calibration, Format, Graph, Plan, Verification
from .assignment.choices import uniform_schemes

BASELINES = {"int8 everywhere": "w8a8", "w8a16 everywhere": "w8a16"}
INT4_BASELINE = "int4 everywhere"


def judge(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    plan: Plan,
    model: bytes,
    samples: LabelledSource,
    *,
    on_calibration: bool,
    metric: Metric | None = None,
    seed: int = 0,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> Verification:
    """Measures the float model, the uniform baselines and the emitted file on the same samples.

    16-bit kernels are some fifty times slower on a CPU, so w8a16 everywhere gets a subset; the others are judged on the
    same subset beside it. The plan runs with the reference kernels on a subset too.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Ranges of the baselines.
      plan: What `model` was made from.
      model: The emitted file.
      samples: Evaluation samples.
      on_calibration: Whether they are the calibration samples, for want of others; recorded.
      metric: See `per_sample.Metric`.
      seed: Of the bootstrap.
      workers: Threads.
      progress: Called with (samples done, samples in all).
    """
    files = {name: _uniform(data, graph, calibration, scheme, plan.io) for name, scheme in BASELINES.items()}
    if "w4a8" in plan.allowed and any("w4a8" in op.schemes for op in graph.ops):
        files[INT4_BASELINE] = _uniform(data, graph, calibration, "w4a8", plan.io)
    int16 = files.pop("w8a16 everywhere")
    main = [
        Candidate("float", data),
        *(Candidate(name, file) for name, file in files.items()),
        Candidate("plan", model),
    ]
    few, fewer = slow_subset(graph), reference_subset(graph)
    candidates = [*main, Candidate("w8a16 everywhere", int16, limit=few)]
    if few < len(samples):
        candidates += [Candidate(c.name, c.flatbuffer, limit=few) for c in main]
    candidates.append(Candidate("plan", model, kernels="reference", limit=fewer))
    if fewer < len(samples):
        candidates.append(Candidate("plan", model, limit=fewer))
    evaluations = evaluate(
        data, graph, candidates, samples, metric=metric, seed=seed, workers=workers, progress=progress
    )  # fmt: skip
    return Verification(
        evaluations=evaluations,
        mismatches=check_types(model, graph, plan),
        tensor_types=count_types(model),
        file_digest=fb.digest(model),
        samples=len(samples),
        data_digest=samples.digest,
        predicted_bytes=plan.predicted_bytes,
        predicted_nmse=plan.predicted_nmse,
        measured_nmse=next(e.error.nmse for e in evaluations if e.name == "plan"),
        on_calibration=on_calibration,
    )


def _uniform(data: bytes, graph: Graph, calibration: Calibration, scheme: str, io: Format) -> bytes:
    names = [s.name for s in uniform_schemes(graph, scheme)]
    plan = Plan.bare(graph, names, io, strategy=SCHEMES[scheme].name)
    return convert(data, graph, calibration, plan, calibration.partial_sums).model

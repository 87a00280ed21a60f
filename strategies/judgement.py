"""What the emitted file is worth: itself and its baselines on the same samples. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..analyzer.conversion.converter import convert
from ..analyzer.conversion.devices import second_opinion, unavailable
from ..analyzer.conversion.type_check import check_types, count_types
from ..analyzer.conversion.verification import Answers, Candidate, reference_subset, run_candidates, slow_subset
from ..analyzer.conversion.verification import judge as judge_answers
from ..analyzer.errors import UnsupportedModel
from ..analyzer.inputs.samples import Samples
from ..analyzer.measures.calibration import Progress
from ..analyzer.measures.flips import flips_of
from ..analyzer.measures.per_sample import Metric
from ..analyzer.network import flatbuffer as fb
from ..analyzer.network import runtime
from ..analyzer.network.timing import time_model
from ..analyzer.schema import SCHEMES, Calibration, Flips, Graph, Opinion, Plan, Target, Verification
from .assignment.choices import uniform_schemes
from .targets import ANY_TARGET, load_target, schemes_on

INT8, INT16, INT4 = "int8 everywhere", "w8a16 everywhere", "int4 everywhere"
UNREPAIRED = "plan before repair"
"""Names of the baselines."""

_TIMED_S = 0.3
"""Seconds that each file is timed for."""

_COMPARED = 24
"""On how many samples the target's own tool runs the file: on a host its kernels are slow."""


def judge(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    plan: Plan,
    model: bytes,
    samples: Samples,
    *,
    on_calibration: bool,
    class_names: Sequence[str] = (),
    repaired: bool = False,
    target: Target | None = None,
    metric: Metric | None = None,
    seed: int = 0,
    workers: int = runtime.DEFAULT_WORKERS,
    warn: Callable[[str], None] = lambda _message: None,
    progress: Progress | None = None,
) -> Verification:
    """Measures the float model, the uniform baselines and the emitted file on the same samples.

    16-bit kernels are some fifty times slower on a CPU, so w8a16 everywhere gets a subset; the others are judged on the
    same subset beside it. The plan runs with the reference kernels on a subset too. Baselines that the target cannot
    run are left out, and its own tool, where it is installed, has the last word.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Ranges of the baselines.
      plan: What `model` was made from.
      model: The emitted file.
      samples: Evaluation samples.
      on_calibration: Whether they are the calibration samples, for want of others; recorded.
      class_names: By class index; empty where nobody knows them.
      repaired: Whether `model` was made from a repaired network; then the plan's file without repairs is judged too.
      target: What the plan was made for; None for any runtime of LiteRT.
      metric: See `per_sample.Metric`.
      seed: Of the bootstrap.
      workers: Threads.
      warn: Takes why the target's own tool has nothing to say.
      progress: Called with (samples done, samples in all).
    """
    target = target or load_target(ANY_TARGET)
    wanted = {INT8: "w8a8", **({INT4: "w4a8"} if "w4a8" in plan.allowed else {}), INT16: "w8a16"}
    files = {
        name: _uniform(data, graph, calibration, scheme, plan, target)
        for name, scheme in wanted.items()
        if name == INT8 or has_scheme(graph, scheme, target)
    }
    int16 = files.pop(INT16, None)
    main = [
        Candidate("float", data),
        *(Candidate(name, file) for name, file in files.items()),
        *([Candidate(UNREPAIRED, convert(data, graph, calibration, plan).model)] if repaired else []),
        Candidate("plan", model),
    ]
    few, fewer = slow_subset(graph), reference_subset(graph)
    candidates = [*main, *([Candidate(INT16, int16, limit=few)] if int16 is not None else [])]
    if int16 is not None and few < len(samples):
        candidates += [Candidate(c.name, c.flatbuffer, limit=few) for c in main]
    candidates.append(Candidate("plan", model, kernels="reference", limit=fewer))
    if fewer < len(samples):
        candidates.append(Candidate("plan", model, limit=fewer))
    answers = run_candidates(data, graph, candidates, samples, workers=workers, progress=progress)
    evaluations = judge_answers(graph, candidates, answers, samples, metric=metric, seed=seed)
    # The float network's answers come first; the plan's file is the last of those that see every sample.
    flips = _flips(graph, samples, answers[0], answers[len(main)], on_calibration)
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
        opinion=_opinion(target, model, samples, warn),
        flips=flips,
        class_names=tuple(class_names) if flips else (),
    )


def times_on_this_machine(
    data: bytes, graph: Graph, calibration: Calibration, plan: Plan, model: bytes, target: Target | None
) -> Mapping[str, float]:
    """Milliseconds that float, int8 everywhere and the plan take here on one thread; none where it will run elsewhere.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Ranges of int8 everywhere.
      plan: What `model` was made from.
      model: The emitted file.
      target: What the plan was made for; None for any runtime of LiteRT.
    """
    target = target or load_target(ANY_TARGET)
    if target.runtime != "litert":
        return {}
    files = {"float": data, "int8": _uniform(data, graph, calibration, "w8a8", plan, target), "plan": model}
    return {f"latency_{name}_ms": round(time_model(file, seconds=_TIMED_S), 4) for name, file in files.items()}


def has_scheme(graph: Graph, scheme: str, target: Target) -> bool:
    """Whether any op with weights has a scheme on a target."""
    return any(op.weights is not None and scheme in schemes_on(target, op, graph) for op in graph.ops)


def _flips(
    graph: Graph, samples: Samples, reference: Answers, found: Answers, on_calibration: bool
) -> Flips | None:  # fmt: skip
    """Samples that change their class; the plan was fitted to calibration samples, so theirs would say too little."""
    if on_calibration or not graph.is_classifier:
        return None
    return flips_of(samples, reference.outputs[0], found.outputs[0])


def _opinion(
    target: Target, model: bytes, samples: Samples, warn: Callable[[str], None]
) -> Opinion | None:  # fmt: skip
    """What the target's own tool says of the file; a target of LiteRT's has none beside LiteRT."""
    if target.runtime in ("litert", "other"):
        return None
    reason = unavailable(target)
    if reason:
        warn(reason)
        return None
    try:
        return second_opinion(target, model, samples.block(0, min(_COMPARED, len(samples))))
    except UnsupportedModel as error:
        warn(f"{error.problem}; {error.remedy}")
        return None


def _uniform(
    data: bytes, graph: Graph, calibration: Calibration, scheme: str, beside: Plan, target: Target
) -> bytes:  # fmt: skip
    """The file with one scheme everywhere, its inputs, outputs and scales of the kind that a plan's file has."""
    names = [s.name for s in uniform_schemes(graph, scheme, target)]
    plan = Plan.bare(graph, names, beside.io, strategy=SCHEMES[scheme].name, per_channel=beside.per_channel)
    return convert(data, graph, calibration, plan).model

"""The audit's verdict: which causes a quantized file has, each mended alone, run, and given what it wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..analyzer.inputs.dataset import Samples
from ..analyzer.measures.calibration import Progress
from ..analyzer.network import flatbuffer as fb
from ..analyzer.network.differentiable import uncovered
from ..analyzer.network.kernels import MOVEMENT
from ..analyzer.schema import CAUSES, TESTED, Cause, CauseTrial
from .causes.case import Case, Mend, not_testable, ruled_out
from .causes.ends import end_proposals
from .causes.order import Found, in_order, merged
from .causes.ranges import range_proposals
from .causes.trial import Bench
from .causes.weights import STRANGE, another_parent, parent_likeness, weight_proposals

_NOTHING_IN_COMMON = 0.5
"""Output error from which a file hardly follows its float model; 1 is as bad as answering with the mean."""

_EXPLAINED = 0.5
"""Share of the error from which a mend explains it."""

_JUDGED = 6
"""So many of the worst causes get an accuracy of their own."""


def find_causes(
    case: Case,
    places: Sequence[int],
    studied: Samples,
    evaluation: Samples,
    *,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> CauseTrial:
    """Tries every cause of `CAUSES` on a file.

    Args:
      case: The file and its float parent.
      places: Tensors of the file that stand for `Graph.compared`.
      studied: Samples that errors are measured on.
      evaluation: Samples that recovered accuracy is measured on; nothing is chosen by them.
      seed: Of intervals.
      workers: Threads.
      progress: Called with (causes tried, causes in all).

    Returns:
      Everything not testable where some op of the float network has no rule as a TensorFlow function.
    """
    missing = uncovered(case.data)
    if missing:
        return _untested(
            case, f"the float network has ops that no mend can be run through: {', '.join(missing)}", studied
        )
    bench = Bench(case, places, studied, evaluation, seed=seed, workers=workers)
    proposals = [
        another_parent(case), *range_proposals(case), *weight_proposals(case), *end_proposals(case, bench.yardstick)
    ]  # fmt: skip
    steps, results = len(proposals) + 2 + _JUDGED, list[Found | Cause]()
    for number, proposal in enumerate(proposals):
        results.append(bench.try_mend(proposal) if isinstance(proposal, Mend) else proposal)
        if progress:
            progress(number + 1, steps)
    results += bench.try_inputs()
    results.append(bench.try_kernels())
    if progress:
        progress(len(proposals) + 2, steps)
    found = in_order([result for result in results if isinstance(result, Found)])
    others = [result for result in results if isinstance(result, Cause)] + _by_nature(case)
    causes = []
    for number, one in enumerate(found):
        causes.append(bench.with_accuracy(one) if number < _JUDGED else one.cause)
        if progress:
            progress(min(len(proposals) + 3 + number, steps), steps)
    error = float(bench.errors.mean())
    causes, others = _with_parent(case, error, causes, others)
    names = {cause.name for cause in causes}
    return CauseTrial(
        found=tuple(causes),
        others=tuple(cause for cause in merged(others) if cause.name not in names),
        nmse=error,
        simulated_nmse=float(bench.simulated.mean()),
        samples=len(studied),
    )


def _untested(case: Case, reason: str, studied: Samples) -> CauseTrial:
    names = [name for name in CAUSES if name not in ("float_fallback", "external_buffers")]
    others = [*(not_testable(name, reason) for name in names), *_by_nature(case)]
    return CauseTrial((), tuple(others), None, None, len(studied))


def _with_parent(
    case: Case, error: float, causes: list[Cause], others: list[Cause]
) -> tuple[list[Cause], list[Cause]]:  # fmt: skip
    """Puts `not_the_parent` first where the outputs have nothing in common and no single mend explains that.

    Weights that are the float model's speak against it, whatever the outputs are: then more than one thing is wrong.
    """
    name = "not_the_parent"
    likeness = parent_likeness(case)
    explained = any((cause.share_of_error or 0) >= _EXPLAINED for cause in causes if cause.name != name)
    strange = likeness is None or likeness < STRANGE
    if not strange or not error > _NOTHING_IN_COMMON or explained:
        return [cause for cause in causes if cause.name != name or strange], others
    first = next(cause for cause in (*causes, *others) if cause.name == name)
    said = f"the outputs differ by {error:.2f} of the float output's variance, and no single mend takes half of that"
    said = f"{said}; {first.evidence}"
    first = replace(first, status=TESTED, evidence=said)
    return [first, *(c for c in causes if c.name != name)], [c for c in others if c.name != name]


def _by_nature(case: Case) -> list[Cause]:
    """What adds no error on this runtime by its nature, and is worth knowing."""
    return [_float_ops(case), _buffers(case)]


def _float_ops(case: Case) -> Cause:
    written = {op.index: case.graph.activations_out(op) for op in case.graph.ops}
    inner = [
        op for op in case.graph.ops
        if written[op.index] and op.opcode not in MOVEMENT and all(case.grid(t) is None for t in written[op.index])
    ]  # fmt: skip
    if not inner:
        return ruled_out("float_fallback", "no op that was found in the file runs in float")
    named = ", ".join(op.layer for op in inner[:3]) + (" ..." if len(inner) > 3 else "")
    said = f"{len(inner)} of {len(case.graph.ops)} ops run in float, or were not found in the file ({named})"
    return ruled_out("float_fallback", f"{said}: that adds no error, but takes time, and integer targets cannot do it")


def _buffers(case: Case) -> Cause:
    if not fb.has_external_buffers(case.file):
        return ruled_out("external_buffers", "all buffers lie inside the flatbuffer")
    said = "buffers lie behind the flatbuffer: LiteRT, on which this audit runs, reads them; TFLite Micro does not"
    return not_testable("external_buffers", said)

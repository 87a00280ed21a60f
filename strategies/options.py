"""What to do about a quantized file: every usual remedy measured on its file, beside the file itself.

What is advised is chosen on samples that were held back; the evaluation samples are opened once, for all files at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..analyzer.conversion.verification import Candidate, evaluate, slow_subset
from ..analyzer.measures.calibration import Progress
from ..analyzer.measures.per_sample import Metric
from ..analyzer.measures.sweep import LabelledSource
from ..analyzer.schema import Evaluation, Graph, Option, OptionTable, Target
from .assignment.budgets import INT8, MS
from .remedies import CLEARLY, Case, OptionFile
from .request import has_slow_kernels
from .targets import ANY_TARGET, load_target, shipped_targets
from .targets.files import FileOps

Reporter = Callable[[str], Progress]

TOLERATED = 1.3
"""How much more memory, and time beside int8 everywhere, an option may take that is advised unasked."""

_SLOW_SHARE = 0.02
"""Share of multiply-accumulates in int16 kernels from which a file is judged on fewer samples."""


def measure_options(
    case: Case,
    files: Mapping[str, OptionFile],
    evaluation: LabelledSource,
    *,
    graph: Graph | None = None,
    metric: Metric | None = None,
    reporter: Reporter = lambda _title: lambda _done, _total: None,
) -> OptionTable:
    """Judges files: first on held-back samples, which advise, then once on the evaluation samples.

    Files with int16 kernels, some 50 times as slow on a CPU, are judged on the first `slow_subset` samples.

    Args:
      case: What they were made from.
      files: From `make_files`.
      evaluation: With labels where there are some.
      graph: The float network with other compared tensors, where the brought file lacks some; None for its own.
      metric: See `per_sample.Metric`.
      reporter: Starts a line of progress.
    """
    material, target = case.material, case.target
    graph = graph or material.graph
    ops = {name: FileOps.read(made.file) for name, made in files.items() if made.file}
    candidates = [_candidate(case, name, files[name].file, ops[name], graph) for name in ops]

    def judged(samples: LabelledSource, title: str, some: Sequence[Candidate]) -> dict[str, Evaluation]:
        found = evaluate(
            material.flatbuffer, graph, some, samples, metric=metric, seed=material.seed, workers=material.workers,
            progress=reporter(title),
        )  # fmt: skip
        return {one.name: one for one in found}

    before = judged(case.held_back, "Comparing the options", [replace(one, limit=None) for one in candidates])
    after = judged(evaluation, "Running the options on the evaluation samples", candidates)
    # Int8 everywhere on the target, whatever its ranges.
    int8 = ops["recalibrate"].cost(target, material.graph) if "recalibrate" in ops else None
    options = []
    for name, made in files.items():
        if name not in ops:
            options.append(Option(name, made.facts, made.missing))
            continue
        refused = _refusals(ops[name], target)
        options.append(
            Option(
                name=name,
                facts=made.facts,
                evaluation=after[name],
                held_back=before[name].error,
                latency=_latency(ops[name], target, material.graph, int8),
                runs_on=tuple(one for one, why in refused.items() if not why),
                refused_by={one: why for one, why in refused.items() if why},
            )
        )
    unit = INT8 if target.mac_ms is None else MS
    fitting = [o for o in options if _may_be_advised(o, case, after["leave"], ops.get(o.name), int8)]
    return OptionTable(
        tuple(options),
        advise(fitting),
        target.name,
        unit,
        material.graph.file_bytes,
        len(evaluation),
        len(case.held_back),
    )


def advise(options: Sequence[Option]) -> str:
    """Name of the first option whose held-back error is as low as the lowest, or next to it; "leave" without any."""
    errors = {option.name: option.held_back.nmse for option in options if option.held_back is not None}
    if not errors:
        return "leave"
    least = min(errors.values())
    return next(name for name, error in errors.items() if error * (1 - CLEARLY) <= least)


def _candidate(case: Case, name: str, file: bytes, ops: FileOps, graph: Graph) -> Candidate:
    limit = slow_subset(graph) if ops.int16_share > _SLOW_SHARE else None
    compared = case.quantized.compared if name == "leave" else None
    return Candidate(name, file, limit=limit, compared=compared)


def _refusals(ops: FileOps, target: Target) -> dict[str, str]:
    """Why not, by target: the shipped ones that stand for a device, and the one that was asked for."""
    targets = {name: load_target(name) for name in shipped_targets() if name != ANY_TARGET} | {target.name: target}
    return {name: ops.obstacle(one) for name, one in targets.items()}


def _latency(ops: FileOps, target: Target, graph: Graph, int8: float | None) -> float | None:
    """In milliseconds where the target was measured, else in times of int8 everywhere."""
    cost = ops.cost(target, graph)
    if cost is None or target.mac_ms is not None:
        return cost
    return None if not int8 else cost / int8


def _may_be_advised(option: Option, case: Case, left: Evaluation, ops: FileOps | None, int8: float | None) -> bool:
    """Whether an option needs nothing that nobody asked for: no larger file, hardly more memory and time."""
    if option.name == "leave":
        return True
    found = option.evaluation
    if ops is None or found is None or found.file_bytes > case.largest_bytes:
        return False
    if found.arena_bytes > TOLERATED * left.arena_bytes:
        return False
    cost = ops.cost(case.target, case.material.graph)
    return cost is not None and (not int8 or cost <= TOLERATED * int8 or not has_slow_kernels(case.target))

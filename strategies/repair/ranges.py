"""Ranges for activations and weights that are not their extremes: a finer step for most values, the rarest clipped.

Each choice is made where it matters, at the network's output: one tensor is rounded in each of the ways, all else stays
in float, and only what lies behind it runs. Whether the choices help together is measured on emitted files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...analyzer.conversion.converter import convert, usable_range
from ...analyzer.conversion.verification import Reference
from ...analyzer.errors import UsageError
from ...analyzer.measures import quantization as q
from ...analyzer.measures.calibration import Progress
from ...analyzer.measures.clipping import METHODS, Ends
from ...analyzer.measures.sweep import LabelledSource
from ...analyzer.network import flatbuffer as fb
from ...analyzer.network import kernels, runtime
from ...analyzer.network.constants import replace_constants
from ...analyzer.network.graph import rebuild_graph
from ...analyzer.network.wiring import INPUT, OUTPUT, wire
from ...analyzer.schema import SCHEMES, Calibration, Format, Graph, Op, Plan, Range
from .range_trials import Subject, measure_ways
from .weight_clipping import clipped_weights

AUTO = "auto"
PLAIN = "min-max"
COUNT = 64
_DECISIVE = 0.05
"""By what share another range must lower a tensor's error to be taken: less may be chance."""


@dataclass(frozen=True)
class RangeChoice:
    """A range that is not the extremes: of an activation, or of the weights of an op.

    Attributes:
      tensor: Its index.
      op: The op whose weights they are; None for an activation.
      method: A key of `clipping.METHODS`; `mse` for weights, each channel with its own range.
      minimum, maximum: Of the activation, or of all clipped weights.
      nmse: At the network's output, with this tensor alone rounded so; None where nothing was measured.
      plain_nmse: The same with the extremes.
    """

    tensor: int
    op: int | None
    method: str
    minimum: float
    maximum: float
    nmse: float | None = None
    plain_nmse: float | None = None


@dataclass(frozen=True)
class ChosenRanges:
    """What came of choosing ranges.

    Attributes:
      flatbuffer: The float network, its weights clipped where that was chosen.
      calibration: With the chosen ranges; statistics and histograms stay those of the data.
      choices: What no longer has its extremes as range.
      considered: How many activations, and ops with weights, there were to choose for.
      plain_nmse: Of the file without any of it, on all samples.
      nmse: Of the file with it.
    """

    flatbuffer: bytes
    calibration: Calibration
    choices: tuple[RangeChoice, ...]
    considered: int
    plain_nmse: float
    nmse: float


def choose_ranges(
    flatbuffer: bytes,
    graph: Graph,
    calibration: Calibration,
    plan: Plan,
    samples: LabelledSource,
    *,
    method: str = AUTO,
    count: int = COUNT,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> ChosenRanges:
    """Chooses the ranges of a plan's int8 activations, and clips its weights of 4 and 8 bits.

    Declared ranges (of FAKE_QUANT ops), scales that a kernel fixes (SOFTMAX, LOGISTIC, TANH), int16 activations and the
    partial sums of split weights stay as they are. What an op only moves keeps its input's range.

    With `auto`, each tensor gets the range with the least measured error. The file is then made with the activations'
    ranges, with the clipped weights, with both and with neither, and that with the least error is taken. Any other
    method is applied as it is, to all int8 activations; `mse` to weights too.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      calibration: Of the same network; its ranges are the data's extremes.
      plan: One scheme for each op.
      samples: Calibration data, in content order.
      method: `auto`, or a key of `clipping.METHODS`.
      count: On how many samples the ways to round a tensor are compared.
      workers: Threads.
      progress: Called with (steps done, steps in all) while they are compared.

    Raises:
      UsageError: There is no such method.
      UnsupportedModel: The network cannot be converted by the plan.
    """
    check_method(method)
    task = _Task(flatbuffer, graph, calibration, plan, samples, workers)
    activations = int8_activations(graph, calibration, plan)
    weights = clipped_weights(flatbuffer, graph, plan) if method in (AUTO, "mse") else {}
    if method == AUTO:
        choices = _measured(task, activations, weights, count, progress)
    else:
        choices = [_as_told(task, tensor, method) for tensor in activations]
        choices += [_of_weights(op, weights) for op in graph.ops if op.weights in weights]
    changed = [choice for choice in choices if choice.method != PLAIN]
    considered = len(activations) + sum(op.weights is not None for op in graph.ops)
    trial = _Trial(task, weights, Reference(flatbuffer, graph, samples, workers=workers), considered)
    if method != AUTO:
        return trial.of(changed)
    of_activations = [choice for choice in changed if choice.op is None]
    of_weights = [choice for choice in changed if choice.op is not None]
    return min((trial.of(some) for some in ([], changed, of_activations, of_weights)), key=lambda made: made.nmse)


def check_method(method: str) -> None:
    """Whether there is such a way to choose ranges.

    Raises:
      UsageError: There is none.
    """
    if method != AUTO and method not in METHODS:
        raise UsageError(f"there is no way to choose ranges called {method!r}", f"use {', '.join((AUTO, *METHODS))}")


def int8_activations(graph: Graph, calibration: Calibration, plan: Plan) -> tuple[int, ...]:
    """The activations of a plan that have an int8 grid whose range can be chosen, in order of their indices."""
    wiring, formats = wire(graph), {k: SCHEMES[a.scheme].format for k, a in enumerate(plan.assignments)}
    formats |= {INPUT: plan.io, OUTPUT: plan.io}
    found = []
    for tensor, writer in sorted(wiring.writer.items()):
        seen = calibration.ranges.get(tensor)
        ends = {formats[writer], *(formats[reader] for reader in wiring.readers[tensor])}
        opcode = "" if writer == INPUT else graph.ops[writer].opcode
        moved = opcode in kernels.KEEPS_SCALE and formats[writer] is not Format.FLOAT
        fixed = q.has_fixed_scale(opcode, 8) and formats[writer] is not Format.FLOAT
        if seen is not None and Format.INT8 in ends and not (seen.declared or moved or fixed):
            found.append(tensor)
    return tuple(found)


def with_ranges(graph: Graph, calibration: Calibration, ends: Mapping[int, Ends]) -> Calibration:
    """A calibration with other ranges for some activations, and for what is merely moved from them.

    Args:
      graph: Of the network.
      calibration: Its ranges.
      ends: (minimum, maximum) by tensor index.
    """
    ranges = dict(calibration.ranges)
    wiring, wanted = wire(graph), dict(ends)
    for op, source in sorted(wiring.source.items()):
        if source in wanted:
            wanted |= {t: _within(wanted[source], ranges[t]) for t in wiring.writes[op] if t not in wanted}
    for tensor, (low, high) in wanted.items():
        ranges[tensor] = replace(ranges[tensor], minimum=low, maximum=high)
    return replace(calibration, ranges=ranges)


@dataclass(frozen=True)
class _Task:
    """What is quantized how, and on what it is measured."""

    flatbuffer: bytes
    graph: Graph
    calibration: Calibration
    plan: Plan
    samples: LabelledSource
    workers: int

    def ends(self, tensor: int, method: str) -> Ends:
        """The range that a method gives an activation."""
        return usable_range(*METHODS[method](self.calibration.ranges[tensor]))


def _measured(
    task: _Task, activations: Sequence[int], weights: Mapping[int, np.ndarray], count: int, progress: Progress | None
) -> list[RangeChoice]:
    """The way with the least error for each activation and for each op with weights that may be clipped."""
    subjects = [_activation(task, tensor) for tensor in activations]
    subjects += [_weights(task, op, weights) for op in task.graph.ops if op.weights in weights]
    found = measure_ways(
        task.flatbuffer, task.graph, task.calibration, subjects, task.samples, count=count, workers=task.workers,
        progress=progress,
    )  # fmt: skip
    return [_best(task, subject, nmse, weights) for subject, nmse in zip(subjects, found, strict=True)]


def _activation(task: _Task, tensor: int) -> Subject:
    """An activation with every method's grid, each grid once."""
    grids: dict[str, q.AffineParams] = {}
    for method in METHODS:
        grid = q.activation_params(*task.ends(tensor, method), 8)
        if grid not in grids.values():
            grids[method] = grid
    return Subject(tensor, grids)


def _weights(task: _Task, op: Op, clipped: Mapping[int, np.ndarray]) -> Subject:
    """An op with its weights rounded as they are, and clipped."""
    assert op.weights is not None
    model = fb.read(task.flatbuffer)
    plain = fb.constant(model, model.subgraphs[0].tensors[op.weights])
    assert plain is not None, "weights are constants"
    axis = op.channel_axis if task.plan.per_channel else None
    bits = SCHEMES[task.plan.assignments[op.index].scheme].weight_bits
    ways = {PLAIN: plain, "mse": clipped[op.weights]}
    rounded = {name: q.fake_quantize_weights(values, axis, bits) for name, values in ways.items()}
    return Subject(op.outputs[0], op=op, weights=rounded)


def _best(task: _Task, subject: Subject, nmse: Mapping[str, float], weights: Mapping[int, np.ndarray]) -> RangeChoice:
    """The way with the least error; the extremes unless that is clearly less."""
    method = min(nmse, key=lambda name: nmse[name])
    if nmse[method] > (1 - _DECISIVE) * nmse[PLAIN]:
        method = PLAIN
    told = _of_weights(subject.op, weights) if subject.op else _as_told(task, subject.tensor, method)
    return replace(told, method=method, nmse=nmse[method], plain_nmse=nmse[PLAIN])


def _as_told(task: _Task, tensor: int, method: str) -> RangeChoice:
    return RangeChoice(tensor, None, method, *task.ends(tensor, method))


def _of_weights(op: Op, weights: Mapping[int, np.ndarray]) -> RangeChoice:
    assert op.weights is not None
    values = weights[op.weights]
    return RangeChoice(op.weights, op.index, "mse", float(values.min()), float(values.max()))


class _Trial:
    """Files with some of the choices, held against the float network."""

    def __init__(
        self, task: _Task, weights: Mapping[int, np.ndarray], reference: Reference, considered: int
    ) -> None:  # fmt: skip
        self._task, self._weights, self._reference, self._considered = task, weights, reference, considered
        self._plain = self._nmse(task.flatbuffer, task.calibration)

    def of(self, choices: Sequence[RangeChoice]) -> ChosenRanges:
        """What some choices give together."""
        task = self._task
        clipped = {choice.tensor: self._weights[choice.tensor] for choice in choices if choice.op is not None}
        network = replace_constants(task.flatbuffer, clipped) if clipped else task.flatbuffer
        ends = {choice.tensor: (choice.minimum, choice.maximum) for choice in choices if choice.op is None}
        calibration = with_ranges(task.graph, task.calibration, ends)
        nmse = self._nmse(network, calibration) if choices else self._plain
        return ChosenRanges(network, calibration, tuple(choices), self._considered, self._plain, nmse)

    def _nmse(self, network: bytes, calibration: Calibration) -> float:
        graph = rebuild_graph(network, self._task.graph)
        return self._reference.error(convert(network, graph, calibration, self._task.plan).model).nmse


def _within(outer: Ends, seen: Range) -> Ends:
    return max(seen.minimum, outer[0]), min(seen.maximum, outer[1])

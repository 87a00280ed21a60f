"""How long each op of a network takes on this machine, in each of its schemes.

The network is converted once for each scheme, and every op cut out of that file as it stands there: with the types,
constants and kernels of an emitted file, and without border ops. What a call costs without any op is taken off, so that
times add up to that of a whole file.

Nobody needs data for that: ranges and activations are those of one made-up sample, which most kernels take the same
time for. A few reference kernels branch on values, so pieces run on activations of the network, not on noise.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import PlanMismatch, UnsupportedModel
from ..measures.quantization import activation_params
from ..network import flatbuffer as fb
from ..network.runtime import Runner
from ..network.subgraph import Cutter
from ..network.timing import Grid, border_network, empty_network, time_runner
from ..schema import SCHEMES, Calibration, Format, Graph, Histogram, Op, Plan, Range
from .converter import convert
from .type_check import BORDERS, check_types

_PASSES = 5
"""Times that everything is timed, one pass after the other: a disturbance of some seconds then spoils no op."""

_FILE_WEIGHT = 10
"""Times the seconds of a piece that are spent on a whole file."""

_BORDER_TENSORS = 8
"""Activations at which each kind of border op is timed."""

_WIDER = 1.5
"""Ratio of two scales of one format between which a border op changes; any but 1 takes the same time."""

_PAIRS = tuple(pair for pair in itertools.product(Format, Format) if pair != (Format.FLOAT, Format.FLOAT))

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Times:
    """What was measured.

    Attributes:
      ops: Milliseconds by (key of an op, scheme name).
      borders: Milliseconds of one element by (format read, format written).
      untimed: By (key of an op, scheme name): why it could not be timed.
      files: Milliseconds of the files that were given, in their order.
      timed: How many pieces were run: ops that are equal but for their weights are timed once.
    """

    ops: Mapping[tuple[str, str], float]
    borders: Mapping[tuple[Format, Format], float]
    untimed: Mapping[tuple[str, str], str]
    files: tuple[float, ...]
    timed: int


@dataclass(frozen=True)
class _Job:
    """A network to time.

    Attributes:
      write: Makes it.
      values: Its inputs; None for any.
      weight: Times the seconds of a piece to spend on it.
    """

    write: Callable[[], bytes]
    values: Mapping[int, np.ndarray] | None = None
    weight: int = 1


@dataclass(frozen=True)
class _OpJob:
    """Ops that take the same time in a scheme, and one of them to time."""

    keys: tuple[str, ...]
    scheme: str
    job: _Job


def time_ops(
    flatbuffer: bytes,
    graph: Graph,
    schemes: Sequence[Sequence[str]],
    values: Mapping[int, np.ndarray],
    *,
    files: Sequence[bytes] = (),
    per_channel: bool = True,
    threads: int = 1,
    seconds: float = 0.05,
    progress: Progress | None = None,
) -> Times:
    """Times every op in every scheme, and every kind of border op.

    Args:
      flatbuffer: The float model.
      graph: Of `flatbuffer`.
      schemes: Names of the schemes to time, for each op.
      values: Of all activations, by tensor index (`activations`).
      files: Whole files to time beside the ops, so that both see the same state of the machine.
      per_channel: Whether weights have a scale for each channel, or one for the tensor.
      threads: That a kernel may use.
      seconds: To spend on each piece; one that takes longer runs twice.
      progress: Called with (done, in all).

    Raises:
      PlanMismatch: A converted file has other types than it was asked for.
      UnsupportedModel: The network cannot be converted.
    """
    calibration = made_up_calibration(graph, values)
    ops = list(_op_jobs(flatbuffer, graph, schemes, calibration, values, per_channel))
    borders = list(itertools.product(_PAIRS, _border_tensors(graph)))
    jobs = [
        _Job(empty_network),
        *(_Job(partial(bytes, file), weight=_FILE_WEIGHT) for file in files),
        *(_border_job(calibration.ranges[tensor], values[tensor], *pair) for pair, tensor in borders),
        *(op.job for op in ops),
    ]
    best, refused = _time(jobs, threads, seconds, progress)
    overhead, above = best[0], iter(best[1 + len(files) :])
    of_borders = {(pair, values[t].size): max(next(above) - overhead, 0.0) for pair, t in borders}
    first = len(jobs) - len(ops)
    timed, untimed = {}, {}
    for position, op in enumerate(ops):
        milliseconds = max(next(above) - overhead, 0.0)
        for key in op.keys:
            if (why := refused.get(first + position)) is None:
                timed[key, op.scheme] = milliseconds
            else:
                untimed[key, op.scheme] = why
    count = sum(index not in refused for index in range(first, len(jobs)))
    return Times(timed, _per_element(of_borders), untimed, tuple(best[1 : 1 + len(files)]), count)


def _time(
    jobs: Sequence[_Job], threads: int, seconds: float, progress: Progress | None
) -> tuple[list[float], dict[int, str]]:
    """Best milliseconds of each job, and by its position why one could not run."""
    best = [math.inf] * len(jobs)
    refused: dict[int, str] = {}
    for turn in range(_PASSES):
        for index, job in enumerate(jobs):
            slow = turn > 0 and best[index] > job.weight * seconds * 1e3
            if index not in refused and not slow:
                try:
                    runner = Runner(job.write(), threads=threads)
                    best[index] = min(best[index], time_runner(runner, job.values, job.weight * seconds / _PASSES))
                except UnsupportedModel as error:
                    refused[index] = error.problem
            if progress:
                progress(turn * len(jobs) + index + 1, _PASSES * len(jobs))
    return best, refused


def _per_element(found: Mapping[tuple[tuple[Format, Format], int], float]) -> dict[tuple[Format, Format], float]:
    """Milliseconds of one element by formats: the median of those of some tensors, given with their sizes."""
    each: dict[tuple[Format, Format], list[float]] = defaultdict(list)
    for (pair, size), milliseconds in found.items():
        each[pair].append(milliseconds / size)
    return {pair: statistics.median(rates) for pair, rates in each.items()}


def activations(flatbuffer: bytes, graph: Graph, sample: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """Values of all activations of the float network, by tensor index.

    Args:
      flatbuffer: The float model.
      graph: Of `flatbuffer`.
      sample: One array for each input.
    """
    written = [t for op in graph.ops for t in op.outputs]
    runner = Runner(Cutter(flatbuffer).whole(written).flatbuffer)
    found = dict(zip(graph.inputs, sample, strict=True))
    return found | dict(zip(written, runner.run(sample), strict=True))


def made_up_calibration(graph: Graph, values: Mapping[int, np.ndarray]) -> Calibration:
    """Ranges to convert a network with when nobody asks how precise it is: those of one sample.

    Args:
      graph: The float network.
      values: Of its float activations, by tensor index; what is not finite is left out.

    Returns:
      Ranges of all float activations; partial sums of every op that can be split, as wide as its output.
    """
    ranges = {}
    for tensor in graph.tensors:
        if tensor.index in values and tensor.dtype == "float32":
            finite = values[tensor.index][np.isfinite(values[tensor.index])]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (-1.0, 1.0)
            ranges[tensor.index] = Range(tensor.index, low, high, Histogram(0, 1.0, (1,)), 0.0, 1.0)
    sums = {}
    for op in graph.ops:
        if "w16a8" in op.schemes:
            reach = max(abs(ranges[op.outputs[0]].minimum), abs(ranges[op.outputs[0]].maximum), 1.0)
            sums[op.index] = ((-reach, reach), (-reach / 256, reach / 256))
    return Calibration(ranges, sums, 1, "made up", random=True, per_tensor_sums=sums)


def _op_jobs(
    flatbuffer: bytes,
    graph: Graph,
    schemes: Sequence[Sequence[str]],
    calibration: Calibration,
    values: Mapping[int, np.ndarray],
    per_channel: bool,
) -> Iterator[_OpJob]:
    model = fb.read(flatbuffer)
    alike = [_structure(model, op) for op in graph.ops]
    for scheme in SCHEMES:
        asked = [op for op in graph.ops if scheme in schemes[op.index]]
        if not asked:
            continue
        data, places = _converted(flatbuffer, graph, scheme, asked, calibration, per_channel)
        cutter = Cutter(data)
        operators = fb.read(data).subgraphs[0].operators
        groups: dict[str, list[Op]] = {}
        for op in asked:
            groups.setdefault(alike[op.index], []).append(op)
        for ops in groups.values():
            first = ops[0]
            piece = cutter.some(places[first.index])
            # The op of the file, or the first of the three of a split, reads what the float op reads, in that order.
            read = dict(zip(map(int, operators[places[first.index][0]].inputs), first.inputs, strict=False))
            given = {t: np.nan_to_num(values[read[t]]) for t in piece.inputs}
            yield _OpJob(tuple(op.key for op in ops), scheme, _Job(piece.write, given))


def _converted(
    flatbuffer: bytes, graph: Graph, scheme: str, ops: Sequence[Op], calibration: Calibration, per_channel: bool
) -> tuple[bytes, dict[int, tuple[int, ...]]]:
    """The file in which some ops have a scheme and the others are float, and where each of these ops lies in it."""
    if SCHEMES[scheme].is_float:
        return flatbuffer, {op.index: (op.index,) for op in ops}
    chosen = {op.index for op in ops}
    names = [scheme if op.index in chosen else "float" for op in graph.ops]
    plan = Plan.bare(graph, names, Format.FLOAT, per_channel=per_channel)
    data = convert(flatbuffer, graph, calibration, plan).model
    if mismatches := check_types(data, graph, plan):
        raise PlanMismatch(
            f"the file with {scheme} is not what was asked for: {mismatches[0].layer} has {mismatches[0].found}",
            "update litert-quantizer, or leave this model out",
        )
    model = fb.read(data)
    kept = iter(i for i, op in enumerate(model.subgraphs[0].operators) if fb.opcode_name(model, op) not in BORDERS)
    places = {}
    for op, name in zip(graph.ops, names, strict=True):
        if op.opcode not in BORDERS:
            places[op.index] = tuple(itertools.islice(kept, 3 if SCHEMES[name].is_split else 1))
    return data, places


def _structure(model: Any, op: Op) -> str:
    """Equal for ops that take the same time: their kind, options, shapes, and constants that are no real numbers."""
    operator, tensors = model.subgraphs[0].operators[op.index], model.subgraphs[0].tensors
    options = operator.builtinOptions
    parts: list[Any] = [op.opcode, sorted((k, str(v)) for k, v in vars(options).items()) if options else ""]
    for tensor in (*op.inputs, *op.outputs):
        if tensor < 0:
            parts.append("absent")
            continue
        constant = fb.constant(model, tensors[tensor])
        real = fb.dtype_name(tensors[tensor]).startswith("float")
        content = "" if constant is None or real else constant.tobytes().hex()
        shape = tuple(tensors[tensor].shape) if tensors[tensor].shape is not None else ()
        parts.append((shape, fb.dtype_name(tensors[tensor]), constant is None, content))
    return repr(parts)


def _border_tensors(graph: Graph) -> list[int]:
    """The largest of the network's float activations, no two of one size: there borders take time that counts."""
    activations = [t for op in graph.ops for t in (*graph.activations_in(op), *graph.activations_out(op))]
    by_size = {graph.tensors[t].elements: t for t in activations}
    return [by_size[size] for size in sorted(by_size)[-_BORDER_TENSORS:]]


def _border_job(seen: Range, values: np.ndarray, read: Format, written: Format) -> _Job:
    """A border op on activations of the network: from int16 to int8 takes twice as long where many are clipped."""
    wider = _WIDER if read is written else 1.0
    grids = _grid(seen, read, 1.0), _grid(seen, written, wider)
    return _Job(partial(border_network, values.shape, *grids), {0: np.nan_to_num(values)})


def _grid(seen: Range, fmt: Format, wider: float) -> Grid:
    if fmt is Format.FLOAT:
        return Grid(fmt)
    params = activation_params(seen.minimum * wider, seen.maximum * wider, fmt.bits)
    return Grid(fmt, params.scale, params.zero_point)

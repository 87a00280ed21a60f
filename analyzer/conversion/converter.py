"""From a plan to a mixed-precision `.tflite`.

litert-quantizer makes the file; it is told the range of every activation, so nothing here looks at data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, UsageError
from ..network import flatbuffer as fb
from ..network.kernels import CHANNEL_AXIS, WEIGHTED, WEIGHTS_INPUT
from ..network.rewrite import Split, relevant_range, split_weights
from ..schema import Calibration, Graph, PartialSums, Plan, Scheme
from .emission import Ranges, emit
from .recipe import Precision, build_recipe
from .weight_ranges import WeightRanges

DEGENERATE_SPAN = 2.0**-10
"""Width given to an activation that was 0 throughout calibration: with a span of 0 its scale would be some 4e-12, and
the first value that is not 0 would overflow every multiplier behind it."""


@dataclass(frozen=True)
class Conversion:
    """A file and how it came about.

    Attributes:
      model: The emitted `.tflite`, buffers inside.
      recipe: litert-quantizer's recipe for `prepared`, JSON-able; every entry hits exactly one op.
      ranges: As given to the quantizer, by tensor name: (minimum, maximum) of every float activation of `prepared`; and
        of the weights whose own extremes are not to be used, as nested lists of their rank.
      prepared: The float flatbuffer handed to the quantizer: the model after the hi + lo split. The model itself where
        nothing is split and no two ops read one buffer of weights in unlike shapes.
      splits: The ops whose weights were split.
    """

    model: bytes
    recipe: tuple[dict[str, Any], ...]
    ranges: Ranges
    prepared: bytes
    splits: tuple[Split, ...]


def convert(flatbuffer: bytes, graph: Graph, calibration: Calibration, plan: Plan) -> Conversion:
    """Makes the file that a plan describes; the same arguments give the same bytes.

    Args:
      flatbuffer: The float model, as `load_float` makes it.
      graph: Of `flatbuffer`.
      calibration: Ranges of all its float activations, and of the partial sums of every op that the plan splits.
      plan: One scheme for each op.

    Raises:
      UsageError: The plan is for another network, or gives an op a scheme that it does not have.
      DataError: An activation or a partial sum has no range.
      UnsupportedModel: litert-quantizer cannot convert one of the ops, which are named.
    """
    if fb.digest(flatbuffer) != graph.digest:
        raise ValueError("the graph was built from another flatbuffer")
    check_plan(graph, plan)
    split_ops = [op.index for op, scheme in zip(graph.ops, plan.schemes, strict=True) if scheme.is_split]
    prepared, splits = split_weights(flatbuffer, split_ops, per_channel=plan.per_channel)
    model = fb.read(prepared)
    if _unshare_unlike_weights(model):
        prepared = fb.write(model)
    ranges = activation_ranges(graph, calibration, splits, calibration.sums(plan.per_channel))
    precisions = precisions_of(plan.schemes)
    recipe = build_recipe(model, precisions, plan.io, per_channel=plan.per_channel)
    ranges |= WeightRanges(model, precisions, per_channel=plan.per_channel).of(ranges)
    return Conversion(emit(prepared, recipe, ranges), recipe, ranges, prepared, splits)


def check_plan(graph: Graph, plan: Plan) -> None:
    """Holds a plan, which a person may have edited, against the network.

    Raises:
      UsageError: It is for another network, or gives an op a scheme that the op does not have.
    """
    remedy = "make a plan for this model, or pass the model that this plan was made for"
    for index, (op, assignment) in enumerate(zip(graph.ops, plan.assignments, strict=False)):
        if op.key != assignment.op:
            raise UsageError(
                f"the plan is for another network: op {index} is {op.key} here and {assignment.op} in the plan", remedy
            )
        if assignment.scheme not in op.schemes:
            raise UsageError(
                f"plan: assignments[{index}].scheme: {op.layer} ({op.key}) cannot be {assignment.scheme}",
                f"choose one of {', '.join(op.schemes)}",
            )
    if len(graph.ops) != len(plan.assignments):
        raise UsageError(
            f"the plan is for another network: it has {len(plan.assignments)} ops, the model {len(graph.ops)}", remedy
        )


def precisions_of(schemes: Sequence[Scheme]) -> list[Precision]:
    """One for each op of the prepared model: a split op is two ops with int8 weights and an ADD."""
    found: list[Precision] = []
    for scheme in schemes:
        if scheme.is_split:
            found += [Precision(scheme.format)] * 3
        else:
            found.append(Precision(scheme.format, min(scheme.weight_bits, 8)))
    return found


def activation_ranges(
    graph: Graph, calibration: Calibration, splits: Sequence[Split] = (), partial_sums: PartialSums | None = None
) -> dict[str, tuple[Any, Any]]:
    """What the quantizer is told of every float activation: (minimum, maximum) by tensor name.

    Args:
      graph: Of the network.
      calibration: Its ranges.
      splits: Ops whose weights are split, with the names of their two sums.
      partial_sums: Ranges of these, by op index.

    Raises:
      DataError: An activation or a partial sum has no range, or one that is not finite.
    """
    activations = {t for t in graph.inputs if graph.tensors[t].dtype == "float32"}
    for op in graph.ops:
        activations.update(graph.activations_in(op))
        activations.update(graph.activations_out(op))
    found = {}
    for tensor in sorted(activations):
        seen = calibration.ranges.get(tensor)
        if seen is None:
            raise _no_range(f"tensor {graph.tensors[tensor].name!r}")
        found[graph.tensors[tensor].name] = usable_range(seen.minimum, seen.maximum)
    for split in splits:
        op = graph.ops[split.op]
        if partial_sums is None or split.op not in partial_sums:
            raise _no_range(f"the partial sum of {op.layer}")
        high, low = partial_sums[split.op]
        found[split.high_output] = usable_range(*relevant_range(op.activation, high, low))
        found[split.low_output] = usable_range(*low)
    return found


def usable_range(minimum: float, maximum: float) -> tuple[float, float]:
    """A calibrated range as the quantizer gets it: it holds 0, and it is not empty.

    Raises:
      DataError: The range is not finite.
    """
    if not (math.isfinite(minimum) and math.isfinite(maximum)):
        raise DataError(
            f"a calibrated range is not finite: {minimum} to {maximum}", "check the samples for NaN and infinity"
        )
    low, high = min(minimum, 0.0), max(maximum, 0.0)
    return (low, high) if low < high else (0.0, DEGENERATE_SPAN)


def _no_range(what: str) -> DataError:
    return DataError(f"{what} has no calibrated range", "calibrate again with this model")


def _unshare_unlike_weights(model: Any) -> bool:
    """Copies a weights buffer for each shape and channel axis in which ops read it; whether there was one.

    The quantizer remembers a buffer's scales by buffer and bit width alone, and would give the second reader the first
    one's.
    """
    tensors = model.subgraphs[0].tensors
    seen: dict[int, tuple[tuple[int, ...], int]] = {}
    copied: dict[tuple[int, tuple[int, ...], int], int] = {}
    for op in model.subgraphs[0].operators:
        opcode = fb.opcode_name(model, op)
        tensor = tensors[op.inputs[WEIGHTS_INPUT[opcode]]] if opcode in WEIGHTED else None
        if tensor is None or (values := fb.constant(model, tensor)) is None:
            continue
        reading = (values.shape, CHANNEL_AXIS[opcode])
        source = int(tensor.buffer)
        if seen.setdefault(source, reading) != reading:
            if (source, *reading) not in copied:
                fb.set_constant(model, tensor, values)
                copied[source, *reading] = tensor.buffer
            tensor.buffer = copied[source, *reading]
    return bool(copied)

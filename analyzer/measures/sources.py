"""The places where quantization enters a network, and what each of them does to which values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..network import kernels
from ..network.rewrite import relevant_range
from ..network.wiring import scaled_as
from ..schema import ACTIVATION_VARIANTS, SCHEMES, Calibration, Format, Graph, Op, Source
from . import quantization as q

Constants = Callable[[int], np.ndarray]
"""Values of a constant tensor, by its index."""


def sources_of(graph: Graph, calibration: Calibration, *, per_channel: bool = True) -> tuple[Source, ...]:
    """Every source of a network, in execution order: inputs first, then weights, output and edges of each op.

    An op without an integer scheme has no weights to quantize, but its readers may read its output as integers.
    The output of a movement op is none of its own, for it keeps its input's scale.

    Args:
      graph: The network.
      calibration: Its ranges.
      per_channel: Whether weights have a scale for each channel, or one for the tensor.
    """
    found: list[Source] = []
    for tensor in graph.inputs:
        if tensor in calibration.ranges:
            found += [Source("input", variant, tensor) for variant in ACTIVATION_VARIANTS]
    for op in graph.ops:
        own = _formats(op)
        if own:
            found += [Source.of_weights(op, v, per_channel=per_channel) for v in weight_variants(op)]
        if own and op.opcode in kernels.MOVEMENT:
            continue
        for tensor in graph.activations_out(op):
            formats = own.union(*(_formats(graph.ops[reader]) for reader in graph.consumers(tensor)))
            if tensor in graph.outputs:  # the model's output may be asked for in any format (--io)
                formats |= set(ACTIVATION_VARIANTS.values())
            found += [Source("activation", v, tensor, op.index) for v, f in ACTIVATION_VARIANTS.items() if f in formats]
    for tensor in sorted(calibration.ranges):
        readers = graph.consumers(tensor)
        if len(readers) > 1:
            producer = graph.producer(tensor)
            found += [Source("edge", "a8", tensor, producer, reader) for reader in readers]
    return tuple(found)


def _formats(op: Op) -> set[Format]:
    return {SCHEMES[name].format for name in op.schemes} - {Format.FLOAT}


def weight_variants(op: Op) -> tuple[str, ...]:
    """The weight variants that an op's schemes need, each once, in order."""
    return tuple(v for v in dict.fromkeys(op.variant(SCHEMES[name]) for name in op.schemes) if v)


def grids_of(source: Source, graph: Graph, calibration: Calibration) -> tuple[q.AffineParams, ...]:
    """The calibrated grids that a source rounds to: all that its rows depend on of the calibration.

    None for weights in 4 or 8 bits and for constant operands; those of both partial sums for weights in 16 bits.
    """
    if source.part == "weights":
        if source.variant not in ("w16a8", "w16a16") or source.op is None:
            return ()
        bits = 8 if source.variant == "w16a8" else 16
        high, low = calibration.sums(source.per_channel)[source.op]
        relevant = relevant_range(graph.ops[source.op].activation, high, low)
        return q.activation_params(*relevant, bits), q.activation_params(*low, bits)
    # What an edge rounds was written in another format, with no scale to keep.
    tensor = source.tensor
    if source.part == "activation":
        tensor = scaled_as(graph, tensor, {op.index for op in graph.ops if _formats(op)})
    producer = graph.producer(tensor)
    opcode = "" if producer is None else graph.ops[producer].opcode
    seen = calibration.ranges[tensor]
    bits = ACTIVATION_VARIANTS[source.variant].bits
    return (q.activation_params(seen.minimum, seen.maximum, bits, opcode),)


def rounded_constants(source: Source, op: Op, constant: Constants) -> dict[int, np.ndarray]:
    """The values that an op's constants are rounded to, by tensor index; not for split weights."""
    if op.weights is None:
        bits = 8 if source.variant == "c8" else 16
        return {t: q.fake_quantize_constant(constant(t), bits) for t in op.constants}
    bits = 4 if source.variant == "w4" else 8
    return {op.weights: q.fake_quantize_weights(constant(op.weights), _scale_axis(source, op), bits)}


def split(source: Source, op: Op, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """High and low part of weights in 16 bits, each rounded to 8."""
    axis = _scale_axis(source, op)
    high = q.fake_quantize_weights(weights, axis, 8)
    return high, q.fake_quantize_weights(weights - high, axis, 8)


def _scale_axis(source: Source, op: Op) -> int | None:
    """The axis along which the weights have a scale each; None where they have one."""
    return op.channel_axis if source.per_channel else None

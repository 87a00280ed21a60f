"""How many bytes a piece of a model takes in a flatbuffer, found by packing it.

A piece is packed again and again into one builder. The first ones bring vtables, which later ones of the same layout
share. Vectors are aligned, so each growth depends on where the piece starts; the mean is what many pieces cost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import flatbuffer as fb

_OFFSET = 4
"""Each tensor, op or buffer also has an offset in the vector that lists them."""

_WARM_UP, _MEASURED = 8, 8


def quantization_bytes(tensor: Any, channels: int, axis: int = 0) -> float:
    """What a tensor gains when it is quantized: its type, scales and zero points (of several channels: see
    `zero_points_bytes`).

    Args:
      tensor: `TensorT` of a parsed float model.
      channels: Number of scales.
      axis: The channel axis; it is stored unless it is 0.
    """
    layout = (tensor.shapeSignature is not None, bool(tensor.hasRank), tensor.quantization is not None)
    return _tensor(2, 1, *layout, channels, axis) - _tensor(2, 1, *layout, 0, 0)


def zero_points_bytes(channels: int) -> float:
    """The one vector of zero points that all constants with so many channels point at: int64, its length, padding."""
    return 8.0 * channels + 4 + 2


def tensor_bytes(name: str, tensor: Any) -> float:
    """A copy of a float tensor under another name, without its values.

    Args:
      name: The copy's name.
      tensor: `TensorT` of a parsed float model.
    """
    rank = 0 if tensor.shape is None else len(tensor.shape)
    layout = (tensor.shapeSignature is not None, bool(tensor.hasRank), tensor.quantization is not None)
    return _tensor(len(name.encode()), rank, *layout, 0, 0)


@functools.lru_cache(4096)
def buffer_bytes(size: int) -> float:
    """A buffer that holds `size` bytes of values."""
    packed = min(size, 16 + size % 16)

    def make() -> Any:
        buffer = fb.schema().BufferT()
        buffer.data = np.zeros(packed, np.uint8)
        return buffer

    return _growth(make) + _OFFSET + size - packed


def op_bytes(op: Any) -> float:
    """An op with its options.

    Args:
      op: `OperatorT` of a parsed model.
    """
    return _growth(lambda: op) + _OFFSET


@functools.lru_cache(64)
def border_bytes(rank: int, quantized: bool) -> float:
    """A QUANTIZE (DEQUANTIZE unless `quantized`) op and the tensor that it writes."""

    def tensor() -> Any:
        schema = fb.schema()
        made = schema.TensorT()
        made.name, made.shape = b"b00", [1] * rank
        if quantized:
            made.type = schema.TensorType.INT8
            made.quantization = _quantization(1, 0)
        return made

    def op() -> Any:
        made = fb.schema().OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = 1, [1], [1]
        return made

    return _growth(tensor) + _growth(op) + 2 * _OFFSET


@functools.lru_cache(1)
def add_bytes() -> float:
    """An ADD op with a fused activation."""

    def make() -> Any:
        schema = fb.schema()
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = 1, [1, 2], [1]
        op.builtinOptionsType = schema.BuiltinOptions.AddOptions
        op.builtinOptions = schema.AddOptionsT()
        op.builtinOptions.fusedActivationFunction, op.builtinOptions.potScaleInt16 = 1, False
        return op

    return _growth(make) + _OFFSET


@functools.lru_cache(1)
def opcode_bytes() -> float:
    """An operator code."""

    def make() -> Any:
        code = fb.schema().OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = 6
        return code

    return _growth(make) + _OFFSET


@functools.lru_cache(8192)
def _tensor(
    name: int, rank: int, signature: bool, has_rank: bool, has_table: bool, channels: int, axis: int
) -> float:  # fmt: skip
    def make() -> Any:
        schema = fb.schema()
        tensor = schema.TensorT()
        tensor.name, tensor.shape = b"x" * name, [1] * rank
        tensor.shapeSignature = [1] * rank if signature else None
        tensor.buffer, tensor.hasRank = 1, has_rank
        tensor.quantization = _quantization(channels, axis) if has_table or channels else None
        tensor.type = schema.TensorType.INT8 if channels else schema.TensorType.FLOAT32
        return tensor

    return _growth(make) + _OFFSET


def _quantization(channels: int, axis: int) -> Any:
    found = fb.schema().QuantizationParametersT()
    if channels:
        found.scale, found.zeroPoint = np.ones(channels, np.float32), np.zeros(channels, np.int64)
        found.quantizedDimension = axis
    return found


def _growth(make: Callable[[], Any]) -> float:
    builder = fb.builder()
    sizes = []
    for turn in range(_WARM_UP + _MEASURED):
        for _ in range(turn % 4):
            builder.PrependInt32(0)
        before = builder.Offset()
        make().Pack(builder)
        sizes.append(builder.Offset() - before)
    return float(sum(sizes[_WARM_UP:])) / _MEASURED

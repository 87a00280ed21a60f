"""An emitted file as a float network of the same ops: what a simulation of it runs, and the grids that it rounds to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..measures.quantization import AffineParams
from ..network import flatbuffer as fb

BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_ACTIVATION_BITS = {"int8": 8, "int16": 16}
_QUANTIZED = frozenset({"int4", "int8", "int16", "int32", "int64"})


@dataclass(frozen=True)
class Dequantized:
    """An emitted file in float.

    Attributes:
      flatbuffer: Tensors and ops have the indices that they have in the file. Constants hold the values that the file's
        integers stand for; QUANTIZE and DEQUANTIZE have become RESHAPE to the same shape, which does nothing. Fused
        activations that only clamp to what the output's grid ends at anyway are gone.
      grids: By tensor index, of every activation that the file keeps in integers.
    """

    flatbuffer: bytes
    grids: Mapping[int, AffineParams]


def dequantize(emitted: bytes) -> Dequantized:
    """Makes a float network of an emitted file.

    Args:
      emitted: What `converter.convert` made.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """
    model = fb.read(emitted)
    subgraph = model.subgraphs[0]
    grids: dict[int, AffineParams] = {}
    for index, tensor in enumerate(subgraph.tensors):
        scales = _scales(tensor)
        dtype = fb.dtype_name(tensor)
        if scales is None or dtype not in _QUANTIZED:
            continue
        integers = fb.constant(model, tensor)
        if integers is not None:
            fb.set_constant(model, tensor, _real_values(integers, tensor, scales))
        elif dtype in _ACTIVATION_BITS:
            zero_point = int(tensor.quantization.zeroPoint[0])
            grids[index] = AffineParams(float(scales[0]), zero_point, _ACTIVATION_BITS[dtype])
        tensor.type = fb.schema().TensorType.FLOAT32
        tensor.quantization = None
    _drop_clamps(model, grids)
    _disarm_borders(model)
    return Dequantized(fb.write(model), grids)


def weight_scales_of(emitted: bytes) -> dict[int, np.ndarray]:
    """Scales of every quantized constant of a file by tensor index, float32 [1] or [channels]."""
    model = fb.read(emitted)
    found = {}
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        scales = _scales(tensor)
        if scales is not None and fb.constant(model, tensor) is not None:
            found[index] = scales
    return found


def _scales(tensor: Any) -> np.ndarray | None:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return None
    return np.asarray(quantization.scale, np.float32)


def _real_values(integers: np.ndarray, tensor: Any, scales: np.ndarray) -> np.ndarray:
    shape = [1] * integers.ndim
    if len(scales) > 1:
        shape[int(tensor.quantization.quantizedDimension)] = -1
    zero_points = np.asarray(tensor.quantization.zeroPoint, np.int64)
    zeros = zero_points.reshape(shape if len(zero_points) > 1 else [1] * integers.ndim)
    return ((integers.astype(np.int64) - zeros) * scales.astype(np.float64).reshape(shape)).astype(np.float32)


def _drop_clamps(model: Any, grids: Mapping[int, AffineParams]) -> None:
    """Leaves clamping to the rounding where that does it: each pass over the activations costs training time."""
    enum = fb.schema().ActivationFunctionType
    clamps = {enum.RELU: (0.0, math.inf), enum.RELU6: (0.0, 6.0), enum.RELU_N1_TO_1: (-1.0, 1.0)}
    for op in model.subgraphs[0].operators:
        clamp = clamps.get(getattr(op.builtinOptions, "fusedActivationFunction", enum.NONE))
        grid = grids.get(int(op.outputs[0])) if len(op.outputs) == 1 else None
        if clamp and grid:
            low, high = ((end - grid.zero_point) * grid.scale for end in (grid.low, grid.high))
            if low > clamp[0] - grid.scale / 2 and high < clamp[1] + grid.scale / 2:
                op.builtinOptions.fusedActivationFunction = enum.NONE


def _disarm_borders(model: Any) -> None:
    schema = fb.schema()
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    code.version = 1
    borders = [op for op in model.subgraphs[0].operators if fb.opcode_name(model, op) in BORDERS]
    model.operatorCodes.append(code)
    for op in borders:
        op.opcodeIndex = len(model.operatorCodes) - 1
        op.builtinOptionsType, op.builtinOptions = 0, None

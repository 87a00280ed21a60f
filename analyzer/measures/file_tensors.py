"""The tensors of a quantized flatbuffer as numbers: grids, dequantized constants. Any converter's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..network import flatbuffer as fb
from .grids import BITS, INTEGERS, Grid, WeightGrid


def scales_of(tensor: Any) -> np.ndarray | None:
    """The scales of a tensor, float32 [1] or [channels]; None where it is not quantized."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return None
    return np.asarray(quantization.scale, np.float32)


def activation_grid(tensor: Any) -> Grid | None:
    """The grid of a tensor that is quantized with one scale; None of any other."""
    scales, dtype = scales_of(tensor), fb.dtype_name(tensor)
    if scales is None or len(scales) != 1 or dtype not in INTEGERS:
        return None
    low, high = INTEGERS[dtype]
    zero_points = tensor.quantization.zeroPoint
    zero_point = 0 if zero_points is None or len(zero_points) == 0 else int(zero_points[0])
    return Grid(float(scales[0]), zero_point, low, high, BITS[dtype])


def weight_grid(tensor: Any) -> WeightGrid | None:
    """The grid of quantized weights; None where the tensor is no quantized int4, int8, uint8 or int16."""
    scales, dtype = scales_of(tensor), fb.dtype_name(tensor)
    if scales is None or dtype not in INTEGERS:
        return None
    shape = [1] * (0 if tensor.shape is None else len(tensor.shape))
    if len(scales) > 1:
        shape[int(tensor.quantization.quantizedDimension)] = len(scales)
    found = tensor.quantization.zeroPoint
    zero_points = np.zeros(1, np.int64) if found is None or len(found) == 0 else np.asarray(found, np.int64)
    low, high = INTEGERS[dtype]
    zeros = np.broadcast_to(zero_points.reshape(-1), len(scales)).reshape(shape)
    return WeightGrid(scales.reshape(shape), zeros, low, high, BITS[dtype])


def dequantized(model: Any, tensor: Any) -> np.ndarray | None:
    """What a constant stands for, float32, in its own shape; None for an activation, or integers without a scale."""
    values = fb.constant(model, tensor)
    if values is None:
        return None
    if values.dtype.kind == "f":
        return np.asarray(values, np.float32)
    grid = weight_grid(tensor)
    if grid is not None:
        return grid.dequantize(values)
    scales = scales_of(tensor)
    return None if scales is None or values.ndim > 1 else np.asarray(values * scales.astype(np.float64), np.float32)

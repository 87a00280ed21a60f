"""Uniform affine quantization, as litert-quantizer does it: real = scale * (integer - zero_point).

Weights are symmetric per channel, int8 activations asymmetric per tensor, int16 activations symmetric (TFLite's
quantization specification; Jacob et al. 2018). Scales are float32 as in the file. Bit for bit equality with the emitted
file is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SMALLEST_BOUND = 1e-9
"""litert-quantizer's own floor for a range, so that no scale is 0."""


@dataclass(frozen=True)
class AffineParams:
    """Scale and zero point of one activation tensor.

    Attributes:
      bits: 8 (zero point in [-128, 127]) or 16 (zero point 0).
    """

    scale: float
    zero_point: int
    bits: int

    @property
    def low(self) -> int:
        """Smallest integer that can occur; int16 activations are symmetric."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        return (1 << (self.bits - 1)) - 1


_FIXED: dict[tuple[str, int], AffineParams] = {
    ("SOFTMAX", 8): AffineParams(1 / 256, -128, 8),
    ("SOFTMAX", 16): AffineParams(1 / 32768, 0, 16),
    ("LOGISTIC", 8): AffineParams(1 / 256, -128, 8),
    ("LOGISTIC", 16): AffineParams(1 / 32768, 0, 16),
    ("TANH", 8): AffineParams(1 / 128, 0, 8),
    ("TANH", 16): AffineParams(1 / 32768, 0, 16),
}
"""Outputs whose scale the kernels fix (TFLite's quantization specification)."""


def has_fixed_scale(opcode: str, bits: int) -> bool:
    """Whether the kernels of an op fix its output's scale, whatever its range is."""
    return (opcode, bits) in _FIXED


def activation_params(minimum: float, maximum: float, bits: int, opcode: str = "") -> AffineParams:
    """Scale and zero point for an activation range.

    The range is widened to hold 0, which padding needs.

    Args:
      minimum, maximum: Calibrated extremes.
      bits: 8 or 16.
      opcode: The producer's TFLite name: some kernels fix their output's scale.
    """
    if (opcode, bits) in _FIXED:
        return _FIXED[opcode, bits]
    if bits == 16:
        bound = max(abs(minimum), abs(maximum), SMALLEST_BOUND)
        return AffineParams(float(np.float32(bound / 32767)), 0, 16)
    scale = int8_scale(minimum, maximum)
    return AffineParams(float(np.float32(scale)), int(np.rint(-128 - min(minimum, 0.0) / scale)), 8)


def int8_scale(minimum: Any, maximum: Any) -> Any:
    """Scales of int8 activations as the quantizer goes on with them, before they are rounded to the file's float32.

    Args:
      minimum, maximum: Numbers, or arrays of one shape.
    """
    return np.maximum(np.maximum(maximum, 0.0) - np.minimum(minimum, 0.0), SMALLEST_BOUND) / 255


@dataclass(frozen=True, eq=False)
class Grids:
    """What `activation_params` gives each of several ranges.

    Attributes:
      scale: float64 [n], of float32's values.
      zero_point: float64 [n], whole numbers.
      bits: Of all of them: 8 or 16.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    bits: int

    @classmethod
    def of(cls, lows: np.ndarray, highs: np.ndarray, bits: int) -> Grids:
        """Of ranges [n] with a low and a high end."""
        if bits == 16:
            bound = np.maximum(np.maximum(np.abs(lows), np.abs(highs)), SMALLEST_BOUND)
            return cls(_float32(bound / 32767), np.zeros(len(lows)), 16)
        scale = int8_scale(lows, highs)
        return cls(_float32(scale), np.rint(-128 - np.minimum(lows, 0.0) / scale), 8)

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, some: np.ndarray) -> Grids:
        return Grids(self.scale[some], self.zero_point[some], self.bits)

    @property
    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest integer less the zero point, float64 [n] each: real ends are these times the scale."""
        return -(2.0 ** (self.bits - 1)) - self.zero_point, 2.0 ** (self.bits - 1) - 1 - self.zero_point


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(np.float64)


def fake_quantize(values: np.ndarray, params: AffineParams) -> np.ndarray:
    """Rounds values to the grid of `params` and back; float32, same shape."""
    scale = np.float32(params.scale)
    steps = np.clip(np.rint(values / scale) + np.float32(params.zero_point), params.low, params.high)
    return np.asarray((steps - np.float32(params.zero_point)) * scale, np.float32)


def weight_scales(weights: np.ndarray, axis: int | None, bits: int) -> np.ndarray:
    """Symmetric scales: max|w| / (2^(bits-1) - 1) per channel, or one for all where `axis` is None.

    Args:
      weights: Any shape, float32.
      axis: Channel axis.
      bits: 4 or 8.

    Returns:
      float32, the rank of `weights`, size 1 in every axis but `axis`.
    """
    axes = tuple(i for i in range(weights.ndim) if i != axis)
    bound = np.abs(weights).max(axis=axes, keepdims=True) if weights.size else np.zeros((1,) * weights.ndim)
    return np.asarray(np.maximum(bound, SMALLEST_BOUND) / ((1 << (bits - 1)) - 1), np.float32)


def best_weight_scales(weights: np.ndarray, axis: int | None, bits: int, shares: Sequence[float]) -> np.ndarray:
    """Symmetric scales with the least squared error, among shares of those that clip nothing; else as `weight_scales`.

    Args:
      weights, axis, bits: As for `weight_scales`.
      shares: Each in (0, 1]; of equally good ones the first is taken.
    """
    top = 2 ** (bits - 1) - 1
    others = tuple(i for i in range(weights.ndim) if i != axis)
    widest = weight_scales(weights, axis, bits)
    best, least = widest, np.full(widest.shape, np.inf)
    for share in shares:
        scales = np.maximum(widest * np.float32(share), SMALLEST_BOUND / top).astype(np.float32)
        rounded = np.clip(np.rint(weights / scales), -top, top) * scales
        error = np.square(rounded - weights, dtype=np.float64).sum(axis=others, keepdims=True)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return best


def quantize_weights(weights: np.ndarray, axis: int | None, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers (int8, same shape) and scales of symmetric weights."""
    scales = weight_scales(weights, axis, bits)
    top = 2 ** (bits - 1) - 1
    return np.clip(np.rint(weights / scales), -top, top).astype(np.int8), scales


def fake_quantize_weights(weights: np.ndarray, axis: int | None, bits: int) -> np.ndarray:
    """Weights rounded to `bits` bits per channel and back; float32, same shape."""
    integers, scales = quantize_weights(weights, axis, bits)
    return np.asarray(integers.astype(np.float32) * scales, np.float32)


def fake_quantize_constant(values: np.ndarray, bits: int) -> np.ndarray:
    """A constant operand (second input of ADD, MUL ...) rounded as an activation of its own range, and back."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return fake_quantize(values.astype(np.float32), activation_params(low, high, bits))


def fused(values: np.ndarray, activation: str) -> np.ndarray:
    """Applies a fused activation function that integer kernels know: NONE, RELU, RELU6 or RELU_N1_TO_1."""
    low, high = {"NONE": (None, None), "RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}[activation]
    return values if low is None else np.clip(values, low, high)

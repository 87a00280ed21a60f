"""The grids that a quantized file itself holds, of any converter: what its integers stand for. Pure NumPy.

`quantization.py` has the grids that Bitplan's own converter makes; these are read from a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

INTEGERS = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
"""The smallest and the largest integer of each type that quantized tensors have."""

BITS = {"int4": 4, "int8": 8, "uint8": 8, "int16": 16}


@dataclass(frozen=True)
class Grid:
    """The values that a quantized activation can hold: `scale * (integer - zero_point)`, low <= integer <= high.

    Attributes:
      bits: 8 or 16.
      clips: Whether values beyond the ends are brought to them.
      rounds: Whether values are brought to whole steps.
    """

    scale: float
    zero_point: int
    low: int
    high: int
    bits: int
    clips: bool = True
    rounds: bool = True

    @property
    def minimum(self) -> float:
        """The smallest real value."""
        return (self.low - self.zero_point) * self.scale

    @property
    def maximum(self) -> float:
        """The largest real value."""
        return (self.high - self.zero_point) * self.scale

    def equals(self, other: Grid) -> bool:
        """Whether both hold the same real values, as uint8 and int8 can with zero points 128 apart."""
        return (self.scale, self.low - self.zero_point, self.high - self.zero_point) == (
            other.scale, other.low - other.zero_point, other.high - other.zero_point,
        )  # fmt: skip

    def with_parts(self, *, clips: bool, rounds: bool) -> Grid:
        """The same grid that does only some of what it did before."""
        return replace(self, clips=self.clips and clips, rounds=self.rounds and rounds)

    def round(self, values: np.ndarray) -> np.ndarray:
        """What the grid makes of values; float32, same shape. Halves go to the even integer."""
        scale = np.float32(self.scale)
        if not self.rounds:
            return np.asarray(np.clip(values, self.minimum, self.maximum) if self.clips else values, np.float32)
        steps = np.rint(values / scale)
        if self.clips:
            steps = np.clip(steps, self.low - self.zero_point, self.high - self.zero_point)
        return np.asarray(steps * scale, np.float32)


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """The values that quantized weights can hold.

    Attributes:
      scales: float32 of the weights' rank, size 1 in every axis but the channels' (in all of them where one scale
        serves the whole tensor).
      zero_points: int64, of the same shape; 0 for symmetric weights.
      low, high: The smallest and the largest integer.
      bits: 4, 8 or 16.
    """

    scales: np.ndarray
    zero_points: np.ndarray
    low: int
    high: int
    bits: int

    @property
    def is_per_channel(self) -> bool:
        """Whether there is more than one scale."""
        return self.scales.size > 1

    def integers(self, values: np.ndarray) -> np.ndarray:
        """The integers nearest to values, int64, same shape, within the grid's ends."""
        steps = np.rint(values / self.scales).astype(np.int64) + self.zero_points
        return np.asarray(np.clip(steps, self.low, self.high))

    def dequantize(self, integers: np.ndarray) -> np.ndarray:
        """What integers stand for; float32, same shape."""
        steps = integers.astype(np.int64) - self.zero_points
        return np.asarray(steps * self.scales.astype(np.float64), np.float32)

    def round(self, values: np.ndarray) -> np.ndarray:
        """The nearest values of the grid; float32, same shape."""
        return self.dequantize(self.integers(values))

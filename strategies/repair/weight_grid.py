"""The grid that a layer's weights are rounded to, and the two neighbours on it between which each weight lies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...analyzer.measures.quantization import SMALLEST_BOUND

_SHARES = np.linspace(1.0, 0.4, 31, dtype=np.float32)
_MARGIN = 1.01
"""How much a channel's scale must exceed the least one that its bias needs, to be sure that this never decides."""


@dataclass(frozen=True)
class WeightGrid:
    """Symmetric weights as a matrix [groups, columns, outputs], between the points of their grid.

    The converter takes a channel's largest weight for the end of its grid. So each channel has a weight there that
    stays: from `scale * top` it gets the same scale again, bit for bit, where the scale itself is a float32 over `top`.

    Attributes:
      weights: float32, as the float network has them.
      bounds: float32 [groups, 1, outputs], or [1, 1, 1] where there is one for all: real value of the last point.
      scales: Likewise: real value of one step.
      top: The last point: 7 or 127. Its opposite is the first one; -8 and -128 stay unused.
      alone: Shape of `bounds`: channels that are 0, or so small beside their bias that the converter gives them a
        wider grid. They keep their float weights.
    """

    weights: np.ndarray
    bounds: np.ndarray
    scales: np.ndarray
    top: int
    alone: np.ndarray

    @cached_property
    def lower(self) -> np.ndarray:
        """float32: the grid point below each weight, or the last but one."""
        return np.asarray(np.clip(np.floor(self._steps), -self.top, self.top - 1), np.float32)

    @cached_property
    def share(self) -> np.ndarray:
        """float32: how far each weight lies from there on the way to the next point, in [0, 1]."""
        return np.asarray(np.clip(self._steps - self.lower, 0, 1), np.float32)

    @cached_property
    def free(self) -> np.ndarray:
        """bool: whether a weight may be rounded either way: not the grid's end, nor beyond it, nor left alone."""
        return np.asarray((np.abs(self.weights) < self.bounds) & ~self.alone)

    @cached_property
    def nearest(self) -> np.ndarray:
        """bool: whether the point above is the nearest, as the converter rounds."""
        return np.asarray(np.clip(np.rint(self._steps), -self.top, self.top) > self.lower)

    def integers(self, up: np.ndarray) -> np.ndarray:
        """int8: the points where `up` (bool) says which of the free weights are rounded up."""
        return np.asarray(self.lower + np.where(self.free, up, self.nearest), np.int8)

    def values(self, up: np.ndarray) -> np.ndarray:
        """What those points stand for in the file, float32."""
        return np.asarray(self.integers(up) * self.scales, np.float32)

    def float_weights(self, up: np.ndarray) -> np.ndarray:
        """float32 weights that the converter rounds to `integers(up)` and gives `scales`."""
        return np.where(self.alone, self.weights, self.values(up))

    @cached_property
    def _steps(self) -> np.ndarray:
        return np.asarray(self.weights.astype(np.float64) / self.scales)


def weight_grid(
    weights: np.ndarray, bits: int, emitted: np.ndarray, least: np.ndarray, moments: np.ndarray | None
) -> WeightGrid:
    """Chooses a layer's grid.

    Args:
      weights: float32 [groups, columns, outputs].
      bits: 4 or 8.
      emitted: The scales that the converter gives the weights as they are, [groups, 1, outputs], or [1, 1, 1].
      least: The least scales at which the biases fit, in the shape of `emitted`.
      moments: Mean products of what is multiplied with the weights, [groups, columns, columns]. With them the grid is
        that with the least squared error of the output when weights are rounded to the nearest: it may clip the
        largest ones. None for the grid that ends at the largest weight.
    """
    top = 2 ** (bits - 1) - 1
    per_channel = emitted.size > 1
    largest = np.abs(weights).max(axis=1 if per_channel else None, keepdims=True)
    alone = (largest <= 4 * SMALLEST_BOUND) | (least * _MARGIN >= emitted)
    bounds = largest
    if moments is not None:
        found = _best_bounds(weights, largest, top, moments)
        bounds = np.where(alone | (found <= least * _MARGIN * top), largest, found)
    scales = np.where(alone, emitted, bounds / np.float32(top))
    return WeightGrid(weights, bounds, scales, top, alone)


def _best_bounds(weights: np.ndarray, largest: np.ndarray, top: int, moments: np.ndarray) -> np.ndarray:
    """Where the grid ends best, in the shape of `largest`; of equally good ends the widest."""
    best, least = largest, np.full(largest.shape, np.inf)
    for share in _SHARES:
        bounds = largest * share
        scales = np.maximum(bounds, np.float32(SMALLEST_BOUND)) / np.float32(top)
        off = np.clip(np.rint(weights / scales), -top, top) * scales - weights
        error = (off * (moments @ off)).sum(axis=1 if largest.size > 1 else None, keepdims=True)
        best, least = np.where(error < least, bounds, best), np.minimum(error, least)
    return best

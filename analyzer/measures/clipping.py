"""Ranges of activations that are narrower than what calibration saw, from its histograms.

A narrower range clips the rarest values and gives all others a finer step. The values of a bin are taken to lie evenly
in it, for a bin is about as wide as a step. Where they are likely to be equal it has no width: zeros behind a ReLU,
and the largest value, which a clamp repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..schema import Range
from .quantization import AffineParams, activation_params

Ends = tuple[float, float]
"""(minimum, maximum)."""

_ONE_SIDED = tuple(np.linspace(0.01, 1.0, 100).tolist())
_COARSE = tuple(np.linspace(0.04, 1.0, 25).tolist())
_FINE = tuple(np.linspace(-0.04, 0.04, 9).tolist())


@dataclass(frozen=True)
class Bins:
    """A histogram with the extremes that were really seen.

    Attributes:
      lows, highs: float64 [bins], where the values of each bin lie; equal where they are taken to be one value.
      counts: float64 [bins].
    """

    lows: np.ndarray
    highs: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, seen: Range) -> Bins:
        """The bins of a range whose extremes come from data."""
        histogram = seen.histogram
        edges = (histogram.start + np.arange(len(histogram.counts) + 1)) * histogram.width
        lows, highs = (np.clip(ends, seen.minimum, seen.maximum) for ends in (edges[:-1], edges[1:]))
        if seen.minimum == 0.0:
            highs[0] = 0.0
        return cls(lows, highs, np.array(histogram.counts, np.float64))

    @property
    def centres(self) -> np.ndarray:
        """float64 [bins]."""
        return np.asarray((self.lows + self.highs) / 2)


def percentile_range(seen: Range, percent: float) -> Ends:
    """The narrowest range of whole bins that clips at most 100 - `percent` percent of the values at either end.

    It holds 0, as every quantized range does.

    Args:
      seen: Its extremes come from data.
      percent: In (50, 100].
    """
    bins = Bins.of(seen)
    allowed = math.floor(float(bins.counts.sum()) * (100 - percent) / 100 + 1e-6)
    below, above = np.cumsum(bins.counts), np.cumsum(bins.counts[::-1])
    first = int(np.searchsorted(below, allowed, side="right"))
    last = len(bins.counts) - 1 - int(np.searchsorted(above, allowed, side="right"))
    return min(float(bins.lows[first]), 0.0), max(float(bins.highs[last]), 0.0)


def squared_error(bins: Bins, grid: AffineParams) -> float:
    """Mean squared error of rounding values to a grid and clipping them to its ends.

    The integral of `(x - Q(x))^2`, each bin's values spread evenly over it.
    """
    low, high = grid.low - grid.zero_point, grid.high - grid.zero_point

    def rest(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = np.clip(np.rint(x / grid.scale), low, high)
        return steps, x - steps * grid.scale

    def integral(x: np.ndarray) -> np.ndarray:
        """From 0 to x: every whole step between them has `scale^3 / 12`."""
        steps, left = rest(x)
        return np.asarray(steps * grid.scale**3 / 12 + left**3 / 3)

    widths = bins.highs - bins.lows
    points = rest(bins.lows)[1] ** 2
    spread = (integral(bins.highs) - integral(bins.lows)) / np.where(widths > 0, widths, 1.0)
    return float((np.where(widths > 0, spread, points) * bins.counts).sum() / bins.counts.sum())


def mse_range(seen: Range, bits: int = 8) -> Ends:
    """The range whose grid has the least mean squared error.

    Args:
      seen: Its extremes come from data.
      bits: Of the activation: 8 or 16.
    """
    bins = Bins.of(seen)
    return _least(seen, lambda low, high: squared_error(bins, activation_params(low, high, bits)))


def divergence(bins: Bins, grid: AffineParams) -> float:
    """How much of a distribution a grid loses, by the Kullback-Leibler divergence.

    After Migacz, 8-bit Inference with TensorRT, 2017: the reference P is the histogram of the values within the grid's
    ends, with what lies outside added to its first and last bin. Q is the histogram of the values within, those of each
    step spread evenly over its bins that are not empty. Both are normalised.

    Returns:
      Nats; infinite where Q has nothing in a bin in which P has something.
    """
    low, high = ((end - grid.zero_point) * grid.scale for end in (grid.low, grid.high))
    centres = bins.centres
    inside = np.flatnonzero((centres >= low - grid.scale / 2) & (centres <= high + grid.scale / 2))
    if len(inside) == 0:
        return float("inf")
    first, last = inside[0], inside[-1]
    within = bins.counts[first : last + 1]
    wanted = within.copy()
    wanted[0] += bins.counts[:first].sum()
    wanted[-1] += bins.counts[last + 1 :].sum()
    steps = np.clip(np.rint(centres[first : last + 1] / grid.scale) + grid.zero_point, grid.low, grid.high)
    cells = (steps - grid.low).astype(np.int64)
    sums, filled = np.bincount(cells, within), np.bincount(cells, within > 0)
    found = np.where(within > 0, sums[cells] / np.maximum(filled[cells], 1), 0.0)
    used = wanted > 0
    if not (found[used] > 0).all():
        return float("inf")
    p, q = wanted[used] / wanted.sum(), found[used] / found.sum()
    return float((p * np.log(p / q)).sum())


def kl_range(seen: Range, bits: int = 8) -> Ends:
    """The range whose grid has the least `divergence`; the whole range for 16 bits, whose steps are finer than bins."""
    if bits > 8:
        return seen.minimum, seen.maximum
    bins = Bins.of(seen)
    return _least(seen, lambda low, high: divergence(bins, activation_params(low, high, bits)))


METHODS: Mapping[str, Callable[[Range], Ends]] = {
    "min-max": lambda seen: (seen.minimum, seen.maximum),
    "percentile-99.9": lambda seen: percentile_range(seen, 99.9),
    "percentile-99.99": lambda seen: percentile_range(seen, 99.99),
    "percentile-99.999": lambda seen: percentile_range(seen, 99.999),
    "mse": mse_range,
    "kl": kl_range,
}
"""Ways to an int8 activation's range, by the name under which they are asked for."""


def _least(seen: Range, error: Callable[[float, float], float]) -> Ends:
    """The ends with the least error: of those equally good the widest."""
    found, least = (seen.minimum, seen.maximum), error(seen.minimum, seen.maximum)
    for candidates in (_wide, _near):
        for low, high in candidates(seen, found):
            value = error(low, high)
            if value < least:
                found, least = (low, high), value
    return found


def _wide(seen: Range, _found: Ends) -> Iterator[Ends]:
    """Ends all over the range, the widest first; an end at 0 or beyond stays."""
    low, high = seen.minimum, seen.maximum
    if low >= 0 or high <= 0:
        for share in reversed(_ONE_SIDED):
            yield (low, share * high) if low >= 0 else (share * low, high)
        return
    for below in reversed(_COARSE):
        for above in reversed(_COARSE):
            yield below * low, above * high


def _near(seen: Range, found: Ends) -> Iterator[Ends]:
    """Ends close to the ones found, within the range."""
    low, high = seen.minimum, seen.maximum
    if low >= 0 or high <= 0:
        return
    around = found
    for below in reversed(_FINE):
        for above in reversed(_FINE):
            yield (
                float(np.clip(around[0] + below * low, low, 0.0)),
                float(np.clip(around[1] + above * high, 0.0, high)),
            )

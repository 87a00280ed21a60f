"""Ranges of activations that are narrower than what calibration saw, from its histograms.

A narrower range clips the rarest values and gives all others a finer step. The values of a bin are taken to lie evenly
in it, for a bin is about as wide as a step. Where they are likely to be equal it has no width: zeros behind a ReLU,
and the largest value, which a clamp repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..schema import Range
from .quantization import AffineParams, activation_params

Ends = tuple[float, float]
"""(minimum, maximum)."""

_ONE_SIDED = tuple(np.linspace(0.01, 1.0, 100).tolist())
_COARSE = tuple(np.linspace(0.04, 1.0, 25).tolist())
_FINE = tuple(np.linspace(-0.04, 0.04, 9).tolist())
_STEPS = 256
_AT_ONCE = 32
"""Grids that are tried at once: so many errors of 512 bins stay in a processor's cache."""


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
    return float(squared_errors(bins, [grid])[0])


def squared_errors(bins: Bins, grids: Sequence[AffineParams]) -> np.ndarray:
    """`squared_error` of several grids, float64 [grids]."""
    scale, zero = _column([g.scale for g in grids]), _column([g.zero_point for g in grids])
    low, high = _column([g.low for g in grids]) - zero, _column([g.high for g in grids]) - zero

    def rest(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = np.clip(np.rint(x / scale), low, high)
        return steps, x - steps * scale

    def integral(x: np.ndarray) -> np.ndarray:
        """From 0 to x: every whole step between them has `scale^3 / 12`."""
        steps, left = rest(x)
        return np.asarray(steps * (scale**3 / 12) + left * left * left / 3)

    widths = bins.highs - bins.lows
    points = widths <= 0
    error = (integral(bins.highs) - integral(bins.lows)) / np.where(points, 1.0, widths)
    error[:, points] = rest(bins.lows[points])[1] ** 2
    return np.asarray((error * bins.counts).sum(axis=1) / bins.counts.sum())


def mse_range(seen: Range, bits: int = 8) -> Ends:
    """The range whose grid has the least mean squared error.

    Args:
      seen: Its extremes come from data.
      bits: Of the activation: 8 or 16.
    """
    bins = Bins.of(seen)
    return _least(seen, bits, lambda grids: squared_errors(bins, grids))


def divergence(bins: Bins, grid: AffineParams) -> float:
    """How much of a distribution a grid loses, by the Kullback-Leibler divergence.

    After Migacz, 8-bit Inference with TensorRT, 2017: the reference P is the histogram of the values within the grid's
    ends, with what lies outside added to its first and last bin. Q is the histogram of the values within, those of each
    step spread evenly over its bins that are not empty. Both are normalised.

    Returns:
      Nats; infinite where Q has nothing in a bin in which P has something.
    """
    return float(divergences(bins, [grid])[0])


def divergences(bins: Bins, grids: Sequence[AffineParams]) -> np.ndarray:
    """`divergence` of several 8-bit grids, float64 [grids]."""
    scale, zero = _column([g.scale for g in grids]), _column([g.zero_point for g in grids])
    low, high = _column([g.low for g in grids]), _column([g.high for g in grids])
    centres, counts, rows = bins.centres, bins.counts, np.arange(len(grids))
    inside = (centres >= (low - zero - 0.5) * scale) & (centres <= (high - zero + 0.5) * scale)
    within = np.where(inside, counts, 0.0)
    first, last = inside.argmax(axis=1), len(counts) - 1 - inside[:, ::-1].argmax(axis=1)
    before = np.concatenate([[0.0], np.cumsum(counts)])
    wanted = within.copy()
    wanted[rows, first] += before[first]
    wanted[rows, last] += before[-1] - before[last + 1]
    cells = np.clip(np.rint(centres / scale) + zero, low, high) + rows[:, None] * _STEPS
    # Cells rise along a row and from row to row, so that each is one run of bins.
    starts = np.concatenate([[0], np.flatnonzero(np.diff(cells.ravel())) + 1])
    sums, filled = (np.add.reduceat(values.ravel(), starts) for values in (within, (within > 0).astype(np.float64)))
    spread = np.repeat(sums / np.maximum(filled, 1), np.diff(np.append(starts, cells.size)))
    found = np.where(within > 0, spread.reshape(within.shape), 0.0)
    used = wanted > 0
    lost = ~inside.any(axis=1) | (used & (found <= 0)).any(axis=1)
    p, q = (values / np.maximum(values.sum(axis=1, keepdims=True), 1.0) for values in (wanted, found))
    # Where P has nothing the term is 0; where Q alone has nothing the whole row is infinite, whatever its terms are.
    safe = used & (q > 0)
    return np.where(lost, np.inf, (p * np.log(np.where(safe, p, 1.0) / np.where(safe, q, 1.0))).sum(axis=1))


def kl_range(seen: Range, bits: int = 8) -> Ends:
    """The range whose grid has the least `divergence`; the whole range for 16 bits, whose steps are finer than bins."""
    if bits > 8:
        return seen.minimum, seen.maximum
    bins = Bins.of(seen)
    return _least(seen, bits, lambda grids: divergences(bins, grids))


METHODS: Mapping[str, Callable[[Range], Ends]] = {
    "min-max": lambda seen: (seen.minimum, seen.maximum),
    "percentile-99.9": lambda seen: percentile_range(seen, 99.9),
    "percentile-99.99": lambda seen: percentile_range(seen, 99.99),
    "percentile-99.999": lambda seen: percentile_range(seen, 99.999),
    "mse": mse_range,
    "kl": kl_range,
}
"""Ways to an int8 activation's range, by the name under which they are asked for."""


def _least(seen: Range, bits: int, errors: Callable[[Sequence[AffineParams]], np.ndarray]) -> Ends:
    """The ends with the least error: of those equally good the widest."""
    found = (seen.minimum, seen.maximum)
    least = float(errors([activation_params(*found, bits)])[0])
    for candidates in (_wide, _near):
        tried = list(candidates(seen, found))
        for start in range(0, len(tried), _AT_ONCE):
            some = tried[start : start + _AT_ONCE]
            values = errors([activation_params(*ends, bits) for ends in some])
            best = int(np.argmin(values))
            if values[best] < least:
                found, least = some[best], float(values[best])
    return found


def _column(values: Sequence[float]) -> np.ndarray:
    return np.array(values, np.float64)[:, None]


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

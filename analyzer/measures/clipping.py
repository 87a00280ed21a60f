"""Ranges of activations that are narrower than what calibration saw, from its histograms.

A narrower range clips the rarest values and gives all others a finer step. The values of a bin are taken to lie evenly
in it, for a bin is about as wide as a step. Where they are likely to be equal it has no width: zeros behind a ReLU,
and the largest value, which a clamp repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..schema import Range
from .quantization import Grids

Ends = tuple[float, float]
"""(minimum, maximum)."""

_ONE_SIDED = np.linspace(0.01, 1.0, 100)[::-1]
_COARSE = np.linspace(0.04, 1.0, 25)[::-1]
_FINE = np.linspace(-0.04, 0.04, 9)[::-1]
_STEPS = 256
_AT_ONCE = 32
"""Grids that are tried at once: so many errors of 512 bins stay in a processor's cache."""

_CLOSE = 1e-9
"""Share by which a floor may be too high because both it and the error it is for are rounded."""


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


def squared_errors(bins: Bins, grids: Grids) -> np.ndarray:
    """Mean squared errors of rounding values to each grid and clipping them to its ends, float64 [grids].

    The integral of `(x - Q(x))^2`, each bin's values spread evenly over it.
    """
    scale, (low, high) = grids.scale[:, None], (ends[:, None] for ends in grids.steps)

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


def clipped_squares(bins: Bins, grids: Grids) -> np.ndarray:
    """What whole bins beyond a grid's ends add to its `squared_errors`, which are no less; float64 [grids]."""
    widths, total = bins.highs - bins.lows, bins.counts.sum()
    powers = (np.ones(len(widths)), bins.centres, bins.centres**2 + widths**2 / 12)
    below = [np.concatenate([[0.0], np.cumsum(bins.counts * power)]) for power in powers]
    low, high = (steps * grids.scale for steps in grids.steps)
    first, last = np.searchsorted(bins.highs, low, "right"), np.searchsorted(bins.lows, high, "left")
    outside = [(sums[first], sums[-1] - sums[last]) for sums in below]
    (count_low, count_high), (sum_low, sum_high), (square_low, square_high) = outside
    lost = square_low - 2 * low * sum_low + low**2 * count_low
    lost += square_high - 2 * high * sum_high + high**2 * count_high
    return np.asarray(lost / total)


def mse_range(seen: Range, bits: int = 8) -> Ends:
    """The range whose grid has the least mean squared error.

    Args:
      seen: Its extremes come from data.
      bits: Of the activation: 8 or 16.
    """
    return _least(seen, bits, squared_errors, clipped_squares)


def divergences(bins: Bins, grids: Grids) -> np.ndarray:
    """How much of a distribution each 8-bit grid loses, by the Kullback-Leibler divergence.

    After Migacz, 8-bit Inference with TensorRT, 2017: the reference P is the histogram of the values within the grid's
    ends, with what lies outside added to its first and last bin. Q is the histogram of the values within, those of each
    step spread evenly over its bins that are not empty. Both are normalised.

    Returns:
      Nats, float64 [grids]; infinite where Q has nothing in a bin in which P has something.
    """
    centres, counts, rows = bins.centres, bins.counts, np.arange(len(grids))
    first, stop = _inside(bins, grids)
    places = np.arange(len(counts))
    inside = (places >= first[:, None]) & (places < stop[:, None])
    within = np.where(inside, counts, 0.0)
    before = np.concatenate([[0.0], np.cumsum(counts)])
    wanted = within.copy()
    some = first < stop
    wanted[rows[some], first[some]] += before[first[some]]
    wanted[rows[some], stop[some] - 1] += before[-1] - before[stop[some]]
    low, high = (steps[:, None] for steps in grids.steps)
    cells = np.clip(np.rint(centres / grids.scale[:, None]), low, high) - low + rows[:, None] * _STEPS
    # Cells rise along a row and from row to row, so that each is one run of bins.
    starts = np.concatenate([[0], np.flatnonzero(np.diff(cells.ravel())) + 1])
    sums, filled = (np.add.reduceat(values.ravel(), starts) for values in (within, (within > 0).astype(np.float64)))
    spread = np.repeat(sums / np.maximum(filled, 1), np.diff(np.append(starts, cells.size)))
    found = np.where(within > 0, spread.reshape(within.shape), 0.0)
    used = wanted > 0
    lost = ~some | (used & (found <= 0)).any(axis=1)
    p, q = (values / np.maximum(values.sum(axis=1, keepdims=True), 1.0) for values in (wanted, found))
    # Where P has nothing the term is 0; where Q alone has nothing the whole row is infinite, whatever its terms are.
    safe = used & (q > 0)
    return np.where(lost, np.inf, (p * np.log(np.where(safe, p, 1.0) / np.where(safe, q, 1.0))).sum(axis=1))


def clipped_divergences(bins: Bins, grids: Grids) -> np.ndarray:
    """The divergence that clipping alone brings, float64 [grids]; `divergences` are no less.

    That of the same P and Q with the bins of the first step joined, those of the last, and those between them: no
    divergence grows when events are joined, and spreading a step's values evenly keeps their sum.
    """
    every_first, every_stop = _inside(bins, grids)
    found, some = np.full(len(grids), np.inf), np.flatnonzero(every_first < every_stop)
    first, stop, grids = every_first[some], every_stop[some], grids[some]
    after_first, before_last = _step_of(bins, grids, first)[1], _step_of(bins, grids, stop - 1)[0]
    before = np.concatenate([[0.0], np.cumsum(bins.counts)])
    # The edges of the three groups, of all values and of those within; one step alone holds everything.
    middle = np.maximum(before[before_last], before[after_first])
    p = np.stack([before[after_first], middle - before[after_first], before[-1] - middle])
    q = np.stack([before[after_first] - before[first], middle - before[after_first], before[stop] - middle])
    alone = after_first > before_last
    p, q = p / before[-1], q / np.maximum(before[stop] - before[first], 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / q), 0.0)
    found[some] = np.where(alone, 0.0, terms.sum(axis=0))
    return found


def _inside(bins: Bins, grids: Grids) -> tuple[np.ndarray, np.ndarray]:
    """The bins whose centres lie at most half a step beyond a grid's ends: first and behind the last, int64 [grids]."""
    low, high = ((steps + side) * grids.scale for steps, side in zip(grids.steps, (-0.5, 0.5), strict=True))
    return np.searchsorted(bins.centres, low, "left"), np.searchsorted(bins.centres, high, "right")


def _step_of(bins: Bins, grids: Grids, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bins that are rounded to the same step as one of them: first and behind the last, int64 [grids] each."""
    centres, (low, high) = bins.centres, grids.steps

    def steps(place: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(np.rint(centres[place] / grids.scale), low, high))

    step = steps(at)
    start = np.minimum(np.searchsorted(centres, (step - 0.5) * grids.scale, "left"), at)
    stop = np.searchsorted(centres, (step + 0.5) * grids.scale, "right")
    # A centre in the middle between two steps is rounded to the even one.
    start += steps(start) != step
    stop -= steps(stop - 1) != step
    return start, stop


def kl_range(seen: Range, bits: int = 8) -> Ends:
    """The range whose grid has the least divergence; the whole range for 16 bits, whose steps are finer than bins."""
    if bits > 8:
        return seen.minimum, seen.maximum
    return _least(seen, bits, divergences, clipped_divergences)


METHODS: Mapping[str, Callable[[Range], Ends]] = {
    "min-max": lambda seen: (seen.minimum, seen.maximum),
    "percentile-99.9": lambda seen: percentile_range(seen, 99.9),
    "percentile-99.99": lambda seen: percentile_range(seen, 99.99),
    "percentile-99.999": lambda seen: percentile_range(seen, 99.999),
    "mse": mse_range,
    "kl": kl_range,
}
"""Ways to an int8 activation's range, by the name under which they are asked for."""


def _least(
    seen: Range, bits: int, errors: Callable[[Bins, Grids], np.ndarray], floors: Callable[[Bins, Grids], np.ndarray]
) -> Ends:
    """The ends with the least error: of those equally good the widest.

    Args:
      seen: Its extremes come from data.
      bits: Of the activation.
      errors: Of each of some grids.
      floors: What these are no less than; quick, and large where much is clipped, so that few errors are worked out.
    """
    bins = Bins.of(seen)
    found = np.array([seen.minimum]), np.array([seen.maximum])
    least = float(errors(bins, Grids.of(*found, bits))[0])
    for candidates in (_wide, _near):
        lows, highs = candidates(seen, (float(found[0][0]), float(found[1][0])))
        grids = Grids.of(lows, highs, bits)
        lowest, place = floors(bins, grids), -1
        order = np.argsort(lowest, kind="stable")
        for start in range(0, len(order), _AT_ONCE):
            some = order[start : start + _AT_ONCE]
            some = some[lowest[some] <= least * (1 + _CLOSE)]
            if not len(some):
                break
            for value, k in zip(errors(bins, grids[some]).tolist(), some.tolist(), strict=True):
                if value < least or (value == least and 0 <= k < place):
                    least, place = value, k
        if place >= 0:
            found = lows[place : place + 1], highs[place : place + 1]
    return float(found[0][0]), float(found[1][0])


def _wide(seen: Range, _found: Ends) -> tuple[np.ndarray, np.ndarray]:
    """Ends all over the range, the widest first; an end at 0 or beyond stays."""
    low, high = seen.minimum, seen.maximum
    if low >= 0:
        return np.full(len(_ONE_SIDED), low), _ONE_SIDED * high
    if high <= 0:
        return _ONE_SIDED * low, np.full(len(_ONE_SIDED), high)
    return np.repeat(_COARSE * low, len(_COARSE)), np.tile(_COARSE * high, len(_COARSE))


def _near(seen: Range, found: Ends) -> tuple[np.ndarray, np.ndarray]:
    """Ends close to the ones found, within the range; none where an end is at 0 or beyond."""
    low, high = seen.minimum, seen.maximum
    if low >= 0 or high <= 0:
        return np.zeros(0), np.zeros(0)
    lows, highs = np.clip(found[0] + _FINE * low, low, 0.0), np.clip(found[1] + _FINE * high, 0.0, high)
    return np.repeat(lows, len(_FINE)), np.tile(highs, len(_FINE))

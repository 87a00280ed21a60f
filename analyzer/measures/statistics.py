"""Paired tests and intervals on differences between two models on the same samples. Pure scipy.

A difference is float minus quantized, one number a sample: for right and wrong answers +1 (only float is right), -1
(only the quantized model is) or 0; such differences are called *ternary* here, and `unit` is what one of them counts
(100 where the figure is in percentage points).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import schema
from ..errors import DataError

Decision = Literal["holds", "broken", "undecided"]

_POWER = 0.8  # of `samples_needed`: the chance that so many samples do decide
_MOST_SAMPLES = 1e9  # more than anybody has
_BLOCK_DRAWS = 1 << 21  # bootstrap indices drawn at a time: 16 MB


def paired_bootstrap(
    differences: ArrayLike, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0, unit: float = 1.0
) -> schema.Interval:
    """Interval of the mean difference: the percentile bootstrap over samples, widened where few samples differ.

    Ternary differences are not drawn: what the bootstrap converges to with ever more resamples is computed, from the
    multinomial distribution of a resample. For anything else `resamples` are drawn.

    The bootstrap only knows what it has seen. Where no sample differs it answers 0 +- 0, and where one does, hardly
    more; but n samples without a difference only say that differences are rarer than about 4 in n. So the interval
    returned covers the bootstrap's and one that is right for few differing samples too: for ternary differences Tango's
    score interval, which gives +- z^2 / (n + z^2) where none differs (0.38 points for 1000 samples); else Student's t.
    It never has zero width.

    Args:
      differences: Shape [n]; their order does not change the result.
      confidence: Of the two-sided interval.
      resamples: Drawn where the differences are not ternary.
      seed: Of these draws.
      unit: Magnitude of a ternary difference; differences that are all 0, `unit` or `-unit` are ternary. Where all
        differences are equal it is also how large one that was not seen is taken to be.

    Returns:
      Mean, low and high in the unit of the differences. A single sample that is not ternary, and differences that are
      not finite, give an interval without bounds.

    Raises:
      DataError: There are no samples.
      ValueError: `confidence` or `unit` is out of range.
    """
    d = _sorted(differences)
    if not 0 < confidence < 1 or unit <= 0:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1 and unit {unit} above 0")
    if not np.isfinite(d).all():
        return schema.Interval(float(d.sum() / len(d)), -math.inf, math.inf)
    mean = math.fsum(d) / len(d)
    if counts := _ternary(d, unit):
        b, c = counts
        ranges = [_ideal_bootstrap(b, c, len(d), confidence), tango_interval(b, c, len(d), confidence)]
        low, high = (unit * bound for bound in _hull(ranges))
    else:
        low, high = _hull([_drawn_bootstrap(d, confidence, resamples, seed), _t_interval(d, mean, confidence, unit)])
    # Rounding must not put the mean outside its own interval.
    return schema.Interval(mean, min(low, mean), max(high, mean))


def tango_interval(b: int, c: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Tango's score interval of (b - c) / n for paired yes/no answers (Statistics in Medicine 17, 1998, p. 891).

    Holds every difference that a score test does not reject. Its coverage is near nominal for few discordant pairs too,
    and it is McNemar's test turned round: it excludes 0 exactly where |b - c| / sqrt(b + c) > z.

    Args:
      b, c: Counts of +1 and of -1.
      n: All pairs, those without a difference included.
    """
    z = _normal_quantile(0.5 + confidence / 2)
    estimate = (b - c) / n

    def bound(outside: float) -> float:
        inside = estimate
        for _ in range(60):  # halves an interval of 2 down to the spacing of floats
            middle = (inside + outside) / 2
            if abs(_tango_score(b, c, n, middle)) <= z:
                inside = middle
            else:
                outside = middle
        return inside

    return (-1.0 if c == n else bound(-1.0)), (1.0 if b == n else bound(1.0))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided p-value of the exact McNemar test: are the b + c discordant pairs split evenly?

    Args:
      b: Samples that only the first model answers rightly.
      c: Samples that only the second does.

    Returns:
      1 where no pair is discordant: there is no evidence at all.
    """
    from scipy import stats

    return 1.0 if b + c == 0 else float(stats.binomtest(b, b + c, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests corrected after Holm (Scandinavian Journal of Statistics 6, 1979, p. 65).

    Whatever the tests have to do with each other, the chance that any true hypothesis gets less than 0.05 is at most
    0.05. The smallest of m values is multiplied by m, the next by m - 1 and so on; none ends up below a smaller one.

    Args:
      p_values: 0 to 1.

    Returns:
      In the same order.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def samples_needed(differences: ArrayLike, limit: float, *, confidence: float = 0.95, unit: float = 1.0) -> int | None:
    """About how many samples decide whether the mean difference is below `limit`.

    As many as bring `paired_bootstrap`'s interval clear of the limit with a chance of 80 %, should further samples
    differ as these do: the score of a test against the limit grows with the square root of the number of samples.

    Args:
      differences: Shape [n], those of the samples at hand.
      limit: In the unit of the differences.
      confidence: Of the interval.
      unit: As in `paired_bootstrap`.

    Returns:
      None where no number can be given: the mean lies on the limit, or so close that 10^9 samples would not do, or the
      spread is unknown.

    Raises:
      DataError: There are no samples.
    """
    d = _sorted(differences)
    if not np.isfinite(d).all():
        return None
    mean = math.fsum(d) / len(d)
    distance = abs(mean - limit)
    target = _normal_quantile(0.5 + confidence / 2) + _normal_quantile(_POWER)
    if counts := _ternary(d, unit):
        if abs(limit) >= unit:
            return 1  # no difference can be larger
        distance = abs(_tango_score(*counts, len(d), limit / unit))
        root = target * math.sqrt(len(d))
    elif len(d) == 1:
        return None
    elif d[0] == d[-1]:
        root = target * math.sqrt(max(0.0, max(unit, abs(mean)) - distance) * distance)
    else:
        root = target * float(d.std(ddof=1))
    if root >= distance * math.sqrt(_MOST_SAMPLES):
        return None
    return max(1, math.ceil((root / distance) ** 2))


def pairs_needed(worse: int, better: int, samples: int, limit: float) -> int | None:
    """`samples_needed` in percentage points, from counts.

    Args:
      worse: Samples that only the float model answers rightly.
      better: Samples that only the other one does.
      samples: All of them.
      limit: Percentage points.
    """
    same = samples - worse - better
    return samples_needed([100.0] * worse + [-100.0] * better + [0.0] * same, limit, unit=100.0)


def decide(interval: schema.Interval, limit: float) -> Decision:
    """Whether a drop is at most `limit`: `holds` or `broken` where the whole interval says so, else `undecided`."""
    if interval.high <= limit:
        return "holds"
    return "broken" if interval.low > limit else "undecided"


def _sorted(differences: ArrayLike) -> NDArray[np.float64]:
    d = np.sort(np.asarray(differences, np.float64).reshape(-1))
    if len(d) == 0:
        raise DataError("there are no samples to compare", "give at least one evaluation sample")
    return d


def _ternary(d: NDArray[np.float64], unit: float) -> tuple[int, int] | None:
    """Counts of `unit` and of `-unit`; None where there are other differences."""
    b, c = int(np.sum(d == unit)), int(np.sum(d == -unit))
    return (b, c) if b + c + int(np.sum(d == 0)) == len(d) else None


def _hull(ranges: list[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _ideal_bootstrap(b: int, c: int, n: int, confidence: float) -> tuple[float, float]:
    """Percentiles of (b* - c*) / n where (b*, c*, rest) is a resample of n from the counts (b, c, n - b - c).

    The distribution of the sum of n draws from {-1, 0, 1} is the n-th convolution power of that of one, and a power of
    its Fourier transform.
    """
    one = np.zeros(2 * n + 1)
    one[[0, 1, -1]] = (n - b - c) / n, b / n, c / n
    chances = np.clip(np.fft.ifft(np.fft.fft(one) ** n).real, 0, None)
    cumulative = np.cumsum(np.concatenate([chances[n + 1 :], chances[: n + 1]]))
    tail = (1 - confidence) / 2
    # A percentile that falls on a step exactly, as it does for few samples, must not hang on the last bit of the FFT.
    low, high = np.searchsorted(cumulative, np.array([tail, 1 - tail]) * cumulative[-1] - 1e-10)
    return (int(low) - n) / n, (int(high) - n) / n


def _drawn_bootstrap(d: NDArray[np.float64], confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    rng, n = np.random.default_rng(seed), len(d)
    step = max(1, _BLOCK_DRAWS // n)
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    means = np.concatenate([d[rng.integers(0, n, (size, n))].mean(axis=1) for size in sizes])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _t_interval(d: NDArray[np.float64], mean: float, confidence: float, unit: float) -> tuple[float, float]:
    from scipy import special

    n = len(d)
    if n == 1:
        return -math.inf, math.inf
    if d[0] == d[-1]:
        # No spread was seen. As for ternary differences: another one may lurk in z^2 of n + z^2 samples.
        squared = _normal_quantile(0.5 + confidence / 2) ** 2
        half = max(unit, abs(mean)) * squared / (n + squared)
    else:
        half = float(special.stdtrit(n - 1, 0.5 + confidence / 2)) * float(d.std(ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


def _tango_score(b: int, c: int, n: int, delta: float) -> float:
    """Score statistic of the hypothesis that the true difference is `delta`, -1 to 1; infinite where it cannot be.

    The rate of -1 is at its maximum likelihood under the hypothesis: the larger root of 2 n q^2 + linear q + constant.
    """
    linear = (2 * n - b + c) * delta - b - c
    constant = -c * delta * (1 - delta)
    root = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    rate = max(root, -delta, 0.0)  # both rates are at least 0; the square of a tiny delta underflows
    variance = n * (2 * rate + delta * (1 - delta))
    distance = b - c - n * delta
    if distance == 0:
        return 0.0
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)


def _normal_quantile(probability: float) -> float:
    from scipy import special

    return float(special.ndtri(probability))

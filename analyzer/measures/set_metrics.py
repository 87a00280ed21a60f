"""Figures of all samples together (mAP, F1, recall at a threshold), and what a quantized file loses of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..schema import Interval, SetMetric
from .calibration import Progress

SetMetricFunction = Callable[[Any, Any], float]
"""Called as metric(outputs, targets): the outputs of all samples, [n, ...] (a tuple of arrays where the network has
several outputs), and what is true of them, [n, ...]. Higher is better."""

RESAMPLES = 1000
_CONFIDENCE = 0.95


def set_metric_drop(
    metric: SetMetricFunction,
    name: str,
    reference: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    targets: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> SetMetric:
    """What a quantized file loses of a set metric, with percentile bootstrap intervals over samples.

    Both files are judged on the same resamples, so that the interval of the drop is a paired one.

    Args:
      metric: The user's function.
      name: What to call it.
      reference: The float network's outputs, arrays [n, ...].
      found: The file's, for the same samples.
      targets: What is true of the samples, [n, ...].
      resamples: How many to draw.
      seed: Of the draws.
      progress: Called with (resamples done, in all).

    Raises:
      UsageError: The function fails, or gives no finite number on all samples, or on no resample.
    """
    count = len(targets)
    whole = [_call(metric, name, outputs, targets, np.arange(count)) for outputs in (reference, found)]
    if not all(map(math.isfinite, whole)):
        raise UsageError(f"{name} gives {whole[0]} for the float model and {whole[1]} for the file", _REMEDY)
    values = np.empty((resamples, 2))
    rng = np.random.default_rng(seed)
    for row in range(resamples):
        drawn = rng.integers(0, count, count)
        values[row] = [_call(metric, name, outputs, targets, drawn) for outputs in (reference, found)]
        if progress:
            progress(row + 1, resamples)
    defined = values[np.isfinite(values).all(axis=1)]
    if not len(defined):
        raise UsageError(f"{name} gives no finite number on any resample", _REMEDY)
    before, after = defined.T
    return SetMetric(
        name=name,
        float_value=_interval(whole[0], before, count),
        quantized_value=_interval(whole[1], after, count),
        drop=_interval(whole[0] - whole[1], before - after, count),
        samples=count,
        resamples=resamples,
        undefined=resamples - len(defined),
    )


_REMEDY = (
    "it is called as metric(outputs, targets) for all samples at once, with a tuple of outputs where the model has "
    "several, and answers one number"
)


def _call(
    metric: SetMetricFunction, name: str, outputs: Sequence[np.ndarray], targets: np.ndarray, rows: NDArray[np.int64]
) -> float:
    taken = tuple(values[rows] for values in outputs)
    try:
        return float(metric(taken[0] if len(taken) == 1 else taken, targets[rows]))
    except Exception as error:  # whatever a user's function raises
        raise UsageError(f"{name} failed: {type(error).__name__}: {error}", _REMEDY) from error


def _interval(value: float, drawn: NDArray[np.float64], samples: int) -> Interval:
    if samples < 2:  # every resample of one sample is that sample
        return Interval(value, -math.inf, math.inf)
    low, high = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))

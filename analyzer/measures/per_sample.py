"""What one sample's quantized output is off by, for every sample apart. Pure NumPy, float64.

A sample's figure is computed from its own values alone, always in the same order, so it does not depend on the samples
beside it.

An output that is not finite is an error, never a gap: its nmse and KL are infinite, it agrees with nothing and its
answer is wrong. A *float* output that is not finite leaves nothing to compare with and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ShapeMismatch, UsageError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Called for one sample as metric(output, reference, label): what the judged model answers, what the float model answers
# (arrays without the batch dimension; tuples of them where several outputs are compared) and the label, None without
# labels. Higher is better.
Metric = Callable[[Any, Any, Any], float]

# Below this a probability is rounding: float32 cannot tell 1 from 1 - 2^-25. An integer softmax answers with true
# zeros, and without a floor one of them makes the divergence of a thousand samples infinite.
PROBABILITY_FLOOR = 2.0**-24

_BLOCK_ELEMENTS = 1 << 20  # float64 copies are made of this many elements at a time: 8 MB each


def per_sample_nmse(reference: ArrayLike, quantized: ArrayLike, variance: float) -> Floats:
    """Mean squared error of each sample, divided by `variance`: float64 [n], infinite for a sample that is not finite.

    Args:
      reference: Float values, shape [n, ...].
      quantized: The same shape.
      variance: What `output_variance` says of the whole float output, not of this shard of it. Where it is 0,
        `output_variance(reference)` takes its place.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference` is not finite.
      ValueError: `variance` is negative or not finite.
    """
    x, y = _pair(reference, quantized)
    finite = _finite_rows(y)
    return np.where(finite, _mean_squares(x, y, finite), np.inf) / _scale(x, variance)


def per_sample_power(reference: ArrayLike, variance: float) -> Floats:
    """Mean square of each float sample, divided by `variance` as in `per_sample_nmse`: float64 [n].

    Raises:
      DataError: `reference` is not finite.
      ValueError: `variance` is negative or not finite.
    """
    x, _ = _pair(reference, reference)
    return _mean_squares(x, None, None) / _scale(x, variance)


def output_variance(reference: ArrayLike) -> float:
    """Variance over all elements of a float output: the figure that an error is measured against.

    A constant output has none; there its mean square stands in, and 1 where that is zero too.

    Args:
      reference: Float values, shape [n, ...].

    Raises:
      DataError: `reference` is not finite, or empty.
    """
    x = np.asarray(reference)
    if x.size == 0:
        raise DataError("there are no samples to take the variance of", "give at least one sample")
    _demand_finite(x)
    # Compared exactly: the variance of a constant array comes out as 1e-34 where its mean was rounded.
    if x.min() == x.max():
        return float(x.flat[0]) ** 2 or 1.0
    rows = x.reshape(len(x), -1) if x.ndim else x.reshape(1, 1)
    mean = math.fsum(float(np.sum(row, dtype=np.float64)) for row in rows) / x.size
    spread = math.fsum(float(np.sum(np.square(row.astype(np.float64) - mean))) for row in rows) / x.size
    return spread or 1.0


def log_softmax(logits: ArrayLike) -> Floats:
    """Natural logarithm of softmax over everything behind the first axis, in float64: [n, classes]."""
    x = _rows(np.asarray(logits)).astype(np.float64)
    shifted = x - x.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def per_sample_kl(reference_logits: ArrayLike, quantized_logits: ArrayLike) -> Floats:
    """KL(float || quantized) of each sample's class distribution, from logits: float64 [n], nats.

    Args:
      reference_logits: Float values before the softmax, shape [n, ..., classes], flattened behind the first axis.
      quantized_logits: The same shape.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference_logits` is not finite.
    """
    x, y = _pair(reference_logits, quantized_logits)
    finite = _finite_rows(y)
    result = np.full(len(x), np.inf)
    if finite.any():
        result[finite] = _divergence(log_softmax(x[finite]), log_softmax(y[finite]))
    return result


def per_sample_kl_of_probabilities(reference: ArrayLike, quantized: ArrayLike) -> Floats:
    """KL(float || quantized) of each sample, from probabilities: float64 [n], nats.

    Both distributions are raised to at least `PROBABILITY_FLOOR` (2^-24) and divided by their sum, so that a
    probability that was rounded to zero costs at most about log(2^24) = 16.6 nats for each unit that the float model
    gave it.

    Args:
      reference: Probabilities of the float model, shape [n, ..., classes].
      quantized: The same shape.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference` is not finite.
    """
    x, y = _pair(reference, quantized)
    finite = _finite_rows(y)
    result = np.full(len(x), np.inf)
    if finite.any():
        result[finite] = _divergence(_log_probabilities(x[finite]), _log_probabilities(y[finite]))
    return result


def agreements(reference: ArrayLike, quantized: ArrayLike) -> Flags:
    """For each sample, whether both have the same top-1: bool [n]. Of equal scores the first class wins.

    Args:
      reference: Scores of the float model, shape [n, ..., classes].
      quantized: The same shape; a sample that is not finite agrees with nothing.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference` is not finite.
    """
    x, y = _pair(reference, quantized)
    return np.asarray((_rows(x).argmax(axis=1) == _rows(y).argmax(axis=1)) & _finite_rows(y))


def right_answers(scores: ArrayLike, labels: ArrayLike) -> Flags:
    """For each sample, whether its top-1 is its label: bool [n]. Of equal scores the first class wins.

    Args:
      scores: Shape [n, ..., classes]; a sample that is not finite is wrong.
      labels: Class indices, shape [n] or [n, 1].

    Raises:
      ShapeMismatch: There are not as many labels as samples.
    """
    x, wanted = np.asarray(scores), np.asarray(labels)
    if wanted.size != len(x) or wanted.shape[:1] != x.shape[:1]:
        raise ShapeMismatch(
            f"labels of shape {_shape(wanted)} do not fit {len(x)} samples", "give one class index for each sample"
        )
    return np.asarray((_rows(x).argmax(axis=1) == wanted.reshape(-1)) & _finite_rows(x))


def per_sample_metric(
    metric: Metric, outputs: Sequence[np.ndarray], reference: Sequence[np.ndarray], labels: np.ndarray | None
) -> tuple[float, ...]:
    """The user's metric of each sample; pass the float outputs twice to judge the float model itself.

    Raises:
      ShapeMismatch: There are not as many labels as samples.
      UsageError: The metric raises, or answers something that is no number. NaN is a number: it stays visible.
    """
    samples = len(outputs[0])
    if labels is not None and len(labels) != samples:
        raise ShapeMismatch(f"{len(labels)} labels for {samples} samples", "give one label for each sample")
    values = []
    for index in range(samples):
        output, wanted = tuple(a[index] for a in outputs), tuple(a[index] for a in reference)
        label = None if labels is None else labels[index]
        try:
            one = len(outputs) == 1
            values.append(float(metric(output[0], wanted[0], label) if one else metric(output, wanted, label)))
        except Exception as error:  # whatever a user's function raises
            raise UsageError(
                f"the metric failed on sample {index}: {type(error).__name__}: {error}",
                "it is called as metric(output, reference, label) for each sample and answers one number",
            ) from error
    return tuple(values)


# --- one sample at a time --------------------------------------------------------------------------------------------


def _pair(reference: ArrayLike, quantized: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(reference), np.asarray(quantized)
    if x.shape != y.shape:
        raise ShapeMismatch(
            f"the float output has shape {_shape(x)}, the quantized one {_shape(y)}",
            "compare outputs of the same model on the same samples",
        )
    _demand_finite(x)
    return (x, y) if x.ndim else (x.reshape(1), y.reshape(1))


def _demand_finite(x: np.ndarray) -> None:
    if not np.isfinite(x).all():
        row = 0 if x.ndim == 0 else int(np.argmin(_finite_rows(x)))
        raise DataError(
            f"the float model's output for sample {row} holds NaN or infinity",
            "check the preprocessing and the sample; an error can only be measured against finite values",
        )


def _shape(x: np.ndarray) -> str:
    return "[" + ", ".join(map(str, x.shape)) + "]"


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), _row_size(x))


def _row_size(x: np.ndarray) -> int:
    return math.prod(x.shape[1:])


def _finite_rows(x: np.ndarray) -> Flags:
    return np.asarray(np.isfinite(_rows(x)).all(axis=1))


def _blocks(x: np.ndarray) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // max(1, _row_size(x)))
    return (slice(start, start + step) for start in range(0, len(x), step))


def _mean_squares(x: np.ndarray, y: np.ndarray | None, finite: Flags | None) -> Floats:
    """Mean square of x - y (or of x) in each row, float64 [n]; meaningless in rows of y that are not finite."""
    result = np.empty(len(x))
    for part in _blocks(x):
        values = _rows(x[part]).astype(np.float64)
        if y is not None and finite is not None:
            values -= np.where(finite[part, None], _rows(y[part]), 0)
        result[part] = np.square(values).sum(axis=1) / max(1, _row_size(x))
    return result


def _scale(reference: np.ndarray, variance: float) -> float:
    if not (math.isfinite(variance) and variance >= 0):
        raise ValueError(f"{variance} is no variance")
    return float(variance) or output_variance(reference)


def _log_probabilities(x: np.ndarray) -> Floats:
    raised = np.maximum(_rows(x).astype(np.float64), PROBABILITY_FLOOR)
    return np.asarray(np.log(raised / raised.sum(axis=1, keepdims=True)))


def _divergence(log_p: Floats, log_q: Floats) -> Floats:
    # It is never negative; rounding makes it -1e-17 for distributions that are all but equal.
    return np.asarray(np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0.0))

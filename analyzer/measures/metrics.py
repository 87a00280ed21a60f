"""How far a quantized output is from the float one. Pure NumPy, sums in float64.

Every figure is a mean over samples of something computed from one sample alone, and those per-sample values are kept
(`ErrorSums`) and added with `math.fsum`, which rounds once. So a result does not depend on how the samples were cut
into shards, nor on which shard was finished first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .. import schema
from ..errors import DataError, ShapeMismatch
from .per_sample import (
    Metric,
    agreements,
    output_variance,
    per_sample_kl,
    per_sample_kl_of_probabilities,
    per_sample_metric,
    per_sample_nmse,
    per_sample_power,
    right_answers,
)

__all__ = [
    "ErrorSums",
    "Metric",
    "accuracy",
    "agreements",
    "kl_divergence",
    "kl_divergence_of_probabilities",
    "nmse",
    "output_error",
    "output_variance",
    "per_sample_kl",
    "per_sample_kl_of_probabilities",
    "per_sample_metric",
    "per_sample_nmse",
    "right_answers",
    "sqnr_db",
    "top1_agreement",
]


def sqnr_db(reference: ArrayLike, quantized: ArrayLike) -> float:
    """Signal-to-quantization-noise ratio, in dB; higher is better.

    10 log10(sum(x^2) / sum((x - x_q)^2)) over all elements. Infinite where the two are equal, minus infinite where the
    signal is zero and the noise is not, or where `quantized` is not finite.

    Args:
      reference: Float values, any shape.
      quantized: The same shape, dequantized to float.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference` is not finite.
    """
    return _decibel(math.fsum(per_sample_power(reference, 1.0)), math.fsum(per_sample_nmse(reference, quantized, 1.0)))


def nmse(reference: ArrayLike, quantized: ArrayLike, variance: float) -> float:
    """Mean squared error over all elements, divided by `variance`; lower is better.

    Args:
      reference: Float values, shape [n, ...].
      quantized: The same shape.
      variance: What `output_variance` says of the whole float output, not of this part of it.

    Returns:
      0 for equal arrays, about 1 for an answer that carries nothing; infinite where `quantized` is not finite.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference` is not finite, or there are no samples.
    """
    return _mean(per_sample_nmse(reference, quantized, variance))


def kl_divergence(reference_logits: ArrayLike, quantized_logits: ArrayLike) -> float:
    """Mean over samples of `per_sample_kl`, nats; 0 for equal distributions.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference_logits` is not finite, or there are no samples.
    """
    return _mean(per_sample_kl(reference_logits, quantized_logits))


def kl_divergence_of_probabilities(reference: ArrayLike, quantized: ArrayLike) -> float:
    """Mean over samples of `per_sample_kl_of_probabilities`, nats.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference` is not finite, or there are no samples.
    """
    return _mean(per_sample_kl_of_probabilities(reference, quantized))


def top1_agreement(reference: ArrayLike, quantized: ArrayLike) -> float:
    """Share of samples with the same top-1, 0 to 1; see `agreements`."""
    return _mean(agreements(reference, quantized))


def accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Share of samples whose top-1 is their label, 0 to 1; see `right_answers`."""
    return _mean(right_answers(scores, labels))


@dataclass(frozen=True)
class ErrorSums:
    """What an error figure is made of, sample by sample, so that no figure depends on their order.

    All tuples have one entry for each sample; those that do not apply are None.

    Attributes:
      nmse: Mean over the outputs of MSE / variance.
      signal: Mean over the outputs of the float output's mean square / variance. Dividing by the variance makes several
        outputs of unlike scale count alike; with one output it cancels in the SQNR.
      kl: KL(float || quantized), nats.
      agree: Whether both models have the same top-1.
      right: Whether the quantized model's top-1 is the label.
      metric: The user's metric of the quantized output.
    """

    nmse: tuple[float, ...]
    signal: tuple[float, ...]
    kl: tuple[float, ...] | None = None
    agree: tuple[bool, ...] | None = None
    right: tuple[bool, ...] | None = None
    metric: tuple[float, ...] | None = None

    @property
    def samples(self) -> int:
        return len(self.nmse)

    @classmethod
    def of(
        cls,
        reference: Sequence[np.ndarray],
        quantized: Sequence[np.ndarray],
        *,
        variances: Sequence[float],
        is_classifier: bool,
        labels: np.ndarray | None = None,
        are_logits: bool = True,
        user_metric: Metric | None = None,
    ) -> ErrorSums:
        """Compares the outputs of one shard; arguments and errors are those of `output_error`."""
        if not (len(reference) == len(quantized) == len(variances)):
            raise ShapeMismatch(
                f"{len(reference)} float outputs, {len(quantized)} quantized ones and {len(variances)} variances",
                "compare models with the same outputs",
            )
        if not reference or len({len(array) for array in reference}) != 1:
            raise ShapeMismatch(
                f"the outputs hold {[len(array) for array in reference]} samples",
                "give outputs of the same samples, at least one output",
            )
        if is_classifier and len(reference) != 1:
            raise ValueError("a classifier has one compared output")
        outputs = list(zip(reference, quantized, variances, strict=True))
        judged = judge(
            reference, quantized, is_classifier=is_classifier, labels=labels, are_logits=are_logits,
            user_metric=user_metric,
        )  # fmt: skip
        return cls(
            nmse=mean_over_outputs([per_sample_nmse(a, b, variance) for a, b, variance in outputs]),
            signal=mean_over_outputs([per_sample_power(a, variance) for a, _, variance in outputs]),
            **{name: None if values is None else tuple(values.tolist()) for name, values in judged.items()},
        )

    def to_output_error(self) -> schema.OutputError:
        """The figures over all samples; the order of the samples does not matter.

        The standard error of a single sample is infinite: one sample tells nothing about the spread.

        Raises:
          DataError: There are no samples.
        """
        value = _mean(self.nmse)
        return schema.OutputError(
            nmse=value,
            standard_error=_standard_error(self.nmse, value),
            sqnr_db=_decibel(math.fsum(self.signal), math.fsum(self.nmse)),
            samples=self.samples,
            kl=None if self.kl is None else _mean(self.kl),
            agreement=None if self.agree is None else _mean(self.agree),
            accuracy=None if self.right is None else _mean(self.right),
            metric=None if self.metric is None else _mean(self.metric),
        )


def output_error(
    reference: Sequence[np.ndarray],
    quantized: Sequence[np.ndarray],
    *,
    variances: Sequence[float],
    is_classifier: bool,
    labels: np.ndarray | None = None,
    are_logits: bool = True,
    user_metric: Metric | None = None,
) -> schema.OutputError:
    """Compares the outputs of two models on the same samples.

    Args:
      reference: The float model's compared outputs, one array [n, ...] each.
      quantized: The same shapes, dequantized to float.
      variances: Of each whole float output, from `output_variance`.
      is_classifier: Whether there is one output and it scores classes.
      labels: Class indices [n] of a classifier; for a metric, anything with n entries.
      are_logits: Whether a classifier's scores are logits; probabilities otherwise.
      user_metric: See `Metric`.

    Raises:
      ShapeMismatch: Arrays that belong together differ in shape or number.
      DataError: The float output is not finite, or there are no samples.
      UsageError: The metric fails, or answers something that is no number.
    """
    return ErrorSums.of(
        reference, quantized, variances=variances, is_classifier=is_classifier, labels=labels, are_logits=are_logits,
        user_metric=user_metric,
    ).to_output_error()  # fmt: skip


def judge(
    reference: Sequence[np.ndarray],
    quantized: Sequence[np.ndarray],
    *,
    is_classifier: bool,
    labels: np.ndarray | None = None,
    are_logits: bool = True,
    user_metric: Metric | None = None,
) -> dict[str, np.ndarray | None]:
    """Everything beside the squared error that `ErrorSums` holds of samples, by its name there.

    Arguments and errors are those of `output_error`.

    Returns:
      `kl` float64, `agree` bool, `right` bool and `metric` float64, each [n]; None for what does not apply.
    """
    x, y = reference[0], quantized[0]
    divergence = per_sample_kl if are_logits else per_sample_kl_of_probabilities
    return {
        "kl": divergence(x, y) if is_classifier else None,
        "agree": agreements(x, y) if is_classifier else None,
        "right": right_answers(y, labels) if is_classifier and labels is not None else None,
        "metric": None
        if user_metric is None
        else np.array(per_sample_metric(user_metric, quantized, reference, labels)),
    }


def mean_over_outputs(values: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Mean over the compared outputs of what each says of every sample: arrays [n] to n floats."""
    return tuple((np.sum(values, axis=0) / len(values)).tolist())


def _mean(values: Sequence[float] | np.ndarray) -> float:
    if len(values) == 0:
        raise DataError("there are no samples to compare", "give at least one sample")
    if not np.isfinite(values).all():  # a user's metric may answer both infinities, which fsum refuses
        return float(sum(values)) / len(values)
    return math.fsum(values) / len(values)


def _standard_error(values: Sequence[float], mean: float) -> float:
    if len(values) < 2 or not math.isfinite(mean):
        return math.inf
    return math.sqrt(math.fsum((v - mean) * (v - mean) for v in values) / (len(values) - 1) / len(values))


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    if signal == 0 or math.isinf(noise):
        return -math.inf
    return 10 * (math.log10(signal) - math.log10(noise))

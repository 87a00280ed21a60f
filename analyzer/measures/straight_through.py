"""Rounding to a grid with gradients straight through it (Bengio et al. 2013). Needs TensorFlow.

The same numbers as `quantization.py` gives, to the last digit or two of float32.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .quantization import SMALLEST_BOUND, AffineParams

Tensor = Any


def round_through(values: Tensor) -> Tensor:
    """Rounds half to even; the gradient is that of the values themselves."""
    return values + tf.stop_gradient(tf.round(values) - values)


def round_activation(values: Tensor, grid: AffineParams) -> Tensor:
    """Activations on the grid of an int8 or int16 tensor; the gradient is 0 where they are clipped to its ends.

    One kernel with a gradient of its own; written out in single operations it takes several times as long. Ties are
    rounded up.
    """
    low, high = ((end - grid.zero_point) * grid.scale for end in (grid.low, grid.high))
    return tf.quantization.fake_quant_with_min_max_args(values, min=low, max=high, num_bits=grid.bits)


def largest(weights: Tensor, axis: int | None) -> Tensor:
    """The largest |w| for each channel, or of all where `axis` is None: size 1 in every axis but `axis`.

    No gradient.
    """
    others = [i for i in range(weights.shape.rank) if i != axis]
    return tf.stop_gradient(tf.reduce_max(tf.abs(weights), axis=others, keepdims=True))


def widest_steps(weights: Tensor, axis: int | None, bits: int) -> Tensor:
    """The step of the symmetric grid that ends at the largest |w| of each channel, as `weight_scales`; no gradient."""
    return tf.maximum(largest(weights, axis), SMALLEST_BOUND) / (2 ** (bits - 1) - 1)


def round_weights(weights: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Symmetric weights on a grid, clipped to its ends.

    The gradient of the scales is that of learned step sizes (LSQ, Esser et al. 2020): what rounding leaves over, and
    the end of the grid where a weight is clipped.

    Args:
      weights: Any shape.
      scales: Broadcasts to `weights`.
      bits: 4 or 8; the most negative integer stays unused.
    """
    top = 2 ** (bits - 1) - 1
    return tf.clip_by_value(round_through(weights / scales), -top, top) * scales


def round_bias(bias: Tensor, input_scale: float, weight_scales: Tensor) -> Tensor:
    """A bias [channels] in whole multiples of the scale of the sum that it is added to.

    Args:
      bias: [channels].
      input_scale: Of the activation that the op reads.
      weight_scales: One for each channel or one for all, any rank.
    """
    scales = tf.stop_gradient(input_scale * tf.reshape(weight_scales, [-1]))
    return round_through(bias / scales) * scales

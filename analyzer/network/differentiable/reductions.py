"""Rules of ops that make one number out of many, or one of each prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from .call import Call
from .nodes import Tensor


def cumsum(call: Call) -> Tensor:
    (axis,) = call.axes(1, len(call.shape(0)))
    return tf.cumsum(call.sampled(0), axis, exclusive=call.options.exclusive, reverse=call.options.reverse)


def l2_normalization(call: Call) -> Tensor:
    """L2_NORMALIZATION over the last axis; TFLite divides by no less than 1e-6."""
    return tf.nn.l2_normalize(call.sampled(0), axis=-1, epsilon=1e-12)  # of the square


def top_k(call: Call) -> list[Tensor]:
    """TOPK_V2 along the last axis: values, and int32 positions."""
    found = tf.math.top_k(call.sampled(0), k=call.output.shape[-1])
    return [found.values, found.indices]


def _over_axes(function: Callable[..., Any]) -> Callable[[Call], Tensor]:
    def reduce(call: Call) -> Tensor:
        axes = sorted(set(call.axes(1, len(call.shape(0))))) if call.shape(0) else []
        return function(call.sampled(0), axes, keepdims=bool(call.options.keepDims))

    return reduce


def _position(function: Callable[..., Any]) -> Callable[[Call], Tensor]:
    def find(call: Call) -> Tensor:
        (axis,) = call.axes(1, len(call.shape(0)))
        return function(call.sampled(0), axis, output_type=call.output.dtype)

    return find


RULES: Mapping[str, Callable[[Call], Tensor | list[Tensor]]] = {
    "MEAN": _over_axes(tf.reduce_mean),
    "SUM": _over_axes(tf.reduce_sum),
    "REDUCE_MAX": _over_axes(tf.reduce_max),
    "REDUCE_MIN": _over_axes(tf.reduce_min),
    "REDUCE_PROD": _over_axes(tf.reduce_prod),
    "REDUCE_ANY": _over_axes(tf.reduce_any),
    "REDUCE_ALL": _over_axes(tf.reduce_all),
    "ARG_MAX": _position(tf.argmax),
    "ARG_MIN": _position(tf.argmin),
    "CUMSUM": cumsum,
    "L2_NORMALIZATION": l2_normalization,
    "TOPK_V2": top_k,
}

"""Rules of activation functions, fused ones and those that are ops of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from .call import Call
from .nodes import Tensor

FUSED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "NONE": lambda value: value,
    "RELU": tf.nn.relu,
    "RELU6": tf.nn.relu6,
    "RELU_N1_TO_1": lambda value: tf.clip_by_value(value, -1, 1),
}
"""By TFLite's name. The coverage knows no others: float kernels ignore TANH and SIGN_BIT."""


def prelu(call: Call) -> Tensor:
    value, alpha = call.aligned(0), call.aligned(1)
    return tf.where(value >= 0, value, alpha * value)


def leaky_relu(call: Call) -> Tensor:
    return tf.nn.leaky_relu(call.sampled(0), call.options.alpha)


def hard_swish(call: Call) -> Tensor:
    value = call.sampled(0)
    return value * tf.nn.relu6(value + 3) * (1 / 6)


def gelu(call: Call) -> Tensor:
    return tf.nn.gelu(call.sampled(0), approximate=bool(call.options.approximate))


def softmax(call: Call) -> Tensor:
    """SOFTMAX over the last axis: exp(beta * x) over its sum."""
    value, beta = _rows(call), float(call.options.beta)
    return tf.nn.softmax(value if beta == 1 else value * beta)


def log_softmax(call: Call) -> Tensor:
    return tf.nn.log_softmax(_rows(call))


def _rows(call: Call) -> Tensor:
    """The data as a matrix, its last axis kept: TensorFlow's kernels end at 5 dimensions."""
    return tf.reshape(call.sampled(0), [-1, call.shape(0)[-1]])


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Call], Tensor]:
    return lambda call: function(call.sampled(0))


RULES: Mapping[str, Callable[[Call], Tensor]] = {
    "RELU": _of_one(tf.nn.relu),
    "RELU6": _of_one(tf.nn.relu6),
    "RELU_0_TO_1": _of_one(lambda value: tf.clip_by_value(value, 0, 1)),
    "RELU_N1_TO_1": _of_one(FUSED["RELU_N1_TO_1"]),
    "LEAKY_RELU": leaky_relu,
    "PRELU": prelu,
    "ELU": _of_one(tf.nn.elu),
    "TANH": _of_one(tf.tanh),
    "LOGISTIC": _of_one(tf.sigmoid),
    "HARD_SWISH": hard_swish,
    "GELU": gelu,
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": log_softmax,
}

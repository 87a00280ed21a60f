"""Rules of ops that work element by element, with broadcasting where they have two operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from .call import Call
from .nodes import Tensor


def root(value: Tensor) -> Tensor:
    """The square root, its derivative at 0 taken as 0: an infinite one would make every gradient before it NaN."""
    positive = value > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, value, 1)), tf.sqrt(tf.stop_gradient(value)))


def div(call: Call) -> Tensor:
    """DIV; of integers the quotient is cut towards zero."""
    left, right = call.aligned(0), call.aligned(1)
    return left / right if call.output.dtype == "float32" else tf.truncatediv(left, right)


def cast(call: Call) -> Tensor:
    return tf.cast(call.sampled(0), call.output.dtype)


def add_n(call: Call) -> Tensor:
    return tf.add_n([call.sampled(position) for position in range(len(call.node.inputs))])


def select(call: Call) -> Tensor:
    """SELECT and SELECT_V2; the older one may choose whole rows by a condition of one dimension."""
    if call.node.opcode == "SELECT" and len(call.shape(0)) == 1 < len(call.shape(1)):
        condition = tf.reshape(call.sampled(0), [-1, *call.shape(0), *[1] * (len(call.shape(1)) - 1)])
    else:
        condition = call.aligned(0)
    return tf.where(condition, call.aligned(1), call.aligned(2))


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Call], Tensor]:
    return lambda call: function(call.sampled(0))


def _of_two(function: Callable[[Tensor, Tensor], Any]) -> Callable[[Call], Tensor]:
    return lambda call: function(call.aligned(0), call.aligned(1))


RULES: Mapping[str, Callable[[Call], Tensor]] = {
    "ADD": _of_two(tf.add),
    "SUB": _of_two(tf.subtract),
    "MUL": _of_two(tf.multiply),
    "DIV": div,
    "SQUARED_DIFFERENCE": _of_two(tf.math.squared_difference),
    "POW": _of_two(tf.pow),
    "MAXIMUM": _of_two(tf.maximum),
    "MINIMUM": _of_two(tf.minimum),
    "ATAN2": _of_two(tf.atan2),
    "FLOOR_DIV": _of_two(tf.math.floordiv),
    "FLOOR_MOD": _of_two(tf.math.floormod),
    "ADD_N": add_n,
    "RSQRT": _of_one(tf.math.rsqrt),
    "SQRT": _of_one(root),
    "EXP": _of_one(tf.exp),
    "LOG": _of_one(tf.math.log),
    "SIN": _of_one(tf.sin),
    "COS": _of_one(tf.cos),
    "ABS": _of_one(tf.abs),
    "NEG": _of_one(tf.negative),
    "SQUARE": _of_one(tf.square),
    "SIGN": _of_one(tf.sign),
    "FLOOR": _of_one(tf.floor),
    "CEIL": _of_one(tf.math.ceil),
    "ROUND": _of_one(tf.round),
    "CAST": cast,
    "EQUAL": _of_two(tf.equal),
    "NOT_EQUAL": _of_two(tf.not_equal),
    "GREATER": _of_two(tf.greater),
    "GREATER_EQUAL": _of_two(tf.greater_equal),
    "LESS": _of_two(tf.less),
    "LESS_EQUAL": _of_two(tf.less_equal),
    "LOGICAL_AND": _of_two(tf.logical_and),
    "LOGICAL_OR": _of_two(tf.logical_or),
    "LOGICAL_NOT": _of_one(tf.logical_not),
    "SELECT": select,
    "SELECT_V2": select,
}

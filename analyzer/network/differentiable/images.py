"""Rules of ops on [batch, height, width, channels]: pooling, resizing, blocks of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from .call import PADDING, Call
from .elementwise import root
from .nodes import Tensor


def _pool(function: Callable[..., Any]) -> Callable[[Call], Tensor]:
    def pool(call: Call) -> Tensor:
        o = call.options
        window, strides = (o.filterHeight, o.filterWidth), (o.strideH, o.strideW)
        return function(call.folded(0), window, strides, PADDING[o.padding])

    return pool


def _root_mean_square(data: Tensor, window: Any, strides: Any, padding: str) -> Tensor:
    return root(tf.nn.avg_pool2d(tf.square(data), window, strides, padding))


def _resize(function: Callable[..., Any]) -> Callable[[Call], Tensor]:
    def resize(call: Call) -> Tensor:
        return function(
            images=call.folded(0), size=list(call.output.shape[1:3]),
            align_corners=bool(call.options.alignCorners), half_pixel_centers=bool(call.options.halfPixelCenters),
        )  # fmt: skip

    return resize


def local_response_normalization(call: Call) -> Tensor:
    o = call.options
    return tf.nn.local_response_normalization(call.folded(0), o.radius, o.bias, o.alpha, o.beta)


def space_to_depth(call: Call) -> Tensor:
    return tf.nn.space_to_depth(call.folded(0), call.options.blockSize)


def depth_to_space(call: Call) -> Tensor:
    return tf.nn.depth_to_space(call.folded(0), call.options.blockSize)


def space_to_batch(call: Call) -> Tensor:
    """SPACE_TO_BATCH_ND: TensorFlow puts blocks before samples, here each sample has its own blocks."""
    block = call.node.numbers(1)
    blocked = tf.space_to_batch(call.folded(0), block, call.fixed(2))
    _, *size = call.output.shape
    batch = call.shape(0)[0]
    apart = tf.reshape(blocked, [math.prod(block), -1, batch, *size])
    return tf.transpose(apart, [1, 0, 2, *range(3, 3 + len(size))])


def batch_to_space(call: Call) -> Tensor:
    """BATCH_TO_SPACE_ND, the reverse of `space_to_batch`."""
    block = call.node.numbers(1)
    _, *size = call.shape(0)
    batch = call.output.shape[0]
    apart = tf.reshape(call.sampled(0), [-1, math.prod(block), batch, *size])
    blocked = tf.reshape(tf.transpose(apart, [1, 0, 2, *range(3, 3 + len(size))]), [-1, *size])
    return tf.batch_to_space(blocked, block, call.fixed(2))


RULES: Mapping[str, Callable[[Call], Tensor]] = {
    "AVERAGE_POOL_2D": _pool(tf.nn.avg_pool2d),
    "MAX_POOL_2D": _pool(tf.nn.max_pool2d),
    "L2_POOL_2D": _pool(_root_mean_square),
    "RESIZE_BILINEAR": _resize(tf.raw_ops.ResizeBilinear),
    "RESIZE_NEAREST_NEIGHBOR": _resize(tf.raw_ops.ResizeNearestNeighbor),
    "LOCAL_RESPONSE_NORMALIZATION": local_response_normalization,
    "SPACE_TO_DEPTH": space_to_depth,
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "BATCH_TO_SPACE_ND": batch_to_space,
}

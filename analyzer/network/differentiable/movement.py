"""Rules of ops that move values about, choose among them, or make them from shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from .call import Call
from .nodes import Tensor


def reshape(call: Call) -> Tensor:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: shapes are static, so the output's own shape says all."""
    return tf.reshape(call.sampled(0), [-1, *call.output.shape])


def transpose(call: Call) -> Tensor:
    return tf.transpose(call.sampled(0), [0, *call.axes(1, len(call.shape(0)))])


def concatenation(call: Call) -> Tensor:
    axis = call.options.axis % len(call.output.shape) + 1
    return tf.concat([call.sampled(position) for position in range(len(call.node.inputs))], axis)


def pack(call: Call) -> Tensor:
    axis = call.options.axis % len(call.output.shape) + 1
    return tf.stack([call.sampled(position) for position in range(len(call.node.inputs))], axis)


def unpack(call: Call) -> list[Tensor]:
    shape = call.shape(0)
    axis = call.options.axis % len(shape)
    return list(tf.unstack(call.sampled(0), num=shape[axis], axis=axis + 1))


def split(call: Call) -> list[Tensor]:
    """SPLIT: inputs are the axis and the data."""
    (axis,) = call.axes(0, len(call.shape(1)))
    return list(tf.split(call.sampled(1), len(call.node.outputs), axis))


def split_v(call: Call) -> list[Tensor]:
    """SPLIT_V: inputs are the data, the sizes (one may be -1) and the axis."""
    (axis,) = call.axes(2, len(call.shape(0)))
    return list(tf.split(call.sampled(0), [output.shape[axis - 1] for output in call.node.outputs], axis))


def pad(call: Call) -> Tensor:
    """PAD and PADV2; the latter brings a value."""
    value = call.fixed(2, shape=()) if call.node.has(2) else 0
    return tf.pad(call.sampled(0), _paddings(call), constant_values=tf.cast(value, call.output.dtype))


def mirror_pad(call: Call) -> Tensor:
    return tf.pad(call.sampled(0), _paddings(call), ("REFLECT", "SYMMETRIC")[call.options.mode])


def _paddings(call: Call) -> list[list[int]]:
    flat = call.node.numbers(1)
    return [[0, 0], *([before, after] for before, after in zip(flat[::2], flat[1::2], strict=True))]


def slice_(call: Call) -> Tensor:
    return tf.slice(call.sampled(0), [0, *call.node.numbers(1)], [-1, *call.output.shape])


def strided_slice(call: Call) -> Tensor:
    """STRIDED_SLICE with all masks: the sample axis is one more, taken whole."""
    o = call.options
    begin, end, strides = (call.node.numbers(position) for position in (1, 2, 3))
    # A new axis has no stride, but TensorFlow looks at it.
    strides = [1 if o.newAxisMask >> place & 1 else stride for place, stride in enumerate(strides)]
    return tf.strided_slice(
        call.sampled(0), [0, *begin], [0, *end], [1, *strides],
        begin_mask=o.beginMask << 1 | 1, end_mask=o.endMask << 1 | 1, ellipsis_mask=o.ellipsisMask << 1,
        new_axis_mask=o.newAxisMask << 1, shrink_axis_mask=o.shrinkAxisMask << 1,
    )  # fmt: skip


def gather(call: Call) -> Tensor:
    axis = call.options.axis % len(call.shape(0))
    batch_dims = call.options.batchDims
    batch_dims = batch_dims % len(call.shape(1)) if batch_dims else 0
    if not call.is_sampled(1) and not batch_dims:
        return tf.gather(call.sampled(0), call.fixed(1), axis=axis + 1)
    if not call.is_sampled(0) and not axis and not batch_dims:
        return tf.gather(call.fixed(0), call.sampled(1))
    return tf.gather(call.sampled(0), call.sampled(1), axis=axis + 1, batch_dims=batch_dims + 1)


def embedding_lookup(call: Call) -> Tensor:
    """EMBEDDING_LOOKUP: inputs are the rows to take and the constant table."""
    return tf.gather(call.fixed(1), call.sampled(0))


def gather_nd(call: Call) -> Tensor:
    return tf.gather_nd(call.sampled(0), call.sampled(1), batch_dims=1)


def tile(call: Call) -> Tensor:
    return tf.tile(call.sampled(0), [1, *call.node.numbers(1)])


def broadcast_to(call: Call) -> Tensor:
    return tf.broadcast_to(call.aligned(0), [call.samples, *call.output.shape])


def fill(call: Call) -> Tensor:
    """FILL: inputs are the shape and the value."""
    value = tf.reshape(call.sampled(1), [-1, *[1] * len(call.output.shape)])
    return tf.broadcast_to(value, [call.samples, *call.output.shape])


def zeros_like(call: Call) -> Tensor:
    return tf.zeros_like(call.sampled(0))


def shape(call: Call) -> Tensor:
    value = tf.constant(call.shape(0), call.output.dtype)
    return tf.broadcast_to(value, [call.samples, *call.output.shape])


def rank(call: Call) -> Tensor:
    return tf.fill([call.samples], tf.constant(len(call.shape(0)), call.output.dtype))


def range_(call: Call) -> Tensor:
    """RANGE: start, limit, delta; the number of steps is static."""
    start, delta = (tf.reshape(call.sampled(position), [-1, 1]) for position in (0, 2))
    return start + delta * tf.range(call.output.shape[0], dtype=call.output.dtype)


def reverse(call: Call) -> Tensor:
    return tf.reverse(call.sampled(0), call.axes(1, len(call.shape(0))))


def one_hot(call: Call) -> Tensor:
    """ONE_HOT: indices, depth, value where on, value where off."""
    axis = call.options.axis % len(call.output.shape) + 1
    on, off = call.fixed(2, shape=()), call.fixed(3, shape=())
    return tf.one_hot(call.sampled(0), call.output.shape[axis - 1], on, off, axis)


RULES: Mapping[str, Callable[[Call], Tensor | list[Tensor]]] = {
    "RESHAPE": reshape,
    "SQUEEZE": reshape,
    "EXPAND_DIMS": reshape,
    "TRANSPOSE": transpose,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "PAD": pad,
    "PADV2": pad,
    "MIRROR_PAD": mirror_pad,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "EMBEDDING_LOOKUP": embedding_lookup,
    "TILE": tile,
    "BROADCAST_TO": broadcast_to,
    "FILL": fill,
    "ZEROS_LIKE": zeros_like,
    "SHAPE": shape,
    "RANK": rank,
    "RANGE": range_,
    "REVERSE_V2": reverse,
    "ONE_HOT": one_hot,
}

"""Rules of the ops that multiply with matrices: convolutions, fully connected layers, products of activations.

TFLite keeps kernels as [out, height, width, in], depthwise ones as [1, height, width, channels * multiplier].
"""

from __future__ import annotations

import math

import tensorflow as tf

from .call import PADDING, Call
from .nodes import Tensor


def conv_2d(call: Call) -> Tensor:
    """CONV_2D, grouped where the kernel has fewer input channels than the data."""
    channels_out, height, width, channels_in = call.shape(1)
    data = call.folded(0)
    groups = call.shape(0)[3] // channels_in
    if groups == 1:
        result = _convolve(call, data, call.fixed(1, (1, 2, 3, 0)))
    elif channels_in == 1:
        kernel = call.fixed(1, (1, 2, 3, 0), (height, width, groups, channels_out // groups))
        result = _convolve_depthwise(call, data, kernel)
    else:
        # TensorFlow has no gradient of grouped convolutions on a CPU.
        kernels = tf.split(call.fixed(1, (1, 2, 3, 0)), groups, axis=3)
        parts = tf.split(data, groups, axis=3)
        result = tf.concat([_convolve(call, part, kernel) for part, kernel in zip(parts, kernels, strict=True)], 3)
    return _add_bias(result, call.bias(2))


def depthwise_conv_2d(call: Call) -> Tensor:
    """DEPTHWISE_CONV_2D with any multiplier, which the shapes tell."""
    _, height, width, channels_out = call.shape(1)
    channels_in = call.shape(0)[3]
    kernel = call.fixed(1, shape=(height, width, channels_in, channels_out // channels_in))
    return _add_bias(_convolve_depthwise(call, call.folded(0), kernel), call.bias(2))


def transpose_conv(call: Call) -> Tensor:
    """TRANSPOSE_CONV: inputs are the output's shape, the kernel, the data and perhaps a bias."""
    data = call.folded(2)
    size = [tf.shape(data)[0], *call.output.shape[1:]]
    result = tf.nn.conv2d_transpose(
        data, call.fixed(1, (1, 2, 0, 3)), size, [call.options.strideH, call.options.strideW],
        PADDING[call.options.padding],
    )  # fmt: skip
    return _add_bias(result, call.bias(3))


def fully_connected(call: Call) -> Tensor:
    """FULLY_CONNECTED: data of any shape as rows of the weights' length; weights may be computed."""
    columns = call.shape(1)[1]
    if call.is_sampled(1):
        data = tf.reshape(call.sampled(0), [-1, math.prod(call.shape(0)) // columns, columns])
        result = tf.matmul(data, call.sampled(1), transpose_b=True)
    else:
        result = tf.matmul(tf.reshape(call.sampled(0), [-1, columns]), call.fixed(1, (1, 0)))
    bias = call.bias(2)
    return result if bias is None else result + bias


def batch_matmul(call: Call) -> Tensor:
    """BATCH_MATMUL, its leading dimensions broadcast."""
    adjoint_x, adjoint_y = call.options.adjX, call.options.adjY
    right = call.shape(1)
    if not adjoint_x and not call.is_sampled(1) and math.prod(right[:-2]) == 1:
        # One matrix for all: a single large product instead of many small ones.
        order = (*range(len(right) - 2), len(right) - 1, len(right) - 2) if adjoint_y else ()
        inner, outer = (right[-1], right[-2]) if adjoint_y else right[-2:]
        return tf.matmul(tf.reshape(call.sampled(0), [-1, inner]), call.fixed(1, order, (inner, outer)))
    return tf.matmul(call.aligned(0), call.aligned(1), transpose_a=adjoint_x, transpose_b=adjoint_y)


def _add_bias(result: Tensor, bias: Tensor | None) -> Tensor:
    return result if bias is None else tf.nn.bias_add(result, bias)


def _strides(call: Call) -> tuple[int, int]:
    return int(call.options.strideH), int(call.options.strideW)


def _dilations(call: Call) -> tuple[int, int]:
    return int(call.options.dilationHFactor), int(call.options.dilationWFactor)


def _convolve(call: Call, data: Tensor, kernel: Tensor) -> Tensor:
    padding, dilations = PADDING[call.options.padding], _dilations(call)
    if dilations == (1, 1):
        return tf.nn.conv2d(data, kernel, _strides(call), padding)
    # `tf.nn.conv2d` itself has no gradient with dilation on every CPU.
    padded, strides = _padded(call, data, kernel), _strides(call)
    return tf.nn.convolution(padded, kernel, padding="VALID", dilations=dilations)[:, :: strides[0], :: strides[1]]


def _convolve_depthwise(call: Call, data: Tensor, kernel: Tensor) -> Tensor:
    strides, dilations = _strides(call), _dilations(call)
    if dilations == (1, 1) and strides[0] == strides[1]:
        return tf.nn.depthwise_conv2d(data, kernel, [1, *strides, 1], PADDING[call.options.padding])
    # TensorFlow has neither unequal strides nor strides together with dilation.
    result = tf.nn.depthwise_conv2d(_padded(call, data, kernel), kernel, [1, 1, 1, 1], "VALID", dilations=dilations)
    return result[:, :: strides[0], :: strides[1]]


def _padded(call: Call, data: Tensor, kernel: Tensor) -> Tensor:
    """The data with the zeros that SAME puts around it; the odd one goes behind (TFLite's `ComputePadding`)."""
    if PADDING[call.options.padding] == "VALID":
        return data
    before_after = []
    for axis, (stride, dilation) in enumerate(zip(_strides(call), _dilations(call), strict=True)):
        size, reach = int(data.shape[axis + 1]), (int(kernel.shape[axis]) - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        before_after.append([total // 2, total - total // 2])
    return tf.pad(data, [[0, 0], *before_after, [0, 0]])

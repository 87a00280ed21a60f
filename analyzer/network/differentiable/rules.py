"""All rules by TFLite's name of the op. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import activations, convolution, elementwise, images, movement, reductions
from .call import Call
from .nodes import Tensor

Rule = Callable[[Call], Tensor | list[Tensor]]
"""Computes outputs before the fused activation: [N, *shape], or any shape with as many elements in that order."""

RULES: Mapping[str, Rule] = {
    "CONV_2D": convolution.conv_2d,
    "DEPTHWISE_CONV_2D": convolution.depthwise_conv_2d,
    "TRANSPOSE_CONV": convolution.transpose_conv,
    "FULLY_CONNECTED": convolution.fully_connected,
    "BATCH_MATMUL": convolution.batch_matmul,
    **activations.RULES,
    **elementwise.RULES,
    **reductions.RULES,
    **images.RULES,
    **movement.RULES,
}

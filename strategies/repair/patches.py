"""Convolutions and fully connected layers as products of matrices: what each output position reads, as a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...analyzer.network.differentiable.nodes import Node
from ...analyzer.network.kernels import DATA_INPUT, WEIGHTS_INPUT

_SAME = 0
"""`Padding.SAME` of the schema."""


@dataclass(frozen=True)
class Axis:
    """What the output positions read along the height or the width.

    Position `o` reads, with the kernel's `k`-th row or column, `(step * o + tap * k + offset) / spacing` where that is
    whole and in range, and 0 elsewhere.

    Attributes:
      inputs, taps, outputs: Sizes of the data, the kernel and the output.
      step, tap, offset, spacing: As above.
    """

    inputs: int
    taps: int
    outputs: int
    step: int = 1
    tap: int = 1
    offset: int = 0
    spacing: int = 1

    def reads(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For output positions [rows]: indices into the data [rows, taps], and whether they are in range."""
        found = self.step * positions[:, None] + self.tap * np.arange(self.taps) + self.offset
        index, rest = np.divmod(found, self.spacing)
        inside = (rest == 0) & (index >= 0) & (index < self.inputs)
        return np.where(inside, index, 0), inside


@dataclass(frozen=True)
class Patches:
    """How one op with weights is a product of matrices, for each group of channels on its own.

    Attributes:
      height, width: Of data, kernel and output.
      batch: Images in one sample: the model's own batch, or the rows that a fully connected layer takes one by one.
      channels: Of the data.
      groups: Of channels: 1, or one for each channel of the data where the op is depthwise.
      outputs: Output channels of a group.
      is_depthwise: Whether the kernel lies as [1, height, width, channels] and not as [channels, height, width, in].
    """

    height: Axis
    width: Axis
    batch: int
    channels: int
    groups: int
    outputs: int
    is_depthwise: bool = False

    @property
    def positions(self) -> int:
        """Output positions of one sample."""
        return self.batch * self.height.outputs * self.width.outputs

    @property
    def columns(self) -> int:
        """Products that an output value is the sum of."""
        return self.height.taps * self.width.taps * self.channels // self.groups

    def matrix(self, kernel: np.ndarray) -> np.ndarray:
        """Weights, or anything in their shape, as [groups, columns, outputs]."""
        if self.is_depthwise:
            return np.ascontiguousarray(kernel.reshape(-1, self.groups, self.outputs).transpose(1, 0, 2))
        return np.ascontiguousarray(kernel.reshape(self.groups, self.outputs, -1).transpose(0, 2, 1))

    def kernel(self, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The reverse of `matrix`."""
        order = (1, 0, 2) if self.is_depthwise else (0, 2, 1)
        return np.ascontiguousarray(matrix.transpose(order)).reshape(shape)

    def rows(self, data: np.ndarray, samples: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """What some output positions read.

        Args:
          data: The op's input, [N, *shape].
          samples, positions: Indices of the samples, and of the output positions in them, [rows] each.

        Returns:
          [groups, rows, columns].
        """
        inner = self.height.outputs * self.width.outputs
        image = samples * self.batch + positions // inner
        row, column = np.divmod(positions % inner, self.width.outputs)
        ys, y_inside = self.height.reads(row)
        xs, x_inside = self.width.reads(column)
        images = data.reshape(-1, self.height.inputs, self.width.inputs, self.channels)
        found = images[image[:, None, None], ys[:, :, None], xs[:, None, :]]
        inside = y_inside[:, :, None] & x_inside[:, None, :]
        if not inside.all():
            found[~inside] = 0
        by_group = found.reshape(len(positions), -1, self.groups, self.channels // self.groups).transpose(2, 0, 1, 3)
        return np.ascontiguousarray(by_group).reshape(self.groups, len(positions), self.columns)

    def targets(self, output: np.ndarray, samples: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Some positions of the op's output [N, *shape], as [groups, rows, outputs]."""
        flat = output.reshape(len(output), self.positions, self.groups, self.outputs)
        return np.ascontiguousarray(flat[samples, positions].transpose(1, 0, 2))


def patches_of(node: Node) -> Patches:
    """How an op with weights is a product of matrices.

    Args:
      node: CONV_2D (grouped too), DEPTHWISE_CONV_2D, TRANSPOSE_CONV or FULLY_CONNECTED, of static shapes.
    """
    data = node.operand(DATA_INPUT.get(node.opcode, 0)).shape
    kernel = node.operand(WEIGHTS_INPUT[node.opcode]).shape
    if node.opcode == "FULLY_CONNECTED":
        point = Axis(1, 1, 1)
        return Patches(point, point, math.prod(data) // kernel[1], kernel[1], 1, kernel[0])
    out = node.outputs[0].shape
    sizes = list(zip(data[1:3], kernel[1:3], out[1:3], strict=True))
    strides = (node.options.strideH, node.options.strideW)
    if node.opcode == "TRANSPOSE_CONV":
        height, width = (_transposed(*s, stride, node.options) for s, stride in zip(sizes, strides, strict=True))
        return Patches(height, width, data[0], data[3], 1, kernel[0])
    dilations = (node.options.dilationHFactor, node.options.dilationWFactor)
    height, width = (
        _convolved(*s, stride, dilation, node.options)
        for s, stride, dilation in zip(sizes, strides, dilations, strict=True)
    )
    if node.opcode == "DEPTHWISE_CONV_2D":
        return Patches(height, width, data[0], data[3], data[3], kernel[3] // data[3], is_depthwise=True)
    groups = data[3] // kernel[3]
    return Patches(height, width, data[0], data[3], groups, kernel[0] // groups)


def _convolved(inputs: int, taps: int, outputs: int, stride: int, dilation: int, options: Any) -> Axis:
    reach = (taps - 1) * dilation + 1
    padding = max((outputs - 1) * stride + reach - inputs, 0) if options.padding == _SAME else 0
    return Axis(inputs, taps, outputs, step=stride, tap=dilation, offset=-(padding // 2))


def _transposed(inputs: int, taps: int, outputs: int, stride: int, options: Any) -> Axis:
    padding = max((inputs - 1) * stride + taps - outputs, 0) if options.padding == _SAME else 0
    return Axis(inputs, taps, outputs, tap=-1, offset=padding // 2, spacing=stride)

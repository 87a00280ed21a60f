"""One op with the values of its operands, as a rule computes it. Needs TensorFlow.

An activation of static shape S is a tensor [N, *S]: N samples, each with the model's own batch dimension. A constant is
a tensor S. Rules ask for operands in the form they need and never look at which of the two they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from .nodes import Node, Operand, Tensor

PADDING = ("SAME", "VALID")
"""By the numbers of the schema's `Padding`."""


class Constants:
    """The constants of a network as TensorFlow's tensors, each made once in each layout that some rule needs."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, tuple[int, ...], tuple[int, ...]], Tensor] = {}

    def get(self, operand: Operand, order: Sequence[int], shape: Sequence[int]) -> Tensor:
        """The constant with its axes in `order` (as they are where it is empty), then in the shape `shape`."""
        key = (operand.tensor, tuple(order), tuple(shape))
        if key not in self._made:
            values = np.asarray(operand.constant)
            arranged = (values.transpose(order) if len(order) else values).reshape(shape)
            with tf.init_scope():  # outlives the function that is being traced
                self._made[key] = tf.constant(arranged)
        return self._made[key]


class Call:
    """One op with the values of its operands.

    Args:
      node: The op.
      activations: By tensor index: [N, *shape].
      constants: The network's constants.
      given: By tensor index: values that replace constants, in the constants' own shapes.
      samples: N.
      bias: Whether the op adds its bias.
    """

    def __init__(
        self, node: Node, activations: Mapping[int, Tensor], constants: Constants, given: Mapping[int, Tensor],
        samples: Tensor, *, bias: bool = True,
    ) -> None:  # fmt: skip
        self.node = node
        self.options = node.options
        self.samples = samples
        self._activations = activations
        self._constants = constants
        self._given = given
        self._bias = bias

    @property
    def output(self) -> Operand:
        """The op's first output."""
        return self.node.outputs[0]

    def shape(self, position: int) -> tuple[int, ...]:
        """Static shape of an input, without the sample axis."""
        return self.node.operand(position).shape

    def is_sampled(self, position: int) -> bool:
        """Whether an input has a value for every sample."""
        return self.node.operand(position).constant is None

    def sampled(self, position: int) -> Tensor:
        """An input as [N, *shape]; a constant is repeated for every sample."""
        operand = self.node.operand(position)
        if operand.constant is None:
            return self._activations[operand.tensor]
        return tf.broadcast_to(self.fixed(position), [self.samples, *operand.shape])

    def folded(self, position: int) -> Tensor:
        """An input as [N * batch, ...]: samples and the model's own batch in one axis, as TensorFlow's kernels want."""
        return tf.reshape(self.sampled(position), [-1, *self.shape(position)[1:]])

    def fixed(self, position: int, order: Sequence[int] = (), shape: Sequence[int] | None = None) -> Tensor:
        """A constant input without a sample axis.

        Args:
          position: Which input.
          order: The axes in another order, as for `numpy.transpose`.
          shape: Another shape of as many elements.
        """
        operand = self.node.operand(position)
        natural = tuple(operand.shape[axis] for axis in order) if order else operand.shape
        wanted = tuple(natural if shape is None else shape)
        if operand.tensor not in self._given:
            return self._constants.get(operand, order, wanted)
        value = self._given[operand.tensor]
        value = tf.transpose(value, order) if order else value
        return tf.reshape(value, wanted) if wanted != natural else value

    def aligned(self, position: int) -> Tensor:
        """An input so that TensorFlow's broadcasting does with other aligned ones what TFLite's does.

        Dimensions that the op's output has more are put behind the sample axis.
        """
        if not self.is_sampled(position):
            return self.fixed(position)
        value, shape = self.sampled(position), self.shape(position)
        missing = len(self.output.shape) - len(shape)
        return tf.reshape(value, [-1, *[1] * missing, *shape]) if missing > 0 else value

    def bias(self, position: int) -> Tensor | None:
        """The bias [channels], None where the op has none or is to leave it out."""
        if not self._bias or not self.node.has(position):
            return None
        return self.fixed(position, shape=[math.prod(self.shape(position))])

    def axes(self, position: int, rank: int) -> list[int]:
        """The axes that a constant input names, counted with the sample axis in front."""
        return [axis % rank + 1 for axis in self.node.numbers(position)]

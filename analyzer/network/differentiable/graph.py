"""A float flatbuffer as a TensorFlow function of a batch of samples, with gradients and hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import UnsupportedModel
from .coverage import missing_rules
from .nodes import Node, Operand, Tensor, read_network


@dataclass(frozen=True)
class Taps:
    """Hooks that see, and may replace, values on their way through the network. None leaves them alone.

    Attributes:
      written: (tensor index, value) of each of the model's inputs and of each op's outputs.
      read: (tensor index, op index, value): an activation as one op reads it; once for each op and tensor, even where
        the op reads the tensor twice.
      before_activation: (op index, value): an op's first output, where it is float32, before the fused activation;
        also where that is NONE.

    Values are [N, *shape]; so must be what the hooks return.
    """

    written: Callable[[int, Tensor], Tensor] | None = None
    read: Callable[[int, int, Tensor], Tensor] | None = None
    before_activation: Callable[[int, Tensor], Tensor] | None = None


class DifferentiableGraph:
    """The first subgraph of a float flatbuffer, computed by TensorFlow.

    Every activation has one axis more than in the file, in front: the samples. Samples do not see one another, so a
    batch gives what its samples give one by one. Works eagerly and within `tf.function`; `tf.GradientTape` sees
    through everything but ops that have no gradient (`cut_gradients` says what lies before them).

    Args:
      data: The flatbuffer, with static shapes, as `load_float` makes it.

    Raises:
      UnsupportedModel: Some op has no rule; the message names what `uncovered` returns.
    """

    def __init__(self, data: bytes) -> None:
        network = read_network(data)
        missing = missing_rules(network)
        if missing:
            raise UnsupportedModel(
                f"no gradients are known through: {', '.join(missing)}", "measure this network exactly, without them"
            )
        from .call import Constants

        self._inputs = network.inputs
        self._nodes = network.nodes
        self._constants = Constants()

    def __call__(
        self, inputs: Sequence[Tensor], *, taps: Taps | None = None, constants: Mapping[int, Tensor] | None = None
    ) -> dict[int, Tensor]:
        """Runs the network on a batch of samples.

        Args:
          inputs: One tensor [N, *shape] for each input of the subgraph, in its order and dtypes.
          taps: Hooks.
          constants: By tensor index: values that replace float constants, in the constants' own shapes.

        Returns:
          Every activation by tensor index, [N, *shape], as `written` left it.
        """
        import tensorflow as tf

        taps = taps or Taps()
        samples = tf.shape(inputs[0])[0]
        values: dict[int, Tensor] = {}
        for tensor, value in zip(self._inputs, inputs, strict=True):
            values[tensor] = taps.written(tensor, value) if taps.written else value
        for node in self._nodes:
            values.update(self._run(node, values, samples, taps, constants or {}))
        return values

    def run_op(
        self, op: int, values: Mapping[int, Tensor], *, taps: Taps | None = None,
        constants: Mapping[int, Tensor] | None = None,
    ) -> dict[int, Tensor]:  # fmt: skip
        """Runs one op of the network on a batch of samples.

        Args:
          op: Its index.
          values: The activations that it reads, [N, *shape] by tensor index; others may be there too.
          taps: Hooks.
          constants: As for a whole run.

        Returns:
          The activations that it writes.
        """
        import tensorflow as tf

        node = self._nodes[op]
        first = next((values[operand.tensor] for operand in node.activations), None)
        samples = 1 if first is None else tf.shape(first)[0]
        return self._run(node, values, samples, taps or Taps(), constants or {})

    def op_before_activation(
        self, op: int, values: Mapping[int, Tensor], constants: Mapping[int, Tensor] | None = None, *, bias: bool = True
    ) -> Tensor:
        """One op's first output before its fused activation.

        Args:
          op: Its index.
          values: The activations that it reads, [N, *shape] by tensor index; others may be there too.
          constants: As for a whole run.
          bias: Whether to add the bias, of ops that have one as an input of its own.
        """
        import tensorflow as tf

        node = self._nodes[op]
        first = next((values[operand.tensor] for operand in node.activations), None)
        samples = 1 if first is None else tf.shape(first)[0]
        return self._compute(node, values, samples, constants or {}, bias=bias)[0]

    def _run(
        self, node: Node, values: Mapping[int, Tensor], samples: Tensor, taps: Taps, constants: Mapping[int, Tensor]
    ) -> dict[int, Tensor]:
        """The outputs of one op by tensor index, behind its activation and all hooks."""
        from .activations import FUSED

        read = {operand.tensor: values[operand.tensor] for operand in node.activations}
        if taps.read:
            read = {tensor: taps.read(tensor, node.index, value) for tensor, value in read.items()}
        results = self._compute(node, read, samples, constants)
        if taps.before_activation and node.outputs[0].dtype == "float32":
            results[0] = taps.before_activation(node.index, results[0])
        written = {}
        for operand, result in zip(node.outputs, results, strict=True):
            value = FUSED[node.activation](result)
            written[operand.tensor] = taps.written(operand.tensor, value) if taps.written else value
        return written

    def _compute(
        self, node: Node, values: Mapping[int, Tensor], samples: Tensor, constants: Mapping[int, Tensor], *,
        bias: bool = True,
    ) -> list[Tensor]:  # fmt: skip
        """The outputs of one op before its activation, each [N, *shape]."""
        from .call import Call
        from .rules import RULES

        found = RULES[node.opcode](Call(node, values, self._constants, constants, samples, bias=bias))
        results = found if isinstance(found, list) else [found]
        return [_shaped(result, operand) for result, operand in zip(results, node.outputs, strict=True)]


def _shaped(value: Tensor, operand: Operand) -> Tensor:
    import tensorflow as tf

    if value.shape.rank == len(operand.shape) + 1 and tuple(value.shape[1:]) == operand.shape:
        return value
    return tf.reshape(value, [-1, *operand.shape])

"""A float flatbuffer as plain Python objects with static shapes, as the rules and their limits look at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import flatbuffer as fb

Tensor = Any
"""A tensor of TensorFlow, which has no types and is not loaded here."""


@dataclass(frozen=True)
class Operand:
    """A tensor as one op reads or writes it.

    Attributes:
      tensor: Its index in the subgraph.
      shape: Static shape, the model's own batch dimension included; -1 for a dynamic dimension.
      dtype: numpy's name, e.g. `float32`.
      constant: The values of a constant, read-only; None for an activation.
    """

    tensor: int
    shape: tuple[int, ...]
    dtype: str
    constant: np.ndarray | None


@dataclass(frozen=True)
class Node:
    """One op.

    Attributes:
      index: Position in execution order.
      opcode: TFLite's name, e.g. `CONV_2D`.
      activation: TFLite's name of the fused activation function, `NONE` where there is none.
      options: The builtin options of the generated schema, None where the op has none.
      inputs: None stands for an absent optional input.
      outputs: What it writes.
    """

    index: int
    opcode: str
    activation: str
    options: Any
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]

    def operand(self, position: int) -> Operand:
        """The input at a position, which must be there."""
        found = self.inputs[position]
        if found is None:
            raise LookupError(f"op {self.index} ({self.opcode}) lacks its input {position}")
        return found

    def has(self, position: int) -> bool:
        """Whether there is an input at a position."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def numbers(self, position: int) -> list[int]:
        """The values of a constant integer input, flattened."""
        values = self.operand(position).constant
        if values is None:
            raise LookupError(f"input {position} of op {self.index} ({self.opcode}) is no constant")
        return [int(value) for value in values.reshape(-1)]

    @property
    def activations(self) -> tuple[Operand, ...]:
        """The inputs that are no constants, each tensor once, in order."""
        found = {operand.tensor: operand for operand in self.inputs if operand and operand.constant is None}
        return tuple(found.values())


@dataclass(frozen=True)
class Network:
    """The first subgraph of a flatbuffer.

    Attributes:
      inputs, outputs: Tensor indices, in the subgraph's order.
      nodes: The ops in execution order.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    nodes: tuple[Node, ...]


def read_network(data: bytes) -> Network:
    """Reads the first subgraph of a flatbuffer.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """
    model = fb.read(data)
    graph = model.subgraphs[0]
    operands = [_operand(model, index, tensor) for index, tensor in enumerate(graph.tensors)]
    functions = {code: name for name, code in vars(fb.schema().ActivationFunctionType).items() if name.isupper()}
    nodes = tuple(
        Node(
            index=index,
            opcode=fb.opcode_name(model, op),
            activation=functions[getattr(op.builtinOptions, "fusedActivationFunction", 0)],
            options=op.builtinOptions,
            inputs=tuple(operands[t] if t >= 0 else None for t in op.inputs),
            outputs=tuple(operands[t] for t in op.outputs),
        )
        for index, op in enumerate(graph.operators)
    )
    return Network(tuple(int(t) for t in graph.inputs), tuple(int(t) for t in graph.outputs), nodes)


def _operand(model: Any, index: int, tensor: Any) -> Operand:
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    shape = tuple(int(size) for size in signature) if signature is not None else ()
    is_string = fb.dtype_name(tensor) == "string"
    return Operand(index, shape, fb.dtype_name(tensor), None if is_string else fb.constant(model, tensor))

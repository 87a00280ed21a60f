"""Precisions, and a float network as data."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass


class Format(enum.StrEnum):
    """How an activation tensor lies in memory."""

    INT8 = "int8"
    INT16 = "int16"
    FLOAT = "float"

    @property
    def bits(self) -> int:
        return {Format.INT8: 8, Format.INT16: 16, Format.FLOAT: 32}[self]


@dataclass(frozen=True)
class Scheme:
    """A precision for one op.

    Attributes:
      name: As people write it: `w8a16` is 8-bit weights and 16-bit activations.
      weight_bits: 4, 8, 16 (as an int8 pair, hi + lo) or 32 (float).
      format: Format in which the op reads and writes activations.
    """

    name: str
    weight_bits: int
    format: Format

    @property
    def is_float(self) -> bool:
        return self.format is Format.FLOAT

    @property
    def is_split(self) -> bool:
        """Whether the weights are kept as two int8 tensors, hi + lo."""
        return self.weight_bits == 16

    @property
    def weight_variant(self) -> str:
        """The key under which this scheme's weight error is measured; `""` for float.

        The split has two: the partial sums are rounded to the activation format before they are added.
        """
        if self.is_float:
            return ""
        return f"w16a{self.format.bits}" if self.is_split else f"w{self.weight_bits}"


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("w4a8", 4, Format.INT8),
        Scheme("w4a16", 4, Format.INT16),
        Scheme("w8a8", 8, Format.INT8),
        Scheme("w8a16", 8, Format.INT16),
        Scheme("w16a8", 16, Format.INT8),
        Scheme("w16a16", 16, Format.INT16),
        Scheme("float", 32, Format.FLOAT),
    )
}
DEFAULT_ALLOWED: tuple[str, ...] = ("w4a8", "w8a8", "w8a16", "w16a8", "w16a16", "float")
ACTIVATION_VARIANTS: Mapping[str, Format] = {"a8": Format.INT8, "a16": Format.INT16}


@dataclass(frozen=True)
class Tensor:
    """One tensor of the flatbuffer.

    Attributes:
      index: Position in the subgraph's tensor list.
      name: Unique within the model; a label, never a key.
      shape: -1 for a dynamic dimension.
      dtype: numpy's name, e.g. `float32`, `int32`.
      buffer: Index of the constant buffer, None for an activation. Tensors may share one.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    buffer: int | None = None

    @property
    def is_constant(self) -> bool:
        return self.buffer is not None

    @property
    def elements(self) -> int:
        """Number of elements of one sample (dynamic dimensions count as 1)."""
        return math.prod(abs(size) for size in self.shape)


@dataclass(frozen=True)
class Op:
    """One operation, with what a planner needs to know of it.

    Attributes:
      index: Position in execution order.
      key: Position and structure, e.g. `3:DEPTHWISE_CONV_2D:1x3x3x32`; equal for a retrained model of equal structure.
      opcode: TFLite's name, e.g. `CONV_2D`.
      layer: Label for people: the Keras layer's name where one can be parsed, else the output tensor's name.
      inputs, outputs: Tensor indices; -1 is an absent optional input.
      weights: Tensor index of the weights of a conv, depthwise, fully connected or transposed conv op, else None.
      bias: Tensor index of the bias, else None.
      constants: Tensor indices of float constant operands that are neither (second inputs of ADD, MUL ...).
      channel_axis: Axis of `weights` along which int8 weights have a scale each, else None.
      kinds: Names from `KINDS`, most telling first.
      macs: Multiply-accumulates for one sample.
      schemes: Names of the schemes that exist for this op; always holds `float`.
      refusal: Why nothing but float exists, else "".
    """

    index: int
    key: str
    opcode: str
    layer: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: int | None = None
    bias: int | None = None
    constants: tuple[int, ...] = ()
    channel_axis: int | None = None
    activation: str = "NONE"
    kinds: tuple[str, ...] = ()
    macs: int = 0
    schemes: tuple[str, ...] = ("float",)
    refusal: str = ""

    def variant(self, scheme: Scheme) -> str:
        """The variant under which the error of this op's constants is measured; "" where it has none, and in float.

        Constant operands without weights are rounded as activations are: `c8` or `c16`.
        """
        if scheme.is_float:
            return ""
        if self.weights is not None:
            return scheme.weight_variant
        return f"c{scheme.format.bits}" if self.constants else ""


KINDS: Mapping[str, str] = {
    "input": "the model's input itself",
    "depthwise": "depthwise convolution: few weights per channel, each channel on its own",
    "pointwise": "1x1 convolution",
    "convolution": "convolution larger than 1x1",
    "fully connected": "dense layer",
    "residual add": "sum of two activations with unlike scales",
    "relu6": "ReLU6 fused into the op",
    "batchnorm folded": "BatchNorm folded into the weights: unlike ranges per channel",
    "first": "first op with weights",
    "last": "last op with weights",
    "pooling": "pooling or mean",
    "activation": "activation function of its own",
    "elementwise": "element by element",
    "movement": "moves values, computes nothing",
    "other": "anything else",
}


@dataclass(frozen=True)
class Graph:
    """A float network as data. Ops are in execution order.

    Attributes:
      inputs, outputs: Tensor indices.
      compared: For each output, the tensor at which errors are measured: the input of a closing SOFTMAX or LOGISTIC,
        else the output itself.
      is_classifier: One output of shape [1, classes], behind SOFTMAX or told to score classes by labels.
      digest: SHA-256 of the float flatbuffer.
      file_bytes: Its size.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    compared: tuple[int, ...]
    is_classifier: bool
    digest: str
    file_bytes: int

    def producer(self, tensor: int) -> int | None:
        """Index of the op that writes `tensor`; None for inputs and constants."""
        return next((op.index for op in self.ops if tensor in op.outputs), None)

    def consumers(self, tensor: int) -> tuple[int, ...]:
        """Indices of the ops that read `tensor`, in execution order."""
        return tuple(op.index for op in self.ops if tensor in op.inputs)

    def activations_in(self, op: Op) -> tuple[int, ...]:
        """Tensor indices of the float activations that `op` reads, each once, in order."""
        seen = dict.fromkeys(t for t in op.inputs if t >= 0)
        return tuple(t for t in seen if not self.tensors[t].is_constant and self.tensors[t].dtype == "float32")

    def activations_out(self, op: Op) -> tuple[int, ...]:
        """Tensor indices of the float activations that `op` writes."""
        return tuple(t for t in op.outputs if self.tensors[t].dtype == "float32")

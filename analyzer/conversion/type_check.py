"""Holds an emitted file against its plan, type by type.

litert-quantizer skips what its policy does not allow without a word, and the op stays float. So the file is read back,
and nothing is taken from the recipe or from the converter: only the file, the float network and the plan are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network import flatbuffer as fb
from ..schema import Format, Graph, Op, Plan, Scheme, TypeMismatch

BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_DTYPE = {Format.INT8: "int8", Format.INT16: "int16", Format.FLOAT: "float32"}
_BIAS = {Format.INT8: "int32", Format.INT16: "int64", Format.FLOAT: "float32"}
_EIGHT_BIT_OPERANDS = frozenset({"BATCH_MATMUL"})
"""Ops whose constant operand is quantized as weights are: 8 bits, whatever the activations have."""


def check_types(emitted: bytes, graph: Graph, plan: Plan) -> tuple[TypeMismatch, ...]:
    """Compares every tensor that an op of the file reads or writes with what the plan asks for.

    Border ops (QUANTIZE, DEQUANTIZE) are taken out; what is left must be the planned ops in order, an op with split
    weights being two of its kind and an ADD. Each must read what its float original reads, in the planned types:
    activations, weights, bias, constant operands, one weight scale for each channel (or exactly one for the tensor,
    where the plan says so), scales finite and positive, zero point 0 where the format has none. The model's inputs and
    outputs must have the plan's io format.

    Args:
      emitted: The file.
      graph: The float network.
      plan: One scheme for each of its ops.

    Returns:
      What deviates, in op order; empty where the file is what was planned. Where the ops themselves do not align, only
      the first that does not.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """
    return tuple(_Checker(fb.read(emitted), graph, plan).run())


def count_types(emitted: bytes) -> dict[str, int]:
    """Number of tensors of each type in a file, by type name."""
    tensors = fb.read(emitted).subgraphs[0].tensors
    return dict(sorted(Counter(fb.dtype_name(tensor) for tensor in tensors).items()))


@dataclass(frozen=True)
class _Planned:
    """An op that the file must have.

    Attributes:
      op: The float op that it is, or is a part of; None for the model's inputs and outputs.
      layer: Its name for people.
      format: What it reads and writes.
      weights: Type of its weights.
      opcode: Its own opcode.
      part: `hi`, `lo` or `add` of a split, else "".
    """

    op: Op | None
    layer: str
    format: Format
    weights: str = ""
    opcode: str = ""
    part: str = ""

    def mismatch(self, tensor: str, expected: str, found: str) -> TypeMismatch:
        return TypeMismatch(self.op.key if self.op else "", self.layer, tensor, expected, found)


class _Checker:
    def __init__(self, model: Any, graph: Graph, plan: Plan) -> None:
        self._model, self._graph, self._plan = model, graph, plan
        self._subgraph = model.subgraphs[0]
        self._tensors = self._subgraph.tensors
        self._ops = [op for op in self._subgraph.operators if fb.opcode_name(model, op) not in BORDERS]
        self._behind = {
            int(op.outputs[0]): int(op.inputs[0])
            for op in self._subgraph.operators
            if fb.opcode_name(model, op) in BORDERS
        }
        self._place = dict(zip(graph.inputs, (int(t) for t in self._subgraph.inputs), strict=False))
        """Where each activation of the float network lies in the file, border ops aside."""
        self._partial: list[int] = []
        """The outputs of the hi and the lo op until their ADD has read them."""

    def run(self) -> Iterator[TypeMismatch]:
        planned = [part for op, scheme in self._pairs() for part in _parts(op, scheme)]
        opcodes = [fb.opcode_name(self._model, op) for op in self._ops]
        for position, part in enumerate(planned):
            opcode = opcodes[position] if position < len(opcodes) else "the end of the file"
            if opcode != part.opcode:
                yield part.mismatch("", part.opcode, opcode)
                return
        if len(opcodes) > len(planned):
            yield TypeMismatch("", "", "", "no further op", opcodes[len(planned)])
            return
        inputs = _Planned(None, "the model's input", self._plan.io)
        for tensor, original in zip(self._subgraph.inputs, self._graph.inputs, strict=True):
            yield from self._check_activation(inputs, int(tensor), original)
        for part, op in zip(planned, self._ops, strict=True):
            yield from self._check_op(part, op)
        yield from self._check_outputs()

    def _pairs(self) -> Iterator[tuple[Op, Scheme]]:
        for op, scheme in zip(self._graph.ops, self._plan.schemes, strict=True):
            if op.opcode not in BORDERS:
                yield op, scheme

    def _check_op(self, part: _Planned, op: Any) -> Iterator[TypeMismatch]:
        assert part.op is not None, "every op of the file was planned"
        wanted = "NONE" if part.part in ("hi", "lo") else part.op.activation
        code = getattr(op.builtinOptions, "fusedActivationFunction", 0)
        if code != getattr(fb.schema().ActivationFunctionType, wanted):
            yield part.mismatch("", f"activation {wanted}", f"activation number {code}")
        if part.part == "add":
            for tensor, source in zip(op.inputs, self._partial, strict=True):
                yield from self._check_source(part, int(tensor), source)
                yield from self._check_quantized(part, int(tensor), _DTYPE[part.format])
            self._partial = []
        else:
            yield from self._check_inputs(part, part.op, op)
        for written, original in zip(op.outputs, part.op.outputs, strict=True):
            if part.part in ("hi", "lo"):
                self._partial.append(int(written))
            else:
                self._place[original] = int(written)
            yield from self._check_activation(part, int(written), original)

    def _check_inputs(self, part: _Planned, wanted: Op, op: Any) -> Iterator[TypeMismatch]:
        read = [int(t) for t in op.inputs]
        read += [-1] * (len(wanted.inputs) - len(read))
        for position, (tensor, original) in enumerate(zip(read, wanted.inputs, strict=True)):
            if tensor < 0 or original < 0:
                if tensor != original:
                    yield part.mismatch(f"input {position}", *_presence(original >= 0, tensor >= 0))
            elif original == wanted.weights:
                yield from self._check_constant(part, tensor, original, part.weights)
                if self._type(tensor) == part.weights:
                    yield from self._check_channels(part, wanted, tensor)
            elif original == wanted.bias:
                yield from self._check_constant(part, tensor, original, _BIAS[part.format])
            elif self._graph.tensors[original].is_constant:
                yield from self._check_constant(part, tensor, original, self._operand_type(part, wanted, original))
            else:
                yield from self._check_source(part, tensor, self._place.get(original))
                yield from self._check_activation(part, tensor, original)

    def _operand_type(self, part: _Planned, op: Op, original: int) -> str:
        dtype = self._graph.tensors[original].dtype
        if dtype != "float32":
            return dtype
        if op.opcode in _EIGHT_BIT_OPERANDS and part.format is not Format.FLOAT:
            return "int8"
        return _DTYPE[part.format]

    def _check_source(self, part: _Planned, tensor: int, source: int | None) -> Iterator[TypeMismatch]:
        """Whether a tensor is `source`, or comes from it through border ops alone."""
        root = tensor
        while root != source and root in self._behind:
            root = self._behind[root]
        if root != source:
            meant = "a tensor that an earlier op writes" if source is None else self._name(source)
            yield part.mismatch(self._name(tensor), f"the values of {meant}", f"those of {self._name(root)}")

    def _check_activation(self, part: _Planned, tensor: int, original: int) -> Iterator[TypeMismatch]:
        dtype = self._graph.tensors[original].dtype
        if dtype == "float32":
            yield from self._check_quantized(part, tensor, _DTYPE[part.format])
        else:
            yield from self._check_type(part, tensor, dtype)

    def _check_constant(self, part: _Planned, tensor: int, original: int, dtype: str) -> Iterator[TypeMismatch]:
        if self._graph.tensors[original].dtype != "float32":
            yield from self._check_type(part, tensor, dtype)
            return
        yield from self._check_quantized(part, tensor, dtype, per_channel=self._plan.per_channel)
        if self._type(tensor) != dtype:
            return
        elements = self._graph.tensors[original].elements
        wanted = (elements + 1) // 2 if dtype == "int4" else elements * np.dtype(dtype).itemsize
        data = self._model.buffers[self._tensors[tensor].buffer].data
        if (0 if data is None else len(data)) != wanted:
            yield part.mismatch(self._name(tensor), f"{wanted} bytes", f"{0 if data is None else len(data)} bytes")

    def _check_channels(self, part: _Planned, op: Op, tensor: int) -> Iterator[TypeMismatch]:
        assert op.weights is not None, "only called for ops with weights"
        if part.format is Format.FLOAT or op.channel_axis is None:
            return
        quantization = self._tensors[tensor].quantization
        wanted = self._graph.tensors[op.weights].shape[op.channel_axis]
        found = len(_numbers(quantization, "scale"))
        axis = quantization.quantizedDimension if quantization is not None else 0
        if self._plan.per_channel and (found != wanted or (wanted > 1 and axis != op.channel_axis)):
            expected = f"{wanted} scales along axis {op.channel_axis}"
            yield part.mismatch(self._name(tensor), expected, f"{found} along axis {axis}")
        if _numbers(quantization, "zeroPoint").any():
            yield part.mismatch(self._name(tensor), "weights with zero point 0", "another one")

    def _check_type(self, part: _Planned, tensor: int, dtype: str) -> Iterator[TypeMismatch]:
        if self._type(tensor) != dtype:
            yield part.mismatch(self._name(tensor), dtype, self._type(tensor))

    def _check_quantized(
        self, part: _Planned, tensor: int, dtype: str, *, per_channel: bool = False
    ) -> Iterator[TypeMismatch]:
        """The type of a tensor that holds real numbers, with the scales and zero points that the type needs."""
        yield from self._check_type(part, tensor, dtype)
        if self._type(tensor) != dtype or dtype == "float32":
            return
        quantization = self._tensors[tensor].quantization
        scales, zeros = _numbers(quantization, "scale"), _numbers(quantization, "zeroPoint")
        low, high = (-128, 127) if dtype == "int8" else (0, 0)
        name = self._name(tensor)
        if len(scales) == 0 or len(scales) != len(zeros) or (len(scales) > 1 and not per_channel):
            yield part.mismatch(name, "a scale and a zero point", f"{len(scales)} scales, {len(zeros)} zero points")
        elif not (np.isfinite(scales).all() and scales.min() > 0):
            yield part.mismatch(name, "scales that are finite and positive", f"a scale of {scales.min()}")
        elif zeros.min() < low or zeros.max() > high:
            yield part.mismatch(name, f"zero points from {low} to {high}", f"{zeros.min():.0f} to {zeros.max():.0f}")

    def _check_outputs(self) -> Iterator[TypeMismatch]:
        outputs = _Planned(None, "the model's output", self._plan.io)
        found = [int(t) for t in self._subgraph.outputs]
        if len(found) != len(self._graph.outputs):
            yield outputs.mismatch("", f"{len(self._graph.outputs)} outputs", f"{len(found)}")
            return
        for tensor, original in zip(found, self._graph.outputs, strict=True):
            yield from self._check_source(outputs, tensor, self._place.get(original))
            yield from self._check_activation(outputs, tensor, original)
        for signature in self._model.signatureDefs or []:
            for item in signature.outputs or []:
                if int(item.tensorIndex) not in found:
                    name = self._name(int(item.tensorIndex))
                    yield outputs.mismatch(name, "a signature that returns the outputs", "it returns another tensor")

    def _type(self, tensor: int) -> str:
        return fb.dtype_name(self._tensors[tensor])

    def _name(self, tensor: int) -> str:
        return fb.text(self._tensors[tensor].name)


def _parts(op: Op, scheme: Scheme) -> tuple[_Planned, ...]:
    if scheme.is_split:
        names = (("hi", op.opcode), ("lo", op.opcode), ("add", "ADD"))
        return tuple(_Planned(op, op.layer, scheme.format, "int8", opcode, part) for part, opcode in names)
    weights = "float32" if scheme.is_float else f"int{scheme.weight_bits}"
    return (_Planned(op, op.layer, scheme.format, weights, op.opcode),)


def _presence(wanted: bool, found: bool) -> tuple[str, str]:
    return ("present" if wanted else "absent"), ("present" if found else "absent")


def _numbers(quantization: Any, field: str) -> np.ndarray:
    values = None if quantization is None else getattr(quantization, field)
    return np.asarray([] if values is None else values, np.float64)

"""A float flatbuffer as a `Graph`: ops, tensors, edges, layer names, kinds, multiply-accumulates, schemes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from ..schema import Graph, Op, Tensor
from . import flatbuffer as fb
from . import kernels, names

_ACTIVATION_OPS = frozenset({
    "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "LEAKY_RELU", "PRELU", "ELU", "TANH", "LOGISTIC", "HARD_SWISH",
    "GELU", "SOFTMAX", "LOG_SOFTMAX",
})  # fmt: skip
_POOLING = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"})
_ELEMENTWISE = frozenset({
    "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "RSQRT", "SQRT", "EXP", "POW", "ABS", "NEG",
})  # fmt: skip
_CLOSING = frozenset({"SOFTMAX", "LOGISTIC"})


def build_graph(data: bytes) -> Graph:
    """Reads the first subgraph of a float flatbuffer (as `load_float` makes it) into a `Graph`.

    Args:
      data: The flatbuffer's bytes.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """
    model = fb.read(data)
    subgraph = model.subgraphs[0]
    tensors = tuple(_tensor(model, index, tensor) for index, tensor in enumerate(subgraph.tensors))
    strip = names.keras3_scopes([tensor.name for tensor in tensors])
    ops = [_op(model, index, op, tensors, strip) for index, op in enumerate(subgraph.operators)]
    outputs = tuple(int(t) for t in subgraph.outputs)
    compared = tuple(_compared(ops, output) for output in outputs)
    return Graph(
        tensors=tensors,
        ops=tuple(_mark_ends(_distinct_layers(ops))),
        inputs=tuple(int(t) for t in subgraph.inputs),
        outputs=outputs,
        compared=compared,
        is_classifier=len(outputs) == 1
        and _closed_by(ops, outputs[0], "SOFTMAX")
        and scores_classes(tensors[outputs[0]]),
        digest=fb.digest(data),
        file_bytes=len(data),
    )


def rebuild_graph(data: bytes, graph: Graph) -> Graph:
    """The graph of a network that differs from another one in the values of its constants alone.

    Args:
      data: The network's flatbuffer.
      graph: Of the other one; where it is compared, and whether it scores classes, is taken from there.
    """
    return replace(build_graph(data), compared=graph.compared, is_classifier=graph.is_classifier)


def scores_classes(output: Tensor) -> bool:
    """Whether an output has the shape of class scores, [1, classes]; a map of scores for every pixel has not."""
    return len(output.shape) == 2 and output.shape[0] in (1, -1) and output.shape[1] > 1


def _tensor(model: Any, index: int, tensor: Any) -> Tensor:
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    shape = tuple(int(size) for size in signature) if signature is not None else ()
    has_data = bool(tensor.buffer) and model.buffers[tensor.buffer].data is not None
    return Tensor(index, fb.text(tensor.name), shape, fb.dtype_name(tensor), int(tensor.buffer) if has_data else None)


def _op(model: Any, index: int, op: Any, tensors: tuple[Tensor, ...], strip: bool) -> Op:
    opcode = fb.opcode_name(model, op)
    inputs = tuple(int(t) for t in op.inputs)
    outputs = tuple(int(t) for t in op.outputs)
    weights = _input_at(inputs, kernels.WEIGHTS_INPUT.get(opcode))
    bias = _input_at(inputs, kernels.BIAS_INPUT.get(opcode))
    constants = tuple(
        t for t in dict.fromkeys(inputs)
        if t >= 0 and t not in (weights, bias) and tensors[t].is_constant and tensors[t].dtype == "float32"
    )  # fmt: skip
    activation = _fused_activation(op)
    constant_weights = weights is None or tensors[weights].is_constant
    is_float = any(tensors[t].dtype == "float32" for t in outputs) and any(
        t >= 0 and tensors[t].dtype == "float32" and not tensors[t].is_constant for t in inputs
    )
    schemes: tuple[str, ...] = ("float",)
    refusal = ""
    if is_float:
        schemes = kernels.schemes_for(opcode, fused_activation=activation, constant_weights=constant_weights)
        refusal = kernels.refusal(opcode, fused_activation=activation, constant_weights=constant_weights)
    structure = tensors[weights].shape if weights is not None else tensors[outputs[0]].shape if outputs else ()
    weights_name = tensors[weights].name if weights is not None else None
    built = Op(
        index=index,
        key=f"{index}:{opcode}:{'x'.join(map(str, structure))}",
        opcode=opcode,
        layer=names.layer_name(opcode, tensors[outputs[0]].name, weights_name, strip=strip) if outputs else opcode,
        inputs=inputs,
        outputs=outputs,
        weights=weights if constant_weights else None,
        bias=bias,
        constants=constants,
        channel_axis=kernels.CHANNEL_AXIS.get(opcode) if weights is not None else None,
        activation=activation,
        macs=_macs(opcode, op, tensors, inputs, outputs, weights),
        schemes=schemes,
        refusal=refusal,
    )
    return replace(built, kinds=_kinds(built, tensors))


def _input_at(inputs: tuple[int, ...], position: int | None) -> int | None:
    return inputs[position] if position is not None and position < len(inputs) and inputs[position] >= 0 else None


def _fused_activation(op: Any) -> str:
    code = getattr(op.builtinOptions, "fusedActivationFunction", 0)
    enum = fb.schema().ActivationFunctionType
    names_by_code: dict[int, str] = {value: name for name, value in vars(enum).items() if not name.startswith("_")}
    return names_by_code[code]


def _macs(
    opcode: str, op: Any, tensors: tuple[Tensor, ...], inputs: tuple[int, ...], outputs: tuple[int, ...],
    weights: int | None,
) -> int:  # fmt: skip
    if opcode == "BATCH_MATMUL":
        shared = tensors[inputs[0]].shape[-2 if getattr(op.builtinOptions, "adjX", False) else -1]
        return tensors[outputs[0]].elements * abs(shared)
    if weights is None:
        return 0
    kernel = tensors[weights].shape
    if opcode == "TRANSPOSE_CONV":
        return tensors[inputs[kernels.DATA_INPUT[opcode]]].elements * math.prod(kernel[:3])
    per_output = kernel[1] * kernel[2] if opcode == "DEPTHWISE_CONV_2D" else math.prod(kernel[1:])
    return tensors[outputs[0]].elements * per_output


def _kinds(op: Op, tensors: tuple[Tensor, ...]) -> tuple[str, ...]:
    found = [_main_kind(op, tensors)]
    if op.activation == "RELU6":
        found.append("relu6")
    labels = [tensors[t].name for t in (*op.outputs[:1], op.weights, op.bias) if t is not None]
    if op.weights is not None and names.batchnorm_folded(*labels):
        found.append("batchnorm folded")
    return tuple(found)


def _main_kind(op: Op, tensors: tuple[Tensor, ...]) -> str:
    if op.opcode == "DEPTHWISE_CONV_2D":
        return "depthwise"
    if op.opcode in ("CONV_2D", "TRANSPOSE_CONV"):
        shape = tensors[op.weights].shape if op.weights is not None else ()
        return "pointwise" if op.opcode == "CONV_2D" and shape[1:3] == (1, 1) else "convolution"
    if op.opcode == "FULLY_CONNECTED":
        return "fully connected"
    if op.opcode == "ADD" and not op.constants and len(set(op.inputs)) == 2:
        return "residual add"
    for kind, opcodes in (
        ("pooling", _POOLING), ("activation", _ACTIVATION_OPS), ("elementwise", _ELEMENTWISE),
        ("movement", kernels.MOVEMENT | {"CONCATENATION", "PACK", "PADV2"}),
    ):  # fmt: skip
        if op.opcode in opcodes:
            return kind
    return "other"


def _mark_ends(ops: list[Op]) -> list[Op]:
    weighted = [op.index for op in ops if op.weights is not None]
    ends = {weighted[0]: "first", weighted[-1]: "last"} if len(weighted) > 1 else {}
    return [replace(op, kinds=(*op.kinds, ends[op.index])) if op.index in ends else op for op in ops]


def _distinct_layers(ops: list[Op]) -> list[Op]:
    """A layer that became several ops gives each its opcode, and a number where that is not enough."""
    layers = Counter(op.layer for op in ops)
    named = [op.layer if layers[op.layer] == 1 else f"{op.layer} ({op.opcode})" for op in ops]
    again, seen = Counter(named), Counter[str]()
    result = []
    for op, label in zip(ops, named, strict=True):
        seen[label] += 1
        result.append(replace(op, layer=label if again[label] == 1 else f"{label} #{seen[label]}"))
    return result


def _closed_by(ops: list[Op], tensor: int, *opcodes: str) -> bool:
    return any(tensor in op.outputs and op.opcode in opcodes for op in ops)


def _compared(ops: list[Op], output: int) -> int:
    closing = next((op for op in ops if output in op.outputs and op.opcode in _CLOSING), None)
    return closing.inputs[0] if closing else output


def channel_spread(values: np.ndarray, axis: int) -> float:
    """Largest over smallest nonzero channel range of weights: what one scale for all channels would have to bridge.

    Args:
      values: Weights, any shape, float.
      axis: The channel axis.
    """
    ranges = np.abs(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)).max(1)
    used = ranges[ranges > 0]
    return float(used.max() / used.min()) if used.size else 1.0

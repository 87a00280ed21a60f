"""What is refused before anything is changed: damaged files, and networks that Bitplan cannot measure.

The interpreter trusts a file's indices and sizes and may end the whole process over a wrong one, so they are checked
here before it sees the file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import AlreadyQuantized, UnsupportedModel
from ..network import flatbuffer
from .editing import graph_of, is_constant, label, numbers

_CONTROL = "control flow, which LSTM and GRU layers become too"
_STATE = "keeps state between runs"
_RECURRENT = "a recurrent layer in one op"
_RANDOM = "draws random numbers"
_INTERNAL = "no op that a file may hold"
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE"), _CONTROL),
    **dict.fromkeys(("STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL"), "calls another subgraph"),
    **dict.fromkeys(("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"), _STATE),
    **dict.fromkeys(("HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE"), _STATE),
    **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"), _RECURRENT),
    **dict.fromkeys(("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF"), _RECURRENT),
    **dict.fromkeys(("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL"), _RANDOM),
    "STABLEHLO_RNG_BIT_GENERATOR": _RANDOM,
    "DENSIFY": "sparse weights",
    "DELEGATE": _INTERNAL,
    "PLACEHOLDER_FOR_GREATER_OP_CODES": _INTERNAL,
}

_BITS: Mapping[str, int] = {
    "float64": 64, "int64": 64, "uint64": 64, "complex64": 64, "complex128": 128, "float32": 32, "int32": 32,
    "uint32": 32, "float16": 16, "bfloat16": 16, "int16": 16, "uint16": 16, "int8": 8, "uint8": 8, "bool": 8,
    "int4": 4, "uint4": 4, "int2": 2, "float8_e4m3fn": 8, "float8_e5m2": 8,
}  # fmt: skip
_SMALL_INTEGERS = ("int8", "uint8", "int16", "uint16", "int4", "uint4", "int2")
_KEPT_DTYPES = ("float32", "int32", "int64", "bool", "int8", "uint8", "int16", "uint16", "uint32", "uint64")
_MAX_TENSOR_BYTES = 2**31
_DAMAGED = "export the model again, or download it again"


def check_structure(model: Any) -> None:
    """Checks that every index and size of a `ModelT` holds, and makes its vectors plain lists.

    Raises:
      UnsupportedModel: The file is damaged; the message names the tensor or op.
    """
    if not model.subgraphs or not model.buffers:
        raise _damaged("it has no subgraph or no buffers")
    model.operatorCodes = model.operatorCodes or []
    for entry in model.metadata or []:
        if not 0 <= int(entry.buffer) < len(model.buffers):
            raise _damaged(f"metadata {flatbuffer.text(entry.name)!r} points at a buffer that is not there")
    # No runtime reads this field; its indices do not survive the reader.
    model.metadataBuffer = None
    for graph in model.subgraphs:
        _check_tensors(model, graph)
        _check_ops(model, graph)
    for signature in model.signatureDefs or []:
        signature.inputs, signature.outputs = signature.inputs or [], signature.outputs or []
        if not 0 <= signature.subgraphIndex < len(model.subgraphs):
            raise _damaged(f"signature {flatbuffer.text(signature.signatureKey)!r} belongs to no subgraph")
        count = len(model.subgraphs[signature.subgraphIndex].tensors)
        if any(not 0 <= entry.tensorIndex < count for entry in [*signature.inputs, *signature.outputs]):
            raise _damaged(f"signature {flatbuffer.text(signature.signatureKey)!r} names a tensor that is not there")


def check_supported(model: Any) -> None:
    """Refuses by name what cannot be measured: several functions, control flow, state, sparse or odd types.

    Raises:
      UnsupportedModel: The message names the ops, signatures or tensors.
    """
    _check_functions(model)
    found = Counter(flatbuffer.opcode_name(model, op) for graph in model.subgraphs for op in graph.operators)
    refused = {name: reason for name in found if (reason := _refusal(name))}
    if refused:
        listed = ", ".join(f"{name} ({reason})" for name, reason in sorted(refused.items()))
        raise UnsupportedModel(
            f"the model holds ops that Bitplan does not support: {listed}",
            "export the network without them: an ordinary feed-forward graph of built-in float ops",
        )
    if len(model.subgraphs) > 1:
        raise UnsupportedModel(
            f"the model holds {len(model.subgraphs)} subgraphs", "export one function alone, without control flow"
        )
    graph = graph_of(model)
    if not graph.inputs or not graph.outputs or not graph.operators:
        raise UnsupportedModel("the model lacks inputs, outputs or ops", "give a network that computes something")
    for position, op in enumerate(graph.operators):
        name = flatbuffer.opcode_name(model, op)
        if not op.inputs or op.inputs[0] < 0 or not op.outputs:
            raise _damaged(f"op {position} ({name}) lacks an input or output")
        if name == "FAKE_QUANT" and op.builtinOptions is None:
            raise _damaged(f"op {position} ({name}) lacks its range")
    for tensor in graph.tensors:
        if tensor.isVariable:
            raise UnsupportedModel(
                f"tensor {label(tensor)} keeps state between runs", "export the network without state variables"
            )
        if tensor.sparsity is not None:
            raise UnsupportedModel(f"tensor {label(tensor)} is sparse", "export the network with dense weights")
        if tensor.externalBuffer:
            raise UnsupportedModel(
                f"the values of tensor {label(tensor)} stand in another file", "export the model as one file"
            )


def check_float(model: Any) -> None:
    """Refuses quantized tensors, and types for which there is no float arithmetic here.

    To be called once float16 constants and FAKE_QUANT ops are gone.

    Raises:
      AlreadyQuantized: Some tensor is quantized; the message counts and names them.
      UnsupportedModel: A tensor has a type such as string or float64.
    """
    graph = graph_of(model)
    read = {index for op in graph.operators for index in op.inputs if index >= 0}
    constants = [graph.tensors[i] for i in sorted(read) if is_constant(model, graph.tensors[i])]
    weights = [t for t in constants if len(t.shape) >= 2 and flatbuffer.dtype_name(t) not in ("int32", "int64", "bool")]
    activations = [t for t in graph.tensors if not is_constant(model, t)]
    bad_weights = [t for t in weights if flatbuffer.dtype_name(t) in _SMALL_INTEGERS]
    bad_constants = [t for t in constants if _is_quantized(t) and t not in bad_weights]
    bad_activations = [t for t in activations if _is_quantized(t)]
    bad = [*bad_weights, *bad_constants, *bad_activations]
    if bad:
        named = ", ".join(f"{label(t)} ({flatbuffer.dtype_name(t)})" for t in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise AlreadyQuantized(
            f"the model is already quantized: {len(bad_weights)} of {len(weights)} weight tensors and "
            f"{len(bad_activations)} of {len(activations)} activations: {named}{more}",
            "give the float model it was made from; to compare the two, run `bitplan audit FLOAT QUANTIZED`",
        )
    for tensor in graph.tensors:
        dtype = flatbuffer.dtype_name(tensor)
        if dtype not in _KEPT_DTYPES:
            raise UnsupportedModel(
                f"tensor {label(tensor)} is of type {dtype}", "export the network with float32 weights and activations"
            )


def _check_functions(model: Any) -> None:
    """Keeps one signature of several that are the same function; refuses those that are not."""
    signatures = model.signatureDefs or []
    functions = {
        (s.subgraphIndex, *(frozenset(e.tensorIndex for e in side) for side in (s.inputs, s.outputs)))
        for s in signatures
    }
    if len(functions) > 1:
        names = [flatbuffer.text(s.signatureKey) for s in signatures]
        raise UnsupportedModel(
            f"the model holds several signatures that do different things: {', '.join(names)}",
            f"export one alone, e.g. tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[{names[0]!r}])",
        )


def _refusal(name: str) -> str:
    if name.startswith("CUSTOM:"):
        return "a custom op"
    if name.startswith("UNKNOWN_"):
        return "newer than the LiteRT schema in use"
    return _REFUSED.get(name, "")


def _is_quantized(tensor: Any) -> bool:
    """Whether a small integer tensor carries a scale."""
    quantization = tensor.quantization
    if quantization is None or flatbuffer.dtype_name(tensor) not in _SMALL_INTEGERS:
        return False
    return quantization.details is not None or (np.ndim(quantization.scale) > 0 and len(quantization.scale) > 0)


def _check_tensors(model: Any, graph: Any) -> None:
    graph.tensors = graph.tensors or []
    for tensor in graph.tensors:
        tensor.shape = numbers(tensor.shape)
        tensor.shapeSignature = numbers(tensor.shapeSignature) or None
        tensor.buffer = int(tensor.buffer)
        if not 0 <= tensor.buffer < len(model.buffers):
            raise _damaged(f"tensor {label(tensor)} points at buffer {tensor.buffer}, which is not there")
        bits = _BITS.get(flatbuffer.dtype_name(tensor))
        if any(size < 0 for size in tensor.shape):
            raise _damaged(f"tensor {label(tensor)} has the shape {tensor.shape}")
        if bits is None:
            continue
        elements = math.prod(tensor.shape)
        needed = (elements * bits + 7) // 8
        if needed >= _MAX_TENSOR_BYTES:
            raise _damaged(f"tensor {label(tensor)} of shape {tensor.shape} would take {needed} bytes")
        data = model.buffers[tensor.buffer].data if tensor.buffer else None
        if data is None:
            continue
        if len(data) == 0 and elements:
            # Old converters gave every activation an empty buffer of its own.
            tensor.buffer = 0
        elif tensor.sparsity is None and len(data) != needed:
            raise _damaged(f"constant {label(tensor)} of shape {tensor.shape} has {len(data)} bytes, not {needed}")


def _check_ops(model: Any, graph: Any) -> None:
    graph.operators = graph.operators or []
    graph.inputs, graph.outputs = numbers(graph.inputs), numbers(graph.outputs)
    count = len(graph.tensors)
    if any(not 0 <= index < count for index in [*graph.inputs, *graph.outputs]):
        raise _damaged("an input or output of the graph is a tensor that is not there")
    written = set(graph.inputs)
    if any(is_constant(model, graph.tensors[index]) for index in written):
        raise _damaged("an input of the graph is a constant")
    for position, op in enumerate(graph.operators):
        if not 0 <= op.opcodeIndex < len(model.operatorCodes):
            raise _damaged(f"op {position} has no operator code")
        op.inputs, op.outputs = numbers(op.inputs), numbers(op.outputs)
        where = f"op {position} ({flatbuffer.opcode_name(model, op)})"
        if any(not -1 <= index < count for index in [*op.inputs, *numbers(op.intermediates)]):
            raise _damaged(f"{where} reads a tensor that is not there")
        if any(not 0 <= index < count for index in op.outputs):
            raise _damaged(f"{where} writes a tensor that is not there")
        for index in op.inputs:
            tensor = graph.tensors[index]
            if index >= 0 and index not in written and not _has_values(model, tensor):
                raise _damaged(f"{where} reads {label(tensor)} before anything has written it")
        if any(index in written or is_constant(model, graph.tensors[index]) for index in op.outputs):
            raise _damaged(f"{where} overwrites a tensor")
        written.update(op.outputs)
    for index in graph.outputs:
        if index not in written and not _has_values(model, graph.tensors[index]):
            raise _damaged(f"nothing writes the output {label(graph.tensors[index])}")


def _has_values(model: Any, tensor: Any) -> bool:
    return is_constant(model, tensor) or tensor.isVariable or math.prod(tensor.shape) == 0


def _damaged(what: str) -> UnsupportedModel:
    return UnsupportedModel(f"the .tflite file is damaged: {what}", _DAMAGED)

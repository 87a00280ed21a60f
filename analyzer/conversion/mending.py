"""What litert-quantizer gets wrong in the files it emits: prevented before it runs, mended afterwards.

In most networks there is nothing to mend but how the file is written (`flatbuffer.write`), so that the quantizer alone
gives the same model. The others:

- It takes -1, its mark for "the model's output reads this", for an index into the op list, and so rewires the last op.
- It takes any border tensor behind an output for the output, whoever it was made for, and forgets the SignatureDef.
- It leaves a tensor that nothing reads in float, be it an output of an integer op (SPLIT with an unused part).
- It keeps the default of ADD and SUB that asks for an old int16 kernel wherever the scales are powers of two (behind
  LOGISTIC, TANH, SOFTMAX); that kernel refuses some of them when the file is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from ..network import flatbuffer as fb
from ..schema import Format

_GUARD = b"guard"
_BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_NEARLY = 2e-3
"""So close to a whole number is the logarithm of a scale that LiteRT takes for a power of two, twice over."""


def needs_guard(model: Any) -> bool:
    """Whether the quantizer needs `guard` and `mend` for a network.

    That is where a float tensor is read by nothing, and where an output is read by an op, is an input, or is returned
    twice.

    Args:
      model: Parsed float model.
    """
    subgraph = model.subgraphs[0]
    outputs = [int(t) for t in subgraph.outputs]
    read = {int(t) for op in subgraph.operators for t in op.inputs}
    taken = read | {int(t) for t in subgraph.inputs}
    return bool(_unread(model) or taken.intersection(outputs) or len(set(outputs)) < len(outputs))


def guard(model: Any) -> None:
    """Appends a last op of a kind that the quantizer does not know, which reads every float tensor that nothing reads.

    The quantizer then gives those tensors their type, and -1 is no op of the network. `mend` takes it out.

    Args:
      model: Parsed float model; changed in place.
    """
    schema, subgraph = fb.schema(), model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = _GUARD, 1
    op = schema.OperatorT()
    op.inputs, op.outputs = _unread(model), []
    model.operatorCodes.append(code)
    op.opcodeIndex = len(model.operatorCodes) - 1
    subgraph.operators.append(op)


def mend(model: Any, prepared: Any, io: Format) -> None:
    """Puts the outputs and the signature of an emitted file in order, and takes the guard out.

    Args:
      model: What the quantizer made, parsed; changed in place.
      prepared: The guarded float model it was made from, parsed.
      io: Format of the model's float outputs.
    """
    subgraph, before = model.subgraphs[0], prepared.subgraphs[0]
    _take_out_guard(model)
    places = {int(t): _returned(model, int(t), _output_type(prepared, int(t), io)) for t in before.outputs}
    subgraph.outputs = [places[int(t)] for t in before.outputs]
    for signature, original in zip(model.signatureDefs or [], prepared.signatureDefs or [], strict=True):
        for item, was in zip(signature.outputs or [], original.outputs or [], strict=True):
            item.tensorIndex = places.get(int(was.tensorIndex), int(was.tensorIndex))
    _drop_unused(model, len(before.tensors))


def avoid_old_kernels(model: Any) -> None:
    """Keeps int16 sums whose scales are powers of two off the old kernel for them.

    Args:
      model: Parsed emitted file; changed in place.
    """
    tensors = model.subgraphs[0].tensors
    for op in model.subgraphs[0].operators:
        if getattr(op.builtinOptions, "potScaleInt16", False):
            around = [tensors[int(t)] for t in (*op.inputs, *op.outputs)]
            if all(fb.dtype_name(t) == "int16" and _is_power_of_two(t.quantization.scale[0]) for t in around):
                op.builtinOptions.potScaleInt16 = False


def _is_power_of_two(scale: float) -> bool:
    exponent = math.log2(scale)
    return abs(exponent - round(exponent)) < _NEARLY


def _unread(model: Any) -> list[int]:
    """Float activations that neither an op nor the model's output reads."""
    subgraph = model.subgraphs[0]
    read = {int(t) for op in subgraph.operators for t in op.inputs} | {int(t) for t in subgraph.outputs}
    written = [int(t) for t in subgraph.inputs] + [int(t) for op in subgraph.operators for t in op.outputs]
    return [t for t in written if t not in read and fb.dtype_name(subgraph.tensors[t]) == "float32"]


def _take_out_guard(model: Any) -> None:
    """Removes the guard and the border ops that were made for it alone."""
    subgraph = model.subgraphs[0]
    guards = [op for op in subgraph.operators if fb.opcode_name(model, op) == f"CUSTOM:{_GUARD.decode()}"]
    for op in guards:
        fed = {int(t) for t in op.inputs}
        subgraph.operators = [
            other for other in subgraph.operators
            if other is not op and not (fb.opcode_name(model, other) in _BORDERS and int(other.outputs[0]) in fed)
        ]  # fmt: skip


def _returned(model: Any, tensor: int, dtype: str) -> int:
    """The tensor that holds an output's values in the type in which the model returns them."""
    subgraph = model.subgraphs[0]
    if fb.dtype_name(subgraph.tensors[tensor]) == dtype:
        return tensor
    read = {int(t) for op in subgraph.operators for t in op.inputs}
    behind = [
        int(op.outputs[0])
        for op in subgraph.operators
        if fb.opcode_name(model, op) in _BORDERS and int(op.inputs[0]) == tensor
    ]
    fitting = [t for t in behind if fb.dtype_name(subgraph.tensors[t]) == dtype]
    return min(fitting, key=lambda t: (t in read, t), default=tensor)


def _output_type(prepared: Any, tensor: int, io: Format) -> str:
    dtype = fb.dtype_name(prepared.subgraphs[0].tensors[tensor])
    return {Format.INT8: "int8", Format.INT16: "int16", Format.FLOAT: dtype}[io] if dtype == "float32" else dtype


def _drop_unused(model: Any, first_new: int) -> None:
    """Removes operator codes without an op, and tensors from index `first_new` on that nothing uses."""
    subgraph = model.subgraphs[0]
    operators = subgraph.operators
    codes = _renumbered(len(model.operatorCodes), {op.opcodeIndex for op in operators})
    model.operatorCodes = [code for code, new in zip(model.operatorCodes, codes, strict=True) if new >= 0]
    used = {int(t) for op in operators for t in (*op.inputs, *op.outputs)} | {int(t) for t in subgraph.outputs}
    tensors = _renumbered(len(subgraph.tensors), used | set(range(first_new)))
    subgraph.tensors = [tensor for tensor, new in zip(subgraph.tensors, tensors, strict=True) if new >= 0]
    for op in operators:
        op.opcodeIndex = int(codes[op.opcodeIndex])
        op.inputs = [int(tensors[t]) if t >= 0 else -1 for t in op.inputs]
        op.outputs = [int(tensors[t]) for t in op.outputs]
    subgraph.outputs = [int(tensors[t]) for t in subgraph.outputs]
    for signature in model.signatureDefs or []:
        for item in signature.outputs or []:
            item.tensorIndex = int(tensors[item.tensorIndex])


def _renumbered(count: int, used: Collection[int]) -> np.ndarray:
    """New index of each of `count` things, -1 for those that are not used; int64 [count]."""
    keep = np.zeros(count, bool)
    keep[list(used)] = True
    return np.where(keep, np.cumsum(keep) - 1, -1)

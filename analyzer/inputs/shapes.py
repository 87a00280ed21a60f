"""Makes every shape of a model static: the batch is pinned to 1, and what was computed from it is worked out.

Converters that left the batch open write chains such as SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE; with a known batch
their values are constants. What the interpreter then still cannot know before it sees data is refused by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..network import flatbuffer
from ..network.runtime import Runner
from . import editing
from .editing import graph_of, is_constant, label, numbers

# Shape arithmetic works on a handful of numbers; anything larger is data.
_MAX_FOLDED_ELEMENTS = 64


def pin_batch(model: Any) -> list[str]:
    """Sets an open first dimension of every input to 1.

    Returns:
      A note, where something was open.

    Raises:
      UnsupportedModel: Another dimension of an input is open.
    """
    graph = graph_of(model)
    pinned = False
    for index in graph.inputs:
        tensor = graph.tensors[index]
        signature = tensor.shapeSignature or tensor.shape
        if any(size < 0 for size in signature[1:]) or 0 in signature:
            raise _dynamic(tensor)
        if signature and signature[0] < 0:
            tensor.shape = [1, *signature[1:]]
            tensor.shapeSignature = None
            pinned = True
    return ["open batch dimension set to 1"] if pinned else []


def make_static(model: Any) -> list[str]:
    """Gives every tensor the shape that the interpreter finds for it, and folds shape arithmetic into constants.

    Raises:
      UnsupportedModel: The interpreter cannot load the model, or a shape depends on the data.
    """
    folded = 0
    while True:
        unknown = _settle(model)
        ready = _fold_constants(model, unknown)
        if not ready:
            break
        folded += ready
    if unknown:
        first = next(i for op in graph_of(model).operators for i in op.outputs if i in unknown)
        raise _dynamic(graph_of(model).tensors[first])
    return [f"{folded} shape computations folded to constants"] if folded else []


def _settle(model: Any) -> set[int]:
    """Copies the interpreter's shapes into the model.

    Returns:
      The tensors whose shape is known only once data has been seen.
    """
    graph = graph_of(model)
    runner = Runner(flatbuffer.write(model), kernels="builtin")
    unknown = set()
    for index in dict.fromkeys(i for op in graph.operators for i in op.outputs):
        tensor = graph.tensors[index]
        shape = runner.static_shape(index)
        if shape is None:
            unknown.add(index)
            continue
        tensor.shape = list(shape)
        tensor.shapeSignature = None
    for tensor in graph.tensors:
        if is_constant(model, tensor):
            tensor.shapeSignature = None
    return unknown


def _fold_constants(model: Any, unknown: set[int]) -> int:
    """Replaces shape arithmetic on known values by constants.

    Returns:
      The number of ops replaced.
    """
    graph = graph_of(model)
    folded = []
    for op in graph.operators:
        name = flatbuffer.opcode_name(model, op)
        if len(op.outputs) != 1 or op.outputs[0] in graph.outputs:
            continue
        output = graph.tensors[op.outputs[0]]
        values = None
        if name == "SHAPE" and op.inputs[0] not in unknown:
            values = np.array(graph.tensors[op.inputs[0]].shape)
        elif name in _ARITHMETIC and not getattr(op.builtinOptions, "fusedActivationFunction", 0):
            operands = [_small_constant(model, index) for index in op.inputs]
            known = [operand for operand in operands if operand is not None]
            if len(known) == len(operands):
                # What numpy cannot do with these operands stays an op; the interpreter has the last word on it.
                with contextlib.suppress(ValueError, IndexError):
                    values = _ARITHMETIC[name](op.builtinOptions, known)
        if values is not None and values.size <= _MAX_FOLDED_ELEMENTS:
            values = values.astype(flatbuffer.dtype_name(output))
            output.shape, output.shapeSignature = list(values.shape), None
            flatbuffer.set_constant(model, output, values)
            folded.append(op)
    editing.remove_ops(model, folded)
    return len(folded)


def _small_constant(model: Any, index: int) -> np.ndarray | None:
    if index < 0:
        return None
    values = flatbuffer.constant(model, graph_of(model).tensors[index])
    return values if values is not None and values.size <= _MAX_FOLDED_ELEMENTS else None


def _dynamic(tensor: Any) -> UnsupportedModel:
    signature = numbers(tensor.shapeSignature) or tensor.shape
    return UnsupportedModel(
        f"tensor {label(tensor)} has a dynamic shape: shape_signature {signature}",
        "export the model with fixed input sizes; only the batch, the first dimension, may be open",
    )


# --- the arithmetic, on (builtin options, operands) -------------------------------------------------------------------


def _strided_slice(options: Any, operands: list[np.ndarray]) -> np.ndarray | None:
    if options is None or options.ellipsisMask or options.newAxisMask or options.offset:
        return None
    values, begin, end, strides = operands
    index: list[slice | int] = []
    for axis, (first, last, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        bit = 1 << axis
        if options.shrinkAxisMask & bit:
            index.append(first)
        else:
            start, stop = (None if options.beginMask & bit else first), (None if options.endMask & bit else last)
            index.append(slice(start, stop, step))
    return np.asarray(values[tuple(index)])


def _gather(options: Any, operands: list[np.ndarray]) -> np.ndarray | None:
    if options is not None and options.batchDims:
        return None
    return np.take(operands[0], operands[1], axis=options.axis if options is not None else 0)


def _slice(_: Any, operands: list[np.ndarray]) -> np.ndarray:
    values, begin, size = operands
    ends = [None if count < 0 else first + count for first, count in zip(begin.tolist(), size.tolist(), strict=True)]
    return values[tuple(slice(first, end) for first, end in zip(begin.tolist(), ends, strict=True))]


def _reduce(function: Any) -> Callable[[Any, list[np.ndarray]], np.ndarray]:
    def apply(options: Any, operands: list[np.ndarray]) -> np.ndarray:
        axes = tuple(operands[1].reshape(-1).tolist())
        keep = options is not None and bool(options.keepDims)
        return np.asarray(function(operands[0], axis=axes, keepdims=keep, dtype=operands[0].dtype))

    return apply


def _reshape(options: Any, operands: list[np.ndarray]) -> np.ndarray:
    shape = operands[1].tolist() if len(operands) > 1 else numbers(getattr(options, "newShape", None))
    return operands[0].reshape(shape)


def _squeeze(options: Any, operands: list[np.ndarray]) -> np.ndarray:
    axes = tuple(numbers(options.squeezeDims)) if options is not None else ()
    return np.squeeze(operands[0], axes or None)


def _elementwise(function: Callable[..., Any]) -> Callable[[Any, list[np.ndarray]], np.ndarray]:
    return lambda _, operands: np.asarray(function(*operands))


_ARITHMETIC: Mapping[str, Callable[[Any, list[np.ndarray]], np.ndarray | None]] = {
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "GATHER": _gather,
    "PACK": lambda options, operands: np.stack(operands, getattr(options, "axis", 0)),
    "CONCATENATION": lambda options, operands: np.concatenate(operands, getattr(options, "axis", 0)),
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": lambda _, operands: np.expand_dims(operands[0], int(operands[1].reshape(-1)[0])),
    "CAST": _elementwise(np.asarray),
    "ADD": _elementwise(np.add),
    "SUB": _elementwise(np.subtract),
    "MUL": _elementwise(np.multiply),
    "FLOOR_DIV": _elementwise(np.floor_divide),
    "FLOOR_MOD": _elementwise(np.mod),
    "MAXIMUM": _elementwise(np.maximum),
    "MINIMUM": _elementwise(np.minimum),
    "SUM": _reduce(np.sum),
    "REDUCE_PROD": _reduce(np.prod),
}

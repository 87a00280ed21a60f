"""Mends a float `.tflite` so that every later stage may take for granted what the product of `normalise` promises.

Old files lack signatures and operator codes, half-precision files hide their weights behind DEQUANTIZE, QAT files carry
fake quantization, and converters leave the batch open. Each is repaired here without TensorFlow, and noted in one line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..network import flatbuffer
from . import editing, screening, shapes
from .editing import graph_of, is_constant

_MAX_FILE_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Normalised:
    """A mended model.

    Attributes:
      flatbuffer: One subgraph, one SignatureDef, unique tensor names, float32 constants, static shapes, buffers inside.
      declared_ranges: Activation tensor name -> (minimum, maximum) that fake quantization declared for it.
      notes: What was mended, one line each; empty where nothing was.
    """

    flatbuffer: bytes
    declared_ranges: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]


def normalise(data: bytes) -> Normalised:
    """Checks and mends a `.tflite` file; the same file gives the same bytes.

    Args:
      data: The file.

    Raises:
      AlreadyQuantized: Some weights or activations are quantized.
      UnsupportedModel: The file is damaged, or holds something that Bitplan refuses by name.
    """
    if len(data) > _MAX_FILE_BYTES:
        raise UnsupportedModel(f"the file has {len(data)} bytes; TFLite files end at 2 GiB", "give a smaller network")
    model = flatbuffer.read(data)
    screening.check_structure(model)
    screening.check_supported(model)
    notes = [*_mend_opcodes(model), *_keep_one_signature(model), *shapes.pin_batch(model), *_fold_float16(model)]
    declared, noted = _remove_fake_quantization(model)
    notes += noted
    editing.compact(model)
    screening.check_float(model)
    notes += _drop_float_scales(model)
    renamed = editing.unique_names(model)
    if renamed:
        notes.append(f"{renamed} duplicate or empty tensor {_plural(renamed, 'name')} made unique")
    notes += _complete_signature(model)
    notes += shapes.make_static(model)
    notes += _reshape_instead(model)
    editing.compact(model)
    editing.unique_names(model)
    ranges = {editing.tensor_name(tensor): bounds for tensor, bounds in declared}
    return Normalised(flatbuffer.write(model), ranges, tuple(notes))


def _mend_opcodes(model: Any) -> list[str]:
    """Before schema v3a only `deprecatedBuiltinCode` was written; readers of the new field take such ops for ADD."""
    mended = 0
    for code in model.operatorCodes:
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        mended += code.builtinCode != builtin
        code.builtinCode = builtin
        code.deprecatedBuiltinCode = min(builtin, 127)
    return [f"operator codes of {mended} {_plural(mended, 'kind')} of op moved to the new field"] if mended else []


def _keep_one_signature(model: Any) -> list[str]:
    """Of several names for one function `serving_default` stays, else the first."""
    signatures = model.signatureDefs or []
    if len(signatures) < 2:
        return []
    names = [flatbuffer.text(s.signatureKey) for s in signatures]
    kept = names.index("serving_default") if "serving_default" in names else 0
    model.signatureDefs = [signatures[kept]]
    others = ", ".join(name for index, name in enumerate(names) if index != kept)
    return [f"signature {names[kept]} kept; {others} is the same function"]


def _fold_float16(model: Any) -> list[str]:
    """Turns everything of type float16 into float32 and drops the conversions between the two."""
    schema = flatbuffer.schema()
    half, single = schema.TensorType.FLOAT16, schema.TensorType.FLOAT32
    folded: dict[int, int] = {}
    constants = activations = 0
    for tensor in graph_of(model).tensors:
        if tensor.type != half:
            continue
        if is_constant(model, tensor):
            constants += 1
            shared = folded.get(tensor.buffer)
            values = flatbuffer.constant(model, tensor)
            tensor.type = single
            if shared is None and values is not None:
                old = tensor.buffer
                flatbuffer.set_constant(model, tensor, values.astype(np.float32))
                folded[old] = tensor.buffer
            elif shared is not None:
                tensor.buffer = shared
        else:
            activations += 1
            tensor.type = single
    if not constants + activations:
        return []
    for op in list(graph_of(model).operators):
        name = flatbuffer.opcode_name(model, op)
        if name == "CAST" and op.builtinOptions is not None:
            options = op.builtinOptions
            options.inDataType = single if options.inDataType == half else options.inDataType
            options.outDataType = single if options.outDataType == half else options.outDataType
        types = {graph_of(model).tensors[index].type for index in (op.inputs[0], op.outputs[0])}
        if name in ("DEQUANTIZE", "CAST") and types == {single}:
            _bypass(model, op)
    notes = []
    if constants:
        notes.append(f"{constants} float16 {_plural(constants, 'weight')} folded to float32")
    if activations:
        notes.append(f"{activations} float16 {_plural(activations, 'activation')} made float32")
    return notes


def _remove_fake_quantization(model: Any) -> tuple[list[tuple[Any, tuple[float, float]]], list[str]]:
    """Takes FAKE_QUANT ops out, and QUANTIZE-DEQUANTIZE pairs, which newer converters write in their stead.

    Returns:
      (tensor, (minimum, maximum)) for every activation that had a range declared, and notes. Several ranges of one
      tensor are joined, ranges in a chain cut: that is what reached the ops behind them.
    """
    graph = graph_of(model)
    quantizers = _fake_quantizers(model)
    written = {op.outputs[0] for op, _ in quantizers}
    chained = {id(op) for op, _ in quantizers if op.inputs[0] in written}
    declared: dict[int, tuple[float, float]] = {}
    weights: set[int] = set()
    for op, (low, high) in quantizers:
        source = op.inputs[0]
        if is_constant(model, graph.tensors[source]):
            weights.add(source)
        elif low < high and math.isfinite(high - low):
            old = declared.get(source, (low, high))
            ends = (max, min) if id(op) in chained else (min, max)
            declared[source] = (ends[0](old[0], low), ends[1](old[1], high))
        _bypass(model, op)
    notes = []
    if declared:
        count = len(declared)
        notes.append(f"fake quantization: the ranges of {count} {_plural(count, 'activation')} kept, the ops removed")
    if weights:
        count = len(weights)
        notes.append(f"fake quantization of {count} weight {_plural(count, 'tensor')} removed, the float weights kept")
    return [(graph.tensors[index], bounds) for index, bounds in sorted(declared.items())], notes


def _fake_quantizers(model: Any) -> list[tuple[Any, tuple[float, float]]]:
    """Ops that only round their float input, in execution order, with the range they round to.

    A QUANTIZE op is one where nothing but DEQUANTIZE reads it; each of these then stands for the pair.
    """
    graph = graph_of(model)
    single = flatbuffer.schema().TensorType.FLOAT32
    names = {id(op): flatbuffer.opcode_name(model, op) for op in graph.operators}
    found: dict[int, tuple[float, float]] = {}
    spent = []
    for op in graph.operators:
        if names[id(op)] == "FAKE_QUANT":
            found[id(op)] = (float(op.builtinOptions.min), float(op.builtinOptions.max))
        elif names[id(op)] == "QUANTIZE" and graph.tensors[op.inputs[0]].type == single:
            readers = editing.consumers(model, op.outputs[0])
            bounds = _affine_range(graph.tensors[op.outputs[0]])
            alone = op.outputs[0] not in graph.outputs and all(names[id(r)] == "DEQUANTIZE" for r in readers)
            if readers and alone and bounds is not None:
                spent.append(op)
                for reader in readers:
                    reader.inputs = [op.inputs[0]]
                    found[id(reader)] = bounds
    editing.remove_ops(model, spent)
    return [(op, found[id(op)]) for op in graph.operators if id(op) in found]


def _affine_range(tensor: Any) -> tuple[float, float] | None:
    """The real values that an integer tensor's scale and zero point can express, over all its channels."""
    limits = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}.get(flatbuffer.dtype_name(tensor))
    quantization = tensor.quantization
    if limits is None or quantization is None or np.ndim(quantization.scale) == 0 or len(quantization.scale) == 0:
        return None
    scale = np.asarray(quantization.scale, np.float64)
    zero = np.asarray(editing.numbers(quantization.zeroPoint) or [0], np.float64)
    if zero.size not in (1, scale.size):
        return None
    return float(np.min(scale * (limits[0] - zero))), float(np.max(scale * (limits[1] - zero)))


def _bypass(model: Any, op: Any) -> None:
    """Lets the readers of `op` read its first input instead.

    Where that would make an output of the graph also its input, a constant, or the same as another output, `op` becomes
    a RESHAPE to the same shape.
    """
    graph = graph_of(model)
    source, output = op.inputs[0], op.outputs[0]
    given = is_constant(model, graph.tensors[source]) or source in graph.inputs or source in graph.outputs
    if output in graph.outputs and given:
        graph.tensors[output].shape = list(graph.tensors[source].shape)
        editing.make_reshape(model, op)
    else:
        editing.rewire(model, output, source)
        editing.remove_ops(model, [op])


def _drop_float_scales(model: Any) -> list[str]:
    """A scale on a float32 tensor means nothing to a kernel, but readers of a file take the tensor for quantized."""
    dropped = 0
    for tensor in graph_of(model).tensors:
        quantization = tensor.quantization
        if flatbuffer.dtype_name(tensor) == "float32" and quantization is not None:
            dropped += np.ndim(quantization.scale) > 0 and len(quantization.scale) > 0
            tensor.quantization = None
    return [f"meaningless scales of {dropped} float32 {_plural(dropped, 'tensor')} dropped"] if dropped else []


def _complete_signature(model: Any) -> list[str]:
    """Adds a signature where there is none, or where the one there is leaves inputs or outputs out."""
    graph, schema = graph_of(model), flatbuffer.schema()
    if model.signatureDefs:
        signature = model.signatureDefs[0]
        sides = ((signature.inputs, graph.inputs), (signature.outputs, graph.outputs))
        if all(_names_all(entries, indices) for entries, indices in sides):
            signature.signatureKey = signature.signatureKey or b"serving_default"
            return []
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.subgraphIndex = 0
    signature.inputs = _entries(model, graph.inputs)
    signature.outputs = _entries(model, graph.outputs)
    names = ", ".join(flatbuffer.text(entry.name) for entry in [*signature.inputs, *signature.outputs])
    note = "signature that left inputs or outputs out replaced" if model.signatureDefs else "signature added"
    model.signatureDefs = [signature]
    return [f"{note}: {names}"]


def _names_all(entries: Any, indices: list[int]) -> bool:
    names = [flatbuffer.text(entry.name) for entry in entries]
    return {e.tensorIndex for e in entries} == set(indices) and all(names) and len(set(names)) == len(names)


def _entries(model: Any, indices: list[int]) -> list[Any]:
    taken: set[str] = set()
    entries = []
    for index in indices:
        full = editing.tensor_name(graph_of(model).tensors[index]).split(";")[0].removeprefix("serving_default_")
        name = editing.unused(re.sub(r":\d+$", "", full) or f"tensor_{index}", taken)
        taken.add(name)
        entry = flatbuffer.schema().TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        entries.append(entry)
    return entries


def _reshape_instead(model: Any) -> list[str]:
    """SQUEEZE and EXPAND_DIMS have no quantized form in litert-quantizer; RESHAPE has, and moves the same values."""
    rewritten: dict[str, int] = {}
    for op in graph_of(model).operators:
        name = flatbuffer.opcode_name(model, op)
        output = graph_of(model).tensors[op.outputs[0]]
        # A shape of no numbers cannot be stored as a constant: a scalar stays with its own op.
        if name in ("SQUEEZE", "EXPAND_DIMS") and output.shape:
            editing.make_reshape(model, op)
            rewritten[name] = rewritten.get(name, 0) + 1
    return [f"{count} {name} {_plural(count, 'op')} written as RESHAPE" for name, count in sorted(rewritten.items())]


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else noun + "s"

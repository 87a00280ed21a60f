"""Small edits of a one-subgraph `ModelT`, on which the mending of a model is built.

Every edit keeps the model valid: indices point at something, and the signature follows the graph's outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from ..network import flatbuffer


def graph_of(model: Any) -> Any:
    """The only subgraph."""
    return model.subgraphs[0]


def numbers(values: Any) -> list[int]:
    """A vector of the flatbuffer as a list of int; the generated reader gives None, 0 or an array for an empty one."""
    if values is None or np.ndim(values) == 0:
        return []
    return [int(value) for value in values]


def tensor_name(tensor: Any) -> str:
    """Name of a tensor; `` (no name)`` gives the empty string."""
    return flatbuffer.text(tensor.name)


def label(tensor: Any) -> str:
    """A tensor's name, short enough for one line of an error."""
    name = tensor_name(tensor).split(";")[0] or "(no name)"
    return name if len(name) <= 60 else name[:57] + "..."


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether the tensor's values stand in the file."""
    return tensor.buffer != 0 and model.buffers[tensor.buffer].data is not None


def consumers(model: Any, index: int) -> list[Any]:
    """The ops that read tensor `index`, in execution order."""
    return [op for op in graph_of(model).operators if index in op.inputs]


def rewire(model: Any, old: int, new: int) -> None:
    """Lets everything that reads tensor `old`, graph outputs and signature included, read `new`."""
    graph = graph_of(model)
    for op in graph.operators:
        op.inputs = [new if index == old else index for index in op.inputs]
    graph.outputs = [new if index == old else index for index in graph.outputs]
    for signature in model.signatureDefs or []:
        for entry in signature.outputs or []:
            if entry.tensorIndex == old:
                entry.tensorIndex = new


def remove_ops(model: Any, ops: Collection[Any]) -> None:
    """Takes ops out of the graph; their tensors go with `compact`."""
    gone = {id(op) for op in ops}
    graph = graph_of(model)
    graph.operators = [op for op in graph.operators if id(op) not in gone]


def opcode_index(model: Any, builtin: int) -> int:
    """Index of a builtin operator code, added in version 1 where the model has none."""
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = flatbuffer.schema().OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_constant(model: Any, name: str, values: np.ndarray) -> int:
    """Adds a constant int32 tensor.

    Args:
      model: A `ModelT`.
      name: Made unique by `unique_names`.
      values: int32, any shape.

    Returns:
      Index of the new tensor.
    """
    schema = flatbuffer.schema()
    tensor = schema.TensorT()
    tensor.name = name.encode()
    tensor.type = schema.TensorType.INT32
    tensor.shape = list(values.shape)
    tensor.hasRank = True
    flatbuffer.set_constant(model, tensor, values.astype(np.int32))
    graph_of(model).tensors.append(tensor)
    return len(graph_of(model).tensors) - 1


def make_reshape(model: Any, op: Any) -> None:
    """Turns `op`, which moves no element of its first input, into a RESHAPE to its output's static shape."""
    schema = flatbuffer.schema()
    output = graph_of(model).tensors[op.outputs[0]]
    shape = np.array(output.shape, np.int32)
    op.inputs = [op.inputs[0], add_constant(model, f"{tensor_name(output)}/shape", shape)]
    op.opcodeIndex = opcode_index(model, schema.BuiltinOperator.RESHAPE)
    op.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    op.builtinOptions = schema.ReshapeOptionsT()
    op.builtinOptions.newShape = [int(size) for size in shape]
    op.builtinOptions2Type = 0
    op.builtinOptions2 = None


def unique_names(model: Any) -> int:
    """Gives every tensor a name that no other has; the first bearer keeps its own.

    Returns:
      How many were renamed.
    """
    tensors = graph_of(model).tensors
    taken = {tensor_name(tensor) for tensor in tensors} | {""}
    seen: set[str] = {""}
    renamed = 0
    for index, tensor in enumerate(tensors):
        name = tensor_name(tensor)
        if name in seen:
            name = unused(name or f"tensor_{index}", taken)
            renamed += 1
        tensor.name = name.encode()
        seen.add(name)
        taken.add(name)
    return renamed


def unused(name: str, taken: Collection[str]) -> str:
    """`name`, or `name_1`, `name_2` ... where it is taken."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def compact(model: Any) -> None:
    """Drops tensors, buffers and operator codes that nothing refers to; the rest keeps its order."""
    graph = graph_of(model)
    kept = _renumber([*graph.inputs, *graph.outputs, *(i for op in graph.operators for i in _tensors_of(op))])
    graph.tensors = [graph.tensors[index] for index in kept]
    for op in graph.operators:
        op.inputs = [kept.get(index, -1) for index in op.inputs]
        op.outputs = [kept[index] for index in op.outputs]
        op.intermediates = [kept[index] for index in numbers(op.intermediates)] or None
    graph.inputs = [kept[index] for index in graph.inputs]
    graph.outputs = [kept[index] for index in graph.outputs]
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs]:
            entry.tensorIndex = kept[entry.tensorIndex]

    holders = [*graph.tensors, *(model.metadata or [])]
    buffers = _renumber([0, *(int(holder.buffer) for holder in holders)])
    model.buffers = [model.buffers[index] for index in buffers]
    for holder in holders:
        holder.buffer = buffers[int(holder.buffer)]

    codes = _renumber(op.opcodeIndex for op in graph.operators)
    model.operatorCodes = [model.operatorCodes[index] for index in codes]
    for op in graph.operators:
        op.opcodeIndex = codes[op.opcodeIndex]


def reorder(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Puts the graph's inputs and outputs into the order of these signature names, where these are all of them."""
    signature, graph = model.signatureDefs[0], graph_of(model)
    for side, wanted in (("inputs", inputs), ("outputs", outputs)):
        entries = {flatbuffer.text(entry.name): entry for entry in getattr(signature, side)}
        if set(entries) == set(wanted) and len(entries) == len(getattr(graph, side)):
            setattr(signature, side, [entries[name] for name in wanted])
            setattr(graph, side, [entries[name].tensorIndex for name in wanted])


def _tensors_of(op: Any) -> list[int]:
    return [index for index in (*op.inputs, *op.outputs, *numbers(op.intermediates)) if index >= 0]


def _renumber(used: Iterable[int]) -> dict[int, int]:
    return {old: new for new, old in enumerate(sorted(set(used)))}

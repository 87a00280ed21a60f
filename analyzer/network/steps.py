"""What lies between two neighbouring values of a network's outputs."""

from __future__ import annotations

from typing import Any

from . import flatbuffer as fb


def output_steps(data: bytes) -> tuple[float, ...]:
    """The scale of each output, in the file's order; 0 where an output can take any value.

    A float output that a DEQUANTIZE writes has the scale of what that op reads.

    Args:
      data: A flatbuffer.
    """
    model = fb.read(data)
    graph = model.subgraphs[0]
    writers = {int(tensor): op for op in graph.operators for tensor in op.outputs}

    def step(index: int) -> float:
        scale = _scale(graph.tensors[index])
        op = writers.get(index)
        if scale or op is None or fb.opcode_name(model, op) != "DEQUANTIZE":
            return scale
        return _scale(graph.tensors[int(op.inputs[0])])

    return tuple(step(int(index)) for index in graph.outputs)


def _scale(tensor: Any) -> float:
    found = None if tensor.quantization is None else tensor.quantization.scale
    is_integer = "int" in fb.dtype_name(tensor)
    return float(found[0]) if is_integer and found is not None and len(found) == 1 else 0.0

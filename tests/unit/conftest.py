"""Tiny flatbuffers written op by op, so that a test can hold exactly the trap it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from bitplan.analyzer.network import flatbuffer as fb

OPTIONS = {
    "ADD": "AddOptions", "MUL": "MulOptions", "CAST": "CastOptions", "DEQUANTIZE": "DequantizeOptions",
    "FAKE_QUANT": "FakeQuantOptions", "FULLY_CONNECTED": "FullyConnectedOptions", "PACK": "PackOptions",
    "QUANTIZE": "QuantizeOptions", "RESHAPE": "ReshapeOptions", "SHAPE": "ShapeOptions", "SQUEEZE": "SqueezeOptions",
    "EXPAND_DIMS": "ExpandDimsOptions", "STRIDED_SLICE": "StridedSliceOptions", "WHERE": "WhereOptions",
    "REDUCE_PROD": "ReducerOptions", "CONCATENATION": "ConcatenationOptions",
}  # fmt: skip


class TinyModel:
    """A one-subgraph model under construction; `data()` serializes it without a signature unless one was added."""

    def __init__(self) -> None:
        self.schema = fb.schema()
        self.model = self.schema.ModelT()
        self.model.version, self.model.operatorCodes = 3, []
        self.model.buffers = [self.schema.BufferT()]
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: Sequence[int], dtype: str = "float32", *, scale: Sequence[float] = (),
               zero: int = 0, signature: Sequence[int] = ()) -> int:  # fmt: skip
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape = name.encode(), list(shape)
        tensor.shapeSignature = list(signature) or None
        tensor.type = getattr(self.schema.TensorType, dtype.upper())
        if scale:
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale = np.array(scale, np.float32)
            tensor.quantization.zeroPoint = np.full(len(scale), zero, np.int64)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32", **more: Any) -> int:
        self.graph.inputs.append(self.tensor(name, shape, dtype, **more))
        return self.graph.inputs[-1]

    def constant(self, name: str, values: np.ndarray, **more: Any) -> int:
        index = self.tensor(name, values.shape, values.dtype.name, **more)
        fb.set_constant(self.model, self.graph.tensors[index], values)
        return index

    def op(self, opcode: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> int:
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, opcode)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        self.model.operatorCodes.append(code)
        op = self.schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = len(self.model.operatorCodes) - 1, list(inputs), list(outputs)
        if opcode in OPTIONS:
            op.builtinOptionsType = getattr(self.schema.BuiltinOptions, OPTIONS[opcode])
            op.builtinOptions = getattr(self.schema, OPTIONS[opcode] + "T")()
            for name, value in options.items():
                setattr(op.builtinOptions, name, value)
        self.graph.operators.append(op)
        return outputs[0]

    def signature(self, key: str, inputs: dict[str, int], outputs: dict[str, int], subgraph: int = 0) -> None:
        definition = self.schema.SignatureDefT()
        definition.signatureKey, definition.subgraphIndex = key.encode(), subgraph
        definition.inputs, definition.outputs = self._entries(inputs), self._entries(outputs)
        self.model.signatureDefs = [*(self.model.signatureDefs or []), definition]

    def data(self, *outputs: int) -> bytes:
        self.graph.outputs = list(outputs) or self.graph.outputs
        return fb.write(self.model)

    def _entries(self, names: dict[str, int]) -> list[Any]:
        entries = []
        for name, index in names.items():
            entry = self.schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), index
            entries.append(entry)
        return entries


@pytest.fixture
def tiny() -> TinyModel:
    return TinyModel()


def run_tiny(data: bytes, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs of one run on LiteRT's own kernels, inputs in the graph's order."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()]


@pytest.fixture(name="run_tiny")
def run_tiny_fixture() -> Any:
    return run_tiny

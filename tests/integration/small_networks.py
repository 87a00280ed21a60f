"""Small float networks built op by op, and their calibration by the interpreter alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.rewrite import split_weights
from bitplan.analyzer.schema import Calibration, Graph, Histogram, Range

Samples = Sequence[Sequence[np.ndarray]]


class Network:
    """Builds a flatbuffer with one subgraph and a SignatureDef; constants get a buffer each unless told otherwise."""

    def __init__(self) -> None:
        self.schema = fb.schema()
        self.model = self.schema.ModelT()
        self.model.version, self.model.description = 3, b""
        self.model.buffers, self.model.operatorCodes = [self.schema.BufferT()], []
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs = [], [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: Sequence[int], dtype: str = "float32", buffer: int = 0) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), buffer
        tensor.type = getattr(self.schema.TensorType, dtype.upper())
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def input(self, name: str, shape: Sequence[int]) -> int:
        self.graph.inputs.append(self.tensor(name, shape))
        return self.graph.inputs[-1]

    def constant(self, name: str, values: np.ndarray, buffer: int | None = None) -> int:
        """A constant with a buffer of its own, or with the buffer of an index that another constant has."""
        index = self.tensor(name, values.shape, values.dtype.name)
        if buffer is None:
            fb.set_constant(self.model, self.graph.tensors[index], values)
        else:
            self.graph.tensors[index].buffer = buffer
        return index

    def buffer(self, tensor: int) -> int:
        return int(self.graph.tensors[tensor].buffer)

    def op(self, opcode: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> int:
        """Adds an op; returns its first output. Options by their schema names; strides of 1 and SAME padding."""
        codes = [code.builtinCode for code in self.model.operatorCodes]
        number = getattr(self.schema.BuiltinOperator, opcode)
        if number not in codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
            self.model.operatorCodes.append(code)
            codes.append(number)
        op = self.schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = codes.index(number), list(inputs), list(outputs)
        kind = {
            "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "ADD": "AddOptions",
            "FULLY_CONNECTED": "FullyConnectedOptions", "MUL": "MulOptions", "RESHAPE": "ReshapeOptions",
            "CONCATENATION": "ConcatenationOptions", "TRANSPOSE_CONV": "TransposeConvOptions",
            "SOFTMAX": "SoftmaxOptions", "SPLIT": "SplitOptions", "BATCH_MATMUL": "BatchMatMulOptions",
            "AVERAGE_POOL_2D": "Pool2DOptions", "RESIZE_BILINEAR": "ResizeBilinearOptions",
        }.get(opcode)  # fmt: skip
        if kind:
            op.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
            op.builtinOptions = getattr(self.schema, f"{kind}T")()
            defaults = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1, "depthMultiplier": 1}
            for name, value in {**defaults, "beta": 1.0, **options}.items():
                if hasattr(op.builtinOptions, name):
                    setattr(op.builtinOptions, name, value)
        self.graph.operators.append(op)
        return int(outputs[0])

    def build(self, outputs: Sequence[int]) -> bytes:
        self.graph.outputs = list(outputs)
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = [self._map(f"in{k}", t) for k, t in enumerate(self.graph.inputs)]
        signature.outputs = [self._map(f"out{k}", t) for k, t in enumerate(outputs)]
        self.model.signatureDefs = [signature]
        return fb.write(self.model)

    def _map(self, name: str, tensor: int) -> Any:
        item = self.schema.TensorMapT()
        item.name, item.tensorIndex = name.encode(), int(tensor)
        return item


@pytest.fixture
def network() -> Callable[[], Network]:
    return Network


def interpret(data: bytes, samples: Samples, keep: Sequence[int] | None = None) -> list[list[np.ndarray]]:
    """Outputs, or the tensors `keep`, of each sample; floats in and floats out; LiteRT's kernels without delegates."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_content=data, experimental_op_resolver_type=resolver, experimental_preserve_all_tensors=keep is not None
    )
    interpreter.allocate_tensors()
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    wanted = [d["index"] for d in interpreter.get_output_details()] if keep is None else keep
    rows = []
    for sample in samples:
        for port, values in zip(interpreter.get_input_details(), sample, strict=True):
            scale, zero = port["quantization"]
            if port["dtype"] is not np.float32 and values.dtype == np.float32:
                limits = np.iinfo(port["dtype"])
                values = np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(port["dtype"])
            interpreter.set_tensor(port["index"], values)
        interpreter.invoke()
        row = []
        for index in wanted:
            scale, zero = details[index]["quantization"]
            values = interpreter.get_tensor(index)
            row.append((values.astype(np.float32) - zero) * np.float32(scale) if scale else values)
        rows.append(row)
    return rows


@pytest.fixture(name="interpret")
def interpret_fixture() -> Callable[..., list[list[np.ndarray]]]:
    return interpret


@pytest.fixture
def calibrated() -> Callable[[bytes, Samples], tuple[Graph, Calibration]]:
    """The graph of a float model, and the true extremes of its activations and partial sums."""

    def run(data: bytes, samples: Samples) -> tuple[Graph, Calibration]:
        graph = build_graph(data)
        extremes = _extremes(data, samples)
        sums = {}
        for per_channel in (True, False):
            splittable = [op.index for op in graph.ops if "w16a8" in op.schemes]
            split, splits = split_weights(data, splittable, per_channel=per_channel)
            partial = _extremes(split, samples)
            places = {fb.text(t.name): i for i, t in enumerate(fb.read(split).subgraphs[0].tensors)}
            sums[per_channel] = {s.op: (partial[places[s.high_output]], partial[places[s.low_output]]) for s in splits}
        unused = Histogram(0, 1.0, (1,))
        ranges = {t: Range(t, low, high, unused, 0.0, 1.0) for t, (low, high) in extremes.items()}
        return graph, Calibration(ranges, sums[True], len(samples), "", per_tensor_sums=sums[False])

    return run


def made_up_calibration(graph: Graph) -> Calibration:
    """Ranges for what does not depend on them, such as a file's size; no scale of theirs is a power of two."""
    activations = {t for op in graph.ops for t in (*graph.activations_in(op), *graph.activations_out(op))}
    unused = Histogram(0, 1.0, (1,))
    ranges = {t: Range(t, -1.0 - t / 64, 2.0 + t / 32, unused, 0.0, 1.0) for t in activations}
    sums = {op.index: ((-3.0, 3.0), (-0.1, 0.1)) for op in graph.ops if op.weights is not None}
    return Calibration(ranges, sums, 1, "made up", per_tensor_sums=sums)


def _extremes(data: bytes, samples: Samples) -> dict[int, tuple[float, float]]:
    model = fb.read(data)
    tensors = model.subgraphs[0].tensors
    kept = [
        i for i, t in enumerate(tensors)
        if fb.constant(model, t) is None and fb.dtype_name(t) == "float32"
    ]  # fmt: skip
    rows = interpret(data, samples, kept)
    return {
        t: (min(float(row[k].min()) for row in rows), max(float(row[k].max()) for row in rows))
        for k, t in enumerate(kept)
    }


def sqnr_db(reference: Sequence[Sequence[np.ndarray]], found: Sequence[Sequence[np.ndarray]]) -> float:
    """Signal-to-quantization-noise ratio over all outputs of all samples, dB."""
    wanted = np.concatenate([array.ravel().astype(np.float64) for row in reference for array in row])
    got = np.concatenate([array.ravel() for row in found for array in row])
    signal, noise = float((wanted**2).sum()), float(((wanted - got) ** 2).sum())
    return float(10 * np.log10(signal / noise)) if noise else float("inf")


@pytest.fixture(name="sqnr_db")
def sqnr_fixture() -> Callable[..., float]:
    return sqnr_db

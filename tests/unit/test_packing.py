"""Bytes of pieces against whole models that are written with and without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network import packing

MANY = 60


def written(count: int, *, scales: int = 0, axis: int = 0, borders: str = "", mixed: Sequence[int] = ()) -> int:
    """Size of a model with `count` tensors (and their buffers, or border ops), written as a whole."""
    schema = fb.schema()
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    for code in ("QUANTIZE", "DEQUANTIZE"):
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, code)
        model.operatorCodes.append(entry)
    for index in range(count):
        tensor = plain_tensor(f"b{index:02d}")
        if scales:
            tensor.type = schema.TensorType.INT8
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.ones(scales, np.float32)
            tensor.quantization.zeroPoint = np.zeros(scales, np.int64)
            tensor.quantization.quantizedDimension = axis
        if mixed:
            fb.set_constant(model, tensor, np.zeros(mixed[index * 7 % len(mixed)], np.int8))
        graph.tensors.append(tensor)
        if borders:
            op = schema.OperatorT()
            op.opcodeIndex, op.inputs, op.outputs = ("QUANTIZE", "DEQUANTIZE").index(borders), [0], [index]
            graph.operators.append(op)
    return len(fb.write(model))


def plain_tensor(name: str) -> Any:
    tensor = fb.schema().TensorT()
    tensor.name, tensor.shape = name.encode(), [1, 2, 3, 4]
    return tensor


def growth(**pieces: Any) -> float:
    """Mean bytes of one more tensor, from two whole files."""
    return (written(2 * MANY, **pieces) - written(MANY, **pieces)) / MANY


@pytest.mark.parametrize(("scales", "axis"), [(1, 0), (2, 0), (3, 0), (16, 0), (32, 3), (301, 0)])
def test_quantization_costs_what_it_adds_to_a_file(scales: int, axis: int) -> None:
    found = packing.quantization_bytes(plain_tensor("x"), scales, axis)
    assert found == pytest.approx(growth(scales=scales, axis=axis) - growth(), abs=5)


@pytest.mark.parametrize("values", [1, 2, 3, 4, 16, 17, 1000, 4099])
def test_a_buffer_costs_what_it_adds_to_a_file(values: int) -> None:
    # A tensor with values also stores the index of its buffer. Values lie on 16 bytes: sizes that differ meet every
    # padding, as they do in a real file, and the mean is what counts.
    sizes = range(values, values + 16)
    found = sum(packing.buffer_bytes(size) for size in sizes) / 16
    with_values, without = (written(2 * MANY, mixed=mixed) for mixed in (sizes, ()))
    assert found == pytest.approx((with_values - without) / (2 * MANY), abs=5)


@pytest.mark.parametrize(("border", "scales"), [("QUANTIZE", 1), ("DEQUANTIZE", 0)])
def test_a_border_op_costs_what_it_adds_to_a_file(border: str, scales: int) -> None:
    assert packing.border_bytes(4, bool(scales)) == pytest.approx(growth(scales=scales, borders=border), abs=6)


def test_a_longer_name_costs_its_length() -> None:
    short, long = (packing.tensor_bytes("x" * length, plain_tensor("")) for length in (8, 408))
    assert long - short == 400

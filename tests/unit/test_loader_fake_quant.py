"""Fake quantization leaves the graph; the ranges it declared stay, under the name of the tensor they were about."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.inputs.normalise import normalise
from bitplan.analyzer.network import flatbuffer as fb

X = np.array([[0.5, -1.25, 3.0, -0.125]], np.float32)


def opcodes(data: bytes) -> list[str]:
    model = fb.read(data)
    return [fb.opcode_name(model, op) for op in model.subgraphs[0].operators]


def fake_quant(tiny, source: int, name: str, low: float, high: float) -> int:
    target = tiny.tensor(name, [1, 4])
    return tiny.op("FAKE_QUANT", [source], [target], min=low, max=high, numBits=8)


def test_the_range_of_an_activation_is_kept_under_the_surviving_name(tiny, run_tiny):
    x, hidden, y = tiny.input("x", [1, 4]), tiny.tensor("hidden", [1, 4]), tiny.tensor("y", [1, 4])
    tiny.op("RELU", [fake_quant(tiny, x, "x_fq", -1, 1)], [hidden])
    tiny.op("RELU", [fake_quant(tiny, hidden, "hidden_fq", 0, 6)], [y])
    mended = normalise(tiny.data(y))
    assert opcodes(mended.flatbuffer) == ["RELU", "RELU"]
    assert mended.declared_ranges == {"x": (-1.0, 1.0), "hidden": (0.0, 6.0)}
    np.testing.assert_array_equal(run_tiny(mended.flatbuffer, X)[0], np.maximum(X, 0))


def test_an_output_behind_fake_quantization_is_the_tensor_before_it(tiny, run_tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    end = fake_quant(tiny, tiny.op("RELU", [x], [y]), "end", 0, 2)
    tiny.signature("serving_default", {"x": x}, {"probabilities": end})
    mended = normalise(tiny.data(end))
    model = fb.read(mended.flatbuffer)
    assert mended.declared_ranges == {"y": (0.0, 2.0)}
    outputs = model.signatureDefs[0].outputs
    assert [(e.name, e.tensorIndex) for e in outputs] == [(b"probabilities", model.subgraphs[0].outputs[0])]
    np.testing.assert_array_equal(run_tiny(mended.flatbuffer, X)[0], np.maximum(X, 0))


def test_an_output_that_would_become_the_input_stays_a_tensor_of_its_own(tiny, run_tiny):
    x, y = tiny.input("x", [8, 4], signature=[-1, 4]), tiny.tensor("y", [1, 4])
    copy = fake_quant(tiny, x, "copy", -2, 2)
    tiny.op("RELU", [x], [y])
    mended = normalise(tiny.data(copy, y))
    assert opcodes(mended.flatbuffer) == ["RESHAPE", "RELU"]
    graph = fb.read(mended.flatbuffer).subgraphs[0]
    assert len({*graph.inputs, *graph.outputs}) == 3
    for output, expected in zip(run_tiny(mended.flatbuffer, X), (X, np.maximum(X, 0)), strict=True):
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize(("chained", "expected"), [(False, (-2.0, 4.0)), (True, (-1.0, 3.0))])
def test_ranges_side_by_side_are_joined_and_ranges_in_a_chain_are_cut(tiny, chained, expected):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    first = fake_quant(tiny, x, "first", -1, 4)
    second = fake_quant(tiny, first if chained else x, "second", -2, 3)
    tiny.op("ADD", [first, second], [y])
    assert normalise(tiny.data(y)).declared_ranges == {"x": expected}


@pytest.mark.parametrize(("dtype", "zero", "expected"), [
    ("uint8", 128, (-12.8, 12.7)), ("int8", -128, (0.0, 25.5)), ("int16", 0, (-3276.8, 3276.7)),
])  # fmt: skip
def test_a_quantize_dequantize_pair_is_fake_quantization_too(tiny, run_tiny, dtype, zero, expected):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    small, back = tiny.tensor("small", [1, 4], dtype, scale=[0.1], zero=zero), tiny.tensor("back", [1, 4])
    tiny.op("QUANTIZE", [x], [small])
    tiny.op("DEQUANTIZE", [small], [back])
    tiny.op("RELU", [back], [y])
    mended = normalise(tiny.data(y))
    assert opcodes(mended.flatbuffer) == ["RELU"]
    assert mended.declared_ranges["x"] == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(run_tiny(mended.flatbuffer, X)[0], np.maximum(X, 0))


@pytest.mark.parametrize("pair", [False, True])
def test_fake_quantized_weights_stay_the_float_weights(tiny, run_tiny, pair):
    weights = np.array([[1.03, 2.0, -0.5, 0.25], [0.1, -3.0, 0.7, 1.5]], np.float32)
    x, w = tiny.input("x", [1, 4]), tiny.constant("w", weights)
    rough, y = tiny.tensor("rough", [2, 4]), tiny.tensor("y", [1, 2])
    if pair:
        small = tiny.tensor("small", [2, 4], "int8", scale=[0.5, 0.5])
        tiny.op("QUANTIZE", [w], [small])
        tiny.op("DEQUANTIZE", [small], [rough])
    else:
        tiny.op("FAKE_QUANT", [w], [rough], min=-3.0, max=3.0, numBits=4)
    tiny.op("FULLY_CONNECTED", [x, rough, -1], [y])
    mended = normalise(tiny.data(y))
    assert opcodes(mended.flatbuffer) == ["FULLY_CONNECTED"] and mended.declared_ranges == {}
    assert "fake quantization of 1 weight tensor removed, the float weights kept" in mended.notes
    np.testing.assert_allclose(run_tiny(mended.flatbuffer, X)[0], X @ weights.T, rtol=1e-6)


def test_a_declared_range_follows_its_tensor_when_that_is_renamed(tiny):
    x, y, z = tiny.input("same", [1, 4]), tiny.tensor("same", [1, 4]), tiny.tensor("z", [1, 4])
    tiny.op("RELU", [fake_quant(tiny, tiny.op("RELU", [x], [y]), "fq", 0, 1)], [z])
    assert normalise(tiny.data(z)).declared_ranges == {"same_1": (0.0, 1.0)}

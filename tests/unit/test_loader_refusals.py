"""What is refused, by name: networks that cannot be measured, and files that would make the interpreter crash."""

from __future__ import annotations

import random

import numpy as np
import pytest
from bitplan.analyzer.errors import AlreadyQuantized, BitplanError, UnsupportedModel
from bitplan.analyzer.inputs.normalise import normalise

WEIGHTS = np.arange(8, dtype=np.float32).reshape(2, 4)


def dense(tiny, weights: int, name: str = "y") -> int:
    x = tiny.input("x", [1, 4])
    return tiny.op("FULLY_CONNECTED", [x, weights, -1], [tiny.tensor(name, [1, 2])])


@pytest.mark.parametrize(("opcode", "reason"), [
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "recurrent"), ("LSTM", "recurrent"), ("SVDF", "recurrent"), ("RNN", "recurrent"),
    ("WHILE", "control flow"), ("IF", "control flow"), ("CALL_ONCE", "control flow"),
    ("STABLEHLO_COMPOSITE", "another subgraph"), ("VAR_HANDLE", "state"), ("ASSIGN_VARIABLE", "state"),
    ("RANDOM_UNIFORM", "random"), ("DENSIFY", "sparse"), ("DELEGATE", "file"),
])  # fmt: skip
def test_ops_that_cannot_be_measured_are_refused_by_name(tiny, opcode, reason):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    with pytest.raises(UnsupportedModel, match=rf"{opcode} \(.*{reason}"):
        normalise(tiny.data(tiny.op(opcode, [x], [y])))


@pytest.mark.parametrize("opcode", ["PRELU", "RELU6", "LEAKY_RELU", "EXP"])
def test_plain_float_functions_are_not_refused(tiny, opcode):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    more = [tiny.constant("alpha", np.full(4, 0.5, np.float32))] if opcode == "PRELU" else []
    tiny.op(opcode, [x, *more], [y])
    if opcode == "LEAKY_RELU":
        options = tiny.schema.LeakyReluOptionsT()
        tiny.graph.operators[0].builtinOptions, tiny.graph.operators[0].builtinOptionsType = options, 75
    normalise(tiny.data(y))


def test_a_custom_op_is_refused_by_its_own_name(tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    tiny.op("CUSTOM", [x], [y])
    tiny.model.operatorCodes[0].customCode = b"MyOp"
    with pytest.raises(UnsupportedModel, match=r"CUSTOM:MyOp \(a custom op\)"):
        normalise(tiny.data(y))


def test_an_op_from_a_newer_schema_is_refused(tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    tiny.op("RELU", [x], [y])
    tiny.model.operatorCodes[0].builtinCode = 9999
    with pytest.raises(UnsupportedModel, match=r"UNKNOWN_9999 \(newer"):
        normalise(tiny.data(y))


@pytest.mark.parametrize("dtype", ["float64", "string", "resource", "complex64", "bfloat16"])
def test_types_without_kernels_are_refused_with_the_tensor(tiny, dtype):
    x, y = tiny.input("x", [1, 4], dtype), tiny.tensor("y", [1, 4])
    with pytest.raises(UnsupportedModel, match=f"tensor x is of type {dtype}"):
        normalise(tiny.data(tiny.op("RELU", [x], [y])))


def test_a_variable_tensor_is_refused(tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    state = tiny.tensor("memory", [1, 4])
    tiny.graph.tensors[state].isVariable = True
    with pytest.raises(UnsupportedModel, match="memory keeps state"):
        normalise(tiny.data(tiny.op("ADD", [x, state], [y])))


def test_signatures_that_do_different_things_are_refused_by_name(tiny):
    x, a, b = tiny.input("x", [1, 4]), tiny.tensor("a", [1, 4]), tiny.tensor("b", [1, 4])
    tiny.op("RELU", [x], [a])
    tiny.op("RELU", [a], [b])
    tiny.signature("encode", {"x": x}, {"a": a})
    tiny.signature("decode", {"x": x}, {"b": b})
    with pytest.raises(UnsupportedModel, match="several signatures that do different things: encode, decode"):
        normalise(tiny.data(a, b))


def test_several_subgraphs_are_refused(tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    tiny.op("RELU", [x], [y])
    tiny.model.subgraphs.append(tiny.graph)
    with pytest.raises(UnsupportedModel, match="2 subgraphs"):
        normalise(tiny.data(y))


def test_quantized_weights_are_counted_and_named(tiny):
    q = tiny.constant("dense/MatMul;more", WEIGHTS.astype(np.int8), scale=[0.5])
    y = dense(tiny, q)
    z = tiny.op("FULLY_CONNECTED", [tiny.graph.inputs[0], tiny.constant("w", WEIGHTS), -1], [tiny.tensor("z", [1, 2])])
    with pytest.raises(AlreadyQuantized) as caught:
        normalise(tiny.data(y, z))
    assert "1 of 2 weight tensors and 0 of 3 activations: dense/MatMul (int8)" in caught.value.problem
    assert "bitplan audit FLOAT QUANTIZED" in caught.value.remedy


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_integer_weights_without_a_scale_are_quantized_too(tiny, dtype):
    with pytest.raises(AlreadyQuantized, match="1 of 1 weight tensors"):
        normalise(tiny.data(dense(tiny, tiny.constant("w", WEIGHTS.astype(dtype)))))


def test_a_quantized_activation_is_named(tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    small, smaller = (tiny.tensor(name, [1, 4], "int8", scale=[0.1]) for name in ("small", "smaller"))
    tiny.op("QUANTIZE", [x], [small])
    tiny.op("RELU", [small], [smaller])
    tiny.op("DEQUANTIZE", [smaller], [y])
    with pytest.raises(AlreadyQuantized, match=r"0 of 0 weight .* 2 of 4 activations: small \(int8\), smaller"):
        normalise(tiny.data(y))


def test_index_tensors_do_not_make_a_model_quantized(tiny):
    x, y = tiny.input("ids", [1, 2], "int32"), tiny.tensor("y", [1, 2, 4])
    table = tiny.constant("table", WEIGHTS)
    tiny.op("GATHER", [table, x], [y])
    options = tiny.schema.GatherOptionsT()
    tiny.graph.operators[0].builtinOptions = options
    tiny.graph.operators[0].builtinOptionsType = tiny.schema.BuiltinOptions.GatherOptions
    assert normalise(tiny.data(y)).notes[0].startswith("signature added")


def damage_input(tiny):
    tiny.graph.operators[0].inputs[0] = 99


def damage_output(tiny):
    tiny.graph.operators[0].outputs[0] = -1


def damage_graph_output(tiny):
    tiny.graph.outputs = [7]


def damage_buffer(tiny):
    tiny.graph.tensors[0].buffer = 1000


def damage_size(tiny):
    tiny.graph.tensors[0].shape = [2, 5]


def damage_opcode(tiny):
    tiny.graph.operators[0].opcodeIndex = 3


def damage_order(tiny):
    tiny.graph.operators.reverse()


def damage_overwrite(tiny):
    tiny.graph.operators[1].outputs = list(tiny.graph.operators[0].outputs)


def damage_huge(tiny):
    tiny.graph.tensors[3].shape = [2**15, 2**15, 2**10]


def damage_signature(tiny):
    tiny.signature("serving_default", {"x": 88}, {"y": 2})


@pytest.mark.parametrize("damage", [
    damage_input, damage_output, damage_graph_output, damage_buffer, damage_size, damage_opcode, damage_order,
    damage_overwrite, damage_huge, damage_signature,
])  # fmt: skip
def test_wrong_indices_and_sizes_never_reach_the_interpreter(tiny, damage, monkeypatch):
    y = dense(tiny, tiny.constant("w", WEIGHTS), "hidden")
    end = tiny.op("RELU", [y], [tiny.tensor("end", [1, 2])])
    tiny.data(end)
    damage(tiny)
    monkeypatch.setattr("bitplan.analyzer.inputs.shapes.Runner", lambda *_, **__: pytest.fail("the interpreter saw it"))
    with pytest.raises(UnsupportedModel, match="damaged"):
        normalise(tiny.data())


def test_a_truncated_file_is_refused_wherever_it_ends(tiny):
    data = tiny.data(dense(tiny, tiny.constant("w", WEIGHTS)))
    for end in range(0, len(data), 7):
        with pytest.raises(UnsupportedModel):
            normalise(data[:end])


def test_random_damage_is_refused_or_survived_but_never_crashes(tiny):
    data = tiny.data(dense(tiny, tiny.constant("w", WEIGHTS)))
    for seed in range(150):
        rng = random.Random(seed)
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 4])):
            damaged[rng.randrange(8, len(data))] = rng.randrange(256)
        try:
            normalise(bytes(damaged))
        except BitplanError as error:
            assert error.problem and error.remedy

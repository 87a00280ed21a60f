"""The hi + lo split on flatbuffers that run."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.rewrite import split_weights

RELU6, TANH = 3, 4


def rng():
    return np.random.default_rng(7)


def depthwise(network, *, activation=RELU6):
    net = network()
    x = net.input("x", (1, 6, 6, 4))
    w = net.constant("w", rng().normal(size=(1, 3, 3, 4)).astype(np.float32))
    b = net.constant("b", rng().normal(size=4).astype(np.float32))
    y = net.op(
        "DEPTHWISE_CONV_2D", [x, w, b], [net.tensor("y", (1, 6, 6, 4))], fusedActivationFunction=activation
    )  # fmt: skip
    return net, x, y


def test_the_split_network_computes_what_the_network_did(network, interpret, sqnr_db):
    net, _, y = depthwise(network)
    data = net.build([y])
    samples = [[rng().normal(size=(1, 6, 6, 4)).astype(np.float32)] for _ in range(3)]
    split, _ = split_weights(data, [0])
    assert sqnr_db(interpret(data, samples), interpret(split, samples)) > 120


def test_a_split_is_two_ops_without_activation_and_an_add_with_it(network):
    net, _, y = depthwise(network)
    split, (info,) = split_weights(net.build([y]), [0])
    model = fb.read(split)
    ops, tensors = model.subgraphs[0].operators, model.subgraphs[0].tensors
    assert [fb.opcode_name(model, op) for op in ops] == ["DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D", "ADD"]
    assert [op.builtinOptions.fusedActivationFunction for op in ops] == [0, 0, RELU6]
    assert (info.op, info.high, info.low, info.add) == (0, 0, 1, 2)
    assert [fb.text(tensors[t].name) for t in ops[2].inputs] == [info.high_output, info.low_output]
    assert list(ops[2].outputs) == [y], "the ADD writes the original output tensor"
    assert not ops[2].builtinOptions.potScaleInt16, "int16 scales are no powers of two"
    low_bias = fb.constant(model, tensors[ops[1].inputs[2]])
    assert low_bias is not None
    assert not low_bias.any(), "the bias is added once"


def test_original_tensors_keep_their_indices_and_names(network):
    net, _, y = depthwise(network)
    data = net.build([y])
    before, after = (fb.read(d).subgraphs[0] for d in (data, split_weights(data, [0])[0]))
    assert [t.name for t in after.tensors[: len(before.tensors)]] == [t.name for t in before.tensors]
    assert len({t.name for t in after.tensors}) == len(after.tensors)


def test_no_float_copy_of_the_weights_is_left_behind(network):
    net, _, y = depthwise(network)
    data = net.build([y])
    used = set()
    model = fb.read(split_weights(data, [0])[0])
    for op in model.subgraphs[0].operators:
        used.update(int(model.subgraphs[0].tensors[t].buffer) for t in op.inputs)
    filled = {k for k, buffer in enumerate(model.buffers) if buffer.data is not None}
    assert filled <= used


@pytest.mark.parametrize("shared", ["tensor", "buffer"])
def test_weights_that_another_op_reads_too_are_left_to_it(network, interpret, sqnr_db, shared):
    net = network()
    x = net.input("x", (1, 8))
    first = net.constant("w", rng().normal(size=(8, 8)).astype(np.float32))
    second = first if shared == "tensor" else net.constant("v", np.zeros((8, 8), np.float32), net.buffer(first))
    y = net.op("FULLY_CONNECTED", [x, first, -1], [net.tensor("y", (1, 8))])
    z = net.op("FULLY_CONNECTED", [y, second, -1], [net.tensor("z", (1, 8))])
    data = net.build([z])
    samples = [[rng().normal(size=(1, 8)).astype(np.float32)]]
    original = fb.constant(fb.read(data), fb.read(data).subgraphs[0].tensors[first])
    split, _ = split_weights(data, [0])
    model = fb.read(split)
    kept = model.subgraphs[0].operators[3]
    np.testing.assert_array_equal(fb.constant(model, model.subgraphs[0].tensors[kept.inputs[1]]), original)
    assert sqnr_db(interpret(data, samples), interpret(split, samples)) > 110


def test_both_readers_of_one_weights_tensor_can_be_split(network, interpret, sqnr_db):
    net = network()
    x = net.input("x", (1, 8))
    w = net.constant("w", rng().normal(size=(8, 8)).astype(np.float32))
    y = net.op("FULLY_CONNECTED", [x, w, -1], [net.tensor("y", (1, 8))])
    z = net.op("FULLY_CONNECTED", [y, w, -1], [net.tensor("z", (1, 8))])
    data = net.build([z])
    samples = [[rng().normal(size=(1, 8)).astype(np.float32)]]
    split, splits = split_weights(data, [0, 1])
    assert [(s.op, s.high, s.low, s.add) for s in splits] == [(0, 0, 1, 2), (1, 3, 4, 5)]
    assert sqnr_db(interpret(data, samples), interpret(split, samples)) > 110


def test_an_op_without_bias_has_none_in_either_half(network):
    net = network()
    x = net.input("x", (1, 8))
    w = net.constant("w", rng().normal(size=(3, 8)).astype(np.float32))
    y = net.op("FULLY_CONNECTED", [x, w, -1], [net.tensor("y", (1, 3))])
    model = fb.read(split_weights(net.build([y]), [0])[0])
    assert [int(op.inputs[2]) for op in model.subgraphs[0].operators[:2]] == [-1, -1]


def test_transposed_convolutions_can_be_split(network, interpret, sqnr_db):
    net = network()
    x = net.input("x", (1, 4, 4, 3))
    shape = net.constant("shape", np.array([1, 8, 8, 2], np.int32))
    w = net.constant("w", rng().normal(size=(2, 3, 3, 3)).astype(np.float32))
    b = net.constant("b", rng().normal(size=2).astype(np.float32))
    y = net.op("TRANSPOSE_CONV", [shape, w, x, b], [net.tensor("y", (1, 8, 8, 2))], strideW=2, strideH=2)
    data = net.build([y])
    samples = [[rng().normal(size=(1, 4, 4, 3)).astype(np.float32)]]
    assert sqnr_db(interpret(data, samples), interpret(split_weights(data, [0])[0], samples)) > 110


def test_names_of_new_tensors_never_meet_existing_ones(network):
    net, x, y = depthwise(network)
    net.graph.tensors[x].name, net.graph.tensors[y].name = b"0.hi", b"0.lo.w"
    model = fb.read(split_weights(net.build([y]), [0])[0])
    names = [t.name for t in model.subgraphs[0].tensors]
    assert len(set(names)) == len(names)


def test_the_same_model_gives_the_same_bytes(network):
    net, _, y = depthwise(network)
    data = net.build([y])
    assert split_weights(data, [0]) == split_weights(data, [0])


def test_an_op_without_weights_is_refused_by_name(network):
    net = network()
    x = net.input("x", (1, 4))
    y = net.op("ADD", [x, x], [net.tensor("total", (1, 4))])
    with pytest.raises(UnsupportedModel, match=r"'total'.*ADD has no weights"):
        split_weights(net.build([y]), [0])


def test_computed_weights_are_refused_by_name(network):
    net = network()
    x, w = net.input("x", (1, 4)), net.input("w", (3, 4))
    y = net.op("FULLY_CONNECTED", [x, w, -1], [net.tensor("y", (1, 3))])
    with pytest.raises(UnsupportedModel, match="no float32 constant"):
        split_weights(net.build([y]), [0])


def test_an_activation_that_add_lacks_is_refused(network):
    net, _, y = depthwise(network, activation=TANH)
    with pytest.raises(UnsupportedModel, match="fused activation"):
        split_weights(net.build([y]), [0])

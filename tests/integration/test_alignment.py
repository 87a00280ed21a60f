"""Units of two networks are found in each other, whatever a converter made of names, fusing and layout."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.alignment import align
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.layout import with_ports_of
from converter_networks import RELU6, conv_net, inputs, noise
from small_networks import interpret


def rename(data, prefix):
    model = fb.read(data)
    for k, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"{prefix}{k}".encode()
    return fb.write(model)


def chain(network, *, fused, bias, names=("conv", "bias", "relu", "out")):
    """conv (+ bias) (+ RELU6) -> fully connected, fused or apart."""
    net = network()
    x = net.input("in", (1, 6, 6, 3))
    shape = (1, 6, 6, 4)
    w, b = net.constant("w", noise(4, 3, 3, 3)), net.constant("b", noise(4))
    value = net.tensor(names[0], shape)
    zeros = net.constant("zeros", np.zeros(4, np.float32))  # LiteRT's convolutions demand a bias
    net.op("CONV_2D", [x, w, b if bias else zeros], [value], fusedActivationFunction=RELU6 if fused and bias else 0)
    if not bias:
        added = net.tensor(names[1], shape)
        net.op("ADD", [value, b], [added], fusedActivationFunction=RELU6 if fused else 0)
        value = added
    if not fused:
        clipped = net.tensor(names[2], shape)
        net.op("RELU6", [value], [clipped])
        value = clipped
    out = net.tensor(names[3], (1, 10))
    net.op("FULLY_CONNECTED", [value, net.constant("w2", noise(10, 144)), -1], [out])
    return net.build([out])


def test_a_renamed_file_is_told_by_its_order_and_neighbours(network):
    net, out = conv_net(network)
    data = net.build([out])
    graph, other = build_graph(data), build_graph(rename(data, "t"))
    found = align(graph, other)
    assert found.ops == {0: 0, 1: 1, 2: 2}
    assert found.tensors == {t: t for op in graph.ops for t in op.outputs} | {graph.inputs[0]: other.inputs[0]}
    assert not found.unmatched
    assert not found.extra


@pytest.mark.parametrize("ours", [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize("theirs", [(True, True), (False, True), (True, False), (False, False)])
def test_fused_and_separate_ops_are_the_same_layer(network, ours, theirs):
    """Every pair of the four ways to say conv + bias + RELU6 covers the whole network and pairs what is equal."""
    names = ("q0", "q1", "q2", "q3")
    first = chain(network, fused=ours[0], bias=ours[1])
    second = chain(network, fused=theirs[0], bias=theirs[1], names=names)
    graph, other = build_graph(first), build_graph(second)
    found = align(graph, other)
    assert not found.unmatched
    assert not found.extra
    assert set(found.ops) == {op.index for op in graph.ops}
    sample = inputs(1, (1, 6, 6, 3))
    for a, b in found.tensors.items():  # what is paired has equal values
        if a not in graph.inputs:
            (x,), (y,) = interpret(first, sample, [a])[0], interpret(second, sample, [b])[0]
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    if ours[0] and not theirs[0]:
        (op,) = found.before
        assert graph.ops[op].activation == "RELU6"


def test_weights_tell_equal_layers_apart_where_names_and_order_lie(network):
    """Two parallel layers of one shape stand in the other order, and each has the other's name."""

    def build(order, labels):
        net = network()
        x = net.input("in", (1, 16))
        total = net.tensor("total", (1, 16))
        parts = {}
        for place, key in enumerate(order):
            parts[key] = net.tensor(labels[place], (1, 16))
            weights = np.random.default_rng(key).normal(size=(16, 16)).astype(np.float32)
            net.op("FULLY_CONNECTED", [x, net.constant(f"w{labels[place]}", weights), -1], [parts[key]])
        net.op("ADD", [parts[0], parts[1]], [total])
        return net.build([total])

    first, second = build((0, 1), ("a", "b")), build((1, 0), ("a", "b"))
    graph, other = build_graph(first), build_graph(second)
    models = [fb.read(first), fb.read(second)]

    def likeness(a, b):
        if graph.ops[a].weights is None:
            return None
        x, y = (fb.constant(m, m.subgraphs[0].tensors[g.ops[k].weights]).ravel()
                for m, g, k in zip(models, (graph, other), (a, b), strict=True))  # fmt: skip
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    assert align(graph, other, likeness).ops == {0: 1, 1: 0, 2: 2}
    assert align(graph, other).ops == {0: 0, 1: 1, 2: 2}, "names alone are believed"


def test_a_transpose_in_one_file_only_is_passed_by_and_listed(network):
    def build(channels_first):
        net = network()
        x = net.input("in", (1, 3, 8, 6) if channels_first else (1, 8, 6, 3))
        if channels_first:
            moved = net.tensor("moved", (1, 8, 6, 3))
            net.op("TRANSPOSE", [x, net.constant("axes", np.array([0, 2, 3, 1], np.int32))], [moved])
            x = moved
        out = net.tensor("y", (1, 8, 6, 4))
        net.op("CONV_2D", [x, net.constant("w", noise(4, 3, 3, 3)), net.constant("b", noise(4))], [out])
        return net.build([out])

    first, second = build(True), rename(build(False), "t")
    graph = build_graph(first)
    found = align(graph, build_graph(second))
    assert found.ops == {1: 0}
    (item,) = found.unmatched
    assert item.harmless
    assert "moves values" in item.reason
    adapted = with_ports_of(second, [(1, 3, 8, 6)], [(1, 8, 6, 4)])
    sample = inputs(1, (1, 3, 8, 6))
    np.testing.assert_allclose(interpret(first, sample)[0][0], interpret(adapted, sample)[0][0], rtol=1e-5, atol=1e-6)
    back = with_ports_of(first, [(1, 8, 6, 3)], [(1, 4, 8, 6)])  # the other way round, and at the output
    turned = [[sample[0][0].transpose(0, 2, 3, 1)]]
    expected = interpret(second, turned)[0][0].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(interpret(back, turned)[0][0], expected, rtol=1e-5, atol=1e-6)
    assert with_ports_of(second, [(1, 8, 6, 3)], [(1, 8, 6, 4)]) == second


def test_a_matrix_is_a_convolution_of_one_pixel(network):
    def build(opcode):
        net = network()
        x = net.input("in", (1, 1, 1, 8) if opcode == "CONV_2D" else (1, 8))
        weights = noise(5, 8).reshape((5, 1, 1, 8) if opcode == "CONV_2D" else (5, 8))
        out = net.tensor("y", (1, 1, 1, 5) if opcode == "CONV_2D" else (1, 5))
        net.op(opcode, [x, net.constant("w", weights), net.constant("b", noise(5))], [out])
        return build_graph(net.build([out]))

    assert align(build("CONV_2D"), build("FULLY_CONNECTED")).ops == {0: 0}


def test_what_the_other_file_lacks_is_listed_with_its_reason(network):
    net, out = conv_net(network)
    graph = build_graph(net.build([out]))
    other = network()
    x = other.input("in", (1, 8, 8, 3))
    y = other.tensor("z", (1, 8, 8, 5))
    other.op("CONV_2D", [x, other.constant("w", noise(5, 3, 3, 3)), other.constant("b", noise(5))], [y])
    found = align(graph, build_graph(other.build([y])))
    assert found.ops == {}
    reasons = {item.op.split(":")[1]: item.reason for item in found.unmatched}
    assert reasons["DEPTHWISE_CONV_2D"] == "the other file has no DEPTHWISE_CONV_2D"
    assert "of its shape" in reasons["CONV_2D"]
    assert [(item.file, item.harmless) for item in found.extra] == [("quantized", False)]


def test_our_split_layers_are_one_unit(network, convert):
    net, out = conv_net(network)
    data = net.build([out])
    emitted = convert(data, inputs(), ["w16a8", "w8a8", "w16a16"]).model
    graph, other = build_graph(data), build_graph(emitted)
    found = align(graph, other)
    assert set(found.ops) == {0, 1, 2}
    assert [theirs.low is not None for _, theirs in found.units] == [True, False, True]
    for op in graph.ops:  # the sum carries the layer's result
        assert other.ops[other.producer(found.tensors[op.outputs[0]])].opcode in ("ADD", "DEPTHWISE_CONV_2D")

"""Cross-layer equalization: closed forms, ReLU6, where it stops, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.verification import Reference
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.graph import build_graph, rebuild_graph
from bitplan.analyzer.schema import Plan
from bitplan.strategies.repair import equalization as eq
from bitplan.strategies.repair import pairs as p
from bitplan.strategies.repair.equalization import equalize
from bitplan.strategies.repair.output_change import largest_change
from bitplan.strategies.repair.pairs import find_pairs
from converter_networks import RELU6, noise
from repair_networks import analyzed, as_samples, drawn

RELU, TANH = 1, 4


def constant(data, tensor):
    model = fb.read(data)
    return fb.constant(model, model.subgraphs[0].tensors[tensor])


def two_layers(network, first, second, activation=RELU, bias=None):
    """x -> 1x1 convolution -> 1x1 convolution; weights [channels] and [channels, outputs]."""
    net, channels = network(), len(first)
    x = net.input("in", (1, 4, 4, 1))
    w = net.constant("w", np.reshape(np.array(first, np.float32), (channels, 1, 1, 1)))
    b = net.constant("b", np.zeros(channels, np.float32) if bias is None else np.array(bias, np.float32))
    y = net.op("CONV_2D", [x, w, b], [net.tensor("y", (1, 4, 4, channels))], fusedActivationFunction=activation)
    v = net.constant("v", np.array(second, np.float32).T.reshape(-1, 1, 1, channels))
    outputs = np.shape(second)[1]
    z = net.op("CONV_2D", [y, v, net.constant("c", noise(outputs))], [net.tensor("z", (1, 4, 4, outputs))])
    return net.build([z]), w, b, v


def inverted_block(network, depth=2, spread=True):
    """expand -> PAD -> depthwise (multiplier `depth`) -> project -> MEAN -> fully connected, ReLU6 twice."""
    net = network()
    sizes = 4.0 ** np.random.default_rng(5).uniform(-2, 0.5, 12) if spread else np.ones(12)
    wide = np.repeat(sizes[::-1], depth)
    x = net.input("in", (1, 8, 8, 3))
    a = net.op("CONV_2D", [x, net.constant("w0", (noise(12, 1, 1, 3) * sizes[:, None, None, None]).astype(np.float32)),
                           net.constant("b0", noise(12) / 4)], [net.tensor("a", (1, 8, 8, 12))],
               fusedActivationFunction=RELU6)  # fmt: skip
    pads = net.constant("pads", np.array([[0, 0], [0, 1], [0, 1], [0, 0]], np.int32))
    b = net.op("PAD", [a, pads], [net.tensor("b", (1, 9, 9, 12))])
    c = net.op("DEPTHWISE_CONV_2D", [b, net.constant("w1", (noise(1, 3, 3, 12 * depth) * wide).astype(np.float32)),
                                     net.constant("b1", noise(12 * depth) / 4)],
               [net.tensor("c", (1, 9, 9, 12 * depth))], depthMultiplier=depth,
               fusedActivationFunction=RELU6)  # fmt: skip
    d = net.op("CONV_2D", [c, net.constant("w2", noise(6, 1, 1, 12 * depth)), net.constant("b2", noise(6))],
               [net.tensor("d", (1, 9, 9, 6))])  # fmt: skip
    m = net.op("MEAN", [d, net.constant("axes", np.array([1, 2], np.int32))], [net.tensor("m", (1, 6))])
    f = net.op("FULLY_CONNECTED", [m, net.constant("w3", noise(4, 6)), net.constant("b3", noise(4))],
               [net.tensor("f", (1, 4))])  # fmt: skip
    return net.build([f])


def test_two_layers_get_the_square_root_of_the_product_of_their_ranges(network):
    """Nagel et al., equation 11; here both tensors have the same largest weight to begin with."""
    made, read = np.array([1.0, 0.25, -0.1, 0.5]), np.array([[0.25, 0.1], [-1.0, 0.2], [0.4, -0.05], [0.3, 0.5]])
    data, w, _, v = two_layers(network, made, read)
    samples = drawn(6, 1, (4, 4, 1))
    found = equalize(data, build_graph(data), samples)
    wanted = np.sqrt(np.abs(made) * np.abs(read).max(axis=1))
    np.testing.assert_allclose(np.abs(constant(found.flatbuffer, w)).ravel(), wanted, rtol=2e-3)
    np.testing.assert_allclose(np.abs(constant(found.flatbuffer, v)).max(axis=(0, 1, 2)), wanted, rtol=2e-3)
    assert found.scaled == 3 and found.left_out == {} and not found.undone, "the last channel is equal already"
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.channels, pair.held) == (0, 1, 4, 0)
    assert pair.spread_before == pytest.approx(1.0 / 0.375)
    assert found.rescaled == (build_graph(data).ops[0].outputs[0],)


def test_unlike_tensors_get_the_same_shares_of_their_own_largest_weight(network):
    made, read = np.array([8.0, 1.0, 0.5]), np.array([[0.1], [0.02], [0.05]])
    data, w, _, v = two_layers(network, made, read)
    found = equalize(data, build_graph(data), drawn(6, 1, (4, 4, 1)))
    first, second = constant(found.flatbuffer, w).ravel(), constant(found.flatbuffer, v).ravel()
    np.testing.assert_allclose(first * second, made * read.ravel(), rtol=1e-5)
    np.testing.assert_allclose(first / first.max(), second / second.max(), rtol=5e-3)


def test_biases_go_with_their_weights_and_no_activation_gets_a_wider_range(network):
    data, w, b, _ = two_layers(network, [1.0, 0.01], [[0.1], [1.0]], bias=[0.0, 0.5])
    graph, samples = build_graph(data), drawn(20, 1, (4, 4, 1))
    found = equalize(data, graph, samples)
    ratio = constant(found.flatbuffer, w).ravel() / constant(data, w).ravel()
    np.testing.assert_allclose(constant(found.flatbuffer, b)[1], 0.5 * ratio[1], rtol=1e-6)
    tensor = graph.ops[0].outputs[0]
    before = calibrate(data, graph, samples).ranges[tensor].maximum
    after = calibrate(found.flatbuffer, rebuild_graph(found.flatbuffer, graph), samples).ranges[tensor].maximum
    assert ratio[1] > 1.5 and after <= before * (1 + 1e-5)
    assert found.pairs[0].held == 1, "it would have gone further"


@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5])
def test_channels_that_reach_6_stay_and_the_others_stay_below_it(network, interpret, margin):
    data = inverted_block(network)
    graph, samples = build_graph(data), drawn(30, 1)
    found = equalize(data, graph, samples, margin=margin)
    changed = rebuild_graph(found.flatbuffer, graph)
    assert [op.activation for op in changed.ops] == [op.activation for op in graph.ops]
    assert found.output_change < 1e-4 and not found.undone
    counted = left = 0
    for pair in found.pairs[:2]:
        tensor, op = pair.first, graph.ops[pair.first]
        before, after = (
            np.array([row[0] for row in interpret(file, as_samples(samples), [op.outputs[0]])])
            for file in (data, found.flatbuffer)
        )
        axes = tuple(range(before.ndim - 1))
        reach = before.max(axis=axes) * (1 + margin) >= 6
        values = [np.moveaxis(constant(file, op.weights), op.channel_axis, 0) for file in (data, found.flatbuffer)]
        moved = np.array([not np.allclose(old, new, rtol=1e-3) for old, new in zip(*values, strict=True)])
        if tensor == 0:  # the depthwise layer's weights change for two reasons
            assert not moved[reach].any()
            assert moved.sum() == pair.scaled
        assert reach.any() != reach.all()
        assert (after.max(axis=axes)[~reach] * (1 + margin) < 6 * (1 + 1e-5)).all()
        np.testing.assert_allclose(after.max(axis=axes)[reach], before.max(axis=axes)[reach], rtol=1e-4)
        counted, left = counted + pair.channels - int(reach.sum()), left + int(reach.sum())
    assert found.left_out == {eq.REACHES_CEILING: left}
    assert 0 < found.scaled <= counted + found.pairs[2].channels


def test_it_goes_through_depthwise_layers_pads_and_means_until_nothing_changes(network):
    data = inverted_block(network)
    graph, samples = build_graph(data), drawn(30, 1)
    found = equalize(data, graph, samples)
    assert [(pair.first, pair.second, pair.channels) for pair in found.pairs] == [(0, 2, 12), (2, 3, 24), (3, 5, 6)]
    assert found.unpaired == {p.RETURNED: 4}
    assert largest_change(data, found.flatbuffer, graph, drawn(30, 2)) < 0.05, "new samples reach 6 hardly ever"
    again = equalize(found.flatbuffer, rebuild_graph(found.flatbuffer, graph), samples)
    assert 1 < found.rounds < 100
    assert again.scaled <= 2, "what is settled stays"
    assert equalize(data, graph, samples) == found


def test_weights_with_one_scale_for_the_tensor_quantize_better(network):
    data = inverted_block(network)
    samples, others = drawn(60, 1), drawn(60, 2)
    graph, calibration = analyzed(data, samples)
    plan = Plan.bare(graph, ["w8a8"] * len(graph.ops), per_channel=False)
    found = equalize(data, graph, samples)
    changed, after = analyzed(found.flatbuffer, samples)
    reference = Reference(data, graph, others)
    plain = reference.error(convert(data, graph, calibration, plan).model).nmse
    assert reference.error(convert(found.flatbuffer, changed, after, plan).model).nmse < 0.7 * plain


def test_switched_off_channels_stay(network):
    data, w, b, v = two_layers(network, [1.0, 0.0, 1e-12, 0.5], [[0.2], [1.0], [1.0], [0.0]], bias=[0, 1, 2, 0])
    found = equalize(data, build_graph(data), drawn(4, 1, (4, 4, 1)))
    assert found.left_out == {eq.SWITCHED_OFF: 3}
    for tensor in (w, v):
        np.testing.assert_array_equal(
            constant(found.flatbuffer, tensor).ravel()[1:], constant(data, tensor).ravel()[1:]
        )  # fmt: skip
    np.testing.assert_array_equal(constant(found.flatbuffer, b)[1:], constant(data, b)[1:])


def test_a_change_of_the_output_undoes_all_of_it(network, monkeypatch):
    data = inverted_block(network)
    monkeypatch.setattr(eq, "TOLERANCE", 0.0)
    found = equalize(data, build_graph(data), drawn(10, 1))
    assert found.undone and found.output_change > 0
    assert found.flatbuffer == data and found.scaled == 0 and found.rescaled == ()


def stops(network):
    """name -> (flatbuffer, why its first layer begins no pair)."""

    def layers(finish, activation=RELU, weights=None):
        net = network()
        x = net.input("in", (1, 4, 4, 3))
        w = net.constant("w", noise(3, 1, 1, 3))
        a = net.op("CONV_2D", [x, w, net.constant("b", noise(3))], [net.tensor("a", (1, 4, 4, 3))],
                   fusedActivationFunction=activation)  # fmt: skip

        def conv(tensor, name, own=None):
            v = net.constant(f"v{name}", noise(3, 1, 1, 3)) if own is None else own
            return net.op("CONV_2D", [tensor, v, net.constant(f"c{name}", noise(3))],
                          [net.tensor(name, (1, 4, 4, 3))])  # fmt: skip

        return net.build(finish(net, a, w, conv))

    def flat(net, a, _w, _conv):
        r = net.op("RESHAPE", [a, net.constant("s", np.array([1, 48], np.int32))], [net.tensor("r", (1, 48))])
        return [net.op("FULLY_CONNECTED", [r, net.constant("u", noise(4, 48)), net.constant("d", noise(4))],
                       [net.tensor("f", (1, 4))])]  # fmt: skip

    def averaged(net, a, _w, _conv):
        m = net.op("MEAN", [a, net.constant("axes", np.array([-1], np.int32))], [net.tensor("m", (1, 4, 4))])
        return [net.op("FULLY_CONNECTED", [m, net.constant("u", noise(4, 4)), net.constant("d", noise(4))],
                       [net.tensor("f", (4, 4))])]  # fmt: skip

    return {
        "two readers": (layers(lambda net, a, w, conv: [conv(a, "x"), conv(a, "y")]), p.SEVERAL),
        "residual": (
            layers(lambda net, a, w, conv: [net.op("ADD", [a, conv(a, "x")], [net.tensor("s", (1, 4, 4, 3))])]),
            p.SEVERAL,
        ),
        "sum": (
            layers(lambda net, a, w, conv: [conv(net.op("ADD", [a, net.constant("k", noise(1, 1, 1, 3))],
                                                        [net.tensor("s", (1, 4, 4, 3))]), "x")]),
            p.OTHER_READER,
        ),
        "returned": (layers(lambda net, a, w, conv: [a, conv(a, "x")]), p.RETURNED),
        "tanh": (layers(lambda net, a, w, conv: [conv(a, "x")], TANH), p.ACTIVATION),
        "shared weights": (layers(lambda net, a, w, conv: [conv(a, "x", w)]), p.NOT_ITS_OWN),
        "flattened": (layers(flat), p.OTHER_READER),
        "mean over channels": (layers(averaged), p.OTHER_READER),
    }  # fmt: skip


def test_where_it_stops(network):
    for name, (data, why) in stops(network).items():
        graph = build_graph(data)
        found = find_pairs(data, graph)
        assert found.left_out[0] == why, name
        assert all(pair.first != 0 for pair in found.pairs), name
    data, why = stops(network)["returned"]
    left = equalize(data, build_graph(data), drawn(2, 1, (4, 4, 3)))
    assert left.flatbuffer == data and left.pairs == () and left.unpaired == {why: 6}

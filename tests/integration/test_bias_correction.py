"""Bias correction takes the mean error off every layer, each behind corrected ones, in the file too."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.dequantized import dequantize
from bitplan.analyzer.conversion.layers import place
from bitplan.analyzer.conversion.verification import Reference
from bitplan.analyzer.measures.straight_through import round_activation
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.differentiable import DifferentiableGraph, Taps
from bitplan.analyzer.network.graph import rebuild_graph
from bitplan.analyzer.schema import Plan
from bitplan.strategies.repair import bias_correction as bc
from bitplan.strategies.repair.bias_correction import correct_biases
from converter_networks import conv_net, noise
from repair_networks import analyzed, as_samples, drawn

pytestmark = pytest.mark.slow

SCHEMES = [
    ["w8a8", "w8a8", "w8a8"], ["w4a8", "w8a8", "w4a8"], ["w16a8", "w16a8", "w4a8"], ["w4a16", "w8a16", "w4a16"],
    ["float", "w8a8", "w4a8"], ["w4a8", "float", "w16a16"],
]  # fmt: skip


def one_layer(network):
    net = network()
    x = net.input("in", (1, 6, 6, 5))
    w = net.constant("w", noise(7, 3, 3, 5))
    return net.build([net.op("CONV_2D", [x, w, net.constant("b", noise(7))], [net.tensor("y", (1, 6, 6, 7))])])


def means(flatbuffer, samples, grids):
    """By op: the mean of each channel's pre-activation; activations rounded to the grids."""
    found, network = {}, DifferentiableGraph(flatbuffer)

    def rounded(tensor, values):
        return round_activation(values, grids[tensor]) if tensor in grids else values

    def seen(op, values):
        found[op] = values.numpy().astype(np.float64).mean(axis=tuple(range(values.shape.rank - 1)))
        return values

    (values,) = samples.block(0, len(samples))
    network([values[:, None]], taps=Taps(written=rounded, before_activation=seen))
    return found


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_single_layer_has_no_mean_error_left(network, interpret, per_channel):
    data, samples = one_layer(network), drawn(64, 1, (6, 6, 5), mean=1.0)
    graph, calibration = analyzed(data, samples)
    plan = Plan.bare(graph, ["w4a8"], per_channel=per_channel)
    found = correct_biases(data, graph, calibration, plan, samples)
    corrected = convert(found.flatbuffer, rebuild_graph(found.flatbuffer, graph), calibration, plan).model
    plain = convert(data, graph, calibration, plan).model
    wanted, before, after = (
        np.array([row[0] for row in interpret(file, as_samples(samples))], np.float64).mean(axis=(0, 1, 2, 3))
        for file in (data, plain, corrected)
    )
    assert np.abs(before - wanted).max() > 0.1
    assert np.abs(after - wanted).max() < 0.02 * np.abs(before - wanted).max()
    model, changed = fb.read(data), fb.read(found.flatbuffer)
    shift = fb.constant(changed, changed.subgraphs[0].tensors[2]) - fb.constant(model, model.subgraphs[0].tensors[2])
    np.testing.assert_allclose(shift, wanted - before, atol=0.02 * np.abs(shift).max())
    assert [layer.op for layer in found.layers] == [0] and found.left_out == () and found.samples == 64
    spread = np.array([row[0] for row in interpret(data, as_samples(samples))]).std()
    assert found.layers[0].largest == pytest.approx(np.abs(shift).max() / spread, rel=1e-3)
    assert found.layers[0].shift == pytest.approx(np.sqrt(np.mean(shift**2)) / spread, rel=1e-3)


@pytest.mark.parametrize("schemes", SCHEMES, ids=" ".join)
def test_every_layer_is_corrected_behind_corrected_ones(network, schemes):
    net, output = conv_net(network)
    data, samples = net.build([output]), drawn(40, 1, mean=0.5)
    graph, calibration = analyzed(data, samples)
    plan = Plan.bare(graph, schemes)
    found = correct_biases(data, graph, calibration, plan, samples)
    wanted = means(data, samples, {})
    off = {}
    for name, network_ in (("before", data), ("after", found.flatbuffer)):
        emitted = convert(network_, rebuild_graph(network_, graph), calibration, plan).model
        simulated = dequantize(emitted)
        seen = means(simulated.flatbuffer, samples, simulated.grids)
        off[name] = [
            np.abs(sum(seen[op] for op in layer.placed_ops[: len(layer.placed_weights)]) - wanted[layer.op]).max()
            for layer in place(emitted, graph, plan).layers
        ]
    for before, after, layer in zip(off["before"], off["after"], found.layers, strict=True):
        assert after < max(0.05 * before, 2e-3), layer
    assert max(off["before"]) > 0.01


def test_it_helps_samples_it_has_not_seen_and_is_the_same_every_time(network):
    net, output = conv_net(network)
    data, samples, others = net.build([output]), drawn(48, 1, mean=0.5), drawn(48, 2, mean=0.5)
    graph, calibration = analyzed(data, samples)
    plan = Plan.bare(graph, ["w4a8", "w8a8", "w4a8"], per_channel=False)
    found = correct_biases(data, graph, calibration, plan, samples)
    corrected = convert(found.flatbuffer, rebuild_graph(found.flatbuffer, graph), calibration, plan).model
    reference = Reference(data, graph, others)
    assert reference.error(corrected).nmse < 0.8 * reference.error(convert(data, graph, calibration, plan).model).nmse
    assert correct_biases(data, graph, calibration, plan, samples) == found


def test_a_float_plan_needs_no_correction(network):
    net, output = conv_net(network)
    data, samples = net.build([output]), drawn(8, 1)
    graph, calibration = analyzed(data, samples)
    found = correct_biases(data, graph, calibration, Plan.bare(graph, ["float"] * 3), samples)
    assert max(layer.largest for layer in found.layers) < 1e-6


def test_layers_without_a_bias_of_their_own_are_left_out_and_get_none(network):
    net = network()
    x = net.input("in", (1, 16))
    shared = net.constant("b", noise(16))
    a = net.op("FULLY_CONNECTED", [x, net.constant("w", noise(16, 16)), shared], [net.tensor("a", (1, 16))])
    b = net.op("FULLY_CONNECTED", [a, net.constant("v", noise(16, 16)), shared], [net.tensor("z", (1, 16))])
    c = net.op("FULLY_CONNECTED", [b, net.constant("u", noise(4, 16)), -1], [net.tensor("out", (1, 4))])
    d = net.op("FULLY_CONNECTED", [c, net.constant("t", noise(4, 4)), net.constant("e", noise(4))],
               [net.tensor("last", (1, 4))])  # fmt: skip
    data, samples = net.build([d]), drawn(32, 1, (16,))
    graph, calibration = analyzed(data, samples)
    found = correct_biases(data, graph, calibration, Plan.bare(graph, ["w4a8"] * 4), samples)
    assert [(op, why) for op, _, why in found.left_out] == [(0, bc.SHARED_BIAS), (1, bc.SHARED_BIAS), (2, bc.NO_BIAS)]
    assert [layer.op for layer in found.layers] == [3]
    assert [op.bias for op in rebuild_graph(found.flatbuffer, graph).ops] == [op.bias for op in graph.ops]


def test_of_a_large_network_only_so_many_samples_are_taken_as_fit(network, monkeypatch):
    net, output = conv_net(network)
    data, samples = net.build([output]), drawn(20, 1)
    graph, calibration = analyzed(data, samples)
    alive = 4 * (8 * 8 * 6 + 8 * 8 * 6)  # what the depthwise layer reads and writes
    monkeypatch.setattr(bc, "_KEPT_BYTES", 5 * alive + alive // 2)
    plan = Plan.bare(graph, ["w8a8"] * 3)
    found = correct_biases(data, graph, calibration, plan, samples)
    assert found.samples == 5
    assert found == correct_biases(data, graph, calibration, plan, samples.subset(np.arange(5)))


def test_the_means_may_be_those_of_another_network(network):
    """Corrected twice, the second time towards the first network: nothing is left to correct."""
    data, samples = one_layer(network), drawn(32, 1, (6, 6, 5), mean=1.0)
    graph, calibration = analyzed(data, samples)
    plan = Plan.bare(graph, ["w4a8"])
    once = correct_biases(data, graph, calibration, plan, samples)
    graph_once = rebuild_graph(once.flatbuffer, graph)
    twice = correct_biases(once.flatbuffer, graph_once, calibration, plan, samples, reference=data)
    adrift = correct_biases(once.flatbuffer, graph_once, calibration, plan, samples)
    assert twice.layers[0].largest < 0.02 * once.layers[0].largest
    assert adrift.layers[0].largest == pytest.approx(once.layers[0].largest, rel=0.1), "it has the same rounding error"

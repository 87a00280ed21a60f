"""Learned rounding on small networks: layers get better, and the file holds the integers that were learned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.dequantized import dequantize
from bitplan.analyzer.conversion.layers import place
from bitplan.analyzer.conversion.simulation import Simulation
from bitplan.analyzer.conversion.verification import Reference
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.measures.calibration import calibrate, with_per_tensor_sums
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.differentiable import DifferentiableGraph
from bitplan.analyzer.network.differentiable.nodes import read_network
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import Plan
from bitplan.strategies.repair.patches import patches_of
from bitplan.strategies.repair.rounding import learn_rounding
from bitplan.strategies.repair.schedule import Schedule
from converter_networks import RELU6, conv_net, noise

pytestmark = pytest.mark.slow

SCHEMES = [
    ["w4a8", "w8a8", "w4a8"], ["w8a8", "w8a8", "w8a8"], ["w4a16", "w8a16", "w4a16"], ["w16a8", "w8a8", "float"],
]  # fmt: skip
QUICK = Schedule(iterations=150, batch=64, rows=1024)


def scores(network):
    net, found = conv_net(network)
    return net.build([found])


def samples_of(count, seed, shape=(1, 8, 8, 3)):
    images = np.random.default_rng(seed).normal(size=(count, *shape[1:])).astype(np.float32)
    specs = (InputSpec("in", shape, "float32"),)
    return load_samples(images, specs, Preprocessing(), warn=print).in_content_order()


@pytest.fixture
def prepared():
    """prepared(data, shape) -> (graph, calibration, samples)."""

    def make(data, shape=(1, 8, 8, 3)):
        graph, samples = build_graph(data), samples_of(96, 1, shape)
        return graph, with_per_tensor_sums(data, graph, calibrate(data, graph, samples), samples), samples

    return make


def planned(graph, names, *, per_channel=True):
    wanted = iter(names)
    rest = "w8a16" if "a16" in names[-1] else "w8a8"
    schemes = [next(wanted) if op.weights is not None else rest for op in graph.ops]
    return Plan.bare(graph, schemes, per_channel=per_channel)


def watched(monkeypatch):
    """The weights that each layer was left with, by its op, in the course of learning."""
    from bitplan.strategies.repair.passage import Passage

    seen, depart = {}, Passage.depart

    def note(self, stop, weights):
        seen[stop.layer.op] = weights
        depart(self, stop, weights)

    monkeypatch.setattr(Passage, "depart", note)
    return seen


@pytest.mark.parametrize("names", SCHEMES, ids=" ".join)
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("narrow_bits", [(), (4, 8)])
def test_the_file_holds_the_learned_integers_and_layers_get_better(
    network, prepared, monkeypatch, names, per_channel, narrow_bits
):
    data = scores(network)
    graph, calibration, samples = prepared(data)
    plan = planned(graph, names, per_channel=per_channel)
    seen = watched(monkeypatch)
    schedule = Schedule(iterations=150, batch=64, rows=1024, narrow_bits=narrow_bits)
    found = learn_rounding(data, graph, calibration, plan, samples, schedule=schedule)
    rounded = [op for op, scheme in enumerate(plan.schemes) if scheme.weight_bits in (4, 8) and graph.ops[op].weights]
    assert [layer.op for layer in found.layers] == rounded and found.left_out == ()
    for layer in found.layers:
        assert layer.after <= layer.before
        assert layer.moved < layer.weights == np.prod(graph.tensors[graph.ops[layer.op].weights].shape)
    assert sum(layer.after for layer in found.layers) < sum(layer.before for layer in found.layers)
    assert sum(layer.moved for layer in found.layers) > 0

    emitted = convert(found.flatbuffer, build_graph(found.flatbuffer), calibration, plan).model
    integers, values = fb.read(emitted), fb.read(dequantize(emitted).flatbuffer)
    tensors = integers.subgraphs[0].tensors
    for layer in place(emitted, graph, plan).layers:
        if layer.op not in rounded:
            continue
        [placed] = layer.placed_weights
        # Scale times integer, bit for bit: neither can be another.
        np.testing.assert_array_equal(fb.constant(values, values.subgraphs[0].tensors[placed]), seen[layer.op])
        top = 2 ** (layer.bits - 1) - 1
        stored = fb.constant(integers, tensors[placed]).astype(int)
        others = tuple(a for a in range(stored.ndim) if a != layer.axis)
        np.testing.assert_array_equal(np.abs(stored).max(axis=others), top)
        assert (len(tensors[placed].quantization.scale) > 1) == per_channel


def test_a_4_bit_network_gets_better_on_samples_it_has_not_seen(network, prepared):
    data = scores(network)
    graph, calibration, samples = prepared(data)
    plan = planned(graph, SCHEMES[0])
    found = learn_rounding(data, graph, calibration, plan, samples)
    reference = Reference(data, graph, samples_of(60, 2))
    before = reference.error(convert(data, graph, calibration, plan).model).nmse
    after = reference.error(convert(found.flatbuffer, build_graph(found.flatbuffer), calibration, plan).model).nmse
    assert after < 0.8 * before
    assert found.samples == 96 and found.iterations == Schedule().iterations


def test_what_is_learned_is_close_to_the_best_of_all_roundings(network, prepared):
    net = network()
    x = net.input("in", (1, 9))
    net.op("FULLY_CONNECTED", [x, net.constant("w", noise(3, 9)), net.constant("b", noise(3))],
           [net.tensor("out", (1, 3))])  # fmt: skip
    data = net.build([2 + 1])
    graph, calibration, samples = prepared(data, (1, 9))
    plan = planned(graph, ["w4a16"])
    schedule = Schedule(iterations=400, batch=96, narrow_bits=())
    [layer] = learn_rounding(data, graph, calibration, plan, samples, schedule=schedule).layers

    emitted = convert(data, graph, calibration, plan).model
    weights, scale = noise(3, 9), np.abs(noise(3, 9)).max(axis=1, keepdims=True) / 7
    quantized = dequantize(emitted)
    [dense] = [node for node in read_network(quantized.flatbuffer).nodes if node.opcode == "FULLY_CONNECTED"]
    grid = quantized.grids[dense.operand(0).tensor]
    read = np.concatenate([row[0].reshape(1, -1) for row in samples])
    read = np.clip(np.rint(read / grid.scale), grid.low, grid.high) * grid.scale
    answers = np.concatenate([row[0].reshape(1, -1) for row in samples]) @ weights.T
    best, nearest = [], []
    for channel in range(3):
        lower = np.floor(weights[channel] / scale[channel] + 1e-6)
        errors = [
            np.mean((read @ (np.clip(lower + ups, -7, 7) * scale[channel]) - answers[:, channel]) ** 2)
            for ups in itertools.product([0, 1], repeat=9)
        ]
        best.append(min(errors))
        plain = np.rint(weights[channel] / scale[channel]) * scale[channel]
        nearest.append(np.mean((read @ plain - answers[:, channel]) ** 2))
    assert layer.before == pytest.approx(np.mean(nearest), rel=1e-3)
    assert np.mean(best) * 0.999 <= layer.after <= np.mean(best) * 1.1


def test_two_runs_give_the_same_bytes_and_another_seed_others(network, prepared):
    data = scores(network)
    graph, calibration, samples = prepared(data)
    plan = planned(graph, SCHEMES[0])
    runs = [
        learn_rounding(data, graph, calibration, plan, samples,
                       schedule=Schedule(iterations=100, batch=64, rows=512, seed=seed))
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert runs[0].flatbuffer != runs[2].flatbuffer


def test_channels_that_must_stay_do_and_the_others_hold_what_was_learned(network, prepared, monkeypatch):
    """One channel is 0, one is tiny beside its bias: the converter gives both grids of their own."""
    net = network()
    x = net.input("in", (1, 8, 8, 3))
    w, b = noise(6, 3, 3, 3), noise(6)
    w[1], w[4], b[4] = 0, 1e-12, 3
    net.op("CONV_2D", [x, net.constant("w", w), net.constant("b", b)], [net.tensor("out", (1, 8, 8, 6))])
    data = net.build([3])
    graph, calibration, samples = prepared(data)
    plan = planned(graph, ["w4a8"])
    seen = watched(monkeypatch)
    found = learn_rounding(data, graph, calibration, plan, samples, schedule=QUICK)
    emitted = convert(found.flatbuffer, build_graph(found.flatbuffer), calibration, plan).model
    values = fb.read(dequantize(emitted).flatbuffer)
    [layer] = place(emitted, graph, plan).layers
    np.testing.assert_array_equal(
        fb.constant(values, values.subgraphs[0].tensors[layer.placed_weights[0]]), seen[layer.op]
    )
    learned = fb.read(found.flatbuffer)
    np.testing.assert_array_equal(fb.constant(learned, learned.subgraphs[0].tensors[layer.weights])[[1, 4]], w[[1, 4]])
    assert found.layers[0].moved > 0


def test_weights_that_ops_share_are_left_as_they_are(network, prepared):
    net = network()
    x = net.input("in", (1, 8, 8, 3))
    w = net.constant("w", noise(3, 3, 3, 3))
    a = net.op("CONV_2D", [x, w, net.constant("b0", noise(3))], [net.tensor("a", (1, 8, 8, 3))])
    b = net.op("CONV_2D", [a, w, net.constant("b1", noise(3))], [net.tensor("b", (1, 8, 8, 3))])
    net.op("CONV_2D", [b, net.constant("w2", noise(3, 3, 3, 3)), net.constant("b2", noise(3))],
           [net.tensor("c", (1, 8, 8, 3))])  # fmt: skip
    data = net.build([net.graph.operators[-1].outputs[0]])
    graph, calibration, samples = prepared(data)
    found = learn_rounding(data, graph, calibration, planned(graph, ["w4a8"] * 3), samples, schedule=QUICK)
    assert found.left_out == (0, 1)
    assert [layer.op for layer in found.layers] == [2]


def test_a_time_budget_decides_the_iterations_and_nothing_else(network, prepared):
    data = scores(network)
    graph, calibration, samples = prepared(data)
    arguments = (data, graph, calibration, planned(graph, SCHEMES[1]), samples)
    readings = itertools.count()
    # A trial of 4 steps takes one tick of this clock, so a step of all three layers 0.75; 7 ticks are gone before.
    short = learn_rounding(*arguments, schedule=QUICK, time_budget_s=157, clock=lambda: float(next(readings)))
    assert short.iterations == int((157 - 7) * 0.6 / 0.75) == 120
    same = learn_rounding(*arguments, schedule=Schedule(iterations=120, batch=64, rows=1024))
    assert short == same
    assert learn_rounding(*arguments, schedule=QUICK, time_budget_s=0.0).iterations == 100


def test_only_as_many_samples_are_used_as_memory_holds(network, prepared, monkeypatch):
    from bitplan.strategies.repair import passage

    data = scores(network)
    graph, calibration, samples = prepared(data)
    arguments = (graph, calibration, planned(graph, SCHEMES[0]))
    # Float needs most between its two convolutions, the planned network where its float input becomes int8.
    monkeypatch.setattr(passage, "_WALK_BYTES", 40 * (4 * 2 * 8 * 8 * 6 + (4 + 1) * 8 * 8 * 3))
    few = learn_rounding(data, *arguments, samples, schedule=QUICK)
    assert few.samples == 40
    assert few == learn_rounding(data, *arguments, samples.subset(np.arange(40)), schedule=QUICK)


@pytest.mark.parametrize("name", ["conv", "strided", "dilated", "valid", "grouped", "depthwise", "dense", "transposed"])
def test_layers_are_products_of_matrices(network, name):
    """Against TensorFlow's own kernels."""
    same, valid = 0, 1
    opcode, shape, kernel, out, options = {
        "conv": ("CONV_2D", (2, 7, 6, 4), (5, 3, 3, 4), (2, 7, 6, 5), {}),
        "strided": ("CONV_2D", (1, 7, 6, 4), (5, 3, 2, 4), (1, 4, 2, 5), {"strideH": 2, "strideW": 3}),
        "dilated": ("CONV_2D", (1, 9, 8, 4), (5, 3, 3, 4), (1, 9, 8, 5), {"dilationHFactor": 2, "dilationWFactor": 3}),
        "valid": ("CONV_2D", (1, 7, 6, 4), (5, 3, 3, 4), (1, 3, 2, 5), {"strideH": 2, "strideW": 2, "padding": valid}),
        "grouped": ("CONV_2D", (1, 5, 5, 4), (6, 3, 3, 2), (1, 5, 5, 6), {}),
        "depthwise": ("DEPTHWISE_CONV_2D", (1, 7, 6, 4), (1, 3, 3, 8), (1, 4, 3, 8),
                      {"strideH": 2, "strideW": 2, "depthMultiplier": 2}),
        "dense": ("FULLY_CONNECTED", (6, 10), (4, 10), (6, 4), {}),
        "transposed": ("TRANSPOSE_CONV", (1, 4, 5, 3), (2, 3, 3, 3), (1, 8, 10, 2), {"strideH": 2, "strideW": 2}),
    }[name]  # fmt: skip
    net = network()
    x, w = net.input("in", shape), net.constant("w", noise(*kernel))
    given = [x, w, net.constant("b", noise(out[-1]))]
    if opcode == "TRANSPOSE_CONV":
        given = [net.constant("s", np.array(out, np.int32)), w, x, net.constant("b", noise(out[-1]))]
    y = net.tensor("out", out)
    net.op(opcode, given, [y], fusedActivationFunction=0, **{"padding": same, **options})
    data = net.build([y])
    patches = patches_of(read_network(data).nodes[0])
    values = np.random.default_rng(3).normal(size=(4, *shape)).astype(np.float32)
    written = DifferentiableGraph(data)([values])[y].numpy()
    sample, position = (v.reshape(-1) for v in np.indices((4, patches.positions)))
    found = patches.rows(values, sample, position) @ patches.matrix(noise(*kernel))
    found += noise(out[-1]).reshape(patches.groups, 1, patches.outputs)
    np.testing.assert_allclose(found, patches.targets(written, sample, position), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(patches.kernel(patches.matrix(noise(*kernel)), kernel), noise(*kernel))


def test_a_walk_gives_what_the_simulation_gives_and_forgets_what_none_reads(network, prepared):
    from bitplan.strategies.repair.walk import Walk, peak_bytes

    net = network()
    x = net.input("in", (1, 8, 8, 3))
    a = net.op("CONV_2D", [x, net.constant("w0", noise(6, 3, 3, 3)), net.constant("b0", noise(6))],
               [net.tensor("a", (1, 8, 8, 6))], fusedActivationFunction=RELU6)  # fmt: skip
    b = net.op("CONV_2D", [a, net.constant("w1", noise(6, 3, 3, 6)), net.constant("b1", noise(6))],
               [net.tensor("b", (1, 8, 8, 6))])  # fmt: skip
    c = net.op("ADD", [a, b], [net.tensor("c", (1, 8, 8, 6))])
    data = net.build([c])
    graph, calibration, samples = prepared(data)
    plan = Plan.bare(graph, ["w4a8", "w8a8", "w8a16"])
    emitted = convert(data, graph, calibration, plan).model
    quantized = dequantize(emitted)
    inputs = [np.stack([row[0] for row in samples]).reshape(-1, 1, 8, 8, 3)]
    walk = Walk(quantized.flatbuffer, [[inputs[0][:50]], [inputs[0][50:]]], quantized.grids)
    most = 0
    for node in walk.network.nodes:
        walk.pass_through(node.index)
        kept = [{t: v.nbytes for t, v in values.items()} for values in walk._kept]
        most = max(most, sum(kept[0].values()) / 50)
    [output] = place(emitted, graph, plan).compared
    found = np.concatenate([walk.block(0, output), walk.block(1, output)])
    wanted = Simulation(data, graph, plan, emitted)(inputs)[0].numpy()
    assert len(found) == 96
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    assert most == peak_bytes(walk.network, quantized.grids)

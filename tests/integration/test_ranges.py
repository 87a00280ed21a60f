"""Chosen ranges: measured as the network measures them, honoured by the file, and never where they must not be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.type_check import check_types
from bitplan.analyzer.conversion.verification import Reference
from bitplan.analyzer.errors import UsageError
from bitplan.analyzer.measures.quantization import activation_params, fake_quantize, weight_scales
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.constants import replace_constants
from bitplan.analyzer.network.graph import build_graph, rebuild_graph
from bitplan.analyzer.schema import Format, Plan
from bitplan.strategies.repair.ranges import choose_ranges, int8_activations
from bitplan.strategies.repair.weight_clipping import clipped_weights
from converter_networks import RELU6, conv_net, noise
from repair_networks import analyzed, as_samples, drawn, samples_of

pytestmark = pytest.mark.slow


def deaf_to_outliers(network):
    """A network that ignores its third input channel, and images that have two huge values there and nowhere else.

    Only the output shows that clipping them is free: at the tensor itself it is the worst that can be done.
    """
    net, output = conv_net(network)
    data = net.build([output])
    weights = build_graph(data).ops[0].weights
    values = noise(6, 3, 3, 3)
    values[..., 2] = 0.0
    images = np.random.default_rng(3).normal(size=(24, 8, 8, 3)).astype(np.float32)
    images[3, 0, 0, 2], images[7, 5, 5, 2] = 40.0, -40.0
    return replace_constants(data, {weights: values}), samples_of(images)


def shared_scales(network):
    """RESHAPE, CONCATENATION and MAX_POOL_2D share scales, SOFTMAX and LOGISTIC have fixed ones."""
    net = network()
    x = net.input("in", (1, 8, 8, 3))
    y = net.op("CONV_2D", [x, net.constant("w", noise(4, 3, 3, 3)), net.constant("b", noise(4))],
               [net.tensor("y", (1, 8, 8, 4))])  # fmt: skip
    z = net.op("CONV_2D", [x, net.constant("v", noise(4, 3, 3, 3)), net.constant("c", noise(4))],
               [net.tensor("z", (1, 8, 8, 4))], fusedActivationFunction=RELU6)  # fmt: skip
    j = net.op("CONCATENATION", [y, z], [net.tensor("j", (1, 8, 8, 8))], axis=3)
    r = net.op("RESHAPE", [j, net.constant("s", np.array([1, 512], np.int32))], [net.tensor("r", (1, 512))])
    f = net.op("FULLY_CONNECTED", [r, net.constant("u", noise(5, 512) / 20), net.constant("d", noise(5))],
               [net.tensor("f", (1, 5))])  # fmt: skip
    s = net.op("SOFTMAX", [f], [net.tensor("p", (1, 5))])
    g = net.op("LOGISTIC", [f], [net.tensor("g", (1, 5))])
    return net.build([s, g])


def int8(graph, **options):
    return Plan.bare(graph, ["w8a8"] * len(graph.ops), **options)


def written_grids(model):
    """(scale, zero point) of what each op writes, by opcode; border ops left out."""
    read = fb.read(model)
    tensors, found = read.subgraphs[0].tensors, {}
    for op in read.subgraphs[0].operators:
        written = tensors[int(op.outputs[0])].quantization
        if written is not None and written.scale is not None:
            found[fb.opcode_name(read, op)] = (float(written.scale[0]), int(written.zeroPoint[0]))
    return found


def test_outliers_are_clipped_and_the_reported_errors_are_those_of_the_files(network):
    data, samples = deaf_to_outliers(network)
    graph, calibration = analyzed(data, samples)
    plan = int8(graph)
    found = choose_ranges(data, graph, calibration, plan, samples)
    reference = Reference(data, graph, samples)
    emitted = convert(found.flatbuffer, rebuild_graph(found.flatbuffer, graph), found.calibration, plan).model
    assert check_types(emitted, graph, plan) == ()
    assert reference.error(emitted).nmse == found.nmse
    assert reference.error(convert(data, graph, calibration, plan).model).nmse == found.plain_nmse
    assert found.nmse < 0.5 * found.plain_nmse
    (choice,) = (choice for choice in found.choices if choice.tensor == graph.inputs[0])
    assert choice.method == "percentile-99.9" and choice.maximum < 5
    assert found.considered == 4 + 3
    assert choose_ranges(data, graph, calibration, plan, samples) == found


def test_a_tensors_error_is_the_one_of_rounding_it_alone(network, interpret):
    data, samples = deaf_to_outliers(network)
    graph, calibration = analyzed(data, samples)
    found = choose_ranges(data, graph, calibration, int8(graph), samples)
    choice = next(c for c in found.choices if c.tensor == graph.inputs[0])
    wanted = np.array([row[0] for row in interpret(data, as_samples(samples))])
    seen = calibration.ranges[choice.tensor]
    for (low, high), nmse in (
        ((choice.minimum, choice.maximum), choice.nmse), ((seen.minimum, seen.maximum), choice.plain_nmse)
    ):  # fmt: skip
        grid = activation_params(low, high, 8)
        given = [[fake_quantize(a, grid) for a in sample] for sample in as_samples(samples)]
        off = np.array([row[0] for row in interpret(data, given)]).astype(np.float64) - wanted
        error = np.mean(off**2)
        assert error / calibration.ranges[graph.compared[0]].variance == pytest.approx(nmse, rel=1e-3)


@pytest.mark.parametrize("method", ["auto", "percentile-99.9", "mse", "kl"])
@pytest.mark.parametrize("io_format", [Format.FLOAT, Format.INT8])
def test_shared_and_fixed_scales_stay_right(network, method, io_format):
    data, samples = shared_scales(network), drawn(12, 1)
    graph, calibration = analyzed(data, samples)
    plan = int8(graph, io=io_format)
    found = choose_ranges(data, graph, calibration, plan, samples, method=method)
    emitted = convert(found.flatbuffer, rebuild_graph(found.flatbuffer, graph), found.calibration, plan).model
    assert check_types(emitted, graph, plan) == ()
    grids = written_grids(emitted)
    assert grids["RESHAPE"] == grids["CONCATENATION"]
    assert grids["SOFTMAX"] == grids["LOGISTIC"] == (1 / 256, -128)
    names = {tensor.name: tensor.index for tensor in graph.tensors}
    chosen = {choice.tensor for choice in found.choices}
    assert not chosen & {names["p"], names["g"], names["r"]}
    if method == "percentile-99.9":
        j = found.calibration.ranges[names["j"]]
        grid = activation_params(j.minimum, j.maximum, 8)
        assert grids["CONCATENATION"] == (pytest.approx(grid.scale), grid.zero_point)
        r = found.calibration.ranges[names["r"]]
        assert j.minimum <= r.minimum and r.maximum <= j.maximum, "what is moved from it is within it"


def test_only_int8_activations_have_a_range_to_choose(network):
    net, output = conv_net(network)
    data, samples = net.build([output]), drawn(4, 1)
    graph, calibration = analyzed(data, samples)
    x, a, b, c = graph.inputs[0], *(op.outputs[0] for op in graph.ops)

    def tensors(*schemes, io=Format.FLOAT, of=calibration):
        return int8_activations(graph, of, Plan.bare(graph, schemes, io))

    assert tensors("w8a8", "w16a8", "w4a8") == tuple(sorted((x, a, b, c)))
    assert tensors("w8a16", "w8a16", "w8a16") == ()
    assert tensors("w8a16", "w8a8", "float") == tuple(sorted((a, b)))
    assert tensors("float", "float", "float") == ()
    assert tensors("float", "float", "float", io=Format.INT8) == tuple(sorted((x, c)))
    declared = replace(calibration, ranges={t: replace(r, declared=t == a) for t, r in calibration.ranges.items()})
    assert tensors("w8a8", "w8a8", "w8a8", of=declared) == tuple(sorted((x, b, c)))


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_are_clipped_to_the_scale_with_the_least_error(network, scheme, per_channel):
    net, output = conv_net(network)
    data, samples = net.build([output]), drawn(4, 1)
    graph, calibration = analyzed(data, samples)
    plan = Plan.bare(graph, [scheme, "w8a8", scheme], per_channel=per_channel)
    top = {"w8a8": 127, "w4a8": 7}[scheme]
    found = clipped_weights(data, graph, plan)
    op, model = graph.ops[2], fb.read(data)
    before = fb.constant(model, model.subgraphs[0].tensors[op.weights]).astype(np.float64)
    after = found[op.weights]
    rows = [(b, a) for b, a in zip(before, after, strict=True)] if per_channel else [(before, after)]
    for values, clipped in rows:

        def error(bound, values=values):
            step = bound / top
            return np.square(np.clip(np.rint(values / step), -top, top) * step - values).sum()

        least = min(error(share * np.abs(values).max()) for share in np.linspace(0.3, 1, 701))
        assert error(np.abs(clipped).max()) <= 1.08 * least, "shares are tried a hundredth apart"
        np.testing.assert_array_equal(clipped[np.abs(values) < np.abs(clipped).max()],
                                      values[np.abs(values) < np.abs(clipped).max()].astype(np.float32))  # fmt: skip
    chosen = choose_ranges(data, graph, calibration, plan, samples, method="mse")
    emitted = fb.read(
        convert(chosen.flatbuffer, rebuild_graph(chosen.flatbuffer, graph), chosen.calibration, plan).model
    )
    name = graph.tensors[op.weights].name
    placed = next(t for t in emitted.subgraphs[0].tensors if fb.text(t.name) == name)
    wanted = weight_scales(after, 0 if per_channel else None, {"w8a8": 8, "w4a8": 4}[scheme])
    np.testing.assert_allclose(placed.quantization.scale, wanted.ravel(), rtol=1e-6)


def test_split_and_float_weights_and_shared_buffers_are_left_alone(network):
    net, output = conv_net(network)
    data = net.build([output])
    graph, _ = analyzed(data, drawn(2, 1))
    assert set(clipped_weights(data, graph, Plan.bare(graph, ["w16a8", "float", "w16a16"]))) == set()
    net = network()
    x = net.input("in", (1, 16))
    w = net.constant("w", noise(16, 16))
    a = net.op("FULLY_CONNECTED", [x, w, net.constant("b", noise(16))], [net.tensor("a", (1, 16))])
    b = net.op("FULLY_CONNECTED", [a, w, net.constant("c", noise(16))], [net.tensor("z", (1, 16))])
    data = net.build([b])
    graph, _ = analyzed(data, drawn(2, 1, (16,)))
    assert set(clipped_weights(data, graph, Plan.bare(graph, ["w4a8", "w4a8"]))) == {w}
    assert clipped_weights(data, graph, Plan.bare(graph, ["w4a8", "w8a8"])) == {}, "one buffer, two grids"


def test_an_unknown_method_is_refused(network):
    net, output = conv_net(network)
    data, samples = net.build([output]), drawn(2, 1)
    graph, calibration = analyzed(data, samples)
    with pytest.raises(UsageError, match="called 'best'"):
        choose_ranges(data, graph, calibration, int8(graph), samples, method="best")

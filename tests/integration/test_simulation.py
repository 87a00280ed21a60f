"""A simulated file against the file itself: its grids, its integers, and what the interpreter makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.conversion import converter
from bitplan.analyzer.conversion.agreement import kernel_agreement
from bitplan.analyzer.conversion.dequantized import dequantize, weight_scales_of
from bitplan.analyzer.conversion.simulation import Parameters, Simulation
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.measures.quantization import best_weight_scales, fake_quantize, weight_scales
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.constants import replace_constants
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import Format, Plan
from converter_networks import RELU6, conv_net, inputs, noise

SCHEMES = [
    ["w8a8", "w8a8", "w8a8"], ["w8a16", "w8a16", "w8a16"], ["w16a8", "w16a8", "w16a8"], ["w16a16", "w16a16", "w16a16"],
    ["w4a8", "w8a8", "w4a8"], ["w4a16", "w8a16", "w4a16"], ["w16a16", "float", "w4a8"], ["float", "w16a8", "float"],
]  # fmt: skip


@pytest.fixture
def simulated(calibrated):
    """simulated(data, samples, schemes, io) -> (simulation, emitted file, graph, calibration, plan)."""

    def make(data, samples, schemes, io=Format.FLOAT, *, per_channel=True):
        graph, calibration = calibrated(data, samples)
        plan = Plan.bare(graph, schemes, io, per_channel=per_channel)
        emitted = converter.convert(data, graph, calibration, plan).model
        return Simulation(data, graph, plan, emitted), emitted, graph, calibration, plan

    return make


def answers(simulation, samples, parameters=None):
    """The first compared output of each sample, one by one."""
    return np.stack([simulation([values[None] for values in s], parameters)[0].numpy()[0] for s in samples])


def output_step(emitted):
    """The coarsest scale that the model's output has on its way from the last op, border ops included; 0 in float."""
    model = fb.read(emitted)
    graph = model.subgraphs[0]
    writers = {int(op.outputs[0]): op for op in graph.operators}
    tensor, steps = int(graph.outputs[0]), [0.0]
    while True:
        quantization = graph.tensors[tensor].quantization
        if quantization is not None and quantization.scale is not None:
            steps.append(float(quantization.scale[0]))
        if fb.opcode_name(model, writers[tensor]) not in ("QUANTIZE", "DEQUANTIZE"):
            return max(steps)
        tensor = int(writers[tensor].inputs[0])


@pytest.mark.parametrize("schemes", SCHEMES, ids=" ".join)
@pytest.mark.parametrize("io_format", list(Format))
def test_it_answers_what_the_file_answers(network, simulated, interpret, schemes, io_format):
    net, output = conv_net(network)
    data, samples = net.build([output]), inputs(12)
    simulation, emitted, *_ = simulated(data, samples, schemes, io_format)
    found = answers(simulation, samples)
    wanted = np.stack([row[0] for row in interpret(emitted, samples)])
    step = output_step(emitted)
    if schemes[-1] != "float":
        # Two steps: a value between two of them may be rounded up here and down there, in more than one layer.
        assert np.abs(found - wanted).max() <= 2.01 * step
        assert (np.abs(found - wanted) < 0.01 * step).mean() > 0.6 or "a16" in schemes[-1]
    else:
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("schemes", SCHEMES, ids=" ".join)
def test_its_constants_are_those_of_the_file(network, simulated, schemes, per_channel):
    net, output = conv_net(network)
    data, samples = net.build([output]), inputs()
    simulation, emitted, *_ = simulated(data, samples, schemes, per_channel=per_channel)
    made = simulation.constants(simulation.parameters())
    file, model = fb.read(dequantize(emitted).flatbuffer), fb.read(emitted)
    scales = weight_scales_of(emitted)
    assert len(made) == sum(3 if "16a" in s[:4] and s.startswith("w16") else 2 for s in schemes)
    for tensor, values in made.items():
        wanted = fb.constant(file, file.subgraphs[0].tensors[tensor])
        is_integer = tensor in scales
        assert is_integer == (fb.dtype_name(model.subgraphs[0].tensors[tensor]) != "float32")
        tolerance = 1.01 * scales[tensor].max() if is_integer and wanted.ndim == 1 else 1e-6  # one unit of a bias
        np.testing.assert_allclose(values.numpy(), wanted, rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize("schemes", SCHEMES, ids=" ".join)
def test_its_grids_are_those_of_the_file(network, simulated, schemes):
    net, output = conv_net(network)
    data, samples = net.build([output]), inputs()
    simulation, emitted, *_ = simulated(data, samples, schemes)
    model = fb.read(emitted)
    integers = {
        k: tensor for k, tensor in enumerate(model.subgraphs[0].tensors)
        if fb.constant(model, tensor) is None and fb.dtype_name(tensor) in ("int8", "int16")
    }  # fmt: skip
    assert set(simulation.grids) == set(integers)
    for k, tensor in integers.items():
        grid = simulation.grids[k]
        assert np.float32(grid.scale) == tensor.quantization.scale[0]
        assert grid.zero_point == tensor.quantization.zeroPoint[0]
        assert f"int{grid.bits}" == fb.dtype_name(tensor)
    scales = weight_scales_of(emitted)
    parameters = simulation.parameters()
    for first, readers in simulation.readers.items():
        if readers[0].bits < 32:
            found = np.ravel(simulation.weight_scales(parameters, first).numpy())
            np.testing.assert_array_equal(found, scales[readers[0].placed_weights[0]])


def test_activations_are_rounded_as_the_grid_says():
    from bitplan.analyzer.measures.quantization import AffineParams
    from bitplan.analyzer.measures.straight_through import round_activation

    values = np.random.default_rng(0).normal(size=10000).astype(np.float32) * 3
    for grid in (AffineParams(0.0235, -128, 8), AffineParams(0.017, 7, 8), AffineParams(0.0001, 0, 16)):
        found, wanted = round_activation(values, grid).numpy(), fake_quantize(values, grid)
        off = np.abs(found - wanted) / grid.scale
        assert (off < 0.01).mean() > 0.99
        assert off.max() < 1.01, "a tie may go either way"


@pytest.mark.parametrize("io_format", [Format.FLOAT, Format.INT8])
def test_shared_scales_borders_and_constant_operands(network, simulated, interpret, io_format):
    """RESHAPE and CONCATENATION share scales, c is quantized as an activation, y is read in two formats."""
    net = network()
    x = net.input("x", (1, 6, 6, 3))
    y = net.op("CONV_2D", [x, net.constant("w", noise(4, 3, 3, 3)), net.constant("b", noise(4))],
               [net.tensor("y", (1, 6, 6, 4))], fusedActivationFunction=RELU6)  # fmt: skip
    a = net.op("ADD", [y, net.constant("c", noise(1, 1, 1, 4))], [net.tensor("a", (1, 6, 6, 4))])
    m = net.op("MUL", [y, y], [net.tensor("m", (1, 6, 6, 4))])
    j = net.op("CONCATENATION", [a, m], [net.tensor("j", (1, 6, 6, 8))], axis=3)
    r = net.op("RESHAPE", [j, net.constant("s", np.array([1, 288], np.int32))], [net.tensor("r", (1, 288))])
    data, samples = net.build([r]), inputs(8, (1, 6, 6, 3))
    for schemes in (
        ["w8a8"] * 5,
        ["w8a8", "w8a16", "w8a8", "w8a16", "w8a16"],
        ["w4a8", "w8a8", "float", "w8a8", "w8a8"],
    ):
        simulation, emitted, *_ = simulated(data, samples, schemes, io_format)
        found = answers(simulation, samples)
        wanted = np.stack([row[0] for row in interpret(emitted, samples)])
        off = np.abs(found - wanted) / output_step(emitted)
        assert (off < 0.01).mean() > 0.9, schemes
        # y, once rounded the other way, is one step of int8 off: 256 of int16.
        assert off.max() <= (600 if schemes[-1] == "w8a16" else 3), schemes


def test_what_is_read_in_two_ways_is_left_as_it_is(network, simulated):
    net = network()
    x = net.input("x", (1, 8))
    w = net.constant("w", noise(8, 8))
    y = net.op("FULLY_CONNECTED", [x, w, net.constant("b", noise(8))], [net.tensor("y", (1, 8))])
    z = net.op("FULLY_CONNECTED", [y, w, -1], [net.tensor("z", (1, 8))])
    data, samples = net.build([z]), inputs(4, (1, 8))
    for schemes, shared in ((["w8a8", "w8a8"], True), (["w4a8", "w8a8"], False)):
        simulation, *_ = simulated(data, samples, schemes)
        assert set(simulation.parameters().weights) == ({w} if shared else set())
        assert len(simulation.parameters().biases) == 1
        assert np.isfinite(answers(simulation, samples, simulation.parameters())).all()


def test_a_switched_off_channel_keeps_its_bias(network, simulated, interpret):
    net = network()
    x = net.input("x", (1, 6, 6, 3))
    values, bias = noise(4, 3, 3, 3), noise(4)
    values[1], values[2] = 0.0, values[2] * 1e-20
    w, b = net.constant("w", values), net.constant("b", bias)
    y = net.op("CONV_2D", [x, w, b], [net.tensor("y", (1, 6, 6, 4))])
    data, samples = net.build([y]), inputs(4, (1, 6, 6, 3))
    simulation, emitted, *_ = simulated(data, samples, ["w8a8"])
    found = answers(simulation, samples, simulation.parameters())
    np.testing.assert_allclose(found[..., 1], np.broadcast_to(bias[1], found[..., 1].shape), atol=output_step(emitted))
    wanted = np.stack([row[0] for row in interpret(emitted, samples)])
    assert np.abs(found - wanted).max() <= 1.01 * output_step(emitted)


def test_gradients_reach_every_parameter(network, simulated):
    import tensorflow as tf

    net, output = conv_net(network)
    data, samples = net.build([output]), inputs()
    for schemes in SCHEMES:
        simulation, *_ = simulated(data, samples, schemes)
        parameters = simulation.parameters()
        parameters = Parameters(
            {t: tf.Variable(v) for t, v in parameters.weights.items()},
            {t: tf.Variable(v) for t, v in parameters.biases.items()},
            {
                t: tf.Variable(best_weight_scales(v, simulation.readers[t][0].axis, 4, [0.6, 0.8]))
                for t, v in parameters.weights.items()
                if simulation.readers[t][0].bits == 4
            },
        )
        everything = [*parameters.weights.values(), *parameters.biases.values(), *parameters.scales.values()]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(simulation([np.stack([s[0] for s in samples])], parameters)[0]))
        for gradient in tape.gradient(loss, everything):
            assert gradient is not None
            assert float(tf.reduce_max(tf.abs(gradient))) > 0


def test_the_gradient_is_that_of_the_float_network_where_rounding_is_fine(network, simulated):
    """With 16-bit weights and activations the straight-through gradient is nearly the true one."""
    import tensorflow as tf

    net, output = conv_net(network)
    data, samples = net.build([output]), inputs()
    batch, found = np.stack([s[0] for s in samples]), {}
    for schemes in (["w16a16"] * 3, ["float"] * 3):
        simulation, *_ = simulated(data, samples, schemes)
        start = simulation.parameters()
        parameters = Parameters({t: tf.Variable(v) for t, v in start.weights.items()}, start.biases)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(simulation([batch], parameters)[0]))
        gradients = tape.gradient(loss, list(parameters.weights.values()))
        found[schemes[0]] = dict(zip(parameters.weights, gradients, strict=True))
    for tensor, gradient in found["float"].items():
        off = np.linalg.norm(found["w16a16"][tensor] - gradient) / np.linalg.norm(gradient)
        assert off < 0.02


def test_the_best_scales_have_no_larger_error_than_any_other(network):
    weights = noise(5, 40).astype(np.float32)
    shares = np.linspace(0.3, 1, 15)

    def error(scales):
        return np.square(np.clip(np.rint(weights / scales), -7, 7) * scales - weights).sum(axis=1)

    best = error(best_weight_scales(weights, 0, 4, shares.tolist()))
    for share in shares:
        assert (best <= error(weight_scales(weights, 0, 4) * np.float32(share)) + 1e-9).all()


def test_constants_that_share_a_buffer_go_on_doing_so_where_they_stay_equal(network):
    net = network()
    x = net.input("x", (1, 8))
    w = net.constant("w", noise(8, 8))
    v = net.constant("v", np.zeros((8, 8), np.float32), net.buffer(w))
    y = net.op("FULLY_CONNECTED", [x, w, -1], [net.tensor("y", (1, 8))])
    data = net.build([net.op("FULLY_CONNECTED", [y, v, -1], [net.tensor("z", (1, 8))])])
    new = noise(8, 8) + 1

    def read(model, tensor):
        parsed = fb.read(model)
        return fb.constant(parsed, parsed.subgraphs[0].tensors[tensor])

    together, apart = replace_constants(data, {w: new, v: new}), replace_constants(data, {w: new})
    assert len(together) == len(data) < len(apart)
    for model, second in ((together, new), (apart, noise(8, 8))):
        np.testing.assert_array_equal(read(model, w), new)
        np.testing.assert_array_equal(read(model, v), second)
    with pytest.raises(ValueError, match="no float32 constant of shape"):
        replace_constants(data, {w: new[:4]})


def test_the_simulation_is_as_close_to_xnnpack_as_the_reference_kernels_are(network, simulated):
    net, output = conv_net(network)
    data = net.build([net.op("SOFTMAX", [output], [net.tensor("classes", (1, 4))])])
    images = np.stack([s[0][0] for s in inputs(300)])
    spec = InputSpec("in", (1, 8, 8, 3), "float32")
    samples = load_samples(images, (spec,), Preprocessing(), warn=print)
    assert build_graph(data).is_classifier
    for schemes in SCHEMES[:6]:
        _, emitted, graph, _, plan = simulated(data, inputs(), [*schemes, "w8a8" if "8" in schemes[2][-1] else "w8a16"])
        found = kernel_agreement(data, graph, plan, emitted, samples)
        assert found.samples == 300
        assert found.simulated_xnnpack.agreement >= found.reference_xnnpack.agreement - 0.01, schemes
        assert found.simulated_xnnpack.nmse < 1e-3

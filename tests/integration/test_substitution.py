"""A quantized file's numbers in the float network against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.measures.quantized_file import QuantizedFile, as_parent
from bitplan.analyzer.measures.substitution import Ingredients, Substituted
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.constants import replace_constants
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.subgraph import Cutter
from converter_networks import conv_net, inputs
from samples import Arrays
from small_networks import interpret

pytestmark = pytest.mark.slow

SAMPLES = Arrays(np.concatenate([row[0] for row in inputs(6)]))


@pytest.fixture
def pair(network, convert):
    """pair(schemes) -> the float network, its graph, and the file."""

    def make(*schemes):
        net, out = conv_net(network)
        data = net.build([out])
        return data, build_graph(data), convert(data, inputs(), list(schemes)).model

    return make


def as_uint8(data):
    """An int8 file whose activations and weights are uint8: every integer and zero point 128 more."""
    model = fb.read(data)
    enum = fb.schema().TensorType
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == enum.INT8 and tensor.quantization is not None and tensor.quantization.scale is not None:
            values = fb.constant(model, tensor)
            if values is not None:
                fb.set_constant(model, tensor, (values.astype(np.int16) + 128).astype(np.uint8))
            tensor.type = enum.UINT8
            tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) + 128
    return fb.write(model)


def answers(data, keep=None):
    return np.concatenate([row[0].reshape(1, -1) for row in interpret(data, SAMPLES.rows(), keep)])


@pytest.mark.parametrize(
    "schemes",
    [
        ("w8a8",) * 3,
        ("w8a16",) * 3,
        ("w16a8", "w8a8", "w16a16"),
        ("w4a8", "float", "w8a16"),
        ("float", "w8a8", "float"),
    ],
)
def test_all_numbers_of_a_file_give_what_its_kernels_give(pair, schemes):
    """Up to a step or two of the last tensor, where integer kernels round a tie or a product otherwise."""
    data, graph, emitted = pair(*schemes)
    file = QuantizedFile(emitted, graph, data)
    network = Substituted(data, graph)
    (found,) = network.outputs(SAMPLES, file.ingredients)
    wanted, reference = answers(emitted), answers(data)
    error = float(np.square(wanted - reference).mean())
    beyond = float(np.square(found.reshape(wanted.shape) - wanted).mean())
    assert error > 0
    assert beyond < 0.02 * error, "what the kernels do beyond the file's numbers is small"
    (bare,) = network.outputs(SAMPLES, Ingredients())
    np.testing.assert_allclose(bare.reshape(reference.shape), reference, rtol=1e-4, atol=1e-4)


def test_a_uint8_file_holds_the_same_numbers(pair):
    data, graph, emitted = pair("w8a8", "w8a8", "w8a8")
    first, second = (QuantizedFile(file, graph, data).ingredients for file in (emitted, as_uint8(emitted)))
    assert first.activations.keys() == second.activations.keys()
    assert all(first.activations[t].equals(second.activations[t]) for t in first.activations)
    for op, weights in first.weights.items():
        np.testing.assert_array_equal(weights, second.weights[op])
    assert {grid.low for grid in second.weight_grids.values()} == {0}


def test_weights_alone_are_those_of_a_float_network_with_them(pair):
    data, graph, emitted = pair("w4a8", "w8a8", "w8a8")
    weights = QuantizedFile(emitted, graph, data).ingredients.weights
    replaced = replace_constants(data, {graph.ops[op].weights: values for op, values in weights.items()})
    (found,) = Substituted(data, graph).outputs(SAMPLES, Ingredients(weights=weights))
    np.testing.assert_allclose(found.reshape(6, -1), answers(replaced), rtol=1e-4, atol=1e-4)


def test_an_activation_alone_is_what_lies_behind_it_with_rounded_values(pair):
    data, graph, emitted = pair("w8a8", "w8a8", "w8a8")
    tensor = graph.ops[0].outputs[0]
    grid = QuantizedFile(emitted, graph, data).ingredients.activations[tensor]
    values = np.concatenate([row[0] for row in interpret(data, SAMPLES.rows(), [tensor])])
    behind = Cutter(data).suffix(tensor, graph.compared).flatbuffer
    wanted = [row[0].ravel() for row in interpret(behind, [[value[None]] for value in grid.round(values)])]
    (found,) = Substituted(data, graph).outputs(SAMPLES, Ingredients(activations={tensor: grid}))
    np.testing.assert_allclose(found.reshape(6, -1), wanted, rtol=1e-4, atol=1e-4)


def test_clipping_and_rounding_come_apart(pair):
    data, graph, emitted = pair("w8a8", "w8a8", "w8a8")
    tensor = graph.ops[0].outputs[0]
    grid = QuantizedFile(emitted, graph, data).ingredients.activations[tensor]
    narrow = Ingredients(activations={tensor: type(grid)(grid.scale / 4, -128, -128, 127, 8)})  # 0 to 1.5 of 6
    network = Substituted(data, graph)
    (both,), (clipped,), (rounded,), (neither,) = (
        network.outputs(SAMPLES, narrow, clipping=clips, rounding=rounds)
        for clips, rounds in ((True, True), (True, False), (False, True), (False, False))
    )
    (bare,) = network.outputs(SAMPLES, Ingredients())
    np.testing.assert_array_equal(neither, bare)
    clip, step = np.abs(clipped - bare).max(), np.abs(rounded - bare).max()
    assert 0 < step < clip / 10
    assert np.abs(both - clipped).max() < clip / 10


def test_values_of_the_float_network_save_work_and_change_nothing(pair):
    data, graph, emitted = pair("w8a8", "w8a8", "w8a8")
    everything = QuantizedFile(emitted, graph, data).ingredients
    last = Ingredients(weights={2: everything.weights[2]})
    network = Substituted(data, graph)
    (inputs_of_batch,) = network.batches(SAMPLES)
    floats = network.float_values(inputs_of_batch)
    for parts in (everything, last, Ingredients()):
        (fresh,), (reused,) = network.run(inputs_of_batch, parts), network.run(inputs_of_batch, parts, floats)
        np.testing.assert_array_equal(fresh.numpy(), reused.numpy())


def test_a_file_with_its_channels_elsewhere_is_turned_to_its_parent(network):
    net = network()
    x = net.input("in", (1, 8, 8, 3))
    out = net.tensor("y", (1, 8, 8, 3))
    net.op("RELU", [x], [out])
    data = net.build([out])
    other = network()
    y = other.input("in", (1, 3, 8, 8))
    result = other.tensor("y", (1, 3, 8, 8))
    other.op("RELU", [y], [result])
    turned = as_parent(other.build([result]), build_graph(data))
    np.testing.assert_array_equal(answers(turned), answers(data))

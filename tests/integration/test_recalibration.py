"""Files whose numbers were overwritten, against converting anew: byte for byte."""

from __future__ import annotations

import random

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.counterfactual import int8_everywhere
from bitplan.analyzer.conversion.recalibration import PROOFS, Recalibration
from bitplan.analyzer.conversion.verification import with_compared
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import Calibration, Format, Plan, Range
from conftest_data import DEMO
from converter_networks import noise
from test_conversion_fuzz import make

pytestmark = pytest.mark.slow

FILES = PROOFS + 5
JOINING = ("branching_conv_fc", "two_inputs_concatenation")
"""Networks with an op that joins activations, which must share a scale."""


def calibrations(graph, seed):
    """Ranges of all shapes: wide, one-sided, equal to a neighbour's, and nothing at all."""
    generator = np.random.default_rng(seed)
    tensors = {t for op in graph.ops for t in (*graph.activations_in(op), *graph.activations_out(op))}
    for _ in range(FILES):
        ranges = {}
        for tensor in sorted({*tensors, *graph.inputs}):
            ends = np.sort(generator.normal(size=2) * 10.0 ** generator.uniform(-3, 2))
            low, high = [ends, [0.0, 6.0], [0.0, 0.0], [-1.0, 1.0]][generator.choice(4, p=[0.6, 0.2, 0.1, 0.1])]
            ranges[tensor] = Range(tensor, float(low), float(high), 0.0, 1.0, 1)
        yield Calibration(ranges, {}, 1, "")


def check(data, graph, io=Format.FLOAT, names=None, seed=0):
    """Whether every file was converted."""
    plan = Plan.bare(graph, names or int8_everywhere(graph), io)
    made = Recalibration(data, graph, plan)
    shown = Recalibration(data, graph, plan, lambda file: with_compared(file, graph))
    for calibration in calibrations(graph, seed):
        wanted = convert(data, graph, calibration, plan).model
        assert made.file(calibration) == wanted
        assert shown.file(calibration) == with_compared(wanted, graph)
    return made.converted_only


@pytest.mark.parametrize("seed", range(12))
def test_made_up_networks(network, seed):
    data, _ = make(network, random.Random(seed))
    graph = build_graph(data)
    kinds = {op.opcode for op in graph.ops}
    assert check(data, graph, seed=seed) or "CONCATENATION" not in kinds


@pytest.mark.parametrize("io", [Format.FLOAT, Format.INT8])
def test_the_demo_is_overwritten_in_float_and_int8_from_outside(io):
    data = load_float(str(DEMO / "fashion_mobilenet.tflite")).flatbuffer
    graph = build_graph(data)
    assert check(data, graph, io) is False
    names = int8_everywhere(graph)
    assert check(data, graph, io, [*names[:3], "float", *names[4:]], seed=1) is False


def conv_net(network, weights, bias):
    net = network()
    x, y, z = net.input("x", (1, 4, 4, 2)), net.tensor("y", (1, 4, 4, 3)), net.tensor("z", (1, 4, 4, 3))
    net.op("CONV_2D", [x, net.constant("w", weights), bias(net)], [y], strideH=1, strideW=1)
    net.op("RELU", [y], [z])
    data = net.build([z])
    return data, build_graph(data)


def test_channels_smaller_than_their_bias_are_widened_and_narrowed_again(network):
    weights = noise(3, 1, 1, 2)
    weights[1] *= 1e-6
    weights[2] = 0
    data, graph = conv_net(network, weights, lambda net: net.constant("b", np.array([1, 1, 2], np.float32)))
    assert check(data, graph) is False
    assert check(data, graph, seed=3) is False


def test_what_a_network_shares_is_converted(network):
    net = network()
    x, y, z = (net.tensor(name, (1, 4)) for name in ("a", "y", "z"))
    x = net.input("x", (1, 4))
    bias = net.constant("b", noise(4))
    net.op("FULLY_CONNECTED", [x, net.constant("w", noise(4, 4)), bias], [y])
    net.op("FULLY_CONNECTED", [y, net.constant("v", noise(4, 4)), bias], [z])
    data = net.build([z])
    assert check(data, build_graph(data)) is True


def test_a_copy_that_is_not_what_conversion_makes_is_never_used(network, monkeypatch):
    from bitplan.analyzer.conversion import recalibration

    data, graph = conv_net(network, noise(3, 1, 1, 2), lambda net: net.constant("b", noise(3)))
    monkeypatch.setattr(recalibration.q, "int8_scale", lambda low, high: (high - low + 1e-3) / 255)
    assert check(data, graph) is True


def test_networks_people_have(shared):
    for name in ("resnet8_cifar10_float", "branching_conv_fc", "two_inputs_concatenation", "duplicated_tensor_names"):
        data = load_float(str(shared / "models" / "public" / f"{name}.tflite")).flatbuffer
        assert check(data, build_graph(data)) is (name in JOINING), name

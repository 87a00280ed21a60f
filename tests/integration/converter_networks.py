"""Networks and inputs that the converter's tests share."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.conversion import converter
from bitplan.analyzer.conversion.type_check import check_types
from bitplan.analyzer.schema import Format, Plan

RELU6 = 3
HOSTILE = ["a.b*c+(d)[e]{1}|$^", "l\\1\n", "net/x;net/y;", "größe/层🙂", "x" * 12000 + "1", "x" * 12000 + "2"]
NEIGHBOURS = ["block_1", "block_16", "xblock_1"]


def rng():
    return np.random.default_rng(11)


def noise(*shape):
    return rng().normal(size=shape).astype(np.float32)


def conv_net(network, names=("a", "b", "c")):
    """conv -> depthwise -> fully connected, biases everywhere."""
    net = network()
    x = net.input("in", (1, 8, 8, 3))
    w = [noise(6, 3, 3, 3), noise(1, 3, 3, 6), noise(4, 384)]
    a, b, c = (net.tensor(n, s) for n, s in zip(names, [(1, 8, 8, 6), (1, 8, 8, 6), (1, 4)], strict=True))
    net.op("CONV_2D", [x, net.constant("w0", w[0]), net.constant("b0", noise(6))], [a], fusedActivationFunction=RELU6)
    net.op(
        "DEPTHWISE_CONV_2D", [a, net.constant("w1", w[1]), net.constant("b1", noise(6))], [b],
        fusedActivationFunction=RELU6,
    )  # fmt: skip
    net.op("FULLY_CONNECTED", [b, net.constant("w2", w[2]), net.constant("b2", noise(4))], [c])
    return net, c


def quantizer_alone(conversion, recipe=None):
    """What litert-quantizer's public interface makes of the same arguments."""
    from litert_quantizer import quantizer

    statistics = {n: {"min": np.array(lo), "max": np.array(hi)} for n, (lo, hi) in conversion.ranges.items()}
    work = quantizer.Quantizer(conversion.prepared, recipe or list(conversion.recipe))
    return bytes(work.quantize(statistics, enable_progress_report=False).quantized_model)


def inputs(count=6, shape=(1, 8, 8, 3)):
    generator = np.random.default_rng(5)
    return [[generator.normal(size=shape).astype(np.float32)] for _ in range(count)]


@pytest.fixture
def convert(calibrated):
    """convert(data, samples, schemes, io) -> Conversion, its types checked."""

    def run(data, samples, schemes, io=Format.FLOAT, *, per_channel=True):
        graph, calibration = calibrated(data, samples)
        plan = Plan.bare(graph, schemes, io, per_channel=per_channel)
        conversion = converter.convert(data, graph, calibration, plan)
        assert check_types(conversion.model, graph, plan) == ()
        return conversion

    return run

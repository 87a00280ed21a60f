"""Weights with one scale for the tensor: the integers of the file, what they compute, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import bitplan as bp
import numpy as np
import pytest
from bitplan.analyzer.conversion import converter
from bitplan.analyzer.conversion.type_check import check_types
from bitplan.analyzer.errors import DataError
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.schema import Format, Plan
from converter_networks import RELU6, conv_net, inputs, noise, quantizer_alone

EPSILON = 1e-9
"""litert-quantizer takes no weights for smaller."""


def weights_of(model):
    """(integers, scales, zero points) of the weights of every op that has some, in order."""
    parsed = fb.read(model)
    tensors = parsed.subgraphs[0].tensors
    found = []
    for op in parsed.subgraphs[0].operators:
        if fb.opcode_name(parsed, op) in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
            tensor = tensors[op.inputs[1]]
            quantization = tensor.quantization
            found.append((fb.constant(parsed, tensor), quantization.scale, quantization.zeroPoint))
    return found


def quantized(values, bits):
    """Integers and the one scale of symmetric weights, from the definition."""
    top = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(values).max(), np.float32(EPSILON)) / np.float32(top)
    return np.clip(np.rint(values / scale), -top, top), scale


@pytest.fixture
def uneven(network):
    """conv -> depthwise -> dense whose channels differ 100-fold, as after BatchNorm; and its float weights."""
    spread = np.geomspace(0.03, 3, 6).astype(np.float32)
    values = [noise(6, 3, 3, 3) * spread[:, None, None, None], noise(1, 3, 3, 6) * spread, noise(4, 384)]
    net = network()
    x = net.input("in", (1, 8, 8, 3))
    a, b, c = (net.tensor(n, s) for n, s in zip("abc", [(1, 8, 8, 6), (1, 8, 8, 6), (1, 4)], strict=True))
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    for k, (kind, source, target) in enumerate(zip(kinds, (x, a, b), (a, b, c), strict=True)):
        constants = [net.constant(f"w{k}", values[k]), net.constant(f"b{k}", noise((6, 6, 4)[k]))]
        net.op(kind, [source, *constants], [target], fusedActivationFunction=RELU6 if k < 2 else 0)
    return net.build([c]), values


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16", "w4a8", "w4a16"])
def test_the_files_integers_are_those_of_one_scale_for_the_tensor(uneven, convert, scheme):
    data, values = uneven
    bits = int(scheme[1])
    middle = scheme.replace("w4", "w8")  # depthwise has no 4 bits
    found = weights_of(convert(data, inputs(), [scheme, middle, scheme], per_channel=False).model)
    for given, (integers, scales, zeros), width in zip(values, found, (bits, 8, bits), strict=True):
        expected, scale = quantized(given, width)
        assert list(scales) == [scale]
        assert list(zeros) == [0]
        np.testing.assert_array_equal(integers, expected)


@pytest.mark.parametrize("scheme", ["w16a8", "w16a16"])
def test_both_halves_of_a_split_have_one_scale_each(uneven, convert, scheme):
    data, values = uneven
    found = weights_of(convert(data, inputs(), [scheme] * 3, per_channel=False).model)
    for k, given in enumerate(values):
        (high, (high_scale,), _), (low, (low_scale,), _) = found[2 * k : 2 * k + 2]
        np.testing.assert_array_equal(high, quantized(given, 8)[0])
        step = np.abs(given.astype(np.float64)).max() / 127
        rest = (given - high.astype(np.float64) * step).astype(np.float32)
        np.testing.assert_array_equal(low, quantized(rest, 8)[0])
        kept = high * np.float64(high_scale) + low * np.float64(low_scale)
        assert np.abs(kept - given).max() < step / 250


def with_rounded_weights(data, values, schemes):
    """The float network with the weights that the schemes' integers stand for; those of 16 bits as they are."""
    model = fb.read(data)
    for k, (given, scheme) in enumerate(zip(values, schemes, strict=True)):
        if scheme[:2] in ("w4", "w8"):
            integers, scale = quantized(given, int(scheme[1]))
            tensor = next(t for t in model.subgraphs[0].tensors if t.name == f"w{k}".encode())
            fb.set_constant(model, tensor, (integers * scale).astype(np.float32))
    return fb.write(model)


@pytest.mark.parametrize("io_format", list(Format))
@pytest.mark.parametrize(
    ("schemes", "least_db"),
    [(("w8a8",) * 3, 24), (("w8a16",) * 3, 65), (("w16a8",) * 3, 24), (("w16a16",) * 3, 65),
     (("w4a8", "w8a8", "w4a8"), 24), (("w4a16", "w8a16", "w4a16"), 65), (("w16a16", "float", "w8a8"), 24),
     (("float", "w16a16", "float"), 65)],
)  # fmt: skip
def test_a_file_computes_what_the_float_network_does_with_its_weights(
    uneven, convert, interpret, sqnr_db, schemes, least_db, io_format
):
    """It is calibrated with those weights too, so that nothing but the activations' rounding lies between them."""
    rounded, samples = with_rounded_weights(*uneven, schemes), inputs()
    model = convert(rounded, samples, schemes, io_format, per_channel=False).model
    limit = min(least_db, 24) if io_format is Format.INT8 else least_db
    assert sqnr_db(interpret(rounded, samples), interpret(model, samples)) > limit


def test_one_scale_for_unlike_channels_costs_accuracy_that_a_split_wins_back(uneven, convert, interpret, sqnr_db):
    data, samples = uneven[0], inputs()
    reference = interpret(data, samples)

    def db(scheme, per_channel):
        return sqnr_db(
            reference, interpret(convert(data, samples, [scheme] * 3, per_channel=per_channel).model, samples)
        )

    assert db("w8a16", per_channel=True) > db("w8a16", per_channel=False) + 5
    assert db("w16a16", per_channel=False) > db("w8a16", per_channel=True) + 20


def test_a_bias_beside_tiny_weights_still_fits(network, convert, interpret):
    """All weights switched off: the bias alone says what the scale must be."""
    net = network()
    x = net.input("x", (1, 8))
    w, b = (
        net.constant("w", np.full((4, 8), 1e-20, np.float32)),
        net.constant("b", np.array([0.5, 2.5, -1.5, 0.25], "f4")),
    )
    y = net.op("FULLY_CONNECTED", [x, w, b], [net.tensor("y", (1, 4))])
    data, samples = net.build([y]), inputs(4, (1, 8))
    for scheme in ("w8a8", "w8a16", "w4a8", "w16a8", "w16a16"):
        conversion = convert(data, samples, [scheme], per_channel=False)
        for row in interpret(conversion.model, samples):
            np.testing.assert_allclose(row[0][0], [0.5, 2.5, -1.5, 0.25], atol=0.02)
        again = quantizer_alone(conversion)
        assert fb.write(fb.read(again)) == conversion.model, "the widened range is in what the quantizer is given"


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
def test_transposed_convolutions_run_with_one_scale(network, convert, interpret, sqnr_db, scheme):
    net = network()
    x = net.input("x", (1, 4, 4, 3))
    shape = net.constant("shape", np.array([1, 8, 8, 2], np.int32))
    constants = [net.constant("w", noise(2, 3, 3, 3)), x, net.constant("b", noise(2))]
    y = net.op("TRANSPOSE_CONV", [shape, *constants], [net.tensor("y", (1, 8, 8, 2))], strideW=2, strideH=2)
    data, samples = net.build([y]), inputs(4, (1, 4, 4, 3))
    conversion = convert(data, samples, [scheme], per_channel=False)
    assert sqnr_db(interpret(data, samples), interpret(conversion.model, samples)) > 30


# --- the type check ---------------------------------------------------------------------------------------------------


def test_scales_for_each_channel_where_one_was_planned_are_reported(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    plans = {kind: Plan.bare(graph, ["w8a8", "w16a8", "w8a16"], per_channel=kind) for kind in (True, False)}
    files = {kind: converter.convert(data, graph, calibration, plan).model for kind, plan in plans.items()}
    assert check_types(files[True], graph, plans[True]) == check_types(files[False], graph, plans[False]) == ()
    many = check_types(files[True], graph, plans[False])
    assert {m.expected for m in many} == {"a scale and a zero point"}
    assert [m.tensor for m in many if m.tensor.startswith("w") or ".w" in m.tensor] == ["w0", "w1", "1.lo.w", "w2"]
    assert [m.tensor for m in many if m.tensor.startswith("b") or ".b" in m.tensor] == ["b0", "b1", "1.lo.b", "b2"]
    one = check_types(files[False], graph, plans[True])
    assert [(m.expected, m.found) for m in one[:2]] == [
        ("6 scales along axis 0", "1 along axis 0"), ("6 scales along axis 3", "1 along axis 0")
    ]  # fmt: skip


def test_a_zero_point_beside_the_one_scale_is_reported(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    plan = Plan.bare(graph, ["w8a8"] * 3, per_channel=False)
    parsed = fb.read(converter.convert(data, graph, calibration, plan).model)
    weights = next(t for t in parsed.subgraphs[0].tensors if t.name == b"w0")
    weights.quantization.zeroPoint = np.array([3])
    (found,) = check_types(fb.write(parsed), graph, plan)
    assert (found.tensor, found.expected) == ("w0", "weights with zero point 0")


def test_without_partial_sums_of_such_a_split_nothing_is_guessed(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    poorer = replace(calibration, per_tensor_sums={})
    plan = Plan.bare(graph, ["w16a8"] * 3, per_channel=False)
    with pytest.raises(DataError, match="partial sum of"):
        converter.convert(data, graph, poorer, plan)


def test_an_analysis_with_one_scale_for_the_tensor_measures_that(uneven):
    data, _ = uneven
    samples = np.random.default_rng(4).normal(size=(6, 8, 8, 3)).astype(np.float32)
    tables = [
        bp.analyze(data, samples, per_channel=per_channel, left_float=False).sensitivity
        for per_channel in (True, False)
    ]
    worst = [max(m.error.nmse for m in t.measurements if m.source.variant == "w8") for t in tables]
    assert [table.per_channel for table in tables] == [True, False]
    assert worst[1] > 1.3 * worst[0]

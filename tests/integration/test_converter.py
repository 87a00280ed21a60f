"""From plans to files, on small networks with one trap each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.conversion import converter
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.schema import Format, Plan
from converter_networks import RELU6, conv_net, inputs, noise, quantizer_alone

# --- formats ----------------------------------------------------------------------------------------------------------

SCHEMES = [
    (("w8a8", "w8a8", "w8a8"), 25), (("w8a16", "w8a16", "w8a16"), 34), (("w16a8", "w16a8", "w16a8"), 25),
    (("w16a16", "w16a16", "w16a16"), 70), (("w4a8", "w8a8", "w4a8"), 10), (("w4a16", "w8a16", "w4a16"), 10),
    (("w16a16", "float", "w16a16"), 70), (("float", "w16a16", "float"), 70), (("w16a8", "w16a16", "float"), 25),
]  # fmt: skip


@pytest.mark.parametrize(("schemes", "least_db"), SCHEMES)
@pytest.mark.parametrize("io_format", list(Format))
def test_every_scheme_runs_and_is_as_close_to_float_as_its_bits_allow(
    network, convert, interpret, sqnr_db, schemes, least_db, io_format
):
    net, output = conv_net(network)
    data, samples = net.build([output]), inputs()
    model = convert(data, samples, schemes, io_format).model
    limit = min(least_db, 25) if io_format is Format.INT8 else least_db
    assert sqnr_db(interpret(data, samples), interpret(model, samples)) > limit


def test_sixteen_bit_weights_with_eight_bit_activations_beat_eight_bit_weights(network, convert, interpret, sqnr_db):
    """One channel's weights span a factor of 1000: what int8 cannot hold."""
    net = network()
    x = net.input("x", (1, 8, 8, 4))
    values = noise(1, 3, 3, 4) * 0.002
    values[0, 1, 1] = 1.0
    w, b = net.constant("w", values), net.constant("b", np.full(4, -0.9, np.float32))
    y = net.op("DEPTHWISE_CONV_2D", [x, w, b], [net.tensor("y", (1, 8, 8, 4))], fusedActivationFunction=RELU6)
    data = net.build([y])
    samples = [[np.abs(s[0])] for s in inputs(4, (1, 8, 8, 4))]
    reference = interpret(data, samples)
    found = {s: sqnr_db(reference, interpret(convert(data, samples, [s]).model, samples)) for s in ("w8a16", "w16a16")}
    assert found["w16a16"] > found["w8a16"] + 25


def test_the_split_keeps_the_integers_that_int8_alone_has(network, convert):
    net, output = conv_net(network)
    data, samples = net.build([output]), inputs()
    plain, split = (convert(data, samples, [s] * 3).model for s in ("w8a8", "w16a8"))

    def weights(model, op):
        parsed = fb.read(model)
        tensors = parsed.subgraphs[0].tensors
        return fb.constant(parsed, tensors[parsed.subgraphs[0].operators[op].inputs[1]])

    ops = [k for k, op in enumerate(fb.read(split).subgraphs[0].operators) if len(op.inputs) == 3]
    for position in range(3):
        np.testing.assert_array_equal(weights(plain, position + 1), weights(split, ops[2 * position]))


def test_zero_channels_and_channels_that_int8_holds_exactly_stay_finite(network, convert, interpret, sqnr_db):
    net = network()
    x = net.input("x", (1, 8))
    values = np.zeros((4, 8), np.float32)
    values[1, 0], values[2] = 127.0, np.arange(8)
    w, b = net.constant("w", values), net.constant("b", np.array([3, 0, -2, 0], np.float32))
    y = net.op("FULLY_CONNECTED", [x, w, b], [net.tensor("y", (1, 4))])
    data, samples = net.build([y]), inputs(4, (1, 8))
    for scheme in ("w4a8", "w8a8", "w8a16", "w16a8", "w16a16"):
        model = convert(data, samples, [scheme]).model
        parsed = fb.read(model)
        for tensor in parsed.subgraphs[0].tensors:
            scales = tensor.quantization.scale if tensor.quantization is not None else None
            assert scales is None or (np.isfinite(scales).all() and (np.asarray(scales) > 0).all())
        assert sqnr_db(interpret(data, samples), interpret(model, samples)) > 25


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16", "w4a8", "w16a8", "w16a16"])
def test_a_channel_whose_weights_are_switched_off_keeps_its_bias(network, convert, interpret, scheme):
    """BatchNorm leaves weights of 1e-20 beside biases of 0.1 to 2; at the weights' own scale they do not fit int32."""
    net = network()
    x = net.input("x", (1, 8))
    values = noise(4, 8)
    values[1], values[2] = 1e-20, 0.0
    w, b = net.constant("w", values), net.constant("b", np.array([0.5, 2.5, -1.5, 0.25], np.float32))
    y = net.op("FULLY_CONNECTED", [x, w, b], [net.tensor("y", (1, 4))])
    data, samples = net.build([y]), inputs(4, (1, 8))
    model = convert(data, samples, [scheme]).model
    for row in interpret(model, samples):
        np.testing.assert_allclose(row[0][0, 1:3], [2.5, -1.5], atol=0.08)


def test_a_bias_that_fits_leaves_the_weights_at_their_own_scale(network, convert):
    net, output = conv_net(network)
    parsed = fb.read(convert(net.build([output]), inputs(), ["w8a8"] * 3).model)
    for op in parsed.subgraphs[0].operators[1:4]:
        values = fb.constant(parsed, parsed.subgraphs[0].tensors[op.inputs[1]])
        axis = 3 if values.shape[0] == 1 and values.ndim == 4 else 0
        largest = np.abs(np.moveaxis(values.astype(int), axis, 0).reshape(values.shape[axis], -1)).max(1)
        assert (largest == 127).all()


# --- graphs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("io_format", list(Format))
def test_an_output_that_other_ops_read_too_is_returned_in_the_io_format(
    network, convert, interpret, sqnr_db, io_format
):
    """The quantizer takes the border tensor of another reader for the output, and its mark for outputs for an op."""
    net = network()
    x = net.input("x", (1, 16))
    w = net.constant("w", noise(16, 16))
    y = net.op("FULLY_CONNECTED", [x, w, -1], [net.tensor("y", (1, 16))])
    z = net.op("ADD", [y, x], [net.tensor("z", (1, 16))])
    u = net.op("MUL", [z, y], [net.tensor("u", (1, 16))])
    data, samples = net.build([y, u, z]), inputs(4, (1, 16))
    reference, names = interpret(data, samples), ("w8a8", "w8a16", "float")
    for schemes in [(a, b, c) for a in names for b in names for c in names]:
        model = convert(data, samples, schemes, io_format).model
        parsed = fb.read(model)
        returned = [int(item.tensorIndex) for item in parsed.signatureDefs[0].outputs]
        assert returned == [int(t) for t in parsed.subgraphs[0].outputs]
        assert [fb.text(parsed.subgraphs[0].tensors[t].name) for t in returned] == ["y", "u", "z"]
        assert sqnr_db(reference, interpret(model, samples)) > 25, schemes


@pytest.mark.parametrize("io_format", list(Format))
def test_tensors_that_nothing_reads_get_their_type_too(network, convert, interpret, sqnr_db, io_format):
    net = network()
    x, _ = net.input("x", (1, 8)), net.input("idle", (1, 8))
    parts = [net.tensor(f"part{k}", (1, 4)) for k in range(2)]
    axis = net.constant("axis", np.array(1, np.int32))
    net.op("SPLIT", [axis, x], parts, numSplits=2)
    y = net.op("ADD", [parts[0], parts[0]], [net.tensor("y", (1, 4))])
    net.op("MUL", [y, y], [net.tensor("in vain", (1, 4))])
    data = net.build([y])
    samples = [[s[0], s[0]] for s in inputs(4, (1, 8))]
    for schemes in (["w8a8"] * 3, ["w8a16", "w8a8", "float"], ["float", "float", "w8a16"]):
        model = convert(data, samples, schemes, io_format).model
        assert sqnr_db(interpret(data, samples), interpret(model, samples)) > 25
        assert b"guard" not in model
        used = {op.opcodeIndex for op in fb.read(model).subgraphs[0].operators}
        assert used == set(range(len(fb.read(model).operatorCodes)))


def test_an_op_may_read_one_tensor_twice(network, convert, interpret, sqnr_db):
    net = network()
    x = net.input("x", (1, 16))
    y = net.op("ADD", [x, x], [net.tensor("y", (1, 16))])
    z = net.op("MUL", [y, y], [net.tensor("z", (1, 16))])
    data, samples = net.build([z]), inputs(4, (1, 16))
    for schemes in (("w8a8", "w8a16"), ("w8a16", "float"), ("float", "w8a8")):
        assert sqnr_db(interpret(data, samples), interpret(convert(data, samples, schemes).model, samples)) > 25


def test_constant_operands_take_the_format_of_the_op(network, convert, interpret, sqnr_db):
    net = network()
    x = net.input("x", (1, 16))
    c = net.constant("c", noise(16))
    y = net.op("ADD", [x, c], [net.tensor("y", (1, 16))])
    z = net.op("MUL", [y, c], [net.tensor("z", (1, 16))])
    data, samples = net.build([z]), inputs(4, (1, 16))
    for schemes in (("w8a8", "w8a16"), ("w8a16", "w8a16"), ("float", "w8a8"), ("w8a16", "float")):
        assert sqnr_db(interpret(data, samples), interpret(convert(data, samples, schemes).model, samples)) > 25


@pytest.mark.parametrize("shared", ["tensor", "buffer"])
def test_shared_weights_may_have_unequal_schemes(network, convert, interpret, sqnr_db, shared):
    net = network()
    x = net.input("x", (1, 8))
    w = net.constant("w", noise(8, 8))
    v = w if shared == "tensor" else net.constant("v", np.zeros((8, 8), np.float32), net.buffer(w))
    y = net.op("FULLY_CONNECTED", [x, w, -1], [net.tensor("y", (1, 8))])
    z = net.op("FULLY_CONNECTED", [y, v, -1], [net.tensor("z", (1, 8))])
    data, samples = net.build([z]), inputs(4, (1, 8))
    names = ("w4a8", "w8a8", "w8a16", "w16a8", "w16a16", "float")
    for schemes in [(a, b) for a in names for b in names]:
        model = convert(data, samples, schemes).model
        assert sqnr_db(interpret(data, samples), interpret(model, samples)) > (8 if "w4a8" in schemes else 25), schemes


def test_equal_schemes_keep_a_shared_buffer_shared(network, convert):
    net = network()
    x = net.input("x", (1, 64))
    w = net.constant("w", noise(64, 64))
    y = net.op("FULLY_CONNECTED", [x, w, -1], [net.tensor("y", (1, 64))])
    z = net.op("FULLY_CONNECTED", [y, w, -1], [net.tensor("z", (1, 64))])
    data, samples = net.build([z]), inputs(4, (1, 64))
    once, twice = (len(convert(data, samples, s).model) for s in (("w8a8", "w8a8"), ("w8a8", "w4a8")))
    assert twice - once > 64 * 64 // 2


def test_one_buffer_read_along_two_channel_axes_gets_the_scales_of_both(network, convert, interpret, sqnr_db):
    """The quantizer remembers scales by buffer: a depthwise op (axis 3) would get those of a convolution (axis 0)."""
    net = network()
    x = net.input("x", (1, 6, 6, 9))
    values = (noise(9, 9) * np.geomspace(0.01, 1, 9)[:, None] * np.geomspace(0.01, 1, 9)).astype(np.float32)
    w = net.constant("w", values.reshape(9, 1, 1, 9))
    v = net.constant("v", values.reshape(1, 3, 3, 9), net.buffer(w))
    b = [net.constant(f"b{k}", noise(9)) for k in range(2)]
    y = net.op("CONV_2D", [x, w, b[0]], [net.tensor("y", (1, 6, 6, 9))])
    z = net.op("DEPTHWISE_CONV_2D", [y, v, b[1]], [net.tensor("z", (1, 6, 6, 9))])
    data, samples = net.build([z]), inputs(4, (1, 6, 6, 9))
    assert sqnr_db(interpret(data, samples), interpret(convert(data, samples, ["w8a8"] * 2).model, samples)) > 30


def test_a_bias_may_share_its_buffer_with_an_integer_constant(network, convert, interpret, sqnr_db):
    """TensorFlow's converter merges equal bytes: the float zeros of a bias and an int32 0."""
    net = network()
    x = net.input("x", (1, 4))
    w, b = net.constant("w", noise(1, 4)), net.constant("b", np.zeros(1, np.float32))
    shape = net.constant("shape", np.zeros(1, np.int32), net.buffer(b))
    y = net.op("FULLY_CONNECTED", [x, w, b], [net.tensor("y", (1, 1))])
    axis_less = net.op("RESHAPE", [y, net.constant("s", np.array([1, 1], np.int32))], [net.tensor("z", (1, 1))])
    assert shape
    data, samples = net.build([axis_less]), inputs(4, (1, 4))
    for scheme in ("w8a8", "w8a16", "w16a16"):
        schemes = [scheme, "w8a16" if scheme == "w16a16" else scheme]
        assert sqnr_db(interpret(data, samples), interpret(convert(data, samples, schemes).model, samples)) > 25


def test_concatenation_requantizes_an_input_that_has_another_reader(network, convert, interpret, sqnr_db):
    net = network()
    x, small = net.input("x", (1, 8)), net.input("small", (1, 8))
    y = net.op("MUL", [x, x], [net.tensor("y", (1, 8))])
    s = net.op("ADD", [small, small], [net.tensor("s", (1, 8))])
    joined = net.op("CONCATENATION", [y, s], [net.tensor("joined", (1, 16))], axis=1)
    other = net.op("ADD", [s, small], [net.tensor("other", (1, 8))])
    data = net.build([joined, other])
    samples = [[s[0] * 10, s[0] * 0.1] for s in inputs(4, (1, 8))]
    reference = interpret(data, samples)
    found = interpret(convert(data, samples, ["w8a8"] * 4).model, samples)
    assert sqnr_db([[r[1]] for r in reference], [[f[1]] for f in found]) > 30, "the other reader keeps its own scale"
    assert sqnr_db([[r[0]] for r in reference], [[f[0]] for f in found]) > 30


def test_int16_sums_whose_scales_are_powers_of_two_run(network, calibrated, interpret, sqnr_db):
    """LOGISTIC writes int16 at 1/32768; ADD's old kernel for such scales refuses two of them for a wider sum."""
    net = network()
    x = net.input("x", (1, 8))
    y = net.op("LOGISTIC", [x], [net.tensor("y", (1, 8))])
    z = net.op("ADD", [y, y], [net.tensor("z", (1, 8))])
    data, samples = net.build([z]), inputs(4, (1, 8))
    graph, calibration = calibrated(data, samples)
    wide = replace(calibration.ranges[z], minimum=0.0, maximum=32767 / 16384)
    calibration = replace(calibration, ranges={**calibration.ranges, z: wide})
    plan = Plan.bare(graph, ["w8a16"] * 2)
    conversion = converter.convert(data, graph, calibration, plan)
    assert sqnr_db(interpret(data, samples), interpret(conversion.model, samples)) > 60
    with pytest.raises(RuntimeError, match="input1_shift"):
        interpret(quantizer_alone(conversion), samples)


def test_a_constant_batch_matmul_operand_has_one_scale(network, convert, interpret, sqnr_db):
    net = network()
    x = net.input("x", (1, 4, 8))
    w = net.constant("w", (noise(1, 8, 5) * np.geomspace(0.2, 1, 5)).astype(np.float32))
    y = net.op("BATCH_MATMUL", [x, w], [net.tensor("y", (1, 4, 5))])
    data, samples = net.build([y]), inputs(4, (1, 4, 8))
    assert sqnr_db(interpret(data, samples), interpret(convert(data, samples, ["w8a8"]).model, samples)) > 25


def test_an_activation_that_never_left_zero_gets_a_finite_scale(network, convert, interpret):
    net = network()
    x = net.input("x", (1, 8))
    y = net.op(
        "ADD", [x, net.constant("c", np.full(8, -100, np.float32))], [net.tensor("y", (1, 8))],
        fusedActivationFunction=1,
    )  # fmt: skip
    z = net.op("ADD", [y, x], [net.tensor("z", (1, 8))])
    data, samples = net.build([z]), inputs(4, (1, 8))
    conversion = convert(data, samples, ["w8a8"] * 2)
    assert conversion.ranges["y"] == (0.0, converter.DEGENERATE_SPAN)
    assert np.isfinite(interpret(conversion.model, samples)[0][0]).all()

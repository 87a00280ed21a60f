"""From plans to files, on small networks with one trap each."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.conversion import converter
from bitplan.analyzer.conversion.emission import emit
from bitplan.analyzer.conversion.mending import mend
from bitplan.analyzer.conversion.recipe import targets
from bitplan.analyzer.conversion.type_check import check_types
from bitplan.analyzer.errors import DataError, UnsupportedModel, UsageError
from bitplan.analyzer.network import flatbuffer as fb
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


@pytest.fixture
def convert(calibrated):
    """convert(data, samples, schemes, io) -> Conversion, its types checked."""

    def run(data, samples, schemes, io=Format.FLOAT):
        graph, calibration = calibrated(data, samples)
        plan = Plan.bare(graph, schemes, io)
        conversion = converter.convert(data, graph, calibration, plan, calibration.partial_sums)
        assert check_types(conversion.model, graph, plan) == ()
        return conversion

    return run


def quantizer_alone(conversion, recipe=None):
    """What litert-quantizer's public interface makes of the same arguments."""
    from litert_quantizer import quantizer

    statistics = {n: {"min": np.array(lo), "max": np.array(hi)} for n, (lo, hi) in conversion.ranges.items()}
    work = quantizer.Quantizer(conversion.prepared, recipe or list(conversion.recipe))
    return bytes(work.quantize(statistics, enable_progress_report=False).quantized_model)


def inputs(count=6, shape=(1, 8, 8, 3)):
    generator = np.random.default_rng(5)
    return [[generator.normal(size=shape).astype(np.float32)] for _ in range(count)]


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
    conversion = converter.convert(data, graph, calibration, plan, {})
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


# --- recipes and names ------------------------------------------------------------------------------------------------


def test_every_recipe_entry_hits_exactly_one_op(network, convert):
    net, output = conv_net(network)
    conversion = convert(net.build([output]), inputs(), ["w16a8", "float", "w8a8"], Format.INT8)
    everything = targets(fb.read(conversion.prepared))
    assert len(conversion.recipe) == len(everything) == 3 + 2 + 2
    for entry in conversion.recipe:
        hits = [t for t in everything if t.operation == entry["operation"] and re.search(entry["regex"], t.scope)]
        assert len(hits) == 1


@pytest.mark.parametrize("names", [HOSTILE[:3], HOSTILE[3:], NEIGHBOURS], ids=["metacharacters", "long", "prefixes"])
def test_hostile_names_are_matched_whole(network, convert, interpret, sqnr_db, names):
    from litert_quantizer.utils import tfl_flatbuffer_utils as utils

    net, output = conv_net(network, names)
    data, samples = net.build([output]), inputs()
    conversion = convert(data, samples, ["w8a8", "w16a16", "float"])
    assert sqnr_db(interpret(data, samples), interpret(conversion.model, samples)) > 25
    found = [fb.text(t.name) for t in fb.read(conversion.model).subgraphs[0].tensors]
    assert set(names) <= set(found)
    model = fb.read(conversion.prepared)
    scopes = [utils.get_op_scope(op, model.subgraphs[0].tensors) for op in model.subgraphs[0].operators]
    assert [t.scope for t in targets(model)[: len(scopes)]] == scopes


def test_ops_that_the_quantizer_cannot_tell_apart_are_refused(network, calibrated):
    """It cuts names at 10 000 characters."""
    net = network()
    x = net.input("x", (1, 4))
    y = net.op("ADD", [x, x], [net.tensor("n" * 12_000 + "1", (1, 4))])
    z = net.op("ADD", [y, x], [net.tensor("n" * 12_000 + "2", (1, 4))])
    data = net.build([z])
    graph, calibration = calibrated(data, inputs(2, (1, 4)))
    with pytest.raises(UnsupportedModel, match="2 ops of kind ADD"):
        converter.convert(data, graph, calibration, Plan.bare(graph, ["w8a8"] * 2), {})


def test_a_saved_recipe_makes_the_same_file_with_the_quantizer_alone(network, convert, tmp_path):
    net, output = conv_net(network)
    conversion = convert(net.build([output]), inputs(), ["w16a8", "float", "w8a8"], Format.INT8)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(conversion.recipe))
    alone = quantizer_alone(conversion, str(path))
    assert mend(alone, fb.read(conversion.prepared), Format.INT8) == conversion.model


def test_six_hundred_ops_convert_in_seconds(network, convert):
    """`re` caches 512 patterns; searched as strings, each pattern would be compiled for each op."""
    net = network()
    last = net.input("x", (1, 4))
    for k in range(600):
        last = net.op("ADD", [last, last], [net.tensor(f"{'model/layer/' * 20}{k}", (1, 4))])
    data = net.build([last])
    start = time.monotonic()
    convert(data, [[np.full((1, 4), 1e-9, np.float32)]], ["w8a8"] * 600)
    assert time.monotonic() - start < 60


def test_border_tensors_do_not_repeat_long_names(network, convert):
    long = [name * 100 for name in ("abc", "def", "ghi")]
    net, output = conv_net(network, long)
    model = convert(net.build([output]), inputs(), ["w8a8", "w8a16", "float"]).model
    for name in long:
        assert model.count(name.encode()) == 1


def test_names_like_those_of_border_tensors_stay_unique(network, convert, interpret, sqnr_db):
    net, output = conv_net(network, ("y", "y_quantized", "y_dequant"))  # its biases are called b0, b1, b2
    other = net.op("ADD", [output, output], [net.tensor("y_dequant_quantized", (1, 4))])
    data, samples = net.build([output, other]), inputs()
    model = convert(data, samples, ["w8a8", "w8a16", "w8a8", "w8a16"]).model
    names = [t.name for t in fb.read(model).subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert sqnr_db(interpret(data, samples), interpret(model, samples)) > 25


# --- files ------------------------------------------------------------------------------------------------------------


def big_net(network):
    net = network()
    x = net.input("x", (1, 600))
    y = net.op(
        "FULLY_CONNECTED", [x, net.constant("w", noise(600, 600)), net.constant("b", noise(600))],
        [net.tensor("y", (1, 600))], fusedActivationFunction=RELU6,
    )  # fmt: skip
    z = net.op("FULLY_CONNECTED", [y, net.constant("v", noise(10, 600)), -1], [net.tensor("z", (1, 10))])
    return net.build([z])


def test_buffers_lie_inside_the_file_though_the_quantizer_puts_them_behind(network, convert):
    from ai_edge_litert import schema_py_generated as schema

    conversion = convert(big_net(network), inputs(4, (1, 600)), ["w8a8", "w8a8"])
    raw = quantizer_alone(conversion)

    def outside(data):
        model = schema.Model.GetRootAs(data)
        return sum(model.Buffers(k).Offset() > 1 for k in range(model.BuffersLength()))

    assert outside(raw) > 0, "the quantizer no longer does it: this test and the mending have lost their reason"
    assert outside(conversion.model) == 0


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16", "w16a8", "w16a16"])
def test_litert_and_tflite_micro_agree_on_a_file_above_256_kib(network, convert, scheme):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="tflite-micro is not installed")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    samples = inputs(4, (1, 600))
    model = convert(big_net(network), samples, [scheme, scheme], Format.INT8).model
    assert len(model) > 256 * 1024
    lite = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    lite.allocate_tensors()
    micro = runtime.Interpreter.from_bytes(model, arena_size=400_000)
    scale, zero = lite.get_input_details()[0]["quantization"]
    for sample in samples:
        given = np.clip(np.rint(sample[0] / scale) + zero, -128, 127).astype(np.int8)
        lite.set_tensor(lite.get_input_details()[0]["index"], given)
        lite.invoke()
        micro.set_input(given, 0)
        micro.invoke()
        wanted = lite.get_tensor(lite.get_output_details()[0]["index"])
        assert np.abs(micro.get_output(0).astype(int) - wanted).max() <= 1, "int16 rounding may differ by one step"
        assert np.abs(wanted).max() > 20


def test_old_readers_find_every_operator_code(network, convert):
    net, output = conv_net(network)
    parsed = fb.read(convert(net.build([output]), inputs(), ["w16a8", "w8a16", "float"]).model)
    for code in parsed.operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)


def test_plans_do_not_leak_into_each_other(network, convert):
    net, output = conv_net(network)
    data, samples = net.build([output]), inputs()
    plans = [("w8a8",) * 3, ("w16a16", "float", "w4a8"), ("float",) * 3, ("w8a16",) * 3]
    first = [convert(data, samples, p) for p in plans]
    again = [convert(data, samples, p) for p in reversed(plans)][::-1]
    assert [c.model for c in first] == [c.model for c in again]
    assert [c.ranges for c in first] == [c.ranges for c in again]


SCRIPT = """
import hashlib, pickle, sys
from bitplan.analyzer.conversion.converter import convert
arguments = pickle.load(open(sys.argv[1], "rb"))
print(hashlib.sha256(convert(*arguments).model).hexdigest())
"""


def test_two_processes_give_the_same_bytes(network, calibrated, tmp_path):
    import pickle

    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    plan = Plan.bare(graph, ["w16a8", "w8a16", "float"])
    path = tmp_path / "arguments"
    path.write_bytes(pickle.dumps((data, graph, calibration, plan, calibration.partial_sums)))
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path)], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]
    here = converter.convert(data, graph, calibration, plan, calibration.partial_sums).model
    assert runs[0].strip() == fb.digest(here)


def test_nothing_is_printed_and_logging_is_left_as_it_was(network, calibrated, capsys):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    handlers, disabled = list(logging.getLogger().handlers), logging.root.manager.disable
    capsys.readouterr()
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            converter.convert(data, graph, calibration, Plan.bare(graph, ["w8a8"] * 3), calibration.partial_sums)
        assert (out.getvalue(), err.getvalue()) == ("", "")
        assert logging.getLogger().handlers == []
        assert logging.root.manager.disable == disabled
    finally:
        logging.getLogger().handlers[:] = handlers


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_plan_for_another_network_names_the_first_difference(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    plan = Plan.bare(graph, ["w8a8"] * 3)
    first, second, third = plan.assignments
    other = replace(plan, assignments=(first, replace(second, op="1:ADD:1x2"), third))
    with pytest.raises(UsageError, match=r"op 1 is 1:DEPTHWISE_CONV_2D:1x3x3x6 here and 1:ADD:1x2 in the plan"):
        converter.convert(data, graph, calibration, other, calibration.partial_sums)
    short = replace(plan, assignments=plan.assignments[:2])
    with pytest.raises(UsageError, match="it has 2 ops, the model 3"):
        converter.convert(data, graph, calibration, short, calibration.partial_sums)


def test_a_scheme_that_the_op_does_not_have_is_refused_with_those_it_has(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    plan = Plan.bare(graph, ["w8a8", "w4a8", "w8a8"])
    with pytest.raises(UsageError, match="cannot be w4a8") as caught:
        converter.convert(data, graph, calibration, plan, calibration.partial_sums)
    assert "w8a8" in caught.value.remedy


@pytest.mark.parametrize("lost", ["in", "b"])
def test_a_missing_range_is_an_error_never_a_default(network, calibrated, lost):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    index = next(t.index for t in graph.tensors if t.name == lost)
    poorer = replace(calibration, ranges={t: r for t, r in calibration.ranges.items() if t != index})
    with pytest.raises(DataError, match=f"'{lost}' has no calibrated range"):
        converter.convert(data, graph, poorer, Plan.bare(graph, ["float"] * 3), calibration.partial_sums)


def test_a_missing_partial_sum_is_an_error(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    with pytest.raises(DataError, match="partial sum"):
        converter.convert(data, graph, calibration, Plan.bare(graph, ["w16a8"] * 3), {})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_range_that_is_not_finite_is_refused(bad):
    with pytest.raises(DataError, match="not finite"):
        converter.usable_range(0.0, bad)


def test_what_the_quantizer_raises_comes_with_the_ops_it_is_about(network, convert):
    net, output = conv_net(network)
    conversion = convert(net.build([output]), inputs(), ["w8a8"] * 3)
    ranges = {name: r for name, r in conversion.ranges.items() if name != "b"}
    with pytest.raises(UnsupportedModel, match=r"fails on DEPTHWISE_CONV_2D b; FULLY_CONNECTED c: "):
        emit(conversion.prepared, conversion.recipe, ranges, {})


def test_two_tensors_of_one_name_are_refused(network, calibrated):
    net, output = conv_net(network, ("same", "same", "c"))
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    with pytest.raises(UnsupportedModel):
        converter.convert(data, graph, calibration, Plan.bare(graph, ["w8a8"] * 3), calibration.partial_sums)

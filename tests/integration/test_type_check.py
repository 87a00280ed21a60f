"""The type check on clean files and on files with one thing wrong."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.emission import emit
from bitplan.analyzer.conversion.type_check import check_types, count_types
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.schema import Format, Plan

RELU6 = 3
SCHEMES = ("w8a8", "w16a16", "w8a16", "float")


@pytest.fixture
def case(network, calibrated):
    """(float model, graph, plan, conversion): int8 conv, split depthwise at a16, ADD at a16, dense in float."""

    def noise(*shape):
        return np.random.default_rng(1).normal(size=shape).astype(np.float32)

    net = network()
    x = net.input("x", (1, 4, 4, 3))
    a, b, c, d = (net.tensor(n, s) for n, s in zip("abcd", [(1, 4, 4, 6)] * 3 + [(1, 5)], strict=True))
    net.op("CONV_2D", [x, net.constant("w0", noise(6, 3, 3, 3)), net.constant("b0", noise(6))], [a])
    net.op(
        "DEPTHWISE_CONV_2D", [a, net.constant("w1", noise(1, 3, 3, 6)), net.constant("b1", noise(6))], [b],
        fusedActivationFunction=RELU6,
    )  # fmt: skip
    net.op("ADD", [b, net.constant("k", noise(6))], [c])
    net.op("FULLY_CONNECTED", [c, net.constant("w2", noise(5, 96)), net.constant("b2", noise(5))], [d])
    data = net.build([d])
    graph, calibration = calibrated(data, [[noise(1, 4, 4, 3)], [-noise(1, 4, 4, 3)]])
    plan = Plan.bare(graph, SCHEMES, Format.INT8)
    return data, graph, plan, convert(data, graph, calibration, plan)


def altered(model, change):
    """The file after `change(parsed, ops by opcode and number, tensors)`."""
    parsed = fb.read(model)
    subgraph = parsed.subgraphs[0]
    ops = [op for op in subgraph.operators if "QUANTIZE" not in fb.opcode_name(parsed, op)]
    change(parsed, ops, subgraph.tensors)
    return fb.write(parsed)


def expected_and_found(model, graph, plan):
    return [(m.op.split(":")[0], m.expected, m.found) for m in check_types(model, graph, plan)]


def test_nothing_is_reported_of_a_clean_file(case):
    _, graph, plan, conversion = case
    assert check_types(conversion.model, graph, plan) == ()


def test_an_op_that_the_quantizer_skipped_is_reported_with_all_its_tensors(case):
    _, graph, plan, conversion = case
    recipe = [entry for entry in conversion.recipe if entry["operation"] != "CONV_2D"]
    found = check_types(emit(conversion.prepared, recipe, conversion.ranges), graph, plan)
    assert [m.tensor for m in found if m.tensor in ("w0", "b0", "a")] == ["w0", "b0", "a"]
    assert len(found) == 4, "its input besides"
    assert {(m.expected, m.found) for m in found} == {("int8", "float32"), ("int32", "float32")}
    assert {m.op for m in found} == {graph.ops[0].key}


@pytest.mark.parametrize("io", [Format.INT16, Format.FLOAT])
def test_the_wrong_io_format_is_reported_for_input_and_output(case, io):
    _, graph, _, conversion = case
    found = check_types(conversion.model, graph, Plan.bare(graph, SCHEMES, io))
    assert [m.layer for m in found] == ["the model's input", "the model's output"]
    assert {m.found for m in found} == {"int8"}


@pytest.mark.parametrize(
    ("position", "scheme", "expected"),
    [(0, "w4a8", ("int4", "int8")), (0, "w8a16", ("int64", "int32")), (2, "w8a8", ("int8", "int16")),
     (3, "w8a8", ("int8", "float32")), (0, "float", ("float32", "int8"))],
)  # fmt: skip
def test_another_scheme_than_planned_is_reported(case, position, scheme, expected):
    _, graph, _, conversion = case
    schemes = [*SCHEMES[:position], scheme, *SCHEMES[position + 1 :]]
    found = check_types(conversion.model, graph, Plan.bare(graph, schemes, Format.INT8))
    assert expected in {(m.expected, m.found) for m in found}
    assert {m.op for m in found} == {graph.ops[position].key}


def test_a_split_that_did_not_happen_is_reported_once(case):
    _, graph, _, conversion = case
    schemes = ["w16a8", *SCHEMES[1:]]
    (found,) = check_types(conversion.model, graph, Plan.bare(graph, schemes, Format.INT8))
    assert (found.op, found.expected, found.found) == (graph.ops[0].key, "CONV_2D", "DEPTHWISE_CONV_2D")


def test_a_split_that_was_not_planned_is_reported(case):
    _, graph, _, conversion = case
    schemes = ["w8a8", "w8a16", "w8a16", "float"]
    (found,) = check_types(conversion.model, graph, Plan.bare(graph, schemes, Format.INT8))
    assert (found.op, found.expected, found.found) == (graph.ops[2].key, "ADD", "DEPTHWISE_CONV_2D")


def test_missing_and_surplus_ops_are_reported(case):
    _, graph, plan, conversion = case

    def drop(parsed, ops, _):
        parsed.subgraphs[0].operators.remove(ops[-1])

    assert expected_and_found(altered(conversion.model, drop), graph, plan) == [
        ("3", "FULLY_CONNECTED", "the end of the file")
    ]

    def repeat(parsed, ops, _):
        parsed.subgraphs[0].operators.append(ops[-1])

    assert expected_and_found(altered(conversion.model, repeat), graph, plan) == [
        ("", "no further op", "FULLY_CONNECTED")
    ]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_that_are_not_finite_and_positive_are_reported(case, scale):
    _, graph, plan, conversion = case

    def spoil(_, ops, tensors):
        scales = np.array(tensors[ops[0].inputs[1]].quantization.scale)
        scales[2] = scale
        tensors[ops[0].inputs[1]].quantization.scale = scales

    ((op, expected, _),) = expected_and_found(altered(conversion.model, spoil), graph, plan)
    assert (op, expected) == ("0", "scales that are finite and positive")


def test_int16_activations_and_weights_need_zero_point_zero(case):
    _, graph, plan, conversion = case

    def shift_activation(_, ops, tensors):
        tensors[ops[3].outputs[0]].quantization.zeroPoint = np.array([3])

    found = expected_and_found(altered(conversion.model, shift_activation), graph, plan)
    assert ("1", "zero points from 0 to 0", "3 to 3") in found

    def shift_weights(_, ops, tensors):
        tensors[ops[1].inputs[1]].quantization.zeroPoint = np.array([0, 0, 1, 0, 0, 0])

    found = expected_and_found(altered(conversion.model, shift_weights), graph, plan)
    assert found == [("1", "weights with zero point 0", "another one")]


def test_one_scale_for_all_channels_is_reported(case):
    _, graph, plan, conversion = case

    def flatten(_, ops, tensors):
        quantization = tensors[ops[0].inputs[1]].quantization
        quantization.scale, quantization.zeroPoint = np.array([0.1], np.float32), np.array([0])

    assert expected_and_found(altered(conversion.model, flatten), graph, plan) == [
        ("0", "6 scales along axis 0", "1 along axis 0")
    ]


def test_scales_along_another_axis_are_reported(case):
    _, graph, plan, conversion = case

    def turn(_, ops, tensors):
        tensors[ops[1].inputs[1]].quantization.quantizedDimension = 0

    assert expected_and_found(altered(conversion.model, turn), graph, plan) == [
        ("1", "6 scales along axis 3", "6 along axis 0")
    ]


def test_a_quantized_tensor_without_scale_is_reported(case):
    _, graph, plan, conversion = case

    def forget(_, ops, tensors):
        tensors[ops[0].outputs[0]].quantization = None

    found = expected_and_found(altered(conversion.model, forget), graph, plan)
    assert found[0] == ("0", "a scale and a zero point", "0 scales, 0 zero points")


def test_the_wrong_amount_of_data_is_reported(case):
    _, graph, plan, conversion = case

    def cut(parsed, ops, tensors):
        buffer = parsed.buffers[tensors[ops[0].inputs[1]].buffer]
        buffer.data = buffer.data[:-1]

    assert expected_and_found(altered(conversion.model, cut), graph, plan) == [("0", "162 bytes", "161 bytes")]


def test_an_op_that_reads_another_tensor_is_reported(case):
    _, graph, plan, conversion = case

    def rewire(_, ops, tensors):
        ops[4].inputs = [int(ops[3].inputs[0]), int(ops[4].inputs[1])]

    ((op, expected, found),) = expected_and_found(altered(conversion.model, rewire), graph, plan)
    assert (op, expected) == ("2", "the values of b")
    assert "those of" in found


def test_a_lost_partial_sum_is_reported(case):
    _, graph, plan, conversion = case

    def double(_, ops, tensors):
        ops[3].inputs = [int(ops[1].outputs[0])] * 2

    ((op, _, _),) = expected_and_found(altered(conversion.model, double), graph, plan)
    assert op == "1"


def test_a_lost_activation_is_reported(case):
    _, graph, plan, conversion = case

    def lose(_, ops, tensors):
        ops[3].builtinOptions.fusedActivationFunction = 0

    assert expected_and_found(altered(conversion.model, lose), graph, plan) == [
        ("1", "activation RELU6", "activation number 0")
    ]


def test_a_lost_bias_is_reported(case):
    _, graph, plan, conversion = case

    def lose(_, ops, tensors):
        ops[0].inputs = [*list(ops[0].inputs)[:2], -1]

    assert expected_and_found(altered(conversion.model, lose), graph, plan) == [("0", "present", "absent")]


def test_a_signature_that_returns_something_else_is_reported(case):
    _, graph, plan, conversion = case

    def redirect(parsed, ops, tensors):
        parsed.signatureDefs[0].outputs[0].tensorIndex = int(ops[0].outputs[0])

    (found,) = check_types(altered(conversion.model, redirect), graph, plan)
    assert found.layer == "the model's output"


def test_tensors_are_counted_by_type(case):
    _, _, _, conversion = case
    counts = count_types(conversion.model)
    assert counts["int64"] == 2, "two biases of the split at a16"
    assert counts["int32"] == 1
    assert sum(counts.values()) == len(fb.read(conversion.model).subgraphs[0].tensors)

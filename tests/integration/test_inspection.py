"""What one file shows alone, against faults that were planted in it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bitplan.analyzer.errors import UnsupportedModel, UsageError
from bitplan.analyzer.measures.inspection import inspect_file
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.auditing_alone import audit_alone
from bitplan.checking import check
from bitplan.reports.inspection import inspection_verdict
from converter_networks import conv_net, inputs, noise


@pytest.fixture
def emitted(network, convert):
    def make(*schemes, per_channel=True):
        net, out = conv_net(network)
        return convert(net.build([out]), inputs(), list(schemes), per_channel=per_channel).model

    return make


def changed(data, name, change):
    """The file after `change(model, tensor)` of the tensor of that name."""
    model = fb.read(data)
    change(model, next(t for t in model.subgraphs[0].tensors if fb.text(t.name) == name))
    return fb.write(model)


def names(data):
    return {finding.name for finding in inspect_file(data).findings}


def of(data, name):
    return next(finding for finding in inspect_file(data).findings if finding.name == name)


def test_a_sound_file_shows_nothing_and_says_what_it_cannot_know(emitted):
    found = inspect_file(emitted("w8a8", "w8a8", "w8a8"))
    assert found.findings == ()
    assert found.quantization == "integer"
    assert len(found.unknown) == 3
    assert [codes.per_channel for codes in found.weights] == [True] * 3
    assert [codes.unreached for codes in found.weights] == [0] * 3


def test_codes_are_counted_as_they_lie(emitted):
    data = emitted("w8a8", "w8a8", "w8a8")
    model = fb.read(data)
    integers = fb.constant(model, next(t for t in model.subgraphs[0].tensors if fb.text(t.name) == "w2"))
    codes = inspect_file(data).weights[2]
    assert (codes.elements, codes.channels, codes.bits) == (4 * 384, 4, 8)
    assert codes.at_ends == pytest.approx(float((np.abs(integers.astype(int)) == 127).mean()))
    assert codes.used == pytest.approx(len(set(integers.ravel().tolist())) / 255)
    ranges = np.abs(noise(4, 384)).max(axis=1)
    assert codes.spread == pytest.approx(ranges.max() / ranges.min(), rel=0.01)


def test_one_scale_for_all_channels_is_named(emitted):
    data = emitted("w8a8", "w8a8", "w8a8", per_channel=False)
    assert names(data) == {"per_tensor_weights"}


def test_float_ops_are_named_only_where_others_compute_in_integers(emitted):
    found = inspect_file(emitted("w8a8", "float", "w8a8"))
    assert found.quantization == "mixed"
    assert [(f.name, f.layer) for f in found.findings] == [("float_fallback", "b")]


def test_a_scale_that_was_changed_afterwards_contradicts_the_bias(emitted):
    def times_four(_, tensor):
        tensor.quantization.scale = np.asarray(tensor.quantization.scale, np.float32) * 4

    finding = of(changed(emitted("w8a8", "w8a8", "w8a8"), "w1", times_four), "scale_corrupted")
    assert finding.layer == "b"
    assert finding.amount == pytest.approx(4)


def test_biases_at_the_limit_are_counted(emitted):
    def saturate(model, tensor):
        values = fb.constant(model, tensor).copy()
        values[:2] = 2**31 - 1
        fb.set_constant(model, tensor, values)

    finding = of(changed(emitted("w8a8", "w8a8", "w8a8"), "b1", saturate), "bias_saturation")
    assert (finding.layer, finding.amount) == ("b", 2.0)


def test_clipped_and_wasted_integers_are_named(emitted):
    def clip(model, tensor):
        values = fb.constant(model, tensor)
        fb.set_constant(model, tensor, np.clip(values.astype(int) * 3, -127, 127).astype(np.int8))

    def waste(model, tensor):
        fb.set_constant(model, tensor, (fb.constant(model, tensor) // 4).astype(np.int8))

    data = emitted("w8a8", "w8a8", "w8a8")
    assert of(changed(data, "w2", clip), "weights_saturated").layer == "c"
    assert of(changed(data, "w2", waste), "unused_codes").amount == 4


def test_odd_zero_points_are_named(emitted):
    def shift(_, tensor):
        tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) + 1

    assert names(changed(emitted("w8a8", "w8a8", "w8a8"), "w1", shift)) == {"zero_point"}
    assert names(changed(emitted("w8a16", "w8a16", "w8a16"), "a", shift)) >= {"zero_point"}


def test_a_range_that_its_own_activation_function_never_reaches_is_named(emitted):
    def widen(_, tensor):
        tensor.quantization.scale = np.asarray([12 / 255], np.float32)

    found = of(changed(emitted("w8a8", "w8a8", "w8a8"), "a", widen), "unused_range")
    assert found.layer == "a"
    assert found.amount == pytest.approx(0.5, abs=0.01)


def quantized_tensor(net, name, shape, scale, zero_point):
    index = net.tensor(name, shape, "int8")
    quantization = net.schema.QuantizationParametersT()
    quantization.scale = np.asarray([scale], np.float32)
    quantization.zeroPoint = np.asarray([zero_point], np.int64)
    net.graph.tensors[index].quantization = quantization
    return index


def test_scores_beside_boxes_in_one_tensor_are_named(network):
    net = network()
    boxes = quantized_tensor(net, "boxes", (1, 4), 640 / 255, -128)
    logits = quantized_tensor(net, "logits", (1, 4), 0.1, 0)
    net.graph.inputs = [boxes, logits]
    scores = quantized_tensor(net, "scores", (1, 4), 1 / 256, -128)
    rough = quantized_tensor(net, "rough", (1, 4), 640 / 255, -128)
    out = quantized_tensor(net, "out", (1, 8), 640 / 255, -128)
    net.op("LOGISTIC", [logits], [scores])
    net.op("QUANTIZE", [scores], [rough])
    net.op("CONCATENATION", [boxes, rough], [out], axis=1)
    found = of(net.build([out]), "mixed_range_output")
    assert found.layer == "out"
    assert "0 steps" in found.evidence


def test_sums_of_unlike_operands_are_named(network):
    def build(scale):
        net = network()
        wide, narrow = (quantized_tensor(net, n, (1, 4), s, 0) for n, s in (("wide", 1.0), ("narrow", scale)))
        net.graph.inputs = [wide, narrow]
        out = quantized_tensor(net, "sum", (1, 4), 1.0, 0)
        net.op("ADD", [wide, narrow], [out])
        return net.build([out])

    assert "add_scale_mismatch" not in names(build(0.5))
    assert of(build(0.02), "add_scale_mismatch").amount == pytest.approx(50, rel=1e-3)


def test_a_float_file_is_refused_and_a_quantized_one_gets_its_page(network, emitted, tmp_path):
    net, out = conv_net(network)
    with pytest.raises(UnsupportedModel, match="no quantized tensors"):
        audit_alone(net.build([out]))
    path = tmp_path / "int8.tflite"
    path.write_bytes(emitted("w8a8", "float", "w8a8"))
    found = audit_alone(path, out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "One file alone" in page
    assert found.unknown[0] in page
    assert (tmp_path / "out" / "audit.json").is_file()
    with pytest.raises(UsageError, match="saw the quantized file alone"):
        check(tmp_path / "out", max_drop="1pt")


def test_a_file_that_shows_nothing_is_not_asked_what_that_costs(emitted):
    quiet = dataclasses.replace(inspect_file(emitted("w8a8", "w8a8", "w8a8")), findings=())
    assert "Whether it lost accuracy, one file cannot tell" in inspection_verdict(quiet).text

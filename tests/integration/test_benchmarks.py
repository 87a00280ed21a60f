"""The benchmarks' networks and rivals: what they measure is what they say. No test measures time."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures import quantization as q
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network import runtime
from bitplan.analyzer.network.graph import build_graph

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import rival_loops  # noqa: E402
import rival_quantizer  # noqa: E402
import rival_runs  # noqa: E402
import scaled_networks  # noqa: E402

sys.path.remove(str(BENCHMARKS))

pytestmark = pytest.mark.slow

OPS = 16
PLANTED = "block_1_project"


scaled = functools.cache(scaled_networks.mobilenet_like)


@pytest.mark.parametrize("ops", [50, 100, 200])
def test_a_scaled_network_has_the_asked_number_of_ops_and_equal_blocks(ops):
    graph = build_graph(scaled(ops))
    assert len(graph.ops) == ops
    for opcode in ("DEPTHWISE_CONV_2D", "ADD"):
        assert len({graph.tensors[op.outputs[0]].shape for op in graph.ops if op.opcode == opcode}) == 1
    blocks = sum(op.opcode == "DEPTHWISE_CONV_2D" for op in graph.ops)
    assert ops / 4 - 1 <= blocks <= ops / 4


def test_no_network_of_whole_blocks_has_nine_ops():
    with pytest.raises(ValueError, match="9 ops"):
        scaled_networks.mobilenet_like_keras(9)


def test_a_scaled_network_is_the_same_in_every_process():
    script = "import hashlib, scaled_networks as s; print(hashlib.sha256(s.mobilenet_like(12, seed=3)).hexdigest())"
    other = subprocess.run([sys.executable, "-c", script], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    here = [hashlib.sha256(scaled_networks.mobilenet_like(12, seed=seed)).hexdigest() for seed in (3, 4)]
    assert other.stdout.strip() == here[0] != here[1]


def test_mobilenetv2_is_the_same_when_it_is_built_again():
    assert scaled_networks.mobilenetv2_224() == scaled_networks.mobilenetv2_224()


@pytest.mark.parametrize(
    ("build", "size"),
    [(functools.partial(scaled, 200), scaled_networks.SIZE), (scaled_networks.mobilenetv2_224, 224)],
    ids=["200 ops", "MobileNetV2"],
)
def test_activations_neither_die_nor_explode(build, size):
    data = build()
    images = scaled_networks.random_images(8, size, seed=1)
    assert images.dtype == np.float32 and np.abs(images).max() <= 1
    logits = rival_runs.at_logits(data)
    for low, high in rival_quantizer.min_max_ranges(logits, [images]).values():
        assert 0.1 < high - low < 1000
    (values,) = runtime.run_samples(logits, [images])
    assert values.std(0).mean() > 0.05


@pytest.fixture(scope="module")
def planted():
    """A Keras model in which one channel is always 0, and read with weights 30 times larger than all others.

    The float network does not see it; at 8 bits it makes the other weights of that layer 30 times coarser.
    """
    model = scaled_networks.mobilenet_like_keras(OPS, width=8, expansion=2)
    bn = model.get_layer(PLANTED.replace("project", "depthwise_bn"))
    gamma, beta, mean, variance = bn.get_weights()
    gamma[0], beta[0] = 0.0, -1.0
    bn.set_weights([gamma, beta, mean, variance])
    project = model.get_layer(PLANTED)
    (kernel,) = project.get_weights()
    kernel[:, :, 0, :] = 30 * np.abs(kernel).max()
    project.set_weights([kernel])
    images = scaled_networks.random_images(12, scaled_networks.SIZE, seed=2)
    return model, load_float(model).flatbuffer, [images]


def tensor_of(graph, layer):
    return next(graph.tensors[op.outputs[0]].name for op in graph.ops if op.layer == layer)


def logits_with_coarse_weights(data, layer, inputs):
    """The float network's logits, and those with the layer's weights rounded to int8 per channel."""
    graph, model = build_graph(data), fb.read(data)
    op = next(op for op in graph.ops if op.layer == layer)
    tensor = model.subgraphs[0].tensors[op.weights]
    fb.set_constant(model, tensor, q.fake_quantize_weights(fb.constant(model, tensor), op.channel_axis, 8))
    return [
        runtime.run_samples(rival_runs.at_logits(d), inputs, workers=1)[0].astype(np.float64)
        for d in (data, fb.write(model))
    ]


def test_the_quantizer_loop_finds_the_planted_layer(planted):
    _, data, inputs = planted
    worst = tensor_of(build_graph(data), PLANTED)
    found = rival_loops.litert_quantizer_loop(data, None, inputs, worst={"w8a8": worst, "w8a16": worst})
    loops = {(loop["direction"], loop["scheme"]): loop for loop in found["loops"]}
    assert len(loops) == 8 and not found["extrapolated"]
    reference, coarse = logits_with_coarse_weights(data, PLANTED, inputs)
    expected = float(((reference - coarse) ** 2).mean())
    for scheme in ("w8a8", "w8a16"):
        alone, left_float = loops[rival_loops.ONE_QUANTIZED, scheme], loops[rival_loops.ONE_FLOAT, scheme]
        assert alone["worst_rank"] == left_float["worst_rank"] == 1
        assert alone["ranking"][0]["layer"] == left_float["ranking"][0]["layer"] == PLANTED
        assert alone["ranking"][0]["error"] == pytest.approx(expected, rel=0.1)
        assert left_float["ranking"][0]["error"] == pytest.approx(left_float["all_quantized_mse"], rel=0.1)
        assert alone["ops"] == left_float["ops"] == OPS - 1  # the softmax is cut off
        assert alone["skipped_silently"] == left_float["skipped_silently"] == []
    weighted = sum(op.opcode in ("CONV_2D", "FULLY_CONNECTED") for op in build_graph(data).ops)
    assert loops[rival_loops.ONE_QUANTIZED, "w4a8"]["ops"] == weighted
    assert loops[rival_loops.ONE_QUANTIZED, "w4a8"]["worst_rank"] is None  # not asked for
    json.dumps(found, allow_nan=False)


def test_a_quantizer_that_made_other_files_makes_the_same_file_as_a_fresh_one(planted):
    data = rival_runs.at_logits(planted[1])
    ranges = rival_quantizer.min_max_ranges(data, planted[2])
    used = rival_quantizer._HandLoop(data, ranges)
    for op in used.ops(rival_loops.ONE_FLOAT, "w4a16"):
        used.one_float(op, "w4a16")
    for op in used.ops(rival_loops.ONE_QUANTIZED, "w8a8"):
        fresh = rival_quantizer._HandLoop(data, ranges)
        assert used.one_quantized(op, "w8a8") == fresh.one_quantized(op, "w8a8")
        assert used.one_float(op, "w8a16") == rival_quantizer._HandLoop(data, ranges).one_float(op, "w8a16")


def test_given_ranges_are_used(planted):
    _, data, inputs = planted
    ranges = rival_quantizer.min_max_ranges(data, inputs)
    wide = {name: (100 * low, 100 * high) for name, (low, high) in ranges.items()}
    errors = [
        rival_loops.litert_quantizer_loop(data, given, inputs, ["w8a8"], directions=[rival_loops.ONE_FLOAT])
        for given in (ranges, wide)
    ]
    fine, coarse = (found["loops"][0]["all_quantized_mse"] for found in errors)
    assert coarse > 10 * fine


def test_ranges_are_the_true_extremes(planted):
    _, data, inputs = planted
    ranges = rival_quantizer.min_max_ranges(rival_runs.at_logits(data), inputs)
    (logits,) = runtime.run_samples(rival_runs.at_logits(data), inputs, workers=1)
    name = tensor_of(build_graph(data), "classes")
    assert ranges[name] == pytest.approx((logits.min(), logits.max()), rel=1e-4)


def test_an_extrapolation_says_so_and_is_linear_in_the_images(planted):
    _, data, inputs = planted
    found = rival_loops.litert_quantizer_loop(
        data, None, inputs, ["w8a8"], directions=[rival_loops.ONE_QUANTIZED], budget_s=0.0
    )
    (loop,) = found["loops"]
    assert found["extrapolated"] and loop["extrapolated"]
    assert loop["measured_images"] == 4 and found["images"] == 12
    assert loop["seconds"] == pytest.approx(loop["quantize_s"] + loop["load_s"] + 3 * loop["run_s"])
    assert loop["measured_seconds"] == pytest.approx(loop["quantize_s"] + loop["load_s"] + loop["run_s"])


def test_a_layer_that_the_quantizer_skips_is_reported_and_not_ranked(planted, monkeypatch):
    _, data, inputs = planted
    kinds = rival_quantizer._kind
    monkeypatch.setattr(rival_quantizer, "_kind", lambda op: "TANH" if op.opcode == "ADD" else kinds(op))
    found = rival_loops.litert_quantizer_loop(data, None, inputs, ["w8a8"], directions=[rival_loops.ONE_QUANTIZED])
    (loop,) = found["loops"]
    adds = [op.layer for op in build_graph(data).ops if op.opcode == "ADD"]
    assert adds and loop["skipped_silently"] == adds
    assert not set(adds) & {row["layer"] for row in loop["ranking"]}


def test_the_debugger_loop_matches_every_layer_and_measures_its_own_files(planted):
    import tensorflow as tf

    model, data, inputs = planted
    graph = build_graph(data)
    found = rival_loops.quantization_debugger_loop(
        lambda: tf.lite.TFLiteConverter.from_keras_model(model), data, inputs, worst=tensor_of(graph, PLANTED)
    )
    assert found["unmatched"] == []
    assert {row["layer"] for row in found["ranking"]["mse"]} == {op.layer for op in graph.ops}
    assert found["worst_rank"]["mse"] == 1
    ranked = [row["layer"] for row in found["ranking"]["rmse/scale"]]
    assert found["worst_rank"]["rmse/scale"] == 1 + ranked.index(PLANTED)
    assert [(entry["denied"], entry["layers"]) for entry in found["selective"]] == [
        (count, ranked[:count]) for count in (0, 1, 3, 5)
    ]
    errors = {entry["denied"]: entry["logit_mse"] for entry in found["selective"]}
    with_planted = [errors[count] for count in errors if PLANTED in ranked[:count]]
    assert with_planted and max(with_planted) < 0.1 * errors[0]
    # Another quantizer, with the same ranges and the same images.
    (other,) = rival_loops.litert_quantizer_loop(data, None, inputs, ["w8a8"], directions=[rival_loops.ONE_FLOAT])[
        "loops"
    ]
    assert errors[0] == pytest.approx(other["all_quantized_mse"], rel=0.1)
    json.dumps(found, allow_nan=False)


def test_a_tensor_of_another_conversion_is_found_by_the_parts_of_its_name(planted):
    graph = build_graph(planted[1])
    name = tensor_of(graph, PLANTED)
    assert rival_runs.layer_of(graph, ";".join([*name.split(";")[::-1], "another/part"])) == PLANTED
    assert rival_runs.layer_of(graph, "unknown") is None
    assert rival_runs.layer_of(graph, None) is None


def test_ranks_count_the_larger_errors():
    errors = {"a": 1.0, "b": 3.0, "c": 2.0}
    assert [rival_runs.rank_of(errors, layer) for layer in ("a", "b", "c", "d", None)] == [3, 1, 2, None, None]
    assert [row["layer"] for row in rival_runs.ranking(errors)] == ["b", "c", "a"]

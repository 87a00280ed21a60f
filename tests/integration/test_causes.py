"""Causes planted in the demo network's int8 file: each has to be named first, with what mending it gives back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, Samples, load_samples
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.measures.extremes import sample_extremes
from bitplan.analyzer.measures.quantized_file import QuantizedFile, with_compared
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network import runtime
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.subgraph import Cutter
from bitplan.analyzer.schema import CAUSES, Calibration, CauseTrial, Plan, Range
from bitplan.strategies.assignment.choices import uniform_schemes
from bitplan.strategies.audit import find_causes
from bitplan.strategies.causes.case import Case
from conftest_data import demo

pytestmark = pytest.mark.slow

SAMPLES, IMAGES = 32, 40


@functools.cache
def network():
    data, images, labels = demo()
    data = load_float(data, warn=lambda _: None).flatbuffer
    return data, build_graph(data), np.asarray(images), np.asarray(labels)


@functools.cache
def samples(scale: str = "tf", first: int = 0, count: int = SAMPLES, *, labelled: bool = False) -> Samples:
    _, _, images, labels = network()
    spec = (InputSpec("image", (1, 28, 28, 1), "float32"),)
    data = images[first : first + count]
    given = (data, labels[first : first + count]) if labelled else data
    return load_samples(given, spec, Preprocessing(scale=scale), warn=lambda _: None).in_content_order()


@functools.cache
def calibration(scale: str = "tf", count: int = SAMPLES) -> Calibration:
    data, graph, _, _ = network()
    return calibrate(data, graph, samples(scale, count=count))


def int8(ranges: Calibration, *, per_channel: bool = True) -> bytes:
    data, graph, _, _ = network()
    schemes = [scheme.name for scheme in uniform_schemes(graph, "w8a8")]
    return convert(data, graph, ranges, Plan.bare(graph, schemes, per_channel=per_channel)).model


def tried(file: bytes, data: bytes | None = None) -> CauseTrial:
    """The causes of a file; of the demo network, or of another one that takes the same images."""
    data = data or network()[0]
    graph = build_graph(data)
    opened = QuantizedFile(file, graph, data)
    graph, places = with_compared(opened, graph)
    case = Case(data, graph, file, opened.ingredients, sample_extremes(data, graph, samples()))
    return find_causes(case, places, samples(), samples(first=SAMPLES, count=IMAGES, labelled=True))


def patched(change: Callable[[object, dict[str, int]], None]) -> bytes:
    """The sound file with its tensors changed; they are found by name."""
    model = fb.read(int8(calibration()))
    tensors = model.subgraphs[0].tensors
    change(model, {fb.text(tensor.name): index for index, tensor in enumerate(tensors)})
    return fb.write(model)


def op_of(layer: str):
    return next(op for op in network()[1].ops if op.layer == layer)


def scaled(tensor: int, factor: float) -> bytes:
    """The sound file with the scales of one of the float network's tensors multiplied."""

    def change(model, places):
        found = model.subgraphs[0].tensors[places[network()[1].tensors[tensor].name]]
        found.quantization.scale = np.asarray(found.quantization.scale, np.float32) * np.float32(factor)

    return patched(change)


def wider(ranges: Calibration, factor: float) -> Calibration:
    """Ranges of all activations but the input and what a clamp bounds, multiplied."""
    graph = network()[1]
    free = {t for op in graph.ops if op.activation == "NONE" for t in op.outputs}
    changed: dict[int, Range] = {
        t: replace(r, minimum=r.minimum * factor, maximum=r.maximum * factor) if t in free else r
        for t, r in ranges.ranges.items()
    }
    return replace(ranges, ranges=changed)


def errors(file: bytes) -> float:
    """Mean squared error of a file's logits, by the interpreter alone."""
    data, graph, _, _ = network()
    inputs, logits = samples().block(0, SAMPLES), graph.compared[0]

    def answers(model: bytes, tensor: int) -> np.ndarray:
        return runtime.run_samples(Cutter(model).whole([tensor]).flatbuffer, inputs)[0].astype(np.float64)

    wanted = answers(data, logits)
    return float(np.mean((answers(file, QuantizedFile(file, graph, data).tensor(logits)) - wanted) ** 2))


def first(trial: CauseTrial) -> tuple[str, str]:
    return trial.found[0].name, trial.found[0].layer


def test_weights_with_one_scale_win_what_a_file_with_a_scale_for_each_channel_wins():
    """In this network the input costs more, so they are a cause, and not the first."""
    broken = int8(calibration(), per_channel=False)
    found = {cause.name: cause for cause in tried(broken).found}["per_tensor_weights"]
    before, after = errors(broken), errors(int8(calibration()))
    assert found.share_of_error == pytest.approx(1 - after / before, abs=0.1)
    assert found.layers > 1


def test_a_corrupted_scale_of_weights_is_named_with_its_layer():
    trial = tried(scaled(op_of("block_3_expand").weights, 0.25))
    assert first(trial) == ("scale_corrupted", "block_3_expand")
    assert "0.25 times" in trial.found[0].evidence


def test_a_corrupted_scale_of_an_activation_is_named_with_its_layer():
    trial = tried(scaled(op_of("block_3_project").outputs[0], 4.0))
    assert first(trial) == ("scale_corrupted", "block_3_project")
    assert trial.found[0].share_of_error > 0.5


@pytest.mark.parametrize("scale", ["raw", "0-1"])
def test_calibration_on_images_of_another_range_is_named(scale):
    trial = tried(int8(calibration(scale)))
    assert first(trial)[0] == "calibration_unlike_evaluation"
    assert trial.found[0].share_of_error > 0.5
    assert trial.found[0].accuracy_recovered.low > 0


def test_ranges_that_are_too_wide_are_named():
    trial = tried(int8(wider(calibration(), 6.0)))
    assert first(trial)[0] == "ranges_too_wide"


def test_ranges_that_clip_are_named_as_what_they_are():
    """Half of every range: no sample's, so these are not the ranges of few samples."""
    trial = tried(int8(wider(calibration(), 0.4)))
    assert first(trial)[0] == "ranges_clipped"
    assert "too_few_samples" in {cause.name for cause in trial.others}


def test_biases_at_the_end_of_int32_are_named():
    """A channel that BatchNorm has switched off: no weights, only a bias, which a small scale leaves no room for."""
    float_model, op = fb.read(network()[0]), op_of("block_3_project")
    tensors = float_model.subgraphs[0].tensors
    weights, biases = (np.array(fb.constant(float_model, tensors[t])) for t in (op.weights, op.bias))
    weights[0], biases[0] = 1e-12, 40.0
    fb.set_constant(float_model, tensors[op.weights], weights)
    fb.set_constant(float_model, tensors[op.bias], biases)
    data = fb.write(float_model)
    graph = build_graph(data)
    schemes = [scheme.name for scheme in uniform_schemes(graph, "w8a8")]
    model = fb.read(convert(data, graph, calibrate(data, graph, samples()), Plan.bare(graph, schemes)).model)
    by_name = {fb.text(tensor.name): tensor for tensor in model.subgraphs[0].tensors}
    placed, bias = (by_name[graph.tensors[t].name] for t in (op.weights, op.bias))
    scales, integers = np.array(placed.quantization.scale, np.float32), np.array(fb.constant(model, bias))
    assert abs(int(integers[0])) > 2**29
    scales[0] /= 16
    integers[0] = 2**31 - 1
    placed.quantization.scale = scales
    fb.set_constant(model, bias, integers)
    assert first(tried(fb.write(model), data)) == ("bias_saturation", "block_3_project")


def test_another_networks_file_has_not_this_parent():
    data = network()[0]
    model = fb.read(data)
    rng = np.random.default_rng(0)
    for op in network()[1].ops:
        if op.weights is not None:
            tensor = model.subgraphs[0].tensors[op.weights]
            values = np.array(fb.constant(model, tensor)).reshape(-1)
            fb.set_constant(model, tensor, rng.permutation(values).reshape(network()[1].tensors[op.weights].shape))
    other = fb.write(model)
    graph = build_graph(other)
    schemes = [scheme.name for scheme in uniform_schemes(graph, "w8a8")]
    file = convert(other, graph, calibrate(other, graph, samples()), Plan.bare(graph, schemes)).model
    assert first(tried(file))[0] == "not_the_parent"


def test_a_sound_file_has_no_mistakes():
    """Only sources of error as such are left, and every cause was looked for."""
    trial = tried(int8(calibration()))
    assert all(CAUSES[cause.name].breadth > 0 for cause in trial.found)
    assert {cause.name for cause in (*trial.found, *trial.others)} == set(CAUSES)
    assert trial.simulated_nmse == pytest.approx(trial.nmse, rel=0.2)


def test_what_a_mend_gives_back_is_what_a_file_without_the_mistake_has():
    """The counterfactual of a corrupted scale, against the interpreter on the file that was never corrupted."""
    broken = scaled(op_of("block_3_expand").weights, 4.0)
    share = tried(broken).found[0].share_of_error
    assert share == pytest.approx(1 - errors(int8(calibration())) / errors(broken), abs=0.02)

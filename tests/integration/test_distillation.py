"""Self-distillation on small networks: it helps, it emits what it learned, and it is the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.dequantized import dequantize
from bitplan.analyzer.conversion.simulation import Simulation
from bitplan.analyzer.conversion.verification import Reference
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.measures.calibration import calibrate, with_per_tensor_sums
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.constants import replace_constants
from bitplan.analyzer.network.differentiable import DifferentiableGraph
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import Plan
from bitplan.strategies.repair import lessons
from bitplan.strategies.repair.augmentation import NO_AUGMENTATION, Augmentation
from bitplan.strategies.repair.distillation import Training, distill
from bitplan.strategies.repair.lessons import Lessons
from converter_networks import RELU6, conv_net, noise

pytestmark = pytest.mark.slow

SCHEMES = [
    ["w4a8", "w8a8", "w4a8"], ["w8a8", "w8a8", "w8a8"], ["w16a8", "float", "w4a8"], ["w16a16", "w8a16", "w4a16"],
]  # fmt: skip
TANH = 4
QUICK = Training(epochs=4, batch=16, rate=0.02, augmentation=NO_AUGMENTATION)


def classifier(network):
    net, scores = conv_net(network)
    return net.build([net.op("SOFTMAX", [scores], [net.tensor("classes", (1, 4))])])


def autoencoder(network):
    """Down to a quarter of the values and up again; no classes."""
    net = network()
    x = net.input("in", (1, 8, 8, 3))
    code = net.op("CONV_2D", [x, net.constant("w0", noise(12, 3, 3, 3)), net.constant("b0", noise(12))],
                  [net.tensor("code", (1, 4, 4, 12))], strideH=2, strideW=2, fusedActivationFunction=RELU6)  # fmt: skip
    flat = net.op("RESHAPE", [code, net.constant("s0", np.array([1, 192], np.int32))], [net.tensor("flat", (1, 192))])
    wide = net.op("FULLY_CONNECTED", [flat, net.constant("w1", noise(192, 192)), net.constant("b1", noise(192))],
                  [net.tensor("wide", (1, 192))])  # fmt: skip
    shape = net.constant("s1", np.array([1, 8, 8, 3], np.int32))
    return net.build([net.op("RESHAPE", [wide, shape], [net.tensor("out", (1, 8, 8, 3))])])


def samples_of(count, seed, labels=False):
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(count, 8, 8, 3)).astype(np.float32)
    data = (images, generator.integers(0, 4, count)) if labels else images
    return load_samples(data, (InputSpec("in", (1, 8, 8, 3), "float32"),), Preprocessing(), warn=print)


@pytest.fixture
def prepared(network):
    """prepared(data) -> (graph, calibration, samples to learn from, held-back samples)."""

    def make(data, labels=False):
        graph, samples = build_graph(data), samples_of(160, 1, labels).in_content_order()
        return graph, calibrate(data, graph, samples), samples, samples_of(60, 2, labels).in_content_order()

    return make


def schemes_of(graph, names):
    """The names for ops with weights, something that exists for the others."""
    wanted = iter(names)
    return [
        next(wanted) if op.weights is not None else "w8a16" if "a16" in names[-1] else "w8a8"
        for op in graph.ops
    ]  # fmt: skip


@pytest.mark.parametrize("names", SCHEMES, ids=" ".join)
def test_it_helps_and_the_file_is_what_was_trained(network, prepared, names):
    data = classifier(network)
    graph, calibration, samples, held_back = prepared(data)
    plan = Plan.bare(graph, schemes_of(graph, names))
    found = distill(data, graph, calibration, plan, samples, held_back, training=QUICK)
    assert found.loss == "kl" and found.samples == 160 and found.held_back == 60
    assert [point.step for point in found.curve] == [0, 10, 20, 30, 40]
    errors = [point.error for point in found.curve]
    assert found.chosen == found.curve[int(np.argmin(errors))].step
    if "w4" in "".join(names):
        assert min(errors) < 0.6 * errors[0]

    learned = build_graph(found.flatbuffer)
    emitted = convert(found.flatbuffer, learned, calibration, plan).model
    before = convert(data, graph, calibration, plan).model
    assert len(emitted) == len(before)
    reference = Reference(data, graph, held_back)
    assert reference.error(emitted).kl == pytest.approx(min(errors), rel=0.1, abs=2e-4), "the real interpreter agrees"
    assert reference.error(before).kl == pytest.approx(errors[0], rel=0.1, abs=2e-4)


@pytest.mark.parametrize("names", SCHEMES, ids=" ".join)
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_emitted_integers_are_the_learned_ones(network, prepared, names, per_channel):
    from bitplan.strategies.repair.student import Loss, Student

    data = classifier(network)
    graph, calibration, samples, _ = prepared(data)
    calibration = with_per_tensor_sums(data, graph, calibration, samples)
    plan = Plan.bare(graph, schemes_of(graph, names), per_channel=per_channel)
    simulation = Simulation(data, graph, plan, convert(data, graph, calibration, plan).model)
    student = Student(simulation, graph, calibration, Loss("kl", (1.0,)), learn_scales=True)
    for batch in Lessons(data, graph, samples).batches(16, 0, 0):
        student.step(batch, 0.05)
    learned = replace_constants(data, student.constants())
    emitted = convert(learned, build_graph(learned), calibration, plan).model
    file, integers = fb.read(dequantize(emitted).flatbuffer), fb.read(emitted)
    placed = simulation.constants(student.parameters())
    moved = 0
    for tensor, values in placed.items():
        entry = integers.subgraphs[0].tensors[tensor]
        real = fb.constant(file, file.subgraphs[0].tensors[tensor])
        if fb.dtype_name(entry) == "float32":
            np.testing.assert_allclose(real, values.numpy(), rtol=1e-6)
            continue
        steps = np.asarray(entry.quantization.scale, np.float32)
        shape = [1] * real.ndim
        if len(steps) > 1:
            shape[entry.quantization.quantizedDimension] = -1
        wanted = np.rint(values.numpy().astype(np.float64) / steps.reshape(shape))
        off = np.abs(wanted - fb.constant(integers, entry))
        assert off.max() <= (0 if real.ndim > 1 else 1 + 1e-6 * np.abs(wanted).max())
        moved += 1
    assert moved == len(placed) - 2 * sum(scheme.is_float for op, scheme in zip(graph.ops, plan.schemes, strict=True)
                                          if op.weights is not None)  # fmt: skip


def test_two_runs_give_the_same_bytes_and_another_seed_others(network, prepared):
    data = classifier(network)
    graph, calibration, samples, held_back = prepared(data)
    plan = Plan.bare(graph, schemes_of(graph, SCHEMES[0]))
    runs = [
        distill(data, graph, calibration, plan, samples, held_back, training=Training(epochs=2, batch=16, seed=seed))
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0].flatbuffer != runs[2].flatbuffer


def test_training_that_does_not_help_leaves_the_network_alone(network, prepared):
    data = classifier(network)
    graph, calibration, samples, held_back = prepared(data)
    plan = Plan.bare(graph, schemes_of(graph, SCHEMES[1]))
    wild = Training(epochs=2, batch=16, rate=1000.0)
    found = distill(data, graph, calibration, plan, samples, held_back, training=wild)
    assert found.chosen == 0
    assert found.flatbuffer == data
    assert min(point.error for point in found.curve[1:]) > found.curve[0].error


def test_a_network_without_classes_learns_its_values(network, prepared):
    data = autoencoder(network)
    graph, calibration, samples, held_back = prepared(data)
    assert not graph.is_classifier
    plan = Plan.bare(graph, schemes_of(graph, ["w4a8", "w4a8"]))
    found = distill(data, graph, calibration, plan, samples, held_back, training=QUICK)
    emitted = convert(found.flatbuffer, build_graph(found.flatbuffer), calibration, plan).model
    error = Reference(data, graph, held_back).error(emitted)
    assert found.loss == "nmse"
    assert min(point.error for point in found.curve) < 0.8 * found.curve[0].error
    assert error.nmse == pytest.approx(min(point.error for point in found.curve), rel=0.02)


def test_labels_count_where_they_are_given(network, prepared):
    data = classifier(network)
    graph, calibration, samples, held_back = prepared(data, labels=True)
    plan = Plan.bare(graph, schemes_of(graph, SCHEMES[0]))
    with_labels, without = (
        distill(data, graph, calibration, plan, samples, held_back,
                training=Training(epochs=1, batch=16, label_weight=weight))
        for weight in (0.5, 0.0)
    )  # fmt: skip
    assert with_labels.flatbuffer != without.flatbuffer
    assert with_labels.curve[0].error > without.curve[0].error, "random labels cost more than float's own answers"


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(network, prepared, tmp_path):
    data = classifier(network)
    graph, calibration, samples, held_back = prepared(data)
    plan = Plan.bare(graph, schemes_of(graph, SCHEMES[0]))
    arguments = (data, graph, calibration, plan, samples, held_back)
    whole = distill(*arguments, training=QUICK)
    seen = []

    def killed_at_25(done, total):
        seen.append(done)
        if done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(*arguments, training=QUICK, checkpoint=tmp_path / "training.npz", progress=killed_at_25)
    assert seen == list(range(1, 26))
    seen.clear()
    resumed = distill(
        *arguments, training=QUICK, checkpoint=tmp_path / "training.npz", progress=lambda done, _: seen.append(done)
    )
    assert seen == list(range(21, 41))
    assert resumed == whole
    seen.clear()
    distill(*arguments, training=Training(epochs=1, batch=16), checkpoint=tmp_path / "training.npz",
            progress=lambda done, _: seen.append(done))  # fmt: skip
    assert seen == list(range(1, 11)), "another training starts anew"
    (tmp_path / "training.npz").write_bytes(b"not a checkpoint")
    assert distill(*arguments, training=QUICK, checkpoint=tmp_path / "training.npz") == whole


def test_a_time_budget_decides_the_number_of_epochs_and_nothing_else(network, prepared):
    data = classifier(network)
    graph, calibration, samples, held_back = prepared(data)
    plan = Plan.bare(graph, schemes_of(graph, SCHEMES[0]))
    arguments = (data, graph, calibration, plan, samples, held_back)
    readings = iter(range(10_000))
    # The trial of 8 steps takes one tick of this clock, an epoch of 10 therefore 1.4.
    short = distill(*arguments, training=QUICK, time_budget_s=6, clock=lambda: float(next(readings)))
    assert short.planned_epochs == 2
    same = distill(*arguments, training=replace(QUICK, epochs=2))
    assert short == same
    at_least = distill(*arguments, training=QUICK, time_budget_s=0.0)
    assert at_least.planned_epochs == 1


def test_samples_that_do_not_fit_into_memory_give_the_same(network, prepared, monkeypatch):
    data = autoencoder(network)
    graph, _, samples, _ = prepared(data)
    kept = Lessons(data, graph, samples, Augmentation())
    monkeypatch.setattr(lessons, "_KEPT_BYTES", 0)
    fresh = Lessons(data, graph, samples, Augmentation())
    for one, other in zip(kept.batches(32, 3, 1), fresh.batches(32, 3, 1), strict=True):
        for a, b in zip((*one.inputs, *one.targets), (*other.inputs, *other.targets), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("augmentation", [Augmentation(), None])
def test_the_float_network_answers_what_the_student_is_shown(network, prepared, augmentation):
    data = autoencoder(network)
    graph, _, samples, _ = prepared(data)
    teacher = DifferentiableGraph(data)
    originals = {row.tobytes() for row in samples.block(0, len(samples))[0]}
    shown = []
    for batch in Lessons(data, graph, samples, augmentation).batches(16, 0, 0):
        np.testing.assert_allclose(teacher(batch.inputs)[graph.compared[0]], batch.targets[0], rtol=1e-4, atol=1e-4)
        shown += [row.tobytes() for row in batch.inputs[0].numpy()[:, 0]]
    unchanged = sum(row in originals for row in shown)
    assert len(shown) == 160
    assert unchanged == 160 if augmentation is None else unchanged < 60


def test_an_op_without_a_gradient_is_refused_by_name(network, calibrated):
    net = network()
    x = net.input("in", (1, 8, 8, 3))
    y = net.op("CONV_2D", [x, net.constant("w", noise(4, 3, 3, 3)), net.constant("b", noise(4))],
               [net.tensor("y", (1, 8, 8, 4))], fusedActivationFunction=TANH)  # fmt: skip
    data, samples = net.build([y]), samples_of(4, 0)
    graph, calibration = calibrated(data, [[s[0][None]] for s in samples])
    with pytest.raises(UnsupportedModel, match="CONV_2D with fused TANH"):
        distill(data, graph, calibration, Plan.bare(graph, ["float"]), samples, samples)

"""Whole networks as TensorFlow functions: every tensor and the gradients against the interpreter, and the hooks."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.errors import BitplanError, UnsupportedModel
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.differentiable import DifferentiableGraph, Taps
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.runtime import Runner
from bitplan.analyzer.network.subgraph import Cutter
from conftest_data import demo
from single_ops import X, assert_close, build, case, interpreted, tensors_of
from small_networks import Network

pytestmark = pytest.mark.slow

RELU6 = 3
STEP = 1e-4  # of differences: smaller ones drown in float32's rounding, larger ones meet kinks
FLOAT_MODELS = {
    "mobilenetv2_cifar10_96", "branching_conv_fc", "conv_fc_mnist", "duplicated_tensor_names",
    "hand_landmark_fp16_no_signature", "iris_landmark_prelu_no_signature", "resnet8_cifar10_float", "single_add",
    "single_depthwise_conv2d_bias", "single_fc_bias_relu6", "two_inputs_concatenation",
}  # fmt: skip


def tf():
    import tensorflow

    return tensorflow


def random_inputs(data, count, seed=0):
    """[count, *shape] for each input, between -1 and 1."""
    graph = build_graph(data)
    generator = np.random.default_rng(seed)
    return [generator.uniform(-1, 1, (count, *graph.tensors[t].shape)).astype(np.float32) for t in graph.inputs]


def normalised_demo():
    data, images, _ = demo()
    return load_float(data).flatbuffer, images


def run(data, samples, **options):
    return DifferentiableGraph(data)([tf().constant(x) for x in samples], **options)


def assert_equals_the_interpreter(data):
    samples, tensors = random_inputs(data, 3), tensors_of(data)
    values = run(data, samples)
    for tensor, wanted in zip(tensors, interpreted(data, samples, tensors), strict=True):
        assert_close(values[tensor].numpy(), wanted, f"tensor {tensor}")
    singles = [run(data, [x[n : n + 1] for x in samples]) for n in range(3)]
    for tensor in tensors:
        alone = np.concatenate([single[tensor].numpy() for single in singles])
        assert_close(values[tensor].numpy(), alone, f"tensor {tensor}", 1e-5)


def test_every_tensor_of_every_float_model(shared):
    """Models that `load_float` refuses are quantized or no single network; the others are the ones listed."""
    seen = set()
    for path in sorted((shared / "models").rglob("*.tflite")):
        try:
            data = load_float(path, warn=print).flatbuffer
        except BitplanError:
            continue
        seen.add(path.stem)
        assert_equals_the_interpreter(data)
    assert seen >= FLOAT_MODELS


def test_every_tensor_of_the_demo():
    assert_equals_the_interpreter(normalised_demo()[0])


def test_a_traced_function_takes_any_number_of_samples():
    data, images = normalised_demo()
    graph = DifferentiableGraph(data)
    images = images[:5, None].astype(np.float32) / 255
    (output,) = build_graph(data).outputs
    traced = tf().function(
        lambda x: graph([x])[output], input_signature=[tf().TensorSpec([None, 1, 28, 28, 1], tf().float32)]
    )
    for count in (1, 5):
        found = traced(images[:count])
        assert found.shape == (count, 1, 10)
        assert_close(found.numpy(), interpreted(data, [images[:count]], [output])[0], f"{count} samples")


# --- hooks ------------------------------------------------------------------------------------------------------------


def slope(ahead, behind, weights, step):
    """Of the weighted sum of outputs, by central differences in double precision."""
    return float((weights * (ahead.astype(np.float64) - behind.astype(np.float64))).sum() / (2 * step))


def suffix_output(data, tensor, output, values, replaced, consumer=None):
    """The interpreter's output where a tensor has other values, for one op or for all that read it."""
    piece = Cutter(data).suffix(tensor, [output], consumer)
    given = [replaced, *(values[t].numpy()[0] for t in piece.inputs[1:])]
    return np.array(Runner(piece.flatbuffer, kernels="builtin").run(given)[0])


@pytest.fixture(scope="module")
def demo_values():
    """The demo, an image of noise, its values by tensor index, the logits' index, and the graph.

    On a picture's even background whole regions lie at one kink of a ReLU, where there is no slope.
    """
    data, _ = normalised_demo()
    image = np.random.default_rng(0).uniform(size=(1, 1, 28, 28, 1)).astype(np.float32)
    graph = build_graph(data)
    return data, image, run(data, [image]), graph.compared[0], graph


def demo_gradients(demo_values, taps_of, weights):
    """d(weighted logits) / d(added), where `taps_of(added)` adds zeros at places of its own choice."""
    data, image, _, logits, _ = demo_values
    added = {}

    def add(key, value):
        added[key] = tf().zeros_like(value)
        tape.watch(added[key])
        return value + added[key]

    with tf().GradientTape() as tape:
        found = run(data, [image], taps=taps_of(add))
        total = tf().reduce_sum(found[logits] * weights.astype(np.float32))
    return {key: g.numpy() for key, g in tape.gradient(total, added).items() if g is not None}


def assert_slope_matches(gradient, way, found):
    expected = float((gradient.astype(np.float64) * way).sum())
    assert np.linalg.norm(gradient) > 0
    assert abs(expected - found) <= 0.03 * np.linalg.norm(gradient)


def test_gradients_at_written_tensors_are_slopes_of_the_interpreter(demo_values):
    data, _, values, logits, graph = demo_values
    generator = np.random.default_rng(1)
    weights = generator.normal(size=values[logits].shape)
    gradients = demo_gradients(demo_values, lambda add: Taps(written=add), weights)
    assert set(gradients) >= {t for op in graph.ops if op.outputs[0] != graph.outputs[0] for t in op.outputs}
    for tensor in [graph.inputs[0], *(op.outputs[0] for op in graph.ops[::5] if op.outputs[0] in gradients)]:
        if tensor == logits:
            continue
        value = values[tensor].numpy()[0]
        way = generator.choice([-1.0, 1.0], value.shape)
        ends = [
            suffix_output(data, tensor, logits, values, (value + s * way).astype(np.float32)) for s in (STEP, -STEP)
        ]
        assert_slope_matches(gradients[tensor][0], way, slope(*ends, weights[0], STEP))


def test_gradients_at_readers_are_slopes_for_that_reader_alone(demo_values):
    data, _, values, logits, graph = demo_values
    generator = np.random.default_rng(2)
    weights = generator.normal(size=values[logits].shape)
    gradients = demo_gradients(
        demo_values, lambda add: Taps(read=lambda tensor, op, value: add((tensor, op), value)), weights
    )
    assert set(gradients) | {(logits, graph.ops[-1].index)} == {
        (t, op.index) for op in graph.ops for t in graph.activations_in(op)
    }
    forks = [op.inputs[0] for op in graph.ops if op.opcode == "ADD"][:2]
    seen = 0
    for tensor in forks:
        for reader in graph.consumers(tensor):
            value = values[tensor].numpy()[0]
            way = generator.choice([-1.0, 1.0], value.shape)
            ends = [
                suffix_output(data, tensor, logits, values, (value + s * way).astype(np.float32), reader)
                for s in (STEP, -STEP)
            ]
            assert_slope_matches(gradients[tensor, reader][0], way, slope(*ends, weights[0], STEP))
            seen += 1
    assert seen > 2


def two_convolutions():
    """conv with ReLU6 -> ADD of it and itself -> dense; indices of its tensors by name, and the flatbuffer."""
    generator = np.random.default_rng(4)
    net = Network()
    x = net.input("x", (1, 6, 6, 3))
    w, b = (net.constant(n, generator.normal(size=s).astype(np.float32)) for n, s in (("w", (4, 3, 3, 3)), ("b", (4,))))
    a, twice = net.tensor("a", (1, 6, 6, 4)), net.tensor("twice", (1, 6, 6, 4))
    net.op("CONV_2D", [x, w, b], [a], fusedActivationFunction=RELU6)
    net.op("ADD", [a, a], [twice])
    dense = net.constant("dense", generator.normal(size=(5, 144)).astype(np.float32))
    y = net.tensor("y", (1, 5))
    net.op("FULLY_CONNECTED", [twice, dense, -1], [y])
    return net.build([y]), {"x": x, "w": w, "b": b, "a": a, "twice": twice, "y": y, "dense": dense}


def test_hooks_are_called_once_for_each_place_and_change_what_follows():
    data, at = two_convolutions()
    samples = random_inputs(data, 2)
    plain = run(data, samples)
    calls = {"written": [], "read": [], "before": []}

    def note(kind):
        def hook(*place):
            calls[kind].append(place[:-1])
            return place[-1]

        return hook

    same = run(data, samples, taps=Taps(note("written"), note("read"), note("before")))
    assert calls["written"] == [(at["x"],), (at["a"],), (at["twice"],), (at["y"],)]
    assert calls["read"] == [(at["x"], 0), (at["a"], 1), (at["twice"], 2)]
    assert calls["before"] == [(0,), (1,), (2,)]
    np.testing.assert_array_equal(same[at["y"]], plain[at["y"]])

    changed = run(data, samples, taps=Taps(written=lambda t, v: v * 0 + 2 if t == at["a"] else v))
    np.testing.assert_array_equal(changed[at["a"]], np.full((2, 1, 6, 6, 4), 2, np.float32))
    np.testing.assert_array_equal(changed[at["twice"]], np.full((2, 1, 6, 6, 4), 4, np.float32))
    read = run(data, samples, taps=Taps(read=lambda t, op, v: v * 0 + 3 if (t, op) == (at["a"], 1) else v))
    np.testing.assert_array_equal(read[at["a"]], plain[at["a"]])
    np.testing.assert_array_equal(read[at["twice"]], np.full((2, 1, 6, 6, 4), 6, np.float32))


def test_before_activation_lies_before_the_clamp():
    data, at = two_convolutions()
    samples = random_inputs(data, 2)
    seen = {}
    raised = run(data, samples, taps=Taps(before_activation=lambda op, v: seen.setdefault(op, v) + 100 * (op == 0)))
    plain = run(data, samples)
    np.testing.assert_array_equal(raised[at["a"]], np.full((2, 1, 6, 6, 4), 6, np.float32))
    np.testing.assert_array_equal(np.clip(seen[0], 0, 6), plain[at["a"]])
    assert seen[0].numpy().min() < 0
    assert seen[0].shape == (2, 1, 6, 6, 4)


def with_constant(data, tensor, values):
    model = fb.read(data)
    fb.set_constant(model, model.subgraphs[0].tensors[tensor], values)
    return fb.write(model)


def test_other_constants_give_what_a_file_with_them_gives_and_have_gradients():
    data, at = two_convolutions()
    samples = random_inputs(data, 2)
    model = fb.read(data)
    generator = np.random.default_rng(6)
    old = {n: fb.constant(model, model.subgraphs[0].tensors[at[n]]) for n in ("w", "b", "dense")}
    new = {n: (v + generator.normal(size=v.shape)).astype(np.float32) for n, v in old.items()}
    file = data
    for name, values in new.items():
        file = with_constant(file, at[name], values)
    variables = {at[name]: tf().Variable(values) for name, values in new.items()}
    weights = generator.normal(size=(2, 1, 5))
    with tf().GradientTape() as tape:
        found = run(data, samples, constants=variables)[at["y"]]
        total = tf().reduce_sum(found * weights.astype(np.float32))
    assert_close(found.numpy(), interpreted(file, samples, [at["y"]])[0], "other constants")
    gradients = tape.gradient(total, variables)
    step = 1e-3
    for name, values in new.items():
        way = generator.choice([-1.0, 1.0], values.shape)
        ends = [
            interpreted(with_constant(file, at[name], (values + s * way).astype(np.float32)), samples, [at["y"]])[0]
            for s in (step, -step)
        ]
        assert_slope_matches(gradients[at[name]].numpy(), way, slope(*ends, weights, step))


def test_one_op_alone_with_other_weights_and_without_bias(demo_values):
    data, _, values, _, graph = demo_values
    network = DifferentiableGraph(data)
    cutter = Cutter(data)
    for op in [op for op in graph.ops if op.weights is not None][:6]:
        weights = fb.constant(fb.read(data), fb.read(data).subgraphs[0].tensors[op.weights]) * np.float32(1.5)
        piece = cutter.single(op.index, {op.weights: weights}, without_activation=True)
        wanted = np.array(
            Runner(piece.flatbuffer, kernels="builtin").run([values[t].numpy()[0] for t in piece.inputs])[0]
        )
        found = network.op_before_activation(op.index, values, {op.weights: tf().constant(weights)})
        assert_close(found.numpy()[0], wanted, op.key)
        bias = fb.constant(fb.read(data), fb.read(data).subgraphs[0].tensors[op.bias])
        bare = network.op_before_activation(op.index, values, {op.weights: tf().constant(weights)}, bias=False)
        assert_close(bare.numpy()[0] + bias, wanted, op.key)


def test_what_depends_on_no_input_has_a_value_for_every_sample():
    net = Network()
    x = net.input("x", (3, 4))
    start, limit, delta = (net.constant(f"c{k}", np.float32(v).reshape(())) for k, v in enumerate((1, 9, 2)))
    steps, y = net.tensor("steps", (4,)), net.tensor("y", (3, 4))
    net.op("RANGE", [start, limit, delta], [steps])
    net.op("MUL", [x, steps], [y])
    data = net.build([y])
    samples = random_inputs(data, 2)
    values = run(data, samples)
    assert_close(values[y].numpy(), interpreted(data, samples, [y])[0], "y")
    np.testing.assert_array_equal(values[steps], np.float32([[1, 3, 5, 7]] * 2))


def test_a_network_that_is_not_covered_is_refused_by_name():
    data = build(case("ADD", X((2, 3)), X((2, 3)), kind="Add", fusedActivationFunction=4))
    with pytest.raises(UnsupportedModel, match="ADD with fused TANH"):
        DifferentiableGraph(data)

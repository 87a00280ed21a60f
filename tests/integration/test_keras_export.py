"""Learned weights in the Keras model that the float network came from, judged by converting that model again."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.inputs.keras_export import check_keras, export_keras
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network import runtime
from bitplan.analyzer.network.constants import replace_constants
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.kernels import BIAS_INPUT

pytestmark = pytest.mark.slow


def network(*, scale=True, center=True, bias=True):
    """One of each kind of layer that is folded; BatchNorm with and without its parameters."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    images = x = layers.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", use_bias=bias)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(scale=scale, center=center)(x))
    x = layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=2, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(scale=scale, center=center)(x))
    x = layers.Conv2DTranspose(5, 2, 2, use_bias=True)(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(7, 1)(x))
    model = keras.Model(images, layers.Dense(4)(x))
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.3, 3, layer.moving_variance.shape))
    return model


def changed(data):
    """Other weights and biases everywhere; and the graph."""
    graph, model = build_graph(data), fb.read(data)
    rng = np.random.default_rng(8)
    values = {}
    for op in graph.ops:
        if op.weights is not None:
            place = BIAS_INPUT[op.opcode]
            for tensor in (op.weights, *op.inputs[place : place + 1]):
                if tensor < 0:
                    continue
                old = fb.constant(model, model.subgraphs[0].tensors[tensor])
                values[tensor] = (old + 0.05 * rng.normal(size=old.shape)).astype(np.float32)
    return graph, replace_constants(data, values)


def outputs(data, count=3):
    runner = runtime.Runner(data)
    rng = np.random.default_rng(1)
    return np.array([
        runtime.run_one(runner, [rng.normal(size=(1, 8, 8, 3)).astype(np.float32)])[0] for _ in range(count)
    ])  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"bias": False}])
def test_the_exported_model_computes_what_was_learned(tmp_path, options):
    model = network(**options)
    before = [np.array(value) for value in model.get_weights()]
    data = load_float(model).flatbuffer
    graph, learned = changed(data)
    names = export_keras(model, tmp_path / "learned.keras", graph, data, learned)
    again = load_float(tmp_path / "learned.keras").flatbuffer
    assert len(names) == 5
    assert np.abs(outputs(learned) - outputs(data)).max() > 0.01
    np.testing.assert_allclose(outputs(again), outputs(learned), atol=2e-5)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [path.name for path in tmp_path.iterdir()] == ["learned.keras"]


def test_layers_that_nothing_was_learned_for_stay(tmp_path):
    model = network()
    data = load_float(model).flatbuffer
    assert export_keras(model, tmp_path / "same.keras", build_graph(data), data, data) == ()


def test_another_model_is_refused_by_the_name_of_the_op(tmp_path):
    data = load_float(network()).flatbuffer
    graph, learned = changed(data)
    other = network()
    other.set_weights([value + 1 for value in other.get_weights()])
    with pytest.raises(UnsupportedModel, match=r"no layer of the Keras model has the weights of conv2d"):
        export_keras(other, tmp_path / "learned.keras", graph, data, learned)
    assert not list(tmp_path.iterdir())


def test_a_bias_that_the_layer_cannot_hold_is_refused(tmp_path):
    import keras
    from keras import layers

    images = layers.Input((4, 4, 2))
    model = keras.Model(images, layers.Conv2D(3, 1, use_bias=False, name="bare")(images))
    data = load_float(model).flatbuffer
    graph = build_graph(data)
    (op,) = (op for op in graph.ops if op.weights is not None)
    bias = op.inputs[BIAS_INPUT[op.opcode]]
    learned = replace_constants(data, {bias: np.ones(3, np.float32)})
    with pytest.raises(UnsupportedModel, match="bare has no bias"):
        export_keras(model, tmp_path / "learned.keras", graph, data, learned)


def test_a_flatbuffer_has_no_keras_model(tmp_path):
    path = tmp_path / "float.tflite"
    path.write_bytes(load_float(network()).flatbuffer)
    with pytest.raises(UnsupportedModel, match="is no Keras file"):
        check_keras(path)

"""Files of TensorFlow's converter beside their parent: every way it quantizes is found whole, and explained."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures.attribution import divide_error, measured_errors
from bitplan.analyzer.measures.inspection import inspect_file
from bitplan.analyzer.measures.quantized_file import QuantizedFile, with_compared
from bitplan.analyzer.measures.substitution import Substituted
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.silence import import_tensorflow
from samples import Arrays
from test_substitution import as_uint8

pytestmark = pytest.mark.slow

WAYS = ("int8", "uint8 io", "uint8", "per tensor", "16x8", "dynamic", "float16")
IMAGES = np.random.default_rng(2).uniform(-1, 1, (16, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    """A Keras network with all that converters fuse: BatchNorm, RELU6, a residual sum, pooling, dense layers."""
    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(1)
    layers = tf.keras.layers
    x = layers.Input((16, 16, 3))
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(x)))
    z = layers.Conv2D(8, 1)(layers.DepthwiseConv2D(3, padding="same", activation="relu")(y))
    y = layers.Conv2D(16, 3, strides=2, activation="relu")(layers.Add()([y, z]))
    y = layers.Dense(64, activation="relu")(layers.GlobalAveragePooling2D()(y))
    return tf.keras.Model(x, layers.Dense(10, activation="softmax")(y))


@pytest.fixture(scope="module")
def convert_as(network):
    """convert_as(way) -> the file, converted once."""
    return functools.cache(lambda way: converted(network, way))


def converted(network, way):
    if way == "uint8":
        return as_uint8(converted(network, "per tensor"))
    tf = import_tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if way not in ("dynamic", "float16"):
        converter.representative_dataset = lambda: ([image[None]] for image in IMAGES)
    sets = tf.lite.OpsSet
    if way == "uint8 io":
        converter.target_spec.supported_ops = [sets.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    if way == "16x8":
        converter.target_spec.supported_ops = [sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    if way == "float16":
        converter.target_spec.supported_types = [tf.float16]
    converter._experimental_disable_per_channel = way == "per tensor"
    return converter.convert()


@pytest.fixture(scope="module")
def parent(network):
    data = load_float(network).flatbuffer
    return data, build_graph(data)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_quantize_is_found_whole_and_explained(convert_as, parent, way):
    assert_explained(*parent, convert_as(way), dynamic=way == "dynamic")


def assert_explained(data, graph, file, *, dynamic=False, rel=0.05):
    """Every op is found, and the file's numbers do in the float network what the file does.

    Returns:
      How much was found.
    """
    opened = QuantizedFile(file, graph, data)
    covered = opened.coverage
    assert (covered.matched_ops, covered.matched_macs) == (covered.total_ops, covered.total_macs)
    assert all(item.harmless for item in covered.not_aligned)
    samples = Arrays(IMAGES)
    graph, places = with_compared(opened, graph)
    measured = measured_errors(data, graph, file, places, samples).mean()
    substituted = Substituted(data, graph).errors(samples, [opened.ingredients]).mean()
    assert measured > 0
    if dynamic:  # what hybrid kernels round while they run is not in the file
        assert covered.dynamic_ops > 0
        assert substituted < measured
    else:
        assert covered.dynamic_ops == 0
        assert substituted == pytest.approx(measured, rel=rel)
    return covered


def test_weights_behind_dequantize_ops_are_found(parent, tmp_path):
    """litert-quantizer's weight-only files: int8 weights, a DEQUANTIZE for each, and float kernels."""
    from litert_quantizer import quantizer, recipe

    (tmp_path / "float.tflite").write_bytes(parent[0])
    made = quantizer.Quantizer(str(tmp_path / "float.tflite"))
    made.load_quantization_recipe(recipe.weight_only_wi8_afp32())
    file = bytes(made.quantize().quantized_model)
    assert inspect_file(file).quantization == "weight only"
    assert_explained(*parent, file, rel=1e-3)


@pytest.fixture(scope="module")
def layouts():
    """Two networks of one function; one flattens channels first, the other one channels last, with weights to match."""
    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(3)
    layers = tf.keras.layers

    def network(channels_first):
        x = layers.Input((16, 16, 3))
        y = layers.Conv2D(6, 3, strides=4, activation="relu")(layers.Conv2D(8, 3, padding="same")(x))
        y = layers.Permute((3, 1, 2))(y) if channels_first else y
        y = layers.Dense(32, activation="relu")(layers.Flatten()(y))
        return tf.keras.Model(x, layers.Dense(10, activation="softmax")(y))

    first, last = network(True), network(False)
    for ours, theirs in zip(*([k for k in net.layers if k.weights] for net in (first, last)), strict=True):
        weights = ours.get_weights()
        if weights[0].shape == (96, 32):
            weights[0] = weights[0].reshape(6, 4, 4, 32).transpose(1, 2, 0, 3).reshape(96, 32)
        theirs.set_weights(weights)
    np.testing.assert_allclose(first(IMAGES), last(IMAGES), atol=1e-6)
    return first, last


@pytest.mark.parametrize(("parent_of", "child_of"), [(0, 1), (1, 0)])
def test_a_flatten_in_another_layout_is_the_same_network(layouts, parent_of, child_of):
    data = load_float(layouts[parent_of]).flatbuffer
    covered = assert_explained(data, build_graph(data), converted(layouts[child_of], "int8"), rel=0.01)
    assert "TRANSPOSE" in {item.op.split(":")[1] for item in covered.not_aligned}
    assert covered.found_by["weights"] == 4, "weights in another order are the same weights"


def test_inspection_tells_the_ways_apart(convert_as):
    kinds = {way: inspect_file(convert_as(way)) for way in ("int8", "dynamic", "float16", "per tensor")}
    assert {way: found.quantization for way, found in kinds.items()} == {
        "int8": "integer", "dynamic": "dynamic range", "float16": "float16", "per tensor": "integer",
    }  # fmt: skip
    assert {finding.name for finding in kinds["per tensor"].findings} == {"per_tensor_weights"}


def test_the_public_pair_is_explained(shared):
    public = shared / "models" / "public"
    data = load_float(public / "resnet8_cifar10_float.tflite").flatbuffer
    images = np.load(shared / "data" / "cifar10.npz")["x_unlabelled"][:16].astype(np.float32)
    found = divide_error(data, build_graph(data), (public / "resnet8_cifar10_int8.tflite").read_bytes(), Arrays(images))
    assert found.coverage.matched_ops == found.coverage.total_ops == 16
    assert found.layers[0].layer == "average_pooling2d"
    assert found.substituted_nmse == pytest.approx(found.measured_nmse, rel=0.1)


def test_a_file_that_is_no_child_is_seen_by_its_weights(shared):
    """The public companion of conv_fc_mnist has equal names and shapes, and other weights."""
    public = shared / "models" / "public"
    data = load_float(public / "conv_fc_mnist.tflite").flatbuffer
    graph = build_graph(data)
    stranger, child = (
        QuantizedFile((public / name).read_bytes(), graph, data)
        for name in ("conv_fc_mnist_srq_a8w8.tflite", "partly_quantized_mnist.tflite")
    )
    weighted = [op for op in graph.ops if op.weights is not None]
    assert max(stranger.likeness(op) for op in weighted) < 0.5
    assert min(child.likeness(op) for op in weighted) > 0.99

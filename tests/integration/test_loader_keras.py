"""Keras models, Keras files and SavedModels built here, against the values that TensorFlow itself computes."""

from __future__ import annotations

import json
import warnings

import h5py
import numpy as np
import pytest
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.inputs.loader import FloatModel, load_float
from bitplan.analyzer.network import flatbuffer as fb

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(7)


def sample(*shape: int) -> np.ndarray:
    return RNG.normal(size=(1, *shape)).astype(np.float32)


def signature(model: FloatModel) -> tuple[list[str], list[str]]:
    definition = fb.read(model.flatbuffer).signatureDefs[0]
    return [e.name.decode() for e in definition.inputs], [e.name.decode() for e in definition.outputs]


def opcodes(model: FloatModel) -> list[str]:
    parsed = fb.read(model.flatbuffer)
    return [fb.opcode_name(parsed, op) for op in parsed.subgraphs[0].operators]


def run(model: FloatModel, *inputs: np.ndarray) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model.flatbuffer)
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()]


def assert_same(model: FloatModel, inputs, expected, atol: float = 1e-5) -> None:
    for ours, theirs in zip(run(model, *inputs), expected, strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs), atol=atol)


@pytest.fixture(scope="module")
def keras():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
    keras.utils.set_random_seed(0)
    return keras


def small_network(keras):
    """Two inputs, declared in another order than that of their names, BatchNorm + ReLU6, Flatten, two outputs."""
    layers = keras.layers
    image, extra = keras.Input((6, 6, 2), name="z_image"), keras.Input((3,), name="a_extra")
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(image)
    norm = layers.BatchNormalization(name="bn")
    x = layers.ReLU(6.0, name="relu")(norm(x))
    x = layers.Flatten(name="flat")(x)
    x = layers.Concatenate(name="join")([x, layers.Dense(4, name="widen")(extra)])
    outputs = [layers.Dense(5, activation="softmax", name="z_class")(x), layers.Dense(2, name="a_box")(x)]
    norm.set_weights([RNG.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4)])
    return keras.Model([image, extra], outputs, name="small")


def test_a_model_its_file_and_its_savedmodel_are_the_same_function(keras, tmp_path, capfd):
    network = small_network(keras)
    inputs = [sample(6, 6, 2), sample(3)]
    expected = network(inputs)
    network.save(tmp_path / "small.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.save(tmp_path / "small.h5")
    network.export(tmp_path / "saved", verbose=False)
    capfd.readouterr()

    told: list[str] = []
    loaded = {key: load_float(given, warn=told.append) for key, given in {
        "object": network, "keras": tmp_path / "small.keras", "h5": str(tmp_path / "small.h5"),
        "folder": tmp_path / "saved", "pb": tmp_path / "saved" / "saved_model.pb",
    }.items()}  # fmt: skip
    assert capfd.readouterr().out == "" and told == []
    for key in ("object", "keras", "h5"):
        assert signature(loaded[key]) == (["z_image", "a_extra"], ["z_class", "a_box"])
        assert_same(loaded[key], inputs, expected)
        assert not {"MUL", "ADD", "RELU6"} & set(opcodes(loaded[key])), "BatchNorm folds and ReLU6 fuses"
        assert loaded[key].name == "small"
    assert loaded["folder"].name == "saved" and loaded["folder"] == loaded["pb"]
    assert signature(loaded["folder"]) == (["a_extra", "z_image"], ["output_0", "output_1"])
    assert_same(loaded["folder"], inputs[::-1], expected)
    assert load_float(tmp_path / "small.keras") == loaded["keras"], "the same file gives the same bytes"


def test_an_open_batch_converted_elsewhere_is_the_same_function(keras):
    import tensorflow as tf

    layers = keras.layers
    image = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2DTranspose(3, 3, strides=2)(layers.Conv2D(3, 3)(image))
    x = layers.UpSampling2D()(layers.Permute((2, 1, 3))(x))
    x = layers.Reshape((-1, 4))(layers.Flatten()(x))
    network = keras.Model({"image": image}, {"b": x, "a": layers.GlobalAveragePooling1D()(x)})
    values = sample(6, 6, 2)
    expected = network({"image": values})
    dynamic = load_float(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & set(opcodes(dynamic))
    assert any("shape computations folded" in note for note in dynamic.notes)
    mine = load_float(network)
    assert signature(mine) == (["image"], ["a", "b"])
    assert_same(mine, [values], [expected["a"], expected["b"]])
    ours = {array.shape: array for array in run(dynamic, values)}
    for array in expected.values():
        np.testing.assert_allclose(ours[array.shape], np.asarray(array), atol=1e-5)


def test_fake_quantization_of_a_qat_model_becomes_declared_ranges(keras):
    import tensorflow as tf

    class FakeQuantize(keras.layers.Layer):
        def __init__(self, low: float, high: float) -> None:
            super().__init__()
            self.low, self.high = low, high

        def call(self, x):
            return tf.quantization.fake_quant_with_min_max_args(x, self.low, self.high)

    class QuantizedDense(keras.layers.Dense):
        def call(self, x):
            rough = tf.quantization.fake_quant_with_min_max_args(self.kernel, -1.0, 1.0, narrow_range=True)
            return tf.matmul(x, rough) + self.bias

    image = keras.Input((8,), name="image")
    hidden, output = QuantizedDense(4, name="hidden"), keras.layers.Dense(3, name="last")
    x = FakeQuantize(0.0, 6.0)(keras.layers.ReLU(name="relu")(hidden(FakeQuantize(-2.0, 2.0)(image))))
    qat = keras.Model(image, FakeQuantize(-4.0, 4.0)(output(x)))
    model = load_float(qat)
    assert set(opcodes(model)) == {"FULLY_CONNECTED"}
    ranges = dict(model.declared_ranges)
    assert ranges.pop("serving_default_image:0") == pytest.approx((-2.0, 2.0), abs=0.02)
    assert sorted(ranges.values()) == [pytest.approx((-4.0, 4.0), abs=0.04), pytest.approx((0.0, 6.0), abs=0.01)]
    assert {fb.text(t.name) for t in fb.read(model.flatbuffer).subgraphs[0].tensors} >= set(model.declared_ranges)
    values = sample(8)
    # The converter itself puts constant weights on the grid they were trained for; the activations are float again.
    kernel = tf.quantization.fake_quant_with_min_max_args(hidden.kernel, -1.0, 1.0, narrow_range=True).numpy()
    assert_same(model, [values], [output(np.maximum(values @ kernel + hidden.bias.numpy(), 0))])


def as_keras_2(path, **changes) -> None:
    """Rewrites an `.h5` file of Keras 3 as Keras 2 wrote it; `changes` go into the configuration of the named layer."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["config"].update(changes.get(layer["config"]["name"], {}))
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = file["model_weights"].attrs["keras_version"] = "2.4.0"


def test_keras_2_traps_are_mended_to_the_old_meaning(keras, tmp_path):
    layers = keras.layers
    image = keras.Input((5, 5, 2), name="image")
    x = layers.DepthwiseConv2D(3, name="dw")(image)
    network = keras.Model(image, layers.Activation("hard_sigmoid", name="gate")(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.save(tmp_path / "old.h5")
    as_keras_2(tmp_path / "old.h5", dw={"groups": 1})
    model = load_float(tmp_path / "old.h5")
    values = sample(5, 5, 2)
    before = np.asarray(keras.Model(image, x)(values))
    assert_same(model, [values], [np.clip(0.2 * before + 0.5, 0, 1)])
    assert "Keras 2: DepthwiseConv2D.groups dropped (1x)" in model.notes
    assert model.name == "old"


def test_code_runs_only_where_the_file_is_trusted(keras, tmp_path):
    image = keras.Input((4,), name="image")
    network = keras.Model(image, keras.layers.Lambda(lambda x: x * 2 + 1, name="twice")(image))
    values = sample(4)
    for suffix in ("keras", "h5"):
        path = tmp_path / f"code.{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.save(path)
        with pytest.raises(UnsupportedModel, match=r"twice \(Lambda\)"):
            load_float(path)
        assert_same(load_float(path, trust_model=True), [values], [values * 2 + 1])


def test_what_keras_cannot_rebuild_or_tflite_cannot_run_is_refused_by_name(keras, tmp_path):
    import tensorflow as tf

    class Mine(keras.layers.Layer):
        def call(self, x):
            return tf.linalg.cholesky(x)

    square = keras.Input((3, 3), name="square")
    network = keras.Model(square, Mine(name="mine")(square), name="roots")
    network.save(tmp_path / "mine.keras")
    with pytest.raises(UnsupportedModel, match="needs the class Mine, whose code is not in the file"):
        load_float(tmp_path / "mine.keras")
    with pytest.raises(UnsupportedModel, match="roots uses ops that TFLite has no kernel for: Cholesky") as caught:
        load_float(network)
    assert "tf.Cholesky" in caught.value.problem, "the end of the converter's log is in the error"
    wide = keras.Input((None, None, 3), name="wide")
    with pytest.raises(UnsupportedModel, match=r"input wide has a dynamic shape: \(None, None, None, 3\)"):
        load_float(keras.Model(wide, keras.layers.Conv2D(2, 3)(wide)))
    with pytest.raises(UnsupportedModel, match="declares no inputs"):
        load_float(keras.Sequential([keras.layers.Dense(2)]))
    steps = keras.Input((10, 4), name="steps")
    with pytest.raises(UnsupportedModel, match=r"WHILE \(control flow, which LSTM"):
        load_float(keras.Model(steps, keras.layers.LSTM(3)(steps)))


def test_mixed_precision_is_computed_in_float32_and_the_model_left_as_it_was(keras):
    image = keras.Input((6, 6, 2), name="image")
    conv = keras.layers.Conv2D(3, 3, dtype="mixed_float16", name="half")
    network = keras.Model(image, conv(image))
    values = sample(6, 6, 2)
    model = load_float(network)
    assert conv.dtype_policy.name == "mixed_float16"
    assert any(note.startswith("mixed precision") for note in model.notes)
    single = keras.layers.Conv2D(3, 3)
    single.build((1, 6, 6, 2))
    single.set_weights(conv.get_weights())
    assert_same(model, [values], [single(values)])


def test_the_serving_signature_of_a_savedmodel_is_used_and_the_others_told(tmp_path):
    import tensorflow as tf

    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def double(self, x):
            return {"y": x * 2.0}

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def ask(self, x):
            return {"y": tf.py_function(lambda v: v, [x], tf.float32)}

    module = Two()
    folders = {name: str(tmp_path / name) for name in ("both", "neither", "code", "bare")}
    tf.saved_model.save(module, folders["both"], {"serving_default": module.double, "other": module.ask})
    tf.saved_model.save(module, folders["neither"], {"first": module.double, "second": module.ask})
    tf.saved_model.save(module, folders["code"], {"serving_default": module.ask})
    tf.saved_model.save(tf.Module(), folders["bare"])
    told: list[str] = []
    values = sample(3)
    assert_same(load_float(folders["both"], warn=told.append), [values], [values * 2])
    assert told == ["the SavedModel's signature serving_default is used; left aside: other"]
    with pytest.raises(UnsupportedModel, match="several signatures and no serving_default: first, second"):
        load_float(folders["neither"])
    with pytest.raises(UnsupportedModel, match="EagerPyFunc"):
        load_float(folders["code"])
    with pytest.raises(UnsupportedModel, match="bare has no signature"):
        load_float(folders["bare"])

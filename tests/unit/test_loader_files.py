"""Which files are taken for what, and what is said about those that are no model. No TensorFlow is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
from bitplan.analyzer.errors import UnsupportedModel, UsageError
from bitplan.analyzer.inputs.loader import load_float


@pytest.fixture
def small(tiny) -> bytes:
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    return tiny.data(tiny.op("RELU", [x], [y]))


def test_a_tflite_file_is_named_after_its_stem(small, tmp_path):
    path = tmp_path / "my.model.tflite"
    path.write_bytes(small)
    assert load_float(path).name == "my.model"
    assert load_float(str(path)) == load_float(path)


def test_bytes_give_the_same_model_as_the_file(small, tmp_path):
    (tmp_path / "m.tflite").write_bytes(small)
    assert load_float(small).flatbuffer == load_float(tmp_path / "m.tflite").flatbuffer


def test_content_decides_and_not_the_suffix(small, tmp_path):
    (tmp_path / "model.bin").write_bytes(small)
    assert load_float(tmp_path / "model.bin").name == "model"


@pytest.mark.parametrize(("content", "message", "remedy"), [
    (b"", "is empty", "download"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer", "git lfs pull"),
    (b"\n\n<!DOCTYPE html><html></html>", "a web page", "download the file"),
    (b"not a flatbuffer at all", "does not hold what its suffix says", "export the model again"),
    (b"\x1c\x00\x00\x00TFL3", "damaged", "export the model again"),
])  # fmt: skip
def test_what_is_no_model_is_told_what_it_is(tmp_path, content, message, remedy):
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(UnsupportedModel) as caught:
        load_float(tmp_path / "model.tflite")
    assert message in caught.value.problem and remedy in caught.value.remedy


@pytest.mark.parametrize(("name", "remedy"), [
    ("model.onnx", "onnx2tf"), ("model.pt", "litert-torch"), ("model.xyz", "SavedModel folder"), ("model", ".keras"),
])  # fmt: skip
def test_an_unknown_kind_of_file_gets_a_way_to_convert_it(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"something else entirely")
    with pytest.raises(UnsupportedModel) as caught:
        load_float(tmp_path / name)
    assert "not supported" in caught.value.problem and remedy in caught.value.remedy


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"there is no file .*gone\.tflite"):
        load_float(tmp_path / "gone.tflite")


def test_a_folder_that_is_no_savedmodel_is_refused(tmp_path):
    with pytest.raises(UnsupportedModel, match=r"no saved_model\.pb"):
        load_float(tmp_path)


@pytest.mark.parametrize("thing", [5, None, [1, 2], np.zeros(3), len])
def test_an_object_that_is_no_model_is_a_usage_error(thing):
    with pytest.raises(UsageError, match="is no model"):
        load_float(thing)


def keras_file(path, config, version="3.15.0"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
    return path


def h5_file(path, config, version="2.4.0"):
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
    return path


def network(*layers):
    return {"class_name": "Functional", "config": {"name": "net", "layers": list(layers)}}


LAMBDA = {"class_name": "Lambda", "config": {"name": "scale", "function": {"class_name": "__lambda__", "config": {}}}}


@pytest.mark.parametrize(("write", "name"), [(keras_file, "m.keras"), (h5_file, "m.h5")])
def test_code_in_a_keras_file_is_refused_and_names_the_layer_and_the_option(tmp_path, write, name):
    path = write(tmp_path / name, network(LAMBDA))
    with pytest.raises(UnsupportedModel) as caught:
        load_float(path)
    assert "scale (Lambda)" in caught.value.problem and "--trust-model" in caught.value.remedy


def test_a_keras_file_of_keras_2_is_refused(tmp_path):
    with pytest.raises(UnsupportedModel, match=r"Keras 2\.15\.0"):
        load_float(keras_file(tmp_path / "m.keras", network(), "2.15.0"))


def test_a_zip_that_is_no_keras_file_is_refused(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    with pytest.raises(UnsupportedModel, match=r"files of kind \.npz are not supported"):
        load_float(tmp_path / "data.npz")
    (tmp_path / "data.npz").rename(tmp_path / "m.keras")
    with pytest.raises(UnsupportedModel, match=r"no complete \.keras file"):
        load_float(tmp_path / "m.keras")


def test_a_truncated_keras_file_is_refused(tmp_path):
    path = keras_file(tmp_path / "m.keras", network())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UnsupportedModel, match=r"no complete \.keras file"):
        load_float(path)


def test_weights_without_an_architecture_are_refused(tmp_path):
    with pytest.raises(UnsupportedModel, match="weights without an architecture"):
        load_float(h5_file(tmp_path / "m.weights.h5", None))


def test_a_truncated_h5_file_is_refused(tmp_path):
    path = h5_file(tmp_path / "m.h5", network())
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(UnsupportedModel, match="no complete HDF5 file"):
        load_float(path)


def test_an_h5_file_with_an_unreadable_architecture_is_refused(tmp_path):
    path = h5_file(tmp_path / "m.h5", network())
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "{not json"
    with pytest.raises(UnsupportedModel, match="architecture"):
        load_float(path)


def test_a_keras_2_layer_without_counterpart_is_refused_by_name(tmp_path):
    layer = {"class_name": "TFOpLambda", "config": {"name": "tf.image.resize", "function": "image.resize"},
             "inbound_nodes": [["x", 0, 0, {"size": [4, 4]}]]}  # fmt: skip
    with pytest.raises(UnsupportedModel, match=r"tf\.image\.resize \(TFOpLambda\)"):
        load_float(h5_file(tmp_path / "m.h5", network(layer)))


def test_a_tflite_file_is_loaded_without_tensorflow_and_keras(small, tmp_path):
    (tmp_path / "m.tflite").write_bytes(small)
    code = (
        "import sys; from bitplan.analyzer.inputs.loader import load_float; "
        f"load_float({str(tmp_path / 'm.tflite')!r}); "
        "sys.exit(bool({'tensorflow', 'keras', 'h5py'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL).returncode == 0

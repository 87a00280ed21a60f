"""Keras files, Keras models and SavedModels -> float `.tflite`, through TensorFlow's converter, in silence.

Each is traced as one function with a batch of 1, so that the converter can fold what depends on the batch.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UnsupportedModel
from .captured import TRUST, captured_output, told_by
from .keras_config import KERAS2_HARD_SIGMOID, code_layers, upgrade


@dataclass(frozen=True)
class Converted:
    """What the converter made.

    Attributes:
      flatbuffer: A float `.tflite`, not normalised.
      inputs, outputs: Signature names in the model's own order; the converter sorts them by name.
      notes: What was mended on the way, one line each.
    """

    flatbuffer: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()


def convert_keras_zip(path: pathlib.Path, *, trust_model: bool) -> Converted:
    """Converts a Keras 3 `.keras` file.

    Raises:
      UnsupportedModel: It holds code and is not trusted, is damaged, was written by Keras 2, or cannot be converted.
    """
    return _convert_loaded(load_keras_zip(path, trust_model=trust_model), path.name, ())


def convert_h5(path: pathlib.Path, *, trust_model: bool) -> Converted:
    """Converts an `.h5` file of Keras 2 or 3.

    Raises:
      UnsupportedModel: It holds weights only, holds code and is not trusted, or a layer has no Keras 3 counterpart.
    """
    model, notes = load_h5(path, trust_model=trust_model)
    return _convert_loaded(model, path.name, notes)


def load_keras_zip(path: pathlib.Path, *, trust_model: bool) -> Any:
    """The `keras.Model` of a Keras 3 `.keras` file.

    Raises:
      UnsupportedModel: It holds code and is not trusted, is damaged, or was written by Keras 2.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise UnsupportedModel(f"{path.name} is no complete .keras file: {error}", "save the model again") from error
    version = str(metadata.get("keras_version", ""))
    if version.startswith("2."):
        raise UnsupportedModel(
            f"{path.name} was written by Keras {version}, whose .keras files Keras 3 cannot read",
            "save it as .h5, SavedModel or .tflite with that Keras, and give that",
        )
    _check_code(config, path.name, trust_model)
    return _load(path, ".keras", trust_model, path.name)


def load_h5(path: pathlib.Path, *, trust_model: bool) -> tuple[Any, tuple[str, ...]]:
    """The `keras.Model` of an `.h5` file of Keras 2 or 3, and what was mended on the way.

    Raises:
      UnsupportedModel: It holds weights only, holds code and is not trusted, or a layer has no Keras 3 counterpart.
    """
    with captured_output():
        import h5py
    try:
        with h5py.File(path, "r") as file:
            raw, version = file.attrs.get("model_config"), _text(file.attrs.get("keras_version", "2"))
    except OSError as error:
        raise UnsupportedModel(f"{path.name} is no complete HDF5 file: {error}", "save the model again") from error
    if raw is None:
        raise UnsupportedModel(
            f"{path.name} holds weights without an architecture", "build the model, load them, and save the whole model"
        )
    try:
        config = json.loads(_text(raw))
    except ValueError as error:
        raise UnsupportedModel(f"the architecture in {path.name} cannot be read: {error}", "save it again") from error
    _check_code(config, path.name, trust_model)
    if not version.startswith(("1.", "2")):
        return _load(path, ".h5", trust_model, path.name), ()
    upgraded, notes = upgrade(config)
    with tempfile.TemporaryDirectory() as folder:
        copied = pathlib.Path(folder) / "model.h5"
        shutil.copyfile(path, copied)
        copied.chmod(0o600)
        with h5py.File(copied, "r+") as file:
            # As str: an attribute of variable length may exceed the 64 KiB that a fixed one is held to.
            file.attrs["model_config"] = json.dumps(upgraded)
        return _load(copied, ".h5", trust_model, path.name), tuple(notes)


def convert_model(model: Any) -> Converted:
    """Converts a built `keras.Model` (or `tf_keras.Model`) as it is in memory.

    Raises:
      UnsupportedModel: It has no declared inputs, an input of open size, or an op that TFLite lacks.
    """
    name = str(getattr(model, "name", "") or type(model).__name__)
    with captured_output() as output, told_by(output, f"the Keras model {name}"):
        return _convert_keras(model)


def convert_saved_model(folder: pathlib.Path, warn: Callable[[str], None]) -> Converted:
    """Converts the serving signature of a SavedModel.

    Raises:
      UnsupportedModel: It has no signature, or several and none is `serving_default`, or cannot be converted.
    """
    with captured_output() as output, told_by(output, f"the SavedModel {folder.name}"):
        import tensorflow as tf

        loaded = tf.saved_model.load(str(folder))
        names = sorted(loaded.signatures)
        if not names:
            raise UnsupportedModel(
                f"the SavedModel {folder.name} has no signature", "save it with signatures=..., or with model.export()"
            )
        if len(names) > 1 and "serving_default" not in names:
            raise UnsupportedModel(
                f"the SavedModel {folder.name} has several signatures and no serving_default: {', '.join(names)}",
                "save it with the one that is to be quantized as serving_default",
            )
        chosen = "serving_default" if "serving_default" in names else names[0]
        function = loaded.signatures[chosen]
        arguments = function.structured_input_signature[1]
        specs = {key: _pinned(key, spec.shape, spec.dtype) for key, spec in arguments.items()}

        def call(**tensors: Any) -> Any:
            return function(**tensors)

        traced = tf.function(call).get_concrete_function(**specs)
        converted = _run_converter(traced, loaded)
    # Keras exports the serving function under a second name.
    others = [name for name in names if name not in (chosen, "serve")]
    if others:
        warn(f"the SavedModel's signature {chosen} is used; left aside: {', '.join(others)}")
    # A signature is a set of names: no order of arguments is kept in it.
    inputs, outputs = (tuple(sorted(names, key=_natural)) for names in (specs, function.structured_outputs))
    return Converted(converted, inputs, outputs)


def _check_code(config: Any, shown: str, trust_model: bool) -> None:
    layers = code_layers(config)
    if layers and not trust_model:
        raise UnsupportedModel(
            f"{shown} holds code that would be run: {', '.join(layers[:5])}{' ...' if len(layers) > 5 else ''}",
            TRUST,
        )


def _convert_loaded(model: Any, shown: str, notes: tuple[str, ...]) -> Converted:
    with captured_output() as output, told_by(output, shown):
        converted = _convert_keras(model)
    return Converted(converted.flatbuffer, converted.inputs, converted.outputs, (*notes, *converted.notes))


def _load(path: pathlib.Path, suffix: str, trust_model: bool, shown: str) -> Any:
    with captured_output() as output, told_by(output, shown), tempfile.TemporaryDirectory() as folder:
        import keras
        import tensorflow as tf

        if path.suffix != suffix:  # Keras goes by the name
            path = pathlib.Path(shutil.copyfile(path, pathlib.Path(folder) / f"model{suffix}"))

        def hard_sigmoid(x: Any) -> Any:
            return tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)

        model = keras.saving.load_model(
            path, custom_objects={KERAS2_HARD_SIGMOID: hard_sigmoid}, compile=False, safe_mode=not trust_model
        )
        if suffix == ".h5":
            _check_weight_order(model, path, shown)
        return model


def _check_weight_order(model: Any, path: pathlib.Path, shown: str) -> None:
    """Keras assigns `.h5` weights by position: makes sure that the positions mean the same layers."""
    import h5py

    with h5py.File(path, "r") as file:
        group = file["model_weights"]
        stored = [_text(name) for name in group.attrs["layer_names"]] if "layer_names" in group.attrs else []
        stored = [name.replace("/", "_") for name in stored if len(group[name].attrs.get("weight_names", ()))]
    built = [layer.name for layer in model.layers if layer.weights]
    if stored != built and sorted(stored) == sorted(built):
        raise UnsupportedModel(
            f"{shown} lists its layers in another order than Keras 3 builds them, so weights would be mixed up",
            "save a SavedModel or a .tflite with the Keras that wrote the file, and give that",
        )


def _convert_keras(model: Any) -> Converted:
    import tensorflow as tf

    _check_backend(model)
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise UnsupportedModel(
            "the Keras model declares no inputs",
            "build it with known shapes, e.g. x = keras.Input((96, 96, 3)); keras.Model(x, model(x))",
        )
    names = _argument_names([str(tensor.name) for tensor in inputs])
    specs = [_pinned(name, tensor.shape, tensor.dtype) for name, tensor in zip(names, inputs, strict=True)]
    order: list[str] = []

    def call(*tensors: Any) -> Mapping[str, Any]:
        results = model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        flat = tf.nest.flatten(results)
        order[:] = _output_names(model, results, len(flat))
        return dict(zip(order, flat, strict=True))

    with _in_float32(model) as notes:
        traced = tf.function(call).get_concrete_function(*specs)
    holder = tf.Module()
    holder.variables_ = [v if isinstance(v, tf.Variable) else v.value for v in model.variables]
    return Converted(_run_converter(traced, holder), tuple(names), tuple(order), tuple(notes))


@contextlib.contextmanager
def _in_float32(model: Any) -> Iterator[list[str]]:
    """Lets the layers of a mixed-precision model compute in the float32 that their weights are kept in.

    TFLite has no kernels for float16 or bfloat16 arithmetic. The policies are put back afterwards.
    """
    flatten = getattr(model, "_flatten_layers", lambda: ())
    mixed = [
        (layer, layer.dtype_policy)
        for layer in flatten()
        if str(getattr(getattr(layer, "dtype_policy", None), "name", "")).startswith("mixed_")
    ]
    try:
        for layer, _ in mixed:
            layer.dtype_policy = "float32"
        yield [f"mixed precision: {len(mixed)} layers computed in float32"] if mixed else []
    finally:
        for layer, policy in mixed:
            layer.dtype_policy = policy


def _check_backend(model: Any) -> None:
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model) and keras.config.backend() != "tensorflow":
        raise UnsupportedModel(
            f"Keras runs on {keras.config.backend()} here, whose models TensorFlow cannot convert",
            "set KERAS_BACKEND=tensorflow and load the model again",
        )


def _run_converter(function: Any, trackable: Any) -> bytes:
    import tensorflow as tf

    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], trackable).convert())


def _pinned(name: str, shape: Any, dtype: Any) -> Any:
    """A TensorSpec with an open batch set to 1; refuses other open dimensions."""
    import tensorflow as tf

    if getattr(shape, "rank", 0) is None:
        raise UnsupportedModel(f"input {name} has no known rank", "export the model with fixed input sizes")
    sizes = [None if size is None else int(size) for size in shape]
    if any(size is None for size in sizes[1:]):
        raise UnsupportedModel(
            f"input {name} has a dynamic shape: {tuple(sizes)}",
            "export the model with fixed input sizes; only the batch, the first dimension, may be open",
        )
    return tf.TensorSpec([1 if size is None else size for size in sizes], dtype, name=name)


def _argument_names(names: Sequence[str]) -> list[str]:
    """The names as TensorFlow accepts them for arguments, each once."""
    result: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", re.sub(r":\d+$", "", name)) or "input"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        candidate, count = plain, 0
        while candidate in result:
            count += 1
            candidate = f"{plain}_{count}"
        result.append(candidate)
    return result


def _output_names(model: Any, results: Any, count: int) -> list[str]:
    names = sorted(results) if isinstance(results, dict) else list(getattr(model, "output_names", None) or [])
    if len(names) != count or len(set(names)) != count:
        return [f"output_{index}" for index in range(count)]
    return [str(name) for name in names]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `output_2` before `output_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

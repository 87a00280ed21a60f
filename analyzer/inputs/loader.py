"""Whatever people keep a float network in -> one normalised float flatbuffer.

Every later stage works on what this returns, so it is here that a model is accepted, mended or refused by name.
"""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UnsupportedModel, UsageError
from ..network import flatbuffer
from .editing import reorder
from .keras_models import Converted, convert_h5, convert_keras_zip, convert_model, convert_saved_model
from .normalise import Normalised, normalise

_ACCEPTED = "give a float .tflite, .keras, .h5, a SavedModel folder, or from Python a keras.Model"
_AGAIN = "export the model again, or download it again"
_FOREIGN: Mapping[str, str] = {
    ".onnx": "convert it first, e.g. with onnx2tf, and give the float .tflite",
    ".pt": "convert it first, e.g. with litert-torch, and give the float .tflite",
    ".pth": "convert it first, e.g. with litert-torch, and give the float .tflite",
    ".pb": "give the whole SavedModel folder; a frozen graph has to be converted to .tflite first",
}


@dataclass(frozen=True)
class FloatModel:
    """A float network, mended and checked.

    Attributes:
      flatbuffer: A `.tflite` with one subgraph, one SignatureDef, operator codes in the new field, unique tensor names,
        float32 constants, static shapes with a batch of 1 where it was open, buffers inside, and no FAKE_QUANT.
      name: Stem of the file, name of the folder or of the Keras model.
      declared_ranges: Activation tensor name -> (minimum, maximum) from the FAKE_QUANT ops of a QAT model.
      notes: What was mended, one line each.
    """

    flatbuffer: bytes
    name: str
    declared_ranges: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def load_float(model: Any, *, trust_model: bool = False, warn: Callable[[str], None] = _warn) -> FloatModel:
    """Loads a float network and normalises it.

    Args:
      model: Path of a `.tflite`, `.keras` (Keras 3), `.h5` (Keras 2 or 3) or SavedModel folder; the bytes of a
        `.tflite`; or a `keras.Model` with declared inputs. The kind is told by the content, not by the suffix.
      trust_model: Whether code inside a Keras file (Lambda layers) may run.
      warn: Called with one line for what a user should know before trusting the numbers.

    Raises:
      UsageError: There is no such file, or it cannot be read.
      AlreadyQuantized: Weights or activations are quantized already.
      UnsupportedModel: The file is damaged or of another kind, or the network is refused by name.
    """
    if isinstance(model, bytes | bytearray | memoryview):
        return _finish(bytes(model), "model")
    if isinstance(model, str | os.PathLike):
        return _load_path(pathlib.Path(model), trust_model, warn)
    if callable(model) and hasattr(model, "variables"):
        return _finish_converted(convert_model(model), str(getattr(model, "name", "model")))
    raise UsageError(f"an object of type {type(model).__name__} is no model", _ACCEPTED)


def _load_path(path: pathlib.Path, trust_model: bool, warn: Callable[[str], None]) -> FloatModel:
    if path.name in ("saved_model.pb", "saved_model.pbtxt"):
        path = path.parent
    if path.is_dir():
        if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            raise UnsupportedModel(f"the folder {path} is no SavedModel: it has no saved_model.pb", _ACCEPTED)
        return _finish_converted(convert_saved_model(path, warn), path.resolve().name)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", "check the path") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "check the path and its permissions") from error
    _check_impostor(path, head)
    if head[4:8] == b"TFL3":
        return _finish(path.read_bytes(), path.stem)
    if head.startswith(b"PK\x03\x04") and path.suffix in (".keras", ".zip", ""):
        return _finish_converted(convert_keras_zip(path, trust_model=trust_model), path.stem)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _finish_converted(convert_h5(path, trust_model=trust_model), path.stem)
    if path.suffix in (".tflite", ".keras", ".h5", ".hdf5"):
        raise UnsupportedModel(f"{path} does not hold what its suffix says", _AGAIN)
    kind = f"files of kind {path.suffix}" if path.suffix else "files without a suffix"
    raise UnsupportedModel(f"{path}: {kind} are not supported", _FOREIGN.get(path.suffix, _ACCEPTED))


def _check_impostor(path: pathlib.Path, head: bytes) -> None:
    """Recognises what downloads leave behind in place of a model."""
    if not head:
        raise UnsupportedModel(f"{path} is empty", _AGAIN)
    if head.startswith(b"version https://git-lfs"):
        raise UnsupportedModel(f"{path} is a Git LFS pointer, not the model", "run `git lfs pull`")
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise UnsupportedModel(f"{path} is a web page, not a model", "download the file, not the page about it")


def _finish(data: bytes, name: str, notes: tuple[str, ...] = ()) -> FloatModel:
    normalised: Normalised = normalise(data)
    return FloatModel(normalised.flatbuffer, name, normalised.declared_ranges, (*notes, *normalised.notes))


def _finish_converted(converted: Converted, name: str) -> FloatModel:
    """Normalises the converter's file, its inputs and outputs in the order in which the model declares them."""
    finished = _finish(converted.flatbuffer, name, converted.notes)
    ordered = flatbuffer.read(finished.flatbuffer)
    reorder(ordered, converted.inputs, converted.outputs)
    return FloatModel(flatbuffer.write(ordered), name, finished.declared_ranges, finished.notes)

"""Weights that were learned for a flatbuffer, put back into the Keras model that it came from.

TensorFlow's converter folds BatchNorm into the layer before it. Folding is undone here: the kernel is divided by the
factor of its channel, and BatchNorm's shift takes up the bias. Layers are found by their values, not by their names.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..network import flatbuffer as fb
from ..network import kernels
from ..schema import Graph, Op
from .captured import captured_output, told_by
from .keras_models import load_h5, load_keras_zip

_ALIKE = 1e-4
"""How far folded weights may lie from the flatbuffer's, in the largest of them; the converter folds in float32."""

_DEAD = 1e-12
"""A BatchNorm factor below this leaves nothing of its channel, and cannot be divided by."""

_REMEDY = "use the repaired float .tflite, repaired.tflite, in its place"


@dataclass(frozen=True)
class _Layer:
    """A Keras layer that becomes one op, and the BatchNorm that is folded into it."""

    layer: Any
    norm: Any | None
    opcode: str

    @property
    def name(self) -> str:
        return str(self.layer.name)

    def kernel(self) -> np.ndarray:
        """float64, in TFLite's layout."""
        return self._to_tflite(_value(_kernel_of(self.layer)))

    def bias(self) -> np.ndarray:
        """float64 [channels]; zeros where the layer has none."""
        kernel = self.kernel()
        channels = kernel.shape[kernels.CHANNEL_AXIS[self.opcode]]
        return _value(self.layer.bias) if self.layer.use_bias else np.zeros(channels)

    def factor(self) -> np.ndarray:
        """What folding multiplies each channel by, float64 [channels] or [1]."""
        if self.norm is None:
            return np.ones(1)
        scale = _value(self.norm.gamma) if self.norm.scale else 1.0
        return np.asarray(scale / np.sqrt(_value(self.norm.moving_variance) + self.norm.epsilon))

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights and bias as the converter makes them."""
        factor = self.factor()
        if self.norm is None:
            return self.kernel(), self.bias()
        shift = _value(self.norm.beta) if self.norm.center else 0.0
        bias = (self.bias() - _value(self.norm.moving_mean)) * factor + shift
        return self.kernel() * self._along_channels(factor), bias

    def unfold(self, weights: np.ndarray, bias: np.ndarray) -> None:
        """Sets kernel, bias and BatchNorm so that folding gives these; of the statistics it moves the mean only."""
        factor = self.factor()
        dead = np.abs(factor) < _DEAD
        if dead.any():
            raise UnsupportedModel(f"the BatchNorm behind {self.name} switches {dead.sum()} channels off", _REMEDY)
        _kernel_of(self.layer).assign(self._from_tflite(weights / self._along_channels(factor)))
        if self.norm is None:
            self._set_bias(bias)
        elif self.norm.center:
            self.norm.beta.assign(bias - (self.bias() - _value(self.norm.moving_mean)) * factor)
        else:
            self.norm.moving_mean.assign(self.bias() - bias / factor)

    def _set_bias(self, bias: np.ndarray) -> None:
        if self.layer.use_bias:
            self.layer.bias.assign(bias)
        elif np.any(bias):
            raise UnsupportedModel(f"the Keras layer {self.name} has no bias to put the learned one into", _REMEDY)

    def _along_channels(self, factor: np.ndarray) -> np.ndarray:
        kernel = self.kernel()
        shape = [1] * kernel.ndim
        shape[kernels.CHANNEL_AXIS[self.opcode]] = -1
        return factor.reshape(shape)

    def _to_tflite(self, kernel: np.ndarray) -> np.ndarray:
        if self.opcode == "DEPTHWISE_CONV_2D":
            return kernel.reshape(1, *kernel.shape[:2], -1)
        return kernel.transpose(_TO_TFLITE[self.opcode])

    def _from_tflite(self, weights: np.ndarray) -> np.ndarray:
        if self.opcode == "DEPTHWISE_CONV_2D":
            return weights.reshape(_kernel_of(self.layer).shape)
        return weights.transpose(np.argsort(_TO_TFLITE[self.opcode]))


_OPCODES = {
    "Conv2D": "CONV_2D", "DepthwiseConv2D": "DEPTHWISE_CONV_2D", "Dense": "FULLY_CONNECTED",
    "Conv2DTranspose": "TRANSPOSE_CONV",
}  # fmt: skip
_TO_TFLITE = {"CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (1, 0), "TRANSPOSE_CONV": (2, 0, 1, 3)}


def export_keras(
    model: Any, path: pathlib.Path, graph: Graph, original: bytes, repaired: bytes, *, trust_model: bool = False
) -> tuple[str, ...]:
    """Writes a `.keras` file: the user's model with the weights and biases that repairs have changed.

    Args:
      model: What the float network came from: a path of a `.keras` or `.h5` file, or a `keras.Model`, which stays as it
        is.
      path: Where to write.
      graph: Of `original`.
      original: The float flatbuffer before repairs.
      repaired: After them; only constants differ.
      trust_model: Whether code inside the file may run.

    Returns:
      Names of the Keras layers that were changed.

    Raises:
      UnsupportedModel: `model` is no Keras model, or some changed op is no layer of it whose weights can be set.
    """
    with captured_output() as output, told_by(output, "the Keras model"):
        ours = _open(model, trust_model)
        changed = tuple(_put_back(ours, graph, original, repaired))
        temporary = path.with_name(f".{path.name}.bitplan-tmp.keras")
        try:
            ours.save(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return changed


def check_keras(model: Any) -> None:
    """Whether weights could be put back into a model at all, before hours are spent on learning them.

    Raises:
      UnsupportedModel: It is no Keras model and no path of one.
    """
    if isinstance(model, str | os.PathLike) and _kind(pathlib.Path(model)) == "":
        raise UnsupportedModel(
            f"{model} is no Keras file, so there is no Keras model to put weights back into",
            "give the .keras or .h5 file as the model, or leave --export-keras away",
        )


def _open(model: Any, trust_model: bool) -> Any:
    """A Keras model that may be changed: loaded from its file, or a clone."""
    check_keras(model)
    if isinstance(model, str | os.PathLike):
        path = pathlib.Path(model)
        if _kind(path) == ".h5":
            return load_h5(path, trust_model=trust_model)[0]
        return load_keras_zip(path, trust_model=trust_model)
    import keras

    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def _kind(path: pathlib.Path) -> str:
    """`.keras` or `.h5` by what is in the file; "" for anything else."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(8)
    return ".h5" if head == b"\x89HDF\r\n\x1a\n" else ".keras" if head.startswith(b"PK\x03\x04") else ""


def _put_back(model: Any, graph: Graph, original: bytes, repaired: bytes) -> Iterator[str]:
    layers = list(_foldable(model))
    before, after = fb.read(original), fb.read(repaired)
    _refuse_other_changes(before, after, graph)
    used: dict[str, Op] = {}
    for op in graph.ops:
        constants = _constants(before, op)
        learned = _constants(after, op)
        if constants is None or learned is None:
            continue
        if all(np.array_equal(old, new) for old, new in zip(constants, learned, strict=True)):
            continue
        layer = _layer_of(op, constants, layers)
        if layer.name in used:
            raise UnsupportedModel(
                f"the Keras layer {layer.name} is used by several ops, which have learned different weights", _REMEDY
            )
        used[layer.name] = op
        layer.unfold(learned[0].astype(np.float64), learned[1].astype(np.float64))
        yield layer.name


def _refuse_other_changes(before: Any, after: Any, graph: Graph) -> None:
    """Everything that was changed must be weights or a bias; other constants have no place in a Keras layer."""
    ours = {tensor for op in graph.ops for tensor in _places(op)}
    pairs = zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True)
    for index, (old, new) in enumerate(pairs):
        values, learned = fb.constant(before, old), fb.constant(after, new)
        if index in ours or values is None or learned is None or np.array_equal(values, learned):
            continue
        name = graph.tensors[index].name
        raise UnsupportedModel(f"the constant {name} was changed, and is no weight of a Keras layer", _REMEDY)


def _layer_of(op: Op, constants: tuple[np.ndarray, np.ndarray], layers: list[_Layer]) -> _Layer:
    """The layer that folds to an op's constants; of equal ones, the one whose name is in the op's."""
    found = [layer for layer in layers if layer.opcode == op.opcode and all(map(_alike, layer.folded(), constants))]
    named = [layer for layer in found if layer.name in (op.layer, *op.layer.split("/"))]
    if len(named or found) != 1:
        why = "no layer of the Keras model has" if not found else "several layers of the Keras model have"
        raise UnsupportedModel(f"{why} the weights of {op.layer} ({op.opcode})", _REMEDY)
    return (named or found)[0]


def _alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and bool(
        np.all(np.abs(ours - theirs) <= _ALIKE * max(np.abs(theirs).max(), 1e-6))
    )


def _constants(model: Any, op: Op) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights and bias of an op, float32; zeros for no bias; None where it has no constant weights."""
    if op.weights is None or op.opcode not in kernels.WEIGHTED:
        return None
    tensors = model.subgraphs[0].tensors
    weights = fb.constant(model, tensors[op.weights])
    if weights is None:
        return None
    places = _places(op)
    bias = fb.constant(model, tensors[places[1]]) if len(places) > 1 else None
    channels = weights.shape[kernels.CHANNEL_AXIS[op.opcode]]
    return weights, np.zeros(channels, np.float32) if bias is None else bias


def _places(op: Op) -> tuple[int, ...]:
    """Tensors of an op's weights and of its bias, where it has them."""
    if op.weights is None or op.opcode not in kernels.WEIGHTED:
        return ()
    place = kernels.BIAS_INPUT[op.opcode]
    bias = op.inputs[place] if place < len(op.inputs) else -1
    return (op.weights, bias) if bias >= 0 else (op.weights,)


def _foldable(model: Any) -> Iterator[_Layer]:
    """All layers with kernels, those of nested models too, each with the BatchNorm that alone reads it."""
    for layer in model._flatten_layers(include_self=False):
        opcode = _OPCODES.get(type(layer).__name__)
        if opcode is None or not layer.built:
            continue
        readers = [node.operation for node in layer._outbound_nodes]
        norms = [reader for reader in readers if type(reader).__name__ == "BatchNormalization"]
        if norms and len(readers) == 1:
            yield _Layer(layer, norms[0], opcode)
        else:
            yield _Layer(layer, None, opcode)


def _kernel_of(layer: Any) -> Any:
    return layer.kernel


def _value(variable: Any) -> np.ndarray:
    return np.asarray(variable, np.float64)

"""Surgery on float flatbuffers: the hi + lo split, which gives an op 16-bit weights on stock 8-bit kernels.

No convolution kernel takes 16-bit weights. An op's weights are therefore written as the sum of two tensors that each
fit int8, with a scale per channel or one for the tensor: `high` is what int8 keeps of them, `low` is the residual,
whose own scale is some 254 times finer. `op(x, w, b)` becomes `op(x, high, b) + op(x, low, 0)`, the fused activation
moved onto the ADD.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from . import flatbuffer as fb
from .kernels import BIAS_INPUT, CHANNEL_AXIS, WEIGHTED, WEIGHTS_INPUT

_INT8_MAX = 127
_SMALLEST_BOUND = 1e-9
"""litert-quantizer's lower limit on a channel's largest weight; the split must use the same to keep its integers."""
_CLAMPS = {
    "NONE": (-np.inf, np.inf), "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0),
}  # fmt: skip
"""The fused activations that an ADD has integer kernels for, as the interval they clamp to."""


@dataclass(frozen=True)
class Split:
    """One op that became two with an ADD.

    Attributes:
      op: Position of the op in the original op list.
      high, low, add: Positions in the new op list.
      high_output, low_output: Names of the partial sums that the ADD reads. It writes the op's original output tensor.
    """

    op: int
    high: int
    low: int
    add: int
    high_output: str
    low_output: str


def split_weights(
    flatbuffer: bytes, ops: Collection[int], *, per_channel: bool = True
) -> tuple[bytes, tuple[Split, ...]]:
    """Splits the weights of some ops into hi + lo; in float the network computes what it did, up to rounding.

    Existing tensors keep their indices and names, new ones are appended, so that everything known by tensor index stays
    true. Weights that other ops read too are left to them.

    Args:
      flatbuffer: A float model with one subgraph.
      ops: Positions in the op list: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED or TRANSPOSE_CONV, weights constant.
      per_channel: Whether int8 weights have a scale for each channel, or one for the tensor.

    Returns:
      The rewritten model, and one `Split` for each of `ops`, in op order.

    Raises:
      UnsupportedModel: One of `ops` is of another kind, computes its weights, or fuses an activation that ADD lacks.
    """
    if not ops:
        return flatbuffer, ()
    model = fb.read(flatbuffer)
    subgraph = model.subgraphs[0]
    editor = _Editor(model, per_channel)
    operators: list[Any] = []
    splits = []
    for index, op in enumerate(subgraph.operators):
        if index not in ops:
            operators.append(op)
            continue
        high, low, add = editor.split(index, op)
        position = len(operators)
        names = [fb.text(subgraph.tensors[part.outputs[0]].name) for part in (high, low)]
        splits.append(Split(index, position, position + 1, position + 2, *names))
        operators += [high, low, add]
    subgraph.operators = operators
    return fb.write(model), tuple(splits)


def split_values(weights: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Weights as hi + lo.

    `high = q * s` with `s = max|w| / 127` per scale and `q = round(w / s)`; `low = w - high`. Quantizing `high` to
    int8 again gives the same `q`, for its largest weight is the largest of all that share a scale. Zeros give zeros.

    Args:
      weights: float32, any shape.
      axis: The axis along which there is a scale each; None where there is one.

    Returns:
      high, low: float32, the shape of `weights`.
    """
    exact = weights.astype(np.float64)
    others = tuple(a for a in range(exact.ndim) if a != axis)
    scale = np.maximum(np.abs(exact).max(axis=others, keepdims=True), _SMALLEST_BOUND) / _INT8_MAX
    high = (np.rint(exact / scale) * scale).astype(np.float32)
    return high, (exact - high).astype(np.float32)


def relevant_range(activation: str, high: tuple[float, float], low: tuple[float, float]) -> tuple[float, float]:
    """The part of the high partial sum's range that matters behind the ADD's fused activation.

    With `L = max|low|`, a high partial sum below `floor - L` is clamped to the floor whatever the low one is, and one
    above `ceiling + L` to the ceiling. Clipping it to `[floor - L, ceiling + L]` first therefore changes no output, and
    a narrower range means a finer step: this is what makes `w16a8` nearly lossless.

    Args:
      activation: TFLite's name of the fused activation: NONE, RELU, RELU6 or RELU_N1_TO_1.
      high, low: (minimum, maximum) of the partial sums over the calibration data.

    Returns:
      (minimum, maximum), within `high` unless `high` lies outside the relevant part altogether; then the nearest end of
      that part, twice.
    """
    floor, ceiling = _CLAMPS[activation]
    reach = max(abs(low[0]), abs(low[1]))
    minimum, maximum = np.clip(high, floor - reach, ceiling + reach)
    return float(minimum), float(maximum)


class _Editor:
    """Appends tensors, buffers and an ADD operator code to one model."""

    def __init__(self, model: Any, per_channel: bool) -> None:
        self._model, self._per_channel = model, per_channel
        self._tensors = model.subgraphs[0].tensors
        self._names = {fb.text(tensor.name) for tensor in self._tensors}
        self._readers = [int(t) for op in model.subgraphs[0].operators for t in op.inputs]

    def split(self, index: int, op: Any) -> tuple[Any, Any, Any]:
        """The three ops that replace `op`."""
        opcode = fb.opcode_name(self._model, op)
        output = self._tensors[op.outputs[0]]
        if opcode not in WEIGHTED:
            raise _cannot_split(output, f"{opcode} has no weights to split")
        weights = self._tensors[op.inputs[WEIGHTS_INPUT[opcode]]]
        values = fb.constant(self._model, weights)
        if values is None or values.dtype != np.float32:
            raise _cannot_split(output, "its weights are no float32 constant")
        activation = op.builtinOptions.fusedActivationFunction
        if activation not in _clamp_codes():
            raise _cannot_split(output, "ADD has no integer kernel with its fused activation")

        position = WEIGHTS_INPUT[opcode]
        high_values, low_values = split_values(values, CHANNEL_AXIS[opcode] if self._per_channel else None)
        high, low = copy.deepcopy(op), copy.deepcopy(op)
        for part, name in ((high, "hi"), (low, "lo")):
            part.builtinOptions.fusedActivationFunction = fb.schema().ActivationFunctionType.NONE
            part.inputs = [int(t) for t in op.inputs]
            part.outputs = [self._activation(f"{index}.{name}", like=output)]
        high.inputs[position] = self._replaced(high.inputs[position], f"{index}.hi.w", high_values)
        low.inputs[position] = self._constant(f"{index}.lo.w", low_values, like=weights)
        bias = BIAS_INPUT[opcode]
        if bias < len(low.inputs) and low.inputs[bias] >= 0:
            # Zeros, not an absent bias: CONV_2D and DEPTHWISE_CONV_2D kernels refuse or crash without one.
            like = self._tensors[low.inputs[bias]]
            zeros = np.zeros(tuple(like.shape), np.float32)
            low.inputs[bias] = self._constant(f"{index}.lo.b", zeros, like=like)
        return high, low, self._add(activation, [high.outputs[0], low.outputs[0]], [int(op.outputs[0])])

    def _constant(self, name: str, values: np.ndarray, *, like: Any) -> int:
        tensor = self._tensor(name, like)
        fb.set_constant(self._model, tensor, values)
        return self._append(tensor)

    def _activation(self, name: str, *, like: Any) -> int:
        tensor = self._tensor(name, like)
        tensor.buffer = 0
        return self._append(tensor)

    def _tensor(self, name: str, like: Any) -> Any:
        while name in self._names:
            name += "'"
        self._names.add(name)
        tensor = copy.deepcopy(like)
        tensor.name = name.encode()
        return tensor

    def _append(self, tensor: Any) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _replaced(self, weights: int, name: str, values: np.ndarray) -> int:
        """The tensor with new values in its place, or a new one where other ops read it too."""
        tensor = self._tensors[weights]
        if self._readers.count(weights) > 1:
            self._readers.remove(weights)
            return self._constant(name, values, like=tensor)
        if any(other is not tensor and other.buffer == tensor.buffer for other in self._tensors):
            fb.set_constant(self._model, tensor, values)
        else:
            self._model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        return weights

    def _add(self, activation: int, inputs: list[int], outputs: list[int]) -> Any:
        schema = fb.schema()
        options = schema.AddOptionsT()
        options.fusedActivationFunction = activation
        options.potScaleInt16 = False  # the default asks int16 kernels for scales that are powers of two
        op = schema.OperatorT()
        op.opcodeIndex = self._add_code()
        op.inputs, op.outputs = inputs, outputs
        op.builtinOptionsType = schema.BuiltinOptions.AddOptions
        op.builtinOptions = options
        return op

    def _add_code(self) -> int:
        codes = self._model.operatorCodes
        add = fb.schema().BuiltinOperator.ADD
        for index, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == add:
                return index
        code = fb.schema().OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = add
        code.version = 1
        codes.append(code)
        return len(codes) - 1


def _clamp_codes() -> frozenset[int]:
    enum = fb.schema().ActivationFunctionType
    return frozenset(getattr(enum, name) for name in _CLAMPS)


def _cannot_split(output: Any, why: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"the op that writes {fb.text(output.name)!r} cannot have 16-bit weights: {why}",
        "give it another scheme in the plan",
    )

"""Wider ranges for weights whose channel is so small beside its bias that the bias would not fit int32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network import flatbuffer as fb
from ..network.kernels import BIAS_INPUT, CHANNEL_AXIS, DATA_INPUT, WEIGHTED, WEIGHTS_INPUT
from ..schema import Format
from .emission import Ranges
from .recipe import Precision

LARGEST_BIAS = 2**30
"""Largest integer a bias may need: int32 with as much again left for the sum it is added to."""


@dataclass(frozen=True, eq=False)
class _Biased:
    """An integer op with weights and a bias.

    Attributes:
      weights: Its weights' buffer.
      data: Name of the activation that it reads.
      format: Of the activation.
      top: Largest integer of a weight.
      bias: float64, absolute values; the weights' rank, size 1 but for the channel axis.
      largest: float64, the largest absolute weight, in the same form.
    """

    weights: int
    data: str
    format: Format
    top: int
    bias: np.ndarray
    largest: np.ndarray


class WeightRanges:
    """What weights must be quantized for so that biases fit, for any ranges of the activations.

    A bias has the scale `s_input * s_weights`. Where BatchNorm has switched a channel off, its weights are 1e-20 or 0
    and all it does is add its bias, which the quantizer would clip to nothing. Channels like that are common.

    Args:
      model: Parsed float model.
      precisions: One for each op.
      per_channel: Whether weights have a scale for each channel.
    """

    def __init__(self, model: Any, precisions: Sequence[Precision], *, per_channel: bool = True) -> None:
        subgraph = model.subgraphs[0]
        self._names = [(fb.text(tensor.name), tensor.buffer) for tensor in subgraph.tensors]
        ops = zip(subgraph.operators, precisions, strict=True)
        self._ops = [found for op, precision in ops if (found := _biased(model, op, precision, per_channel))]

    def of(self, ranges: Ranges) -> dict[str, tuple[Any, Any]]:
        """The ranges that differ from the weights' own extremes.

        Args:
          ranges: Of the activations by tensor name.

        Returns:
          By tensor name: (minimum, maximum) to quantize for, nested lists of the weights' rank, size 1 but for the
          channel axis, or altogether where the tensor has one scale; only for tensors that hold such a channel.
        """
        needed: dict[int, np.ndarray] = {}
        for op in self._ops:
            low, high = ranges[op.data]
            steps = (high - low) / 255 if op.format is Format.INT8 else max(high, -low) / 32767
            floor = op.bias / (steps * LARGEST_BIAS) * op.top
            if (floor > op.largest).any():
                needed[op.weights] = np.maximum(needed.get(op.weights, op.largest), floor)
        bounds = {name: needed[buffer] for name, buffer in self._names if buffer in needed}
        return {name: ((-bound).tolist(), bound.tolist()) for name, bound in bounds.items()}


def _biased(model: Any, op: Any, precision: Precision, per_channel: bool) -> _Biased | None:
    tensors, opcode = model.subgraphs[0].tensors, fb.opcode_name(model, op)
    if precision.format is Format.FLOAT or opcode not in WEIGHTED or BIAS_INPUT[opcode] >= len(op.inputs):
        return None
    weights, bias_index = tensors[op.inputs[WEIGHTS_INPUT[opcode]]], int(op.inputs[BIAS_INPUT[opcode]])
    values = fb.constant(model, weights)
    bias = fb.constant(model, tensors[bias_index]) if bias_index >= 0 else None
    if values is None or bias is None:
        return None
    shape = [1] * values.ndim
    shape[CHANNEL_AXIS[opcode]] = -1
    absolute = np.abs(bias.astype(np.float64)).reshape(shape)
    others = tuple(a for a in range(values.ndim) if a != CHANNEL_AXIS[opcode] or not per_channel)
    largest = np.abs(values).max(axis=others, keepdims=True).astype(np.float64)
    data = fb.text(tensors[op.inputs[DATA_INPUT.get(opcode, 0)]].name)
    top = 2 ** (precision.weight_bits - 1) - 1
    absolute = absolute if per_channel else absolute.max(keepdims=True)
    return _Biased(weights.buffer, data, precision.format, top, absolute, largest)

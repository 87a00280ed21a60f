"""The int8 files of one plan for many calibrations, the same bytes as `convert` makes, in milliseconds.

What follows from the ranges of activations are their own scales and zero points, the integers and scales of biases,
and the weights of channels that are small beside their bias (`weight_ranges.py`). All else is the same in every file,
so these are written into a copy of the first one.

In some networks more follows from ranges: where ops must share a scale (CONCATENATION), a border op is there or not.
These are converted one by one. So that nobody has to trust this, the first files are made both ways, and unless they
are equal so are all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..measures import quantization as q
from ..network import flatbuffer as fb
from ..network.in_place import InPlace
from ..network.kernels import BIAS_INPUT, CHANNEL_AXIS, DATA_INPUT, WEIGHTED, WEIGHTS_INPUT
from ..network.wiring import scaled_as
from ..schema import Calibration, Graph, Plan
from .converter import activation_ranges, convert, precisions_of
from .emission import Ranges
from .weight_ranges import WeightRanges

PROOFS = 2
"""Files that are made both ways, beside the first one."""

_FREE = frozenset({"ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "BATCH_MATMUL"})
"""Ops of several operands that have a scale each, and a constant one that of its own values."""

_BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_LARGEST_BIAS_INTEGER = 2**31 - 1


class Recalibration:
    """Makes the files.

    Args:
      flatbuffer: The float model.
      graph: Of `flatbuffer`.
      plan: One scheme for each op.
      finish: What is done to every converted file; it keeps names and may not look at scales or integers.
    """

    def __init__(
        self, flatbuffer: bytes, graph: Graph, plan: Plan, finish: Callable[[bytes], bytes] = lambda file: file
    ) -> None:
        self._flatbuffer, self._graph, self._plan, self._finish = flatbuffer, graph, plan, finish
        self._model = fb.read(flatbuffer)
        self._by_range = _differs_by_numbers_alone(self._model, graph, plan)
        self._proofs = -1
        self._copy: _Copy | None = None

    @property
    def converted_only(self) -> bool:
        """Whether every file is converted, because more than numbers follows from this network's ranges."""
        return not self._by_range

    def file(self, calibration: Calibration) -> bytes:
        """The finished file of a calibration.

        Raises:
          BitplanError: As `convert`.
        """
        if not self._by_range:
            return self._converted(calibration)
        if self._proofs == PROOFS and self._copy is not None:
            return self._copy.file(calibration)
        wanted = self._converted(calibration)
        if self._copy is None:
            self._copy = _Copy.of(wanted, self._model, self._graph, self._plan)
        self._by_range = self._copy is not None and self._copy.file(calibration) == wanted
        self._proofs += 1
        return wanted

    def _converted(self, calibration: Calibration) -> bytes:
        return self._finish(convert(self._flatbuffer, self._graph, calibration, self._plan).model)


def _differs_by_numbers_alone(model: Any, graph: Graph, plan: Plan) -> bool:
    """Whether no op, tensor or format of a plan's file follows from ranges, and names tell which tensor is which."""
    if not plan.per_channel or any(scheme.name not in ("w8a8", "float") for scheme in plan.schemes):
        return False
    for op in graph.ops:
        values = [t for t in op.inputs if t >= 0 and graph.tensors[t].dtype == "float32"]
        if len(values) > 1 and op.weights is None and op.opcode not in _FREE:
            return False
    tensors = model.subgraphs[0].tensors
    names = Counter(fb.text(tensor.name) for tensor in tensors)
    readers = Counter(int(t) for op in model.subgraphs[0].operators for t in dict.fromkeys(op.inputs) if t >= 0)
    holders = Counter(tensor.buffer for tensor in tensors if tensor.buffer)
    biases = [op.bias for op in graph.ops if op.bias is not None]
    shared = any(readers[bias] > 1 or holders[tensors[bias].buffer] > 1 for bias in biases)
    return max(names.values()) == 1 and not shared


@dataclass(frozen=True, eq=False)
class _Layer:
    """An integer op with weights, in the file.

    Attributes:
      data: The float model's activation that it reads.
      name: Of the weights.
      axis: Of their channels.
      values, bias: In float; None without a bias.
      weights, weight_scale: Views: int8 [n], float32 [channels].
      integers, bias_scale: Views: int32 [channels], float32 [channels].
    """

    data: int
    name: str
    axis: int
    values: np.ndarray
    bias: np.ndarray | None
    weights: np.ndarray
    weight_scale: np.ndarray
    integers: np.ndarray
    bias_scale: np.ndarray


class _Copy:
    """A file that is overwritten for one calibration after the other."""

    def __init__(
        self, opened: InPlace, model: Any, graph: Graph, plan: Plan, activations: Mapping[int, int],
        layers: tuple[_Layer, ...],
    ) -> None:  # fmt: skip
        self._opened, self._graph, self._layers = opened, graph, layers
        self._wide = WeightRanges(model, precisions_of(plan.schemes))
        self._integer = frozenset(k for k, scheme in enumerate(plan.schemes) if scheme.name != "float")
        self._places = [(t, opened.scale(place), opened.zero_point(place)) for place, t in activations.items()]
        self._widened: frozenset[str] = frozenset()

    @classmethod
    def of(cls, file: bytes, model: Any, graph: Graph, plan: Plan) -> _Copy | None:
        """Opened; None where something in the file cannot be told from its name.

        Args:
          file: As converted.
          model: The float model, parsed.
          graph, plan: Of the file.
        """
        opened = InPlace(file)
        activations = _activations(opened, graph)
        layers = None if activations is None else _layers(opened, model, activations)
        if activations is None or layers is None:
            return None
        return cls(opened, model, graph, plan, activations, layers)

    def file(self, calibration: Calibration) -> bytes:
        """The bytes for another calibration."""
        ranges = activation_ranges(self._graph, calibration)
        scales = {}
        for tensor, scale, zero_point in self._places:
            scales[tensor], scale[:], zero_point[:] = self._grid(tensor, ranges)
        wide = self._wide.of(ranges)
        for layer in self._layers:
            self._write(layer, scales[layer.data], wide)
        self._widened = frozenset(wide)
        return self._opened.file()

    def _grid(self, tensor: int, ranges: Ranges) -> tuple[float, float, int]:
        """An activation's scale as the quantizer goes on with it, the file's, and the zero point."""
        source = scaled_as(self._graph, tensor, self._integer)
        writer = self._graph.producer(source)
        opcode = "" if writer is None else self._graph.ops[writer].opcode
        low, high = ranges[self._graph.tensors[source].name]
        grid = q.activation_params(low, high, 8, opcode)
        exact = grid.scale if q.has_fixed_scale(opcode, 8) else float(q.int8_scale(low, high))
        return exact, grid.scale, grid.zero_point

    def _write(self, layer: _Layer, data_scale: float, wide: Ranges) -> None:
        scales = layer.weight_scale
        if layer.name in wide:
            bound = np.array(wide[layer.name][1])
            scales = (bound / 127).ravel()
            layer.weights[:] = np.clip(np.rint(layer.values / (bound / 127)), -127, 127).astype(np.int8).ravel()
            layer.weight_scale[:] = scales
        elif layer.name in self._widened:
            integers, plain = q.quantize_weights(layer.values, layer.axis, 8)
            layer.weights[:], layer.weight_scale[:] = integers.ravel(), plain.ravel()
        if layer.bias is not None:
            steps = data_scale * scales.astype(np.float64)
            layer.bias_scale[:] = steps
            top = _LARGEST_BIAS_INTEGER
            layer.integers[:] = np.clip(np.rint(layer.bias / steps), -top, top).astype(np.int32)


def _activations(opened: InPlace, graph: Graph) -> dict[int, int] | None:
    """The float model's activation for each int8 one of the file; what a border op writes is what it reads."""
    tensors, own = opened.model.subgraphs[0].tensors, {t.name: k for k, t in enumerate(graph.tensors)}
    other: dict[int, int] = {}
    for op in opened.model.subgraphs[0].operators:
        if fb.opcode_name(opened.model, op) in _BORDERS:
            other |= {int(op.inputs[0]): int(op.outputs[0]), int(op.outputs[0]): int(op.inputs[0])}
    found: dict[int, int] = {}
    for place, tensor in enumerate(tensors):
        if fb.dtype_name(tensor) != "int8" or fb.constant(opened.model, tensor) is not None:
            continue
        names = [fb.text(tensors[k].name) for k in (place, other.get(place, place))]
        known = [own[name] for name in names if name in own]
        if not known:
            return None
        found[place] = known[0]
    return found


def _layers(opened: InPlace, model: Any, activations: Mapping[int, int]) -> tuple[_Layer, ...] | None:
    """The ops with int8 weights; None where one reads something that is not the float model's."""
    tensors = opened.model.subgraphs[0].tensors
    floats = {fb.text(t.name): fb.constant(model, t) for t in model.subgraphs[0].tensors}
    found = []
    for op in opened.model.subgraphs[0].operators:
        opcode = fb.opcode_name(opened.model, op)
        weights = int(op.inputs[WEIGHTS_INPUT[opcode]]) if opcode in WEIGHTED else -1
        if weights < 0 or fb.dtype_name(tensors[weights]) != "int8":
            continue
        data, name, place = (
            int(op.inputs[DATA_INPUT.get(opcode, 0)]),
            fb.text(tensors[weights].name),
            BIAS_INPUT[opcode],
        )
        values, bias = floats.get(name), int(op.inputs[place]) if place < len(op.inputs) else -1
        added = None if bias < 0 else floats.get(fb.text(tensors[bias].name))
        if values is None or data not in activations or (bias >= 0 and added is None):
            return None
        none = np.zeros(0)
        found.append(_Layer(
            data=activations[data], name=name, axis=CHANNEL_AXIS[opcode], values=values, bias=added,
            weights=opened.data(weights, np.int8), weight_scale=opened.scale(weights),
            integers=none if bias < 0 else opened.data(bias, np.int32),
            bias_scale=none if bias < 0 else opened.scale(bias),
        ))  # fmt: skip
    return tuple(found)

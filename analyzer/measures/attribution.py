"""Where a quantized file's error comes from: its own weights and scales, put into the float network one at a time.

The file may come from any converter. Its ops are aligned with the float network's by kind and shape, in order, with
QUANTIZE and DEQUANTIZE left out; a layer that was split into hi + lo counts as one. What cannot be aligned is listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..network import flatbuffer as fb
from ..network import kernels, runtime
from ..schema import Calibration, Graph, Measurement, Op, Source
from .calibration import Progress
from .crew import Crew
from .exact import ExactSweep
from .sweep import LabelledSource, Sweep, Task

_BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_INTEGERS = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


@dataclass(frozen=True)
class Alignment:
    """Which op of the file is which op of the float network.

    Attributes:
      ops: Index in the file by index in the float network.
      unmatched: Keys of float ops that have no counterpart.
    """

    ops: Mapping[int, int]
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """The values that a quantized tensor can hold: `scale * (integer - zero_point)`, low <= integer <= high."""

    scale: float
    zero_point: int
    low: int
    high: int
    bits: int

    def round(self, values: np.ndarray) -> np.ndarray:
        """The nearest values of the grid; float32, same shape."""
        steps = np.clip(np.rint(values / np.float32(self.scale)) + self.zero_point, self.low, self.high)
        return np.asarray((steps - self.zero_point) * np.float32(self.scale), np.float32)


class QuantizedFile:
    """A quantized flatbuffer, opened for comparison with its float parent.

    Args:
      data: The file.
      graph: The float network.
    """

    def __init__(self, data: bytes, graph: Graph) -> None:
        self._model = fb.read(data)
        if len(self._model.subgraphs) != 1:
            raise UnsupportedModel(
                f"the quantized file has {len(self._model.subgraphs)} subgraphs", "audit a file with one subgraph"
            )
        self._graph = self._model.subgraphs[0]
        self._float = graph
        self._splits = self._find_splits()
        self.alignment = self._align()

    @property
    def is_quantized(self) -> bool:
        """Whether any tensor of the file is quantized."""
        return any(self._grid_or_none(t) for t in self._graph.tensors) or any(
            fb.dtype_name(t) in _INTEGERS and self._has_scale(t) for t in self._graph.tensors
        )

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensor indices of the file's inputs."""
        return tuple(int(t) for t in self._graph.inputs)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Tensor indices of the file's outputs."""
        return tuple(int(t) for t in self._graph.outputs)

    def ports(self) -> list[int]:
        """Elements of each input, then of each output."""
        return [math.prod(abs(int(s)) for s in self._graph.tensors[t].shape) for t in (*self.inputs, *self.outputs)]

    def tensor(self, float_tensor: int) -> int | None:
        """Index in the file of a float network's activation; None where its op could not be aligned."""
        if float_tensor in self._float.inputs:
            return int(self._graph.inputs[self._float.inputs.index(float_tensor)])
        producer = self._float.producer(float_tensor)
        if producer is None or producer not in self.alignment.ops:
            return None
        place = self._float.ops[producer].outputs.index(float_tensor)
        matched = self.alignment.ops[producer]
        writer = self._splits[matched][1] if matched in self._splits else matched
        return int(self._graph.operators[writer].outputs[place])

    def activation_grid(self, float_tensor: int) -> Grid | None:
        """How the file quantizes an activation; None where it stays float or could not be aligned."""
        index = self.tensor(float_tensor)
        if index is None:
            return None
        found = self._grid_or_none(self._graph.tensors[index])
        if found is None and float_tensor in self._float.inputs:  # a float input is quantized by the first op
            readers = [op for op in self._graph.operators if index in op.inputs]
            if len(readers) == 1 and fb.opcode_name(self._model, readers[0]) == "QUANTIZE":
                return self._grid_or_none(self._graph.tensors[readers[0].outputs[0]])
        return found

    def weights(self, op: Op) -> tuple[np.ndarray, int] | None:
        """The file's weights of an op, dequantized, and their bits; None where they are float or not aligned."""
        place = kernels.WEIGHTS_INPUT.get(op.opcode)
        if place is None or op.index not in self.alignment.ops:
            return None
        matched = self.alignment.ops[op.index]
        found = self._dequantized(matched, place)
        if found is None or matched not in self._splits:
            return found
        low = self._dequantized(self._splits[matched][0], place)
        return None if low is None else (found[0] + low[0], 16)

    def _dequantized(self, op: int, place: int) -> tuple[np.ndarray, int] | None:
        tensor = self._graph.tensors[self._graph.operators[op].inputs[place]]
        integers = fb.constant(self._model, tensor)
        dtype = fb.dtype_name(tensor)
        if integers is None or dtype not in _INTEGERS or not self._has_scale(tensor):
            return None
        scales = np.asarray(tensor.quantization.scale, np.float32)
        zero_points = np.asarray(tensor.quantization.zeroPoint, np.float32)
        shape = [1] * integers.ndim
        if len(scales) > 1:
            shape[int(tensor.quantization.quantizedDimension)] = len(scales)
        values = (integers.astype(np.float32) - zero_points.reshape(shape)) * scales.reshape(shape)
        return values.astype(np.float32), {"int4": 4, "int16": 16}.get(dtype, 8)

    def _align(self) -> Alignment:
        inner = {part for split in self._splits.values() for part in split}
        places = [
            i for i, op in enumerate(self._graph.operators)
            if fb.opcode_name(self._model, op) not in _BORDERS and i not in inner
        ]  # fmt: skip
        theirs = [self._signature(self._graph.operators[i]) for i in places]
        ours = [self._float_signature(op) for op in self._float.ops]
        matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
        pairs = {
            block.a + k: places[block.b + k] for block in matcher.get_matching_blocks() for k in range(block.size)
        }  # fmt: skip
        return Alignment(pairs, tuple(op.key for op in self._float.ops if op.index not in pairs))

    def _find_splits(self) -> dict[int, tuple[int, int]]:
        """Layers kept as hi + lo: by the first op, the second one and the ADD of the two."""
        ops, found = self._graph.operators, {}
        writers = {int(t): i for i, op in enumerate(ops) for t in op.outputs}
        for index, op in enumerate(ops):
            if fb.opcode_name(self._model, op) != "ADD":
                continue
            high, low = (writers.get(int(t)) for t in op.inputs)
            if high is None or low is None or high == low:
                continue
            high, low = sorted((high, low))
            alike = self._signature(ops[high]) == self._signature(ops[low])
            if alike and ops[high].inputs[0] == ops[low].inputs[0] and self._signature(ops[high])[0] in kernels.SPLIT:
                found[high] = (low, index)
        return found

    def _signature(self, op: Any) -> tuple[str, int]:
        opcode = fb.opcode_name(self._model, op)
        place = kernels.WEIGHTS_INPUT.get(opcode)
        tensor = self._graph.tensors[op.inputs[place] if place is not None else op.outputs[0]]
        return opcode, math.prod(abs(int(s)) for s in (tensor.shape if tensor.shape is not None else ()))

    def _float_signature(self, op: Op) -> tuple[str, int]:
        place = kernels.WEIGHTS_INPUT.get(op.opcode)
        tensor = self._float.tensors[op.inputs[place] if place is not None else op.outputs[0]]
        return op.opcode, tensor.elements

    def _has_scale(self, tensor: Any) -> bool:
        return tensor.quantization is not None and tensor.quantization.scale is not None

    def _grid_or_none(self, tensor: Any) -> Grid | None:
        dtype = fb.dtype_name(tensor)
        if dtype not in _INTEGERS or not self._has_scale(tensor) or len(tensor.quantization.scale) != 1:
            return None
        low, high = _INTEGERS[dtype]
        zero_point = int(tensor.quantization.zeroPoint[0])
        return Grid(float(tensor.quantization.scale[0]), zero_point, low, high, 16 if dtype == "int16" else 8)


def attribute(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    file: QuantizedFile,
    samples: LabelledSource,
    *,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> tuple[Measurement, ...]:
    """Output error of each of the file's own sources, alone in the float network.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Of `data` on the same samples: variances to normalise with.
      file: The quantized file.
      samples: What to measure on.
      workers: Threads.
      progress: Called with (units done, units in all).

    Returns:
      One measurement for each aligned source, in execution order.
    """
    found: list[Source] = []
    grids: dict[Source, Grid] = {}
    weights: dict[Source, np.ndarray] = {}
    for tensor in graph.inputs:
        if tensor in calibration.ranges and (grid := file.activation_grid(tensor)) is not None:
            found.append(Source("input", f"a{grid.bits}", tensor))
            grids[found[-1]] = grid
    for op in graph.ops:
        changed = file.weights(op) if op.weights is not None else None
        if (
            changed is not None
            and changed[0].size == graph.tensors[op.inputs[kernels.WEIGHTS_INPUT[op.opcode]]].elements
        ):
            found.append(Source("weights", f"w{changed[1]}", op.outputs[0], op.index))
            weights[found[-1]] = changed[0]
        for tensor in graph.activations_out(op):
            grid = file.activation_grid(tensor)
            if grid is not None and op.opcode not in kernels.MOVEMENT:
                found.append(Source("activation", f"a{grid.bits}", tensor, op.index))
                grids[found[-1]] = grid

    def change(sweep: Sweep, source: Source) -> Callable[[int], np.ndarray]:
        if source not in weights:
            return lambda sample: grids[source].round(sweep.value(source.tensor, sample))
        assert source.op is not None, "only ops have weights"
        op = graph.ops[source.op]
        assert op.weights is not None, "only what has weights was given other ones"
        return sweep.alone(op, source.tensor, {op.weights: weights[source].reshape(graph.tensors[op.weights].shape)})

    with ExactSweep(Task(data, graph, calibration, change), samples, crew=Crew(threads=workers)) as sweep:
        measured = sweep.measure(found, progress=progress)
    return tuple(measured[source.id] for source in found)

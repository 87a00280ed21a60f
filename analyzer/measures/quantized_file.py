"""A quantized file of any converter beside its float parent: its numbers, by where they belong in the float network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..errors import UnsupportedModel
from ..network import flatbuffer as fb
from ..network import kernels
from ..network.alignment import Alignment, align
from ..network.graph import build_graph
from ..network.layout import with_ports_of
from ..network.units import BORDERS, LAYOUT, Unit, Wires, weights_tensor
from ..schema import FileCoverage, Graph, Op
from .file_tensors import activation_grid, dequantized, scales_of, weight_grid
from .grids import BITS, INTEGERS, Grid, WeightGrid
from .substitution import Ingredients, SplitSum
from .weight_likeness import cosine, fitted, in_order_of


class QuantizedFile:
    """A quantized flatbuffer, opened for comparison with its float parent.

    Args:
      data: The file.
      graph: The float network.
      float_data: The float flatbuffer: with it weights are recognised by their values. Without it, float weights of the
        file are taken to be the float network's.

    Attributes:
      alignment: Which op and tensor is which.
      file_graph: The file's own ops and tensors.

    Raises:
      UnsupportedModel: The bytes are no TFLite model, have several subgraphs, or not as many inputs as the network.
    """

    def __init__(self, data: bytes, graph: Graph, float_data: bytes | None = None) -> None:
        self._model = fb.read(data)
        if len(self._model.subgraphs) != 1:
            raise UnsupportedModel(
                f"the quantized file has {len(self._model.subgraphs)} subgraphs", "audit a file with one subgraph"
            )
        self._tensors = self._model.subgraphs[0].tensors
        self._float = graph
        self._float_model = None if float_data is None else fb.read(float_data)
        self.file_graph = build_graph(data)
        self._wires = Wires(self.file_graph)
        self._float_wires = Wires(graph)
        self._dequantized: dict[int, np.ndarray | None] = {}
        self.alignment: Alignment = align(graph, self.file_graph, self._likeness)
        self._ours: dict[int, Unit] = {}
        self._units: dict[int, Unit] = {}
        for ours, theirs in self.alignment.units:
            self._ours.update(dict.fromkeys(ours.ops, ours))
            self._units.update(dict.fromkeys(ours.ops, theirs))

    @property
    def is_quantized(self) -> bool:
        """Whether any tensor of the file is quantized, or a constant lies in float16."""
        return any(
            fb.dtype_name(t) == "float16" or (fb.dtype_name(t) in INTEGERS and scales_of(t) is not None)
            for t in self._tensors
        )

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensor indices of the file's inputs."""
        return self.file_graph.inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        """Tensor indices of the file's outputs."""
        return self.file_graph.outputs

    def ports(self) -> list[int]:
        """Elements of each input, then of each output."""
        return [self.file_graph.tensors[t].elements for t in (*self.inputs, *self.outputs)]

    @property
    def coverage(self) -> FileCoverage:
        """How much of the float network was found, and what was not."""
        missed = {item.op for item in self.alignment.unmatched if not item.harmless}
        found = [op for op in self._float.ops if op.key not in missed]
        return FileCoverage(
            matched_ops=len(found),
            total_ops=len(self._float.ops),
            matched_macs=sum(op.macs for op in found),
            total_macs=sum(op.macs for op in self._float.ops),
            found_by=self.alignment.how,
            dynamic_ops=sum(map(self.is_dynamic, self._float.ops)),
            not_aligned=(*self.alignment.unmatched, *self.alignment.extra),
        )

    def tensor(self, float_tensor: int) -> int | None:
        """Index in the file of a float network's activation; None where it could not be aligned."""
        return self.alignment.tensors.get(float_tensor)

    def activation_grid(self, float_tensor: int) -> Grid | None:
        """How the file quantizes an activation; None where it stays float or could not be aligned."""
        return self._grids[0].get(float_tensor)

    def weights(self, op: Op) -> tuple[np.ndarray, int] | None:
        """The file's weights of an op, dequantized, in the float weights' shape, and their bits (16 for hi + lo).

        Returns:
          None where they are the float network's own, or not aligned.
        """
        unit = self._units.get(op.index)
        if op.weights is None or unit is None:
            return None
        parts = [part for part in (unit.core, unit.low) if part is not None]
        found = [self._weights_of(op, part) for part in parts]
        if any(values is None for values in found):
            return None
        values = np.asarray(sum(v for v in found if v is not None), np.float32)
        bits = 16 if unit.low is not None else self._weight_bits(unit.core)
        original = self._float_constant(op.weights)
        is_same = bits == 32 if original is None else np.array_equal(values, original)
        return None if is_same else (values, bits)

    def likeness(self, op: Op) -> float | None:
        """Cosine between an op's weights in the two files; None where it has none, or was not aligned."""
        unit = self._units.get(op.index)
        return None if unit is None or op.weights is None else self._likeness(op.index, unit.core)

    def weight_grid(self, op: Op) -> WeightGrid | None:
        """What an op's weights are rounded to; None where they are float, split, reshaped or not aligned."""
        unit = self._units.get(op.index)
        if op.weights is None or unit is None or unit.low is not None:
            return None
        tensor = weights_tensor(self.file_graph, self._wires, self.file_graph.ops[unit.core])
        if tensor is None or tensor.shape != self._float.tensors[op.weights].shape:
            return None
        return weight_grid(self._tensors[tensor.index])

    def is_dynamic(self, op: Op) -> bool:
        """Whether an op has integer weights and float activations: its input is then rounded while it runs."""
        unit = self._units.get(op.index)
        place = kernels.WEIGHTS_INPUT.get(op.opcode)
        if unit is None or place is None or op.weights is None:
            return False
        core = self.file_graph.ops[unit.core]
        written = self.file_graph.tensors[core.outputs[0]].dtype
        return written == "float32" and self.file_graph.tensors[core.inputs[place]].dtype in INTEGERS

    def is_float(self, op: Op) -> bool:
        """Whether an aligned op computes in float in the file."""
        unit = self._units.get(op.index)
        return unit is not None and self.file_graph.tensors[unit.end[0]].dtype == "float32"

    @cached_property
    def ingredients(self) -> Ingredients:
        """All of the file's numbers that could be aligned."""
        activations, reads = self._grids
        weights, biases, constants, grids, sums = {}, {}, {}, {}, {}
        for op in self._float.ops:
            if op.index not in self._units:
                continue
            if (changed := self.weights(op)) is not None:
                weights[op.index] = changed[0]
            if (grid := self.weight_grid(op)) is not None:
                grids[op.index] = grid
            if (bias := self._bias(op)) is not None:
                biases[op.index] = bias
            if (split := self._split(op)) is not None:
                sums[op.index] = split
            constants.update(self._constants(op))
        before = {op: self._grid(tensor) for op, tensor in self.alignment.before.items()}
        return Ingredients(
            activations=self._without_repeats(activations), reads=reads,
            before={op: grid for op, grid in before.items() if grid is not None},
            weights=weights, biases=biases, constants=constants, sums=sums, weight_grids=grids,
        )  # fmt: skip

    @cached_property
    def _grids(self) -> tuple[dict[int, Grid], dict[tuple[int, int], Grid]]:
        """Grids of written activations, and second ones in front of single readers.

        A float tensor that all of its readers quantize alike counts as quantized where it is written.
        """
        tensors = self.alignment.tensors
        activations = {t: grid for t, placed in tensors.items() if (grid := self._grid(placed)) is not None}
        reads = {}
        for op in self._float.ops:
            reads.update(self._reads(op))
        for tensor in tensors.keys() - activations.keys() - set(self._float.compared):
            found = [reads.get((tensor, reader)) for reader in self._float.consumers(tensor)]
            first = found[0] if found else None
            if first is not None and all(grid == first for grid in found):
                activations[tensor] = first
                reads = {key: grid for key, grid in reads.items() if key[0] != tensor}
        return dict(sorted(activations.items())), reads

    def _reads(self, op: Op) -> dict[tuple[int, int], Grid]:
        """Where the file quantizes an input of an op once more."""
        unit = self._units.get(op.index)
        if unit is None or op.index not in self.alignment.ops:
            return {}
        found = {}
        sources = {self.alignment.tensors[t]: t for t in self._float.activations_in(op) if t in self.alignment.tensors}
        for tensor in self._wires.activations_in(self.file_graph.ops[self.alignment.ops[op.index]]):
            source, way = self._wires.behind_borders(tensor, BORDERS | LAYOUT)
            first = self._grid(source)
            grids = [grid for t in way if (grid := self._grid(t)) is not None]
            second = [grid for grid in grids if first is None or not grid.equals(first)]
            if source in sources and second:
                found[sources[source], op.index] = second[-1]
        return found

    def _without_repeats(self, activations: Mapping[int, Grid]) -> dict[int, Grid]:
        """Without those that ops which only move values pass on as they are: rounding twice changes nothing."""
        repeated = {
            t for op in self._float.ops if op.opcode in kernels.MOVEMENT
            for t in op.outputs if op.inputs[0] in activations and activations.get(t) == activations[op.inputs[0]]
        }  # fmt: skip
        return {t: grid for t, grid in activations.items() if t not in repeated}

    def _grid(self, tensor: int) -> Grid | None:
        return activation_grid(self._tensors[tensor])

    def _weights_of(self, op: Op, file_op: int) -> np.ndarray | None:
        """Weights of an op of the file in the shape and order that the float network has; None where that cannot be."""
        tensor = weights_tensor(self.file_graph, self._wires, self.file_graph.ops[file_op])
        if tensor is None or op.weights is None:
            return None
        if tensor.index not in self._dequantized:
            self._dequantized[tensor.index] = dequantized(self._model, self._tensors[tensor.index])
        values = self._dequantized[tensor.index]
        found = None if values is None else fitted(values, self._float.tensors[op.weights].shape)
        original = self._float_constant(op.weights)
        if found is None or original is None or op.opcode != "FULLY_CONNECTED":
            return found
        source, _ = self._float_wires.behind_borders(op.inputs[0], frozenset({"RESHAPE"}))
        return in_order_of(original, found, self._float.tensors[source].shape[1:])

    def _weight_bits(self, file_op: int) -> int:
        tensor = weights_tensor(self.file_graph, self._wires, self.file_graph.ops[file_op])
        dtype = "" if tensor is None else tensor.dtype
        return BITS.get(dtype, 16 if dtype == "float16" else 32)

    def _split(self, op: Op) -> SplitSum | None:
        unit = self._units[op.index]
        if op.weights is None or unit.low is None:
            return None
        low = self._weights_of(op, unit.low)
        high_grid, low_grid = (self._grid(self.file_graph.ops[part].outputs[0]) for part in (unit.core, unit.low))
        return None if low is None or not (high_grid or low_grid) else SplitSum(low, high_grid, low_grid)

    def _bias(self, op: Op) -> np.ndarray | None:
        """The file's bias of an op that has one in the float network, float32 [channels]; None where it is the same."""
        if op.bias is None or not self._float.tensors[op.bias].is_constant:
            return None
        theirs = self._units[op.index]
        values = self._file_bias(self.file_graph.ops[theirs.core])
        if theirs.bias_op is not None and self._ours[op.index].bias_op is None:  # apart in the file alone
            added = self._constant_input(self.file_graph.ops[theirs.bias_op])
            values = added if values is None or added is None else values.reshape(-1) + added.reshape(-1)
        elif self._ours[op.index].bias_op is not None and theirs.bias_op is None:
            return None  # the file's one bias stands for the float network's ADD
        return self._if_changed(values, op.bias)

    def _if_changed(self, values: np.ndarray | None, tensor: int) -> np.ndarray | None:
        """Values in the shape of a float constant; None where they are that constant, or cannot be."""
        wanted, original = self._float.tensors[tensor], self._float_constant(tensor)
        if values is None or values.size != wanted.elements:
            return None
        found = fitted(values, wanted.shape)
        return None if found is None or (original is not None and np.array_equal(found, original)) else found

    def _file_bias(self, core: Op) -> np.ndarray | None:
        place = kernels.BIAS_INPUT.get(core.opcode, len(core.inputs))
        index = core.inputs[place] if place < len(core.inputs) and core.inputs[place] >= 0 else None
        constant = None if index is None else self._wires.constant(index)
        if constant is None:
            return None
        values = fb.constant(self._model, self._tensors[constant])
        data = activation_grid(self._tensors[core.inputs[kernels.DATA_INPUT.get(core.opcode, 0)]])
        weights = scales_of(self._tensors[core.inputs[kernels.WEIGHTS_INPUT[core.opcode]]])
        if values is None or values.dtype.kind == "f" or data is None or weights is None:
            return dequantized(self._model, self._tensors[constant])
        # Kernels add the integers to the sum of products, whatever scale the bias itself is said to have.
        return np.asarray(values.reshape(-1) * (data.scale * weights.astype(np.float64)), np.float32)

    def _constants(self, op: Op) -> dict[int, np.ndarray]:
        """The file's value of the one constant operand of an op without weights."""
        if len(op.constants) != 1:
            return {}
        (tensor,) = op.constants
        placed = self.file_graph.ops[self.alignment.ops[op.index]]
        if placed.opcode not in kernels.WEIGHTED:
            values = self._constant_input(placed)
        else:  # a bias that the float network adds apart; what its layer adds already is no part of it
            values, own = self._file_bias(placed), self._float.ops[self._ours[op.index].core].bias
            first = None if own is None else self._float_constant(own)
            values = values if values is None or first is None else values.reshape(-1) - first.reshape(-1)
        found = self._if_changed(values, tensor)
        return {} if found is None else {tensor: found}

    def _constant_input(self, op: Op) -> np.ndarray | None:
        found = [constant for t in op.inputs if t >= 0 and (constant := self._wires.constant(t)) is not None]
        return dequantized(self._model, self._tensors[found[0]]) if len(found) == 1 else None

    def _float_constant(self, tensor: int) -> np.ndarray | None:
        if self._float_model is None:
            return None
        return fb.constant(self._float_model, self._float_model.subgraphs[0].tensors[tensor])

    def _likeness(self, float_op: int, file_op: int) -> float | None:
        """Cosine between weights of an op of the float network and one of the file; None where one has none."""
        op = self._float.ops[float_op]
        original = None if op.weights is None else self._float_constant(op.weights)
        values = None if original is None else self._weights_of(op, file_op)
        return None if original is None or values is None else cosine(original, values)


def as_parent(data: bytes, graph: Graph) -> bytes:
    """A file that takes and gives what its float parent does, where only the place of the channels differs.

    Args:
      data: The quantized file.
      graph: The float network.
    """
    shapes = [[graph.tensors[t].shape for t in ports] for ports in (graph.inputs, graph.outputs)]
    return with_ports_of(data, *shapes)


def with_compared(file: QuantizedFile, graph: Graph) -> tuple[Graph, tuple[int, ...]]:
    """The graph with tensors to compare that the file has too, and where the file has them.

    Args:
      file: The quantized file.
      graph: The float network; its outputs stand in where the file lacks a compared tensor.
    """
    places = []
    for tensor in graph.compared:
        place = file.tensor(tensor)
        # An order of axes that differs would compare unlike elements.
        if place is None or _sizes(file.file_graph, place) != _sizes(graph, tensor):
            return replace(graph, compared=graph.outputs), file.outputs
        places.append(place)
    return graph, tuple(places)


def _sizes(graph: Graph, tensor: int) -> list[int]:
    return [abs(size) for size in graph.tensors[tensor].shape if abs(size) != 1]

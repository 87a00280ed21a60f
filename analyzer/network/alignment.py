"""Which unit of one network is which unit of another: by the values of weights, by names, then by structure.

The networks come from different converters. Border ops between formats are no units, a bias or an activation function
is part of its unit whether fused or not (`units.py`), and TRANSPOSEs that only one of the two has are passed by. What
finds no counterpart is listed with the reason.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import UnsupportedModel
from ..schema import Graph, NotAligned, Op
from .kernels import MOVEMENT
from .units import BORDERS, LAYOUT, Unit, Wires, find_units, weights_tensor

SAME_WEIGHTS = 0.9
"""Cosine between two tensors of weights above which they are the same ones, rounded; int4 keeps it above 0.97."""

_UNLIKE_WEIGHTS = 0.5
_SHAPES = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
_MEANS = frozenset({"MEAN", "AVERAGE_POOL_2D"})
_PRODUCTS = frozenset({"CONV_2D", "FULLY_CONNECTED"})
_PADS = frozenset({"PAD", "PADV2"})
_MOVES = MOVEMENT | _SHAPES | LAYOUT
_MADE_UP = re.compile(r"^(arith\.|tfl\.|std\.|StatefulPartitionedCall|PartitionedCall|Identity|serving_default|$)")
"""Names that converters give by number; two files that number differently share them by accident."""

Origin = tuple[str, int, int]
"""Where a unit's input comes from: (`input`, its place, 0) or (`unit`, its number, which of its outputs)."""

Likeness = Callable[[int, int], float | None]
"""(op of the one network, op of the other): cosine between their weights, None where they cannot be compared."""


@dataclass(frozen=True)
class Alignment:
    """Which op and which tensor of a file belong to which of the float network.

    Attributes:
      units: (unit of the float network, unit of the file), in the float network's execution order.
      ops: Index in the file by index in the float network; several ops may share one where it is fused.
      tensors: The file's activation by the float network's, model inputs included.
      before: By float op with a fused activation function: the file's tensor in front of that function, where the file
        has an op of its own for it.
      unmatched: Float ops without a counterpart.
      extra: Ops of the file without one; border ops are not counted.
      how: Number of units by what they were found by: `weights`, `names`, `neighbours`, `order`.
    """

    units: tuple[tuple[Unit, Unit], ...]
    ops: Mapping[int, int]
    tensors: Mapping[int, int]
    before: Mapping[int, int] = field(default_factory=dict)
    unmatched: tuple[NotAligned, ...] = ()
    extra: tuple[NotAligned, ...] = ()
    how: Mapping[str, int] = field(default_factory=dict)


def align(graph: Graph, other: Graph, likeness: Likeness = lambda _, __: None) -> Alignment:
    """Finds the units of a float network in a file.

    Args:
      graph: The float network.
      other: The file.
      likeness: Compares weights of an op of the one with weights of an op of the other.
    """
    return _Aligner(graph, other, likeness).run()


class _Side:
    """One of the two networks."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.wires = Wires(graph)
        self.units = find_units(graph, self.wires)
        self.unit_of = {op: k for k, unit in enumerate(self.units) for op in unit.ops}
        self.inputs = [self._inputs(k) for k in range(len(self.units))]
        self.consumers: list[set[int]] = [set() for _ in self.units]
        for k, origins in enumerate(self.inputs):
            for kind, number, _ in origins:
                if kind == "unit":
                    self.consumers[number].add(k)

    def op(self, unit: int) -> Op:
        return self.graph.ops[self.units[unit].core]

    def _inputs(self, unit: int) -> tuple[Origin, ...]:
        """What a unit reads; ops that only change layout or shape are passed by."""
        found = (self._origin(tensor) for tensor in self.wires.activations_in(self.op(unit)))
        return tuple(origin for origin in found if origin is not None)

    def _origin(self, tensor: int) -> Origin | None:
        source, _ = self.wires.behind_borders(tensor, BORDERS | LAYOUT | _SHAPES)
        if source in self.graph.inputs:
            return "input", self.graph.inputs.index(source), 0
        writer = self.wires.writers.get(source)
        if writer is None or writer not in self.unit_of:
            return None
        return "unit", self.unit_of[writer], self.graph.ops[writer].outputs.index(source)

    def names(self, unit: int) -> set[str]:
        """Names of what a unit writes, and of its weights."""
        found = self.units[unit]
        tensors = [*found.end]
        for tensor in found.end:
            readers = (self.graph.ops[k] for k in self.wires.readers.get(tensor, []))
            tensors += [op.outputs[0] for op in readers if op.opcode in BORDERS]
        weights = weights_tensor(self.graph, self.wires, self.op(unit))
        labels = [self.graph.tensors[t].name for t in tensors] + ([weights.name] if weights else [])
        return {label for label in labels if not _MADE_UP.match(label)}


class _Aligner:
    def __init__(self, graph: Graph, other: Graph, likeness: Likeness) -> None:
        self._ours, self._theirs = _Side(graph), _Side(other)
        self._likeness = likeness
        self._pairs: dict[int, int] = {}
        self._taken: set[int] = set()
        self._how: Counter[str] = Counter()
        self._input_places = _input_places(graph, other)
        theirs = range(len(self._theirs.units))
        self._fitting = [
            [j for j in theirs if self._fits(i, j)] for i in range(len(self._ours.units))
        ]  # fmt: skip

    def run(self) -> Alignment:
        self._by_weights()
        self._by_names(lambda name: (name,))
        self._by_names(lambda name: name.split(";"))
        while self._by_neighbours() or self._by_order():
            pass
        return self._result()

    def _by_weights(self) -> None:
        """Pairs whose weights are nearly equal, where there is only one such counterpart on both sides."""
        alike = {
            (i, j)
            for i, fitting in enumerate(self._fitting) for j in fitting
            if (self._alike(i, j) or 0.0) >= SAME_WEIGHTS
        }  # fmt: skip
        ours, theirs = Counter(i for i, _ in alike), Counter(j for _, j in alike)
        for i, j in sorted(alike):
            if ours[i] == theirs[j] == 1:
                self._pair(i, j, "weights")

    def _by_names(self, parts: Callable[[str], Iterable[str]]) -> None:
        """Pairs that share a name which nothing else has on either side."""
        places = []
        for side in (self._ours, self._theirs):
            found: dict[str, set[int]] = {}
            for k in range(len(side.units)):
                for part in {p for name in side.names(k) for p in parts(name)}:
                    found.setdefault(part, set()).add(k)
            places.append(found)
        for name in sorted(places[0].keys() & places[1].keys()):
            if len(places[0][name]) == len(places[1][name]) == 1:
                (i,), (j,) = places[0][name], places[1][name]
                if self._are_free(i, j) and j in self._fitting[i] and not self._is_contradicted(i, j):
                    self._pair(i, j, "names")

    def _is_contradicted(self, i: int, j: int) -> bool:
        """Whether weights say that a name lies: these are unlike, and others of that shape are the same."""
        alike = self._alike(i, j)
        if alike is None or alike >= _UNLIKE_WEIGHTS:
            return False
        return any((self._alike(i, other) or 0.0) >= SAME_WEIGHTS for other in self._fitting[i])

    def _by_neighbours(self) -> bool:
        """Pairs that read, or are read by, what was paired before, where there is only one such counterpart."""
        found = False
        for i, fitting in enumerate(self._fitting):
            if i in self._pairs:
                continue
            near = {j: self._agreement(i, j) for j in fitting if j not in self._taken}
            most = max(near.values(), default=0)
            best = [j for j, agreement in near.items() if agreement == most]
            if most > 0 and len(best) == 1:
                self._pair(i, best[0], "neighbours")
                found = True
        return found

    def _agreement(self, i: int, j: int) -> int:
        """How many neighbours of two units are paired with each other; -1 where some contradict."""
        wanted = Counter(self._translated(origin) for origin in self._ours.inputs[i])
        given = Counter(self._theirs.inputs[j])
        known = {origin: n for origin, n in wanted.items() if origin is not None}
        behind = {self._pairs[k] for k in self._ours.consumers[i] if k in self._pairs}
        if any(given[origin] < n for origin, n in known.items()) or not behind <= self._theirs.consumers[j]:
            return -1
        return sum(known.values()) + len(behind)

    def _translated(self, origin: Origin) -> Origin | None:
        kind, number, place = origin
        if kind == "input":
            return kind, self._input_places[number], 0
        return (kind, self._pairs[number], place) if number in self._pairs else None

    def _by_order(self) -> bool:
        """The first free unit and its first free counterpart behind everything that was paired before it.

        Only one at a time: its neighbours may then be told by themselves.
        """
        for i, fitting in enumerate(self._fitting):
            if i in self._pairs:
                continue
            low = max((j for k, j in self._pairs.items() if k < i), default=-1)
            high = min((j for k, j in self._pairs.items() if k > i), default=len(self._theirs.units))
            between = [j for j in fitting if j not in self._taken and low < j < high and self._agreement(i, j) >= 0]
            if between:
                self._pair(i, between[0], "order")
                return True
        return False

    def _pair(self, i: int, j: int, how: str) -> None:
        self._pairs[i] = j
        self._taken.add(j)
        self._how[how] += 1

    def _are_free(self, i: int, j: int) -> bool:
        return i not in self._pairs and j not in self._taken

    def _alike(self, i: int, j: int) -> float | None:
        return self._likeness(self._ours.units[i].core, self._theirs.units[j].core)

    def _fits(self, i: int, j: int) -> bool:
        """Whether two units could be the same layer: what they compute, and the sizes of it."""
        ours, theirs = self._ours.op(i), self._theirs.op(j)
        together = {ours.opcode, theirs.opcode}
        if len(together) > 1 and not any(together <= kinds for kinds in (_SHAPES, _MEANS, _PRODUCTS, _PADS)):
            return False
        first = weights_tensor(self._ours.graph, self._ours.wires, ours)
        second = weights_tensor(self._theirs.graph, self._theirs.wires, theirs)
        if (first is None) != (second is None):
            return False
        if first is not None and second is not None and not _same_sizes(first.shape, second.shape):
            return False
        if len(ours.outputs) != len(theirs.outputs):
            return False
        pairs = zip(self._ours.units[i].end, self._theirs.units[j].end, strict=True)
        tensors, others = self._ours.graph.tensors, self._theirs.graph.tensors
        alike = _same_elements if together & (_SHAPES | _MEANS | _PRODUCTS) else _same_sizes
        return all(alike(tensors[a].shape, others[b].shape) for a, b in pairs)

    def _result(self) -> Alignment:
        pairs = [(self._ours.units[i], self._theirs.units[j]) for i, j in sorted(self._pairs.items())]
        ops: dict[int, int] = {}
        graph, other = self._ours.graph, self._theirs.graph
        tensors = {t: other.inputs[place] for t, place in zip(graph.inputs, self._input_places, strict=True)}
        before = {}
        for ours, theirs in pairs:
            ops.update(_op_pairs(ours, theirs))
            tensors.update(zip(ours.end, theirs.end, strict=True))
            for a, b in ((ours.product, theirs.product), (ours.sum, theirs.sum)):
                if a is not None and b is not None:
                    tensors[a] = b
            if ours.sum is None and theirs.sum is not None:
                before[ours.last] = theirs.sum
        return Alignment(
            units=tuple(pairs), ops=dict(sorted(ops.items())), tensors=dict(sorted(tensors.items())), before=before,
            unmatched=self._left("float", self._ours, set(self._pairs), self._theirs),
            extra=self._left("quantized", self._theirs, self._taken, self._ours), how=dict(sorted(self._how.items())),
        )  # fmt: skip

    def _left(self, file: str, side: _Side, paired: set[int], across: _Side) -> tuple[NotAligned, ...]:
        kinds, shapes = {across.op(k).opcode for k in range(len(across.units))}, _shape_ops(side.graph)
        found = []
        for k, unit in enumerate(side.units):
            if k in paired:
                continue
            core = side.op(k)
            harmless = core.opcode in _MOVES or core.index in shapes
            if core.index in shapes:
                reason = "it works out a shape, which is written down in the other file"
            elif harmless:
                reason = "it only moves values, and the other file does without it"
            elif core.opcode not in kinds:
                reason = f"the other file has no {core.opcode}"
            else:
                reason = (
                    f"no {core.opcode} of its shape is left in the other file, or several are and nothing tells which"
                )
            found += [
                NotAligned(side.graph.ops[op].key, side.graph.ops[op].layer, file, reason, harmless) for op in unit.ops
            ]
        return tuple(found)


def _shape_ops(graph: Graph) -> set[int]:
    """Indices of the ops that work out shapes: SHAPE, and what reads nothing else but constants."""
    ops: set[int] = set()
    tensors: set[int] = set()
    for op in graph.ops:
        read = {t for t in op.inputs if t >= 0 and graph.tensors[t].buffer is None}
        if op.opcode == "SHAPE" or (read and read <= tensors):
            ops.add(op.index)
            tensors.update(op.outputs)
    return ops


def _op_pairs(ours: Unit, theirs: Unit) -> dict[int, int]:
    """Each op of a unit with the other unit's op that does its work."""
    found = dict.fromkeys(ours.ops, theirs.core)
    if ours.bias_op is not None:
        found[ours.bias_op] = theirs.core if theirs.bias_op is None else theirs.bias_op
    if ours.sum is not None:
        found[ours.last] = theirs.last
    return found


def _input_places(graph: Graph, other: Graph) -> tuple[int, ...]:
    """Which input of the other network is each input of the one: by name, else by size, else by position.

    Raises:
      UnsupportedModel: They have not as many inputs.
    """
    if len(graph.inputs) != len(other.inputs):
        raise UnsupportedModel(
            f"the float model has {len(graph.inputs)} inputs, the file {len(other.inputs)}",
            "give a file and its float parent",
        )
    for label in (lambda t: t.name, lambda t: sorted(map(abs, t.shape))):
        ours = [label(graph.tensors[t]) for t in graph.inputs]
        theirs = [label(other.tensors[t]) for t in other.inputs]
        if sorted(ours) == sorted(theirs) and all(ours.count(key) == 1 for key in ours):
            return tuple(theirs.index(key) for key in ours)
    return tuple(range(len(graph.inputs)))


def _same_elements(first: Sequence[int], second: Sequence[int]) -> bool:
    return math.prod(map(abs, first)) == math.prod(map(abs, second))


def _same_sizes(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two shapes have the same sizes in some order, ones left out."""
    return sorted(abs(s) for s in first if abs(s) != 1) == sorted(abs(s) for s in second if abs(s) != 1)

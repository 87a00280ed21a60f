"""What may lie in the arena, and when, as conditions on the ops' schemes."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...analyzer.conversion.activations import Emission, Network
from ...analyzer.conversion.arena import Arena, Item, Runs, build_arena
from ...analyzer.conversion.placement import OVERWRITTEN, UNCHANGED, Place, place
from ...analyzer.schema import Format, Graph, Scheme
from .choices import Choices

Kind = tuple[Format, bool]
"""What of a scheme the arena depends on: the format of activations, and whether the op runs in halves."""

Literal = tuple[int, tuple[str, ...]]
"""(op index, names of schemes): the op has one of them."""


@dataclass(frozen=True)
class Occupant:
    """A tensor in one format, while the same conditions keep it alive.

    Attributes:
      bytes: As the planner of memory aligns it.
      first, last: Steps between which it is alive, both included.
      clauses: It is alive where all literals of one of them hold; an empty clause always holds.
    """

    bytes: int
    first: int
    last: int
    clauses: tuple[tuple[Literal, ...], ...]

    def alive(self, names: Mapping[int, str] | Sequence[str]) -> bool:
        """Whether it is there, given the name of each op's scheme."""
        return any(all(names[op] in wanted for op, wanted in clause) for clause in self.clauses)


def occupants_of(arena: Arena, choices: Choices, io: Format) -> tuple[Occupant, ...]:
    """What may lie in the arena under the choices that there are.

    Args:
      arena: Of the network.
      choices: From `schemes_for_ops`.
      io: Format of the model's inputs and outputs.
    """
    found: list[Occupant] = []
    open_: dict[Item, int] = {}
    known: dict[tuple[tuple[Runs, ...], ...], tuple[tuple[Literal, ...], ...]] = {}
    for number, step in enumerate(arena.steps):
        still: dict[Item, int] = {}
        for item in step.items:
            if item in open_:
                still[item] = open_[item]
                found[still[item]] = replace(found[still[item]], last=number)
                continue
            if item.clauses not in known:
                known[item.clauses] = _clauses(item.clauses, choices, io)
            if known[item.clauses]:
                still[item] = len(found)
                found.append(Occupant(item.bytes, number, number, known[item.clauses]))
        open_ = still
    return tuple(found)


def _clauses(clauses: Sequence[tuple[Runs, ...]], choices: Choices, io: Format) -> tuple[tuple[Literal, ...], ...]:
    """Those that some choice can make hold, without what always holds; one empty clause where one always does."""
    found: list[tuple[Literal, ...]] = []
    for clause in clauses:
        literals: dict[int, set[str]] = {}
        for part in clause:
            if part.op < 0:
                literals.setdefault(part.op, {io.value}).intersection_update({io.value} if part.holds((), io) else ())
            else:
                names = {scheme.name for scheme in choices[part.op] if _holds(part, scheme)}
                literals.setdefault(part.op, {s.name for s in choices[part.op]}).intersection_update(names)
        if not all(literals.values()):
            continue
        kept = tuple(
            (op, tuple(s.name for s in choices[op] if s.name in names))
            for op, names in literals.items()
            if op >= 0 and len(names) < len(choices[op])
        )
        if not kept:
            return ((),)
        found.append(kept)
    return tuple(dict.fromkeys(found))


def _holds(part: Runs, scheme: Scheme) -> bool:
    """Whether a condition on one op holds for a scheme of that op."""
    return replace(part, op=0).holds((scheme,), Format.FLOAT)


def kind_of(scheme: Scheme) -> Kind:
    """What of a scheme the arena depends on."""
    return scheme.format, scheme.is_split


class MemoryModel:
    """The arena of every plan of a network; what is asked for is built when it is asked for first.

    Args:
      graph: The float network.
      choices: From `schemes_for_ops`.
      io: Format of the model's inputs and outputs.
    """

    def __init__(self, graph: Graph, choices: Choices, io: Format) -> None:
        self._graph, self._choices, self._io = graph, choices, io
        self._packed: dict[tuple[Kind, ...], int] = {}

    def packed(self, schemes: Sequence[Scheme]) -> int:
        """Bytes that LiteRT's planner allocates for a plan's activations without delegates."""
        kinds = tuple(kind_of(scheme) for scheme in schemes)
        if kinds not in self._packed:
            self._packed[kinds] = self._emission.packed(schemes, self._io)
        return self._packed[kinds]

    def stack(self, schemes: Sequence[Scheme]) -> dict[int, frozenset[Kind]]:
        """What alone decides that the arena is as high as it is.

        A tensor's place depends on the tensors that were placed before it and live at the same time, and theirs on
        others. Larger ones go first. So the highest tensor lies where it does as long as those under it are the same
        and whatever else lives beside them is smaller.

        Returns:
          Kinds by op: every plan in which each of these ops has one of its kinds has at least this arena.
        """
        emission, io = self._emission, self._io
        calls = tuple(emission.calls(schemes, io))
        inputs, outputs, sizes = emission.ends(schemes, io)
        placed = place(calls, sizes, inputs, outputs)
        below = _stack(placed, len(calls))
        passing = [p for p in below.values() if not _stays(p, len(calls))]
        first, last = min((p.first for p in passing), default=1), max((p.last for p in passing), default=0)
        within = {t for call in calls[first : last + 1] for t in (*call.reads, *call.writes)}
        within |= {t for t, p in placed.items() if p.first <= last and p.last >= first}
        within -= {(t, None, "") for t in self._graph.inputs}  # whoever reads them, they stay
        same = self._deciding(t for t in below if t in within)
        smallest = min((p.size for p in passing), default=0)
        return {
            op: frozenset({kind_of(schemes[op])} | (set() if op in same else self._smaller(op, smallest)))
            for op in sorted(self._deciding(within) | same)
        }

    def _smaller(self, op: int, size: int) -> set[Kind]:
        """An op's kinds with which all that it writes, reads and works in is smaller than so many bytes."""
        ends, found = self._network, self._graph.ops[op]
        if found.opcode in UNCHANGED or found.opcode in OVERWRITTEN:
            return set()  # It may merge lives.
        tensors = (*ends.wiring.reads[op], *ends.wiring.writes[op])
        kinds = dict.fromkeys(kind_of(scheme) for scheme in self._choices[op])
        return {
            (fmt, split)
            for fmt, split in kinds
            if all(need < size for need in (*(ends.size(t, fmt) for t in tensors), *ends.scratch(found, fmt)))
        }

    def _deciding(self, tensors: Iterable[Hashable]) -> frozenset[int]:
        """Ops that write or read some tensors, and those that decide whether these lie in others' places."""
        wiring, ops = self._network.wiring, self._graph.ops
        found: set[int] = set()
        waiting = {copy[0] for copy in tensors if isinstance(copy, tuple) and copy[0] in wiring.writer}
        while waiting:
            tensor = waiting.pop()
            ends = {end for end in (wiring.writer[tensor], *wiring.readers[tensor]) if end >= 0}
            merging = [op for op in ends - found if ops[op].opcode in UNCHANGED or ops[op].opcode in OVERWRITTEN]
            found |= ends
            waiting |= {t for op in merging for t in (*wiring.reads[op], *wiring.writes[op])}
        return frozenset(found)

    @functools.cached_property
    def occupants(self) -> tuple[Occupant, ...]:
        """What may lie in the arena under the choices."""
        return occupants_of(build_arena(self._graph), self._choices, self._io)

    @functools.cached_property
    def _emission(self) -> Emission:
        return Emission(self._network)

    @functools.cached_property
    def _network(self) -> Network:
        return Network(self._graph)


def _stays(place: Place, calls: int) -> bool:
    """Whether something lives all the time."""
    return place.first == 0 and place.last == calls


def _stack(placed: Mapping[Hashable, Place], calls: int) -> dict[Hashable, Place]:
    """The highest tensor and those on which its place depends; what lives all the time depends on nothing."""
    order = list(placed)
    top: Hashable = max((t for t in order if isinstance(t, tuple)), key=lambda t: placed[t].end)
    found, waiting = {top: placed[top]}, [top]
    while waiting:
        above = placed[waiting[-1]]
        before = order[: order.index(waiting.pop())]
        if _stays(above, calls):
            continue
        for other in before:
            if other not in found and placed[other].first <= above.last and placed[other].last >= above.first:
                found[other] = placed[other]
                waiting.append(other)
    return found


class Memory:
    """The arena of a plan under change, without the gaps that LiteRT's planner may leave in it.

    Args:
      occupants: What may lie in it.
      schemes: One for each op.
    """

    def __init__(self, occupants: Sequence[Occupant], schemes: Sequence[Scheme]) -> None:
        self._occupants = occupants
        self._names = [scheme.name for scheme in schemes]
        self._steps = np.zeros(max((o.last + 1 for o in occupants), default=1), np.int64)
        self._of_op: dict[int, list[int]] = defaultdict(list)
        for index, occupant in enumerate(occupants):
            if occupant.alive(self._names):
                self._steps[occupant.first : occupant.last + 1] += occupant.bytes
            for op in dict.fromkeys(op for clause in occupant.clauses for op, _ in clause):
                self._of_op[op].append(index)

    @property
    def peak(self) -> int:
        """Largest sum of what is alive at a step, bytes."""
        return int(self._steps.max())

    def change(self, schemes: Mapping[int, Scheme]) -> int:
        """What the peak would change by if these ops had other schemes, bytes."""
        return int(self._after(schemes).max()) - self.peak

    def take(self, schemes: Mapping[int, Scheme]) -> None:
        """Changes these ops' schemes."""
        self._steps = self._after(schemes)
        for op, scheme in schemes.items():
            self._names[op] = scheme.name

    def _after(self, schemes: Mapping[int, Scheme]) -> np.ndarray:
        """Bytes alive at each step, int64 [steps]."""
        touched = dict.fromkeys(index for op in schemes for index in self._of_op.get(op, ()))
        before = {index: self._occupants[index].alive(self._names) for index in touched}
        names = list(self._names)
        for op, scheme in schemes.items():
            names[op] = scheme.name
        steps = self._steps.copy()
        for index, was in before.items():
            occupant = self._occupants[index]
            if occupant.alive(names) != was:
                steps[occupant.first : occupant.last + 1] += -occupant.bytes if was else occupant.bytes
        return steps

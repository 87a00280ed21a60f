"""Peak activation memory of an emitted file, step by step, as sums that a planner can take apart.

A step is an op of the emitted file: one of the network's, a QUANTIZE or DEQUANTIZE at a border between formats, or the
ADD of a split. At each step some tensors live, and what they take up together has to fit into the arena. LiteRT's
planner leaves gaps between them (`placement.py`), so there are two figures: `peak`, which is linear in the choices,
and `packed`, which is the arena. On real networks `packed` was exact for every plan tried, and `peak` mostly as large,
but up to 37 % below it (a first convolution in float before int8). It can be above, by a tensor's alignment, by the
bytes of a tensor that is reshaped while others read it, which it counts twice, and by scratch memory that happens to
lie at the top.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..network.wiring import INPUT, OUTPUT
from ..schema import SCHEMES, Format, Graph, Op, Scheme
from .activations import Emission, Network
from .costs import Border
from .placement import OVERWRITTEN, SMALLEST_OVERWRITTEN, UNCHANGED, aligned

Moment = tuple[float, int, int]
"""When something happens: (op index, phase, rank). Before the first op is -1; `_END` is behind the last."""

_BORDERS_BEFORE, _OP, _SUM, _BORDERS_BEHIND = range(4)
"""The phases of an op: borders of what it reads, itself (both halves of a split), the ADD of a split, borders of what
it writes for the model's output."""

_START: Moment = (-1, _OP, 0)
_END: Moment = (float("inf"), _OP, 0)


@dataclass(frozen=True)
class Runs:
    """Something that holds for a choice: an op runs in a format.

    Attributes:
      op: Op index, or `INPUT` or `OUTPUT`: the io format.
      format: Format of its activations.
      split: Whether it is split into hi + lo; None for no matter.
      negated: Whether it holds where the op does not run so.
    """

    op: int
    format: Format
    split: bool | None = None
    negated: bool = False

    def holds(self, schemes: Sequence[Scheme], io: Format) -> bool:
        """Args are as in `Arena.peak`."""
        if self.op < 0:
            return (self.format is io) != self.negated
        scheme = schemes[self.op]
        same = scheme.format is self.format and self.split in (None, scheme.is_split)
        return same != self.negated


Clause = tuple[Runs, ...]
"""Holds where all of it holds; the empty one always does."""


@dataclass(frozen=True)
class Item:
    """A tensor that lives at a step, under a condition.

    Attributes:
      kind: `written` (as its op writes it, or as the model's input), `border` (a copy in another format), `partial`
        (both partial sums of a split) or `scratch` (what the op's kernel works in).
      tensor: Tensor index; for partial sums and scratch that of the op's output.
      format: Format of this copy; None where the tensor is not float and has no format to choose.
      bytes: What it takes up, alignment included.
      clauses: It lives where any of them holds.
    """

    kind: str
    tensor: int
    format: Format | None
    bytes: int
    clauses: tuple[Clause, ...]

    def lives(self, schemes: Sequence[Scheme], io: Format) -> bool:
        """Args are as in `Arena.peak`."""
        return any(all(part.holds(schemes, io) for part in clause) for clause in self.clauses)


@dataclass(frozen=True)
class Step:
    """A moment of the run: the bytes of the items that live are at most the peak.

    Attributes:
      op: Op index; for a border behind an op that op, for one of the model's input itself 0.
      kind: `op`, `sum` (the ADD of a split) or `border` (QUANTIZE or DEQUANTIZE of `tensor`, where one is needed; where
        none is, the step's sum is at most that of the op's own step).
      tensor: Tensor index of the border; -1 for the other kinds.
      items: What may live.
    """

    op: int
    kind: str
    tensor: int
    items: tuple[Item, ...]

    def bytes(self, schemes: Sequence[Scheme], io: Format) -> int:
        """Bytes that live under a choice; args are as in `Arena.peak`."""
        return sum(item.bytes for item in self.items if item.lives(schemes, io))


@dataclass(frozen=True)
class Arena:
    """Activation memory by choice, with the scratch memory of LiteRT's kernels where activations lie above it.

    Attributes:
      steps: In execution order.
      emission: The ops of the file, for `packed`.
    """

    steps: tuple[Step, ...]
    emission: Emission = field(repr=False, compare=False)

    def peak(self, schemes: Sequence[Scheme], io: Format) -> int:
        """The most bytes that live at a step.

        Args:
          schemes: One for each op, in execution order.
          io: Format of the model's inputs and outputs.
        """
        return max((step.bytes(schemes, io) for step in self.steps), default=0)

    def packed(self, schemes: Sequence[Scheme], io: Format) -> int:
        """Bytes that LiteRT's planner allocates without delegates, as `runtime.arena_bytes` measures them.

        Where a plan fits a budget by `peak` and not by this, a limit on the steps that is lower by the difference makes
        room for the gaps.

        Args:
          schemes, io: As in `peak`.
        """
        return self.emission.packed(schemes, io)


def build_arena(graph: Graph) -> Arena:
    """Models the activation memory of a network under every choice.

    Args:
      graph: The float network. Dimensions of no fixed size count as 1.
    """
    network = Network(graph)
    return Arena(tuple(_Steps(network).all()), Emission(network))


def _written_at(writer: int) -> Moment:
    return _START if writer == INPUT else (writer, _OP, 0)


def _summed_at(writer: int) -> Moment:
    return (writer, _SUM, 0)


def _read_at(reader: int) -> Moment:
    return _END if reader == OUTPUT else (reader, _OP, 0)


class _Steps:
    """Writes down who lives when, and under which choices."""

    def __init__(self, network: Network) -> None:
        self._network, self._graph, self._wiring = network, network.graph, network.wiring
        self._ranks = {(op.index, t): rank for op in self._graph.ops for rank, t in enumerate(network.reads(op))}
        last = len(self._graph.ops) - 1
        self._around: dict[int, list[int]] = defaultdict(list)
        """By op index (-1 for before the first): tensors that may live around it."""
        for tensor in (*self._wiring.writer, *network.fixed_writer):
            first, final = self._lifetime(tensor)
            for op in range(first, min(final, last) + 1):
                self._around[op].append(tensor)

    def all(self) -> Iterator[Step]:
        yield from self._borders_behind(INPUT, [t for t, w in self._wiring.writer.items() if w == INPUT])
        for op in self._graph.ops:
            for tensor in self._network.reads(op):
                if self._may_cross(tensor, op.index):
                    now = (op.index, _BORDERS_BEFORE, self._ranks[op.index, tensor])
                    yield self._step(op.index, "border", now, tensor)
            yield self._step(op.index, "op", (op.index, _OP, 0))
            if self._network.can_split(op.index) and any(t in self._graph.outputs for t in op.outputs):
                # Elsewhere the ADD writes over a partial sum, and takes no more than the halves.
                yield self._step(op.index, "sum", (op.index, _SUM, 0))
            yield from self._borders_behind(op.index, self._wiring.writes[op.index])

    def _borders_behind(self, writer: int, tensors: Iterable[int]) -> Iterator[Step]:
        for rank, tensor in enumerate(t for t in tensors if OUTPUT in self._wiring.readers[t]):
            yield self._step(max(writer, 0), "border", (writer, _BORDERS_BEHIND, rank), tensor)

    def _lifetime(self, tensor: int) -> tuple[int, int]:
        """The first and the last op around which a tensor may live."""
        writer, readers = self._ends(tensor)
        forever = writer == INPUT or not readers or tensor in self._graph.outputs
        return writer, len(self._graph.ops) if forever else max(readers)

    def _ends(self, tensor: int) -> tuple[int, Sequence[int]]:
        network = self._network
        if tensor in network.fixed_writer:
            return network.fixed_writer[tensor], network.fixed_readers[tensor]
        return self._wiring.writer[tensor], self._wiring.readers[tensor]

    def _may_cross(self, tensor: int, reader: int) -> bool:
        writer = self._wiring.writer[tensor]
        written, read = self._network.formats(writer), self._network.formats(reader)
        always = any(b.always for b in self._network.borders[tensor] if reader in b.readers)
        return always or any(a is not b for a in written for b in read)

    def _step(self, op: int, kind: str, now: Moment, tensor: int = -1) -> Step:
        found: list[Item] = []
        for alive in self._around[int(now[0])]:
            found += self._fixed(alive, now) if alive in self._network.fixed_writer else self._items(alive, now)
        if kind in ("op", "sum"):
            found += self._partial_sums(self._graph.ops[op])
        if kind == "op":
            found += self._scratch(self._graph.ops[op])
        return Step(op, kind, tensor, tuple(found))

    def _fixed(self, tensor: int, now: Moment) -> Iterator[Item]:
        """A tensor of integers."""
        first, final = self._lifetime(tensor)
        if _written_at(first) <= now <= (final, _OP, 0):
            yield Item("written", tensor, None, aligned(self._network.size(tensor, None)), ((),))

    def _items(self, tensor: int, now: Moment) -> Iterator[Item]:
        writer = self._wiring.writer[tensor]
        for fmt in Format:
            size = aligned(self._network.size(tensor, fmt))
            clauses: list[Clause] = []
            if fmt in self._network.formats(writer) and now >= _written_at(writer):
                clauses = self._as_written(tensor, fmt, now)
            if clauses:
                yield Item("written", tensor, fmt, size, tuple(dict.fromkeys(clauses)))
            for border in self._network.borders[tensor]:
                clauses = self._copied(border, now) if border.format is fmt else []
                if clauses:
                    yield Item("border", tensor, fmt, size, tuple(dict.fromkeys(clauses)))

    def _as_written(self, tensor: int, fmt: Format, now: Moment) -> list[Clause]:
        """When a tensor lives as it was written, in this format."""
        if self._may_lie_in_another(tensor, now):
            return []
        writer, readers = self._wiring.writer[tensor], self._wiring.readers[tensor]
        here = Runs(writer, fmt)
        if writer == INPUT:
            return [(here,)]
        if now == _summed_at(writer):
            return [(Runs(writer, fmt, split=True), Runs(OUTPUT, fmt))]
        if now == _written_at(writer) or not readers:
            return self._being_written(tensor, fmt)
        found: list[Clause] = []
        for border in self._network.borders[tensor]:
            direct = border.format is fmt and not border.always
            for reader in border.readers:
                if border.format not in self._network.formats(reader):
                    continue
                needed = Runs(reader, border.format)
                if direct and _read_at(reader) >= now:
                    found.append((here, needed))
                elif not direct and self._made_at(border, reader) >= now:
                    # Somebody who reads the copy earlier has had it made already.
                    earlier = [r for r in border.readers if self._made_at(border, r) < now]
                    others = (Runs(r, border.format, negated=True) for r in earlier)
                    found.append((here, needed, *others))
        return found

    def _may_lie_in_another(self, tensor: int, now: Moment) -> bool:
        """Whether it may be another shape of a tensor that still lives for other readers; both then lie in one place.

        Where that one is not there after all, the sum at this moment comes out too low, which it may.
        """
        op = self._wiring.writer[tensor]
        if op == INPUT or self._graph.ops[op].opcode not in UNCHANGED or now <= _written_at(op):
            return False
        source = self._graph.ops[op].inputs[0]
        if source not in self._wiring.writer:
            return False
        others = [r for r in self._wiring.readers[source] if r != op]
        before = [r for r in others if r < op]
        return (
            any(_read_at(r) >= now for r in others)
            or any(self._is_needed(t, now) for r in before for t in self._shapes_of(r))
            or self._may_lie_in_another(source, now)
        )

    def _shapes_of(self, op: int) -> tuple[int, ...]:
        """What an op writes into its input's place."""
        return self._wiring.writes[op] if op >= 0 and self._graph.ops[op].opcode in UNCHANGED else ()

    def _is_needed(self, tensor: int, now: Moment) -> bool:
        """Whether somebody may read a tensor, or another shape of it, at this moment or later."""
        readers = self._wiring.readers[tensor]
        return (
            not readers
            or any(_read_at(r) >= now for r in readers)
            or any(self._is_needed(t, now) for r in readers for t in self._shapes_of(r))
        )

    def _copied(self, border: Border, now: Moment) -> list[Clause]:
        """When the copy that a border makes lives."""
        readers = [r for r in border.readers if border.format in self._network.formats(r)]
        makers = [r for r in readers if self._made_at(border, r) <= now]
        users = [r for r in readers if _read_at(r) >= now]
        written = [f for f in self._network.formats(border.writer) if border.always or f is not border.format]
        return [
            (Runs(border.writer, fmt), *(Runs(r, border.format) for r in dict.fromkeys((maker, user))))
            for fmt, maker, user in itertools.product(written, makers, users)
        ]

    def _made_at(self, border: Border, reader: int) -> Moment:
        """When the copy is made where `reader` is the first to need it."""
        if reader == OUTPUT:
            return (border.writer, _BORDERS_BEHIND, 0)
        return (reader, _BORDERS_BEFORE, self._ranks[reader, border.tensor])

    def _being_written(self, tensor: int, fmt: Format) -> list[Clause]:
        """When an op's output takes up memory of its own while the op runs."""
        op = self._graph.ops[self._wiring.writer[tensor]]
        here = Runs(op.index, fmt, split=False) if self._network.can_split(op.index) else Runs(op.index, fmt)
        shareable = self._shareable(op, tensor, fmt)
        if not shareable:
            return [(here,)]
        return [(here, *itertools.chain(*clauses)) for clauses in itertools.product(*shareable)]

    def _shareable(self, op: Op, output: int, fmt: Format) -> list[list[Clause]]:
        """For each input in whose place the output may lie: when it may not."""
        unchanged = op.opcode in UNCHANGED
        positions = (0,) if unchanged else OVERWRITTEN.get(op.opcode, ())
        size = self._network.size(output, fmt)
        if output != op.outputs[0] or (size < SMALLEST_OVERWRITTEN and not unchanged):
            return []
        returned: list[Clause] = [(Runs(OUTPUT, fmt),)] if output in self._graph.outputs else []
        reads = [op.inputs[p] for p in positions if p < len(op.inputs)]
        return [
            returned + self._not_shared(t, op.index, fmt, unchanged)
            for t in reads
            if t in self._wiring.writer
            and self._network.size(t, fmt) == size
            and (unchanged or op.inputs.count(t) == 1)
        ]

    def _not_shared(self, tensor: int, op: int, fmt: Format, unchanged: bool) -> list[Clause]:
        writer, readers = self._wiring.writer[tensor], self._wiring.readers[tensor]
        others = [r for r in readers if r != op]
        found: list[Clause] = []
        if writer == INPUT or (others and not unchanged):
            # As it was written, others read it or the QUANTIZE for them does.
            found.append((Runs(writer, fmt),))
        if not unchanged:
            same_copy = self._network.border(tensor, op, fmt).readers
            found += [(Runs(r, fmt),) for r in others if r in same_copy]
        return found

    def _partial_sums(self, op: Op) -> Iterator[Item]:
        if self._network.can_split(op.index):
            for fmt in dict.fromkeys(SCHEMES[name].format for name in op.schemes if SCHEMES[name].is_split):
                size = 2 * aligned(self._network.size(op.outputs[0], fmt))
                yield Item("partial", op.outputs[0], fmt, size, ((Runs(op.index, fmt, split=True),),))

    def _scratch(self, op: Op) -> Iterator[Item]:
        """Scratch memory below the top of the arena.

        Large things are placed first: scratch that is larger than something that its op reads or writes lies under it.
        """
        for fmt in self._network.formats(op.index):
            moving = [t for t in self._wiring.reads[op.index] if self._wiring.writer[t] != INPUT]
            sizes = [self._network.size(t, fmt) for t in (*moving, *self._wiring.writes[op.index])]
            under = [aligned(s) for s in self._network.scratch(op, fmt) if s > min(sizes, default=s)]
            if under:
                yield Item("scratch", op.outputs[0], fmt, sum(under), ((Runs(op.index, fmt),),))

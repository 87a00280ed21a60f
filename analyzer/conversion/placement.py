"""Where LiteRT's planner puts each activation, computed without LiteRT.

LiteRT plans the memory of a whole network before it runs (`ArenaPlanner` and `SimpleMemoryArena` in its sources, read
at 2.3): tensors go from the largest to the smallest into the tightest gap that is free for as long as they live. The
arena is therefore larger than the most that ever lives at once, by what the gaps between tensors waste.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""Every tensor starts at a multiple of so many bytes (`kDefaultTensorAlignment`)."""

UNCHANGED = frozenset({"RESHAPE", "EXPAND_DIMS", "SQUEEZE", "BITCAST"})
"""Ops whose output is their first input under another shape: both lie in one place."""

OVERWRITTEN: Mapping[str, tuple[int, ...]] = {
    "ADD": (0, 1), "SUB": (0, 1), "MUL": (0, 1), "DIV": (0, 1), "SOFTMAX": (0,), "DYNAMIC_UPDATE_SLICE": (0,),
}  # fmt: skip
"""Positions of inputs that a kernel may write its output over, where nothing else reads them."""

SMALLEST_OVERWRITTEN = 5
"""Bytes; up to a scalar's, an output gets a place of its own (`kScalarTensorBytes`)."""


@dataclass(frozen=True)
class Call:
    """An op of an emitted file, as the planner sees it.

    Attributes:
      opcode: TFLite's name.
      reads: What it reads, by input position; None for a constant or an absent input.
      writes: What it writes.
      scratch: Bytes of each piece of memory that its kernel works in, free again behind it.
    """

    opcode: str
    reads: tuple[Hashable | None, ...]
    writes: tuple[Hashable, ...]
    scratch: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scratch:
    """Stands for a piece of scratch memory of a call where a tensor is expected."""

    call: int
    piece: int


@dataclass(frozen=True)
class Place:
    """Bytes of the arena that a tensor has, from `first` to `last` call."""

    offset: int
    size: int
    first: int
    last: int

    @property
    def end(self) -> int:
        return self.offset + self.size


def place(
    calls: Sequence[Call], sizes: Mapping[Hashable, int], inputs: Sequence[Hashable], outputs: Sequence[Hashable]
) -> dict[Hashable, Place]:
    """Plans the memory of a network.

    The model's inputs live from the first call to the last, its outputs and what nobody reads from the call that writes
    them to the last.

    Args:
      calls: In execution order.
      sizes: Bytes of every tensor that is read or written.
      inputs, outputs: Of the model.

    Returns:
      The place of every tensor, and `Scratch`, that has one of its own; one that lies in another's is not listed.
    """
    lives = _Lives(calls, sizes, inputs, outputs)
    placed: dict[Hashable, Place] = {}
    for tensor in lives.order():
        size, first, last = lives.sizes[tensor], lives.first[tensor], lives.last.get(tensor, len(calls))
        among = [p for p in placed.values() if p.first <= last and p.last >= first]
        placed[tensor] = Place(_offset(size, among), size, first, last)
    return placed


def span(placed: Mapping[Hashable, Place]) -> int:
    """Bytes from the first tensor's start to the last one's end: what `runtime.arena_bytes` measures.

    Scratch memory counts where a tensor lies behind it.
    """
    return max((p.end for tensor, p in placed.items() if not isinstance(tensor, Scratch)), default=0)


def aligned(size: int) -> int:
    """Bytes that a tensor of so many takes up among others."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class _Lives:
    """From which call to which each tensor lives, and whose place it lies in.

    Attributes:
      sizes: Of tensors and scratch.
      first: Call that writes it.
      last: Last call that reads it; not of those that live to the end.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        sizes: Mapping[Hashable, int],
        inputs: Sequence[Hashable],
        outputs: Sequence[Hashable],
    ) -> None:
        self._calls, self._inputs, self._outputs = calls, frozenset(inputs), frozenset(outputs)
        self.sizes: dict[Hashable, int] = dict(sizes)
        self.first: dict[Hashable, int] = dict.fromkeys(inputs, 0)
        self.last: dict[Hashable, int] = {}
        for index, call in enumerate(calls):
            for piece, size in enumerate(call.scratch):
                memory = Scratch(index, piece)
                self.sizes[memory], self.last[memory] = size, index
        self._host: dict[Hashable, Hashable] = {}
        readings = Counter([*inputs, *outputs])
        waiting = readings.copy()
        for call in calls:
            readings.update(t for t in call.reads if t is not None)
        for call in calls:
            host = self._shared(call, readings)
            if host is not None:
                self._host[call.writes[0]] = host
        self._walk(waiting)

    def order(self) -> list[Hashable]:
        """Tensors with a place of their own, as the planner takes them: those that always live, then by size."""
        own = [t for t in self.first if t not in self._host]
        always = [t for t in own if self.first[t] == 0 and t not in self.last]
        rest = [t for t in own if not (self.first[t] == 0 and t not in self.last)]
        return always + sorted(rest, key=lambda t: (-self.sizes[t], self.first[t]))

    def _shared(self, call: Call, readings: Counter[Hashable]) -> Hashable | None:
        """The tensor in whose place the call's first output lies; None where it has its own."""
        unchanged = call.opcode in UNCHANGED
        positions = (0,) if unchanged else OVERWRITTEN.get(call.opcode, ())
        if not call.writes or call.writes[0] in self._outputs:
            return None
        size = self.sizes[call.writes[0]]
        for position in positions:
            read = call.reads[position] if position < len(call.reads) else None
            if read is None or read in self._inputs or self.sizes[read] != size:
                continue
            if unchanged or (readings[read] == 1 and size >= SMALLEST_OVERWRITTEN):
                host = self._host.get(read, read)
                # The planner gives up here, even where the next input could be written over.
                return host if unchanged or readings[host] == 1 else None
        return None

    def _walk(self, waiting: Counter[Hashable]) -> None:
        """Finds first and last calls; `waiting` counts what keeps each tensor alive but the calls."""
        for call in self._calls:
            waiting.update(self._host.get(t, t) for t in call.reads if t is not None)
        for index, call in enumerate(self._calls):
            for tensor in call.writes:
                self.first.setdefault(tensor, index)
            for piece in range(len(call.scratch)):
                self.first[Scratch(index, piece)] = index
            for read in call.reads:
                if read is not None:
                    host = self._host.get(read, read)
                    waiting[host] -= 1
                    if waiting[host] == 0:
                        self.last[host] = index


def _offset(size: int, among: Sequence[Place]) -> int:
    """The start of the tightest gap between tensors that live at the same time; behind them where none is wide enough.

    Args:
      size: Bytes that are needed.
      among: The tensors, in any order.
    """
    best, tightest, free = None, None, 0
    for other in sorted(among, key=lambda p: p.offset):
        start = aligned(free)
        if start + size <= other.offset and (tightest is None or other.offset - start < tightest):
            best, tightest = start, other.offset - free
        free = max(free, other.end)
        if tightest == 0:
            break
    return aligned(free) if best is None else best

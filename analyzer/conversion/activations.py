"""The ops of an emitted file and the memory that each reads, writes and works in, for every choice of schemes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..network.kernels import WEIGHTS_INPUT
from ..network.wiring import INPUT, OUTPUT, Wiring, wire
from ..schema import SCHEMES, Format, Graph, Op, Scheme
from .costs import Border, crosses, find_borders
from .placement import Call, place, span


class Network:
    """A float network's activations: who writes and reads them, the borders between formats, their sizes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.wiring: Wiring = wire(graph)
        self.borders = _by_tensor(find_borders(graph, self.wiring), self.wiring)
        self.fixed_writer = {t: INPUT for t in graph.inputs if t not in self.wiring.writer}
        self.fixed_readers: dict[int, list[int]] = defaultdict(list)
        for op in graph.ops:
            self.fixed_writer.update({t: op.index for t in op.outputs if t not in self.wiring.writer})
            for t in dict.fromkeys(t for t in op.inputs if t in self.fixed_writer):
                self.fixed_readers[t].append(op.index)

    def size(self, tensor: int, fmt: Format | None) -> int:
        """Bytes of a tensor's values."""
        found = self.graph.tensors[tensor]
        return found.elements * (_item_bytes(found.dtype) if fmt is None else fmt.bits // 8)

    def formats(self, op: int) -> tuple[Format, ...]:
        """Formats that an op, or the model's inputs or outputs, may run in."""
        if op < 0:
            return tuple(Format)
        return tuple(dict.fromkeys(SCHEMES[name].format for name in self.graph.ops[op].schemes))

    def can_split(self, op: int) -> bool:
        return op >= 0 and any(SCHEMES[name].is_split for name in self.graph.ops[op].schemes)

    def border(self, tensor: int, reader: int, fmt: Format) -> Border:
        """The border behind which a reader reads a tensor in a format, if it was not written so."""
        return next(b for b in self.borders[tensor] if b.format is fmt and reader in b.readers)

    def scratch(self, op: Op, fmt: Format) -> tuple[int, ...]:
        """Bytes of each larger piece of scratch memory that LiteRT's built-in kernel (2.3) asks of the planner.

        CONV_2D unrolls the patches of its input unless they are single values; BATCH_MATMUL transposes what it reads;
        MEAN and SUM keep 32-bit sums. Others ask for nothing, or for a few bytes, or (TRANSPOSE_CONV) allocate it
        elsewhere.
        """
        tensors = self.graph.tensors
        output = tensors[op.outputs[0]] if op.outputs else None
        if output is None:
            return ()
        if op.opcode == "CONV_2D":
            patch = tensors[op.inputs[WEIGHTS_INPUT[op.opcode]]].shape[1:]
            read = tensors[op.inputs[0]]
            if math.prod(patch[:2]) == 1 and read.shape[1:3] == output.shape[1:3]:
                return ()
            cells = math.prod(abs(size) for size in output.shape[:3])
            return (cells * math.prod(patch) * fmt.bits // 8,)
        if op.opcode == "BATCH_MATMUL":
            return tuple(self.size(t, fmt) for t in op.inputs if not tensors[t].is_constant)
        return (output.elements * 4,) if op.opcode in ("MEAN", "SUM") else ()

    def reads(self, op: Op) -> list[int]:
        """Float activations that an op reads, in the order in which the quantizer puts borders before it."""
        return sorted(self.wiring.reads[op.index])


def _item_bytes(dtype: str) -> int:
    """Bytes of an element; 0 for what numpy does not know (strings, resources), which never lies in the arena."""
    try:
        return int(np.dtype(dtype).itemsize)
    except TypeError:
        return 0


def _by_tensor(borders: Iterable[Border], wiring: Wiring) -> dict[int, list[Border]]:
    """Borders by tensor; one to float serves all readers, for float has no scale that any of them could demand."""
    found: dict[int, list[Border]] = defaultdict(list)
    for border in borders:
        if border.format is not Format.FLOAT:
            found[border.tensor].append(border)
        elif all(other.format is not Format.FLOAT for other in found[border.tensor]):
            found[border.tensor].append(replace(border, readers=wiring.readers[border.tensor], always=False))
    return found


class Emission:
    """The ops of an emitted file, in order, with the copies that each reads and writes.

    A copy is (tensor, format of a border or None, number of its group or name of a partial sum).
    """

    def __init__(self, network: Network) -> None:
        self._network, self._graph, self._wiring = network, network.graph, network.wiring

    def packed(self, schemes: Sequence[Scheme], io: Format) -> int:
        """See `Arena.packed`."""
        inputs, outputs, sizes = self.ends(schemes, io)
        return span(place(tuple(self.calls(schemes, io)), sizes, inputs, outputs))

    def ends(self, schemes: Sequence[Scheme], io: Format) -> tuple[list[Hashable], list[Hashable], dict[Hashable, int]]:
        """The model's inputs and outputs, and the bytes of every copy there is."""
        formats = dict(enumerate(scheme.format for scheme in schemes)) | {INPUT: io, OUTPUT: io}
        inputs: list[Hashable] = [(t, None, "") for t in self._graph.inputs]
        outputs: list[Hashable] = [self._copy(t, OUTPUT, formats) for t in self._graph.outputs]
        copies = {c for call in self.calls(schemes, io) for c in (*call.reads, *call.writes) if c is not None}
        return inputs, outputs, {copy: self._size(copy, formats) for copy in {*copies, *inputs, *outputs}}

    def calls(self, schemes: Sequence[Scheme], io: Format) -> Iterator[Call]:
        """What the file holds under a choice, in the order in which the quantizer emits it."""
        formats = dict(enumerate(scheme.format for scheme in schemes)) | {INPUT: io, OUTPUT: io}
        made: set[Hashable] = set()

        def border(tensor: int, reader: int) -> Iterator[Call]:
            copy, written = self._copy(tensor, reader, formats), (tensor, None, "")
            if copy != written and copy not in made:
                made.add(copy)
                yield Call("QUANTIZE", (written,), (copy,))

        returned = {t for t in self._graph.outputs if t in self._wiring.writer}
        for tensor in sorted(t for t in returned if self._wiring.writer[t] == INPUT):
            yield from border(tensor, OUTPUT)
        for op, scheme in zip(self._graph.ops, schemes, strict=True):
            for tensor in self._network.reads(op):
                yield from border(tensor, op.index)
            yield from self._op(op, scheme, formats)
            for tensor in (t for t in op.outputs if t in returned):
                yield from border(tensor, OUTPUT)

    def _op(self, op: Op, scheme: Scheme, formats: Mapping[int, Format]) -> Iterator[Call]:
        reads = tuple(self._read(t, op.index, formats) for t in op.inputs)
        writes: tuple[Hashable, ...] = tuple((t, None, "") for t in op.outputs)
        scratch = self._network.scratch(op, scheme.format)
        if not scheme.is_split:
            yield Call(op.opcode, reads, writes, scratch)
            return
        halves: list[Hashable] = [(op.outputs[0], None, name) for name in ("hi", "lo")]
        yield from (Call(op.opcode, reads, (half,), scratch) for half in halves)
        yield Call("ADD", tuple(halves), writes)

    def _read(self, tensor: int, op: int, formats: Mapping[int, Format]) -> Hashable | None:
        if tensor in self._wiring.writer:
            return self._copy(tensor, op, formats)
        return (tensor, None, "") if tensor in self._network.fixed_writer else None

    def _copy(self, tensor: int, reader: int, formats: Mapping[int, Format]) -> tuple[int, Format | None, str]:
        """The copy of a tensor that a reader reads."""
        for number, border in enumerate(self._network.borders.get(tensor, ())):
            if reader in border.readers and border.format is formats[reader] and crosses(border, formats):
                return (tensor, border.format, str(number))
        return (tensor, None, "")

    def _size(self, copy: Hashable, formats: Mapping[int, Format]) -> int:
        assert isinstance(copy, tuple)
        tensor, fmt, _ = copy
        if fmt is None and tensor in self._wiring.writer:
            fmt = formats[self._wiring.writer[tensor]]
        return self._network.size(tensor, fmt)

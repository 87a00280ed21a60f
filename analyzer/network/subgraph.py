"""Cutting pieces out of a flatbuffer, so that only what lies behind a change has to run again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from . import flatbuffer as fb
from .trimming import Trimmer


@dataclass(frozen=True)
class Piece:
    """A network of its own, cut out of a larger one.

    Attributes:
      inputs: Tensor indices in the original network, in the order in which the piece takes them.
      outputs: The same for what it gives.
      write: Makes its flatbuffer.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    write: Callable[[], bytes] = field(repr=False, compare=False)

    @property
    def flatbuffer(self) -> bytes:
        """The piece, made anew each time; it has no signature."""
        return self.write()


class Cutter:
    """Cuts pieces out of one parsed flatbuffer (its first subgraph).

    Args:
      data: The whole network.
    """

    def __init__(self, data: bytes) -> None:
        self._model = fb.read(data)
        self._graph = self._model.subgraphs[0]
        self._trimmers: dict[bool, Trimmer] = {}
        self._producer = {int(t): i for i, op in enumerate(self._graph.operators) for t in op.outputs}
        self._by_name = {fb.text(t.name): i for i, t in enumerate(self._graph.tensors)}

    @property
    def outputs(self) -> list[int]:
        """Tensor indices of the network's own outputs."""
        return [int(t) for t in self._graph.outputs]

    def tensor(self, name: str) -> int:
        """Index of the tensor of that name; KeyError where there is none."""
        return self._by_name[name]

    def whole(self, outputs: Sequence[int]) -> Piece:
        """The network from its own inputs to any of its tensors."""
        return self._cut(list(self._graph.inputs), outputs, self._needed(set(self._graph.inputs), outputs))

    def suffix(self, tensor: int, outputs: Sequence[int], consumer: int | None = None) -> Piece:
        """What lies between a changed tensor and those outputs that it reaches.

        Args:
          tensor: The activation that is replaced; first input of the piece.
          outputs: Tensors of interest; those that do not depend on `tensor` are left out, and so is `tensor` itself.
          consumer: Only this op reads the replaced values, all others the original ones.
        """
        downstream = self._downstream(tensor, consumer)
        reached = self.reached(tensor, outputs, consumer)
        needed = self._needed(set(), reached) & downstream
        live = {
            int(t) for i in needed for t in self._graph.operators[i].inputs
            if t >= 0 and not self._is_constant(t) and self._producer.get(t) not in needed
        }  # fmt: skip
        if consumer is None:
            return self._cut([tensor, *sorted(live - {tensor})], reached, needed)
        keeps_original = any(tensor in self._graph.operators[i].inputs for i in needed if i != consumer)
        others = sorted(live - (set() if keeps_original else {tensor}))
        return self._cut([tensor, *others], reached, needed, only_reader=consumer)

    def reached(self, tensor: int, outputs: Sequence[int], consumer: int | None = None) -> list[int]:
        """Those outputs that lie behind a changed tensor; arguments are those of `suffix`."""
        downstream = self._downstream(tensor, consumer)
        return [t for t in outputs if self._producer.get(t) in downstream]

    def single(self, op: int, constants: Mapping[int, np.ndarray], *, without_activation: bool = False) -> Piece:
        """One op with other constants.

        Args:
          op: Its index.
          constants: New values by tensor index; float32, same shapes.
          without_activation: Whether to drop the fused activation function.
        """
        operator = self._graph.operators[op]
        inputs = [int(t) for t in dict.fromkeys(operator.inputs) if t >= 0 and not self._is_constant(t)]
        return self._cut(inputs, list(operator.outputs), {op}, constants, plain=without_activation)

    def some(self, ops: Collection[int]) -> Piece:
        """Some ops: their inputs are the activations that they read and none of them writes.

        Args:
          ops: Their indices.
        """
        operators = [self._graph.operators[op] for op in sorted(ops)]
        written = [int(t) for operator in operators for t in operator.outputs]
        read = dict.fromkeys(int(t) for operator in operators for t in operator.inputs if t >= 0)
        inner = {t for t in read if t in written}
        inputs = [t for t in read if t not in inner and not self._is_constant(t)]
        return self._cut(inputs, [t for t in written if t not in inner], ops)

    def _is_constant(self, tensor: int) -> bool:
        buffer = self._graph.tensors[tensor].buffer
        return bool(buffer) and self._model.buffers[buffer].data is not None

    def _downstream(self, tensor: int, consumer: int | None) -> set[int]:
        reached: set[int] = set()
        dirty = set() if consumer is not None else {tensor}
        for index, op in enumerate(self._graph.operators):
            if index == consumer or dirty.intersection(op.inputs):
                reached.add(index)
                dirty.update(op.outputs)
        return reached

    def _needed(self, given: set[int], outputs: Collection[int]) -> set[int]:
        wanted, needed = [int(t) for t in outputs], set()
        while wanted:
            tensor = wanted.pop()
            op = self._producer.get(tensor)
            if tensor in given or op is None or op in needed:
                continue
            needed.add(op)
            wanted.extend(int(t) for t in self._graph.operators[op].inputs if t >= 0)
        return needed

    def _cut(
        self, inputs: Sequence[int], outputs: Sequence[int], ops: Collection[int],
        constants: Mapping[int, np.ndarray] | None = None, *, only_reader: int | None = None, plain: bool = False,
    ) -> Piece:  # fmt: skip
        if plain not in self._trimmers:
            self._trimmers[plain] = Trimmer(self._model, plain=plain)
        trim = self._trimmers[plain].trim
        write = functools.partial(trim, inputs, outputs, sorted(ops), constants, only_reader=only_reader)
        return Piece(tuple(inputs), tuple(outputs), write)

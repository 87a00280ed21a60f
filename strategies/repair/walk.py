"""A network computed op by op on many samples at once, with no more in memory than later ops need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...analyzer.measures.quantization import AffineParams
from ...analyzer.network.differentiable import DifferentiableGraph, Taps
from ...analyzer.network.differentiable.nodes import Network, read_network

Tensor = Any
_FLOAT_BYTES = 4


class Walk:
    """Where a network stands that is computed op by op.

    Args:
      flatbuffer: A float network, as `DifferentiableGraph` takes it.
      blocks: Samples in blocks: one array [n, *shape] for each input of the network.
      grids: Of activations that are rounded as they are written, by tensor index; they are kept as integers.

    Attributes:
      network: The ops.
    """

    def __init__(
        self,
        flatbuffer: bytes,
        blocks: Sequence[Sequence[np.ndarray]],
        grids: Mapping[int, AffineParams] | None = None,
    ) -> None:
        self.network: Network = read_network(flatbuffer)
        self._graph, self._grids, self._next = DifferentiableGraph(flatbuffer), grids or {}, 0
        self._last_use = last_uses(self.network)
        self._kept: list[dict[int, np.ndarray]] = [{} for _ in blocks]
        for values, block in zip(self._kept, blocks, strict=True):
            for tensor, array in zip(self.network.inputs, block, strict=True):
                values[tensor] = self._packed(tensor, self._rounded(tensor, _tensor(array)))

    def pass_through(self, op: int, constants: Mapping[int, np.ndarray] | None = None) -> None:
        """Computes all ops up to and with `op`; what no later op reads is forgotten, but not what `op` writes.

        Args:
          op: Position in the list of ops.
          constants: Values in place of the network's own.
        """
        given = {tensor: _tensor(array) for tensor, array in (constants or {}).items()}
        for node in self.network.nodes[self._next : op + 1]:
            for values in self._kept:
                for tensor in [t for t in values if self._last_use[t] < node.index]:
                    del values[tensor]
                read = {operand.tensor: _tensor(self._unpacked(operand.tensor, values)) for operand in node.activations}
                written = self._graph.run_op(node.index, read, taps=Taps(written=self._rounded), constants=given)
                values.update({tensor: self._packed(tensor, value) for tensor, value in written.items()})
        self._next = max(self._next, op + 1)

    @property
    def blocks(self) -> int:
        """How many blocks of samples there are."""
        return len(self._kept)

    def block(self, index: int, tensor: int) -> np.ndarray:
        """A tensor of one block, float32 [n, *shape]; an op still to come reads it, or the last one wrote it."""
        return self._unpacked(tensor, self._kept[index])

    def _rounded(self, tensor: int, values: Tensor) -> Tensor:
        from ...analyzer.measures import straight_through as st

        grid = self._grids.get(tensor)
        return values if grid is None else st.round_activation(values, grid)

    def _packed(self, tensor: int, values: Tensor) -> np.ndarray:
        grid, array = self._grids.get(tensor), np.asarray(values)
        if grid is None:
            return array
        return np.rint(array / np.float32(grid.scale) + np.float32(grid.zero_point)).astype(
            np.int8 if grid.bits == 8 else np.int16
        )

    def _unpacked(self, tensor: int, values: Mapping[int, np.ndarray]) -> np.ndarray:
        grid, array = self._grids.get(tensor), values[tensor]
        if grid is None:
            return array
        return (array.astype(np.float32) - np.float32(grid.zero_point)) * np.float32(grid.scale)


def last_uses(network: Network) -> dict[int, int]:
    """By tensor index of every activation: the last op that reads or writes it; -1 for an input that none reads."""
    found = dict.fromkeys(network.inputs, -1)
    for node in network.nodes:
        found.update({operand.tensor: node.index for operand in (*node.activations, *node.outputs)})
    return found


def peak_bytes(network: Network, grids: Mapping[int, AffineParams] | None = None) -> int:
    """The most memory that a walk keeps for one sample."""
    last = last_uses(network)
    widths = {tensor: grid.bits // 8 for tensor, grid in (grids or {}).items()}
    operands = [operand for node in network.nodes for operand in (*node.activations, *node.outputs)]
    sizes = {o.tensor: math.prod(o.shape) * widths.get(o.tensor, _FLOAT_BYTES) for o in operands}
    alive = {t: sizes.get(t, 0) for t in network.inputs}
    most = sum(alive.values())
    for node in network.nodes:
        alive = {t: size for t, size in alive.items() if last[t] >= node.index}
        alive |= {operand.tensor: sizes[operand.tensor] for operand in node.outputs}
        most = max(most, sum(alive.values()))
    return most


def _tensor(array: np.ndarray) -> Tensor:
    import tensorflow as tf

    return tf.convert_to_tensor(array)

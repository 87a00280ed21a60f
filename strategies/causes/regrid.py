"""Other ranges for a file's activations: the tensors that share one, and the biases that hang on it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...analyzer.measures.grids import Grid
from ...analyzer.measures.quantization import SMALLEST_BOUND, has_fixed_scale
from ...analyzer.measures.substitution import Ingredients
from ...analyzer.network.kernels import DATA_INPUT, MOVEMENT
from ...analyzer.schema import Op
from .case import Case

_SHARING = MOVEMENT | {"AVERAGE_POOL_2D", "CONCATENATION", "MAXIMUM", "MINIMUM", "PACK", "RESIZE_BILINEAR"}
"""Ops whose inputs and outputs have one scale between them (TFLite's quantization specification)."""

_INT32_END = 2**31 - 1

_OTHER_STEP = 2.0
"""A bias is rounded anew where its step changes by more than this factor; else the file's own stays."""


@dataclass(frozen=True)
class Shared:
    """Activations of the float network that the file keeps on one grid.

    Attributes:
      tensors: In the order in which they are written.
      grid: The file's.
      low, high: The float network's extremes on the studied samples, 0 held.
    """

    tensors: tuple[int, ...]
    grid: Grid
    low: float
    high: float

    @property
    def span(self) -> float:
        """Width of what occurs."""
        return max(self.high - self.low, SMALLEST_BOUND)

    @property
    def first(self) -> int:
        """The tensor that stands for all of them."""
        return self.tensors[0]


def shared_grids(case: Case) -> list[Shared]:
    """All quantized activations by the grid that they share, but those whose scale the kernels fix."""
    tensors = [t for t in sorted(case.extremes.minima) if case.grid(t) is not None and not _is_fixed(case, t)]
    position = {tensor: place for place, tensor in enumerate(_writing_order(case))}
    tensors.sort(key=lambda tensor: position[tensor])
    parent = {tensor: tensor for tensor in tensors}

    def root(tensor: int) -> int:
        while parent[tensor] != tensor:
            tensor = parent[tensor]
        return tensor

    for op in case.graph.ops:
        if op.opcode not in _SHARING:
            continue
        ends = [t for t in (*op.inputs, *op.outputs) if t in parent]
        for one, other in itertools.pairwise(ends):
            if case.grid(one) == case.grid(other):
                first, second = sorted((root(one), root(other)), key=lambda tensor: position[tensor])
                parent[second] = first
    groups: dict[int, list[int]] = {}
    for tensor in tensors:
        groups.setdefault(root(tensor), []).append(tensor)
    return [_shared(case, members) for members in groups.values()]


def _shared(case: Case, members: Sequence[int]) -> Shared:
    ends = [case.extremes.range_of(tensor) for tensor in members]
    grid = case.grid(members[0])
    assert grid is not None, "only quantized activations are grouped"
    return Shared(tuple(members), grid, min(0.0, *(low for low, _ in ends)), max(0.0, *(high for _, high in ends)))


def regrid(grid: Grid, low: float, high: float) -> Grid:
    """A grid of the same integers over another range, which is widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    if grid.bits == 16:
        return replace(grid, scale=float(np.float32(max(-low, high, SMALLEST_BOUND) / grid.high)), zero_point=0)
    scale = max(high - low, SMALLEST_BOUND) / (grid.high - grid.low)
    return replace(grid, scale=float(np.float32(scale)), zero_point=int(np.rint(grid.low - low / scale)))


def with_ranges(case: Case, ranges: Mapping[Shared, tuple[float, float]]) -> Ingredients:
    """The file's numbers with other ranges for some activations, and the biases that a converter would make of them.

    Args:
      case: The file.
      ranges: (minimum, maximum) by the grid that they are for.
    """
    new = {t: regrid(shared.grid, *ends) for shared, ends in ranges.items() for t in shared.tensors}
    numbers = case.numbers
    activations = {t: grid for t, grid in new.items() if t in numbers.activations}
    reads = {
        (t, op): regrid(grid, new[t].minimum, new[t].maximum) for (t, op), grid in numbers.reads.items() if t in new
    }
    biases = {}
    for op in case.weighted():
        bias = _bias_anew(case, op, new)
        if bias is not None:
            biases[op.index] = bias
    return numbers.replaced(activations=activations, reads=reads, biases=biases)


def bias_steps(case: Case, op: Op, grid: Grid | None = None) -> np.ndarray | None:
    """Real value of one step of an op's bias: input scale x weight scales, float64 [1] or [channels].

    Args:
      case: The file.
      op: With quantized weights.
      grid: In place of the file's own of the op's input.
    """
    grid = grid or case.grid(op.inputs[DATA_INPUT.get(op.opcode, 0)])
    weights = case.numbers.weight_grids.get(op.index)
    if grid is None or weights is None:
        return None
    return np.asarray(grid.scale * weights.scales.astype(np.float64).reshape(-1))


def _bias_anew(case: Case, op: Op, new: Mapping[int, Grid]) -> np.ndarray | None:
    """The float bias on the step that a new input grid gives; None where the file's own stays."""
    tensor, bias = op.inputs[DATA_INPUT.get(op.opcode, 0)], case.float_biases([op]).get(op.index)
    before = case.grid(tensor)
    if tensor not in new or before is None or bias is None:
        return None
    change = new[tensor].scale / before.scale
    steps = bias_steps(case, op, new[tensor])
    if steps is None or 1 / _OTHER_STEP <= change <= _OTHER_STEP:
        return None
    whole = np.clip(np.rint(bias / steps), -_INT32_END, _INT32_END)
    return np.asarray(whole * steps, np.float32)


def _is_fixed(case: Case, tensor: int) -> bool:
    producer = case.graph.producer(tensor)
    grid = case.grid(tensor)
    return producer is not None and grid is not None and has_fixed_scale(case.graph.ops[producer].opcode, grid.bits)


def _writing_order(case: Case) -> list[int]:
    return [*case.graph.inputs, *(t for op in case.graph.ops for t in op.outputs)]

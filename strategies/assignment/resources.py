"""What a plan uses beside its error: bytes of the file and of memory, time, bit operations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...analyzer.conversion.costs import Border, Costs, crosses
from ...analyzer.network.wiring import INPUT, OUTPUT
from ...analyzer.schema import SCHEMES, Format, Graph, Scheme, Target
from ..targets import border_cost, relative_cost
from .budgets import INT8, MS
from .choices import offered, uniform_schemes


@dataclass(frozen=True)
class Usage:
    """A plan's predicted error and what it uses.

    Attributes:
      noise: nmse at the network's output.
      file_bytes, arena_bytes: See `Budgets`.
      latency: In the unit of its `Resources`.
      bops: Multiply-accumulates x weight bits x activation bits.
    """

    noise: float
    file_bytes: int
    arena_bytes: int
    latency: float
    bops: float

    def exceeded(self, limits: Mapping[str, float]) -> tuple[str, ...]:
        """Names of the limits that it does not keep."""
        return tuple(name for name, limit in limits.items() if getattr(self, name) > limit)


@dataclass(frozen=True)
class Resources:
    """What each choice uses on a target.

    Attributes:
      costs: File bytes.
      latency: By (op index, scheme name), for every scheme that the target has.
      border_latency: By (tensor, format read, format written): a border op of that tensor. Absent where the target has
        none.
      bops: By (op index, scheme name).
      unit: Of latencies: `MS` or `INT8`.
      int8_latency, int8_bops: Of int8 everywhere.
    """

    costs: Costs
    latency: Mapping[tuple[int, str], float]
    border_latency: Mapping[tuple[int, Format, Format], float]
    bops: Mapping[tuple[int, str], float]
    unit: str
    int8_latency: float
    int8_bops: float

    def total_latency(self, schemes: Sequence[Scheme], io: Format) -> float:
        """Of a plan's ops and border ops, one after the other.

        Args:
          schemes: One for each op, in execution order, each of which the target has.
          io: Format of the model's inputs and outputs.
        """
        return _total_latency(self.latency, self.border_latency, self.costs.borders, schemes, io)

    def total_bops(self, schemes: Sequence[Scheme]) -> float:
        """Of a plan; the argument is as for `total_latency`."""
        return math.fsum(self.bops[index, scheme.name] for index, scheme in enumerate(schemes))


def build_resources(graph: Graph, costs: Costs, target: Target, io: Format) -> Resources:
    """Prices every choice of a network on a target.

    Latencies are those of `relative_cost` and `border_cost`, one op after the other. Unless the target was measured
    they are divided by that of int8 everywhere.

    Args:
      graph: The float network.
      costs: Of the same network.
      target: Where it will run.
      io: Format of the model's inputs and outputs.

    Raises:
      UnsupportedModel: The target cannot run an op in any scheme.
    """
    names = offered(graph, target)
    latency = {(op.index, name): relative_cost(target, op, graph, name) for op in graph.ops for name in names[op.index]}
    borders: dict[tuple[int, Format, Format], float] = {}
    for tensor in dict.fromkeys(border.tensor for border in costs.borders):
        for read, written in itertools.product(Format, Format):
            cost = border_cost(target, graph.tensors[tensor].elements, read=read, written=written)
            if cost is not None:
                borders[tensor, read, written] = cost
    bops = {(op.index, name): _bops(graph, op.index, SCHEMES[name]) for op in graph.ops for name in names[op.index]}
    int8 = uniform_schemes(graph, "w8a8", target)
    int8_latency = _total_latency(latency, borders, costs.borders, int8, io)
    unit = INT8 if target.mac_ms is None else MS
    if unit == INT8 and int8_latency > 0:
        latency = {choice: cost / int8_latency for choice, cost in latency.items()}
        borders = {place: cost / int8_latency for place, cost in borders.items()}
        int8_latency = _total_latency(latency, borders, costs.borders, int8, io)
    return Resources(
        costs, latency, borders, bops, unit, int8_latency,
        math.fsum(bops[index, scheme.name] for index, scheme in enumerate(int8)),
    )  # fmt: skip


def _total_latency(
    latency: Mapping[tuple[int, str], float],
    border_latency: Mapping[tuple[int, Format, Format], float],
    borders: Sequence[Border],
    schemes: Sequence[Scheme],
    io: Format,
) -> float:
    """Of all ops and border ops; a border op that the target lacks counts 0, for plans that it cannot run anyway."""
    formats = {index: scheme.format for index, scheme in enumerate(schemes)} | {INPUT: io, OUTPUT: io}
    crossed = [b for b in borders if crosses(b, formats)]
    return math.fsum(
        [
            *(latency[index, scheme.name] for index, scheme in enumerate(schemes)),
            *(border_latency.get((b.tensor, formats[b.writer], b.format), 0.0) for b in crossed),
        ]
    )


def _bops(graph: Graph, op: int, scheme: Scheme) -> float:
    """Of one op: an op without weights multiplies activations with each other."""
    bits = scheme.format.bits
    return float(graph.ops[op].macs * bits * (bits if graph.ops[op].weights is None else scheme.weight_bits))

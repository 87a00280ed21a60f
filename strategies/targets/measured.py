"""A target whose times were measured for one network on one machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ...analyzer.schema import Format, Graph, Kernel, Target
from .costs import relative_cost, work

SOURCE = "latency"
"""Key of the source that says what was measured, where and when."""

_REFERENCE = "w8a8"
_DIGITS = 4
"""Significant digits of a time; no two measurements agree in more."""

_NO_MAC_MS = 1e-9
"""Unit of costs where nothing was measured that could give one; about an int8 multiply-accumulate of a CPU."""


def measured_target(
    base: Target,
    graph: Graph,
    ops: Mapping[tuple[str, str], float],
    borders: Mapping[tuple[Format, Format], float],
    *,
    name: str,
    title: str,
    source: str,
) -> Target:
    """The same kernels with times of their own.

    The base's relative costs stay for what has no time; `mac_ms` is such that they and the times of int8 agree in sum.

    Args:
      base: Whose kernels there are; measurements that it has are dropped.
      graph: The network that was measured.
      ops: Milliseconds by (key of an op, scheme name).
      borders: Milliseconds of one element by (format read, format written); the base's are dropped.
      name, title: Of the new target.
      source: What was measured, where and when.
    """
    relative = replace(base, measured={}, measured_work={}, mac_ms=None)
    mac_ms = _mac_ms(relative, graph, ops)
    by_key = {op.key: op for op in graph.ops}
    return replace(
        relative,
        name=name,
        title=title,
        border={pair: Kernel(_rounded(ms / mac_ms), SOURCE, SOURCE) for pair, ms in borders.items()},
        sources={**{key: text for key, text in base.sources.items() if key != SOURCE}, SOURCE: source},
        measured={choice: _rounded(milliseconds) for choice, milliseconds in ops.items()},
        measured_work={key: work(by_key[key], graph) for key in dict.fromkeys(key for key, _ in ops)},
        mac_ms=mac_ms,
    )


def _mac_ms(relative: Target, graph: Graph, ops: Mapping[tuple[str, str], float]) -> float:
    """Milliseconds of a cost of 1: those of all int8 ops by their relative costs."""
    timed = [op for op in graph.ops if (op.key, _REFERENCE) in ops]
    milliseconds = math.fsum(ops[op.key, _REFERENCE] for op in timed)
    costs = math.fsum(relative_cost(relative, op, graph, _REFERENCE) for op in timed)
    return _rounded(milliseconds / costs) if milliseconds > 0 and costs > 0 else _NO_MAC_MS


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")

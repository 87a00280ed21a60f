"""Ways to give every op a scheme. Each module has one function, `assign(graph, noise, costs, ...) -> Plan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...analyzer.schema import Plan
from . import greedy, milp, threshold, uniform

STRATEGIES: Mapping[str, Callable[..., Plan]] = {
    "milp": milp.assign,
    "greedy": greedy.assign,
    "threshold": threshold.assign,
    "uniform": uniform.assign,
}

"""Where a model can run: one table for each target, which schemes each op has there and what they cost.

The tables are `*.toml` files in this folder; a user's own file has the same form (`docs/targets.md`).
"""

from __future__ import annotations

from .costs import border_cost, relative_cost, schemes_on, work
from .measured import measured_target
from .tables import load_target, shipped_targets
from .writing import to_toml

DEFAULT_TARGET = "litert-cpu"
ANY_TARGET = "any"
"""Has every scheme that Bitplan knows, and no machine's times."""

__all__ = [
    "ANY_TARGET",
    "DEFAULT_TARGET",
    "border_cost",
    "load_target",
    "measured_target",
    "relative_cost",
    "schemes_on",
    "shipped_targets",
    "to_toml",
    "work",
]

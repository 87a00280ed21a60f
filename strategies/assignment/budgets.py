"""What a plan may use, and how people write it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from ...analyzer.errors import UsageError
from ...analyzer.schema import Plan

MINIMISED = ("noise", "file_bytes", "arena_bytes", "latency", "bops")
"""What a plan can have least of."""

DEFAULT_LATENCY = 1.3
"""What a plan may take where nobody has said and some kernels are slow, in times of int8 everywhere.

On a CPU one int16 layer may take as long as the whole int8 network, and nobody wants that without asking for it.
"""

MS = "ms"
"""Unit of latencies on a target that was measured."""

INT8 = "int8 = 1"
"""Unit of latencies elsewhere: int8 everywhere takes 1."""

_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]*)", re.IGNORECASE)
_SIZE_REMEDY = (
    "write 2.75MB (10^6 bytes), 310KB, 310KiB (1024 bytes), 2800000 (bytes) or 3.2x (that much smaller than float)"
)
_BOPS_REMEDY = "write 1.2G (10^9; also K, M, T), a bare number, or 0.8x (of int8 everywhere)"


@dataclass(frozen=True)
class Budgets:
    """Limits on a plan, each None where there is none.

    Attributes:
      file_bytes: Of the emitted file.
      arena_bytes: Of the activations that are alive at once, as LiteRT's planner lays them out.
      latency: Of one sample: milliseconds where the target was measured, else times of int8 everywhere.
      bops: Multiply-accumulates x weight bits x activation bits of one sample.
      noise: Predicted nmse; for plans that have least of something else.
    """

    file_bytes: int | None = None
    arena_bytes: int | None = None
    latency: float | None = None
    bops: float | None = None
    noise: float | None = None

    @classmethod
    def of(cls, plan: Plan) -> Budgets:
        """The limits that a plan was made within."""
        return cls(
            plan.budget_bytes, plan.arena_budget_bytes, plan.latency_budget, plan.bops_budget, plan.noise_budget
        )  # fmt: skip

    def limits(self) -> Mapping[str, float]:
        """The limits that there are, by the name of what they limit."""
        limits = {name: getattr(self, name) for name in ("file_bytes", "arena_bytes", "latency", "bops", "noise")}
        return {name: float(limit) for name, limit in limits.items() if limit is not None}

    def limited(self, name: str, limit: float | None) -> Budgets:
        """The same limits with another one on something; bytes are rounded down."""
        if limit is not None and name in ("file_bytes", "arena_bytes"):
            limit = math.floor(limit)
        changed: dict[str, Any] = {name: limit}
        return replace(self, **changed)


def parse_size(text: str, float_bytes: int) -> int:
    """Reads a size budget, rounded down to whole bytes.

    Args:
      text: A number with a unit (`B KB MB GB KiB MiB GiB`, in any case), a bare number of bytes, or `3.2x`: the size of
        the float file (or its arena) divided by 3.2.
      float_bytes: That size.

    Raises:
      UsageError: The text is none of these, or its size is below one byte.
    """
    number, unit = _parts(text, "size", {*_BYTES, "x"}, _SIZE_REMEDY)
    if unit == "x":
        if number < 1:
            raise UsageError(
                f"the size {text!r} asks for more than float has",
                "a ratio says how many times smaller than float it shall be: 2x is half of it",
            )
        return int(float_bytes / number)
    if unit in ("", "b") and number != int(number):
        raise UsageError(f"the size {text!r} is not a whole number of bytes", _SIZE_REMEDY)
    size = int(number * _BYTES[unit])
    if size < 1:
        raise UsageError(f"the size {text!r} leaves no byte", _SIZE_REMEDY)
    return size


def parse_latency(text: str, int8: float, unit: str) -> float:
    """Reads a latency budget.

    Args:
      text: `1.3x` (of int8 everywhere), or `3.4ms` where the target was measured.
      int8: Predicted latency of int8 everywhere, in `unit`.
      unit: `MS` or `INT8`.

    Returns:
      In `unit`.

    Raises:
      UsageError: The text is none of these, or milliseconds are asked of a target that was not measured.
    """
    example = "write 1.3x (of int8 everywhere)" + (" or 3.4ms" if unit == MS else "")
    number, found = _parts(text, "latency", {"x", "ms"}, example)
    if found == "ms" and unit != MS:
        raise UsageError(
            f"the latency {text!r} is in milliseconds, which nobody has measured on this target",
            f"{example}, or measure first (bitplan measure-latency)",
        )
    if number <= 0:
        raise UsageError(f"the latency {text!r} leaves no time", example)
    return float(number) * int8 if found == "x" else float(number)


def parse_bops(text: str, int8: float) -> float:
    """Reads a budget of bit operations.

    Args:
      text: A number, with K, M, G or T for its powers of 1000, or `0.8x` (of int8 everywhere).
      int8: Those of int8 everywhere.

    Raises:
      UsageError: The text is none of these, or 0.
    """
    number, unit = _parts(text, "number of bit operations", {*_COUNTS, "x"}, _BOPS_REMEDY)
    if number <= 0:
        raise UsageError(f"the number of bit operations {text!r} leaves none", _BOPS_REMEDY)
    return float(number) * int8 if unit == "x" else float(number * _COUNTS[unit])


def _parts(text: str, what: str, units: set[str], remedy: str) -> tuple[Decimal, str]:
    match = _NUMBER.fullmatch(text.strip())
    unit = match.group(2).lower() if match else ""
    if match is None or unit not in units:
        raise UsageError(f"the {what} {text!r} cannot be read", remedy)
    return Decimal(match.group(1)), unit

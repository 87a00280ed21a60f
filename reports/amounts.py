"""What a plan uses, in words: flash beside RAM, and each figure with the machine that it holds for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..analyzer.schema import SCHEMES, Plan
from . import numbers

FLASH = "Flash (file)"
RAM = "RAM (arena)"
ON_HOST = "LiteRT's arena on this host, not the device's"
"""What stands for RAM where the target has a planner of its own."""

MS = "ms"
_ANY = "any"
_LITERT_TARGETS = (_ANY, "litert-cpu")


def runs_litert(plan: Plan | None) -> bool:
    """Whether LiteRT itself runs the plan's target; without a plan nothing else is spoken of.

    A plan knows its target's name alone. Milliseconds tell as much: they are measured with LiteRT.
    """
    return plan is None or plan.target in _LITERT_TARGETS or plan.latency_unit == MS


def arena_label(plan: Plan | None) -> str:
    """What an arena that LiteRT's planner lays out is called beside the plan's target."""
    return RAM if runs_litert(plan) else ON_HOST


def arena_note(plan: Plan | None) -> str:
    """Where such a figure comes from, and what it is not."""
    note = "Span of all activations as LiteRT's planner lays them out on this host without delegates"
    if plan is None or plan.target == _ANY:
        return f"{note}; a microcontroller's runtime plans otherwise"
    return note if runs_litert(plan) else f"{note}; {numbers.name(plan.target)} plans otherwise"


def title(of: str, plan: Plan | None) -> str:
    """Name of `file_bytes`, `arena_bytes`, `latency`, `bops` or `noise` in a table."""
    return {
        "file_bytes": FLASH, "arena_bytes": arena_label(plan), "latency": latency_label(plan),
        "bops": "Bit operations", "noise": "Output error (nmse)",
    }[of]  # fmt: skip


def latency_label(plan: Plan | None) -> str:
    """`Latency`, or `Work` where the target is no device in particular."""
    return "Work" if plan is not None and plan.target == _ANY else "Latency"


def latency_title(plan: Plan) -> str:
    """The same above a column of figures, with their unit: `Latency, ms`."""
    return f"{latency_label(plan)}, {MS if plan.latency_unit == MS else f'{numbers.TIMES} int8'}"


def latency_note(plan: Plan) -> str:
    """What a predicted latency is counted in."""
    target = numbers.name(plan.target)
    if plan.latency_unit == MS:
        return f"Milliseconds, one op after the other, from the times that were measured for {target}"
    if plan.target == _ANY:
        return "Times of int8 everywhere, counted in bits: the target any names no device, so no time is predicted"
    return f"Times of int8 everywhere on {target}, from its table; one op after the other"


def amount(of: str, value: float, unit: str) -> str:
    """How much of something: bytes of the file in MB, of the arena in KiB, latency in its own unit.

    Args:
      of: As for `title`.
      value: In bytes, in `unit`, in bit operations, or an nmse.
      unit: `Plan.latency_unit`.
    """
    if of == "file_bytes":
        return file_size(round(value))
    if of == "arena_bytes":
        return numbers.kibibytes(round(value))
    if of == "bops":
        return numbers.large(round(value))
    return latency(value, unit) if of == "latency" else numbers.significant(value)


def file_size(size_bytes: int) -> str:
    """A file's size in MB, with as many decimals as tell plans apart."""
    return numbers.megabytes(size_bytes, 3 if size_bytes >= 1e6 else 4)


def latency(value: float, unit: str) -> str:
    """`12.3 ms`, or `1.07 × int8`."""
    return f"{numbers.significant(value)} {MS if unit == MS else f'{numbers.TIMES} int8'}"


def mix(schemes: Sequence[str]) -> str:
    """How many ops have which scheme, the most frequent first: `53 w8a8, 12 w16a8`."""
    tally, order = Counter(schemes), list(SCHEMES)
    ranked = sorted(tally, key=lambda name: (-tally[name], order.index(name)))
    return ", ".join(f"{numbers.count(tally[name])} {name}" for name in ranked)


def lowered(sentence: str) -> str:
    """A sentence that goes on behind a colon; names such as BatchNorm or RAM stay as they are written."""
    first = sentence.split(" ", 1)[0]
    return sentence if any(c.isupper() for c in first[1:]) else sentence[:1].lower() + sentence[1:]

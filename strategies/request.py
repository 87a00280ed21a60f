"""What people ask of a plan, in their own words, and what that means for one network on one target."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ..analyzer.conversion.arena import build_arena
from ..analyzer.errors import UsageError
from ..analyzer.schema import DEFAULT_ALLOWED, SCHEMES, Format, Graph, Target
from .assignment import STRATEGIES
from .assignment.budgets import Budgets, parse_bops, parse_latency, parse_size
from .assignment.resources import Resources
from .targets import DEFAULT_TARGET

MINIMISE = {"error": "noise", "size": "file_bytes", "arena": "arena_bytes", "latency": "latency", "bops": "bops"}
"""What `--minimise` and `--pareto` take, and what it is called in a program."""

_POINTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:pt|pts|points?|%)?")


@dataclass(frozen=True)
class Request:
    """What a plan shall be. Texts are as typed on the command line; "" or None is what nobody has said.

    Attributes:
      size_budget: `2.75MB`, `3.2x` (smaller than float), a number of bytes, or `none`.
      arena_budget: The same for the activations that are alive at once.
      latency_budget: `1.3x` (of int8 everywhere), `3.4ms` on a measured target, or `none`.
      bops_budget: `1.2G`, `0.8x` (of int8 everywhere) or a number.
      max_drop: `1pt`: the largest drop of accuracy; then something else than the error is minimised.
      minimise: A key of `MINIMISE`; "" for the error, or for the size where there is a largest drop.
      allow: Names of schemes.
      target: Name of a shipped table, or path of another.
      io: Format of the model's inputs and outputs.
      strategy: A key of `STRATEGIES`.
      pareto: What a frontier shall run along, a key of `MINIMISE` but `error`; "" for none.
      verify_points: How many of its points to convert and measure.
    """

    size_budget: str | int | None = None
    arena_budget: str = ""
    latency_budget: str = ""
    bops_budget: str = ""
    max_drop: str = ""
    minimise: str = ""
    allow: tuple[str, ...] = DEFAULT_ALLOWED
    target: str = DEFAULT_TARGET
    io: str = "float"
    strategy: str = "milp"
    pareto: str = ""
    verify_points: int = 0

    def __post_init__(self) -> None:
        """Rejects what can be seen to be wrong before anything long is started.

        Raises:
          UsageError: A text cannot be read, a name is unknown, or two wishes contradict each other.
        """
        for size in (self.size_budget, self.arena_budget):
            if _is_limit(size):
                parse_size(str(size), sys.maxsize)
        if _is_limit(self.latency_budget):
            parse_latency(self.latency_budget, 1.0, "ms")
        if _is_limit(self.bops_budget):
            parse_bops(self.bops_budget, 1.0)
        unknown = [name for name in self.allow if name not in SCHEMES]
        if unknown or not self.allow:
            problem = f"there is no scheme called {', '.join(unknown)}" if unknown else "no scheme is allowed"
            raise UsageError(problem, f"choose from {', '.join(SCHEMES)}")
        _one_of(self.io, list(Format), "io format")
        _one_of(self.strategy, list(STRATEGIES), "strategy")
        _one_of(self.minimise, ["", *MINIMISE], "goal")
        _one_of(self.pareto, ["", *(name for name in MINIMISE if name != "error")], "frontier")
        if self.verify_points < 0 or (self.verify_points and not self.pareto):
            raise UsageError("there are no points to verify", "add --pareto, and a number of points above 0")
        if self.max_drop and self.goal == "noise":
            raise UsageError(
                "with --max-drop the error has its limit already", "minimise something else: --minimise size"
            )
        if self.goal != "noise" and not self.max_drop:
            raise UsageError(
                f"the plan with the least {self.minimise} alone is a bad one: its error would have no limit",
                "say how much accuracy it may lose: --max-drop 1pt",
            )
        if self.max_drop:
            parse_points(self.max_drop)

    @property
    def goal(self) -> str:
        """What the program minimises."""
        return MINIMISE[self.minimise or ("size" if self.max_drop else "error")]

    @property
    def io_format(self) -> Format:
        return Format(self.io)


def parse_points(text: str) -> float:
    """Reads a drop in percentage points: `1pt`, `0.5`.

    Raises:
      UsageError: It is none.
    """
    match = _POINTS.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"the drop {text!r} cannot be read", "write 1pt or 0.5")
    return float(match.group(1))


def budgets_of(
    request: Request, graph: Graph, resources: Resources, *, default_size: int | None, default_latency: float | None
) -> Budgets:
    """What was asked, in bytes, milliseconds (or times of int8 everywhere) and bit operations.

    Args:
      request: What was asked.
      graph: The float network.
      resources: Of the network on the target.
      default_size: Bytes of the file where nobody has said; None for no limit.
      default_latency: In times of int8 everywhere, the same.

    Raises:
      UsageError: A text does not fit the target.
    """
    size: int | None = default_size
    if request.size_budget is not None and str(request.size_budget).strip():
        size = parse_size(str(request.size_budget), graph.file_bytes) if _is_limit(request.size_budget) else None
    arena = None
    if _is_limit(request.arena_budget):
        whole_float = [SCHEMES["float"]] * len(graph.ops)
        arena = parse_size(request.arena_budget, build_arena(graph).packed(whole_float, Format.FLOAT))
    latency = None if default_latency is None else default_latency * resources.int8_latency
    if request.latency_budget.strip():
        latency = None
        if _is_limit(request.latency_budget):
            latency = parse_latency(request.latency_budget, resources.int8_latency, resources.unit)
    bops = parse_bops(request.bops_budget, resources.int8_bops) if _is_limit(request.bops_budget) else None
    return Budgets(size, arena, latency, bops)


def has_slow_kernels(target: Target) -> bool:
    """Whether a scheme may cost so much time there that nobody wants it unasked: LiteRT's int16 kernels on a CPU."""
    return target.runtime == "litert" and target.name != "any"


def _is_limit(text: str | int | None) -> bool:
    return text is not None and str(text).strip().lower() not in ("", "none")


def _one_of(value: str, known: Sequence[str], what: str) -> None:
    if value not in known:
        raise UsageError(f"there is no {what} {value!r}", f"choose from {', '.join(name for name in known if name)}")

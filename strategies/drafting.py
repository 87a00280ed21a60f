"""Plan, convert, look at the file, plan again: budgets count the emitted file, not a prediction of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..analyzer.conversion.converter import Conversion, convert
from ..analyzer.conversion.costs import Costs
from ..analyzer.errors import ImpossibleBudget
from ..analyzer.network import runtime
from ..analyzer.schema import Calibration, Format, Graph, Plan, Target
from .assignment import STRATEGIES
from .assignment.budgets import Budgets
from .assignment.choices import schemes_for_ops, uniform_schemes
from .assignment.noise import Noise

DEFAULT_EXTRA = 0.03
"""What a plan may cost beyond int8 everywhere where no budget is given, as a share of it."""

_ROUNDS = 6
_TOLERATED_BYTES = 512
"""A prediction that misses by less is as good as exact."""


@dataclass(frozen=True)
class Draft:
    """A plan and what was made from it.

    Attributes:
      plan: With its predictions.
      conversion: Its file.
      arena_bytes: What LiteRT's planner allocates for that file without delegates.
    """

    plan: Plan
    conversion: Conversion
    arena_bytes: int

    @property
    def file_bytes(self) -> int:
        return len(self.conversion.model)


@dataclass(frozen=True)
class Drafter:
    """Makes plans of one network whose emitted files keep their budgets. Looks at no data.

    Attributes:
      flatbuffer, graph: The float network.
      calibration: Its ranges.
      noise, costs: What the strategy decides on.
      target: Where the model will run.
      allowed: Names of schemes.
      io: Format of the model's inputs and outputs.
      strategy: A key of `STRATEGIES`.
    """

    flatbuffer: bytes
    graph: Graph
    calibration: Calibration
    noise: Noise
    costs: Costs
    target: Target
    allowed: tuple[str, ...]
    io: Format = Format.FLOAT
    strategy: str = "milp"

    @property
    def has_choice(self) -> bool:
        """Whether any op may have one scheme or another."""
        return any(len(options) > 1 for options in schemes_for_ops(self.graph, self.allowed, self.target))

    def draft(self, budgets: Budgets, minimise: str = "noise") -> Draft:
        """The plan with the least of something whose emitted file fits the budgets.

        Args:
          budgets: Limits; those of the file and of the arena hold for the emitted file, the others for predictions.
          minimise: What the plan shall have least of.

        Raises:
          ImpossibleBudget: No plan fits.
        """
        fitting: Draft | None = None
        costs, asked, smallest = self.costs, budgets, sys.maxsize
        for _ in range(_ROUNDS):
            try:
                plan = self._assign(costs, asked, minimise)
            except ImpossibleBudget as error:
                if error.limit != "file_bytes" or budgets.file_bytes is None:
                    raise
                # That is a prediction. The smallest file itself says how far it is off.
                if smallest < sys.maxsize:
                    break
                plan = self._assign(costs, replace(asked, file_bytes=int(error.smallest)), minimise)
            found = self.made_from(plan)
            missed = found.file_bytes - plan.predicted_bytes
            too_large = budgets.file_bytes is not None and found.file_bytes > budgets.file_bytes
            over = 0 if budgets.arena_bytes is None else max(0, found.arena_bytes - budgets.arena_bytes)
            if not too_large and not over:
                if fitting is None or plan.predicted(minimise) < fitting.plan.predicted(minimise):
                    kept = replace(plan, budget_bytes=budgets.file_bytes, arena_budget_bytes=budgets.arena_bytes)
                    fitting = replace(found, plan=kept)
                # A file much smaller than predicted leaves room that another round may use, once.
                if budgets.file_bytes is None or missed > -_TOLERATED_BYTES or smallest < sys.maxsize:
                    break
            smallest = min(smallest, found.file_bytes)
            costs = costs.corrected(missed)
            if over and asked.arena_bytes is not None:
                asked = replace(asked, arena_bytes=asked.arena_bytes - over)
        if fitting is not None:
            return fitting
        raise ImpossibleBudget(
            f"the budget of {budgets.file_bytes} bytes is below the smallest possible file: {smallest} bytes "
            f"with {', '.join(self.allowed)}",
            f"raise --size-budget to at least {smallest}B, or allow narrower schemes (--allow w4a8,...)",
            smallest,
        )

    def made_from(self, plan: Plan) -> Draft:
        """The file of a plan."""
        conversion = convert(self.flatbuffer, self.graph, self.calibration, plan)
        return Draft(plan, conversion, runtime.arena_bytes(conversion.model))

    def _assign(self, costs: Costs, budgets: Budgets, minimise: str) -> Plan:
        return STRATEGIES[self.strategy](
            self.graph, self.noise, costs, budgets=budgets, allowed=self.allowed, io=self.io, target=self.target,
            minimise=minimise,
        )  # fmt: skip


def default_budget(
    flatbuffer: bytes, graph: Graph, calibration: Calibration, io: Format, target: Target, *, allowed: Sequence[str]
) -> int | None:
    """Bytes of the int8 file and a little more: what a plan may have where nobody has said.

    Without any limit the least error is always that of the float file, which nobody wants.

    Returns:
      None where int8 is not allowed.
    """
    if "w8a8" not in allowed:
        return None
    names = [scheme.name for scheme in uniform_schemes(graph, "w8a8", target)]
    plan = Plan.bare(graph, names, io, per_channel=target.per_channel)
    int8 = convert(flatbuffer, graph, calibration, plan).model
    return int(len(int8) * (1 + DEFAULT_EXTRA))

"""Plan, convert, look at the file, plan again: a budget counts bytes of the emitted file, not predicted ones."""

from __future__ import annotations

from collections.abc import Sequence

from ..analyzer.conversion.converter import Conversion, convert
from ..analyzer.conversion.costs import build_costs
from ..analyzer.errors import ImpossibleBudget
from ..analyzer.schema import Calibration, Format, Graph, Plan, SensitivityTable
from .assignment import STRATEGIES
from .assignment.choices import uniform_schemes
from .assignment.noise import build_noise

DEFAULT_EXTRA = 0.03
"""What a plan may cost beyond int8 everywhere where no budget is given, as a share of it."""

_ROUNDS = 6
_TOLERATED_BYTES = 512
"""A prediction that misses by less is as good as exact."""


def plan_to_budget(
    data: bytes,
    graph: Graph,
    table: SensitivityTable,
    calibration: Calibration,
    *,
    budget_bytes: int | None,
    allowed: Sequence[str],
    io: Format = Format.FLOAT,
    strategy: str = "milp",
) -> tuple[Plan, Conversion]:
    """The plan of least predicted error whose emitted file fits the budget, and that file.

    Nothing but the size of the file is looked at between two rounds; no data is.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      table: Its sensitivities.
      calibration: Its ranges.
      budget_bytes: Largest file; None for no limit.
      allowed: Names of schemes that may be used.
      io: Format of the model's inputs and outputs.
      strategy: A key of `STRATEGIES`.

    Raises:
      ImpossibleBudget: No plan fits.
    """
    noise, costs = build_noise(graph, table), build_costs(graph, data)
    smallest: int | None = None
    for _ in range(_ROUNDS):
        plan = STRATEGIES[strategy](graph, noise, costs, budget_bytes=budget_bytes, allowed=tuple(allowed), io=io)
        conversion = convert(data, graph, calibration, plan, calibration.partial_sums)
        missed = len(conversion.model) - plan.predicted_bytes
        fits = budget_bytes is None or len(conversion.model) <= budget_bytes
        if fits and (budget_bytes is None or missed > -_TOLERATED_BYTES):
            return plan, conversion
        if fits and smallest is not None:
            return plan, conversion  # corrected once already: the next round would only swing back
        smallest = min(smallest or len(conversion.model), len(conversion.model))
        costs = costs.corrected(missed)
    raise ImpossibleBudget(
        f"no plan was found whose file fits {budget_bytes} bytes; the smallest that came out has {smallest}",
        f"give a budget of at least {smallest} bytes, or allow more schemes",
    )


def default_budget(data: bytes, graph: Graph, io: Format) -> int:
    """Bytes of int8 everywhere and a little more: what a plan may have where nobody has said.

    Without any limit the least error is always that of the float file, which nobody wants.
    """
    return int(build_costs(graph, data).total(uniform_schemes(graph, "w8a8"), io) * (1 + DEFAULT_EXTRA))

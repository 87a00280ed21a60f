"""Plan, convert, look at the file, plan again: a budget counts bytes of the emitted file, not predicted ones."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace

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
    assign = functools.partial(STRATEGIES[strategy], graph, noise, allowed=tuple(allowed), io=io)
    fitting: tuple[Plan, Conversion] | None = None
    smallest = sys.maxsize
    for _ in range(_ROUNDS):
        try:
            plan = assign(costs, budget_bytes=budget_bytes)
        except ImpossibleBudget as error:
            # That is a prediction. The smallest file itself says how far it is off.
            if smallest < sys.maxsize:
                break
            plan = assign(costs, budget_bytes=error.smallest_bytes)
        conversion = convert(data, graph, calibration, plan, calibration.partial_sums)
        size = len(conversion.model)
        missed = size - plan.predicted_bytes
        if budget_bytes is None or size <= budget_bytes:
            better = fitting is None or plan.predicted_nmse < fitting[0].predicted_nmse
            fitting = (replace(plan, budget_bytes=budget_bytes), conversion) if better else fitting
            # A file much smaller than predicted leaves room that another round may use, once.
            if budget_bytes is None or missed > -_TOLERATED_BYTES or smallest < sys.maxsize:
                break
        smallest = min(smallest, size)
        costs = costs.corrected(missed)
    if fitting is not None:
        return fitting
    raise ImpossibleBudget(
        f"the budget of {budget_bytes} bytes is below the smallest possible file: {smallest} bytes "
        f"with {', '.join(allowed)}",
        f"raise --size-budget to at least {smallest}B, or allow narrower schemes (--allow w4a8,...)",
        smallest,
    )


def default_budget(data: bytes, graph: Graph, calibration: Calibration, io: Format) -> int:
    """Bytes of the int8 file and a little more: what a plan may have where nobody has said.

    Without any limit the least error is always that of the float file, which nobody wants.
    """
    plan = Plan.bare(graph, [scheme.name for scheme in uniform_schemes(graph, "w8a8")], io)
    int8 = convert(data, graph, calibration, plan, calibration.partial_sums).model
    return int(len(int8) * (1 + DEFAULT_EXTRA))

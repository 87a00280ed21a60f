"""A plan with one scheme for every op: what most tools offer, and what plans are compared with."""

from __future__ import annotations

from collections.abc import Sequence

from ...analyzer.conversion.costs import Costs
from ...analyzer.schema import Format, Graph, Plan
from .choices import schemes_for_ops, uniform_schemes
from .noise import Noise
from .outcome import build_plan, impossible


def assign(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    budget_bytes: int | None,
    allowed: Sequence[str],
    io: Format,
    scheme: str | None = None,
) -> Plan:
    """Gives every op the same scheme; an op that lacks it gets the next one below it (see `uniform_schemes`).

    Args:
      graph: The float network.
      noise: Error terms, from `build_noise`.
      costs: File bytes, from `build_costs`.
      budget_bytes: Largest predicted file; None for no limit.
      allowed: Names of schemes to choose from; the one with the least predicted error that fits is taken.
      io: Format of the model's inputs and outputs.
      scheme: Name of the scheme to take; None to choose.

    Raises:
      ImpossibleBudget: No uniform plan fits.
      RunFolderError: The sensitivity table lacks a term.
      UsageError: A scheme's name is unknown.
    """
    names = tuple(allowed) if scheme is None else (scheme,)
    schemes_for_ops(graph, names)
    plans = [_uniform(graph, noise, costs, name, budget_bytes, names, io) for name in names]
    fitting = [plan for plan in plans if budget_bytes is None or plan.predicted_bytes <= budget_bytes]
    if not fitting:
        assert budget_bytes is not None
        raise impossible(budget_bytes, min(plan.predicted_bytes for plan in plans), names)
    return min(fitting, key=lambda plan: (plan.predicted_nmse, plan.predicted_bytes))


def _uniform(
    graph: Graph, noise: Noise, costs: Costs, name: str, budget_bytes: int | None, names: tuple[str, ...], io: Format
) -> Plan:
    schemes = uniform_schemes(graph, name)
    return build_plan(graph, noise, costs, schemes, strategy=name, io=io, allowed=names, budget_bytes=budget_bytes)

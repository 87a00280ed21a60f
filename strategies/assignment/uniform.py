"""A plan with one scheme for every op: what most tools offer, and what plans are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...analyzer.conversion.costs import Costs
from ...analyzer.errors import UsageError
from ...analyzer.schema import Format, Graph, Plan, Target
from .budgets import Budgets
from .choices import uniform_schemes
from .noise import Noise
from .outcome import build_plan, impossible
from .problem import state_problem
from .resources import Usage


def assign(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    budgets: Budgets,
    allowed: Sequence[str],
    io: Format,
    target: Target,
    minimise: str = "noise",
    scheme: str | None = None,
) -> Plan:
    """Gives every op the same scheme; an op that lacks it gets the next one below it (see `uniform_schemes`).

    Args:
      graph, noise, costs, budgets, io, target, minimise: As for `milp.assign`.
      allowed: Names of schemes to choose from; the one that fits with least of what is minimised is taken.
      scheme: Name of the scheme to take; None to choose.

    Raises:
      ImpossibleBudget: No uniform plan fits.
      RunFolderError: The sensitivity table lacks a term.
      UnsupportedModel: The target cannot run an op in any scheme.
      UsageError: A scheme's name is unknown, or the target cannot join the formats.
    """
    names = tuple(allowed) if scheme is None else (scheme,)
    problem = state_problem(
        graph, noise, costs, budgets=budgets, allowed=names, io=io, target=target, minimise=minimise
    )
    plans = {name: uniform_schemes(graph, name, target) for name in names}
    usages = {name: problem.usage(schemes) for name, schemes in plans.items() if problem.can_run(schemes)}
    if not usages:
        raise UsageError(
            f"{target.name} cannot join the formats of a plan with {' or '.join(names)} everywhere and {io.value} io",
            "allow other schemes (--allow), choose another --io, or the strategy milp",
        )
    fitting = {name: usage for name, usage in usages.items() if not usage.exceeded(budgets.limits())}
    if not fitting:
        raise impossible(problem, *_obstacle(usages, budgets.limits()))
    best = min(fitting, key=lambda name: (getattr(fitting[name], minimise), fitting[name].file_bytes))
    return build_plan(problem, plans[best], strategy=best)


def _obstacle(usages: Mapping[str, Usage], limits: Mapping[str, float]) -> tuple[str, float]:
    """The first limit without which a plan fits, and the least it would have to be; else the first that none keeps."""
    for name in limits:
        others = {other: limit for other, limit in limits.items() if other != name}
        values = [getattr(usage, name) for usage in usages.values() if not usage.exceeded(others)]
        if values:
            return name, min(values)
    name = next(name for name in limits if any(name in usage.exceeded(limits) for usage in usages.values()))
    return name, min(getattr(usage, name) for usage in usages.values())

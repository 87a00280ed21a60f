"""Why each op has the scheme that it has."""

from __future__ import annotations

from ..analyzer.conversion.costs import Costs
from ..analyzer.errors import UsageError
from ..analyzer.schema import SCHEMES, Alternative, Graph, Plan, Reason, Scheme, Target
from .assignment.budgets import Budgets
from .assignment.ledger import Ledger, Step
from .assignment.noise import Noise, noise_shares
from .assignment.problem import Problem, state_problem

_ROUNDINGS = 1e-9
"""Share of a limit by which a plan may exceed it through the order in which sums were taken."""


def explain(graph: Graph, noise: Noise, costs: Costs, plan: Plan, *, target: Target) -> tuple[Reason, ...]:
    """What each op's scheme costs and gains, and what the next best choice would change.

    All changes are single steps from the plan: one op changes, and the movement ops behind it. What the other ops would
    do with the bytes that this frees, or give for those that it takes, is not looked at.

    Args:
      graph: The float network.
      noise: Its error terms.
      costs: Its file bytes.
      plan: For this network.
      target: Where the plan shall run.

    Returns:
      One for each op, in execution order.

    Raises:
      RunFolderError: A noise term that a step needs was not measured.
      UsageError: The plan has a scheme that the target lacks.
    """
    problem = state_problem(
        graph, noise, costs, budgets=Budgets.of(plan), allowed=plan.allowed, io=plan.io, target=target
    )
    for op, scheme in zip(graph.ops, plan.schemes, strict=True):
        if (op.index, scheme.name) not in problem.resources.latency:
            raise UsageError(
                f"the plan has {scheme.name} for {op.layer}, which {target.name} lacks",
                "name the target that the plan was made for",
            )
    ledger = Ledger(problem, plan.schemes)
    shares = noise_shares(graph, noise, ledger.schemes, plan.io)
    return tuple(
        _reason(problem, ledger, op, assignment.bytes, shares[op]) for op, assignment in enumerate(plan.assignments)
    )


def _reason(problem: Problem, ledger: Ledger, index: int, size: int, share: float) -> Reason:
    op, scheme = problem.graph.ops[index], ledger.schemes[index]
    found = [_alternative(problem, ledger, index, other) for other in problem.choices[index]]
    others = [other for other in found if other is not None]
    smaller = [other for other in others if other.bytes_change < 0]
    return Reason(
        op.key,
        op.layer,
        scheme.name,
        size,
        problem.resources.latency[index, scheme.name],
        share,
        max(smaller, key=lambda other: (other.bytes_change, -other.noise_change), default=None),
        min(others, key=lambda other: (not other.fits, other.noise_change, other.bytes_change), default=None),
        tuple(sorted(others, key=lambda other: list(SCHEMES).index(other.scheme))),
    )


def _alternative(problem: Problem, ledger: Ledger, op: int, scheme: Scheme) -> Alternative | None:
    step = ledger.step(op, scheme)
    if step is None:
        return None
    return Alternative(scheme.name, step.noise, step.file_bytes, step.latency, _fits(problem, ledger, step))


def _fits(problem: Problem, ledger: Ledger, step: Step) -> bool:
    for name, limit in problem.budgets.limits().items():
        if name == "arena_bytes":
            changed = [step.schemes.get(op, scheme) for op, scheme in enumerate(ledger.schemes)]
            after = float(problem.memory.packed(changed))
        else:
            after = ledger.used[name] + getattr(step, name)
        if after > limit * (1 + _ROUNDINGS):
            return False
    return True

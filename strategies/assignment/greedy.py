"""A plan by steps: always the one op whose other scheme gains most for what it costs."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from ...analyzer.conversion.costs import Costs
from ...analyzer.schema import Format, Graph, Plan, Scheme, Target
from .budgets import Budgets
from .feasibility import smallest_schemes
from .ledger import Ledger, Step
from .noise import Noise
from .outcome import build_plan
from .problem import Problem, state_problem
from .relief import relieve

_TIE = 1e-12
"""Share of the whole below which two plans count as equally good."""


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
) -> Plan:
    """Starts from the smallest file within the other limits and takes the best step until none fits.

    The best step has the most gained (error removed, or whatever is minimised) for each share of the limits used up. It
    sees one op at a time, so it misses regions that pay only as a whole. Arguments and errors as for `milp.assign`.
    """
    problem = state_problem(
        graph, noise, costs, budgets=budgets, allowed=allowed, io=io, target=target, minimise=minimise
    )
    smallest = smallest_schemes(problem)
    schemes = climbed(problem, smallest) or smallest
    return build_plan(
        problem, schemes, strategy="greedy", smallest_bytes=costs.total(smallest, io), status="no step left"
    )


def climbed(problem: Problem, schemes: Sequence[Scheme]) -> list[Scheme] | None:
    """What single steps make of a plan within the limits; None where the gaps in the arena lead them astray."""
    ledger = Ledger(problem, schemes)
    climb(ledger, problem)
    exceeded = problem.usage(ledger.schemes).exceeded(problem.budgets.limits())
    if exceeded == ("arena_bytes",):
        # Steps know nothing of the gaps.
        return relieve(problem, ledger.schemes)
    return None if exceeded else ledger.schemes


_Entry = tuple[tuple[int, float], int, int, int, Step]
"""(merit, op, rank of the scheme, version of the op, step); the smallest goes first."""


class _Merits:
    """What makes a step good: classes 0 to 3, then the lower the better.

    A step is of class 0 where it gains and uses up nothing, 1 where it gains, 2 where it keeps the goal and saves bytes
    of the file, 3 where it keeps both and saves time.
    """

    def __init__(self, ledger: Ledger, problem: Problem) -> None:
        self._ledger, self._goal = ledger, problem.goal
        self._limits = problem.budgets.limits()
        self._weights = {
            name: 1 / limit
            for name, limit in self._limits.items()
            if limit > 0 and name not in (problem.goal, "arena_bytes")
        } or {"noise" if problem.goal == "file_bytes" else "file_bytes": 1.0}
        whole = ledger.peak_bytes if problem.goal == "arena_bytes" else ledger.used[problem.goal]
        self._tie = _TIE * max(whole, 1e-300)
        self._no_time = _TIE * ledger.used["latency"]

    def of(self, step: Step) -> tuple[int, float] | None:
        """None where it brings nothing."""
        gain = self._ledger.peak_change(step) if self._goal == "arena_bytes" else getattr(step, self._goal)
        cost = sum(weight * getattr(step, name) for name, weight in self._weights.items())
        if gain < -self._tie:
            return (0, gain) if cost <= 0 else (1, gain / cost)
        if gain > self._tie:
            return None
        if step.file_bytes < 0:
            return (2, float(step.file_bytes))
        return (3, step.latency) if step.file_bytes == 0 and step.latency < -self._no_time else None

    def fits(self, step: Step) -> bool:
        return all(
            change <= 0 or used + change <= limit * (1 - _TIE) for used, change, limit in self._limited(step).values()
        )

    def frees(self, step: Step) -> bool:
        """Whether steps that did not fit may fit behind this one."""
        return any(change < 0 for _, change, _ in self._limited(step).values())

    def _limited(self, step: Step) -> Mapping[str, tuple[float, float, float]]:
        """(used, change, limit) of everything that is limited."""
        ledger = self._ledger
        return {
            name: (ledger.peak_bytes, ledger.peak_change(step), limit)
            if name == "arena_bytes"
            else (ledger.used[name], getattr(step, name), limit)
            for name, limit in self._limits.items()
        }


def climb(ledger: Ledger, problem: Problem) -> None:
    """Takes steps while one comes nearer the goal within the limits, or keeps it and saves bytes. Changes `ledger`.

    Steps that use up nothing go first, then the best ratio; the earlier op where two are equal.
    """
    choices, merits = problem.choices, _Merits(ledger, problem)
    version = [0] * len(choices)
    heap: list[_Entry] = []
    waiting: list[_Entry] = []

    def push(op: int) -> None:
        for rank, scheme in enumerate(choices[op]):
            step = ledger.step(op, scheme)
            merit = None if step is None else merits.of(step)
            if step is not None and merit is not None:
                heapq.heappush(heap, (merit, op, rank, version[op], step))

    for op in range(len(choices)):
        push(op)
    while heap:
        entry = heapq.heappop(heap)
        _, op, _, stamp, step = entry
        # What the arena gains depends on all ops, so that an old figure may not hold any more.
        if stamp != version[op] or merits.of(step) is None:
            continue
        if not merits.fits(step):
            waiting.append(entry)
            continue
        frees = merits.frees(step)
        ledger.take(step)
        for other in sorted(ledger.affected(step)):
            version[other] += 1
            push(other)
        if frees:
            for held in waiting:
                heapq.heappush(heap, held)
            waiting.clear()

"""A plan by steps: always the one op whose wider scheme lowers the predicted error most for each byte."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from ...analyzer.conversion.costs import Costs
from ...analyzer.schema import Format, Graph, Plan
from .choices import Choices, schemes_for_ops
from .ledger import Ledger, Step
from .noise import Noise
from .outcome import build_plan, impossible
from .program import build_program
from .solver import smallest_schemes

_TIE = 1e-12
"""Share of the whole noise below which two plans count as equally good."""


def assign(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    budget_bytes: int | None,
    allowed: Sequence[str],
    io: Format,
) -> Plan:
    """Starts from the smallest plan and takes the step with the most error removed for each byte, until none fits.

    It sees one op at a time, so it misses regions that pay only as a whole. Arguments and errors as for `milp.assign`.
    """
    choices = schemes_for_ops(graph, allowed)
    smallest = smallest_schemes(build_program(graph, noise, costs, choices, io), choices)
    smallest_bytes = costs.total(smallest, io)
    if budget_bytes is not None and smallest_bytes > budget_bytes:
        raise impossible(budget_bytes, smallest_bytes, allowed)
    ledger = Ledger(graph, noise, costs, choices, smallest, io)
    climb(ledger, choices, budget_bytes)
    return build_plan(
        graph, noise, costs, ledger.schemes, strategy="greedy", io=io, allowed=allowed, budget_bytes=budget_bytes,
        smallest_bytes=smallest_bytes, status="no step left",
    )  # fmt: skip


def climb(ledger: Ledger, choices: Choices, budget_bytes: int | None) -> None:
    """Takes steps while one lowers the error within the budget, or keeps the error and saves bytes. Changes `ledger`.

    Steps that cost no byte go first, then the best ratio of error removed to bytes; the earlier op where two are equal.
    """
    tie = _TIE * max(ledger.noise, 1e-300)
    version = [0] * len(choices)
    heap: list[tuple[tuple[int, float], int, int, int, Step]] = []
    waiting: list[tuple[tuple[int, float], int, int, int, Step]] = []

    def push(op: int) -> None:
        for rank, scheme in enumerate(choices[op]):
            step = ledger.step(op, scheme)
            if step is None:
                continue
            if step.noise < -tie:
                merit = (0, step.noise) if step.bytes <= 0 else (1, step.noise / step.bytes)
            elif step.noise <= tie and step.bytes < 0:
                merit = (2, float(step.bytes))
            else:
                continue
            heapq.heappush(heap, (merit, op, rank, version[op], step))

    for op in range(len(choices)):
        push(op)
    while heap:
        entry = heapq.heappop(heap)
        _, op, _, stamp, step = entry
        if stamp != version[op]:
            continue
        if budget_bytes is not None and step.bytes > 0 and ledger.bytes + step.bytes > budget_bytes:
            waiting.append(entry)
            continue
        ledger.take(step)
        for other in sorted(ledger.affected(step)):
            version[other] += 1
            push(other)
        if step.bytes < 0:
            for held in waiting:
                heapq.heappush(heap, held)
            waiting.clear()

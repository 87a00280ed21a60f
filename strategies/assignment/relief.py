"""A plan whose arena is too high, made to fit by steps at its fullest place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...analyzer.schema import Scheme
from .ledger import Ledger, Step
from .memory import Kind, kind_of
from .problem import Problem

_STEPS = 8


def relieve(problem: Problem, schemes: Sequence[Scheme]) -> list[Scheme] | None:
    """Takes steps that lower the arena, always the one that loses least for what it wins, until its limit is kept.

    The gaps that LiteRT's planner leaves are looked at: each step is laid out in memory.

    Args:
      problem: With a limit on the arena.
      schemes: Within the other limits.

    Returns:
      None where no step helps.
    """
    limit = problem.budgets.arena_bytes
    assert limit is not None
    others = replace(problem.budgets, arena_bytes=None).limits()
    ledger = Ledger(problem, schemes)
    for _ in range(_STEPS):
        height = problem.memory.packed(ledger.schemes)
        if height <= limit:
            return ledger.schemes
        steps = [
            (max(0.0, _loss(problem, step)) / (height - max(limit, after)), number, step)
            for number, (step, after) in enumerate(_steps(problem, ledger, others))
            if after < height
        ]
        if not steps:
            return None
        ledger.take(min(steps)[2])
    return None


def _steps(problem: Problem, ledger: Ledger, limits: Mapping[str, float]) -> list[tuple[Step, int]]:
    """The best step to each other format (and halves) of each op that decides the arena, with the arena behind it."""
    best: dict[tuple[int, Kind], Step] = {}
    for op in problem.memory.stack(ledger.schemes):
        for scheme in problem.choices[op]:
            step = ledger.step(op, scheme)
            if step is None or any(ledger.used[name] + getattr(step, name) > limit for name, limit in limits.items()):
                continue
            kind = op, kind_of(scheme)
            if kind not in best or _loss(problem, step) < _loss(problem, best[kind]):
                best[kind] = step
    return [(step, problem.memory.packed(_behind(ledger, step))) for step in best.values()]


def _loss(problem: Problem, step: Step) -> float:
    return float(getattr(step, "noise" if problem.goal == "arena_bytes" else problem.goal))


def _behind(ledger: Ledger, step: Step) -> list[Scheme]:
    return [step.schemes.get(op, scheme) for op, scheme in enumerate(ledger.schemes)]

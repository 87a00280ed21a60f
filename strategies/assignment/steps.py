"""The arena as rows of a program: at each step, what is alive is at most the peak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ...analyzer.conversion.placement import ALIGNMENT
from .memory import Occupant
from .rows import PEAK_UNIT, Linear, Program, StepRow


def add_arena(program: Program, occupants: Sequence[Occupant]) -> None:
    """One row for each step: what is alive there is at most the peak.

    Behind the last tensor of the arena there is no padding, so that it may be smaller by up to one alignment.
    """
    program.constants["arena_bytes"] = -float(ALIGNMENT - 1)
    groups = {variable: group for group in program.equal for variable in group}
    steps = [_reduced(groups, row, constant) for row, constant in _steps(program, occupants)]
    largest = max((constant + sum(row.values()) for row, constant in steps), default=0.0) or 1.0
    program.peak = program.variable(arena_bytes=largest)
    program.steps = _undominated(steps)
    for row, constant in program.steps:
        scale = PEAK_UNIT / largest
        terms = {index: -scale * size for index, size in row.items()}
        program.rows.append(({program.peak: PEAK_UNIT, **terms}, scale * constant))


def _steps(program: Program, occupants: Sequence[Occupant]) -> list[tuple[dict[int, float], float]]:
    """Of each step: bytes by variable, and bytes that are alive in every plan."""
    count = max((occupant.last + 1 for occupant in occupants), default=0)
    rows: list[dict[int, float]] = [defaultdict(float) for _ in range(count)]
    constants = [0.0] * count
    alive: dict[tuple[tuple[tuple[int, ...], ...], ...], Linear] = {}
    for occupant in occupants:
        clauses = tuple(
            tuple(tuple(program.choice[op, name] for name in names if (op, name) in program.choice)
            for op, names in clause)
            for clause in occupant.clauses
        )  # fmt: skip
        condition = alive.get(clauses)
        if condition is None:
            condition = alive[clauses] = _condition(program, clauses)
        for step in range(occupant.first, occupant.last + 1):
            constants[step] += occupant.bytes * condition.constant
            for variable in condition.variables:
                rows[step][variable] += occupant.bytes
    return list(zip(rows, constants, strict=True))


def _reduced(groups: Mapping[int, tuple[int, ...]], row: Mapping[int, float], constant: float) -> StepRow:
    """The same bytes, counted from the least that each op's choices need: one of them is made.

    Args:
      groups: By variable: the op's choices that it is among.
      row, constant: As in `StepRow`.
    """
    reduced = dict(row)
    for group in dict.fromkeys(groups[variable] for variable in row if variable in groups):
        least = min(row.get(variable, 0.0) for variable in group)
        constant += least
        reduced.update({variable: row[variable] - least for variable in group if least})
    return {variable: size for variable, size in reduced.items() if size > 0}, constant


def too_large(program: Program, limit: float) -> set[int]:
    """Variables that alone exceed a limit on the arena at some step, whatever the other ops have.

    Args:
      program: With an arena.
      limit: Bytes.
    """
    return {v for row, constant in program.steps for v, size in row.items() if size > _room(program, constant, limit)}


def exclusive(program: Program, limit: float) -> list[tuple[int, ...]]:
    """Groups of variables of which a plan has at most one, because two of them exceed a limit on the arena at a step.

    What the solver gets from the steps' own rows is a mixture, a little of every large tensor; these rule that out.
    """
    found = []
    for row, constant in program.steps:
        room = _room(program, constant, limit)
        group = tuple(variable for variable, size in row.items() if room / 2 < size <= room)
        if len(group) > 1:
            found.append(group)
    return list(dict.fromkeys(found))


def _room(program: Program, constant: float, limit: float) -> float:
    """Bytes at a step beyond what every plan needs there."""
    return limit - program.constants["arena_bytes"] - constant


def _condition(program: Program, clauses: Iterable[tuple[tuple[int, ...], ...]]) -> Linear:
    """1 where all sums of some clause are 1: sums of choices where that will do, else a variable above them."""
    possible = [clause for clause in clauses if all(clause)]
    if any(not clause for clause in possible):
        return Linear(constant=1.0)
    if not possible:
        return Linear()
    if len(possible) == 1 and len(possible[0]) == 1:
        return Linear(possible[0][0])
    variable = program.variable()
    for clause in possible:
        program.at_least(variable, [*(Linear(part) for part in clause), Linear(constant=1.0 - len(clause))], [])
    return Linear((variable,))


def _undominated(steps: Sequence[StepRow]) -> list[StepRow]:
    """Without the steps at which nothing more is alive than at a neighbour."""
    kept = []
    for index, (row, constant) in enumerate(steps):
        before, after = (steps[i] if 0 <= i < len(steps) else None for i in (index - 1, index + 1))
        # Of two equal steps the later one stays.
        if (after and _within(row, constant, after)) or (
            before and _within(row, constant, before) and not _within(*before, (row, constant))
        ):
            continue
        kept.append((row, constant))
    return kept


def _within(row: Mapping[int, float], constant: float, other: StepRow) -> bool:
    return constant <= other[1] and all(size <= other[0].get(index, 0.0) for index, size in row.items())

"""The planning problem as variables, rows and what each variable uses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ...analyzer.conversion.costs import Border
from ...analyzer.conversion.placement import ALIGNMENT
from ...analyzer.network.wiring import INPUT, OUTPUT
from ...analyzer.schema import Format, Graph, Scheme
from .budgets import MINIMISED
from .choices import Choices
from .memory import Occupant
from .noise import Noise
from .resources import Resources

_PEAK_UNIT = 1000.0
"""What the largest possible arena counts in the rows of memory: HiGHS' tolerance is absolute."""

_PART = 1e-6
"""Values up to this are 0: HiGHS' tolerance."""


@dataclass
class Linear:
    """A sum of variables and a constant."""

    variables: tuple[int, ...] = ()
    constant: float = 0.0


@dataclass(frozen=True)
class Height:
    """What is known of the gaps in the arena: plans that lie in memory alike are equally high.

    Attributes:
      variables: The choices that give an op the same format (and halves), of the ops that decide the height.
      ops: How many ops these are: a plan that makes a choice for each has at least this height.
      bytes: Of the arena.
    """

    variables: tuple[int, ...]
    ops: int
    bytes: int


@dataclass
class Program:
    """A mixed-integer linear program under construction. All variables lie between 0 and 1.

    Attributes:
      amounts: By what is minimised or limited (`MINIMISED`): how much of it each variable uses.
      constants: What every plan uses on top.
      integer: By variable.
      choice: Variable by (op index, scheme name): 1 where the op gets the scheme.
      rows: (coefficients by variable, lower bound); each row's sum must reach its bound.
      equal: Groups of variables that sum to 1.
      peak: The variable that is the arena, as a share of the largest possible one; None where nobody asks for it. It is
        the only one that an optimum may leave between 0 and 1.
      heights: What solving has shown of the arena; the rows know nothing of gaps in it.
    """

    amounts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MINIMISED})
    constants: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MINIMISED, 0.0))
    integer: list[bool] = field(default_factory=list)
    choice: dict[tuple[int, str], int] = field(default_factory=dict)
    rows: list[tuple[dict[int, float], float]] = field(default_factory=list)
    equal: list[tuple[int, ...]] = field(default_factory=list)
    peak: int | None = None
    heights: dict[tuple[int, ...], Height] = field(default_factory=dict)

    def variable(self, *, integer: bool = False, **amounts: float) -> int:
        """Adds a variable and returns its index.

        Args:
          integer: Whether it must be 0 or 1.
          amounts: What it uses; 0 of what is not given.
        """
        for name in MINIMISED:
            self.amounts[name].append(amounts.get(name, 0.0))
        self.integer.append(integer)
        return len(self.integer) - 1

    def at_least(self, variable: int | None, plus: Sequence[Linear], minus: Sequence[Linear]) -> None:
        """Adds the row `variable >= sum(plus) - sum(minus)`; None stands for 0."""
        row: dict[int, float] = defaultdict(float)
        if variable is not None:
            row[variable] += 1.0
        bound = 0.0
        for sign, terms in ((-1.0, plus), (1.0, minus)):
            for term in terms:
                bound -= sign * term.constant
                for index in term.variables:
                    row[index] += sign
        self.rows.append((dict(row), bound))

    def learn(self, height: Height) -> bool:
        """Whether a height is new."""
        return self.heights.setdefault(height.variables, height) is height

    def height_row(self, height: Height, limit: float | None) -> tuple[dict[int, float], float] | None:
        """A height as a row: (coefficients by variable, upper bound); None where it rules nothing out.

        Args:
          height: One of `heights`.
          limit: On the arena, bytes; None where it is minimised.
        """
        if limit is not None:
            # Stronger than what follows from the peak.
            return (dict.fromkeys(height.variables, 1.0), height.ops - 1.0) if height.bytes > limit else None
        assert self.peak is not None
        share = _PEAK_UNIT * (height.bytes - self.constants["arena_bytes"]) / self.amounts["arena_bytes"][self.peak]
        return {self.peak: -_PEAK_UNIT, **dict.fromkeys(height.variables, share)}, share * (height.ops - 1)

    def matrix(self) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
        """All rows as (matrix [rows, variables], lower bounds, upper bounds), float64."""
        entries = [(r, c, v) for r, (row, _) in enumerate(self.rows) for c, v in row.items()]
        entries += [(len(self.rows) + r, c, 1.0) for r, group in enumerate(self.equal) for c in group]
        rows, columns, values = (np.array(part) for part in zip(*entries, strict=True))
        shape = (len(self.rows) + len(self.equal), len(self.integer))
        lower = np.concatenate([[bound for _, bound in self.rows], np.ones(len(self.equal))])
        upper = np.concatenate([np.full(len(self.rows), np.inf), np.ones(len(self.equal))])
        return sparse.csr_array((values.astype(float), (rows, columns)), shape=shape), lower, upper


def build_program(
    graph: Graph,
    noise: Noise,
    resources: Resources,
    choices: Choices,
    io: Format,
    *,
    occupants: Sequence[Occupant] | None = None,
) -> Program:
    """Writes the planning problem down.

    Only the choices are integer. The others (a reader's extra rounding, a border op, an encoding of shared weights, a
    tensor that is alive) are bounded from below by sums of choices and cost at least 0, so at an optimum they are 0 or
    1 by themselves.

    Args:
      graph, noise: The network and its error terms.
      resources: What each choice uses.
      choices: From `schemes_for_ops`.
      io: Format of the model's inputs and outputs.
      occupants: What may lie in the arena; None to leave the arena out, where it is neither limited nor minimised.

    Raises:
      RunFolderError: A noise term that the choices need was not measured.
    """
    program = Program()
    costs = resources.costs
    program.constants["file_bytes"] = costs.fixed_bytes + costs.io_bytes[io]
    _choices(program, graph, noise, resources, choices)
    ends = _ends(program, choices, io)
    _readers(program, noise, ends, io)
    for border in costs.borders:
        _border(program, resources, border, ends)
    _movement(program, noise, choices, ends)
    if occupants is not None:
        _arena(program, occupants)
    return program


Ends = Mapping[tuple[int, Format], Linear]
"""By (op index, `INPUT` or `OUTPUT`; format): whether that end has that format. Absent where it cannot."""


def _choices(program: Program, graph: Graph, noise: Noise, resources: Resources, choices: Choices) -> None:
    costs = resources.costs
    users = Counter(key for _, key in {(op, key) for (op, _), keys in costs.shared.items() for key in keys})
    sharing: dict[tuple[int, str], list[int]] = defaultdict(list)
    for op, schemes in zip(graph.ops, choices, strict=True):
        for scheme in schemes:
            choice = (op.index, scheme.name)
            keys = costs.shared.get(choice, ())
            variable = program.variable(
                integer=True,
                noise=noise.of_weights(op.index, scheme)
                + sum(noise.of_writing(t, scheme.format) for t in noise.wiring.writes[op.index]),
                file_bytes=costs.op_bytes[choice] + sum(costs.shared_bytes[key] for key in keys if users[key] == 1),
                latency=resources.latency[choice],
                bops=resources.bops[choice],
            )
            program.choice[choice] = variable
            for key in keys:
                if users[key] > 1:
                    sharing[key].append(variable)
        program.equal.append(tuple(program.choice[op.index, scheme.name] for scheme in schemes))
    for key, variables in sharing.items():
        encoding = program.variable(file_bytes=costs.shared_bytes[key])
        for variable in variables:
            program.at_least(encoding, [Linear((variable,))], [])


def _ends(program: Program, choices: Choices, io: Format) -> Ends:
    ends = {(INPUT, io): Linear(constant=1.0), (OUTPUT, io): Linear(constant=1.0)}
    for op, schemes in enumerate(choices):
        for fmt in dict.fromkeys(scheme.format for scheme in schemes):
            ends[op, fmt] = Linear(tuple(program.choice[op, s.name] for s in schemes if s.format is fmt))
    return ends


def _readers(program: Program, noise: Noise, ends: Ends, io: Format) -> None:
    """Extra rounding where a reader takes a tensor narrower than it was written."""
    for tensor, writer in noise.wiring.writer.items():
        if writer == INPUT:
            program.constants["noise"] += noise.of_writing(tensor, io)
        for reader in noise.wiring.readers[tensor]:
            for fmt, as_fine in ((Format.INT8, (Format.INT8,)), (Format.INT16, (Format.INT8, Format.INT16))):
                reads = ends.get((reader, fmt))
                written = [ends[writer, f] for f in as_fine if (writer, f) in ends]
                wider = [f for f in Format if f.bits > fmt.bits and (writer, f) in ends]
                if reads is None or not wider:
                    continue
                nmse = noise.of_reading(tensor, reader, wider[0], fmt)
                if nmse > 0:
                    program.at_least(program.variable(noise=nmse), [reads], written)


def _border(program: Program, resources: Resources, border: Border, ends: Ends) -> None:
    """A border op where some reader reads its format and it was not written, in time by what was written.

    Whatever was written, it takes the time of the fastest such op; what a slower one takes beyond that is a variable of
    its own. Two formats that the target cannot join do not meet.
    """
    reads = [ends[reader, border.format] for reader in border.readers if (reader, border.format) in ends]
    written = {fmt: ends[border.writer, fmt] for fmt in Format if (border.writer, fmt) in ends}
    joined = {fmt: end for fmt, end in written.items() if border.always or fmt is not border.format}
    if not reads or not joined:
        return
    times = {fmt: resources.border_latency.get((border.tensor, fmt, border.format)) for fmt in joined}
    known = [time for time in times.values() if time is not None]
    fastest = min(known, default=0.0)
    if known:
        same = [written[border.format]] if border.format in written and not border.always else []
        needed = program.variable(file_bytes=border.bytes, latency=fastest)
        for term in reads:
            program.at_least(needed, [term], same)
    for fmt, end in joined.items():
        time = times[fmt]
        if time is not None and time <= fastest:
            continue
        slower = None if time is None else program.variable(latency=time - fastest)
        for term in reads:
            program.at_least(slower, [term, end, Linear(constant=-1.0)], [])


def _movement(program: Program, noise: Noise, choices: Choices, ends: Ends) -> None:
    """A movement op takes the format in which its values were written, where it has that choice."""
    for op, tensor in noise.wiring.source.items():
        writer = noise.wiring.writer[tensor]
        for fmt in dict.fromkeys(scheme.format for scheme in choices[op]):
            if (writer, fmt) in ends:
                program.at_least(None, [ends[writer, fmt]], [ends[op, fmt]])


def _arena(program: Program, occupants: Sequence[Occupant]) -> None:
    """One row for each step: what is alive there is at most the peak.

    Behind the last tensor of the arena there is no padding, so that it may be smaller by up to one alignment.
    """
    program.constants["arena_bytes"] = -float(ALIGNMENT - 1)
    steps = _steps(program, occupants)
    largest = max((constant + sum(row.values()) for row, constant in steps), default=0.0) or 1.0
    program.peak = program.variable(arena_bytes=largest)
    for row, constant in _undominated(steps):
        scale = _PEAK_UNIT / largest
        terms = {index: -scale * size for index, size in row.items()}
        program.rows.append(({program.peak: _PEAK_UNIT, **terms}, scale * constant))


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


def _undominated(steps: Sequence[tuple[dict[int, float], float]]) -> list[tuple[dict[int, float], float]]:
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


def _within(row: Mapping[int, float], constant: float, other: tuple[Mapping[int, float], float]) -> bool:
    return constant <= other[1] and all(size <= other[0].get(index, 0.0) for index, size in row.items())


def chosen(program: Program, choices: Choices, values: np.ndarray) -> list[Scheme]:
    """Each op's scheme with the largest value; the narrower one where two are equal.

    Args:
      program: Of the choices.
      choices: From `schemes_for_ops`.
      values: float64 [variables].
    """
    return [
        max(schemes, key=lambda scheme: values[program.choice[op, scheme.name]]) for op, schemes in enumerate(choices)
    ]


def thriftiest(program: Program, choices: Choices, values: np.ndarray, amounts: np.ndarray) -> list[Scheme]:
    """Each op's scheme that uses least, of those that a relaxed optimum gives a part to.

    Where the optimum mixes two plans of a region of ops, this is the one of the two that uses less.

    Args:
      program, choices, values: As for `chosen`.
      amounts: What each variable uses, float64 [variables].
    """
    plan = []
    for op, schemes in enumerate(choices):
        shares = {scheme: program.choice[op, scheme.name] for scheme in schemes}
        mixed = [scheme for scheme, variable in shares.items() if values[variable] > _PART] or list(schemes)
        plan.append(min(mixed, key=lambda scheme: (amounts[shares[scheme]], -values[shares[scheme]])))
    return plan

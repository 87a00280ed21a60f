"""The planning problem as variables, rows and two objectives: noise and bytes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ...analyzer.conversion.costs import Costs
from ...analyzer.network.wiring import INPUT, OUTPUT
from ...analyzer.schema import Format, Graph, Scheme
from .choices import Choices
from .noise import Noise


@dataclass
class Linear:
    """A sum of variables and a constant."""

    variables: tuple[int, ...] = ()
    constant: float = 0.0


@dataclass
class Program:
    """A mixed-integer linear program under construction.

    Attributes:
      noise, bytes: Objective coefficients by variable; the constants that come on top are `noise_constant` and
        `bytes_constant`.
      choice: Variable by (op index, scheme name): 1 where the op gets the scheme.
      rows: (coefficients by variable, lower bound); each row's sum must reach its bound.
      equal: Groups of variables that sum to 1.
    """

    noise: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    integer: list[bool] = field(default_factory=list)
    choice: dict[tuple[int, str], int] = field(default_factory=dict)
    rows: list[tuple[dict[int, float], float]] = field(default_factory=list)
    equal: list[tuple[int, ...]] = field(default_factory=list)
    noise_constant: float = 0.0
    bytes_constant: float = 0.0

    def variable(self, *, noise: float = 0.0, size: float = 0.0, integer: bool = False) -> int:
        """Adds a variable between 0 and 1 and returns its index."""
        self.noise.append(noise)
        self.bytes.append(size)
        self.integer.append(integer)
        return len(self.noise) - 1

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

    def matrix(self) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
        """All rows as (matrix [rows, variables], lower bounds, upper bounds), float64."""
        entries = [(r, c, v) for r, (row, _) in enumerate(self.rows) for c, v in row.items()]
        entries += [(len(self.rows) + r, c, 1.0) for r, group in enumerate(self.equal) for c in group]
        rows, columns, values = (np.array(part) for part in zip(*entries, strict=True))
        shape = (len(self.rows) + len(self.equal), len(self.noise))
        lower = np.concatenate([[bound for _, bound in self.rows], np.ones(len(self.equal))])
        upper = np.concatenate([np.full(len(self.rows), np.inf), np.ones(len(self.equal))])
        return sparse.csr_array((values.astype(float), (rows, columns)), shape=shape), lower, upper


def build_program(graph: Graph, noise: Noise, costs: Costs, choices: Choices, io: Format) -> Program:
    """Writes the planning problem down.

    Only the choices are integer. The others (a reader's extra rounding, a border op, an encoding of shared weights) are
    bounded from below by sums of choices and cost at least 0, so at an optimum they are 0 or 1 by themselves.

    Args:
      graph, noise, costs: The network and its terms.
      choices: From `schemes_for_ops`.
      io: Format of the model's inputs and outputs.

    Raises:
      RunFolderError: A noise term that the choices need was not measured.
    """
    program = Program(bytes_constant=costs.fixed_bytes + costs.io_bytes[io])
    users = Counter(key for _, key in {(op, key) for (op, _), keys in costs.shared.items() for key in keys})
    sharing: dict[tuple[int, str], list[int]] = defaultdict(list)
    for op, schemes in zip(graph.ops, choices, strict=True):
        for scheme in schemes:
            variable = program.variable(
                noise=noise.of_weights(op.index, scheme)
                + sum(noise.of_writing(t, scheme.format) for t in noise.wiring.writes[op.index]),
                size=costs.op_bytes[op.index, scheme.name],
                integer=True,
            )
            program.choice[op.index, scheme.name] = variable
            for key in costs.shared.get((op.index, scheme.name), ()):
                if users[key] == 1:
                    program.bytes[variable] += costs.shared_bytes[key]
                else:
                    sharing[key].append(variable)
        program.equal.append(tuple(program.choice[op.index, scheme.name] for scheme in schemes))
    for key, variables in sharing.items():
        encoding = program.variable(size=costs.shared_bytes[key])
        for variable in variables:
            program.at_least(encoding, [Linear((variable,))], [])

    ends = _ends(program, choices, io)
    _readers(program, noise, ends, io)
    _borders(program, costs, ends)
    _movement(program, noise, choices, ends)
    return program


Ends = Mapping[tuple[int, Format], Linear]
"""By (op index, `INPUT` or `OUTPUT`; format): whether that end has that format. Absent where it cannot."""


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
            program.noise_constant += noise.of_writing(tensor, io)
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


def _borders(program: Program, costs: Costs, ends: Ends) -> None:
    for border in costs.borders:
        written = ends.get((border.writer, border.format))
        minus = [written] if written and not border.always else []
        reads = [ends[reader, border.format] for reader in border.readers if (reader, border.format) in ends]
        if reads and not any(term.constant >= 1 for term in minus):
            needed = program.variable(size=border.bytes)
            for term in reads:
                program.at_least(needed, [term], minus)


def _movement(program: Program, noise: Noise, choices: Choices, ends: Ends) -> None:
    """A movement op takes the format in which its values were written, where it has that choice."""
    for op, tensor in noise.wiring.source.items():
        writer = noise.wiring.writer[tensor]
        for fmt in dict.fromkeys(scheme.format for scheme in choices[op]):
            if (writer, fmt) in ends:
                program.at_least(None, [ends[writer, fmt]], [ends[op, fmt]])


def chosen(program: Program, choices: Choices, values: np.ndarray) -> list[Scheme]:
    """Each op's scheme with the largest value; the narrower one where two are equal.

    Args:
      values: float64 [variables].
    """
    return [
        max(schemes, key=lambda scheme: values[program.choice[op, scheme.name]]) for op, schemes in enumerate(choices)
    ]

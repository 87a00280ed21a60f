"""A mixed-integer linear program: variables, what each uses, and rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ...analyzer.schema import SCHEMES
from .budgets import MINIMISED
from .memory import Kind, kind_of

PEAK_UNIT = 1000.0
"""What the largest possible arena counts in the rows of memory: HiGHS' tolerance is absolute."""

StepRow = tuple[dict[int, float], float]
"""Bytes by variable, and bytes that are alive in every plan."""


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
      steps: What is alive when, as far as it depends on choices.
      heights: What solving has shown of the arena; the rows know nothing of gaps in it.
    """

    amounts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MINIMISED})
    constants: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MINIMISED, 0.0))
    integer: list[bool] = field(default_factory=list)
    choice: dict[tuple[int, str], int] = field(default_factory=dict)
    rows: list[tuple[dict[int, float], float]] = field(default_factory=list)
    equal: list[tuple[int, ...]] = field(default_factory=list)
    peak: int | None = None
    steps: list[StepRow] = field(default_factory=list)
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

    def learn(self, stack: Mapping[int, frozenset[Kind]], height: int) -> bool:
        """Remembers how high the arena of some plans is at least.

        Args:
          stack: From `MemoryModel.stack`.
          height: Bytes.

        Returns:
          Whether that is new.
        """
        alike = [
            variable
            for (op, name), variable in self.choice.items()
            if op in stack and kind_of(SCHEMES[name]) in stack[op]
        ]
        found = Height(tuple(alike), len(stack), height)
        return self.heights.setdefault(found.variables, found) is found

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
        share = PEAK_UNIT * (height.bytes - self.constants["arena_bytes"]) / self.amounts["arena_bytes"][self.peak]
        return {self.peak: -PEAK_UNIT, **dict.fromkeys(height.variables, share)}, share * (height.ops - 1)

    def matrix(self) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
        """All rows as (matrix [rows, variables], lower bounds, upper bounds), float64."""
        entries = [(r, c, v) for r, (row, _) in enumerate(self.rows) for c, v in row.items()]
        entries += [(len(self.rows) + r, c, 1.0) for r, group in enumerate(self.equal) for c in group]
        rows, columns, values = (np.array(part) for part in zip(*entries, strict=True))
        shape = (len(self.rows) + len(self.equal), len(self.integer))
        lower = np.concatenate([[bound for _, bound in self.rows], np.ones(len(self.equal))])
        upper = np.concatenate([np.full(len(self.rows), np.inf), np.ones(len(self.equal))])
        return sparse.csr_array((values.astype(float), (rows, columns)), shape=shape), lower, upper

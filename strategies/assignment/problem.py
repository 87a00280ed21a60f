"""What a strategy is asked, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...analyzer.conversion.costs import Costs, crosses
from ...analyzer.errors import UsageError
from ...analyzer.network.wiring import INPUT, OUTPUT
from ...analyzer.schema import Format, Graph, Scheme, Target
from .budgets import MINIMISED, Budgets
from .choices import Choices, schemes_for_ops, settle
from .memory import MemoryModel
from .noise import Noise, evaluate_noise
from .program import build_program
from .resources import Resources, Usage, build_resources
from .rows import Program


@dataclass(frozen=True)
class Problem:
    """A network, what its ops may be given, what a plan may use and what it shall have least of.

    Attributes:
      graph, noise: The float network and its error terms.
      resources: What each choice uses on the target.
      choices: From `schemes_for_ops`.
      io: Format of the model's inputs and outputs.
      allowed: Names of schemes, as given.
      target: Where the model will run.
      budgets: Limits.
      goal: One of `MINIMISED`.
      memory: What may lie in the arena.
    """

    graph: Graph
    noise: Noise = field(repr=False)
    resources: Resources = field(repr=False)
    memory: MemoryModel = field(repr=False)
    choices: Choices = field(repr=False)
    io: Format
    allowed: tuple[str, ...]
    target: Target = field(repr=False)
    budgets: Budgets
    goal: str = "noise"

    @property
    def counts_memory(self) -> bool:
        """Whether the arena matters for the choice of a plan."""
        return self.goal == "arena_bytes" or self.budgets.arena_bytes is not None

    def offers(self, schemes: Sequence[Scheme]) -> bool:
        """Whether each scheme is among its op's choices."""
        return all(scheme in options for scheme, options in zip(schemes, self.choices, strict=True))

    def can_run(self, schemes: Sequence[Scheme]) -> bool:
        """Whether the target has every border op that a plan needs."""
        formats = {index: scheme.format for index, scheme in enumerate(schemes)} | {INPUT: self.io, OUTPUT: self.io}
        return all(
            (border.tensor, formats[border.writer], border.format) in self.resources.border_latency
            for border in self.resources.costs.borders
            if crosses(border, formats)
        )

    def settled(self, schemes: Sequence[Scheme]) -> list[Scheme] | None:
        """A plan with its movement ops in the format of what they move; None where the target cannot run it."""
        plan = list(schemes)
        settle(self.noise.wiring, self.choices, plan, self.io)
        return plan if self.can_run(plan) else None

    def usage(self, schemes: Sequence[Scheme]) -> Usage:
        """What a plan uses, from its schemes alone; its arena, which takes longest, is 0 where it does not count.

        Raises:
          RunFolderError: A noise term that the schemes need was not measured.
        """
        used = self.resources
        return Usage(
            evaluate_noise(self.graph, self.noise, schemes, self.io),
            used.costs.total(schemes, self.io),
            self.memory.packed(schemes) if self.counts_memory else 0,
            used.total_latency(schemes, self.io),
            used.total_bops(schemes),
        )

    def within(self, budgets: Budgets) -> Problem:
        """The same problem with other limits."""
        return replace(self, budgets=budgets)

    def program(self) -> Program:
        """The problem's variables and rows; they do not depend on the budgets but for whether the arena is counted.

        Raises:
          RunFolderError: A noise term that the choices need was not measured.
        """
        occupants = self.memory.occupants if self.counts_memory else None
        return build_program(self.graph, self.noise, self.resources, self.choices, self.io, occupants=occupants)


def state_problem(
    graph: Graph,
    noise: Noise,
    costs: Costs,
    *,
    budgets: Budgets,
    allowed: Sequence[str],
    io: Format,
    target: Target,
    minimise: str = "noise",
) -> Problem:
    """Puts a planning problem together.

    Args:
      graph: The float network.
      noise: Error terms, from `build_noise`.
      costs: File bytes, from `build_costs`.
      budgets: Limits.
      allowed: Names of schemes; see `schemes_for_ops` for ops that have none of them.
      io: Format of the model's inputs and outputs.
      target: Where the model will run.
      minimise: One of `MINIMISED`.

    Raises:
      UnsupportedModel: The target cannot run an op in any scheme.
      UsageError: A name is unknown, no scheme is allowed, or the target cannot join two formats that must meet.
    """
    if minimise not in MINIMISED:
        raise UsageError(f"nothing called {minimise} can be minimised", f"choose from {', '.join(MINIMISED)}")
    choices = schemes_for_ops(graph, allowed, target)
    resources = build_resources(graph, costs, target, io)
    _check_borders(graph, noise, resources, choices, io, target)
    memory = MemoryModel(graph, choices, io)
    return Problem(graph, noise, resources, memory, choices, io, tuple(allowed), target, budgets, minimise)


def _check_borders(
    graph: Graph, noise: Noise, resources: Resources, choices: Choices, io: Format, target: Target
) -> None:
    formats = {op: tuple(dict.fromkeys(s.format for s in schemes)) for op, schemes in enumerate(choices)}
    formats |= {INPUT: (io,), OUTPUT: (io,)}
    for tensor, writer in noise.wiring.writer.items():
        for reader in noise.wiring.readers[tensor]:
            pairs = [(written, read) for written in formats[writer] for read in formats[reader]]
            if any(w is r or (tensor, w, r) in resources.border_latency for w, r in pairs):
                continue
            ends = {INPUT: "the model's input", OUTPUT: "the model's output"}
            names = [ends.get(end) or f"{graph.ops[end].layer} ({graph.ops[end].opcode})" for end in (writer, reader)]
            written, read = ("/".join(formats[end]) for end in (writer, reader))
            raise UsageError(
                f"{target.name} has no op that makes {read} of {written}, between {names[0]} and {names[1]}",
                f"choose another --io ({', '.join(target.io)}), allow other schemes (--allow), or another --target",
            )

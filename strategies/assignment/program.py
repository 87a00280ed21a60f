"""The planning problem as variables, rows and what each variable uses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ...analyzer.conversion.costs import Border
from ...analyzer.network.wiring import INPUT, OUTPUT
from ...analyzer.schema import Format, Graph, Scheme
from .choices import Choices
from .memory import Occupant
from .noise import Noise
from .resources import Resources
from .rows import Linear, Program
from .steps import add_arena

_PART = 1e-6
"""Values up to this are 0: HiGHS' tolerance."""


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
        add_arena(program, occupants)
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

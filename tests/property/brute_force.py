"""What each assignment of schemes comes to, by what happens.

Nothing here uses the planner's own evaluation: noise is read from the raw measurements by asking where a value is
rounded, bytes by asking what stands in the file, time by asking which ops run, memory by running the file's ops one by
one and noting what each of them still needs. Where LiteRT puts the tensors is `placement.place`'s to say.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from bitplan.analyzer.conversion.costs import Border
from bitplan.analyzer.conversion.placement import Call, place, span
from bitplan.analyzer.schema import (
    SCHEMES,
    Format,
)
from bitplan.strategies.assignment import STRATEGIES
from bitplan.strategies.assignment.budgets import MINIMISED, Budgets
from bitplan.strategies.assignment.noise import build_noise
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from .random_problems import BITS, INPUT, MOVES, OUTPUT, Problem, problems


@dataclass(frozen=True)
class Figures:
    """What a plan uses, by the names of `Budgets`."""

    noise: float
    file_bytes: int
    arena_bytes: int
    latency: float
    bops: float


def rounding_noise(problem: Problem, names: tuple[str, ...]) -> float:
    """The predicted error by its meaning: each place where a value is rounded, looked up in the raw measurements."""
    graph = problem.graph
    raw = {m.source.id: max(0.0, m.error.nmse) for m in problem.table.measurements}
    fmt = {op.index: SCHEMES[names[op.index]].format for op in graph.ops}
    total = []
    for op in graph.ops:
        scheme = SCHEMES[names[op.index]]
        if op.weights is not None and not scheme.is_float:
            variant = f"w16a{BITS[scheme.format]}" if scheme.weight_bits == 16 else f"w{scheme.weight_bits}"
            total.append(raw[f"weights:{op.outputs[0]}:{variant}{'' if problem.target.per_channel else 't'}"])
        if op.constants and not scheme.is_float:
            total.append(raw[f"weights:{op.outputs[0]}:c{BITS[scheme.format]}"])

    def one_reader_rounds(tensor: int, reader: int, variant: str) -> float:
        writer = graph.producer(tensor)
        own = f"{'input' if writer is None else 'activation'}:{tensor}:{variant}"
        for source in (f"edge:{tensor}>{reader}:{variant}", own):
            if source in raw:
                return raw[source]
        # Only a movement op's output may be unmeasured: rounding it is rounding what went in.
        return one_reader_rounds(graph.ops[writer].inputs[0], writer, variant)

    for tensor in graph.tensors:
        readers = list(graph.consumers(tensor.index))
        if tensor.is_constant:
            continue
        writer = graph.producer(tensor.index)
        lies_in = problem.io if writer is None else fmt[writer]
        ends = [(reader, fmt[reader]) for reader in readers]
        ends += [(OUTPUT, problem.io)] if tensor.index in graph.outputs else []
        moved = writer is not None and graph.ops[writer].opcode in MOVES
        if lies_in is not Format.FLOAT and ends and not moved:
            part = "input" if writer is None else "activation"
            total.append(raw[f"{part}:{tensor.index}:a{BITS[lies_in]}"])
        for reader, wanted in ends:
            if BITS[wanted] < BITS[lies_in]:
                total.append(one_reader_rounds(tensor.index, reader, f"a{BITS[wanted]}"))
    return math.fsum(total)


def file_bytes(problem: Problem, names: tuple[str, ...]) -> int:
    costs, graph = problem.costs, problem.graph
    fmt = {op.index: SCHEMES[names[op.index]].format for op in graph.ops} | {INPUT: problem.io, OUTPUT: problem.io}
    size = costs.fixed_bytes + costs.io_bytes[problem.io]
    size += sum(costs.op_bytes[op, name] for op, name in enumerate(names))
    stored = {
        (graph.tensors[op.weights].buffer, f"w{SCHEMES[names[op.index]].weight_bits}")
        for op in graph.ops
        if op.weights is not None
    }
    size += sum(costs.shared_bytes[key] for key in stored)
    for border in costs.borders:
        wanted = [r for r in border.readers if fmt[r] is border.format]
        if wanted and (border.always or fmt[border.writer] is not border.format):
            size += border.bytes
    return size


def latency(problem: Problem, names: tuple[str, ...]) -> float:
    """One op after the other, in times of int8 everywhere."""
    int8 = []
    for names_of_op in offered(problem):
        int8.append(next((n for n in ("w8a8", "float") if n in names_of_op), names_of_op[0]))
    whole = _costs_of_ops(problem, tuple(int8))
    return _costs_of_ops(problem, names) / (whole or 1.0)


def _costs_of_ops(problem: Problem, names: tuple[str, ...]) -> float:
    graph, kernels = problem.graph, problem.target.kernels
    total = []
    for op in graph.ops:
        name, written = names[op.index], graph.tensors[op.outputs[0]].elements
        table = kernels.get(op.opcode) or kernels.get("*", {})
        if name.startswith("w16"):
            half = "w8a" + name.removeprefix("w16a")
            adds = kernels.get("ADD") or kernels["*"]
            total += [2 * op.macs * table[half].cost, written * adds[half].cost]
        else:
            total.append((op.macs or written) * table[name].cost)
    for border, lies_in in _border_ops(problem, names):
        kernel = problem.target.border.get((lies_in, border.format))
        total.append(graph.tensors[border.tensor].elements * kernel.cost if kernel else 0.0)
    return math.fsum(total)


def _border_ops(problem: Problem, names: tuple[str, ...]) -> list[tuple[Border, Format]]:
    """The border ops of a file, each with the format that it reads."""
    fmt = {i: SCHEMES[name].format for i, name in enumerate(names)} | {INPUT: problem.io, OUTPUT: problem.io}
    return [
        (border, fmt[border.writer])
        for border in problem.costs.borders
        if any(fmt[r] is border.format for r in border.readers)
        and (border.always or fmt[border.writer] is not border.format)
    ]


def bit_operations(problem: Problem, names: tuple[str, ...]) -> float:
    chosen = zip(problem.graph.ops, [SCHEMES[name] for name in names], strict=True)
    return float(sum(op.macs * scheme.weight_bits * BITS[scheme.format] for op, scheme in chosen))


def arena_bytes(problem: Problem, names: tuple[str, ...]) -> int:
    """Writes the file's ops down one after the other and lets them be placed."""
    graph = problem.graph
    lies_in = dict.fromkeys(graph.inputs, problem.io)
    calls, sizes = [], {}

    def read(tensor: int, wanted: Format) -> tuple[int, Format]:
        """The copy of a tensor in a format, made where it is first needed."""
        copy = (tensor, wanted)
        if copy not in sizes:
            calls.append(Call("QUANTIZE", ((tensor, lies_in[tensor]),), (copy,)))
            sizes[copy] = graph.tensors[tensor].elements * BITS[wanted] // 8
        return copy

    def write(tensor: int, wanted: Format) -> tuple[int, Format]:
        lies_in[tensor] = wanted
        sizes[tensor, wanted] = graph.tensors[tensor].elements * BITS[wanted] // 8
        return tensor, wanted

    inputs = [write(t, problem.io) for t in graph.inputs]
    for op in graph.ops:
        scheme = SCHEMES[names[op.index]]
        data = [t for t in op.inputs if not graph.tensors[t].is_constant]
        copies = {t: read(t, scheme.format) for t in sorted(data)}
        reads = tuple(copies.get(t) for t in op.inputs)
        output = write(op.outputs[0], scheme.format)
        if scheme.is_split:
            halves = [(op.outputs[0], half) for half in ("hi", "lo")]
            sizes.update(dict.fromkeys(halves, sizes[output]))
            calls += [Call(op.opcode, reads, (half,)) for half in halves]
            calls.append(Call("ADD", tuple(halves), (output,)))
        else:
            calls.append(Call(op.opcode, reads, (output,)))
        if op.outputs[0] in graph.outputs:
            read(op.outputs[0], problem.io)
    return span(place(calls, sizes, inputs, [(t, problem.io) for t in graph.outputs]))


def figures(problem: Problem, names: tuple[str, ...]) -> Figures:
    return Figures(
        rounding_noise(problem, names), file_bytes(problem, names), arena_bytes(problem, names),
        latency(problem, names), bit_operations(problem, names),
    )  # fmt: skip


def offered(problem: Problem) -> list[list[str]]:
    """What the target has for each op, narrowest first."""
    kernels = problem.target.kernels
    result = []
    for op in problem.graph.ops:
        listed, adds = (kernels.get(opcode) or kernels.get("*", {}) for opcode in (op.opcode, "ADD"))
        result.append(
            [
                name
                for name in op.schemes
                if name in listed or (name[:4] == "w16a" and "w8a" + name[4:] in listed and "w8a" + name[4:] in adds)
            ]
        )
    return result


def options_of(problem: Problem) -> list[list[str]]:
    """What a plan may give each op: the allowed schemes that the target has."""
    options = []
    for there in offered(problem):
        names = [name for name in there if name in problem.allowed]
        options.append(names or [n for n in ("w8a8", "float") if n in there][:1] or there[:1])
    return options


def is_plan(problem: Problem, options: list[list[str]], names: tuple[str, ...]) -> bool:
    """Whether movement ops have the format of what they move, and all border ops exist."""
    graph = problem.graph
    for op in graph.ops:
        if op.opcode in MOVES:
            writer = graph.producer(op.inputs[0])
            moved = problem.io if writer is None else SCHEMES[names[writer]].format
            if moved in {SCHEMES[n].format for n in options[op.index]} and SCHEMES[names[op.index]].format != moved:
                return False
    return all((lies_in, b.format) in problem.target.border for b, lies_in in _border_ops(problem, names))


def all_assignments(problem: Problem) -> list[tuple[str, ...]]:
    """Every assignment that a plan may be."""
    options = options_of(problem)
    return [names for names in itertools.product(*options) if is_plan(problem, options, names)]


def some(assignments: list[tuple[str, ...]], most: int) -> list[tuple[str, ...]]:
    """Not the first ones, which differ in their last ops alone."""
    return assignments[:: max(1, len(assignments) // most)]


def assign(problem: Problem, strategy: str, budgets: Budgets | int | None, **options: str):
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    budgets = budgets if isinstance(budgets, Budgets) else Budgets(file_bytes=budgets)
    return STRATEGIES[strategy](
        problem.graph, noise, problem.costs, budgets=budgets, allowed=problem.allowed, io=problem.io,
        target=problem.target, **options,
    )  # fmt: skip


def names_of(plan) -> tuple[str, ...]:
    return tuple(a.scheme for a in plan.assignments)


SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def limited(draw: st.DrawFn) -> tuple[Problem, Budgets]:
    """A problem on a random target, and limits between the least and the most that its plans use."""
    problem = draw(problems(8, any_target=False))
    every = [figures(problem, names) for names in all_assignments(problem)] if all(offered(problem)) else []
    limits = {}
    for name in MINIMISED:
        if not every or not draw(st.booleans()):
            continue
        values = sorted({getattr(found, name) for found in every})
        rank = draw(st.integers(0, len(values) - 1))
        limits[name] = values[rank]
        if name not in ("file_bytes", "arena_bytes"):
            # Between two plans: what is equal in exact numbers differs by roundings.
            above = values[rank + 1] if rank + 1 < len(values) else 2 * values[rank] + 1e-6
            limits[name] = (values[rank] + above) / 2
    return problem, Budgets(**limits)


PADDING = dict.fromkeys(MINIMISED, 1e-12) | {"arena_bytes": 63}
"""Tensors start at multiples of 64 bytes, which the rows of memory count in full."""


MEMORY_SCHEMES = [("w8a8", "w8a16"), ("w8a8", "w16a16"), ("w8a16", "float")]
"""Pairs that make many sizes of memory of few assignments."""


def kept(found: Figures, limits: dict[str, float]) -> bool:
    return all(getattr(found, name) <= limit for name, limit in limits.items())


def plan_figures(plan) -> Figures:
    return Figures(
        plan.predicted_nmse, plan.predicted_bytes, plan.predicted_arena_bytes, plan.predicted_latency,
        plan.predicted_bops,
    )  # fmt: skip

"""Plans against brute force: every assignment of small random networks on random targets, priced by what happens.

Nothing here uses the planner's own evaluation: noise is read from the raw measurements by asking where a value is
rounded, bytes by asking what stands in the file, time by asking which ops run, memory by running the file's ops one by
one and noting what each of them still needs. Where LiteRT puts the tensors is `placement.place`'s to say.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from bitplan.analyzer.conversion.costs import Border, Costs
from bitplan.analyzer.conversion.placement import Call, place, span
from bitplan.analyzer.errors import BitplanError, ImpossibleBudget, UsageError
from bitplan.analyzer.schema import (
    SCHEMES,
    Format,
    Graph,
    Kernel,
    Measurement,
    Op,
    OutputError,
    SensitivityTable,
    Source,
    Target,
    Tensor,
)
from bitplan.strategies import pareto
from bitplan.strategies.assignment import STRATEGIES
from bitplan.strategies.assignment.budgets import MINIMISED, Budgets
from bitplan.strategies.assignment.choices import schemes_for_ops
from bitplan.strategies.assignment.memory import Memory, MemoryModel
from bitplan.strategies.assignment.noise import build_noise, evaluate_noise, noise_shares
from bitplan.strategies.assignment.problem import state_problem
from bitplan.strategies.explain import explain
from bitplan.strategies.targets import load_target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

ANY = load_target("any")
INPUT, OUTPUT = -1, -2
BITS = {Format.INT8: 8, Format.INT16: 16, Format.FLOAT: 32}
KINDS = {
    "FULLY_CONNECTED": ("w4a8", "w4a16", "w8a8", "w8a16", "w16a8", "w16a16", "float"),
    "DEPTHWISE_CONV_2D": ("w8a8", "w8a16", "w16a8", "w16a16", "float"),
    "ADD": ("w8a8", "w8a16", "float"),
    "MUL": ("w8a8", "w8a16", "float"),
    "RESHAPE": ("w8a8", "w8a16", "float"),
    "SPACE_TO_DEPTH": ("w8a8", "float"),
    "HARD_SWISH": ("w8a8", "float"),
    "RELU6": ("float",),
}
WEIGHTED = ("FULLY_CONNECTED", "DEPTHWISE_CONV_2D")
MOVES = ("RESHAPE", "SPACE_TO_DEPTH")


@dataclass(frozen=True)
class Problem:
    graph: Graph
    table: SensitivityTable
    costs: Costs
    allowed: tuple[str, ...]
    io: Format
    target: Target


@dataclass(frozen=True)
class Figures:
    """What a plan uses, by the names of `Budgets`."""

    noise: float
    file_bytes: int
    arena_bytes: int
    latency: float
    bops: float


@st.composite
def problems(draw: st.DrawFn, most_ops: int = 5, any_target: bool = True) -> Problem:
    count = draw(st.integers(1, most_ops))
    allowed = tuple(
        draw(st.lists(st.sampled_from(list(SCHEMES)), min_size=1, max_size=4 if count < 6 else 2, unique=True))
    )
    io = draw(st.sampled_from(list(Format)))
    sizes = st.sampled_from([4, 20, 64, 100, 300, 700])
    tensors = [Tensor(0, "in", (1, draw(sizes)), "float32")]
    available, ops = [0], []
    for index in range(count):
        opcode = draw(st.sampled_from(list(KINDS)))
        data = [draw(st.sampled_from(available)) for _ in range(2 if opcode == "ADD" else 1)]
        weights = constant = None
        if opcode in WEIGHTED:
            weights = len(tensors)
            tensors.append(Tensor(weights, f"w{index}", (4, 4), "float32", buffer=1 + draw(st.integers(0, 2))))
        elif opcode == "MUL":
            constant = len(tensors)
            tensors.append(Tensor(constant, f"c{index}", (1, 4), "float32", buffer=10 + index))
        out = len(tensors)
        shape = tensors[data[0]].shape if opcode in MOVES else (1, draw(sizes))
        tensors.append(Tensor(out, f"t{index}", shape, "float32"))
        available.append(out)
        inputs = (*data, *(t for t in (weights, constant) if t is not None))
        constants = () if constant is None else (constant,)
        macs = draw(st.integers(1, 1000)) if weights is not None else 0
        key = f"{index}:{opcode}"
        ops.append(
            Op(
                index, key, opcode, f"t{index}", inputs, (out,), weights, None, constants, macs=macs,
                schemes=KINDS[opcode],
            )
        )  # fmt: skip
    extra = draw(st.sampled_from(available))
    outputs = tuple(dict.fromkeys((available[-1], extra)))
    graph = Graph(tuple(tensors), tuple(ops), (0,), outputs, outputs, False, "digest", 1000)
    target = ANY if any_target else draw(targets())
    return Problem(graph, draw(_tables(graph, target.per_channel)), draw(_costs(graph)), allowed, io, target)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """Runs most ops in int8, and the rest as it comes; has most border ops."""
    integer_only = draw(st.booleans())
    listed = ("w4a8", "w4a16", "w8a8", "w8a16", "float")
    kernels = {}
    for opcode, names in KINDS.items():
        kept = [n for n in listed if n in names and not (integer_only and n == "float")]
        kept = [n for n in kept if n == "w8a8" or draw(st.integers(0, 2))]
        kernels[opcode] = {n: Kernel(float(draw(st.integers(1, 50))), "doc", "doc") for n in kept}
    border = {
        pair: Kernel(float(draw(st.integers(0, 50))), "doc", "doc")
        for pair in itertools.product(Format, Format)
        if draw(st.integers(0, 11))
    }
    return Target(
        "mine", "Mine", "other", integer_only, draw(st.booleans()), tuple(Format), kernels, border, {"doc": "d"}
    )


@st.composite
def _tables(draw: st.DrawFn, graph: Graph, per_channel: bool) -> SensitivityTable:
    level = st.one_of(st.just(0.0), st.floats(1e-6, 1.0), st.floats(-1e-9, 1e-3))
    sources = []
    for op in graph.ops:
        if op.weights is not None:
            sources += [Source.of_weights(op, v, per_channel=per_channel) for v in ("w4", "w8", "w16a8", "w16a16")]
        if op.constants:
            sources += [Source.of_weights(op, v, per_channel=per_channel) for v in ("c8", "c16")]
    for tensor in graph.tensors:
        if tensor.is_constant:
            continue
        readers = [*graph.consumers(tensor.index), *([OUTPUT] if tensor.index in graph.outputs else [])]
        writer = graph.producer(tensor.index)
        for variant in ("a8", "a16"):
            # A movement op's output has no error of its own, so the sweep may leave it out.
            if writer is None or graph.ops[writer].opcode not in MOVES or draw(st.booleans()):
                part = "input" if writer is None else "activation"
                sources.append(Source(part, variant, tensor.index, op=writer))
            if len(readers) > 1:
                sources += [
                    Source("edge", variant, tensor.index, op=writer, consumer=reader)
                    for reader in readers
                    if reader != OUTPUT or draw(st.booleans())
                ]
    measurements = tuple(Measurement(s, OutputError(draw(level), 0.0, 0.0, 1), 0.0) for s in sources)
    return SensitivityTable(measurements, (), None, (1.0,), 1, "data", "digest", per_channel=per_channel)


@st.composite
def _costs(draw: st.DrawFn, graph: Graph) -> Costs:
    size = st.integers(0, 500)
    op_bytes = {(op.index, name): draw(size) for op in graph.ops for name in op.schemes}
    shared, shared_bytes = {}, {}
    for op in graph.ops:
        if op.weights is not None:
            for name in op.schemes:
                key = (graph.tensors[op.weights].buffer, f"w{SCHEMES[name].weight_bits}")
                shared[op.index, name] = (key,)
                shared_bytes[key] = 40 * SCHEMES[name].weight_bits
    borders = []
    for tensor in graph.tensors:
        if tensor.is_constant:
            continue
        writer = graph.producer(tensor.index)
        readers = (*graph.consumers(tensor.index), *((OUTPUT,) if tensor.index in graph.outputs else ()))
        groups = [readers[:1], readers[1:]] if draw(st.booleans()) else [readers]
        for group, fmt in itertools.product(groups, Format):
            always = fmt is not Format.FLOAT and draw(st.integers(0, 9)) == 0
            if group:
                borders.append(
                    Border(tensor.index, INPUT if writer is None else writer, group, fmt, draw(size), always)
                )
    return Costs(draw(size), {fmt: draw(size) for fmt in Format}, op_bytes, shared, shared_bytes, tuple(borders))


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


@SLOW
@given(problems(), st.floats(0, 1))
def test_milp_finds_the_best_of_all_assignments(problem: Problem, where: float) -> None:
    every = {names: (rounding_noise(problem, names), file_bytes(problem, names)) for names in all_assignments(problem)}
    sizes = sorted(size for _, size in every.values())
    budget = round(sizes[0] + where * (sizes[-1] - sizes[0]))
    best = min(noise for noise, size in every.values() if size <= budget)

    plan = assign(problem, "milp", budget)

    assert names_of(plan) in every
    assert plan.smallest_bytes == sizes[0]
    assert (plan.predicted_nmse, plan.predicted_bytes) == pytest.approx(every[names_of(plan)], rel=1e-9, abs=1e-15)
    assert plan.predicted_bytes <= budget
    assert plan.predicted_nmse == pytest.approx(best, rel=2e-5, abs=1e-12)
    assert plan.mip_gap is not None and plan.mip_gap <= 1e-3


@SLOW
@given(problems(any_target=False), st.randoms(use_true_random=False))
def test_the_program_counts_what_every_assignment_uses(problem: Problem, random) -> None:
    """Without the search around it, which finds the best plans of small networks whatever the program says."""
    if not all(offered(problem)):
        return
    problem = dataclasses.replace(problem, allowed=tuple(SCHEMES))
    options = options_of(problem)
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    try:
        stated = state_problem(
            problem.graph, noise, problem.costs, budgets=Budgets(), allowed=problem.allowed, io=problem.io,
            target=problem.target, minimise="arena_bytes",
        )  # fmt: skip
    except UsageError:
        return  # two formats that must meet cannot
    program = stated.program()
    matrix, lower, upper = program.matrix()
    rows = (sparse.vstack([-matrix, matrix]), np.concatenate([-lower, upper]))
    bounded = np.isfinite(rows[1])
    for _ in range(8):
        names = tuple(random.choice(names_of_op) for names_of_op in options)
        made = {program.choice[op, name] for op, name in enumerate(names)}
        bounds = [(float(v in made),) * 2 if v in program.choice.values() else (0, 1) for v in range(matrix.shape[1])]
        for use in MINIMISED:
            least = linprog(program.amounts[use], rows[0][bounded], rows[1][bounded], bounds=bounds)
            assert (least.status == 0) == is_plan(problem, options, names)
            if least.status != 0:
                break
            found, used = least.fun + program.constants[use], getattr(figures(problem, names), use)
            if use == "arena_bytes":
                # Memory between the tensors is no part of the program.
                occupants = stated.memory.occupants
                assert found == pytest.approx(Memory(occupants, [SCHEMES[n] for n in names]).peak - 63, rel=1e-6)
                assert found <= used * (1 + 1e-6)
            else:
                assert found == pytest.approx(used, rel=1e-7, abs=1e-12)


@SLOW
@given(problems())
def test_of_all_plans_without_error_the_smallest_is_taken(problem: Problem) -> None:
    every = {names: (rounding_noise(problem, names), file_bytes(problem, names)) for names in all_assignments(problem)}
    perfect = [size for noise, size in every.values() if noise == 0]
    plan = assign(problem, "milp", None)
    if perfect:
        assert (plan.predicted_nmse, plan.predicted_bytes) == (0.0, min(perfect))
    else:
        assert plan.predicted_nmse == pytest.approx(min(noise for noise, _ in every.values()), rel=2e-5)


@SLOW
@given(problems())
def test_budget_below_the_smallest_file_names_the_smallest_file(problem: Problem) -> None:
    smallest = min(file_bytes(problem, names) for names in all_assignments(problem))
    for strategy in ("milp", "greedy", "threshold"):
        with pytest.raises(ImpossibleBudget, match=f"{smallest} bytes"):
            assign(problem, strategy, smallest - 1)
        assert assign(problem, strategy, smallest).predicted_bytes == smallest


@SLOW
@given(problems(), st.integers(0, 3000))
def test_no_strategy_exceeds_the_budget_or_beats_the_milp(problem: Problem, above: int) -> None:
    smallest = min(file_bytes(problem, names) for names in all_assignments(problem))
    best = assign(problem, "milp", smallest + above)
    for strategy in ("greedy", "threshold"):
        plan = assign(problem, strategy, smallest + above)
        assert names_of(plan) in all_assignments(problem)
        assert plan.predicted_bytes == file_bytes(problem, names_of(plan)) <= smallest + above
        assert plan.predicted_nmse == pytest.approx(rounding_noise(problem, names_of(plan)), rel=1e-9, abs=1e-15)
        assert best.predicted_nmse <= plan.predicted_nmse * (1 + 2e-5)


@SLOW
@given(problems(), st.lists(st.integers(0, 3000), min_size=2, max_size=4))
def test_a_larger_budget_is_never_worse(problem: Problem, above: list[int]) -> None:
    smallest = min(file_bytes(problem, names) for names in all_assignments(problem))
    errors = [assign(problem, "milp", smallest + extra).predicted_nmse for extra in sorted(above)]
    assert all(later <= earlier * (1 + 2e-5) for earlier, later in itertools.pairwise(errors))


@SLOW
@given(problems())
def test_shares_of_ops_sum_to_the_error_at_its_meaning(problem: Problem) -> None:
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    for names in some(all_assignments(problem), 20):
        schemes = [SCHEMES[name] for name in names]
        expected = pytest.approx(rounding_noise(problem, names), rel=1e-9, abs=1e-15)
        assert evaluate_noise(problem.graph, noise, schemes, problem.io) == expected
        assert sum(noise_shares(problem.graph, noise, schemes, problem.io)) == expected
        assert problem.costs.total(schemes, problem.io) == file_bytes(problem, names)


@SLOW
@given(problems(), st.integers(0, 3000))
def test_the_same_problem_gives_the_same_plan(problem: Problem, above: int) -> None:
    smallest = min(file_bytes(problem, names) for names in all_assignments(problem))
    assert assign(problem, "milp", smallest + above) == assign(problem, "milp", smallest + above)


@SLOW
@given(problems(), st.sampled_from(["w4a8", "w8a8", "w8a16", "float"]))
def test_uniform_gives_every_op_the_scheme_it_has(problem: Problem, scheme: str) -> None:
    plan = assign(problem, "uniform", None, scheme=scheme)
    for op, name in zip(problem.graph.ops, names_of(plan), strict=True):
        instead = {"w4a8": ("w8a8", "float"), "w8a8": ("float",), "w8a16": ("w8a8", "float"), "float": ()}[scheme]
        assert name == next(n for n in (scheme, *instead) if n in op.schemes)


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


@SLOW
@given(limited(), st.sampled_from(MINIMISED))
def test_milp_finds_the_best_plan_within_all_limits_on_any_target(case: tuple[Problem, Budgets], goal: str) -> None:
    problem, budgets = case
    if not all(offered(problem)):
        with pytest.raises(BitplanError, match="mine cannot run"):
            assign(problem, "milp", budgets, minimise=goal)
        return
    every = {names: figures(problem, names) for names in all_assignments(problem)}
    limits = dict(budgets.limits())
    fitting = [getattr(found, goal) for found in every.values() if kept(found, limits)]
    if not fitting:
        with pytest.raises(BitplanError) as error:
            assign(problem, "milp", budgets, minimise=goal)
        if every:
            check_obstacle(error.value, list(every.values()), limits)
        return

    plan = assign(problem, "milp", budgets, minimise=goal)

    found = every[names_of(plan)]
    assert kept(found, limits)
    assert dataclasses.astuple(plan_figures(plan)) == pytest.approx(dataclasses.astuple(found), rel=1e-9, abs=1e-15)
    assert getattr(found, goal) == pytest.approx(min(fitting), rel=2e-4, abs=PADDING[goal])
    assert plan.mip_gap is not None and plan.mip_gap <= 1e-3


def check_obstacle(error: BitplanError, every: list[Figures], limits: dict[str, float]) -> None:
    """The limit that it names is the first without which the others hold, and its value is the least that will do."""
    assert isinstance(error, ImpossibleBudget)
    names = list(limits)
    for name in names:
        others = {other: limit for other, limit in limits.items() if other != name}
        values = [getattr(found, name) for found in every if kept(found, others)]
        if values:
            break
    else:
        for count, name in enumerate(names):
            before = {other: limits[other] for other in names[:count]}
            values = [getattr(found, name) for found in every if kept(found, before)]
            if min(values) > limits[name]:
                break
    assert error.limit == name
    assert error.smallest == pytest.approx(min(values), rel=1e-5, abs=PADDING[name])


def plan_figures(plan) -> Figures:
    return Figures(
        plan.predicted_nmse, plan.predicted_bytes, plan.predicted_arena_bytes, plan.predicted_latency,
        plan.predicted_bops,
    )  # fmt: skip


@SLOW
@given(limited(), st.sampled_from(["milp", "greedy", "threshold", "uniform"]), st.sampled_from(MINIMISED))
def test_no_strategy_exceeds_any_limit_or_takes_what_the_target_lacks(case, strategy: str, goal: str) -> None:
    problem, budgets = case
    try:
        plan = assign(problem, strategy, budgets, minimise=goal)
    except BitplanError:
        return  # when the program finds none there is none: see above
    found = figures(problem, names_of(plan))
    assert kept(found, dict(budgets.limits()))
    assert all(name in there for name, there in zip(names_of(plan), offered(problem), strict=True))
    assert dataclasses.astuple(plan_figures(plan)) == pytest.approx(dataclasses.astuple(found), rel=1e-9, abs=1e-15)


@SLOW
@given(limited(), st.floats(1, 3))
def test_any_larger_limit_is_never_worse(case, factor: float) -> None:
    problem, budgets = case
    try:
        tight = assign(problem, "milp", budgets)
    except BitplanError:
        return
    for limit, before in budgets.limited("noise", None).limits().items():
        wide = assign(problem, "milp", budgets.limited(limit, before * factor))
        assert wide.predicted_nmse <= tight.predicted_nmse * (1 + 2e-4), limit


@SLOW
@given(problems(7), st.sampled_from(MEMORY_SCHEMES), st.floats(0, 1), st.sampled_from(["noise", "arena_bytes"]))
def test_milp_finds_the_best_plan_where_the_arena_has_gaps(problem: Problem, allowed, where: float, goal: str) -> None:
    problem = dataclasses.replace(problem, allowed=allowed)
    every = {names: (rounding_noise(problem, names), arena_bytes(problem, names)) for names in all_assignments(problem)}
    noises, arenas = (sorted({found[i] for found in every.values()}) for i in (0, 1))
    if goal == "noise":
        limit = arenas[int(where * (len(arenas) - 1))]
        plan = assign(problem, "milp", Budgets(arena_bytes=limit))
        best = min(noise for noise, arena in every.values() if arena <= limit)
        assert plan.predicted_nmse == pytest.approx(best, rel=2e-4, abs=1e-12)
        assert plan.predicted_arena_bytes <= limit
    else:
        limit = noises[int(where * (len(noises) - 1))] * (1 + 1e-6) + 1e-12
        plan = assign(problem, "milp", Budgets(noise=limit), minimise=goal)
        least = min(arena for noise, arena in every.values() if noise <= limit)
        assert plan.predicted_arena_bytes == pytest.approx(least, abs=PADDING[goal])
        assert plan.predicted_nmse <= limit
    assert plan.predicted_arena_bytes == every[names_of(plan)][1]
    assert plan.mip_gap is not None and plan.mip_gap <= 1e-3


@SLOW
@given(problems(8), st.sampled_from(MEMORY_SCHEMES))
def test_plans_that_lie_in_memory_alike_are_as_high(problem: Problem, allowed: tuple[str, ...]) -> None:
    problem = dataclasses.replace(problem, allowed=allowed)
    every = {names: arena_bytes(problem, names) for names in some(all_assignments(problem), 64)}
    memory = MemoryModel(problem.graph, schemes_for_ops(problem.graph, allowed), problem.io)
    for names, height in every.items():
        stack = memory.stack([SCHEMES[name] for name in names])
        for others, found in every.items():
            if all((SCHEMES[others[op]].format, SCHEMES[others[op]].is_split) in stack[op] for op in stack):
                assert found >= height


@SLOW
@given(limited(), st.sampled_from(pareto.ALONG))
def test_frontier_is_the_best_at_each_point_and_on_or_below_every_baseline(case, along: str) -> None:
    problem, budgets = case
    budgets = budgets.limited(along, None).limited("noise", None)
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    given_ = {
        "along": along, "budgets": budgets, "allowed": problem.allowed, "io": problem.io, "target": problem.target,
        "points": 8,
    }  # fmt: skip
    fitting = []
    if all(offered(problem)):
        every = [figures(problem, names) for names in all_assignments(problem)]
        fitting = [found for found in every if kept(found, dict(budgets.limits()))]
    if not fitting:
        with pytest.raises(BitplanError):
            pareto.frontier_beside_baselines(problem.graph, noise, problem.costs, **given_)
        return

    points, rivals = pareto.frontier_beside_baselines(problem.graph, noise, problem.costs, **given_)

    found = [plan_figures(plan) for plan in points]
    for point in found:
        best = min(other.noise for other in fitting if getattr(other, along) <= getattr(point, along) * (1 + 1e-9))
        assert point.noise == pytest.approx(best, rel=2e-4, abs=1e-12)
    for smaller, larger in itertools.pairwise(found):
        assert getattr(smaller, along) < getattr(larger, along) and smaller.noise > larger.noise
    least, best = min(getattr(other, along) for other in fitting), min(other.noise for other in fitting)
    assert getattr(found[0], along) == pytest.approx(least, rel=1e-5, abs=PADDING[along])
    assert found[-1].noise == pytest.approx(best, rel=2e-4, abs=1e-12)
    for rival in rivals:
        assert rival.frontier_noise is not None, rival.name
        assert rival.frontier_noise <= rival.noise * (1 + 2e-4) + 1e-12, rival.name
        assert rival.frontier_amount <= rival.amount * (1 + 1e-9)


@SLOW
@given(limited())
def test_explanations_are_differences_of_whole_plans(case) -> None:
    problem, budgets = case
    noise = build_noise(problem.graph, problem.table, per_channel=problem.target.per_channel)
    try:
        plan = assign(problem, "milp", budgets)
    except BitplanError:
        return
    reasons = explain(problem.graph, noise, problem.costs, plan, target=problem.target)
    now = plan_figures(plan)
    every = set(all_assignments(problem))
    for index, reason in enumerate(reasons):
        for other in (reason.cheaper, reason.next_best):
            names = [*names_of(plan)[:index], other.scheme, *names_of(plan)[index + 1 :]] if other else []
            if tuple(names) not in every:
                continue  # there is none, or movement ops go along
            then = figures(problem, tuple(names))
            assert other.noise_change == pytest.approx(then.noise - now.noise, rel=1e-6, abs=1e-9)
            assert other.bytes_change == then.file_bytes - now.file_bytes
            assert other.latency_change == pytest.approx(then.latency - now.latency, rel=1e-6, abs=1e-9)
            assert other.fits == kept(then, dict(budgets.limits()))
        assert reason.cheaper is None or reason.cheaper.bytes_change < 0
    assert math.fsum(reason.noise for reason in reasons) == pytest.approx(now.noise, rel=1e-9, abs=1e-15)

"""Plans against brute force: every assignment of small random networks, priced by what happens to each tensor.

Nothing here uses the planner's own evaluation: noise is read from the raw measurements by asking where a value is
rounded, bytes by asking what stands in the file.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
from bitplan.analyzer.conversion.costs import Border, Costs
from bitplan.analyzer.errors import ImpossibleBudget
from bitplan.analyzer.schema import (
    SCHEMES,
    Format,
    Graph,
    Measurement,
    Op,
    OutputError,
    SensitivityTable,
    Source,
    Tensor,
)
from bitplan.strategies.assignment import STRATEGIES
from bitplan.strategies.assignment.noise import build_noise, evaluate_noise, noise_shares
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INPUT, OUTPUT = -1, -2
BITS = {Format.INT8: 8, Format.INT16: 16, Format.FLOAT: 32}
KINDS = {
    "CONV_2D": ("w4a8", "w4a16", "w8a8", "w8a16", "w16a8", "w16a16", "float"),
    "DEPTHWISE_CONV_2D": ("w8a8", "w8a16", "w16a8", "w16a16", "float"),
    "ADD": ("w8a8", "w8a16", "float"),
    "MUL": ("w8a8", "w8a16", "float"),
    "RESHAPE": ("w8a8", "w8a16", "float"),
    "SPACE_TO_DEPTH": ("w8a8", "float"),
    "HARD_SWISH": ("w8a8", "float"),
    "RELU6": ("float",),
}
MOVES = ("RESHAPE", "SPACE_TO_DEPTH")


@dataclass(frozen=True)
class Problem:
    graph: Graph
    table: SensitivityTable
    costs: Costs
    allowed: tuple[str, ...]
    io: Format


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    count = draw(st.integers(1, 5))
    allowed = tuple(draw(st.lists(st.sampled_from(list(SCHEMES)), min_size=1, max_size=4, unique=True)))
    io = draw(st.sampled_from(list(Format)))
    tensors = [Tensor(0, "in", (1, 4), "float32")]
    available, ops = [0], []
    for index in range(count):
        opcode = draw(st.sampled_from(list(KINDS)))
        data = [draw(st.sampled_from(available)) for _ in range(2 if opcode == "ADD" else 1)]
        weights = constant = None
        if "CONV" in opcode:
            weights = len(tensors)
            tensors.append(Tensor(weights, f"w{index}", (4, 4), "float32", buffer=1 + draw(st.integers(0, 2))))
        elif opcode == "MUL":
            constant = len(tensors)
            tensors.append(Tensor(constant, f"c{index}", (1, 4), "float32", buffer=10 + index))
        out = len(tensors)
        tensors.append(Tensor(out, f"t{index}", (1, 4), "float32"))
        available.append(out)
        inputs = (*data, *(t for t in (weights, constant) if t is not None))
        constants = () if constant is None else (constant,)
        key = f"{index}:{opcode}"
        ops.append(Op(index, key, opcode, f"t{index}", inputs, (out,), weights, None, constants, schemes=KINDS[opcode]))
    extra = draw(st.sampled_from(available))
    outputs = tuple(dict.fromkeys((available[-1], extra)))
    graph = Graph(tuple(tensors), tuple(ops), (0,), outputs, outputs, False, "digest", 1000)
    return Problem(graph, draw(_tables(graph)), draw(_costs(graph)), allowed, io)


@st.composite
def _tables(draw: st.DrawFn, graph: Graph) -> SensitivityTable:
    level = st.one_of(st.just(0.0), st.floats(1e-6, 1.0), st.floats(-1e-9, 1e-3))
    sources = []
    for op in graph.ops:
        if op.weights is not None:
            sources += [Source("weights", v, op.outputs[0], op=op.index) for v in ("w4", "w8", "w16a8", "w16a16")]
        if op.constants:
            sources += [Source("weights", v, op.outputs[0], op=op.index) for v in ("c8", "c16")]
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
    return SensitivityTable(measurements, (), None, (1.0,), 1, "data", "digest")


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
            total.append(raw[f"weights:{op.outputs[0]}:{variant}"])
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


def all_assignments(problem: Problem) -> list[tuple[str, ...]]:
    """Every assignment that a plan may be: allowed schemes, and movement ops in the format of what they move."""
    graph = problem.graph
    options = []
    for op in graph.ops:
        names = [name for name in op.schemes if name in problem.allowed]
        options.append(names or (["w8a8"] if "w8a8" in op.schemes else ["float"]))

    def keeps_format(names: tuple[str, ...]) -> bool:
        for op in graph.ops:
            if op.opcode in MOVES:
                writer = graph.producer(op.inputs[0])
                moved = problem.io if writer is None else SCHEMES[names[writer]].format
                if moved in {SCHEMES[n].format for n in options[op.index]} and SCHEMES[names[op.index]].format != moved:
                    return False
        return True

    return [names for names in itertools.product(*options) if keeps_format(names)]


def assign(problem: Problem, strategy: str, budget: int | None, **options: str):
    noise = build_noise(problem.graph, problem.table)
    return STRATEGIES[strategy](
        problem.graph, noise, problem.costs, budget_bytes=budget, allowed=problem.allowed, io=problem.io, **options
    )


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
    noise = build_noise(problem.graph, problem.table)
    for names in all_assignments(problem)[:20]:
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

"""Small random networks with sensitivities and costs, and random targets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from bitplan.analyzer.conversion.costs import Border, Costs
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
from bitplan.strategies.targets import load_target
from hypothesis import strategies as st

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

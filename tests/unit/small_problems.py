"""Networks in a row whose sensitivities and sizes can be worked out by hand, and plans for them."""

from __future__ import annotations

from bitplan.analyzer.conversion.costs import Border, Costs
from bitplan.analyzer.network.wiring import INPUT, OUTPUT
from bitplan.analyzer.schema import (
    DEFAULT_ALLOWED,
    SCHEMES,
    Format,
    Graph,
    Measurement,
    Op,
    OutputError,
    Plan,
    SensitivityTable,
    Source,
    Tensor,
)
from bitplan.strategies.assignment import STRATEGIES
from bitplan.strategies.assignment.budgets import Budgets
from bitplan.strategies.assignment.noise import build_noise
from bitplan.strategies.targets import load_target

CONV = ("w4a8", "w8a8", "w8a16", "w16a8", "w16a16", "float")
DEPTHWISE = ("w8a8", "w8a16", "w16a8", "w16a16", "float")
PLAIN = ("w8a8", "w8a16", "float")
ANY = load_target("any")
WEIGHT_BYTES = 1000
BORDER_BYTES = 100


def chain(*kinds: tuple[str, tuple[str, ...]]) -> Graph:
    """Ops in a row; op i reads tensor i and writes tensor i + 1, weights come behind."""
    count = len(kinds)
    tensors = [Tensor(i, f"t{i}", (1, 8), "float32") for i in range(count + 1)]
    ops = []
    for index, (opcode, schemes) in enumerate(kinds):
        weights = None
        inputs: tuple[int, ...] = (index,)
        if "CONV" in opcode:
            weights = len(tensors)
            tensors.append(Tensor(weights, f"w{index}", (8, 8), "float32", buffer=1 + index))
            inputs = (index, weights)
        ops.append(Op(index, f"{index}:{opcode}", opcode, f"l{index}", inputs, (index + 1,), weights, schemes=schemes))
    return Graph(tuple(tensors), tuple(ops), (0,), (count,), (count,), False, "digest", 10_000)


def table(graph: Graph, **errors: float) -> SensitivityTable:
    """Every source the ops need: 1e-4 in 8 bits, 1e-8 in 16, 1e-2 in 4; `weights_1_w8=0.5` overrides one."""
    level = {"w4": 1e-2, "w8": 1e-4, "w16a8": 1e-6, "w16a16": 1e-8, "a8": 1e-4, "a16": 1e-8}
    sources = [Source("input", v, t) for t in graph.inputs for v in ("a8", "a16")]
    for op in graph.ops:
        if op.weights is not None:
            sources += [Source("weights", v, op.outputs[0], op.index) for v in ("w4", "w8", "w16a8", "w16a16")]
        sources += [Source("activation", v, op.outputs[0], op.index) for v in ("a8", "a16")]
    measurements = []
    for source in sources:
        name = f"{source.part}_{source.tensor if source.op is None else source.op}_{source.variant}"
        nmse = errors.pop(name, level[source.variant])
        measurements.append(Measurement(source, OutputError(nmse, 0.0, 40.0, 8), nmse))
    assert not errors
    return SensitivityTable(tuple(measurements), (), None, (1.0,), 8, "data", graph.digest)


def costs(graph: Graph) -> Costs:
    """1000 weights an op, 100 bytes a border, 500 bytes of everything else."""
    op_bytes = {
        (op.index, name): WEIGHT_BYTES * SCHEMES[name].weight_bits // 8 if op.weights is not None else 0
        for op in graph.ops
        for name in op.schemes
    }
    ends = [(0, INPUT), *((op.outputs[0], op.index) for op in graph.ops)]
    borders = [
        Border(tensor, writer, graph.consumers(tensor) or (OUTPUT,), fmt, BORDER_BYTES)
        for tensor, writer in ends
        for fmt in Format
    ]
    return Costs(500, dict.fromkeys(Format, 0), op_bytes, {}, {}, tuple(borders))


def plan(graph: Graph, sensitivities: SensitivityTable, budget: int | None, allowed=DEFAULT_ALLOWED, **options) -> Plan:
    strategy = options.pop("strategy", "milp")
    io = options.pop("io", Format.FLOAT)
    noise, budgets = build_noise(graph, sensitivities), Budgets(file_bytes=budget)
    return STRATEGIES[strategy](
        graph, noise, costs(graph), budgets=budgets, allowed=allowed, io=io, target=ANY, **options
    )  # fmt: skip


THREE = chain(("CONV_2D", CONV), ("DEPTHWISE_CONV_2D", DEPTHWISE), ("CONV_2D", CONV))

"""Times the planner on a random network of 1000 ops with 6 schemes each, and compares its plans with greedy ones.

    python benchmarks/planner.py [--ops 1000] [--seed 0] [--json planner.json]

The networks exist on paper alone: blocks of convolutions with residual adds on top, sensitivities and sizes drawn at
random. Prints one JSON document. `seconds` is one call of the planner, from measured sensitivities and file costs to
the plan, `cpu_seconds` what the processor spent on it (the same on an idle machine); the best of three.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import time
from collections.abc import Sequence
from typing import Any

from bitplan.analyzer.conversion.costs import Costs, find_borders
from bitplan.analyzer.network.wiring import wire
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

_RUNS = 3
_LEVELS = {"w4": 1e-3, "w8": 1e-5, "w16a8": 2e-7, "w16a16": 1e-9, "a8": 1e-5, "a16": 1e-9}
"""Typical nmse of a source; drawn up to a factor of some 30 around it."""

_CASES: tuple[tuple[str, float, dict[str, float]], ...] = (
    ("any", 1.0, {"file_bytes": 0.8}),
    ("any", 1.0, {"file_bytes": 1.03}),
    ("litert-cpu", 1.0, {"file_bytes": 1.03, "latency": 1.3}),
    ("any", 0.1, {"file_bytes": 1.03, "arena_bytes": 1.2}),
)
"""Targets, shares of the ops, and budgets in multiples of what int8 everywhere uses.

With a budget on the arena a tenth of the ops is as hard: the relaxed program mixes regions whose whole would not fit.
"""


def random_network(ops: int, seed: int) -> Graph:
    """A network of `ops` convolutions that have all schemes, with a residual add behind every fourth.

    Activations get smaller on the way, in five stages, as in networks for images.

    Args:
      ops: Convolutions.
      seed: Of the channels.
    """
    draw = random.Random(seed)
    tensors = [Tensor(0, "input", (1, 64, 64, 3), "float32")]
    found: list[Op] = []

    def add(opcode: str, shape: tuple[int, ...], inputs: tuple[int, ...], weights: int | None, macs: int) -> int:
        index, output = len(found), len(tensors)
        tensors.append(Tensor(output, f"t{index}", shape, "float32"))
        schemes = DEFAULT_ALLOWED if weights else ("w8a8", "w8a16", "float")
        key, layer = f"{index}:{opcode}", f"{opcode.lower()}_{index}"
        found.append(Op(index, key, opcode, layer, inputs, (output,), weights, macs=macs, schemes=schemes))
        return output

    current = skip = 0
    for number in range(ops):
        side, channels = 64 >> (5 * number // ops), 16
        if number % 4 != 3:
            channels = draw.choice([24, 48, 96])
        weights, previous = len(tensors), tensors[current].shape[3]
        tensors.append(Tensor(weights, f"w{number}", (channels, 1, 1, previous), "float32", buffer=number + 1))
        macs = side * side * channels * previous
        current = add("CONV_2D", (1, side, side, channels), (current, weights), weights, macs)
        if number % 4 == 3:
            if tensors[skip].shape == tensors[current].shape:
                current = add("ADD", tensors[current].shape, (skip, current), None, 0)
            skip = current
    return Graph(tuple(tensors), tuple(found), (0,), (current,), (current,), False, f"random {ops} {seed}", 0)


def random_table(graph: Graph, seed: int) -> SensitivityTable:
    """Sensitivities of all sources, log-normal around `_LEVELS`."""
    draw = random.Random(seed + 1)
    measurements = []

    def measure(variants: Sequence[str], part: str, tensor: int, op: int | None, reader: int | None = None) -> None:
        worth = draw.lognormvariate(0, 1.7)
        for variant in variants:
            nmse = _LEVELS[variant] * worth * draw.lognormvariate(0, 0.5)
            source = Source(part, variant, tensor, op, reader)
            measurements.append(Measurement(source, OutputError(nmse, 0.0, 0.0, 1), nmse))

    wiring = wire(graph)
    for op in graph.ops:
        if op.weights is not None:
            measure(("w4", "w8", "w16a8", "w16a16"), "weights", op.outputs[0], op.index)
    for tensor, readers in wiring.readers.items():
        writer = graph.producer(tensor)
        measure(("a8", "a16"), "input" if writer is None else "activation", tensor, writer)
        for reader in readers if len(readers) > 1 else ():
            measure(("a8", "a16"), "edge", tensor, writer, reader)
    return SensitivityTable(tuple(measurements), (), None, (1.0,), 1, "random", graph.digest)


def random_costs(graph: Graph, seed: int) -> Costs:
    """File bytes: 200 to 40 000 weights an op."""
    draw = random.Random(seed + 2)
    op_bytes = {}
    for op in graph.ops:
        count = int(200 * 200 ** draw.random()) if op.weights is not None else 0
        for name in op.schemes:
            scheme = SCHEMES[name]
            op_bytes[op.index, name] = count * scheme.weight_bits // 8 + (900 if scheme.is_split else 40)
    return Costs(5000, dict.fromkeys(Format, 0), op_bytes, {}, {}, tuple(find_borders(graph, wire(graph))))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--ops", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, help="also write the document here")
    given = parser.parse_args(arguments)

    cases = [_case(name, max(4, round(share * given.ops)), given.seed, budgets) for name, share, budgets in _CASES]
    document = json.dumps({"schemes": len(DEFAULT_ALLOWED), "cases": cases}, indent=2)
    print(document)
    if given.json:
        given.json.write_text(document + "\n", encoding="utf-8")


def _case(name: str, ops: int, seed: int, shares: dict[str, float]) -> dict[str, Any]:
    target = load_target(name)
    graph = random_network(ops, seed)
    noise, costs = build_noise(graph, random_table(graph, seed)), random_costs(graph, seed)

    def plan(strategy: str, budgets: Budgets, **options: Any) -> Plan:
        return STRATEGIES[strategy](
            graph, noise, costs, budgets=budgets, allowed=DEFAULT_ALLOWED, io=Format.FLOAT, target=target, **options
        )

    int8 = plan("uniform", Budgets(), scheme="w8a8")
    used = {
        "file_bytes": int8.predicted_bytes, "latency": int8.predicted_latency, "arena_bytes": int8.predicted_arena_bytes
    }  # fmt: skip
    whole = ("file_bytes", "arena_bytes")
    limits = {key: (int if key in whole else float)((used[key] or 0) * share) for key, share in shares.items()}
    seconds = []
    for _ in range(_RUNS):
        start, busy = time.perf_counter(), time.process_time()
        best = plan("milp", Budgets(**limits))
        seconds.append((time.perf_counter() - start, time.process_time() - busy))
    greedy = plan("greedy", Budgets(**limits))
    return {
        "target": name,
        "ops": len(graph.ops),
        "budgets_of_int8": shares,
        "seconds": round(min(wall for wall, _ in seconds), 2),
        "cpu_seconds": round(min(busy for _, busy in seconds), 2),
        "mip_gap": best.mip_gap,
        "status": best.status,
        "noise": best.predicted_nmse,
        "greedy_noise_ratio": round(greedy.predicted_nmse / best.predicted_nmse, 4),
        "int8_noise_ratio": round(int8.predicted_nmse / best.predicted_nmse, 4),
    }


if __name__ == "__main__":
    main()

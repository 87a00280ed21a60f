"""What the rivals have in common: running a file over the images, and ranking layers by what was found."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network import runtime
from bitplan.analyzer.schema import Graph, Op

CORES = 2


@dataclass
class Seconds:
    """Where the time of some files went: making them, loading them, running them."""

    quantize: float = 0.0
    load: float = 0.0
    run: float = 0.0

    def total(self, run_factor: float = 1.0) -> float:
        """All of it, with `run_factor` times as many images."""
        return self.quantize + self.load + self.run * run_factor


def run(model: bytes, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, Seconds]:
    """First output for every image [n, ...] as float32, on an interpreter for each core."""
    bounds = np.linspace(0, len(inputs[0]), CORES + 1).astype(int)

    def part(runner: runtime.Runner, start: int, stop: int) -> list[np.ndarray]:
        return [runtime.run_one(runner, [array[i] for array in inputs])[0] for i in range(start, stop)]

    with ThreadPoolExecutor(CORES) as pool:
        start = time.perf_counter()
        runners = list(pool.map(runtime.Runner, [model] * CORES))
        loaded = time.perf_counter()
        rows = [row for rows in pool.map(part, runners, bounds[:-1], bounds[1:]) for row in rows]
        return np.stack(rows), Seconds(load=loaded - start, run=time.perf_counter() - loaded)


def mse(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Mean squared error over all images and outputs, summed in float64."""
    return float(np.mean((outputs.astype(np.float64) - reference) ** 2))


def at_logits(data: bytes) -> bytes:
    """The network, float or quantized, without a closing SOFTMAX and what follows it; any other one as it is."""
    model = fb.read(data)
    subgraph = model.subgraphs[0]
    kinds = [fb.opcode_name(model, op) for op in subgraph.operators]
    if len(subgraph.outputs) != 1 or "SOFTMAX" not in kinds[-2:]:  # a DEQUANTIZE may stand behind it
        return data
    place = len(kinds) - 1 - kinds[::-1].index("SOFTMAX")
    logits = int(subgraph.operators[place].inputs[0])
    subgraph.operators, subgraph.outputs = subgraph.operators[:place], [logits]
    for signature in model.signatureDefs or []:
        signature.outputs[0].tensorIndex = logits
    return fb.write(model)


def layer_of(graph: Graph, tensor: str | None) -> str | None:
    """Layer of the op whose output has that name or, as names differ between conversions, shares most parts with it."""
    parts = _parts(tensor or "")

    def shared(op: Op) -> float:
        name = graph.tensors[op.outputs[0]].name
        return 2.0 if name == tensor else len(_parts(name) & parts) / max(len(_parts(name) | parts), 1)

    best = max(graph.ops, key=shared)
    return best.layer if shared(best) > 0 else None


def _parts(name: str) -> set[str]:
    """What a tensor's name is joined from; an output's number (`StatefulPartitionedCall_1:0`) is left out."""
    return {re.sub(r"(_\d+)?:\d+$", "", part) for part in name.split(";")} - {""}


def rank_of(errors: Mapping[str, float], layer: str | None) -> int | None:
    """Place of a layer, 1 for the largest error; None where it was not measured."""
    if layer is None or layer not in errors:
        return None
    return 1 + sum(error > errors[layer] for error in errors.values())


def ranking(errors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Layers with their errors, largest first, as plain data."""
    return [{"layer": layer, "error": errors[layer]} for layer in sorted(errors, key=lambda name: -errors[name])]


def say(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)

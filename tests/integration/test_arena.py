"""Predicted arenas against what LiteRT's planner allocates for files that are really emitted.

The ranges given to the converter are made up: memory does not depend on them.
"""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable

import numpy as np
import pytest
from bitplan.analyzer.conversion.activations import Emission
from bitplan.analyzer.conversion.arena import Arena, build_arena
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.placement import ALIGNMENT
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.runtime import arena_bytes
from bitplan.analyzer.schema import SCHEMES, Calibration, Format, Graph, Histogram, Plan, Range
from small_networks import Network

pytestmark = pytest.mark.slow

GAPS = 0.4
"""Share of the arena by which `peak` may lie below it, because of the gaps that LiteRT's planner leaves."""

PlanOf = tuple[list[str], Format]


def calibration(graph: Graph) -> Calibration:
    activations = {t for op in graph.ops for t in (*graph.activations_in(op), *graph.activations_out(op))}
    histogram = Histogram(0, 1.0, (1,))
    ranges = {t: Range(t, -1.0 - t / 64, 2.0 + t / 32, histogram, 0.0, 1.0) for t in {*activations, *graph.inputs}}
    sums = {op.index: ((-3.0, 3.0), (-0.1, 0.1)) for op in graph.ops if op.weights is not None}
    return Calibration(ranges, sums, 1, "made up")


def everywhere(graph: Graph, name: str) -> list[str]:
    """The scheme for every op that has it, 8-bit weights in its format for the others, float for the rest."""
    plain = f"w8a{SCHEMES[name].format.bits}"
    return [next((s for s in (name, plain) if s in op.schemes), "float") for op in graph.ops]


def plans(graph: Graph, count: int) -> list[PlanOf]:
    """Uniform ones, islands and splits among int8, and `count` random ones."""
    found = [(everywhere(graph, name), io) for name in SCHEMES for io in (Format.INT8, Format.FLOAT)]
    weighted = [op for op in graph.ops if op.weights is not None]
    for op in weighted[:4]:
        for name in ("float", "w16a16", "w16a8", "w8a16"):
            if name in op.schemes:
                names = everywhere(graph, "w8a8")
                names[op.index] = name
                found.append((names, Format.INT8))
    for seed in range(count):
        draw = random.Random(seed)
        found.append(([draw.choice(op.schemes) for op in graph.ops], draw.choice(list(Format))))
    return found


def emitted(data: bytes, graph: Graph, plan: PlanOf) -> bytes:
    ranges = calibration(graph)
    return convert(data, graph, ranges, Plan.bare(graph, *plan)).model


def figures(arena: Arena, plan: PlanOf) -> tuple[int, int]:
    schemes = [SCHEMES[name] for name in plan[0]]
    return arena.packed(schemes, plan[1]), arena.peak(schemes, plan[1])


def check(data: bytes, count: int, *, above: float = 0.0) -> None:
    """`above`: share by which `peak` may exceed the arena; it may by one alignment in any case."""
    graph = build_graph(data)
    arena = build_arena(graph)
    for plan in plans(graph, count):
        measured = arena_bytes(emitted(data, graph, plan))
        packed, peak = figures(arena, plan)
        assert packed == measured, plan
        assert (1 - GAPS) * measured <= peak < (1 + above) * measured + ALIGNMENT, plan


def test_arena_of_demo_plans_is_predicted_to_the_byte(demo_model: bytes) -> None:
    check(demo_model, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "mobilenetv2_cifar10_96.tflite",
        "public/resnet8_cifar10_float.tflite",
        "public/hand_landmark_fp16_no_signature.tflite",
        "public/iris_landmark_prelu_no_signature.tflite",
        "public/conv_fc_mnist.tflite",
        "public/two_inputs_concatenation.tflite",
        "public/single_add.tflite",
    ],
)
def test_arena_of_real_models_is_predicted_to_the_byte(shared: pathlib.Path, path: str) -> None:
    check(load_float(shared / "models" / path).flatbuffer, 8)


def operations(data: bytes) -> list[tuple[str, list[tuple[int, ...]]]]:
    """(opcode, elements of what it reads and writes of activations) of every op of a file; borders are all QUANTIZE."""
    model = fb.read(data)
    tensors = model.subgraphs[0].tensors

    def of(indices: list[int]) -> tuple[int, ...]:
        known = [int(t) for t in indices if t >= 0 and fb.constant(model, tensors[t]) is None]
        return tuple(int(np.prod(tensors[t].shape)) * np.dtype(fb.dtype_name(tensors[t])).itemsize for t in known)

    names = [fb.opcode_name(model, op).replace("DEQUANTIZE", "QUANTIZE") for op in model.subgraphs[0].operators]
    return [(n, [of(op.inputs), of(op.outputs)]) for n, op in zip(names, model.subgraphs[0].operators, strict=True)]


def test_the_emitted_ops_are_the_predicted_ones_in_order(demo_model: bytes) -> None:
    graph = build_graph(demo_model)
    emission: Emission = build_arena(graph).emission
    for plan in plans(graph, 5):
        schemes = [SCHEMES[name] for name in plan[0]]
        sizes = emission.ends(schemes, plan[1])[2]
        predicted = [
            (c.opcode, [tuple(sizes[t] for t in c.reads if t is not None), tuple(sizes[t] for t in c.writes)])
            for c in emission.calls(schemes, plan[1])
        ]
        assert predicted == operations(emitted(demo_model, graph, plan))


def joined(network: Callable[[], Network]) -> bytes:
    """Branches that meet in ADD, MUL and CONCATENATION, a RESHAPE, a product of matrices, several outputs."""
    net = network()
    given = net.input("x", (1, 24, 40))
    scaled = net.constant("k", np.linspace(0.5, 2, 40, dtype=np.float32))
    a = net.op("MUL", [given, scaled], [net.tensor("a", (1, 24, 40))])
    b = net.op("ADD", [a, scaled], [net.tensor("b", (1, 24, 40))])
    c = net.op("ADD", [a, b], [net.tensor("c", (1, 24, 40))])
    flat = net.op("RESHAPE", [c, net.constant("s", np.array([1, 40, 24], np.int32))], [net.tensor("f", (1, 40, 24))])
    product = net.op("BATCH_MATMUL", [b, flat], [net.tensor("p", (1, 24, 24))])
    sums = net.op("SOFTMAX", [product], [net.tensor("q", (1, 24, 24))])
    both = net.op("CONCATENATION", [sums, product], [net.tensor("r", (1, 48, 24))], axis=1)
    total = net.op("ADD", [c, a], [net.tensor("t", (1, 24, 40))])
    return net.build([both, total])


def test_arena_of_branches_that_meet_is_predicted_to_the_byte(network: Callable[[], Network]) -> None:
    # A reshaped tensor that others read is counted twice, and all scratch memory of a product of matrices.
    check(joined(network), 30, above=0.2)

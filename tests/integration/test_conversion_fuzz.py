"""Made-up networks under made-up plans: shared tensors, unread ones, outputs in the middle, formats mixed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.type_check import check_types
from bitplan.analyzer.schema import Format, Plan

WIDTH = 8
KINDS = [
    "ADD", "ADD", "MUL", "ADD constant", "dense", "dense", "shared dense", "CONCATENATION", "CONCATENATION constant",
    "RESHAPE", "SOFTMAX", "LOGISTIC", "TANH",
]  # fmt: skip


def make(network, choose):
    """A network of two to nine layers on vectors of eight, with one to four outputs."""
    values = np.random.default_rng(choose.randrange(10**9))

    def noise(*shape):
        return (0.4 * values.normal(size=shape)).astype(np.float32)

    net = network()
    pool = [net.input(f"in{k}", (1, WIDTH)) for k in range(choose.choice([1, 1, 2]))]
    inputs, middle = list(pool), []
    shared, constant = net.constant("shared", noise(WIDTH, WIDTH)), net.constant("constant", noise(WIDTH))
    for k in range(choose.randint(2, 9)):
        kind = choose.choice(KINDS)
        a, b, clamp = choose.choice(pool), choose.choice(pool), choose.choice([0, 0, 1, 3])
        written = net.tensor(f"t{k}", (1, WIDTH))
        if kind in ("ADD", "MUL"):
            net.op(kind, [a, b], [written], fusedActivationFunction=clamp)
        elif kind == "ADD constant":
            net.op("ADD", [a, constant], [written], fusedActivationFunction=clamp)
        elif kind == "dense":
            weights, bias = net.constant(f"w{k}", noise(WIDTH, WIDTH)), net.constant(f"b{k}", noise(WIDTH))
            net.op("FULLY_CONNECTED", [a, weights, bias], [written], fusedActivationFunction=clamp)
        elif kind == "shared dense":
            net.op("FULLY_CONNECTED", [a, shared, -1], [written], fusedActivationFunction=clamp)
        elif kind.startswith("CONCATENATION"):
            joined = net.tensor(f"c{k}", (1, 2 * WIDTH))
            second = net.constant(f"q{k}", noise(1, WIDTH)) if kind.endswith("constant") else b
            net.op("CONCATENATION", [a, second], [joined], axis=1)
            net.op("FULLY_CONNECTED", [joined, net.constant(f"w{k}", noise(WIDTH, 2 * WIDTH)), -1], [written])
            middle += [joined] if choose.random() < 0.3 else []
        elif kind == "RESHAPE":
            net.op("RESHAPE", [a, net.constant(f"s{k}", np.array([1, WIDTH], np.int32))], [written])
        else:
            net.op(kind, [a], [written])
        pool.append(written)
    made = [t for t in pool if t not in inputs]
    outputs = list(dict.fromkeys([*middle, *choose.sample(made, min(len(made), choose.randint(1, 3))), made[-1]]))
    choose.shuffle(outputs)
    return net.build(outputs), len(inputs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_mixed_plans_of_made_up_networks_hold_and_stay_close_to_float(network, calibrated, interpret, sqnr_db, seed):
    choose = random.Random(seed)
    data, count = make(network, choose)
    samples = [[np.random.default_rng(9 * k + j).normal(size=(1, WIDTH)).astype(np.float32) for j in range(count)]
               for k in range(6)]  # fmt: skip
    graph, calibration = calibrated(data, samples)
    reference = interpret(data, samples)
    for least_db, formats in ((12, list(Format)), (30, [Format.INT16, Format.FLOAT])):
        for _ in range(3):
            fine = [[s for s in op.schemes if not s.startswith("w4")] for op in graph.ops]
            if Format.INT8 not in formats:
                fine = [[s for s in names if s in ("w8a16", "w16a16", "float")] for names in fine]
            plan = Plan.bare(graph, [choose.choice(names) for names in fine], choose.choice(formats))
            model = convert(data, graph, calibration, plan).model
            assert check_types(model, graph, plan) == ()
            found = interpret(model, samples)
            for k in range(len(graph.outputs)):
                assert sqnr_db([[row[k]] for row in reference], [[row[k]] for row in found]) > least_db

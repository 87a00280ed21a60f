"""Predicted sizes against files that are really emitted.

The ranges given to the converter are made up: a file's size does not depend on them.
"""

from __future__ import annotations

import pathlib
import random

import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.costs import Costs, build_costs
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import SCHEMES, Format, Graph, Plan
from bitplan.strategies.assignment.choices import uniform_schemes
from small_networks import made_up_calibration


def missed(
    data: bytes, graph: Graph, costs: Costs, names: list[str], io: Format, per_channel: bool
) -> tuple[int, int]:  # fmt: skip
    """(bytes that the prediction is off, bytes that it may be off)."""
    plan = Plan.bare(graph, names, io, per_channel=per_channel)
    emitted = len(convert(data, graph, made_up_calibration(graph), plan).model)
    return abs(costs.total([SCHEMES[name] for name in names], io) - emitted), max(512, emitted // 500)


def mixed_plans(graph: Graph, count: int) -> list[tuple[list[str], Format]]:
    """Half of them wholly random, half int8 with a few other ops, as real plans are."""
    plans = []
    for seed in range(count):
        draw = random.Random(seed)
        names = [draw.choice(op.schemes) for op in graph.ops]
        if seed % 2:
            kept = draw.sample(range(len(names)), len(names) * 5 // 6)
            int8 = uniform_schemes(graph, "w8a8")
            names = [int8[i].name if i in kept else name for i, name in enumerate(names)]
        plans.append((names, draw.choice(list(Format))))
    return plans


def check(data: bytes, count: int, *, per_channel: bool = True) -> None:
    graph = build_graph(data)
    costs = build_costs(graph, data, per_channel=per_channel)
    plans = mixed_plans(graph, count)
    plans += [([s.name for s in uniform_schemes(graph, name)], Format.FLOAT) for name in ("w4a8", "w8a8", "w8a16")]
    for names, io in plans:
        off, limit = missed(data, graph, costs, names, io, per_channel)
        assert off <= limit, (off, limit, io, names)


@pytest.mark.parametrize("per_channel", [True, False])
def test_size_of_demo_plans_is_predicted(demo_model: bytes, per_channel: bool) -> None:
    check(demo_model, 3, per_channel=per_channel)


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        "mobilenetv2_cifar10_96.tflite",
        "public/resnet8_cifar10_float.tflite",
        "public/hand_landmark_fp16_no_signature.tflite",
        "public/iris_landmark_prelu_no_signature.tflite",
        "public/branching_conv_fc.tflite",
    ],
)
def test_size_of_mixed_plans_is_predicted_for_real_models(shared: pathlib.Path, path: str, per_channel: bool) -> None:
    check(load_float(shared / "models" / path).flatbuffer, 10, per_channel=per_channel)


@pytest.fixture(scope="module")
def branchy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Concatenations that share inputs, a squeeze-and-excite block, a dense layer used twice."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = layers.Input((16, 16, 8))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    a, b = layers.Conv2D(16, 1)(x), layers.Conv2D(16, 1, activation="relu6")(x)
    gate = layers.Conv2D(16, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(a))
    gated = layers.Multiply()([a, gate])
    joined = layers.Concatenate()([layers.Concatenate()([gated, b, x]), layers.Maximum()([gated, b])])
    flat = layers.Flatten()(layers.Concatenate()([layers.MaxPooling2D(2)(joined), layers.AveragePooling2D(2)(joined)]))
    dense = layers.Dense(32)
    first = layers.Dense(32, activation="tanh")(flat)
    outputs = layers.Dense(10, activation="softmax")(layers.Add()([dense(dense(first)), first]))
    path = tmp_path_factory.mktemp("branchy") / "branchy.keras"
    keras.Model(inputs, outputs).save(path)
    return load_float(path).flatbuffer


@pytest.mark.slow
def test_shared_weights_and_requantized_inputs_are_predicted(branchy: bytes) -> None:
    check(branchy, 10)

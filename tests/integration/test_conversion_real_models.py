"""Conversion of networks that people really have."""

from __future__ import annotations

import random

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.type_check import check_types
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.schema import Format, Plan

pytestmark = pytest.mark.slow

PUBLIC = [
    "branching_conv_fc", "conv_fc_mnist", "resnet8_cifar10_float", "single_add", "single_depthwise_conv2d_bias",
    "single_fc_bias_relu6", "two_inputs_concatenation", "duplicated_tensor_names", "iris_landmark_prelu_no_signature",
]  # fmt: skip
FIRST_DEPTHWISE = 1


def made_up(graph, count=3):
    """Samples between 0 and 1 from a fixed seed."""
    generator = np.random.default_rng(0)
    return [
        [generator.uniform(size=graph.tensors[t].shape).astype(np.float32) for t in graph.inputs] for _ in range(count)
    ]


def everywhere(graph, wanted):
    return [next(s for s in (*wanted, "float") if s in op.schemes) for op in graph.ops]


@pytest.fixture
def load(shared, calibrated):
    def run(name):
        from bitplan.analyzer.network.graph import build_graph

        data = load_float(str(shared / "models" / "public" / f"{name}.tflite")).flatbuffer
        samples = made_up(build_graph(data))
        return data, samples, *calibrated(data, samples)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_any_plan_gives_a_file_that_is_what_was_planned(load, interpret, name):
    data, samples, graph, calibration = load(name)
    generator = random.Random(4)
    for io in Format:
        for _ in range(4):
            plan = Plan.bare(graph, [generator.choice(op.schemes) for op in graph.ops], io)
            model = convert(data, graph, calibration, plan).model
            assert check_types(model, graph, plan) == ()
            for values in interpret(model, samples[:1])[0]:
                assert np.isfinite(values).all()


@pytest.mark.parametrize("name", PUBLIC)
def test_sixteen_bits_everywhere_are_as_good_as_float(load, interpret, sqnr_db, name):
    data, samples, graph, calibration = load(name)
    plan = Plan.bare(graph, everywhere(graph, ["w16a16", "w8a16"]), Format.FLOAT)
    model = convert(data, graph, calibration, plan).model
    assert sqnr_db(interpret(data, samples), interpret(model, samples)) > 55


@pytest.fixture(scope="module")
def images(shared):
    """Twelve images of the benchmark model's size, 96x96, from -1 to 1."""
    pixels = np.load(shared / "data" / "cifar10.npz")["x_unlabelled"][:12]
    enlarged = pixels.repeat(3, axis=1).repeat(3, axis=2)
    return [[(image[None] / 127.5 - 1).astype(np.float32)] for image in enlarged]


@pytest.fixture
def benchmark(shared, calibrated, images):
    data = load_float(str(shared / "models" / "mobilenetv2_cifar10_96.tflite")).flatbuffer
    return data, *calibrated(data, images)


def test_sixteen_bit_weights_of_the_worst_layer_equal_a_float_island(benchmark, images, interpret, sqnr_db):
    data, graph, calibration = benchmark
    assert graph.ops[FIRST_DEPTHWISE].opcode == "DEPTHWISE_CONV_2D"
    reference = interpret(data, images)

    def alone(scheme):
        """The one op quantized, everything else in float."""
        schemes = ["float"] * len(graph.ops)
        schemes[FIRST_DEPTHWISE] = scheme
        plan = Plan.bare(graph, schemes)
        model = convert(data, graph, calibration, plan).model
        assert check_types(model, graph, plan) == ()
        return sqnr_db(reference, interpret(model, images))

    found = {scheme: alone(scheme) for scheme in ("w8a8", "w8a16", "w16a8", "w16a16")}
    assert found["w16a16"] > 50
    assert found["w16a8"] > found["w8a8"] + 5
    assert found["w8a16"] < found["w8a8"] + 3, "16-bit activations alone repair nothing here"


def test_the_split_costs_hardly_more_than_a_second_set_of_int8_weights(benchmark):
    data, graph, calibration = benchmark
    base = everywhere(graph, ["w8a8"])
    split = [*base[:FIRST_DEPTHWISE], "w16a8", *base[FIRST_DEPTHWISE + 1 :]]
    plain, larger = (len(convert(data, graph, calibration, Plan.bare(graph, s)).model) for s in (base, split))
    assert 288 < larger - plain < 2048, "288 weights, 32 channels"


def test_tflite_micro_gives_the_same_answers_on_a_mixed_plan_of_the_benchmark_model(benchmark, images):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="tflite-micro is not installed")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    data, graph, calibration = benchmark
    schemes = everywhere(graph, ["w8a8"])
    schemes[0], schemes[FIRST_DEPTHWISE], schemes[4] = "w16a16", "w16a8", "float"
    plan = Plan.bare(graph, schemes, Format.INT8)
    model = convert(data, graph, calibration, plan).model
    lite = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    lite.allocate_tensors()
    micro = runtime.Interpreter.from_bytes(model, arena_size=20_000_000)
    port, out = lite.get_input_details()[0], lite.get_output_details()[0]
    for image in images[:3]:
        given = np.clip(np.rint(image[0] / port["quantization"][0]) + port["quantization"][1], -128, 127)
        lite.set_tensor(port["index"], given.astype(np.int8))
        lite.invoke()
        micro.set_input(given.astype(np.int8), 0)
        micro.invoke()
        np.testing.assert_array_equal(micro.get_output(0), lite.get_tensor(out["index"]))

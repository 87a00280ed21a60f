"""Plans elsewhere: the recipe with litert-quantizer alone, and the plan on the same network trained anew."""

from __future__ import annotations

import pathlib
import random
import runpy
import subprocess
import sys

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import Conversion, check_plan, convert
from bitplan.analyzer.conversion.mending import needs_guard
from bitplan.analyzer.conversion.type_check import check_types
from bitplan.analyzer.errors import UsageError
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import Format, Graph, Plan
from bitplan.analyzer.serialize import dumps, loads
from converter_networks import inputs, noise, quantizer_alone
from small_networks import made_up_calibration

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "examples" / "quantize_with_recipe.py"


def folder_of(path: pathlib.Path, data: bytes, conversion: Conversion) -> pathlib.Path:
    """What a run folder has of a conversion."""
    path.mkdir()
    (path / "float.tflite").write_bytes(data)
    if conversion.prepared != data:
        (path / "prepared.tflite").write_bytes(conversion.prepared)
    (path / "recipe.json").write_text(dumps(list(conversion.recipe)))
    (path / "ranges.json").write_text(dumps(conversion.ranges))
    return path


def random_plan(graph: Graph, seed: int, *, split: bool) -> Plan:
    draw = random.Random(seed)
    names = [draw.choice([s for s in op.schemes if split or s[:3] != "w16"]) for op in graph.ops]
    return Plan.bare(graph, names, draw.choice(list(Format)), per_channel=draw.random() < 0.7)


# --- recipe.json and ranges.json --------------------------------------------------------------------------------------


def test_the_script_is_short_and_knows_nothing_of_bitplan() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) < 15
    assert not any("import" in line and "bitplan" in line for line in lines)


def test_the_script_runs_on_its_own(demo_model: bytes, tmp_path: pathlib.Path) -> None:
    graph = build_graph(demo_model)
    plan = Plan.bare(graph, ["w8a8" if "w8a8" in op.schemes else "float" for op in graph.ops], Format.INT8)
    conversion = convert(demo_model, graph, made_up_calibration(graph), plan)
    folder, out = folder_of(tmp_path / "run", demo_model, conversion), tmp_path / "out.tflite"
    subprocess.run([sys.executable, str(SCRIPT), str(folder), str(out)], check=True, capture_output=True)
    assert fb.write(fb.read(out.read_bytes())) == conversion.model


def check_script(
    data: bytes, plan: Plan, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, rewritten: bool = False
) -> None:
    graph = build_graph(data)
    conversion = convert(data, graph, made_up_calibration(graph), plan)
    assert check_types(conversion.model, graph, plan) == ()
    assert (conversion.prepared != data) == rewritten
    folder, out = folder_of(tmp_path / "run", data, conversion), tmp_path / "out.tflite"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder), str(out)])
    runpy.run_path(str(SCRIPT))
    assert fb.write(fb.read(out.read_bytes())) == conversion.model


@pytest.mark.parametrize("seed", range(4))
def test_the_quantizer_alone_makes_the_demos_model_byte_for_byte(demo_model, tmp_path, monkeypatch, seed):
    check_script(demo_model, random_plan(build_graph(demo_model), seed, split=False), tmp_path, monkeypatch)


def test_with_split_weights_it_does_so_from_the_rewritten_float_model(demo_model, tmp_path, monkeypatch):
    plan = random_plan(build_graph(demo_model), 0, split=True)
    check_script(demo_model, plan, tmp_path, monkeypatch, rewritten=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "path", ["mobilenetv2_cifar10_96.tflite", "public/resnet8_cifar10_float.tflite", "public/branching_conv_fc.tflite"]
)
def test_the_quantizer_alone_makes_real_models_byte_for_byte(shared, tmp_path, monkeypatch, path, seed):
    data = load_float(str(shared / "models" / path)).flatbuffer
    check_script(data, random_plan(build_graph(data), seed, split=False), tmp_path, monkeypatch)


def test_a_network_that_the_quantizer_gets_wrong_is_mended_and_so_differs(network, calibrated):
    """An output that another op reads too: the last op is rewired, or the output has the wrong format."""
    net = network()
    x = net.input("x", (1, 16))
    y = net.op("FULLY_CONNECTED", [x, net.constant("w", noise(16, 16)), -1], [net.tensor("y", (1, 16))])
    z = net.op("ADD", [y, x], [net.tensor("z", (1, 16))])
    data = net.build([y, z])
    assert needs_guard(fb.read(data))
    graph, calibration = calibrated(data, inputs(4, (1, 16)))
    wrong = []
    for schemes in (["w8a8", "w8a8"], ["w8a8", "float"], ["w8a16", "w8a8"]):
        plan = Plan.bare(graph, schemes, Format.FLOAT)
        conversion = convert(data, graph, calibration, plan)
        assert check_types(conversion.model, graph, plan) == ()
        wrong += check_types(quantizer_alone(conversion), graph, plan)
    assert wrong, "the quantizer gets it right now: there is nothing to mend any more"


# --- plan.json --------------------------------------------------------------------------------------------------------


def trained_anew(data: bytes) -> bytes:
    """The same structure with other weights and other names."""
    model = fb.read(data)
    generator = np.random.default_rng(3)
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"again/{index}".encode()
        values = fb.constant(model, tensor)
        if values is not None and values.dtype == np.float32:
            other = values * generator.uniform(0.5, 1.5, values.shape).astype(np.float32)
            fb.set_constant(model, tensor, other)
    return fb.write(model)


def test_a_plan_applies_to_the_same_structure_trained_anew(demo_model):
    graph = build_graph(demo_model)
    written = dumps(random_plan(graph, 1, split=True))
    again = trained_anew(demo_model)
    other = build_graph(again)
    assert other.digest != graph.digest
    assert not {t.name for t in other.tensors} & {t.name for t in graph.tensors}
    plan = loads(Plan, written, where="plan.json")
    model = convert(again, other, made_up_calibration(other), plan).model
    assert check_types(model, other, plan) == ()
    assert {fb.text(t.name).split("/")[0] for t in fb.read(model).subgraphs[0].tensors} >= {"again"}


def test_another_structure_is_refused_by_its_first_other_op(demo_model, network):
    graph = build_graph(demo_model)
    plan = random_plan(graph, 1, split=True)
    net = network()
    kernel = graph.tensors[graph.ops[0].weights].shape
    x = net.input("image", (1, 28, 28, 1))
    y = net.op("CONV_2D", [x, net.constant("w", noise(*kernel)), -1], [net.tensor("y", (1, 28, 28, kernel[0]))])
    z = net.op("ADD", [y, y], [net.tensor("z", (1, 28, 28, kernel[0]))])
    smaller = build_graph(net.build([z]))
    assert smaller.ops[0].key == graph.ops[0].key
    with pytest.raises(UsageError, match="another network") as caught:
        check_plan(smaller, plan)
    assert f"op 1 is {smaller.ops[1].key} here and {graph.ops[1].key} in the plan" in caught.value.problem

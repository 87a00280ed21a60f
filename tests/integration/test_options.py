"""What to do about a quantized file, on the demo network: files against plans, figures against the interpreter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bitplan import advising
from bitplan.analysis import analyze
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.costs import build_costs
from bitplan.analyzer.conversion.counterfactual import int8_everywhere
from bitplan.analyzer.conversion.verification import Candidate, Reference
from bitplan.analyzer.errors import DataError, UsageError
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.runtime import arena_bytes, run_samples
from bitplan.analyzer.runs import RunFolder
from bitplan.analyzer.schema import OPTIONS, SCHEMES, Format, Plan
from bitplan.api import audit, prepare
from bitplan.repairing import material_of
from bitplan.strategies import remedies
from bitplan.strategies.assignment.resources import build_resources
from bitplan.strategies.options import measure_options
from bitplan.strategies.remedies import Case, OptionFile, OptionMemory, int8_plan, make_files
from bitplan.strategies.targets import load_target
from bitplan.strategies.targets.files import FileOps
from conftest_data import DEMO

pytestmark = pytest.mark.slow

MODEL = DEMO / "fashion_mobilenet.tflite"
CPU = load_target("litert-cpu")


@pytest.fixture(scope="module")
def run():
    arrays = np.load(DEMO / "data.npz")
    calibration = arrays["x_calibration"][:32]
    evaluation = (arrays["x_eval"][:24], arrays["y_eval"][:24])
    prepared = prepare(MODEL, calibration, evaluation=evaluation, calibration_samples=12, scale="tf")
    return analyze(prepared, "linear", left_float=False)


@pytest.fixture(scope="module")
def brought(run):
    """Int8 everywhere, its ranges a quarter of what they should be."""
    plan = int8_plan(run.graph, CPU, run.flatbuffer)
    few = remedies.with_method(run.graph, run.calibration, plan, "percentile-99.9")
    halved = {t: replace(r, minimum=r.minimum / 4, maximum=r.maximum / 4) for t, r in few.ranges.items()}
    return convert(run.flatbuffer, run.graph, replace(few, ranges=halved), plan).model


@pytest.fixture(scope="module")
def case(run, brought):
    material = material_of(run, int8_plan(run.graph, CPU, brought))
    return Case(material, run.sensitivity, Candidate("leave", brought), CPU)


@pytest.fixture(scope="module")
def files(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remedies, "CHEAP", ("bias_correction",))
        return make_files(case)


@pytest.fixture(scope="module")
def found(case, files, run):
    return measure_options(case, files, run.evaluation_data)


def plan_of(run, names, io=Format.FLOAT):
    return Plan.bare(run.graph, names, io)


@pytest.mark.parametrize("io", [Format.FLOAT, Format.INT8])
def test_a_files_schemes_and_cost_are_those_of_its_plan(run, io):
    """The planner prices a plan from its schemes alone; here the emitted file's types are read."""
    resources = build_resources(run.graph, build_costs(run.graph, run.flatbuffer), CPU, io)
    int8 = plan_of(run, int8_everywhere(run.graph), io)
    whole = FileOps.read(convert(run.flatbuffer, run.graph, run.calibration, int8).model).cost(CPU, run.graph)
    choice = np.random.default_rng(1)
    for _ in range(3):
        names = [str(choice.choice([s for s in op.schemes if not SCHEMES[s].is_split])) for op in run.graph.ops]
        plan = plan_of(run, names, io)
        ops = FileOps.read(convert(run.flatbuffer, run.graph, run.calibration, plan).model)
        assert [entry.scheme for entry in ops.ops if entry.border is None] == names
        if not ops.obstacle(CPU):
            assert ops.cost(CPU, run.graph) / whole == pytest.approx(resources.total_latency(plan.schemes, io))
        int16 = sum(op.macs for op, name in zip(run.graph.ops, names, strict=True) if name.endswith("a16"))
        assert ops.int16_share == pytest.approx(int16 / sum(op.macs for op in run.graph.ops))


def test_a_target_refuses_a_file_by_what_it_lacks(run, files):
    int8, island, int16, int4 = (FileOps.read(files[n].file) for n in ("leave", "one_island", "int16", "int4_repair"))
    assert int8.obstacle(load_target("coral")) == "" == int8.obstacle(load_target("tflite-micro"))
    assert "float" in island.obstacle(load_target("coral")) and island.obstacle(CPU) == ""
    assert "int16" in int16.obstacle(load_target("coral")) and int16.obstacle(load_target("ethos-u55")) == ""
    assert "w4a8" in int4.obstacle(load_target("tflite-micro"))
    assert "each channel" in int8.obstacle(load_target("stm32-npu"))
    assert int16.cost(load_target("coral"), run.graph) is None
    model = fb.read(files["leave"].file)
    for tensor in model.subgraphs[0].tensors:
        if fb.dtype_name(tensor) == "int8" and not tensor.buffer:
            tensor.type = fb.schema().TensorType.UINT8
    assert "uint8" in FileOps.read(fb.write(model)).obstacle(CPU)


def test_every_option_is_a_file_of_its_own_kind(case, files, brought):
    assert tuple(files) == tuple(OPTIONS) and all(made.file and made.facts for made in files.values())
    assert files["leave"].file == brought
    for name, islands in (("one_island", 1), ("two_islands", 2), ("recalibrate", 0), ("repair", 0)):
        schemes = [e.scheme for e in FileOps.read(files[name].file).ops if e.border is None]
        plain = [e.scheme for e in FileOps.read(brought).ops if e.border is None]
        assert sum(a != b for a, b in zip(schemes, plain, strict=True)) == islands
    assert {"w8a16"} <= {e.scheme for e in FileOps.read(files["int16"].file).ops}
    assert {"w4a8"} <= {e.scheme for e in FileOps.read(files["int4_repair"].file).ops}
    assert len(files["hybrid"].file) <= case.largest_bytes


def test_the_islands_are_the_ops_with_the_largest_error_of_their_own(case, files):
    table, graph = case.sensitivity, case.material.graph
    errors = {op.layer: sum(table.layer_nmse(op, SCHEMES["w8a8"])) for op in graph.ops}
    worst = sorted(errors, key=lambda layer: -errors[layer])
    assert worst[0] in files["one_island"].facts[0]
    assert worst[0] in files["two_islands"].facts[0] and worst[1] in files["two_islands"].facts[0]


def test_figures_are_those_of_the_files(found, files, run):
    samples = run.evaluation_data
    images, labels = samples.block(0, len(samples)), samples.labels
    before = run_samples(run.flatbuffer, images)[0].argmax(1) == labels
    for option in found.options:
        file, e = files[option.name].file, option.evaluation
        assert (e.file_bytes, e.arena_bytes, e.error.samples) == (len(file), arena_bytes(file), 24)
        after = run_samples(file, images)[0].argmax(1) == labels
        assert e.error.accuracy == after.mean()
        assert e.drop_points.value == pytest.approx(100 * (before.mean() - after.mean()))
        assert e.drop_points.low <= e.drop_points.value <= e.drop_points.high
    assert found.find("recalibrate").latency == pytest.approx(1.0)
    assert found.find("int16").latency > 10
    assert found.find("leave").runs_on == tuple(sorted(found.find("leave").runs_on)) and found.held_back == 20


def test_the_advice_is_the_least_held_back_error_of_what_costs_no_more(found, case, files):
    reference = Reference(case.material.flatbuffer, case.material.graph, case.held_back)
    errors = {name: reference.error(made.file).nmse for name, made in files.items()}
    assert {o.name: o.held_back.nmse for o in found.options} == pytest.approx(errors)
    advised, left = found.find(found.advised), found.find("leave")
    assert found.advised not in ("leave", "int16", "int4_repair")
    assert advised.held_back.nmse < 0.5 * left.held_back.nmse, "the file's ranges were planted to be a quarter"
    assert advised.evaluation.file_bytes <= case.largest_bytes


def test_nothing_depends_on_the_evaluation(case, files, found, run):
    shuffled = replace(run.evaluation_data, labels=run.evaluation_data.labels[::-1].copy())
    again = measure_options(case, files, shuffled)
    assert again.advised == found.advised
    assert [o.held_back for o in again.options] == [o.held_back for o in found.options]
    assert again.find("leave").evaluation.error.accuracy != found.find("leave").evaluation.error.accuracy


def test_slow_files_are_judged_on_the_first_samples(case, files, run, monkeypatch):
    monkeypatch.setattr("bitplan.strategies.options.slow_subset", lambda _graph: 10)
    some = {name: files[name] for name in ("leave", "int16")}
    found = measure_options(case, some, run.evaluation_data)
    slow, whole = found.find("int16").evaluation, found.find("leave").evaluation
    assert (slow.error.samples, slow.subset, whole.error.samples, whole.subset) == (10, True, 24, False)


def test_what_a_target_lacks_is_a_line_of_the_table(case, brought):
    coral = load_target("coral")
    material = replace(case.material, plan=int8_plan(case.material.graph, coral, brought))
    where = replace(case, target=coral, material=material)
    for name in ("one_island", "int16", "int4_repair"):
        made = remedies._made(where, name, lambda _title: lambda _done, _total: None)
        assert not made.file and "coral" in made.missing
    impossible = replace(case, size_budget=1000)
    made = remedies._made(impossible, "hybrid", lambda _title: lambda _done, _total: None)
    assert not made.file and "budget" in made.missing


def test_finished_files_are_not_made_again(case, files, monkeypatch):
    kept = dict(files)
    monkeypatch.setattr(remedies, "_MAKERS", {})
    assert make_files(case, memory=OptionMemory(kept.get, lambda *_: pytest.fail("kept twice"))) == files


def test_files_are_found_again_in_the_folder_and_not_for_other_wishes(case, files, tmp_path):
    folder = RunFolder.create(tmp_path / "audit")
    memory = advising._memory(case, folder)
    memory.save("repair", files["repair"])
    memory.save("int16", OptionFile(b"", missing="there is none"))
    again = advising._memory(case, folder)
    assert (again.load("repair"), again.load("int16")) == (files["repair"], OptionFile(b"", missing="there is none"))
    assert again.load("hybrid") is None
    assert (tmp_path / "audit" / "option_repair.tflite").read_bytes() == files["repair"].file
    assert advising._memory(replace(case, time_budget_s=7.0), folder).load("repair") is None
    assert advising._memory(replace(case, target=load_target("coral")), folder).load("repair") is None


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        ({}, DataError),
        ({"calibration": "x", "target": "moon"}, UsageError),
        ({"calibration": "x", "time_budget": "soon"}, UsageError),
    ],
)
def test_senseless_wishes_are_refused_before_any_work(wishes, error):
    with pytest.raises(error):
        audit("no such model", b"", evaluation="no such data", what_to_do=True, **wishes)

"""The ladder of repairs on the demo network: what helps is kept, what does not is not, and each by its emitted file."""

from __future__ import annotations

import json
from dataclasses import replace

import bitplan as bp
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.verification import Reference
from bitplan.analyzer.errors import UsageError
from bitplan.analyzer.inputs.dataset import input_specs, load_samples, parse_preprocessing
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.measures.clipping import METHODS
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import RANGE_METHODS, REPAIRS, Plan
from bitplan.repairing import parse_duration
from bitplan.strategies import ladder
from bitplan.strategies.repair.material import Effort, Made, Material, Network
from bitplan.strategies.repair.ranges import AUTO
from bitplan.strategies.repair.rungs import RUNGS, Repair
from conftest_data import DEMO, demo
from test_cli import MODEL, bitplan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def material():
    """A plan in int8 whose ranges are four times too wide."""
    data = load_float(demo()[0], trust_model=False, warn=lambda _message: None).flatbuffer
    graph = replace(build_graph(data), is_classifier=True)
    samples = load_samples(
        f"{DEMO / 'data.npz'}:x_calibration", input_specs(graph), parse_preprocessing("", "tf", ""), limit=40,
        warn=lambda _message: None,
    ).in_content_order()  # fmt: skip
    calibration = calibrate(data, graph, samples.take(24))
    wide = {t: replace(r, minimum=4 * r.minimum, maximum=4 * r.maximum) for t, r in calibration.ranges.items()}
    plan = Plan.bare(graph, ["w8a8" if "w8a8" in op.schemes else "float" for op in graph.ops])
    held_back = samples.subset(range(24, 40))
    too_wide = replace(calibration, ranges=wide)
    return Material(data, graph, too_wide, plan, samples.take(24), samples.take(24), held_back), calibration


NO_LIMIT = Effort(None, lambda _done, _total: None)


def as_repair(name: str, make, reason: str = "") -> Repair:
    return Repair(name, name, 1, False, make, lambda _graph, _plan: reason)


def put(monkeypatch, **repairs) -> None:
    for name, make in repairs.items():
        monkeypatch.setitem(RUNGS, name, make if isinstance(make, Repair) else as_repair(name, make))


def file_of(material: Material, network: Network) -> bytes:
    return convert(network.flatbuffer, material.graph, network.calibration, material.plan).model


def test_what_helps_is_kept_and_what_hurts_is_not(material, monkeypatch):
    start, right = material
    wider = {t: replace(r, maximum=9 * r.maximum) for t, r in right.ranges.items()}
    put(
        monkeypatch,
        ranges=lambda _m, network, _e: Made(replace(network, calibration=right), ("narrower",)),
        bias_correction=lambda _m, network, _e: Made(replace(network, calibration=replace(right, ranges=wider)), ()),
    )
    found = ladder.climb(start, steps=("bias_correction", "ranges"))
    ranges, other = found.log.steps
    assert (ranges.name, ranges.kept, other.name, other.kept) == ("ranges", True, "bias_correction", False)
    assert ranges.after < ranges.before == pytest.approx(ranges.before) and other.before == ranges.after < other.after
    assert found.network.calibration == right and found.log.kept == ("ranges",)
    assert found.model == file_of(start, Network(start.flatbuffer, right, start.flatbuffer))
    reference = Reference(start.flatbuffer, start.graph, start.held_back)
    assert (
        ranges.before
        == reference.error(file_of(start, Network(start.flatbuffer, start.calibration, start.flatbuffer))).kl
    )
    assert ranges.after == reference.error(found.model).kl
    assert found.log.error_of == "kl" and found.log.drop_of == "expected accuracy"
    assert (found.log.learned_from, found.log.held_back) == (24, 16)
    assert found.log.kernels is not None and found.log.kernels.samples == 16


def test_a_repair_that_breaks_the_budget_is_not_kept(material, monkeypatch):
    start, right = material
    put(monkeypatch, ranges=lambda _m, network, _e: Made(replace(network, calibration=right), ()))
    found = ladder.climb(start, steps=("ranges",), file_bytes=1000)
    assert not found.log.steps[0].kept and "over the budget" in found.log.steps[0].facts[-1]
    assert found.network.calibration == start.calibration


def test_repairs_that_cannot_be_tried_say_why(material, monkeypatch):
    start, _ = material
    put(
        monkeypatch,
        ranges=as_repair("ranges", lambda *_: pytest.fail("it was tried"), "it is nothing here"),
    )
    found = ladder.climb(start, steps=("ranges",))
    assert found.log.steps[0].skipped == "it is nothing here" and found.log.kept == ()
    late = ladder.climb(start, steps=("bias_correction",), time_budget_s=0.0)
    assert late.log.steps[0].skipped == "the time was over"
    assert late.model == file_of(start, Network(start.flatbuffer, start.calibration, start.flatbuffer))
    with pytest.raises(UsageError, match="prayer"):
        ladder.climb(start, steps=("prayer",))


def test_a_finished_step_is_not_made_again(material, monkeypatch):
    start, right = material
    kept, made = {}, []

    def make(_material, network, _effort):
        made.append(1)
        return Made(replace(network, calibration=right), ())

    put(monkeypatch, ranges=make)
    memory = ladder.Memory(
        lambda name, _network: kept.get(name), lambda name, _network, rung: kept.update({name: rung})
    )
    once, again = (ladder.climb(start, steps=("ranges",), memory=memory) for _ in range(2))
    assert len(made) == 1 and once.model == again.model and once.log == again.log


def test_the_real_steps_help_where_ranges_are_wrong(material):
    start, _ = material
    found = ladder.climb(start, steps=("ranges", "bias_correction"))
    assert found.log.steps[0].kept
    assert found.log.steps[0].after < 0.8 * found.log.steps[0].before


@pytest.mark.parametrize(
    ("text", "seconds"), [("15m", 900), ("90s", 90), ("1h", 3600), ("1.5 min", 90), (7, 7), ("", None)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


def test_a_duration_that_is_none_is_refused():
    with pytest.raises(UsageError, match="soon"):
        parse_duration("soon")


def test_the_command_repairs_and_its_folder_goes_on(tmp_path):
    out = tmp_path / "out"
    data = DEMO / "data.npz"
    said = bitplan(
        "repair", MODEL, "--calibration", f"{data}:x_calibration", "--evaluation",
        f"{data}:x_calibration,y_calibration", "--calibration-samples", 64, "--scale", "tf", "--scheme", "w4a8",
        "--steps", "ranges,bias_correction", "--out", out,
    ).stdout  # fmt: skip
    log = json.loads((out / "repair.json").read_text())
    assert [step["name"] for step in log["steps"]] == ["ranges", "bias_correction"]
    assert any(step["kept"] for step in log["steps"])
    assert "Repairs" in said and "plan before repair" in said
    model = (out / "model.tflite").read_bytes()
    assert (out / "repaired.tflite").read_bytes() != (out / "float.tflite").read_bytes()
    bitplan("convert", out)
    assert (out / "model.tflite").read_bytes() == model
    bitplan("plan", out, "--allow", "w8a8", "--size-budget", "none")
    assert not (out / "repair.json").exists() and not (out / "repaired.tflite").exists()


def test_the_told_way_to_choose_ranges_is_the_one_taken(material):
    start, _ = material
    found = {}
    for method in ("min-max", "mse"):
        told = replace(start, range_method=method)
        made = RUNGS["ranges"].make(told, Network(told.flatbuffer, told.calibration, told.flatbuffer), NO_LIMIT)
        found[method] = made.network.calibration.ranges
    assert {t: (r.minimum, r.maximum) for t, r in found["min-max"].items()} == {
        t: (r.minimum, r.maximum) for t, r in start.calibration.ranges.items()
    }
    assert any(found["mse"][t].maximum < r.maximum for t, r in start.calibration.ranges.items())


def test_a_way_to_choose_ranges_that_does_not_exist_is_refused_before_anything_is_loaded():
    with pytest.raises(UsageError, match="no way to choose ranges called 'best'"):
        bp.repair("no-such-model.tflite", ranges="best")


def test_keras_weights_cannot_be_asked_of_a_flatbuffer(tmp_path):
    done = bitplan("repair", MODEL, "--export-keras", tmp_path / "learned.keras", "--out", tmp_path / "out", check=2)
    assert "is no Keras file" in done.stderr
    done = bitplan("repair", MODEL, "--export-keras", tmp_path / "learned.h5", "--out", tmp_path / "out", check=2)
    assert "does not end in .keras" in done.stderr


def test_every_repair_has_its_rung():
    assert tuple(RUNGS) == REPAIRS


def test_the_names_of_the_ways_to_choose_ranges_are_those_that_exist():
    assert (AUTO, *METHODS) == RANGE_METHODS

"""The calibration study on the demo network: sets, files and figures against making each by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.counterfactual import int8_everywhere
from bitplan.analyzer.conversion.verification import Reference
from bitplan.analyzer.errors import DataError, UsageError
from bitplan.analyzer.measures.calibration import RangeRecorder, calibrate
from bitplan.analyzer.measures.pool import take_statistics
from bitplan.analyzer.network.runtime import Runner, run_samples
from bitplan.analyzer.network.subgraph import Cutter
from bitplan.analyzer.schema import Calibration, Plan
from bitplan.api import calibrate_study, prepare
from bitplan.strategies import study as s
from conftest_data import DEMO

MODEL = DEMO / "fashion_mobilenet.tflite"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 images for sets, 8 that follow, 30 to evaluate on."""
    arrays = np.load(DEMO / "data.npz")
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(
        path, x=arrays["x_calibration"][:32], y=arrays["y_calibration"][:32], xe=arrays["x_eval"][:30],
        ye=arrays["y_eval"][:30],
    )  # fmt: skip
    return path


OPTIONS = {"sizes": (4, 24), "seeds": 2, "methods": ("min_max", "mse"), "held_back": 8, "scale": "tf"}


@pytest.fixture(scope="module")
def studied(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    return out, calibrate_study(MODEL, f"{data}:x,y", evaluation=f"{data}:xe,ye", balanced=True, out=out, **OPTIONS)


@pytest.fixture(scope="module")
def run(data):
    return prepare(MODEL, f"{data}:x,y", evaluation=f"{data}:xe,ye", calibration_samples=24, scale="tf")


def test_ranges_of_any_set_are_those_of_calibrating_on_it(run):
    pool = take_statistics(run.flatbuffer, run.graph, run.calibration_data)
    for chosen in ([3], [0, 5, 11, 20], list(range(24))):
        found, samples = pool.ranges(run.graph, chosen), run.calibration_data.subset(chosen)
        assert found == one_pass(run, samples)
        # The network that `calibrate` runs has partial sums too, and its kernels' last digits differ.
        wanted = calibrate(run.flatbuffer, run.graph, samples).ranges
        assert found.keys() == wanted.keys()
        for tensor, seen in wanted.items():
            mine = found[tensor]
            figures = [(r.minimum, r.maximum, r.mean, r.variance) for r in (mine, seen)]
            assert figures[0] == pytest.approx(figures[1], rel=1e-5, abs=1e-5)
            assert mine.histogram.width == seen.histogram.width
            assert sum(mine.histogram.counts) == sum(seen.histogram.counts)
    with pytest.raises(DataError):
        pool.ranges(run.graph, [])


def one_pass(run, samples):
    """Ranges by one recorder for each activation."""
    tensors = sorted({t for op in run.graph.ops for t in run.graph.activations_out(op)})
    runner = Runner(Cutter(run.flatbuffer).whole(tensors).flatbuffer)
    recorders = {t: RangeRecorder() for t in (*run.graph.inputs, *tensors)}
    for sample in samples:
        for tensor, values in zip((*run.graph.inputs, *tensors), [*sample, *runner.run(sample)], strict=True):
            recorders[tensor].add(values)
    return {t: recorder.finish(t, None) for t, recorder in recorders.items()}


def test_a_cell_is_the_file_of_its_set_and_method(run, studied, data):
    _, found = studied
    arrays = np.load(data)
    for method, size, seed, draw in (("mse", 4, 1, "random"), ("min-max", 4, 0, "balanced")):
        cell = next(c for c in found.cells if (c.method, c.size, c.seed, c.draw) == (method, size, seed, draw))
        chosen = run.calibration_data.subset(s.drawn(run.calibration_data, size, seed, draw))
        calibration = Calibration(one_pass(run, chosen), {}, size, "")
        plan = Plan.bare(run.graph, int8_everywhere(run.graph))
        file = convert(run.flatbuffer, run.graph, s.with_method(run.graph, calibration, plan, method), plan).model
        apart = prepare(MODEL, arrays["x"][24:], scale="tf").calibration_data
        assert cell.held_back.nmse == Reference(run.flatbuffer, run.graph, apart).error(file).nmse
        images = run.evaluation_data.block(0, 30)
        right = [
            run_samples(model, images)[0].argmax(1) == run.evaluation_data.labels for model in (run.flatbuffer, file)
        ]
        assert cell.evaluation.accuracy == right[1].mean()
        assert cell.drop.value == pytest.approx(100 * (right[0].mean() - right[1].mean()))
        assert found.float_accuracy == pytest.approx(right[0].mean())


def test_bands_hold_the_seeds_and_a_whole_pool_is_drawn_once(studied):
    _, found = studied
    assert [(b.draw, b.method, b.size, b.seeds) for b in found.bands] == [
        (draw, method, size, 2 if size == 4 else 1)
        for draw in ("random", "balanced") for method in ("min-max", "mse") for size in (4, 24)
    ]  # fmt: skip
    for band in found.bands:
        mine = [c for c in found.cells if (c.draw, c.method, c.size) == (band.draw, band.method, band.size)]
        errors = [c.held_back.nmse for c in mine]
        assert (band.held_back_nmse.low, band.held_back_nmse.high) == (min(errors), max(errors))
        assert band.held_back_nmse.value == pytest.approx(np.mean(errors))
        assert band.drop.low == min(c.drop.low for c in mine) and band.drop.high == max(c.drop.high for c in mine)
    random, balanced = (
        {(c.method, c.seed): c.held_back for c in found.cells if (c.size, c.draw) == (24, draw)}
        for draw in ("random", "balanced")
    )
    assert random == balanced, "the whole pool is one set, however it is drawn"
    assert (found.pool, found.held_back, found.evaluation, found.held_back_apart) == (24, 8, 30, True)


def test_a_study_goes_on_where_it_stopped_and_measures_nothing_twice(studied, data, monkeypatch):
    out, found = studied
    before = {name: (out / name).read_bytes() for name in ("study.json", "report.html", "cells.jsonl")}
    monkeypatch.setattr(s.Recalibration, "file", lambda *_: pytest.fail("a file was made again"))
    monkeypatch.setattr(s, "take_statistics", lambda *_, **__: pytest.fail("the pool was read again"))
    again = calibrate_study(MODEL, f"{data}:x,y", evaluation=f"{data}:xe,ye", balanced=True, out=out, **OPTIONS)
    assert again == found
    assert before == {name: (out / name).read_bytes() for name in before}


def test_evaluation_labels_change_no_recommendation(studied, data, tmp_path):
    _, found = studied
    arrays = dict(np.load(data))
    arrays["ye"] = arrays["ye"][::-1].copy()
    np.savez(tmp_path / "other.npz", **arrays)
    other = tmp_path / "other.npz"
    again = calibrate_study(MODEL, f"{other}:x,y", evaluation=f"{other}:xe,ye", balanced=True, **OPTIONS)
    assert again.float_accuracy != found.float_accuracy
    key = lambda band: (band.size, band.draw, band.method, band.held_back_nmse)  # noqa: E731
    assert key(again.recommended) == key(found.recommended)


def test_without_more_data_a_part_is_held_back_and_large_sets_are_left_out(data):
    warnings = []
    found = calibrate_study(
        MODEL, f"{data}:x", sizes=(6, 100), seeds=1, methods=("kl",), scale="tf", warn=warnings.append
    )
    assert (found.pool, found.held_back, found.held_back_apart, found.evaluation) == (24, 8, False, 0)
    assert [band.size for band in found.bands] == [6] and found.recommended.drop is None
    assert any("100" in warning and "left out" in warning for warning in warnings)
    with pytest.raises(DataError, match="no labels"):
        calibrate_study(MODEL, f"{data}:x", sizes=(6,), seeds=1, balanced=True, scale="tf")


@pytest.mark.parametrize(
    "wrong", [{"sizes": ()}, {"sizes": (0,)}, {"sizes": (2000,)}, {"seeds": 0}, {"methods": ("prayer",)}]
)
def test_senseless_designs_are_refused_before_any_work(wrong):
    with pytest.raises(UsageError):
        calibrate_study("no such model", "no such data", **wrong)


def test_the_page_and_the_stage_are_written(studied):
    out, found = studied
    document = json.loads((out / "study.json").read_text())
    assert document["kind"] == "study" and len(document["cells"]) == len(found.cells) == 16
    page = (out / "report.html").read_text()
    assert page.count('<tr class="plan"') == 1 and "chart-data" in page

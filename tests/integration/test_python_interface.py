"""`import bitplan`: the same steps as the commands, on Python objects."""

from __future__ import annotations

import json
import pathlib
import runpy
import sys

import numpy as np
import pytest
from bitplan.analyzer.errors import PlanMismatch
from bitplan.analyzer.network import flatbuffer as fb
from conftest_data import DEMO, demo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def analyzed():
    import bitplan as bp

    data, images, labels = demo()

    def representative_dataset():
        for image in images[:12]:
            yield [image[None].astype(np.float32) / 127.5 - 1]

    evaluation = (images[100:150].astype(np.float32) / 127.5 - 1, labels[100:150])
    return bp.analyze(data, representative_dataset, evaluation=evaluation, left_float=False)


def test_a_representative_dataset_is_all_it_takes(analyzed, tmp_path):
    result = analyzed.plan(size_budget="310KB").convert()
    result.save(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.tflite", "plan.json", "recipe.json", "sensitivity.json", "verification.json", "report.json",
            "report.html"} <= names  # fmt: skip
    assert (tmp_path / "out" / "model.tflite").stat().st_size <= 310_000
    verification = json.loads((tmp_path / "out" / "verification.json").read_text())
    assert verification["samples"] == 50


def test_a_saved_folder_has_all_that_litert_quantizer_alone_needs(analyzed, tmp_path, monkeypatch):
    script = pathlib.Path(__file__).resolve().parents[2] / "examples" / "quantize_with_recipe.py"
    folder = tmp_path / "run"
    for scheme, is_rewritten in (("w8a8", False), ("w16a8", True), ("w8a8", False)):
        analyzed.plan("none", allow=(scheme,)).save(folder, force=True)
        out = tmp_path / f"again-{len(list(tmp_path.iterdir()))}.tflite"
        monkeypatch.setattr(sys, "argv", [str(script), str(folder), str(out)])
        runpy.run_path(str(script))
        assert fb.write(fb.read(out.read_bytes())) == (folder / "model.tflite").read_bytes()
        assert (folder / "prepared.tflite").exists() == is_rewritten


def test_the_table_goes_to_pandas(analyzed):
    frame = analyzed.sensitivity.to_pandas()
    assert len(frame) == len(analyzed.sensitivity.measurements)
    assert frame.nmse.max() == max(m.error.nmse for m in analyzed.sensitivity.measurements)


def test_without_a_budget_a_plan_has_little_more_than_int8(analyzed):
    plan = analyzed.plan().plan_
    int8 = analyzed.plan("none", allow=("w8a8",)).convert()
    assert len(int8.model) < plan.budget_bytes <= 1.031 * len(int8.model)


def test_the_smallest_possible_budget_is_possible(analyzed):
    from bitplan.analyzer.errors import ImpossibleBudget

    smallest = len(analyzed.plan("none", allow=("w8a8",)).model)
    assert len(analyzed.plan(smallest, allow=("w8a8",)).model) == smallest
    with pytest.raises(ImpossibleBudget, match=str(smallest)):
        analyzed.plan(smallest - 1, allow=("w8a8",))


@pytest.mark.parametrize("io", ["int8", "int16"])
def test_io_is_what_was_asked_for(analyzed, io):
    from bitplan.analyzer.network import runtime

    runner = runtime.Runner(analyzed.plan("400KB", io=io).convert().model)
    assert {port.dtype for port in (*runner.inputs, *runner.outputs)} == {io}


def test_every_strategy_keeps_the_budget_and_none_beats_the_program(analyzed):
    found = {
        name: analyzed.plan("320KB", strategy=name).convert() for name in ("milp", "greedy", "threshold", "uniform")
    }  # fmt: skip
    for name, result in found.items():
        assert len(result.model) <= 320_000, name
        assert found["milp"].plan_.predicted_nmse <= result.plan_.predicted_nmse * 1.001, name


def test_a_file_that_is_not_what_was_planned_is_not_passed_off_as_it(analyzed, tmp_path):
    import dataclasses

    from bitplan.analyzer.runs import RunFolder

    planned = analyzed.plan("310KB")
    other = analyzed.plan("none", allow=("w8a8",))
    folder = RunFolder.create(tmp_path / "run")
    (folder.path / "model.tflite").write_bytes(b"an older file")
    swapped = dataclasses.replace(planned, model=other.model, folder=folder)
    with pytest.raises(PlanMismatch):
        swapped.convert()
    assert (folder.path / "model.MISMATCH.tflite").is_file()
    assert not (folder.path / "model.tflite").exists()


def test_random_data_says_so_on_the_page(tmp_path):
    import bitplan as bp

    data, _, _ = demo()
    analyzed = bp.analyze(data, left_float=False)
    result = analyzed.plan().convert().save(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert result.calibration.random
    assert "Random calibration data" in page
    assert any("random values" in warning for warning in result.inputs.warnings)


def test_a_run_folder_opens_again_with_all_it_held(analyzed, tmp_path):
    import bitplan as bp

    result = analyzed.plan("310KB").convert().save(tmp_path / "out")
    again = bp.open_run(tmp_path / "out")
    assert again.plan_ == result.plan_
    assert again.sensitivity == result.sensitivity
    assert again.verification == result.verification
    assert again.model == result.model
    assert again.graph == result.graph


@pytest.mark.slow
def test_a_keras_model_with_a_tf_data_set(tmp_path):
    import bitplan as bp
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3, padding="same"), keras.layers.BatchNormalization(),
        keras.layers.ReLU(6.0), keras.layers.DepthwiseConv2D(3), keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4),
    ])  # fmt: skip
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(32) % 4)).batch(8)
    result = bp.analyze(model, dataset, evaluation=dataset, left_float=False).plan("none").convert().verify()
    float_accuracy = result.verification.find("float").error.accuracy
    expected = float((model.predict(x, verbose=0).argmax(1) == np.arange(32) % 4).mean())
    assert float_accuracy == pytest.approx(expected)


def test_a_users_metric_is_asked_for_every_sample(analyzed):
    import bitplan as bp

    data, images, _ = demo()
    x = images[:10].astype(np.float32) / 127.5 - 1

    def closeness(output, reference, label):
        return -float(np.abs(output - reference).sum())

    result = bp.analyze(data, x, evaluation=x, metric=closeness, left_float=False).plan("none", allow=("w8a8",))
    verification = result.convert().verify().verification
    plan = verification.find("plan")
    assert plan.drop_of == "metric"
    assert plan.error.metric < 0
    assert plan.drop_points.value == pytest.approx(-plan.error.metric)
    assert verification.find("float").error.metric == 0


def test_the_demo_data_are_what_they_claim():
    arrays = np.load(DEMO / "data.npz")
    assert len(arrays["x_calibration"]) == 256
    assert len(arrays["x_eval"]) >= 1000
    assert not {a.tobytes() for a in arrays["x_calibration"]} & {a.tobytes() for a in arrays["x_eval"]}

"""A run folder never passes one plan's results off as another's."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from bitplan.analyzer.errors import BitplanError, DataError, RunFolderError, UnsupportedModel, UsageError
from conftest_data import demo

pytestmark = pytest.mark.slow


@pytest.fixture
def images():
    _, images, labels = demo()
    return images.astype(np.float32) / 127.5 - 1, labels


def analyzed(out, images, count=6, **options):
    import bitplan as bp

    x, y = images
    return bp.analyze(
        demo()[0], x[:count], evaluation=(x[200:220], y[200:220]), left_float=False, out=out, **options
    )  # fmt: skip


def test_a_new_plan_takes_the_old_ones_file_and_judgement_away(tmp_path, images):
    import bitplan as bp

    run = analyzed(tmp_path / "run", images).plan("310KB").convert().verify()
    assert bp.check(tmp_path / "run", max_bytes="310KB").exit_code == 0
    run.plan("330KB")
    assert not (tmp_path / "run" / "model.tflite").exists()
    with pytest.raises(RunFolderError, match="verify"):
        bp.check(tmp_path / "run", max_bytes="310KB")


def test_the_same_plan_keeps_them(tmp_path, images):
    run = analyzed(tmp_path / "run", images).plan("310KB").convert().verify()
    before = (tmp_path / "run" / "verification.json").read_bytes()
    analyzed(tmp_path / "run", images).plan("310KB").convert()
    assert (tmp_path / "run" / "verification.json").read_bytes() == before
    assert run.model == (tmp_path / "run" / "model.tflite").read_bytes()


def test_another_analysis_takes_everything_behind_it_away(tmp_path, images):
    analyzed(tmp_path / "run", images).plan("310KB").convert().verify()
    analyzed(tmp_path / "run", images, count=4)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"plan.json", "model.tflite", "verification.json", "emitted.json"}


def test_an_edited_plan_asks_for_a_conversion(tmp_path, images):
    import bitplan as bp

    analyzed(tmp_path / "run", images).plan("310KB").convert()
    path = tmp_path / "run" / "plan.json"
    plan = json.loads(path.read_text())
    plan["assignments"][0]["scheme"] = "w16a8"
    path.write_text(json.dumps(plan))
    opened = bp.open_run(tmp_path / "run")
    assert any("edited by hand" in note for note in opened.inputs.notes)
    with pytest.raises(RunFolderError, match="bitplan convert"):
        opened.convert()
    opened.with_plan(opened.plan_).convert()


def test_a_plan_that_does_not_fit_leaves_the_folders_own_alone(tmp_path, images):
    run = analyzed(tmp_path / "run", images).plan("310KB").convert()
    before = (tmp_path / "run" / "plan.json").read_bytes()
    short = dataclasses.replace(run.plan_, assignments=run.plan_.assignments[:-1])
    with pytest.raises(UsageError, match="another network"):
        run.with_plan(short)
    assert (tmp_path / "run" / "plan.json").read_bytes() == before


def test_a_tampered_file_is_found(tmp_path, images):
    import bitplan as bp

    run = analyzed(tmp_path / "run", images).plan("310KB").convert()
    other = run.plan("none", allow=("w8a8",)).model
    run.plan("310KB").convert()
    (tmp_path / "run" / "model.tflite").write_bytes(other)
    with pytest.raises(BitplanError) as caught:
        bp.open_run(tmp_path / "run").convert()
    assert caught.value.exit_code == 3


def test_two_functions_of_one_name_are_two_metrics(tmp_path, images):
    def metric_of(value):
        def metric(output, reference, label):
            return value

        return metric

    for value in (1.0, 0.5):
        run = analyzed(tmp_path / "run", images, metric=metric_of(value)).plan("310KB").convert().verify()
        assert run.verification.find("plan").error.metric == value


def test_another_seed_draws_other_intervals_for_a_metric(tmp_path, images):
    def run_with(seed):
        return analyzed(tmp_path / "run", images, seed=seed).plan("310KB").convert().verify()

    assert run_with(0).verification == run_with(0).verification
    run_with(5)
    assert json.loads((tmp_path / "run" / "inputs.json").read_text())["options"]["seed"] == 5


def test_labels_out_of_range_are_refused(images):
    import bitplan as bp

    x, y = images
    with pytest.raises(DataError, match="10 classes"):
        bp.prepare(demo()[0], x[:4], evaluation=(x[:4], y[:4] * 0 + 12))


def test_verifying_on_the_calibration_data_is_warned_of(tmp_path, images):
    run = analyzed(None, images).plan("310KB").convert()
    x, y = images
    again = run.verify((x[:6], y[:6]))
    assert any("calibration samples too" in warning for warning in again.inputs.warnings)


def test_a_model_that_gives_nan_is_refused_by_name():
    import bitplan as bp
    from bitplan.analyzer.network import flatbuffer as fb

    model = fb.read(demo()[0])
    tensor = next(t for t in model.subgraphs[0].tensors if fb.constant(model, t) is not None and len(t.shape) == 4)
    fb.set_constant(model, tensor, np.full_like(fb.constant(model, tensor), np.nan))
    with pytest.raises(UnsupportedModel, match="not finite"):
        bp.analyze(fb.write(model), np.zeros((3, 28, 28, 1), np.float32), left_float=False)


def test_a_softmax_over_pixels_is_no_classifier():
    from bitplan.analyzer.network.graph import scores_classes
    from bitplan.analyzer.schema import Tensor

    assert scores_classes(Tensor(0, "", (1, 10), "float32"))
    assert not scores_classes(Tensor(0, "", (1, 8, 8, 5), "float32"))
    assert not scores_classes(Tensor(0, "", (1, 1), "float32"))


@pytest.mark.parametrize("options", [{"io": "uint8"}, {"strategy": "luck"}, {"allow": ()}, {"size_budget": "many"}])
def test_wrong_options_are_known_before_any_work(options):
    import bitplan as bp

    with pytest.raises(UsageError):
        bp.run("no-such-model.tflite", **options)


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    import subprocess
    import sys

    from bitplan.analyzer.runs import RunFolder

    code = "from bitplan.cli import main; main()"
    with RunFolder.create(tmp_path / "run").lock():
        result = subprocess.run(
            [sys.executable, "-c", code, "run", "model.tflite", "--out", str(tmp_path / "run")],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert result.returncode == 2
    assert "process" in result.stderr

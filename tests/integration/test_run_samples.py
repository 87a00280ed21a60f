"""Samples that change their class, and a calibration study, in a real run's folder and on its page."""

from __future__ import annotations

import json
import shutil

import bitplan as bp
import jsonschema
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from bitplan import verifying
from bitplan.analyzer.errors import DataError, RunFolderError, UsageError
from bitplan.api import calibrate_study
from bitplan.cli import app
from bitplan.reports.export import report_schema
from conftest_data import DEMO
from typer.testing import CliRunner

pytestmark = pytest.mark.slow

COUNT = 60
STUDY = {"sizes": (4, 16), "seeds": 2, "methods": ("min_max", "mse"), "held_back": 8}


def planned(folder, out):
    """A run whose file has weights of 4 bits, so that samples flip."""
    analyzed = bp.analyze(
        folder / "demo.tflite", f"{folder / 'few.npz'}:x,y", evaluation=f"{folder / 'few.npz'}:xe,ye", scale="tf",
        calibration_samples=16, sensitivity="linear", left_float=False, out=out,
    )  # fmt: skip
    return analyzed.plan("none", strategy="uniform", allow=("w4a8",), latency_budget="none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("samples")
    arrays = np.load(DEMO / "data.npz")
    np.savez(
        made / "few.npz", x=arrays["x_calibration"][:32], y=arrays["y_calibration"][:32],
        xe=arrays["x_eval"][:COUNT], ye=arrays["y_eval"][:COUNT],
    )  # fmt: skip
    shutil.copy(DEMO / "fashion_mobilenet.tflite", made / "demo.tflite")
    shutil.copy(DEMO / "labels.txt", made)
    planned(made, made / "run").convert().verify().report()
    return made


@pytest.fixture
def copied(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    return tmp_path / "run"


def top(path, images):
    """Classes by the interpreter alone, [n]."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None].astype(np.float32) / np.float32(127.5) - 1)
        interpreter.invoke()
        found.append(int(interpreter.get_tensor(answered["index"]).argmax()))
    return np.array(found)


def test_the_samples_are_those_of_the_interpreter_and_stand_on_the_page(folder):
    arrays, run = np.load(folder / "few.npz"), folder / "run"
    before, after = (top(run / name, arrays["xe"]) for name in ("float.tflite", "model.tflite"))
    flipped = np.flatnonzero(before != after)
    assert len(flipped) > 0
    document = json.loads((run / "report.json").read_text())
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    found = document["verification"]["flips"]
    assert {flip["index"] for flip in found["listed"]} == set(flipped.tolist())
    for flip in found["listed"]:
        k = flip["index"]
        assert (flip["float_class"], flip["quantized_class"]) == (before[k], after[k])
        assert flip["label"] == arrays["ye"][k] and flip["thumbnail"].startswith("data:image/png;base64,")
    right = [(classes == arrays["ye"]).sum() for classes in (before, after)]
    assert found["lost"] - found["gained"] == right[0] - right[1]
    page = (run / "report.html").read_text()
    assert f"{len(flipped)} of {COUNT} samples change" in page and "Ankle boot (9)" in page
    assert page.count('<img src="data:image/png') == len(flipped)


def test_what_was_verified_is_taken_as_it_is_until_the_samples_are_called_otherwise(folder, copied, monkeypatch):
    before = (copied / "verification.json").read_bytes()
    real = verifying.judge
    monkeypatch.setattr(verifying, "judge", lambda *_, **__: pytest.fail("the file was run again"))
    assert bp.open_run(copied).verify().verification.flips.total > 0
    monkeypatch.setattr(verifying, "judge", real)
    arrays = dict(np.load(folder / "few.npz"))
    other = copied.parent / "turned.npz"
    np.savez(other, xe=arrays["xe"][::-1], ye=arrays["ye"][::-1])
    turned = bp.open_run(copied).verify(f"{other}:xe,ye").verification
    first = json.loads(before)["flips"]
    assert {f.index for f in turned.flips.listed} == {COUNT - 1 - f["index"] for f in first["listed"]}
    assert turned.evaluations[0].error.accuracy is not None


def test_a_folder_without_them_is_reported_as_ever(copied):
    document = json.loads((copied / "verification.json").read_text())
    del document["flips"], document["class_names"]
    (copied / "verification.json").write_text(json.dumps(document))
    run = bp.open_run(copied).report()
    assert run.verification.flips is None and run.verification.samples == COUNT
    page = (copied / "report.html").read_text()
    assert 'id="flips"' not in page and 'id="table-comparison"' in page
    assert json.loads((copied / "report.json").read_text())["verification"]["flips"] is None


def test_without_evaluation_data_no_sample_is_shown(folder, tmp_path):
    data = f"{folder / 'few.npz'}:x,y"
    run = bp.analyze(
        folder / "demo.tflite", data, scale="tf", calibration_samples=8, sensitivity="linear", left_float=False
    ).plan("none", strategy="uniform", allow=("w4a8",), latency_budget="none")  # fmt: skip
    verified = run.convert().verify().verification
    assert verified.on_calibration and verified.flips is None and verified.class_names == ()


@pytest.fixture(scope="module")
def studied(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("studied") / "run"
    shutil.copytree(folder / "run", run)
    return run, calibrate_study(run, **STUDY)


def test_a_run_is_studied_on_its_own_data_and_its_page_shows_it(folder, studied):
    run, found = studied
    data = folder / "few.npz"
    alone = calibrate_study(
        folder / "demo.tflite", f"{data}:x,y", evaluation=f"{data}:xe,ye", scale="tf", **STUDY
    )  # fmt: skip
    assert found == alone, "the same data gives the same study"
    page = (run / "report.html").read_text()
    assert 'data-chart="study"' in page and page.index('id="flips"') < page.index('id="study"')
    assert "This run was calibrated on 16 samples." in page
    document = json.loads((run / "report.json").read_text())
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    assert document["study"]["pool"] == 16 and len(document["study"]["cells"]) == 8
    assert not (run / "cells.jsonl").exists(), "finished work lies in the user's cache"
    assert document["measured"]["study_s"] > 0 and document["verification"]["flips"]["listed"]


def test_the_study_stays_through_other_commands_and_a_new_plan(folder, studied, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(studied[0], run)
    assert bp.open_run(run).report().results().study == studied[1]
    replanned = bp.open_run(run).plan("340KB").convert().verify().report()
    assert replanned.results().study == studied[1] and 'id="study"' in (run / "report.html").read_text()
    bp.open_run(run).save(tmp_path / "elsewhere")
    assert bp.open_run(tmp_path / "elsewhere").results().study == studied[1]


def test_a_study_of_other_data_is_never_shown(folder, studied, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(studied[0], run)
    arrays = dict(np.load(folder / "few.npz"))
    np.savez(tmp_path / "other.npz", xe=arrays["xe"][:30], ye=arrays["ye"][:30])
    warnings = []
    bp.open_run(run, warn=warnings.append).verify(f"{tmp_path / 'other.npz'}:xe,ye").report()
    assert sum("study in the folder is one of another network" in warning for warning in warnings) == 1
    assert 'id="study"' not in (run / "report.html").read_text()
    assert json.loads((run / "report.json").read_text())["study"] is None
    # A study that somebody has laid into the folder of another run.
    foreign = tmp_path / "foreign"
    shutil.copytree(folder / "run", foreign)
    document = json.loads((studied[0] / "study.json").read_text())
    (foreign / "study.json").write_text(json.dumps({**document, "key": "of another network"}))
    assert bp.open_run(foreign).results().study is None


def test_data_that_has_gone_or_changed_is_refused(folder, copied, tmp_path):
    data = folder / "few.npz"
    whole = data.read_bytes()
    try:
        for name, word in (("x", "calibration"), ("xe", "evaluation")):
            arrays = dict(np.load(data))
            arrays[name] = arrays[name].copy()
            arrays[name][0] = 255 - arrays[name][0]
            np.savez(data, **arrays)
            with pytest.raises(DataError, match=f"the {word} data is no longer what the run was made from"):
                calibrate_study(copied, **STUDY)
            data.write_bytes(whole)
        data.unlink()
        with pytest.raises(DataError):
            calibrate_study(copied, **STUDY)
    finally:
        data.write_bytes(whole)
    assert not (copied / "study.json").exists() and not (copied / "cells.jsonl").exists()


def test_what_makes_no_sense_is_refused(folder, copied, tmp_path):
    with pytest.raises(UsageError, match="cannot be given calibration, scale"):
        calibrate_study(copied, f"{folder / 'few.npz'}:x", scale="tf")
    with pytest.raises(RunFolderError, match="neither a run nor a SavedModel"):
        calibrate_study(tmp_path)
    with pytest.raises(UsageError, match="there is no file or folder"):
        calibrate_study(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="needs calibration data"):
        calibrate_study(folder / "demo.tflite")
    random = bp.analyze(folder / "demo.tflite", sensitivity="linear", left_float=False, out=tmp_path / "random")
    with pytest.raises(DataError, match="without calibration data"):
        calibrate_study(random)
    images = np.load(folder / "few.npz")["x"].astype(np.float32) / 127.5 - 1
    given = bp.analyze(
        folder / "demo.tflite", images, calibration_samples=8, sensitivity="linear", left_float=False,
        out=tmp_path / "given",
    )  # fmt: skip
    assert calibrate_study(given, **{**STUDY, "sizes": (4,)}).pool == 4
    assert 'id="table-study"' in (tmp_path / "given" / "report.html").read_text()
    with pytest.raises(DataError, match="Python object"):
        calibrate_study(tmp_path / "given", **STUDY)


def test_the_command_takes_a_run_and_none_of_what_it_has(studied, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(studied[0], run)
    (run / "study.json").unlink()
    design = ["--sizes", "4,16", "--seeds", "2", "--methods", "min_max,mse", "--held-back", "8"]
    done = CliRunner().invoke(app, ["calibrate-study", str(run), *design])
    assert done.exit_code == 0 and f"{run}/study.json" in done.stdout and "| mse" in done.stdout
    assert bp.open_run(run).results().study == studied[1]
    # Also where what is given is what it would be anyway.
    for option, value in (("--scale", "raw"), ("--out", "bitplan-study"), ("--calibration", "x.npz:x")):
        refused = CliRunner().invoke(app, ["calibrate-study", str(run), *design, option, value])
        assert isinstance(refused.exception, UsageError) and option in refused.exception.problem

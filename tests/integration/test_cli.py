"""The commands as people type them, in processes of their own."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest_data import DEMO, demo

DATA = DEMO / "data.npz"
MODEL = DEMO / "fashion_mobilenet.tflite"
CALIBRATION = f"{DATA}:x_calibration,y_calibration"
EVALUATION = f"{DATA}:x_eval,y_eval"


def bitplan(*arguments, cwd=None, check=0):
    command = [sys.executable, "-c", "from bitplan.cli import main; main()", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600)
    assert result.returncode == check, result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A small data file: 16 calibration and 60 evaluation images."""
    arrays = np.load(DATA)
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(
        path, x=arrays["x_calibration"][:16], y=arrays["y_calibration"][:16], xe=arrays["x_eval"][:60],
        ye=arrays["y_eval"][:60],
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def finished(few, tmp_path_factory):
    """A whole run on few images."""
    out = tmp_path_factory.mktemp("run") / "out"
    result = bitplan(
        "run", MODEL, "--calibration", f"{few}:x,y", "--evaluation", f"{few}:xe,ye", "--scale", "tf",
        "--size-budget", "310KB", "--no-left-float", "--out", out,
    )  # fmt: skip
    return out, result


def test_run_writes_every_file_of_the_contract(finished):
    out, result = finished
    for name in (
        "model.tflite", "plan.json", "recipe.json", "sensitivity.json", "verification.json", "report.json",
        "report.html",
    ):  # fmt: skip
        assert (out / name).stat().st_size > 0
        assert str(out / name) in result.stdout
    assert (out / "model.tflite").stat().st_size <= 310_000
    assert not list(out.glob(".*.tmp"))


def test_the_ten_worst_can_be_pasted(finished):
    lines = [line for line in finished[1].stdout.splitlines() if line.startswith("|")]
    assert len(lines) >= 12
    assert len({line.count("|") for line in lines[:12]}) == 1


def test_json_is_one_document_on_stdout(finished, few):
    out, _ = finished
    document = json.loads(bitplan("report", out, "--json").stdout)
    assert (document["format"], document["version"]) == ("bitplan-report", 1)
    inventory = json.loads(bitplan("inspect", MODEL, "--json").stdout)
    assert inventory["format"] == "bitplan-report" and inventory["plan"] is None


@pytest.mark.slow
def test_stages_go_on_from_a_run_folder(finished, few, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    bitplan("plan", out, "--size-budget", "none", "--allow", "w8a8,w8a16")
    plan = json.loads((out / "plan.json").read_text())
    assert {a["scheme"] for a in plan["assignments"]} <= {"w8a8", "w8a16"}
    bitplan("convert", out)
    bitplan("verify", out, "--evaluation", f"{few}:xe,ye")
    verification = json.loads((out / "verification.json").read_text())
    assert verification["mismatches"] == []
    assert verification["evaluations"][0]["file_bytes"] > verification["evaluations"][1]["file_bytes"]
    bitplan("report", out)


def test_an_edited_plan_is_what_comes_out(finished, tmp_path):
    import shutil

    from bitplan.analyzer.network import flatbuffer as fb

    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    plan = json.loads((out / "plan.json").read_text())
    stem = next(a for a in plan["assignments"] if a["layer"] == "stem")
    stem["scheme"] = "float"
    (out / "plan.json").write_text(json.dumps(plan))
    bitplan("convert", out)
    model = fb.read((out / "model.tflite").read_bytes())
    convolution = next(op for op in model.subgraphs[0].operators if fb.opcode_name(model, op) == "CONV_2D")
    assert fb.dtype_name(model.subgraphs[0].tensors[convolution.inputs[1]]) == "float32"


def test_a_scheme_that_does_not_exist_is_named_with_its_place(finished, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    plan = json.loads((out / "plan.json").read_text())
    plan["assignments"][2]["scheme"] = "w8a61"
    (out / "plan.json").write_text(json.dumps(plan))
    result = bitplan("convert", out, check=2)
    assert "assignments[2].scheme" in result.stderr and "w8a61" in result.stderr


def test_check_answers_with_its_exit_code(finished):
    out, _ = finished
    assert "holds" in bitplan("check", out, "--max-bytes", "310KB").stdout
    assert "BROKEN" in bitplan("check", out, "--max-bytes", "200KB", check=1).stdout
    assert "undecided" in bitplan("check", out, "--max-drop", "0.5pt", check=5).stdout
    assert json.loads(bitplan("check", out, "--max-drop", "90", "--json").stdout)["exit_code"] == 0


def test_an_impossible_budget_says_the_smallest(finished):
    result = bitplan("plan", finished[0], "--size-budget", "20KB", check=1)
    assert "smallest" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("inspect", "nothing.tflite"), "nothing.tflite"),
        (("run", MODEL, "--calibration", "nothing.npz:x"), "nothing.npz"),
        (("run", MODEL, "--calibration", CALIBRATION, "--size-budget", "lots"), "lots"),
        (("run", MODEL, "--calibration", CALIBRATION, "--allow", "w3a3"), "w3a3"),
        (("run", MODEL, "--calibration", CALIBRATION, "--target", "toaster"), "toaster"),
        (("plan", "no-such-folder"), "no-such-folder"),
    ],
)
def test_mistakes_are_two_lines_and_exit_code_2(arguments, word, tmp_path):
    result = bitplan(*arguments, *(["--out", "o"] if arguments[0] == "run" else []), cwd=tmp_path, check=2)
    assert word in result.stderr


@pytest.mark.parametrize("arguments", [("run",), ("nosuch",), ("run", MODEL, "--io", "banana"), ("plan", "nowhere")])
def test_errors_are_one_json_document_too(arguments, tmp_path):
    result = bitplan(*arguments, "--json", cwd=tmp_path, check=2)
    document = json.loads(result.stdout)
    assert document["exit_code"] == 2 and document["error"]


def test_a_damaged_file_is_not_what_was_planned(finished, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    (out / "model.tflite").write_bytes((out / "model.tflite").read_bytes()[:5000])
    bitplan("verify", out, check=3)
    assert (out / "model.MISMATCH.tflite").is_file() and not (out / "model.tflite").exists()


def test_a_folder_of_something_else_is_not_written_into(tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    bitplan("run", MODEL, "--out", tmp_path, check=2)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_gives_the_same_table(few, tmp_path, monkeypatch):
    arguments = ["analyze", MODEL, "--calibration", f"{few}:x,y", "--scale", "tf", "--no-left-float"]
    arguments += ["--sensitivity", "exact"]
    monkeypatch.setenv("BITPLAN_CACHE", str(tmp_path / "another cache"))
    bitplan(*arguments, "--out", tmp_path / "whole")
    monkeypatch.setenv("BITPLAN_CACHE", str(tmp_path / "cache"))
    command = [sys.executable, "-c", "from bitplan.cli import main; main()", *map(str, arguments)]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120

    def kept():
        return sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.jsonl"))

    while time.monotonic() < deadline and kept() < 20_000:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = kept()
    assert before >= 20_000, "it was killed before anything was saved"
    assert not (tmp_path / "killed" / "sensitivity.json").exists(), "it was killed after the sweep"
    bitplan(*arguments, "--out", tmp_path / "killed")
    whole = sum(path.stat().st_size for path in (tmp_path / "another cache").glob("*.jsonl"))
    assert before < kept() < before + whole, "what had been saved was measured once more"
    assert (tmp_path / "killed" / "sensitivity.json").read_bytes() == (
        tmp_path / "whole" / "sensitivity.json"
    ).read_bytes()


@pytest.mark.slow
def test_order_of_samples_and_labels_of_the_evaluation_change_nothing(few, tmp_path):
    """Same images in another order, evaluation labels permuted: the same plan and the same file, byte for byte."""
    arrays = dict(np.load(few))
    order = np.random.default_rng(1).permutation(16)
    other = tmp_path / "other.npz"
    np.savez(other, x=arrays["x"][order], y=arrays["y"][order], xe=arrays["xe"], ye=np.roll(arrays["ye"], 7))
    for name, data in (("a", few), ("b", other)):
        bitplan(
            "run", MODEL, "--calibration", f"{data}:x,y", "--evaluation", f"{data}:xe,ye", "--scale", "tf",
            "--size-budget", "310KB", "--no-left-float", "--out", tmp_path / name,
        )  # fmt: skip
    for name in ("model.tflite", "plan.json", "sensitivity.json", "recipe.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.slow
def test_audit_of_a_file_finds_what_was_planted(tmp_path):
    """One layer's weights are spoiled in an int8 file; the audit names that layer first."""
    from bitplan.analyzer.conversion.converter import convert
    from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
    from bitplan.analyzer.measures.calibration import calibrate
    from bitplan.analyzer.network import flatbuffer as fb
    from bitplan.analyzer.network.graph import build_graph
    from bitplan.analyzer.schema import Plan
    from bitplan.strategies.assignment.choices import uniform_schemes

    data, images, _ = demo()
    graph = build_graph(data)
    samples = load_samples(
        images[:32], (InputSpec("image", (1, 28, 28, 1), "float32"),), Preprocessing(scale="tf"), warn=print
    )
    calibration = calibrate(data, graph, samples)
    plan = Plan.bare(graph, [s.name for s in uniform_schemes(graph, "w8a8")])
    model = fb.read(convert(data, graph, calibration, plan).model)
    victim = next(op for op in graph.ops if op.layer == "block_3_depthwise")
    subgraph = model.subgraphs[0]
    names = [fb.text(t.name) for t in subgraph.tensors]
    tensor = subgraph.tensors[names.index(graph.tensors[victim.weights].name)]
    tensor.quantization.scale = tensor.quantization.scale * np.float32(1.5)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(fb.write(model))
    out = tmp_path / "audit"
    result = bitplan(
        "audit", MODEL, broken, "--evaluation", EVALUATION, "--scale", "tf", "--samples", "32", "--out", out
    )
    found = json.loads((out / "audit.json").read_text())
    assert found["sources"][0]["layer"] == "block_3_depthwise"
    assert found["sources"][0]["name"] == "weights"
    assert (found["causes"][0]["name"], found["causes"][0]["layer"]) == ("scale_corrupted", "block_3_depthwise")
    assert found["causes"][0]["share_of_error"] > 0.5
    assert found["matched_ops"] == found["total_ops"] == len(graph.ops)
    assert "block_3_depthwise" in result.stdout
    assert pathlib.Path(out / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_vectors_go_to_a_board_and_its_answers_come_back_into_an_audit_that_can_be_checked(finished, few, tmp_path):
    """The whole round as people type it; the board replays what LiteRT answered."""
    quantized, data = finished[0] / "model.tflite", ("--evaluation", f"{few}:xe,ye", "--scale", "tf")
    (tmp_path / "figures.py").write_text("def top1(o, t):\n    return (o.argmax(1) == t).mean()\n")
    vectors, out = tmp_path / "vectors", tmp_path / "audit"
    shown = bitplan("export-vectors", quantized, *data, "--samples", "8", "--out", vectors).stdout
    assert "output_0.bin" in shown and "8x1x10" in shown
    said = bitplan(
        "audit", MODEL, quantized, *data, "--samples", "2", "--device", vectors / "outputs.npz",
        "--set-metric", "figures:top1", "--out", out, cwd=tmp_path,
    ).stdout  # fmt: skip
    assert "The device answers exactly what LiteRT with XNNPACK does, on all 8 samples." in said
    found = json.loads((out / "audit.json").read_text())
    drop, metric = found["evaluation"]["drop_points"]["value"], found["drop"]["set_metric"]["drop"]["value"]
    assert metric == pytest.approx(drop / 100) and found["drop"]["flips"]["samples"] == 60
    assert "holds" in bitplan("check", out, "--max-bytes", "310KB").stdout
    answer = json.loads(bitplan("check", out, "--max-drop", "0.1pt", "--json", check=5).stdout)
    assert answer["exit_code"] == 5 and "needs about" in answer["line"]


def test_an_undecided_check_says_how_many_images_would_decide(finished):
    from bitplan.analyzer.measures.statistics import samples_needed

    out, _ = finished
    line = bitplan("check", out, "--max-drop", "0.5pt", check=5).stdout
    verification = json.loads((out / "verification.json").read_text())
    plan = next(e for e in verification["evaluations"] if e["name"] == "plan" and not e["subset"])
    worse, better = plan["discordant"]
    assert plan["drop_points"]["value"] == pytest.approx(100 * (worse - better) / 60)
    differences = [100.0] * worse + [-100.0] * better + [0.0] * (60 - worse - better)
    needed = samples_needed(differences, 0.5, unit=100.0)
    assert f"needs about {-(-needed // 100) * 100} images" in line


@pytest.mark.slow
def test_the_cache_is_shown_and_cleared(few, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("BITPLAN_CACHE", str(folder))
    assert str(folder) in bitplan("cache").stdout
    bitplan(
        "analyze", MODEL, "--calibration", f"{few}:x,y", "--scale", "tf", "--sensitivity", "exact", "--no-left-float",
        "--workers", "2", "--out", tmp_path / "out",
    )  # fmt: skip
    shown = bitplan("cache").stdout
    assert "fashion_mobilenet" in shown and "results" in shown
    (entry,) = json.loads(bitplan("cache", "--json").stdout)["entries"]
    assert entry["results"] > 100 and len(entry["digest"]) == 64
    assert "--clear" in bitplan("cache", "--older-than", "30d", check=2).stderr
    assert "no age" in bitplan("cache", "--clear", "--older-than", "soon", check=2).stderr
    assert json.loads(bitplan("cache", "--clear", "--older-than", "30d", "--json").stdout)["removed"] == []
    assert len(json.loads(bitplan("cache", "--clear", "--json").stdout)["removed"]) == 1
    assert list(folder.iterdir()) == []


def test_workers_and_a_scheduler_contradict_each_other(tmp_path):
    result = bitplan(
        "analyze", MODEL, "--workers", "2", "--scheduler", "tcp://127.0.0.1:1", "--out", tmp_path / "out", check=2
    )
    assert "give one of the two" in result.stderr


@pytest.mark.slow
def test_a_stopped_command_says_how_to_go_on(few, tmp_path, monkeypatch):
    monkeypatch.setenv("BITPLAN_CACHE", str(tmp_path / "cache"))  # else there may be nothing left to measure
    arguments = ["analyze", MODEL, "--calibration", f"{few}:x,y", "--scale", "tf", "--sensitivity", "exact"]
    command = [sys.executable, "-c", "from bitplan.cli import main; main()", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True,
        # A shell's background jobs ignore the signal, and so do their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    said = []
    for line in process.stderr:
        said.append(line)
        if "Measuring" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "the same command goes on" in said[-1]
    assert "Traceback" not in "".join(said)

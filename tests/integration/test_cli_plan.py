"""`bitplan plan` and `bitplan diff` as people type them, on one analyzed folder."""

from __future__ import annotations

import json
import shutil

import pytest
from bitplan.strategies.targets import load_target, to_toml
from test_cli import DATA, MODEL, bitplan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory):
    out = tmp_path_factory.mktemp("analyzed") / "out"
    bitplan("analyze", MODEL, "--calibration", f"{DATA}:x_calibration,y_calibration", "--calibration-samples", 12,
            "--scale", "tf", "--no-left-float", "--sensitivity", "linear", "--out", out)  # fmt: skip
    return out


@pytest.fixture
def folder(analyzed, tmp_path):
    shutil.copytree(analyzed, tmp_path / "out")
    return tmp_path / "out"


def plan_in(path):
    return json.loads((path / "plan.json").read_text())


def test_the_default_target_is_a_cpu_and_its_slow_kernels_are_avoided(folder):
    said = bitplan("plan", folder).stdout
    plan = plan_in(folder)
    assert plan["target"] == "litert-cpu" and plan["latency_budget"] == pytest.approx(1.3)
    assert plan["predicted_latency"] <= 1.3
    assert "Flash (file)" in said and "RAM (arena)" in said and "litert-cpu" in said


def test_a_budget_that_takes_time_says_so_instead_of_failing(folder):
    result = bitplan("plan", folder, "--size-budget", "250KB")
    assert "times its time is allowed" in result.stderr
    assert 1.3 < plan_in(folder)["predicted_latency"] <= plan_in(folder)["latency_budget"]


def test_a_table_of_ones_own_is_a_target_like_any_other(folder, tmp_path):
    toml = to_toml(load_target("coral")).replace("Google Coral", "My own")
    (tmp_path / "mine.toml").write_text(toml)
    bitplan("plan", folder, "--target", tmp_path / "mine.toml", "--size-budget", "none")
    assert plan_in(folder)["target"] == "mine"
    assert {a["scheme"] for a in plan_in(folder)["assignments"]} <= {"w8a8", "w16a8"}
    assert "My own" in (folder / "target.toml").read_text()
    bitplan("convert", folder)


def test_a_target_with_one_scale_for_a_tensor_has_its_weights_measured_first(folder):
    assert json.loads((folder / "sensitivity.json").read_text())["per_channel"]
    bitplan("plan", folder, "--target", "stm32-npu", "--size-budget", "none")
    assert not plan_in(folder)["per_channel"]
    assert not json.loads((folder / "sensitivity.json").read_text())["per_channel"]
    bitplan("convert", folder)
    bitplan("plan", folder, "--target", "any", "--allow", "w8a8")
    assert plan_in(folder)["per_channel"]


def test_the_exit_code_says_whether_a_drop_holds(folder):
    bitplan("plan", folder, "--max-drop", "50pt", "--allow", "w4a8,w8a8", "--latency-budget", "none")
    small = plan_in(folder)["predicted_bytes"]
    assert plan_in(folder)["minimised"] == "file_bytes"
    result = bitplan("plan", folder, "--max-drop", "0.01pt", "--allow", "w4a8,w8a8", check=5)
    assert plan_in(folder)["predicted_bytes"] > small
    trial = json.loads((folder / "planning.json").read_text())["trial"]
    assert trial["answer"] == "undecided" and trial["held_back"] and trial["samples"] == 244
    assert any("more images" in line for line in trial["advice"])
    assert "more images" in result.stdout


def test_the_frontier_is_printed_beside_what_greedy_does(folder):
    said = bitplan("plan", folder, "--size-budget", "none", "--allow", "w4a8,w8a8", "--latency-budget", "none",
                   "--pareto", "size", "--verify-points", 1).stdout  # fmt: skip
    assert "The frontier" in said and "greedy" in said
    frontier = json.loads((folder / "planning.json").read_text())["frontier"]
    assert sum(point["measured_nmse"] is not None for point in frontier["points"]) == 1


def test_two_plans_are_compared(folder, tmp_path):
    bitplan("plan", folder, "--allow", "w8a8", "--size-budget", "none")
    shutil.copytree(folder, tmp_path / "int8")
    bitplan("plan", folder, "--allow", "w4a8,w8a8", "--size-budget", "250KB", "--latency-budget", "none")
    said = bitplan("diff", tmp_path / "int8", folder).stdout
    changed = sum(a["scheme"] == "w4a8" for a in plan_in(folder)["assignments"])
    assert said.count("| w8a8 ") == said.count("| w4a8 ") == changed > 0
    same = json.loads(bitplan("diff", folder / "plan.json", folder, "--json").stdout)
    assert same["plans"]["bytes_change"] == 0 and same["before"] is None
    assert "nothing" in bitplan("diff", tmp_path / "nothing", folder, check=2).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arena-budget", "2KB", "--allow", "w4a8,w8a8"), ("arena", "--arena-budget")),
        (("--latency-budget", "0.1x"), ("latency", "--latency-budget")),
        (("--bops-budget", "10"), ("bit operations", "--bops-budget")),
        (("--target", "coral", "--allow", "w8a16"), ()),
    ],
)
def test_what_cannot_be_had_says_the_least_that_can(folder, arguments, words):
    code = 0 if not words else 1
    result = bitplan("plan", folder, *arguments, check=code)
    for word in words:
        assert word in result.stderr
    if not words:
        assert {a["scheme"] for a in plan_in(folder)["assignments"]} == {"w8a8"}

"""What is read from the words of other tools, and what is said where a tool is not there."""

from __future__ import annotations

import importlib.metadata

import pytest
from bitplan.analyzer.conversion.devices import second_opinion, unavailable
from bitplan.analyzer.conversion.devices.micro import refusal_in
from bitplan.analyzer.conversion.devices.vela import SETTINGS, setting_of
from bitplan.analyzer.schema import Format, Opinion, Target
from bitplan.strategies.targets import load_target


def target(name: str, runtime: str) -> Target:
    return Target(name, f"the {name}", runtime, True, True, (Format.INT8,), {}, {}, {})


@pytest.mark.parametrize("name", ["coral", "stm32-npu", "litert-cpu", "qualcomm-htp"])
def test_targets_without_a_tool_have_no_opinion_and_say_so(name):
    found = load_target(name)
    assert second_opinion(found, b"") is None
    assert unavailable(found) == f"{found.title} has no tool of its own that Bitplan can run"


@pytest.mark.parametrize(("name", "extra"), [("tflite-micro", "tflite-micro"), ("ethos-u55", "vela")])
def test_a_tool_that_is_not_installed_is_named_with_its_extra(monkeypatch, name, extra):
    def missing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    found = load_target(name)
    assert second_opinion(found, b"") is None
    assert f"pip install 'bitplan[{extra}]'" in unavailable(found)


def test_a_target_of_ones_own_is_compiled_for_the_accelerator_that_its_name_begins_with():
    assert setting_of(target("ethos-u85-prototype", "vela")) == SETTINGS["ethos-u85"]
    assert setting_of(load_target("ethos-u55")) == SETTINGS["ethos-u55"]
    assert setting_of(target("our-chip", "vela")) is None


def test_an_unknown_accelerator_is_refused_with_the_names_that_would_do(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "5.2.0")
    assert "ethos-u55 or ethos-u85" in unavailable(target("our-chip", "vela"))
    assert second_opinion(target("our-chip", "vela"), b"") is None


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        (
            "Didn't find op for builtin opcode 'GELU'\nFailed to get registration from op code GELU\n \nTraceback",
            "it has no GELU",
        ),
        (
            "tensorflow/lite/micro/kernels/gather_nd.cc:34 NumInputs(node) != 2 (1 != 2)\n"
            "Node GATHER_ND (number 7) failed to prepare with status 1\nTraceback (most recent call last):",
            "op 7 of the file, GATHER_ND: NumInputs(node) != 2 (1 != 2)",
        ),
        ("Traceback (most recent call last):\n  File\nRuntimeError: something else", "RuntimeError: something else"),
        ("", "it gives no reason"),
    ],
)
def test_a_refusal_names_the_op(said, refusal):
    assert refusal_in(said) == refusal


def test_an_opinion_says_whose_figures_it_has():
    opinion = Opinion("vela", "ethos-u-vela", "5.2.0", "compiled for ethos-u55-128")
    assert opinion.source == "ethos-u-vela 5.2.0: compiled for ethos-u55-128"

"""Emitted files: recipes and names, bytes, and what is refused."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.conversion import converter
from bitplan.analyzer.conversion.emission import emit
from bitplan.analyzer.conversion.recipe import targets
from bitplan.analyzer.errors import DataError, UnsupportedModel, UsageError
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.schema import Format, Plan
from converter_networks import HOSTILE, NEIGHBOURS, RELU6, conv_net, inputs, noise, quantizer_alone

# --- recipes and names ------------------------------------------------------------------------------------------------


def test_every_recipe_entry_hits_exactly_one_op(network, convert):
    net, output = conv_net(network)
    conversion = convert(net.build([output]), inputs(), ["w16a8", "float", "w8a8"], Format.INT8)
    everything = targets(fb.read(conversion.prepared))
    assert len(conversion.recipe) == len(everything) == 3 + 2 + 2
    for entry in conversion.recipe:
        hits = [t for t in everything if t.operation == entry["operation"] and re.search(entry["regex"], t.scope)]
        assert len(hits) == 1


@pytest.mark.parametrize("names", [HOSTILE[:3], HOSTILE[3:], NEIGHBOURS], ids=["metacharacters", "long", "prefixes"])
def test_hostile_names_are_matched_whole(network, convert, interpret, sqnr_db, names):
    from litert_quantizer.utils import tfl_flatbuffer_utils as utils

    net, output = conv_net(network, names)
    data, samples = net.build([output]), inputs()
    conversion = convert(data, samples, ["w8a8", "w16a16", "float"])
    assert sqnr_db(interpret(data, samples), interpret(conversion.model, samples)) > 25
    found = [fb.text(t.name) for t in fb.read(conversion.model).subgraphs[0].tensors]
    assert set(names) <= set(found)
    model = fb.read(conversion.prepared)
    scopes = [utils.get_op_scope(op, model.subgraphs[0].tensors) for op in model.subgraphs[0].operators]
    assert [t.scope for t in targets(model)[: len(scopes)]] == scopes


def test_ops_that_the_quantizer_cannot_tell_apart_are_refused(network, calibrated):
    """It cuts names at 10 000 characters."""
    net = network()
    x = net.input("x", (1, 4))
    y = net.op("ADD", [x, x], [net.tensor("n" * 12_000 + "1", (1, 4))])
    z = net.op("ADD", [y, x], [net.tensor("n" * 12_000 + "2", (1, 4))])
    data = net.build([z])
    graph, calibration = calibrated(data, inputs(2, (1, 4)))
    with pytest.raises(UnsupportedModel, match="2 ops of kind ADD"):
        converter.convert(data, graph, calibration, Plan.bare(graph, ["w8a8"] * 2))


def test_a_saved_recipe_makes_the_same_file_with_the_quantizer_alone(network, convert, tmp_path):
    net, output = conv_net(network)
    conversion = convert(net.build([output]), inputs(), ["w16a8", "float", "w8a8"], Format.INT8)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(conversion.recipe))
    assert fb.write(fb.read(quantizer_alone(conversion, str(path)))) == conversion.model


def test_six_hundred_ops_convert(network, convert):
    """`re` caches 512 patterns; searched as strings, each would be compiled again for each op."""
    net = network()
    last = net.input("x", (1, 4))
    for k in range(600):
        last = net.op("ADD", [last, last], [net.tensor(f"{'model/layer/' * 20}{k}", (1, 4))])
    data = net.build([last])
    convert(data, [[np.full((1, 4), 1e-9, np.float32)]], ["w8a8"] * 600)


def test_border_tensors_do_not_repeat_long_names(network, convert):
    long = [name * 100 for name in ("abc", "def", "ghi")]
    net, output = conv_net(network, long)
    model = convert(net.build([output]), inputs(), ["w8a8", "w8a16", "float"]).model
    for name in long:
        assert model.count(name.encode()) == 1


def test_names_like_those_of_border_tensors_stay_unique(network, convert, interpret, sqnr_db):
    net, output = conv_net(network, ("y", "y_quantized", "y_dequant"))  # its biases are called b0, b1, b2
    other = net.op("ADD", [output, output], [net.tensor("y_dequant_quantized", (1, 4))])
    data, samples = net.build([output, other]), inputs()
    model = convert(data, samples, ["w8a8", "w8a16", "w8a8", "w8a16"]).model
    names = [t.name for t in fb.read(model).subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert sqnr_db(interpret(data, samples), interpret(model, samples)) > 25


@pytest.mark.parametrize("io_format", list(Format))
def test_a_file_that_is_written_again_stays_as_it_is(network, convert, io_format):
    net, output = conv_net(network)
    model = convert(net.build([output]), inputs(), ["w8a8", "w8a16", "float"], io_format).model
    parsed = fb.read(model)
    assert fb.write(parsed) == model
    assert [fb.text(parsed.subgraphs[0].tensors[t].name) for t in parsed.subgraphs[0].outputs] == ["c"]


# --- files ------------------------------------------------------------------------------------------------------------


def big_net(network):
    net = network()
    x = net.input("x", (1, 600))
    y = net.op(
        "FULLY_CONNECTED", [x, net.constant("w", noise(600, 600)), net.constant("b", noise(600))],
        [net.tensor("y", (1, 600))], fusedActivationFunction=RELU6,
    )  # fmt: skip
    z = net.op("FULLY_CONNECTED", [y, net.constant("v", noise(10, 600)), -1], [net.tensor("z", (1, 10))])
    return net.build([z])


def test_buffers_lie_inside_the_file_though_the_quantizer_puts_them_behind(network, convert):
    from ai_edge_litert import schema_py_generated as schema

    conversion = convert(big_net(network), inputs(4, (1, 600)), ["w8a8", "w8a8"])
    raw = quantizer_alone(conversion)

    def outside(data):
        model = schema.Model.GetRootAs(data)
        return sum(model.Buffers(k).Offset() > 1 for k in range(model.BuffersLength()))

    assert outside(raw) > 0, "the quantizer no longer does it: this test and the mending have lost their reason"
    assert outside(conversion.model) == 0


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16", "w16a8", "w16a16"])
def test_litert_and_tflite_micro_agree_on_a_file_above_256_kib(network, convert, scheme):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="tflite-micro is not installed")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    samples = inputs(4, (1, 600))
    model = convert(big_net(network), samples, [scheme, scheme], Format.INT8).model
    assert len(model) > 256 * 1024
    lite = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    lite.allocate_tensors()
    micro = runtime.Interpreter.from_bytes(model, arena_size=400_000)
    scale, zero = lite.get_input_details()[0]["quantization"]
    for sample in samples:
        given = np.clip(np.rint(sample[0] / scale) + zero, -128, 127).astype(np.int8)
        lite.set_tensor(lite.get_input_details()[0]["index"], given)
        lite.invoke()
        micro.set_input(given, 0)
        micro.invoke()
        wanted = lite.get_tensor(lite.get_output_details()[0]["index"])
        assert np.abs(micro.get_output(0).astype(int) - wanted).max() <= 1, "int16 rounding may differ by one step"
        assert np.abs(wanted).max() > 20


def test_old_readers_find_every_operator_code(network, convert):
    net, output = conv_net(network)
    parsed = fb.read(convert(net.build([output]), inputs(), ["w16a8", "w8a16", "float"]).model)
    for code in parsed.operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)


def test_plans_do_not_leak_into_each_other(network, convert):
    net, output = conv_net(network)
    data, samples = net.build([output]), inputs()
    plans = [("w8a8",) * 3, ("w16a16", "float", "w4a8"), ("float",) * 3, ("w8a16",) * 3]
    first = [convert(data, samples, p) for p in plans]
    again = [convert(data, samples, p) for p in reversed(plans)][::-1]
    assert [c.model for c in first] == [c.model for c in again]
    assert [c.ranges for c in first] == [c.ranges for c in again]


SCRIPT = """
import hashlib, pickle, sys
from bitplan.analyzer.conversion.converter import convert
arguments = pickle.load(open(sys.argv[1], "rb"))
print(hashlib.sha256(convert(*arguments).model).hexdigest())
"""


def test_two_processes_give_the_same_bytes(network, calibrated, tmp_path):
    import pickle

    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    plan = Plan.bare(graph, ["w16a8", "w8a16", "float"])
    path = tmp_path / "arguments"
    path.write_bytes(pickle.dumps((data, graph, calibration, plan)))
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path)], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]
    here = converter.convert(data, graph, calibration, plan).model
    assert runs[0].strip() == fb.digest(here)


def test_nothing_is_printed_and_logging_is_left_as_it_was(network, calibrated, capsys):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    handlers, disabled = list(logging.getLogger().handlers), logging.root.manager.disable
    capsys.readouterr()
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            converter.convert(data, graph, calibration, Plan.bare(graph, ["w8a8"] * 3))
        assert (out.getvalue(), err.getvalue()) == ("", "")
        assert logging.getLogger().handlers == []
        assert logging.root.manager.disable == disabled
    finally:
        logging.getLogger().handlers[:] = handlers


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_plan_for_another_network_names_the_first_difference(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    plan = Plan.bare(graph, ["w8a8"] * 3)
    first, second, third = plan.assignments
    other = replace(plan, assignments=(first, replace(second, op="1:ADD:1x2"), third))
    with pytest.raises(UsageError, match=r"op 1 is 1:DEPTHWISE_CONV_2D:1x3x3x6 here and 1:ADD:1x2 in the plan"):
        converter.convert(data, graph, calibration, other)
    short = replace(plan, assignments=plan.assignments[:2])
    with pytest.raises(UsageError, match="it has 2 ops, the model 3"):
        converter.convert(data, graph, calibration, short)


def test_a_scheme_that_the_op_does_not_have_is_refused_with_those_it_has(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    plan = Plan.bare(graph, ["w8a8", "w4a8", "w8a8"])
    with pytest.raises(UsageError, match="cannot be w4a8") as caught:
        converter.convert(data, graph, calibration, plan)
    assert "w8a8" in caught.value.remedy


@pytest.mark.parametrize("lost", ["in", "b"])
def test_a_missing_range_is_an_error_never_a_default(network, calibrated, lost):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    index = next(t.index for t in graph.tensors if t.name == lost)
    poorer = replace(calibration, ranges={t: r for t, r in calibration.ranges.items() if t != index})
    with pytest.raises(DataError, match=f"'{lost}' has no calibrated range"):
        converter.convert(data, graph, poorer, Plan.bare(graph, ["float"] * 3))


def test_a_missing_partial_sum_is_an_error(network, calibrated):
    net, output = conv_net(network)
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    poorer = replace(calibration, partial_sums={})
    with pytest.raises(DataError, match="partial sum"):
        converter.convert(data, graph, poorer, Plan.bare(graph, ["w16a8"] * 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_range_that_is_not_finite_is_refused(bad):
    with pytest.raises(DataError, match="not finite"):
        converter.usable_range(0.0, bad)


def test_what_the_quantizer_raises_comes_with_the_ops_it_is_about(network, convert):
    net, output = conv_net(network)
    conversion = convert(net.build([output]), inputs(), ["w8a8"] * 3)
    ranges = {name: r for name, r in conversion.ranges.items() if name != "b"}
    with pytest.raises(UnsupportedModel, match=r"fails on DEPTHWISE_CONV_2D b; FULLY_CONNECTED c: "):
        emit(conversion.prepared, conversion.recipe, ranges)


def test_two_tensors_of_one_name_are_refused(network, calibrated):
    net, output = conv_net(network, ("same", "same", "c"))
    data = net.build([output])
    graph, calibration = calibrated(data, inputs())
    with pytest.raises(UnsupportedModel):
        converter.convert(data, graph, calibration, Plan.bare(graph, ["w8a8"] * 3))

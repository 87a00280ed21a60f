"""Times of ops by the real interpreter: what is timed, and how it adds up. No test asserts how long anything takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.conversion import op_times
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.costs import build_costs
from bitplan.analyzer.conversion.op_times import activations, made_up_calibration, time_ops
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.network.runtime import Runner
from bitplan.analyzer.network.subgraph import Cutter
from bitplan.analyzer.network.timing import Grid, border_network, empty_network, time_model
from bitplan.analyzer.schema import SCHEMES, Format, Plan
from bitplan.latency import latency_table, measure_latency
from bitplan.strategies.assignment.resources import build_resources
from bitplan.strategies.targets import load_target, schemes_on
from converter_networks import conv_net, inputs, noise

FORMATS = {"float32": Format.FLOAT, "int8": Format.INT8, "int16": Format.INT16}


@pytest.fixture
def net(network):
    """conv -> depthwise -> fully connected -> softmax."""
    made, output = conv_net(network)
    return made.build([made.op("SOFTMAX", [output], [made.tensor("p", (1, 4))])])


@pytest.fixture
def twins(network):
    """x -> a -> b -> a + b: two equal layers with unlike weights, and an ADD."""
    made = network()
    x = made.input("x", (1, 6))
    for name, seed in (("a", 1.0), ("b", 2.0)):
        weights = made.constant(f"{name}.w", noise(6, 6) * np.float32(seed)), made.constant(f"{name}.b", noise(6))
        x = made.op("FULLY_CONNECTED", [x, *weights], [made.tensor(name, (1, 6))])
    return made.build([made.op("ADD", [x - 3, x], [made.tensor("sum", (1, 6))])])


def jobs_of(data):
    graph = build_graph(data)
    values = activations(data, graph, inputs(1, tuple(graph.tensors[graph.inputs[0]].shape))[0])
    calibration = made_up_calibration(graph, values)
    schemes = [op.schemes for op in graph.ops]
    return graph, list(op_times._op_jobs(data, graph, schemes, calibration, values, True))


def test_every_piece_is_one_op_as_a_file_of_its_scheme_has_it(net):
    graph, jobs = jobs_of(net)
    by_key = {op.key: op for op in graph.ops}
    assert {(key, job.scheme) for job in jobs for key in job.keys} == {
        (op.key, name) for op in graph.ops for name in op.schemes
    }
    for job in jobs:
        op, scheme = by_key[job.keys[0]], SCHEMES[job.scheme]
        piece = fb.read(job.job.write())
        tensors = piece.subgraphs[0].tensors
        opcodes = [fb.opcode_name(piece, operator) for operator in piece.subgraphs[0].operators]
        assert opcodes == ([op.opcode, op.opcode, "ADD"] if scheme.is_split else [op.opcode])
        types = [fb.dtype_name(tensors[t]) for t in (*piece.subgraphs[0].inputs, *piece.subgraphs[0].outputs)]
        assert {FORMATS[name] for name in types} == {scheme.format}
        if op.weights is not None:
            weights = fb.dtype_name(tensors[piece.subgraphs[0].operators[0].inputs[1]])
            assert weights == ("float32" if scheme.is_float else f"int{min(scheme.weight_bits, 8)}")


def test_a_piece_computes_what_the_op_does(net, sqnr_db):
    """On the activations that it is timed with, against the float network."""
    graph, jobs = jobs_of(net)
    values = activations(net, graph, inputs(1)[0])
    for job in jobs:
        runner = Runner(job.job.write())
        runner.give(job.job.values)
        runner.invoke()
        op = next(op for op in graph.ops if op.key == job.keys[0])
        port = runner.outputs[0]
        found = runner._interpreter.get_tensor(port.index).astype(np.float32)
        found = (found - port.zero_point) * port.scale if port.scale else found
        assert sqnr_db([[values[op.outputs[0]]]], [[found]]) > (8 if "w4" in job.scheme else 20), job.scheme


def test_equal_ops_are_timed_once(twins):
    graph = build_graph(twins)
    values = activations(twins, graph, inputs(1, (1, 6))[0])
    schemes = [op.schemes for op in graph.ops]
    times = time_ops(twins, graph, schemes, values, seconds=0)
    assert times.timed == len(graph.ops[0].schemes) + len(graph.ops[2].schemes)
    for name in graph.ops[0].schemes:
        assert times.ops[graph.ops[0].key, name] == times.ops[graph.ops[1].key, name]
    assert set(times.borders) == set(op_times._PAIRS) and not times.untimed


def test_a_table_has_every_op_in_every_scheme_and_adds_up(net, tmp_path):
    """The sum is made once more from the emitted file: its ops, and the elements of its border ops."""
    path = tmp_path / "here.toml"
    found = measure_latency(net, out=path, seconds=0)
    table, graph = load_target(str(path)), build_graph(net)
    assert set(table.measured) == {(op.key, name) for op in graph.ops for name in schemes_on(table, op, graph)}
    assert {op.op: dict(op.milliseconds) for op in found.ops} == {
        op.key: {name: table.measured[op.key, name] for name in op.schemes} for op in graph.ops
    }
    assert [file.scheme for file in found.files] == ["float", "w8a8"]
    assert all(file.measured_ms > 0 for file in found.files)
    assert "threads: 1" in table.sources["latency"] and "ai-edge-litert" in table.sources["latency"]
    assert table.runtime == "litert" and found.machine in table.title

    # Times of so small ops may be 0 behind the time of a call; how they add up is seen with others in their place.
    table = replace(
        table,
        measured={choice: 0.01 * number for number, choice in enumerate(sorted(table.measured), 1)},
        border={pair: replace(kernel, cost=1.0 + n) for n, (pair, kernel) in enumerate(sorted(table.border.items()))},
    )
    names = ["w8a8", "w16a16", "float", "float"]
    resources = build_resources(graph, build_costs(graph, net), table, Format.INT8)
    values = activations(net, graph, inputs(1)[0])
    model = fb.read(convert(net, graph, made_up_calibration(graph, values), Plan.bare(graph, names, Format.INT8)).model)
    tensors = model.subgraphs[0].tensors
    expected = sum(table.measured[op.key, name] for op, name in zip(graph.ops, names, strict=True))
    borders = []
    for op in model.subgraphs[0].operators:
        if fb.opcode_name(model, op) in ("QUANTIZE", "DEQUANTIZE"):
            read, written = (FORMATS[fb.dtype_name(tensors[t])] for t in (op.inputs[0], op.outputs[0]))
            borders.append((read, written))
            elements = int(np.prod(tensors[op.inputs[0]].shape))
            expected += elements * table.border[read, written].cost * table.mac_ms
    assert borders == [
        (Format.INT8, Format.INT16), (Format.INT16, Format.FLOAT), (Format.FLOAT, Format.INT8),
    ]  # fmt: skip
    found_ms = resources.total_latency([SCHEMES[name] for name in names], Format.INT8)
    assert found_ms == pytest.approx(expected) and found_ms > 0


def test_only_the_schemes_of_the_base_are_timed_and_the_file_is_kept_unless_forced(net, tmp_path):
    base = tmp_path / "base.toml"
    base.write_text(
        'title = "8 bits, one scale a tensor"\nruntime = "litert"\ninteger_only = true\nper_channel = false\n'
        'io = ["int8"]\n[kernels]\n"*" = { w8a8 = 1, source = "assumed" }\n'
        '[borders]\n"float -> int8" = { cost = 1, source = "assumed" }\n'
        '"int8 -> float" = { cost = 1, source = "assumed" }\n'
    )
    found = measure_latency(net, base=str(base), seconds=0)
    assert found.table == "" and {name for op in found.ops for name in op.milliseconds} == {"w8a8", "w16a8"}
    table = latency_table(found)
    assert [column.label for column in table.columns] == ["op", "layer", "w8a8, ms", "w16a8, ms"]
    assert table.rows[3].cells[3].text == "", "SOFTMAX cannot be split"


def test_an_op_that_cannot_be_timed_keeps_its_relative_cost(twins, monkeypatch, tmp_path):
    def refuse(runner, values, seconds):
        if values and next(iter(runner.inputs)).dtype == "int16" and len(runner.inputs) == 2:
            raise UnsupportedModel("the kernel refuses", "do without")
        return 1.0

    monkeypatch.setattr(op_times, "time_runner", refuse)
    warnings = []
    found = measure_latency(twins, out=tmp_path / "t.toml", warn=warnings.append)
    assert set(found.untimed) == {"2:ADD:1x6 w8a16"} and "the kernel refuses" in warnings[0]
    assert "w8a16" not in found.ops[2].milliseconds
    table, graph = load_target(str(tmp_path / "t.toml")), build_graph(twins)
    costs = build_costs(graph, twins)
    latency = build_resources(graph, costs, table, Format.FLOAT).latency[2, "w8a16"]
    assert latency == pytest.approx(6 * table.kernel("ADD", "w8a16").cost * table.mac_ms)


@pytest.mark.parametrize(("read", "written"), op_times._PAIRS)
def test_a_border_network_changes_the_format_and_keeps_the_values(read, written):
    grids = {
        fmt: Grid(fmt, scale, zero)
        for fmt, scale, zero in ((Format.FLOAT, 0, 0), (Format.INT8, 0.02, -3), (Format.INT16, 1e-4, 0))
    }
    runner = Runner(border_network((1, 7, 5), grids[read], grids[written]))
    values = noise(1, 7, 5)
    runner.give({0: np.clip(values, -2, 2)})
    runner.invoke()
    (port,) = runner.outputs
    assert FORMATS[port.dtype] is written
    found = runner._interpreter.get_tensor(port.index).astype(np.float32)
    found = (found - port.zero_point) * np.float32(port.scale) if port.scale else found
    np.testing.assert_allclose(found, np.clip(values, -2, 2), atol=0.021)


def test_any_file_can_be_timed(net, twins):
    graph = build_graph(twins)
    values = activations(twins, graph, inputs(1, (1, 6))[0])
    plan = Plan.bare(graph, ["w8a16", "w8a16", "w8a16"], Format.INT16)
    int16 = convert(twins, graph, made_up_calibration(graph, values), plan).model
    for data in (net, twins, int16, empty_network()):
        assert time_model(data, seconds=0) > 0
    assert time_model(net, threads=2, kernels="builtin", seconds=0) > 0


def test_a_piece_of_several_ops_takes_what_none_of_them_writes(twins):
    cutter = Cutter(twins)
    a, b, total = (cutter.tensor(name) for name in ("a", "b", "sum"))
    assert cutter.some([1, 2]).inputs == (a,) and cutter.some([1, 2]).outputs == (total,)
    assert cutter.some([2]).inputs == (a, b)
    assert cutter.some([0]).outputs == (a,)


def test_the_command_prints_one_document_and_writes_the_table(net, tmp_path, capsys, monkeypatch):
    from bitplan.cli import main

    (tmp_path / "net.tflite").write_bytes(net)
    command = ["bitplan", "measure-latency", str(tmp_path / "net.tflite"), "--out", str(tmp_path / "t.toml"),
               "--seconds", "0"]  # fmt: skip
    monkeypatch.setattr("sys.argv", [*command, "--json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    document = json.loads(capsys.readouterr().out)
    assert stopped.value.code == 0 and document["threads"] == 1
    table = load_target(str(tmp_path / "t.toml"))
    assert {(op["op"], s): ms for op in document["ops"] for s, ms in op["milliseconds"].items()} == table.measured
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and "exists" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*command, "--force"])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    assert "w8a8 everywhere: " in out and str(tmp_path / "t.toml") in out

"""Tables of measured times: written, read again, added up, and refused where they are another network's."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from bitplan.analyzer.conversion.costs import Costs, find_borders
from bitplan.analyzer.errors import RunFolderError, UsageError
from bitplan.analyzer.network.wiring import wire
from bitplan.analyzer.schema import SCHEMES, Format, Graph, Op, Tensor
from bitplan.latency import measure_latency
from bitplan.strategies.assignment.budgets import MS
from bitplan.strategies.assignment.resources import build_resources
from bitplan.strategies.targets import (
    border_cost,
    load_target,
    measured_target,
    relative_cost,
    schemes_on,
    to_toml,
    work,
)

BASE = load_target("litert-cpu")
NS = {pair: 2.0 ** -(20 + k) for k, pair in enumerate(BASE.border)}


def chain(side=8):
    """Two convolutions and an ADD of their outputs."""
    shape = (1, side, side, 4)
    tensors = [Tensor(0, "x", shape, "float32"), Tensor(1, "w", (4, 1, 1, 4), "float32", 1)]
    tensors += [Tensor(k, f"t{k}", shape, "float32") for k in (2, 3, 4)]
    schemes, macs = ("w4a8", "w8a8", "w8a16", "w16a8", "float"), side * side * 16
    ops = (
        Op(0, "0:CONV_2D:4x1x1x4", "CONV_2D", "a", (0, 1), (2,), 1, macs=macs, schemes=schemes),
        Op(1, "1:CONV_2D:4x1x1x4", "CONV_2D", "b", (2, 1), (3,), 1, macs=macs, schemes=schemes),
        Op(2, f"2:ADD:1x{side}x{side}x4", "ADD", "c", (2, 3), (4,), schemes=("w8a8", "w8a16", "float")),
    )
    return Graph(tuple(tensors), ops, (0,), (4,), (4,), False, "", 0)


def times_of(graph):
    """Made-up milliseconds, unlike for every op and scheme."""
    choices = [(op.key, name) for op in graph.ops for name in schemes_on(BASE, op, graph)]
    return {choice: 0.125 + k / 64 for k, choice in enumerate(choices)}


def table_of(graph, times=None):
    return measured_target(BASE, graph, times or times_of(graph), NS, name="mine", title="Mine", source="today, here")


def costs_of(graph):
    return Costs(0, dict.fromkeys(Format, 0), {}, {}, {}, tuple(find_borders(graph, wire(graph))))


def test_a_table_that_is_written_loads_as_it_was(tmp_path):
    table = table_of(chain())
    (tmp_path / "mine.toml").write_text(to_toml(table))
    assert load_target(str(tmp_path / "mine.toml")) == table
    assert table.sources["latency"] == "today, here" and table.kernels == BASE.kernels


def test_times_are_those_that_were_measured_to_four_digits():
    graph = chain()
    table = table_of(graph, {**times_of(graph), (graph.ops[0].key, "w8a8"): 0.123456789})
    assert relative_cost(table, graph.ops[0], graph, "w8a8") == 0.1235
    assert relative_cost(table, graph.ops[1], graph, "w16a8") == times_of(graph)[graph.ops[1].key, "w16a8"]
    for (read, written), milliseconds in NS.items():
        found = border_cost(table, 1000, read=read, written=written)
        assert found == pytest.approx(1000 * milliseconds, rel=1e-3)


def test_relative_costs_get_a_unit_in_which_int8_takes_what_was_measured():
    graph = chain()
    table = table_of(graph)
    measured = sum(times_of(graph)[op.key, "w8a8"] for op in graph.ops)
    assert sum(relative_cost(BASE, op, graph, "w8a8") for op in graph.ops) * table.mac_ms == pytest.approx(
        measured, rel=1e-3
    )
    without = {choice: ms for choice, ms in times_of(graph).items() if choice != (graph.ops[1].key, "float")}
    relative = relative_cost(BASE, graph.ops[1], graph, "float")
    table = table_of(graph, without)
    assert relative_cost(table, graph.ops[1], graph, "float") == pytest.approx(relative * table.mac_ms)


def test_a_measured_table_can_be_measured_again():
    graph, other = chain(), chain(16)
    again = measured_target(table_of(graph), other, times_of(other), NS, name="mine", title="Mine", source="later")
    assert again == replace(table_of(other), sources={**BASE.sources, "latency": "later"})


def test_a_plan_takes_the_sum_of_its_ops_and_borders():
    """float -> int8 -> int16, and int8 -> int16 again for the ADD, which the model returns in float."""
    graph = chain()
    table = table_of(graph)
    resources = build_resources(graph, costs_of(graph), table, Format.FLOAT)
    plan = [SCHEMES[name] for name in ("w8a8", "w8a16", "w8a16")]
    crossed = [(Format.FLOAT, Format.INT8), (Format.INT8, Format.INT16), (Format.INT16, Format.FLOAT)]
    times = times_of(graph)
    expected = sum(times[op.key, scheme.name] for op, scheme in zip(graph.ops, plan, strict=True))
    expected += sum(8 * 8 * 4 * NS[pair] for pair in crossed)
    assert resources.unit == MS
    assert resources.total_latency(plan, Format.FLOAT) == pytest.approx(expected, rel=1e-3)


def test_the_table_of_another_network_is_refused():
    graph = chain()
    longer = replace(graph, ops=(replace(graph.ops[0], key="0:CONV_2D:8x1x1x4"), *graph.ops[1:]))
    with pytest.raises(UsageError, match="mine was measured for another network: it has 0:CONV_2D:4x1x1x4") as raised:
        build_resources(longer, costs_of(longer), table_of(graph), Format.FLOAT)
    assert "bitplan measure-latency MODEL --out mine.toml" in raised.value.remedy


def test_the_table_of_the_same_network_at_another_resolution_is_refused():
    large = chain(16)
    with pytest.raises(UsageError, match="0:CONV_2D:4x1x1x4 computes 1024 there and 4096 here"):
        build_resources(large, costs_of(large), table_of(chain()), Format.FLOAT)


def test_a_table_of_a_few_ops_is_none_of_another_network():
    graph = chain()
    few = {choice: ms for choice, ms in times_of(graph).items() if choice[0] == graph.ops[0].key}
    table = table_of(graph, few)
    assert table.measured_work == {graph.ops[0].key: work(graph.ops[0], graph)}
    assert math.isfinite(build_resources(graph, costs_of(graph), table, Format.FLOAT).int8_latency)


def test_what_cannot_be_measured_or_written_is_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="ethos-u55 does not run in LiteRT"):
        measure_latency("no model", base="ethos-u55")
    with pytest.raises(UsageError, match=r"does not end in \.toml"):
        measure_latency("no model", out=tmp_path / "table.json")
    with pytest.raises(RunFolderError, match="there is no folder"):
        measure_latency("no model", out=tmp_path / "none" / "table.toml")
    (tmp_path / "old.toml").write_text("mine")
    with pytest.raises(RunFolderError, match="exists"):
        measure_latency("no model", out=tmp_path / "old.toml")
    assert (tmp_path / "old.toml").read_text() == "mine"

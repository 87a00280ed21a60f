"""Node data for Model Explorer: keyed by what that knows of a node, and what stands there is what the page says."""

from __future__ import annotations

import dataclasses
import json

from bitplan.analyzer.schema import SCHEMES
from bitplan.reports.chart_parts import SCHEME_COLOURS
from bitplan.reports.model_explorer import node_data
from bitplan.reports.sources import layer_errors

from .. import results_factory as factory


def test_there_is_a_document_for_everything_that_was_found_and_no_other():
    assert list(node_data(factory.mobilenet())) == ["sensitivity", "schemes", "gain"]
    assert list(node_data(factory.analyzed())) == ["sensitivity"]
    assert list(node_data(dataclasses.replace(factory.mobilenet(), planning=None))) == ["sensitivity", "schemes"]
    assert node_data(factory.inspected()) == {}


def test_nodes_are_named_by_their_output_tensors():
    results = factory.mobilenet()
    outputs = {results.graph.tensors[op.outputs[0]].name for op in results.graph.ops}
    assert len(outputs) == len(results.graph.ops)
    assert set(node_data(results)["schemes"]["results"]) == outputs


def test_where_tensors_share_a_name_the_position_names_the_node():
    results = factory.mobilenet()
    graph = results.graph
    doubled = graph.ops[3].outputs[0], graph.ops[7].outputs[0]
    tensors = tuple(dataclasses.replace(t, name="twice") if t.index in doubled else t for t in graph.tensors)
    found = node_data(dataclasses.replace(results, graph=dataclasses.replace(graph, tensors=tensors)))
    assert "twice" not in found["schemes"]["results"] and {"3", "7"} < set(found["schemes"]["results"])
    assert len(found["schemes"]["results"]) == len(graph.ops)


def test_values_are_those_of_the_table_and_the_plan():
    results = factory.mobilenet()
    found, graph = node_data(results), results.graph
    for layer in layer_errors(results.sensitivity, SCHEMES["w8a8"]):
        if layer.op is not None:
            key = graph.tensors[graph.ops[layer.op].outputs[0]].name
            assert found["sensitivity"]["results"][key] == {"value": layer.nmse}
    for op, assignment in zip(graph.ops, results.plan.assignments, strict=True):
        assert found["schemes"]["results"][graph.tensors[op.outputs[0]].name]["value"] == assignment.scheme
    for reason, op in zip(results.planning.reasons, graph.ops, strict=True):
        gain = found["gain"]["results"].get(graph.tensors[op.outputs[0]].name)
        assert gain == ({"value": reason.cheaper.noise_change} if reason.cheaper else None)


def test_every_scheme_has_a_colour():
    assert set(SCHEME_COLOURS) == set(SCHEMES)


def test_hostile_names_survive_as_they_are():
    results = factory.hostile()
    found = json.loads(json.dumps(node_data(results)))
    names = {results.graph.tensors[op.outputs[0]].name for op in results.graph.ops}
    assert set(found["schemes"]["results"]) == names

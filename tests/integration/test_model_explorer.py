"""Google's Model Explorer itself loads the node data over the float model: every value finds its node there."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import bitplan
import pytest
from bitplan.analyzer.schema import (
    Alternative,
    Measurement,
    Plan,
    Planning,
    Reason,
    Results,
    SensitivityTable,
    Source,
)
from bitplan.reports.model_explorer import node_data

from .. import results_factory as factory
from ..results_parts import provenance

pytestmark = pytest.mark.slow

MODEL = pathlib.Path(bitplan.__file__).parent / "analyzer" / "demo" / "fashion_mobilenet.tflite"

# Its own process: the package brings a TensorFlow of its own, which does not go together with the one here.
LOADS = """
import dataclasses, json, sys
import dacite
from model_explorer.builtin_tflite_flatbuffer_adapter import BuiltinTfliteFlatbufferAdapter
from model_explorer.config import ModelExplorerConfig
from model_explorer.node_data_builder import GraphNodeData, NodeDataResult

model, *documents = sys.argv[1:]
config = ModelExplorerConfig().add_model_from_path(model)
converted = BuiltinTfliteFlatbufferAdapter().convert(model, {})["graphCollections"]
plain = json.loads(json.dumps(converted, default=vars))
(graph,) = plain[0]["graphs"]
node_of = {}
for node in graph["nodes"]:
    node_of.setdefault(node["id"], node["label"])
    for output in node["outputsMetadata"]:
        for attribute in output["attrs"]:
            # As its page does: a key is a node's id, or the name of one of its outputs.
            if attribute["key"] == "tensor_name":
                node_of.setdefault(attribute["value"], node["label"])
found = {}
for path in documents:
    config.add_node_data_from_path(path)
    document = json.load(open(path))
    strict = dacite.Config(strict=True, check_types=False)  # schemes are text, which its types do not say
    loaded = dacite.from_dict(GraphNodeData, document, strict)
    assert all(isinstance(result, NodeDataResult) for result in loaded.results.values())
    json.loads(loaded.to_json_string())
    found[loaded.name] = {key: node_of.get(key) for key in loaded.results}
print(json.dumps({"nodes": found, "sources": config.node_data_sources}))
"""


@pytest.fixture(scope="module")
def results():
    graph = bitplan.inspect(str(MODEL)).graph
    measured = tuple(
        Measurement(Source("activation", "a8", op.outputs[0], op.index), factory.error(1e-3 / (op.index + 1)), 0.1)
        for op in graph.ops
    )
    table = SensitivityTable(measured, (), factory.error(0.01), (1.0,), 16, "d" * 64, graph.digest)
    schemes = [op.schemes[0] for op in graph.ops]
    cheaper = Alternative("w4a8", noise_change=2e-4, bytes_change=-100, latency_change=0.0, fits=True)
    reasons = tuple(Reason(op.key, op.layer, op.schemes[0], 10, 0.1, 1e-5, cheaper, None) for op in graph.ops)
    return Results(
        provenance(), graph, sensitivity=table, plan=Plan.bare(graph, schemes), planning=Planning(reasons=reasons)
    )


def test_every_value_finds_its_node(results, tmp_path):
    if importlib.util.find_spec("model_explorer") is None:
        reason = "ai-edge-model-explorer is not installed: it comes with bitplan[dev]"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    paths = []
    for name, document in node_data(results).items():
        paths.append(tmp_path / f"model-explorer-{name}.json")
        paths[-1].write_text(json.dumps(document))
    assert len(paths) == 3
    process = subprocess.run(
        [sys.executable, "-c", LOADS, str(MODEL), *map(str, paths)], capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout.splitlines()[-1])
    ops = [op.opcode.lower() for op in results.graph.ops]
    for name, nodes in answer["nodes"].items():
        assert list(nodes.values()) == ops, name
    assert answer["sources"] == [str(path) for path in paths]

"""Node data for Google's Model Explorer: what Bitplan found, as columns and colours over the float `.tflite` there.

Each file is one `GraphNodeData` of the `ai-edge-model-explorer` package, so that it lies over whichever graph is open.
Nodes are named by an output tensor; where tensors share a name, by the op's position, which is the node's id there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..analyzer.schema import Graph, Results
from .chart_parts import SCHEME_COLOURS
from .sources import base_scheme, layer_errors

_GRADIENT = ({"stop": 0, "bgColor": "#ffffff"}, {"stop": 1, "bgColor": "#e2574c"})
_GAIN = ({"stop": 0, "bgColor": "#ffffff"}, {"stop": 1, "bgColor": "#2f9e6e"})


def node_data(results: Results) -> dict[str, dict[str, Any]]:
    """Documents by what they show: `sensitivity`, `schemes`, `gain`; only those that the results have figures for."""
    found = {"sensitivity": _sensitivity(results), "schemes": _schemes(results), "gain": _gain(results)}
    return {name: document for name, document in found.items() if document is not None}


def _sensitivity(results: Results) -> dict[str, Any] | None:
    """Error at the network's output of each layer when it alone is quantized: its weights and its output activation."""
    table, scheme = results.sensitivity, base_scheme(results)
    if table is None or scheme is None:
        return None
    errors = {layer.op: layer.nmse for layer in layer_errors(table, scheme) if layer.op is not None}
    values = {op: {"value": nmse} for op, nmse in errors.items()}
    return _document(results.graph, f"output error in {scheme.name} (nmse)", values, gradient=list(_GRADIENT))


def _schemes(results: Results) -> dict[str, Any] | None:
    """The plan."""
    if results.plan is None:
        return None
    values = {
        op.index: {"value": a.scheme, "bgColor": SCHEME_COLOURS[a.scheme], "textColor": "#14171c"}
        for op, a in zip(results.graph.ops, results.plan.assignments, strict=True)
    }
    return _document(results.graph, "scheme", values, showExpandedSummaryOnGroupNode=True)


def _gain(results: Results) -> dict[str, Any] | None:
    """What each op's scheme is predicted to gain over the next smaller one; ops that have none are left out."""
    reasons = {r.op: r for r in results.planning.reasons} if results.planning else {}
    values = {}
    for op in results.graph.ops:
        reason = reasons.get(op.key)
        if reason is not None and reason.cheaper is not None:
            values[op.index] = {"value": reason.cheaper.noise_change}
    if not values:
        return None
    return _document(results.graph, "predicted gain over the next smaller scheme (nmse)", values, gradient=list(_GAIN))


def _document(graph: Graph, name: str, values: Mapping[int, dict[str, Any]], **more: Any) -> dict[str, Any]:
    often = Counter(tensor.name for tensor in graph.tensors)

    def key(op: int) -> str:
        tensor = graph.tensors[graph.ops[op].outputs[0]].name
        return tensor if often[tensor] == 1 else str(op)

    return {"name": name, "results": {key(op): values[op] for op in sorted(values)}, **more}

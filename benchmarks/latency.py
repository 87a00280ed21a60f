"""Measures a model's table of times, and holds what it predicts for mixed files against what these files take.

    python benchmarks/latency.py MODEL.tflite [--seconds 0.05] [--threads 1] [--json latency.json]

Samples are made up, for they hardly change a time. Files are timed in the same passes as the pieces of the table, so
that both see the machine in the same state. Prints one JSON document; `error` is predicted / measured - 1.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.conversion.costs import build_costs
from bitplan.analyzer.conversion.op_times import activations, made_up_calibration, time_ops
from bitplan.analyzer.conversion.type_check import check_types
from bitplan.analyzer.inputs.dataset import input_specs, random_samples
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import SCHEMES, Format, Graph, Op, Plan
from bitplan.latency import machine_name
from bitplan.strategies.assignment.choices import offered
from bitplan.strategies.assignment.resources import build_resources
from bitplan.strategies.targets import DEFAULT_TARGET, load_target, measured_target

_TOLERATED = 0.25

Choose = Callable[[Op], str]


def layers(graph: Graph, *kinds: str) -> list[Op]:
    """Ops with weights of some kinds; of all kinds where none is named."""
    return [op for op in graph.ops if op.weights is not None and (not kinds or set(kinds) & set(op.kinds))]


def instead(chosen: Sequence[Op], scheme: str, otherwise: str = "w8a8") -> Choose:
    """One scheme for some ops that have it and another one for the rest."""
    indices = {op.index for op in chosen}
    return lambda op: scheme if op.index in indices and scheme in op.schemes else otherwise


def plans(graph: Graph) -> dict[str, Choose]:
    """Plans as people make them, by what they are."""
    weighted = layers(graph)
    middle = weighted[len(weighted) // 3 : len(weighted) // 3 + 3]
    return {
        "float everywhere": instead((), "float", "float"),
        "w8a8 everywhere": instead((), "w8a8"),
        "w4a8 everywhere": instead(weighted, "w4a8"),
        "w16a8 everywhere": instead(weighted, "w16a8"),
        "w8a16 everywhere": instead((), "w8a16", "w8a16"),
        "first layer float": instead(weighted[:1], "float"),
        "first five layers float": instead(weighted[:5], "float"),
        "three layers in the middle float": instead(middle, "float"),
        "every third layer float": instead(weighted[::3], "float"),
        "depthwise layers float": instead(layers(graph, "depthwise"), "float"),
        "first five layers w16a8": instead(weighted[:5], "w16a8"),
        "depthwise layers w16a8": instead(layers(graph, "depthwise"), "w16a8"),
        "pointwise layers w4a8": instead(layers(graph, "pointwise"), "w4a8"),
        "last three layers w4a8": instead(weighted[-3:], "w4a8"),
        "second layer w8a16": instead(weighted[1:2], "w8a16"),
        "three layers in the middle w8a16": instead(middle, "w8a16"),
        "three layers in the middle w16a16": instead(middle, "w16a16"),
        "last layer w4a16, first layer float": lambda op: (
            "float" if op is weighted[0] else "w4a16" if op is weighted[-1] else "w8a8"
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=0.05, help="for each op and scheme")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path, help="also write the document here")
    given = parser.parse_args(arguments)

    document = json.dumps(measure(given.model, given.seconds, given.threads), indent=2)
    print(document)
    if given.json:
        given.json.write_text(document + "\n", encoding="utf-8")


def measure(model: str, seconds: float, threads: int) -> dict[str, Any]:
    """The table's predictions beside the files, as a document."""
    data, base = load_float(model).flatbuffer, load_target(DEFAULT_TARGET)
    graph = build_graph(data)
    sample = [array[0] for array in random_samples(input_specs(graph), 1, 0).block(0, 1)]
    values = activations(data, graph, sample)
    calibration = made_up_calibration(graph, values)
    schemes, files = {}, {}
    for title, choose in plans(graph).items():
        names = [next(n for n in (choose(op), "w8a8", "float") if n in op.schemes) for op in graph.ops]
        plan = Plan.bare(graph, names)
        files[title] = convert(data, graph, calibration, plan).model
        assert not check_types(files[title], graph, plan), title
        schemes[title] = [SCHEMES[name] for name in names]
    times = time_ops(
        data, graph, offered(graph, base), values, files=list(files.values()), threads=threads, seconds=seconds
    )
    target = measured_target(base, graph, times.ops, times.borders, name="here", title="here", source="here")
    resources = build_resources(graph, build_costs(graph, data), target, Format.FLOAT)
    predicted = {title: resources.total_latency(chosen, Format.FLOAT) for title, chosen in schemes.items()}
    measured = dict(zip(files, times.files, strict=True))
    errors = {title: predicted[title] / measured[title] - 1 for title in files}
    return {
        "machine": machine_name(),
        "threads": threads,
        "pieces_timed": times.timed,
        "files": {
            title: {
                "predicted_ms": round(predicted[title], 4),
                "measured_ms": round(measured[title], 4),
                "error": round(errors[title], 3),
            }
            for title in files
        },
        "largest_error": round(max(map(abs, errors.values())), 3),
        "within_25_percent": all(abs(error) <= _TOLERATED for error in errors.values()),
    }


if __name__ == "__main__":
    main()

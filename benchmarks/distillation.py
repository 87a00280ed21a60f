"""Self-distills a float model for one scheme, and says how far its simulation and LiteRT's kernels agree.

    python benchmarks/distillation.py MODEL.tflite DATA.npz:x [--resize 96] [--scale tf] [--scheme w4a8] [--epochs 20]
           [--held-back 500] [--agreement 1000] --out DIR

Ranges come from the first 256 samples; the last ones are held back, and choose the step; all others are learned from.
Writes `plain.tflite` and `learned.tflite`, to be judged on other data, and prints one JSON document. Nothing here looks
at labels.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import time
from typing import Any

import numpy as np
from bitplan.analyzer.conversion.agreement import kernel_agreement
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.inputs.dataset import Preprocessing, Samples, input_specs, load_samples
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import Plan
from bitplan.strategies.assignment.choices import uniform_schemes
from bitplan.strategies.repair.distillation import Training, distill

_RANGES = 256


def run(options: argparse.Namespace) -> dict[str, Any]:
    """What is printed."""
    data = load_float(options.model).flatbuffer
    graph = build_graph(data)
    preprocessing = Preprocessing(options.resize, options.scale)
    samples = load_samples(options.data, input_specs(graph), preprocessing, warn=lambda _: None)
    learned_from, held_back = _parts(samples, len(samples) - options.held_back)
    calibration = calibrate(data, graph, samples.take(_RANGES).in_content_order())
    plan = Plan.bare(graph, [scheme.name for scheme in uniform_schemes(graph, options.scheme)])
    started, processor = time.monotonic(), time.process_time()
    training = Training(epochs=options.epochs, rate=options.rate)
    found = distill(
        data, graph, calibration, plan, learned_from.in_content_order(), held_back, training=training,
        time_budget_s=options.time_budget,
    )  # fmt: skip
    seconds, processor_seconds = time.monotonic() - started, time.process_time() - processor
    files = {
        "plain": convert(data, graph, calibration, plan).model,
        "learned": convert(found.flatbuffer, build_graph(found.flatbuffer), calibration, plan).model,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "scheme": options.scheme, "training": dataclasses.asdict(training), "samples": found.samples,
        "held_back": found.held_back, "loss": found.loss, "planned_epochs": found.planned_epochs,
        "curve": [[point.step, point.error] for point in found.curve], "chosen": found.chosen,
        "seconds": round(seconds, 1), "processor_seconds": round(processor_seconds, 1), "float_bytes": len(data),
        "bytes": {name: len(file) for name, file in files.items()}, "agreement": {},
    }  # fmt: skip
    for name, file in files.items():
        (options.out / f"{name}.tflite").write_bytes(file)
        if options.agreement:
            agreement = kernel_agreement(data, graph, plan, file, samples.take(options.agreement))
            report["agreement"][name] = dataclasses.asdict(agreement)
    return report


def _parts(samples: Samples, count: int) -> tuple[Samples, Samples]:
    """The first `count` samples, and the others."""
    return samples.take(count), samples.subset(np.arange(count, len(samples)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("data")
    parser.add_argument("--resize", type=int)
    parser.add_argument("--scale", default="raw")
    parser.add_argument("--scheme", default="w4a8")
    parser.add_argument("--epochs", type=int, default=Training.epochs)
    parser.add_argument("--rate", type=float, default=Training.rate)
    parser.add_argument("--time-budget", type=float, metavar="SECONDS")
    parser.add_argument("--held-back", type=int, default=500)
    parser.add_argument("--agreement", type=int, default=0, metavar="SAMPLES")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    print(json.dumps(run(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()

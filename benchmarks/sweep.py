"""What the exact sweep costs, in float passes over the same images.

A pass is one float LiteRT pass over the images on one thread; the sweep runs on two. Imports are left out.

    python benchmarks/sweep.py --model mobilenetv2_cifar10_96.tflite --data cifar10.npz:x_unlabelled \
                               --resize 96 --scale tf --samples 256 --json sweep.json
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import time

from bitplan.analyzer.inputs.dataset import input_specs, load_samples, parse_preprocessing
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.measures.sensitivity import measure_sensitivity
from bitplan.analyzer.network import runtime
from bitplan.analyzer.network.graph import build_graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--resize", default="")
    parser.add_argument("--scale", default="raw")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()

    data = load_float(args.model, warn=print).flatbuffer
    graph = build_graph(data)
    preprocessing = parse_preprocessing(args.resize, args.scale)
    samples = load_samples(args.data, input_specs(graph), preprocessing, limit=args.samples, warn=print)
    samples = samples.in_content_order()
    inputs = samples.block(0, len(samples))
    passes = []
    for _ in range(5):
        start = time.perf_counter()
        runtime.run_samples(data, inputs, workers=1)
        passes.append(time.perf_counter() - start)
    one_pass = sorted(passes)[len(passes) // 2]
    start = time.perf_counter()
    calibration = calibrate(data, graph, samples)
    calibrated = time.perf_counter() - start
    start = time.perf_counter()
    table = measure_sensitivity(data, graph, calibration, samples)
    swept = time.perf_counter() - start
    variants = len({(m.source.part, m.source.variant) for m in table.measurements})
    figures = {
        "samples": len(samples),
        "float_pass_s": one_pass,
        "calibration_s": calibrated,
        "calibration_passes": calibrated / one_pass,
        "sweep_s": swept,
        "sweep_passes": swept / one_pass,
        "sources": len(table.measurements),
        "kinds_of_sources": variants,
        "exact_passes_per_source": swept / one_pass / len(table.measurements),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

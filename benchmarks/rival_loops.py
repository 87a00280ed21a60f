"""What people do today to find the layers that quantization hurts, timed on the same images and schemes as the sweep.

Two ways, each written as an engineer would in a notebook and given the fastest form that was found for two cores: a
loop with litert-quantizer alone, and TensorFlow's QuantizationDebugger with the selective quantization of its guide.
Seconds are end to end, but for imports and for loading the model and the images.

    python benchmarks/rival_loops.py --model mobilenetv2_cifar10_96.tflite --keras mobilenetv2_cifar10_96.keras \
        --data cifar10.npz:x_unlabelled --resize 96 --scale tf --samples 256 --worst expanded_conv_depthwise \
        --json rivals.json
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from bitplan.analyzer.inputs.captured import captured_output
from bitplan.analyzer.inputs.dataset import input_specs, load_samples, parse_preprocessing
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import SCHEMES
from rival_quantizer import DIRECTIONS, LOOP_SCHEMES, ONE_FLOAT, ONE_QUANTIZED, litert_quantizer_loop
from rival_runs import at_logits, layer_of, mse, rank_of, ranking, run, say

__all__ = [
    "DENIED", "DIRECTIONS", "LOOP_SCHEMES", "ONE_FLOAT", "ONE_QUANTIZED", "litert_quantizer_loop",
    "quantization_debugger_loop",
]  # fmt: skip

DENIED = (1, 3, 5)
_MEASURES = ("rmse/scale", "mse")


def quantization_debugger_loop(
    converter_factory: Callable[[], Any],
    data: bytes,
    inputs: Sequence[np.ndarray],
    *,
    worst: str | None = None,
    denied: Sequence[int] = DENIED,
) -> dict[str, Any]:
    """TensorFlow's QuantizationDebugger, then its guide's loop: deny the most suspected layers, convert, measure.

    It builds int8 networks only. Its statistics are errors at each layer, on the same images as its calibration; the
    guide orders layers by rmse/scale.

    Args:
      converter_factory: Gives a fresh `tf.lite.TFLiteConverter` for the model.
      data: The float flatbuffer of the same model; one output.
      inputs: One float32 array [n, ...] for each input.
      worst: Name in `data` of the output tensor of the op that truly is the worst.
      denied: Numbers of layers to leave in float.

    Returns:
      Plain data. `selective` has an entry for each of `denied`, and the first is int8 without any.
    """
    with captured_output():
        import tensorflow as tf
    graph = build_graph(data)
    reference, _ = run(at_logits(data), inputs)

    def images() -> Iterator[list[np.ndarray]]:
        for i in range(len(inputs[0])):
            yield [array[i : i + 1] for array in inputs]

    began = time.perf_counter()
    with captured_output():
        converter = converter_factory()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = images
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=images)
        debugger.run()
    rows = _statistics(debugger)
    statistics_s = time.perf_counter() - began
    say(f"QuantizationDebugger: {len(rows)} layers, {statistics_s:.1f} s")
    suspects = sorted(rows, key=lambda name: -rows[name]["rmse/scale"])
    selective = []
    for count in (0, *denied):
        start = time.perf_counter()
        with captured_output():
            debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=suspects[:count])
            emitted = bytes(debugger.get_nondebug_quantized_model())
        outputs, _ = run(at_logits(emitted), inputs)
        seconds, error = time.perf_counter() - start, mse(outputs, reference)
        layers = [layer_of(graph, name) for name in suspects[:count]]
        selective.append({"denied": count, "layers": layers, "seconds": seconds, "logit_mse": error})
        say(f"QuantizationDebugger, {count} layers denied: logit MSE {error:.4g}, {seconds:.1f} s")
    found = {measure: {layer_of(graph, n) or n: row[measure] for n, row in rows.items()} for measure in _MEASURES}
    return {
        "tool": f"tensorflow {tf.__version__} QuantizationDebugger",
        "images": len(inputs[0]),
        "layers": len(rows),
        "unmatched": [name for name in rows if layer_of(graph, name) is None],
        "statistics_s": statistics_s,
        "seconds": time.perf_counter() - began,
        "worst_rank": {measure: rank_of(errors, layer_of(graph, worst)) for measure, errors in found.items()},
        "ranking": {measure: ranking(errors) for measure, errors in found.items()},
        "selective": selective,
    }


def _statistics(debugger: Any) -> dict[str, dict[str, float]]:
    """The debugger's table by output tensor, with the measures that its guide computes from it."""
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    table.seek(0)
    found = {}
    for row in csv.DictReader(table):
        squared = float(row["mean_squared_error"])
        found[row["tensor_name"]] = {"rmse/scale": math.sqrt(squared) / float(row["scale"]), "mse": squared}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="float .tflite")
    parser.add_argument("--keras", help="the same model, for QuantizationDebugger, which is left out without it")
    parser.add_argument("--data", required=True)
    parser.add_argument("--resize", default="")
    parser.add_argument("--scale", default="raw")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--schemes", default=",".join(LOOP_SCHEMES))
    parser.add_argument("--budget", type=float, default=300.0, help="seconds for a direction of a scheme")
    parser.add_argument("--worst", help="layer that truly is the worst at 8 bits")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()

    data = load_float(args.model, warn=say).flatbuffer
    graph = build_graph(data)
    schemes = args.schemes.split(",")
    worst = next((graph.tensors[op.outputs[0]].name for op in graph.ops if op.layer == args.worst), None)
    if args.worst and worst is None:
        parser.error(f"the model has no layer {args.worst}")
    preprocessing = parse_preprocessing(args.resize, args.scale)
    samples = load_samples(args.data, input_specs(graph), preprocessing, limit=args.samples, warn=say)
    inputs = samples.in_content_order().block(0, len(samples))
    at_8_bits = {s: worst for s in schemes if worst and SCHEMES[s].weight_bits == 8}
    loops = litert_quantizer_loop(data, None, inputs, schemes, worst=at_8_bits, budget_s=args.budget)
    figures = {"litert_quantizer": loops}
    if args.keras:
        with captured_output():
            import keras
            import tensorflow as tf

            model = keras.saving.load_model(args.keras, compile=False)
        figures["quantization_debugger"] = quantization_debugger_loop(
            lambda: tf.lite.TFLiteConverter.from_keras_model(model), data, inputs, worst=worst
        )
    text = json.dumps(figures, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

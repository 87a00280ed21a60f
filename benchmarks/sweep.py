"""What a sweep costs, in float passes over the same images, and beside what people do today.

A pass is one float LiteRT pass over the images on one thread; the sweeps run on two. Imports and graph tracing are left
out of the passes and given beside them; end-to-end seconds have both. The estimates are compared with the exact figures
of all 8-bit sources. The rivals do all schemes that litert-quantizer has; the exact sweep and the rivals take minutes.

    python benchmarks/sweep.py --model mobilenetv2_cifar10_96.tflite --data cifar10.npz:x_unlabelled --json sweep.json
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from bitplan.analyzer.inputs.dataset import input_specs, load_samples, parse_preprocessing
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.measures.linear import LinearSweep, beyond_linear
from bitplan.analyzer.measures.refinement import TOP, refine, worst
from bitplan.analyzer.measures.sensitivity import MODES, exact_sweep
from bitplan.analyzer.measures.sources import sources_of
from bitplan.analyzer.network import runtime
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import SCHEMES, Calibration, Graph, Measurement, Source
from bitplan.analyzer.silence import import_tensorflow
from rival_loops import litert_quantizer_loop, quantization_debugger_loop
from rival_quantizer import LOOP_SCHEMES
from rival_runs import say
from scaled_networks import mobilenet_like, mobilenet_like_keras, random_images
from scipy.stats import kendalltau

SCALED = (50, 100, 200)
_SCALED_IMAGES = 32
_PASSES = 5
_T = TypeVar("_T")


@dataclass(frozen=True)
class Case:
    """A network with its samples, prepared."""

    data: bytes
    graph: Graph
    calibration: Calibration
    samples: Any
    sources: tuple[Source, ...]

    @classmethod
    def of(cls, data: bytes, samples: Any) -> Case:
        graph = build_graph(data)
        calibration = calibrate(data, graph, samples)
        return cls(data, graph, calibration, samples, sources_of(graph, calibration))

    def pass_s(self) -> float:
        """Median seconds of a float pass on one thread."""
        inputs = self.samples.block(0, len(self.samples))
        return float(
            np.median([timed(lambda: runtime.run_samples(self.data, inputs, workers=1))[1] for _ in range(_PASSES)])
        )

    def estimates(self, mode: str) -> tuple[dict[str, Measurement], float, float]:
        """Estimates of all sources that have one; seconds, and seconds of the tracing that came before."""
        beyond = beyond_linear(self.data, self.graph, self.sources)
        sources = [s for s in self.sources if s.id not in beyond]
        sweep = LinearSweep(self.data, self.graph, self.calibration, self.samples, sources, MODES[mode])
        bounds = list(sweep.batches())
        # TensorFlow traces once for the first size of a batch, and once more when another comes.
        _, first = timed(lambda: [sweep.measure(*bounds[0]), sweep.measure(*bounds[-1])])
        found, seconds = timed(sweep.measurements)
        return found, seconds, max(0.0, first - 2 * seconds / len(bounds))

    def refined(self) -> tuple[dict[str, Measurement], dict[str, float]]:
        """The refined sweep and its seconds."""
        estimates, estimating, tracing = self.estimates("refined")
        with exact_sweep(self.data, self.graph, self.calibration, self.samples) as sweep:
            found, measuring = timed(lambda: refine(sweep, estimates, self.sources, top=TOP))
        return found, {"estimating_s": estimating, "tracing_s": tracing, "measuring_s": measuring}

    def exact(self) -> tuple[dict[str, Measurement], float]:
        with exact_sweep(self.data, self.graph, self.calibration, self.samples) as sweep:
            return timed(lambda: sweep.measure(self.sources, progress=_told("exact sweep")))


def timed(work: Callable[[], _T]) -> tuple[_T, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _told(title: str) -> Callable[[int, int], None]:
    return lambda done, total: say(f"{title}: {done} of {total} units") if done % 100 == 0 or done == total else None


def against_exact(case: Case, found: dict[str, Measurement], exact: dict[str, Measurement]) -> dict[str, Any]:
    """Kendall tau over the 8-bit sources, and whether the first five are the same in the same order."""
    ranked = [s.id for s in case.sources if s.is_ranked and s.id in found]
    errors = [[table[i].error.nmse for i in ranked] for table in (exact, found)]
    sources = [s for s in case.sources if s.id in found]
    top = [[s.id for s in worst(table, sources, 5)] for table in (exact, found)]
    return {"tau": float(kendalltau(*errors).statistic), "top5": top[1], "top5_same": top[0] == top[1]}


def on_model(case: Case, import_s: float) -> dict[str, Any]:
    """Passes, agreement with the exact sweep, and end-to-end seconds of the three sweeps on one model."""
    one_pass = case.pass_s()
    say(f"one float pass over {len(case.samples)} images: {one_pass:.3f} s")
    linear, linear_s, linear_tracing = case.estimates("linear")
    refined, parts = case.refined()
    refined_s = parts["estimating_s"] + parts["measuring_s"]
    say(f"linear {linear_s / one_pass:.1f} passes, refined {refined_s / one_pass:.1f}")
    exact, exact_s = case.exact()
    found = {"linear": against_exact(case, linear, exact), "refined": against_exact(case, refined, exact)}
    return {
        "samples": len(case.samples),
        "sources": len(case.sources),
        "float_pass_s": one_pass,
        "import_s": import_s,
        "linear_tracing_s": linear_tracing,
        "linear_s": linear_s,
        "linear_passes": linear_s / one_pass,
        "linear_end_to_end_s": import_s + linear_tracing + linear_s,
        **{f"refined_{name}": value for name, value in parts.items()},
        "refined_s": refined_s,
        "refined_passes": refined_s / one_pass,
        "refined_end_to_end_s": import_s + parts["tracing_s"] + refined_s,
        "exact_s": exact_s,
        "exact_passes_per_source": exact_s / one_pass / len(case.sources),
        "tau_linear": found["linear"]["tau"],
        "tau_refined": found["refined"]["tau"],
        "top5": found["refined"]["top5"],
        "top5_same": found["refined"]["top5_same"],
        "top5_same_linear": found["linear"]["top5_same"],
        "worst_weights": _worst_by_bits(case, exact),
    }


def rivals(case: Case, keras_model: Any, worst_weights: dict[str, str], budget_s: float) -> dict[str, Any]:
    """The two rivals on the same images."""
    graph = case.graph
    inputs = case.samples.block(0, len(case.samples))
    ranges = {graph.tensors[t].name: (r.minimum, r.maximum) for t, r in case.calibration.ranges.items()}
    worst_by_scheme = {s: worst_weights[f"w{SCHEMES[s].weight_bits}"] for s in LOOP_SCHEMES}
    found = {"litert_quantizer": litert_quantizer_loop(
        case.data, ranges, inputs, worst=worst_by_scheme, budget_s=budget_s
    )}  # fmt: skip
    if keras_model is not None:
        tf = import_tensorflow()
        found["quantization_debugger"] = quantization_debugger_loop(
            lambda: tf.lite.TFLiteConverter.from_keras_model(keras_model), case.data, inputs, worst=worst_weights["w8"]
        )
    return found


def scaled(budget_s: float, with_rivals: bool) -> list[dict[str, Any]]:
    """Time per op on networks of equal width and growing depth."""
    rows = []
    for ops in SCALED:
        data = mobilenet_like(ops)
        graph = build_graph(data)
        size = graph.tensors[graph.inputs[0]].shape[1]
        specs = input_specs(graph)
        images = load_samples(random_images(_SCALED_IMAGES * 4, size), specs, parse_preprocessing("", "raw"), warn=say)
        case = Case.of(data, images.in_content_order())
        one_pass = case.pass_s()
        _, parts = case.refined()
        refined_s = parts["estimating_s"] + parts["measuring_s"]
        row = {"ops": ops, "images": len(images), "float_pass_s": one_pass, "refined_s": refined_s,
               "time_per_op_s": refined_s / ops, "refined_passes": refined_s / one_pass, **parts}  # fmt: skip
        if with_rivals:
            few = Case.of(data, images.take(_SCALED_IMAGES).in_content_order())
            _, fewer = few.refined()
            whole = sum(fewer.values())
            names = dict.fromkeys(("w4", "w8"), graph.tensors[graph.ops[0].outputs[0]].name)
            found = rivals(few, mobilenet_like_keras(ops), names, budget_s)
            row |= {
                "rival_images": len(few.samples), "refined_with_tracing_s": whole,
                "litert_quantizer_s": found["litert_quantizer"]["seconds"],
                "litert_quantizer_extrapolated": found["litert_quantizer"]["extrapolated"],
                "litert_quantizer_loop_ratio": found["litert_quantizer"]["seconds"] / whole,
                "quantization_debugger_ratio": found["quantization_debugger"]["seconds"] / whole,
            }  # fmt: skip
        say(f"{ops} ops: {refined_s:.2f} s, {1000 * refined_s / ops:.1f} ms an op")
        rows.append(row)
    return rows


def peak_memory() -> dict[str, Any]:
    """Peak memory of a whole analysis of MobileNetV2 at 224x224 with 1000 images, in a process of its own."""
    command = [sys.executable, str(pathlib.Path(__file__).with_name("peak_memory.py"))]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(found.stdout))


def _worst_by_bits(case: Case, exact: dict[str, Measurement]) -> dict[str, str]:
    """Name of the output tensor of the op whose weights truly are the worst, by variant."""
    names = {}
    for variant in ("w4", "w8"):
        sources = [s for s in case.sources if s.part == "weights" and s.variant == variant]
        names[variant] = case.graph.tensors[max(sources, key=lambda s: exact[s.id].error.nmse).tensor].name
    return names


def _keras(path: str) -> Any:
    import_tensorflow()
    import keras

    return keras.saving.load_model(path, compile=False)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="float .tflite")
    parser.add_argument("--keras", help="the same model for QuantizationDebugger; MODEL with .keras unless given")
    parser.add_argument("--data", required=True)
    parser.add_argument("--resize", help="the model's own size unless given")
    parser.add_argument("--scale", default="tf")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--rival-budget", type=float, default=100.0, help="seconds a scheme and direction may take")
    parser.add_argument("--quick", action="store_true", help="without rivals, scaled networks and peak memory")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args(arguments)

    _, import_s = timed(import_tensorflow)
    data = load_float(args.model, warn=say).flatbuffer
    graph = build_graph(data)
    _, height, width, *_ = graph.tensors[graph.inputs[0]].shape
    resize = f"{height}x{width}" if args.resize is None else args.resize
    preprocessing = parse_preprocessing(resize, args.scale)
    samples = load_samples(args.data, input_specs(graph), preprocessing, limit=args.samples, warn=say)
    case, calibration_s = timed(lambda: Case.of(data, samples.in_content_order()))
    figures: dict[str, Any] = {"calibration_s": calibration_s, **on_model(case, import_s)}
    if not args.quick:
        own = pathlib.Path(args.keras or pathlib.Path(args.model).with_suffix(".keras"))
        found = rivals(case, _keras(str(own)) if own.exists() else None, figures["worst_weights"], args.rival_budget)
        seconds = figures["refined_end_to_end_s"]
        figures["litert_quantizer_loop_ratio"] = found["litert_quantizer"]["seconds"] / seconds
        if "quantization_debugger" in found:
            figures["quantization_debugger_ratio"] = found["quantization_debugger"]["seconds"] / seconds
        figures["rivals"] = found
        figures["scaled"] = scaled(args.rival_budget / 2, own.exists())
        first, *_, last = figures["scaled"]
        figures["time_per_op_ratio_200_to_50"] = last["time_per_op_s"] / first["time_per_op_s"]
        figures |= peak_memory()
    figures["benchmark_peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    shown = {name: value for name, value in figures.items() if name != "rivals"}
    print(json.dumps(shown, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Made-up measurements of a network, alike those of the real one: sensitivities, ranges, weights."""

from __future__ import annotations

import math
import random

from bitplan.analyzer.schema import (
    Calibration,
    Graph,
    Histogram,
    LeftFloat,
    Measurement,
    OutputError,
    Range,
    SensitivityTable,
    Source,
    WeightProfile,
)

OUTPUT_VARIANCE = 20.2
WORST = "expanded_conv_depthwise"

# Mean squared errors on the logits that were measured on the real model; the rest lies below 0.011.
KNOWN_WEIGHTS = {WORST: 1.27, "Conv1": 0.034, "block_1_depthwise": 0.027, "expanded_conv_project": 0.023}
KNOWN_OUTPUTS = {"Conv1": 0.017}
KNOWN_INPUT = 0.051


def error(nmse: float, samples: int = 256, **more: float) -> OutputError:
    """An output error with the SQNR that belongs to its nmse."""
    return OutputError(nmse, nmse * 0.07, math.inf if nmse == 0 else -10 * math.log10(nmse), samples, **more)


def sensitivity(graph: Graph, seed: int = 0) -> SensitivityTable:
    """All sources under every variant; the known ones as they were measured."""
    rng = random.Random(seed)
    measurements = [
        measured(Source("input", f"a{bits}", graph.inputs[0]), KNOWN_INPUT * noise, rng)
        for bits, noise in ((8, 1.0), (16, 1.5e-5))
    ]
    for op in graph.ops:
        small = 10 ** rng.uniform(-4.4, -2.4)
        output = KNOWN_OUTPUTS.get(op.layer, 10 ** rng.uniform(-4.6, -2.4))
        if op.weights is not None:
            w8 = KNOWN_WEIGHTS.get(op.layer, small)
            variants = {"w8": w8, "w16a8": w8 * 0.1 + output * 0.2, "w16a16": w8 * 2e-5}
            if "w4a8" in op.schemes:
                variants["w4"] = w8 * rng.uniform(180, 320)
            for variant, mse in variants.items():
                measurements.append(measured(Source("weights", variant, op.outputs[0], op.index), mse, rng))
        for variant, factor in (("a8", 1.0), ("a16", 1.6e-5)):
            measurements.append(measured(Source("activation", variant, op.outputs[0], op.index), output * factor, rng))
    left = []
    by_id = {m.source.id: m.error.nmse for m in measurements}
    for op in graph.ops:
        own = by_id.get(f"weights:{op.outputs[0]}:w8", 0.0) * 0.97 + by_id[f"activation:{op.outputs[0]}:a8"] * 0.6
        gain = own + rng.gauss(0, 3e-4)
        left.append(LeftFloat(op.index, error(max(0.0738 - gain, 1e-5), agreement=0.93, accuracy=0.85), gain))
    int8 = error(0.0738, kl=0.041, agreement=0.918, accuracy=0.84)
    return SensitivityTable(tuple(measurements), tuple(left), int8, (OUTPUT_VARIANCE,), 256, "d4" * 32, graph.digest)


def measured(source: Source, mse: float, rng: random.Random, samples: int = 256) -> Measurement:
    nmse = mse / OUTPUT_VARIANCE
    agreement = max(0.1, 1 - min(0.9, 0.8 * math.sqrt(nmse) / 2))
    figures = error(nmse, samples, kl=nmse * 0.6, agreement=agreement, accuracy=max(0.1, 0.868 - nmse * 0.5))
    # At the layer every op looks bad, the projections worst: that is what makes it a poor guide.
    return Measurement(
        source, figures, 10 ** rng.uniform(-4.2, -2.2) * (0.05 if source.variant.endswith("16") else 1.0)
    )


def calibration(graph: Graph, made_up: bool = False) -> Calibration:
    """Bell-shaped activations; behind ReLU6 half of the values at 0 and some at 6."""
    rng = random.Random(7)
    ranges = {graph.inputs[0]: _range(graph.inputs[0], -1.0, 1.0, 0.1, 0.55, rng)}
    for op in graph.ops:
        t = op.outputs[0]
        if op.activation == "RELU6":
            ranges[t] = _range(t, 0.0, 6.0, rng.uniform(-0.5, 0.8), rng.uniform(0.5, 2.2), rng)
        elif op.opcode == "SOFTMAX":
            ranges[t] = _range(t, 0.0, 1.0, 0.1, 0.2, rng)
        else:
            reach = rng.uniform(4, 30)
            ranges[t] = _range(
                t, -reach * rng.uniform(0.6, 1), reach, rng.uniform(-0.5, 0.5), reach / rng.uniform(3, 12), rng
            )
    partial = {op.index: ((-3.0, 9.0), (-0.02, 0.02)) for op in graph.ops if "w16a16" in op.schemes}
    return Calibration(ranges, partial, 256, "c3" * 32, made_up)


def weights(graph: Graph, most: int = 256) -> tuple[WeightProfile, ...]:
    """Bell-shaped weights; the channels of a depthwise convolution reach unlike far."""
    rng, found = random.Random(31), []
    for op in graph.ops:
        if op.weights is None:
            continue
        tensor = graph.tensors[op.weights]
        channels = tensor.shape[-1] if "depthwise" in op.kinds else tensor.shape[0]
        spread = 1.6 if "depthwise" in op.kinds else 0.3
        reach = [math.exp(rng.gauss(-1, spread)) for _ in range(channels)]
        joined = math.ceil(channels / most)
        high = [max(reach[i : i + joined]) for i in range(0, channels, joined)]
        top = max(reach)
        shape = [math.exp(-0.5 * ((bin - 23.5) / 5) ** 2) for bin in range(48)]
        counts = tuple(int(tensor.elements * value / sum(shape)) for value in shape)
        zeroed = {4: rng.uniform(0.05, 0.4), 8: rng.uniform(0.001, 0.03)}
        found.append(
            WeightProfile(
                op.index, tensor.elements, -top, top, counts, channels, joined, tuple(-h for h in high), tuple(high),
                min(reach), top, zeroed,
            )
        )  # fmt: skip
    return tuple(found)


def _range(tensor: int, low: float, high: float, mean: float, spread: float, rng: random.Random) -> Range:
    width = 2.0 ** math.ceil(math.log2((high - low) / 200))
    start, stop = math.floor(low / width), math.floor(high / width)
    counts = []
    for i in range(start, stop + 1):
        centre = (i + 0.5) * width
        counts.append(int(2e6 * width / spread * 0.4 * math.exp(-0.5 * ((centre - mean) / spread) ** 2)))
    if (low, high) == (0.0, 6.0):
        counts[0] += int(1e6)
        counts[-1] = int(10 ** rng.uniform(0, 5))
    else:
        counts[0], counts[-1] = counts[0] + 1, counts[-1] + 1
    return Range(tensor, low, high, Histogram(start, width, tuple(counts)), mean, spread**2)

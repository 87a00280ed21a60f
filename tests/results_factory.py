"""Made-up `Results` for the tests of reports: a MobileNetV2 on CIFAR-10, with the figures once measured on it."""

from __future__ import annotations

import dataclasses
import math
import random

from bitplan.analyzer.schema import (
    SCHEMES,
    Assignment,
    Calibration,
    Evaluation,
    Format,
    Graph,
    Histogram,
    Interval,
    LeftFloat,
    Measurement,
    OutputError,
    Plan,
    Range,
    Results,
    SensitivityTable,
    Source,
    TypeMismatch,
    Verification,
    WeightProfile,
)

from .results_parts import FLOAT_BYTES, Builder, mobilenet_graph, provenance
from .results_planning import planning

HOSTILE = [
    "</script><b>\"'",
    "<img src=x onerror=alert(1)>{{ 7*7 }}",
    "L" * 10_000,
    "\u202egnirts desrever a\u202c שלום עולם",
    "مرحبا/Conv2D",
    '=HYPERLINK("http://example.org")\n\t\x00end',
]
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
        _measured(Source("input", f"a{bits}", graph.inputs[0]), KNOWN_INPUT * noise, rng)
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
                measurements.append(_measured(Source("weights", variant, op.outputs[0], op.index), mse, rng))
        for variant, factor in (("a8", 1.0), ("a16", 1.6e-5)):
            measurements.append(_measured(Source("activation", variant, op.outputs[0], op.index), output * factor, rng))
    left = []
    by_id = {m.source.id: m.error.nmse for m in measurements}
    for op in graph.ops:
        own = by_id.get(f"weights:{op.outputs[0]}:w8", 0.0) * 0.97 + by_id[f"activation:{op.outputs[0]}:a8"] * 0.6
        gain = own + rng.gauss(0, 3e-4)
        left.append(LeftFloat(op.index, error(max(0.0738 - gain, 1e-5), agreement=0.93, accuracy=0.85), gain))
    int8 = error(0.0738, kl=0.041, agreement=0.918, accuracy=0.84)
    return SensitivityTable(tuple(measurements), tuple(left), int8, (OUTPUT_VARIANCE,), 256, "d4" * 32, graph.digest)


def _measured(source: Source, mse: float, rng: random.Random, samples: int = 256) -> Measurement:
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


def plan(
    graph: Graph, schemes: dict[str, str], size: int, nmse: float, budget: int | None = 2_800_000, usual: str = "w8a8"
) -> Plan:
    """`usual` everywhere but in the named layers."""
    assignments = []
    for op in graph.ops:
        name = schemes.get(op.layer, usual)
        weights = graph.tensors[op.weights].elements if op.weights is not None else 0
        channels = graph.tensors[op.bias].elements if op.bias is not None else 0
        stored = weights * (32 if name == "float" else SCHEMES[name].weight_bits) // 8 + channels * 8
        assignments.append(Assignment(op.key, op.layer, name, 1e-4, stored))
    return Plan(
        tuple(assignments), "milp", Format.FLOAT, ("w8a8", "w8a16", "w16a16", "float"), graph.digest,
        size, nmse, budget, 1_665_000, 2e-5,
        "Optimization terminated successfully. (HiGHS Status 7: Optimal)",
    )  # fmt: skip


def evaluation(
    name: str, size: int, arena: int, accuracy: float, drop: tuple[float, float] | None, **more: object
) -> Evaluation:
    """A file over 5000 images with XNNPACK, labels included, unless told otherwise."""
    samples = int(more.pop("samples", 5000))
    nmse = float(more.pop("nmse", 0.0))
    agreement = float(more.pop("agreement", 1.0))
    interval = Interval(drop[0], drop[0] - drop[1], drop[0] + drop[1]) if drop else None
    kernels = str(more.pop("kernels", "xnnpack"))
    figures = error(nmse, samples, kl=nmse * 0.6, agreement=agreement, accuracy=accuracy)
    return Evaluation(name, size, arena, kernels, figures, interval, "accuracy", **more)


def verification() -> Verification:
    """The benchmark model's table, with the first depthwise op in float as the plan."""
    every = {"float_accuracy": 0.865}
    few = {"samples": 500, "subset": True, "kernels": "reference", "float_accuracy": 0.874}
    evaluations = (
        evaluation("float", FLOAT_BYTES, 1_216_512, 0.8650, None, **every),
        evaluation(
            "int8 everywhere",
            2_734_336,
            304_128,
            0.8308,
            (3.42, 0.80),
            nmse=0.0741,
            agreement=0.9148,
            mcnemar_p=3.1e-17,
            **every,
        ),
        evaluation(
            "plan", 2_735_248, 617_472, 0.8592, (0.58, 0.52), nmse=0.0112, agreement=0.9612, mcnemar_p=0.031, **every
        ),
        evaluation("float", FLOAT_BYTES, 1_216_512, 0.8740, None, **few),
        evaluation(
            "w8a16 everywhere",
            2_803_120,
            608_256,
            0.8260,
            (4.80, 2.11),
            nmse=0.0688,
            agreement=0.912,
            mcnemar_p=1.2e-5,
            **few,
        ),
        evaluation(
            "plan", 2_735_248, 617_472, 0.8680, (0.60, 1.62), nmse=0.0114, agreement=0.96, mcnemar_p=0.58, **few
        ),
    )
    types = {"int8": 118, "int32": 53, "float32": 6}
    return Verification(evaluations, (), types, "e5" * 32, 5000, "a1" * 32, 2_735_180, 0.0109, 0.0112)


def mobilenet() -> Results:
    """Every part there is."""
    graph = mobilenet_graph()
    chosen = dataclasses.replace(
        plan(graph, {WORST: "float"}, 2_735_180, 0.0109),
        predicted_arena_bytes=613_300, predicted_latency=1.14, latency_unit="int8 = 1", predicted_bops=5.71e9,
        arena_budget_bytes=700_000,
    )  # fmt: skip
    return Results(
        provenance(),
        graph,
        calibration(graph),
        sensitivity(graph),
        chosen,
        planning(graph, chosen),
        verification=verification(),
        weights=weights(graph),
    )


def islands() -> Results:
    """Five layers in w16a16: regions, borders and more schemes in the strip; no measurable loss."""
    base = mobilenet()
    graph = base.graph
    first = {op.layer: "w16a16" for op in graph.ops[:5]}
    chosen = plan(
        graph,
        {**first, "block_16_expand": "w4a8", "block_16_project": "w4a8", "Conv_1": "w4a8", "predictions": "w8a16"},
        2_773_536,
        0.004,
    )
    before = verification()
    after = evaluation(
        "plan",
        2_773_536,
        595_000,
        0.865,
        (0.00, 0.36),
        nmse=0.0041,
        agreement=0.981,
        mcnemar_p=1.0,
        float_accuracy=0.865,
    )
    kept = tuple(e for e in before.evaluations if e.name != "plan")
    return dataclasses.replace(
        base,
        plan=chosen,
        planning=None,
        verification=dataclasses.replace(before, evaluations=(*kept[:2], after, *kept[2:]), measured_nmse=0.0041),
    )


def two_layers() -> Results:
    """A dense network without labels; one op cannot be quantized."""
    b = Builder()
    source = b.tensor("x", (1, 64))
    x = source
    for layer, width in (("hidden", 32), ("logits", 10)):
        weights, bias = (
            b.tensor(f"{layer}/kernel", (width, b.tensors[x].shape[-1]), True),
            b.tensor(f"{layer}/bias", (width,), True),
        )
        x = b.op(
            "FULLY_CONNECTED", layer, [x, weights, bias], (1, width), weights=weights, bias=bias,
            kinds=("fully connected",), macs=width * 64, schemes=("w8a8", "w8a16", "float"),
        )  # fmt: skip
    out = b.op(
        "PRELU",
        "prelu",
        [x],
        (1, 10),
        kinds=("activation",),
        refusal="litert-quantizer has no PRELU: it stays in float",
    )
    graph = Graph(tuple(b.tensors), tuple(b.ops), (source,), (out,), (out,), True, "f2" * 32, 14_512)
    rng = random.Random(3)
    measurements = [_measured(Source("input", "a8", source), 0.02, rng, 64)]
    for op, mse in zip(graph.ops[:2], (0.011, 0.03), strict=True):
        measurements.append(_measured(Source("weights", "w8", op.outputs[0], op.index), mse, rng, 64))
        measurements.append(_measured(Source("activation", "a8", op.outputs[0], op.index), mse / 3, rng, 64))
    table = SensitivityTable(
        tuple(measurements), (), error(0.0041, 64), (OUTPUT_VARIANCE,), 64, "d2" * 32, graph.digest
    )
    plain = calibration(graph)
    chosen = plan(graph, {"prelu": "float"}, 6_120, 0.004, None)

    def file(name: str, size: int, arena: int, disagreement: tuple[float, float] | None) -> Evaluation:
        interval = (
            Interval(disagreement[0], max(0.0, disagreement[0] - disagreement[1]), sum(disagreement))
            if disagreement
            else None
        )
        share = 1 - (disagreement[0] / 100 if disagreement else 0)
        return Evaluation(
            name,
            size,
            arena,
            "xnnpack",
            error(0.0041 if disagreement else 0.0, 1000, kl=0.002, agreement=share),
            interval,
            "agreement",
        )

    evaluations = (
        file("float", 14_512, 560, None),
        file("int8 everywhere", 6_104, 208, (1.3, 0.7)),
        file("plan", 6_104, 208, (1.3, 0.7)),
    )
    checked = Verification(evaluations, (), {"int8": 6, "float32": 3}, "e6" * 32, 1000, "a2" * 32, 6_120, 0.004, 0.0041)
    origin = provenance(
        model_name="two_layers.tflite", command="", calibration={"source": "arrays"}, evaluation={"source": "arrays"}
    )
    origin = dataclasses.replace(
        origin, warnings=("The evaluation data has no labels: agreement with the float model stands in for accuracy.",)
    )
    return Results(origin, graph, plain, table, chosen, verification=checked)


def inspected() -> Results:
    """Only the graph, as `bitplan inspect` has it."""
    return Results(provenance(calibration={}, evaluation={}, measured={}), mobilenet_graph())


def analyzed() -> Results:
    """Calibration and sweep, no plan."""
    return dataclasses.replace(mobilenet(), plan=None, planning=None, verification=None)


def mismatched() -> Results:
    """The emitted file is not the planned one."""
    base = mobilenet()
    op = base.graph.ops[1]
    wrong = TypeMismatch(op.key, op.layer, f"{op.layer}/kernel", "float32", "int8")
    return dataclasses.replace(base, verification=dataclasses.replace(verification(), mismatches=(wrong,)))


def unevaluated() -> Results:
    """A plan and its file, but no evaluation data: the figures stand on calibration samples, random ones at that."""
    base = mobilenet()
    kept = []
    for e in verification().evaluations:
        if not e.subset:
            figures = dataclasses.replace(e.error, samples=64, accuracy=None)
            share = 100 * (1 - (figures.agreement or 0.0))
            drop = Interval(share, share * 0.5, share * 1.5)
            kept.append(
                dataclasses.replace(
                    e, error=figures, drop_points=drop, drop_of="agreement", mcnemar_p=None, float_accuracy=None
                )
            )
    checked = dataclasses.replace(
        verification(), evaluations=tuple(kept), samples=64, data_digest="c3" * 32, on_calibration=True
    )
    origin = dataclasses.replace(
        base.provenance, evaluation={}, calibration={"source": "random numbers", "random": True}
    )
    return dataclasses.replace(
        base, provenance=origin, calibration=calibration(base.graph, made_up=True), verification=checked
    )


def regression() -> Results:
    """No classes and no metric: only the output error is known."""
    base = two_layers()
    assert base.verification is not None
    evaluations = tuple(
        dataclasses.replace(
            e, drop_points=None, drop_of="", error=dataclasses.replace(e.error, agreement=None, kl=None)
        )
        for e in base.verification.evaluations
    )
    graph = dataclasses.replace(base.graph, is_classifier=False)
    return dataclasses.replace(
        base, graph=graph, verification=dataclasses.replace(base.verification, evaluations=evaluations)
    )


def hostile() -> Results:
    """Names that try to be markup, script, spreadsheets' formulas or another direction of writing."""
    base = mobilenet()
    ops = list(base.graph.ops)
    for position, name in zip((1, 0, 4, 2, 3, 7), HOSTILE, strict=True):
        ops[position] = dataclasses.replace(ops[position], layer=name)
    tensors = tuple(dataclasses.replace(t, name=f"{t.name}{HOSTILE[0]}") for t in base.graph.tensors)
    origin = dataclasses.replace(
        base.provenance, model_name=HOSTILE[0], command=f"bitplan run {HOSTILE[1]}", warnings=(HOSTILE[0],)
    )
    return dataclasses.replace(
        base,
        provenance=origin,
        graph=dataclasses.replace(base.graph, ops=tuple(ops), tensors=tensors),
        notes=(HOSTILE[1],),
    )

"""Made-up `Results` for the tests of reports: a MobileNetV2 on CIFAR-10, with the figures once measured on it."""

from __future__ import annotations

import dataclasses
import random

from bitplan.analyzer.schema import (
    SCHEMES,
    Assignment,
    Evaluation,
    Format,
    Graph,
    Interval,
    Plan,
    Results,
    SensitivityTable,
    Source,
    TypeMismatch,
    Verification,
)

from .results_measures import OUTPUT_VARIANCE, WORST, calibration, error, measured, sensitivity, weights
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
    measurements = [measured(Source("input", "a8", source), 0.02, rng, 64)]
    for op, mse in zip(graph.ops[:2], (0.011, 0.03), strict=True):
        measurements.append(measured(Source("weights", "w8", op.outputs[0], op.index), mse, rng, 64))
        measurements.append(measured(Source("activation", "a8", op.outputs[0], op.index), mse / 3, rng, 64))
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

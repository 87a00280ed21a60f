"""Made-up plannings: a frontier, rivals, reasons, a price and a trial, around the plan of `results_factory`."""

from __future__ import annotations

import dataclasses
import random

from bitplan.analyzer.schema import (
    Alternative,
    Frontier,
    FrontierPoint,
    Graph,
    Interval,
    Opinion,
    Plan,
    Planning,
    Price,
    Reason,
    Remeasured,
    Results,
    Rival,
    Round,
    Trial,
)
from bitplan.reports.cells import Table

# File bytes, arena and predicted nmse of the points around that of the plan.
_POINTS = (
    (1_665_000, 304_128, 0.61), (1_790_000, 304_128, 0.33), (1_930_000, 304_128, 0.214), (2_080_000, 304_128, 0.121),
    (2_260_000, 304_128, 0.058), (2_480_000, 304_128, 0.031), (2_735_180, 617_472, 0.0109),
    (2_748_300, 595_008, 0.0052), (2_773_536, 595_008, 0.0040), (2_790_112, 608_256, 0.0021),
    (3_260_000, 608_256, 0.0008), (4_900_000, 1_010_000, 0.00009), (8_927_672, 1_216_512, 0.0),
)  # fmt: skip
_RIVALS = (
    ("int8 everywhere", 2_734_336, 0.0752), ("w8a16 everywhere", 2_803_120, 0.0690),
    ("int4 everywhere", 1_671_200, 3.41), ("first and last layer in float", 2_846_900, 0.0701),
    ("all depthwise in 16 bit", 2_768_000, 0.0733), ("greedy at 1930000", 1_930_000, 0.262),
    ("greedy at 2480000", 2_480_000, 0.031), ("greedy at 2773536", 2_770_000, 0.0061),
    ("threshold at 1930000", 1_931_000, 0.55), ("threshold at 2480000", 2_481_000, 0.094),
)  # fmt: skip


def planning(graph: Graph, plan: Plan) -> Planning:
    """Every part of it."""
    return Planning(reasons(graph, plan), price(), trial(graph, plan), frontier(plan))


def frontier(plan: Plan, along: str = "file_bytes") -> Frontier:
    """Thirteen points, of which the seventh is the plan and three were converted."""
    chosen = tuple(a.scheme for a in plan.assignments)
    points = []
    for place, (size, arena, noise) in enumerate(_POINTS):
        wide = min(len(chosen), 4 * place)
        schemes = chosen if place == 6 else ("w16a8",) * wide + ("w4a8",) * (len(chosen) - wide)
        point = FrontierPoint(schemes, noise, size, arena, 1 + place / 20, 2.1e9 * (1 + place / 10))
        if place in (3, 6, 8):
            point = dataclasses.replace(
                point, emitted_bytes=size + 68, emitted_arena_bytes=arena, measured_nmse=noise * (1 + place / 40),
                drop_points=Interval(noise * 40, noise * 40 - 0.6, noise * 40 + 0.6),
            )  # fmt: skip
        points.append(point)
    return Frontier(along, tuple(points), tuple(_rival(*rival) for rival in _RIVALS))


def _rival(name: str, amount: int, noise: float) -> Rival:
    below = [point for point in _POINTS if point[0] <= amount]
    return Rival(name, amount, noise, *((below[-1][0], below[-1][2]) if below else (None, None)))


def price() -> Price:
    """From the plan's point to the next but two."""
    return Price("file_bytes", 100_000, 2_790_112, 0.0021, 3_260_000, 0.0008)


def trial(graph: Graph, plan: Plan) -> Trial:
    """Two rounds: the first missed by more than a quarter, the second holds."""
    worst = graph.ops[1]
    again = (
        Remeasured(worst.key, worst.layer, plan.assignments[1].scheme, 0.0021, 0.0064),
        Remeasured(graph.ops[0].key, graph.ops[0].layer, plan.assignments[0].scheme, 0.0011, 0.0009),
    )
    drop = Interval(0.5, -0.3, 1.3)
    return Trial(
        (
            Round("plan", None, 0.0071, 0.0114, 2_773_600, 595_008, Interval(1.2, 0.4, 2.0), False, again),
            Round("re-measured", 0.0120, 0.0109, 0.0112, 2_735_248, 617_472, drop, True),
        ),
        512, True, "expected accuracy", 1.0, "undecided",
        ("more calibration images: 512 are too few to tell a drop of 1 point from none", "a larger --size-budget"),
    )  # fmt: skip


def reasons(graph: Graph, plan: Plan) -> tuple[Reason, ...]:
    """One for each op; those that have a single scheme know no other."""
    rng = random.Random(23)
    found = []
    for op, assigned in zip(graph.ops, plan.assignments, strict=True):
        others = [name for name in op.schemes if name != assigned.scheme]
        narrow = "w4a8" if "w4a8" in others else None
        gain = 10 ** rng.uniform(-4, -2)
        cheaper = Alternative(narrow, gain, -assigned.bytes // 2, -0.01, True) if narrow else None
        fits = rng.random() < 0.4  # what fits raises the error, or the plan would have it
        step = gain / 10 if fits else -assigned.predicted_nmse / 2
        next_best = Alternative(others[-1], step, 2 * assigned.bytes, 0.04, fits) if others else None
        known = {other.scheme: other for other in (cheaper, next_best) if other}
        alternatives = tuple(known.get(name, Alternative(name, gain / 7, 96, 0.013, False)) for name in others)
        found.append(
            Reason(
                op.key, op.layer, assigned.scheme, assigned.bytes, rng.uniform(0.001, 0.03), assigned.predicted_nmse,
                cheaper, next_best, alternatives,
            )
        )  # fmt: skip
    return tuple(found)


def on_target(base: Results, target: str, opinion: Opinion | None = None) -> Results:
    """The same plan made for a device, with what its tool says."""
    assert base.plan is not None and base.verification is not None
    made = dataclasses.replace(base.plan, target=target, predicted_latency=1.07, latency_unit="int8 = 1")
    return dataclasses.replace(base, plan=made, verification=dataclasses.replace(base.verification, opinion=opinion))


def vela() -> Opinion:
    """A compiled file that leaves two ops to the CPU."""
    return Opinion(
        "vela", "ethos-u-vela", "5.2.0", "compiled for ethos-u55-128, Ethos_U55_High_End_Embedded, Shared_Sram",
        742_400, 2_411_904, ("SOFTMAX", "PRELU"),
        figures={"sram_bytes": 742_400.0, "cycles_total": 1_904_213.0, "inferences_per_second": 262.6},
    )  # fmt: skip


def micro() -> Opinion:
    """A file that ran."""
    return Opinion(
        "tflite-micro", "tflite-micro", "0.dev20260101",
        "TFLite Micro with its reference kernels, run on this 64-bit host", 471_808, 2_735_248,
        agreement=0.96875, samples=64, figures={"activations_bytes": 429_000.0, "structures_bytes": 42_808.0},
    )  # fmt: skip


def refused() -> Opinion:
    """A file that TFLite Micro cannot run."""
    return Opinion(
        "tflite-micro", "tflite-micro", "0.dev20260101",
        "TFLite Micro with its reference kernels, run on this 64-bit host", refusal="it has no <b>PRELU</b>",
    )  # fmt: skip


def texts(table: Table, row: int) -> list[str]:
    return [cell.text for cell in table.rows[row].cells]


def with_planning(base: Results, **parts) -> Results:
    return dataclasses.replace(base, planning=dataclasses.replace(base.planning, **parts))


def with_plan(base: Results, **parts) -> Results:
    return dataclasses.replace(base, plan=dataclasses.replace(base.plan, **parts))

"""A made-up network of a thousand ops with a hundred plans: what a page has to bear."""

from __future__ import annotations

import dataclasses

from bitplan.analyzer.schema import SCHEMES, Frontier, FrontierPoint, Graph, Results

from . import results_factory as factory
from . import results_planning as planning
from . import results_samples as samples


def large(copies: int = 16, plans: int = 100) -> Results:
    """MobileNetV2's 65 ops again and again, with everything that is known of each."""
    base = factory.mobilenet()
    graph, table, calibration = base.graph, base.sensitivity, base.calibration
    assert table is not None and calibration is not None
    size, count = len(graph.tensors), len(graph.ops)
    tensors, ops, measurements, ranges = [], [], [], {}
    for copy in range(copies):
        tensors += [dataclasses.replace(t, index=t.index + copy * size) for t in graph.tensors]
        shift = copy * count
        for op in graph.ops:
            moved = {k: tuple(t + copy * size for t in getattr(op, k)) for k in ("inputs", "outputs", "constants")}
            weights = None if op.weights is None else op.weights + copy * size
            key, layer = f"{op.index + shift}:{op.opcode}", f"{op.layer}_{copy}"
            ops.append(dataclasses.replace(op, index=op.index + shift, key=key, layer=layer, weights=weights, **moved))
        for m in table.measurements:
            source = dataclasses.replace(
                m.source, tensor=m.source.tensor + copy * size, op=None if m.source.op is None else m.source.op + shift
            )
            measurements.append(dataclasses.replace(m, source=source))
        ranges |= {t + copy * size: r for t, r in calibration.ranges.items()}
    many = dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(ops))
    plan = factory.plan(many, {}, 1, 0.0)
    known = planning.planning(many, plan)
    return dataclasses.replace(
        samples.sampled(),
        graph=many,
        planning=dataclasses.replace(known, frontier=_frontier(many, plans)),
        calibration=dataclasses.replace(calibration, ranges=ranges),
        sensitivity=dataclasses.replace(table, measurements=tuple(measurements), left_float=()),
        plan=plan,
        weights=factory.weights(many, 31),
    )


def _frontier(graph: Graph, plans: int) -> Frontier:
    """Plans that widen the network from its front to its end."""
    wide = [next(s for s in ("w16a16", "w8a16", "float") if s in op.schemes) for op in graph.ops]
    usual = [next(s for s in SCHEMES if s in op.schemes and s != "w4a16") for op in graph.ops]
    points = []
    for place in range(plans):
        cut = place * len(wide) // plans
        points.append(
            FrontierPoint((*wide[:cut], *usual[cut:]), 0.6 * 0.95**place, 1_665_000 + 70_000 * place, 304_128, 1.0)
        )
    return Frontier("file_bytes", tuple(points), ())

"""Where the error comes from: rankings, kinds, both directions, and how poor a guide the error at the layer is."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..analyzer.schema import KINDS, SCHEMES, Graph, Results, Scheme, SensitivityTable
from . import numbers
from .cells import Bar, Cell, Column, Dot, Ranking, Row, SensitivityPart, Table
from .directions import directions
from .findings import findings, method_sentence
from .sources import (
    ESTIMATE_NOTE,
    PARTS,
    Contribution,
    LayerError,
    all_exact,
    base_scheme,
    contributions,
    input_label,
    labels,
    layer_errors,
    main_kind,
    op_anchor,
    swept_schemes,
    total,
)

SHOWN = 25

# Fewer sources show no relation, or any.
FEWEST_DOTS = 8

# A bar of one thirtieth of the chart's width is the last whose length can still be read.
LOGARITHMIC_FROM = 30.0


def sensitivity_part(results: Results) -> SensitivityPart | None:
    """Everything about single-source errors; None where no sweep was run."""
    table, scheme = results.sensitivity, base_scheme(results)
    if table is None or scheme is None:
        return None
    graph, layer = results.graph, labels(results.graph)
    names = swept_schemes(table)
    parts = contributions(table, scheme)
    both_ways, directions_note = directions(table, layer, layer_errors(table, scheme))
    dots = _dots(graph, layer, parts)
    return SensitivityPart(
        findings=findings(table, scheme),
        method=method_sentence(table, scheme),
        has_estimates=not all_exact(parts),
        default=scheme.name,
        rankings=tuple(_ranking(graph, layer, table, SCHEMES[name]) for name in names),
        kinds=_kind_bars(graph, parts),
        dots=dots,
        by_scheme=_by_scheme(graph, layer, table, names),
        local_note=_local_note(dots, scheme, all_exact(parts)),
        directions=both_ways,
        directions_note=directions_note,
        unit="output error (nmse)",
    )


def layer_label(graph: Graph, layer: Mapping[int, str], error: LayerError) -> str:
    """Label of a layer or a model input."""
    return input_label(graph, error.tensor) if error.op is None else layer[error.op]


def _label(graph: Graph, layer: Mapping[int, str], part: Contribution) -> str:
    return input_label(graph, part.tensor) if part.op is None else layer[part.op]


def _ranking(graph: Graph, layer: Mapping[int, str], table: SensitivityTable, scheme: Scheme) -> Ranking:
    errors = layer_errors(table, scheme)
    shown = [error for error in errors if error.nmse > 0][:SHOWN]
    bars = []
    for error in shown:
        label = layer_label(graph, layer, error)
        for part in error.parts:
            if 0 < part.nmse < math.inf:
                bars.append(_bar(label, part))
    sizes = [bar.value for bar in bars]
    tenth = sorted(sizes, reverse=True)[min(len(sizes), 10) - 1] if sizes else 0.0
    return Ranking(
        scheme.name, tuple(bars), bool(sizes) and max(sizes) > LOGARITHMIC_FROM * tenth, len(shown), len(errors)
    )


def _bar(label: str, part: Contribution) -> Bar:
    figure = numbers.marked(numbers.significant(part.nmse), part.exact)
    anchor = "" if part.op is None else op_anchor(part.op)
    return Bar(
        label, PARTS[part.part], part.nmse, part.low, part.high, f"{figure} ({_basis(part)})", anchor, not part.exact
    )


def _basis(part: Contribution) -> str:
    """How a figure was made, and its interval."""
    how = "measured" if part.exact else "estimated to first order"
    extent = f"{numbers.significant(part.low)} to {numbers.significant(part.high)}"
    return f"{how}; 95 % interval over samples {extent}"


def _kind_bars(graph: Graph, parts: tuple[Contribution, ...]) -> tuple[Bar, ...]:
    """Summed errors by kind and part, what was measured apart from estimates, largest kind first.

    Each op counts once, under its most telling kind.
    """
    sums: dict[tuple[str, str, bool], list[float]] = {}
    for part in parts:
        kind = "model input" if part.op is None else main_kind(graph.ops[part.op])
        sums.setdefault((kind, part.part, not part.exact), []).append(part.nmse)
    of_kind: dict[str, float] = {}
    for (kind, _, _), values in sums.items():
        of_kind[kind] = of_kind.get(kind, 0.0) + math.fsum(values)
    keys = sorted(sums, key=lambda key: (-of_kind[key[0]], key[0], list(PARTS).index(key[1]), key[2]))
    bars = []
    for kind, part_name, estimated in keys:
        values = sums[kind, part_name, estimated]
        value = math.fsum(values)
        figure = numbers.marked(numbers.significant(value), not estimated)
        how = "estimated to first order" if estimated else "measured"
        note = f"{figure} over {numbers.plural(len(values), 'source')}, {how}"
        bars.append(Bar(kind, PARTS[part_name], value, value, value, note, estimated=estimated))
    return tuple(bars)


def _dots(graph: Graph, layer: Mapping[int, str], parts: tuple[Contribution, ...]) -> tuple[Dot, ...]:
    return tuple(
        Dot(
            _label(graph, layer, part),
            PARTS[part.part],
            part.local_nmse,
            part.nmse,
            "" if part.op is None else op_anchor(part.op),
        )
        for part in parts
        if part.local_nmse is not None and 0 < part.nmse < math.inf and 0 < part.local_nmse < math.inf
    )


def _local_note(dots: tuple[Dot, ...], scheme: Scheme, every_source: bool) -> str:
    """Whether the error at the layer finds the source that is worst at the output, of those that were measured."""
    if len(dots) < FEWEST_DOTS:
        return ""
    by_local = sorted(dots, key=lambda dot: (-dot.local, dot.label, dot.part))
    worst, loudest = dots[0], by_local[0]
    if every_source:
        subject, one, limits = f"Under {scheme.name}", "source", ""
    else:
        subject, one = f"Of the {len(dots)} sources that were measured", "one"
        limits = " For the others only the error at the output was estimated."
    if worst == loudest:
        meaning = ": here the error at the layer points the right way" if every_source else ""
        return f"{subject} the same {one} is worst by both{meaning}.{limits}"
    return (
        f"{subject} the {one} that hurts the output most ({worst.label}, {worst.part}) comes"
        f" {numbers.ordinal(by_local.index(worst) + 1)} of {len(dots)} by the error at the layer itself; the one that"
        f" this puts first ({loudest.label}, {loudest.part}) is {numbers.ordinal(dots.index(loudest) + 1)} at the"
        f" output.{limits}"
    )


def error_cell(part: Contribution | None) -> Cell:
    """A source's error with its interval; estimates carry a sign."""
    if part is None:
        return Cell("", None)
    return Cell(numbers.marked(numbers.significant(part.nmse), part.exact), part.nmse, _basis(part))


def _by_scheme(graph: Graph, layer: Mapping[int, str], table: SensitivityTable, names: tuple[str, ...]) -> Table:
    """Layers by schemes: the figures of every ranking chart, for readers without the charts."""
    errors = {name: layer_errors(table, SCHEMES[name]) for name in names}
    wanted: dict[tuple[int | None, int], LayerError] = {}
    for name in names:
        for error in errors[name][:SHOWN]:
            wanted.setdefault((error.op, error.tensor), error)
    lookup = {name: {(e.op, e.tensor): e for e in errors[name]} for name in names}
    rows = []
    for key, error in wanted.items():
        href = "" if error.op is None else f"#{op_anchor(error.op)}"
        cells = [Cell(layer_label(graph, layer, error), layer_label(graph, layer, error), is_name=True, href=href)]
        for name in names:
            found = lookup[name].get(key)
            # A scheme whose weights this op does not have would show its activations alone and look better than it is.
            comparable = found is not None and (found.weights is None) == (error.weights is None)
            cells.append(_layer_cell(found) if found and comparable else Cell("", None))
        rows.append(Row(tuple(cells)))
    columns = (
        Column("Layer"),
        *(Column(name, f"Weights and output activation under {name}, summed", True) for name in names),
    )
    note = f"Output error (nmse) of the {SHOWN} worst layers of each scheme, one layer quantized at a time."
    exact = all(error.exact for name in names for error in errors[name])
    return Table("by-scheme", "Error by scheme", columns, tuple(rows), (note,) if exact else (note, ESTIMATE_NOTE))


def _layer_cell(error: LayerError) -> Cell:
    return Cell(numbers.marked(numbers.significant(error.nmse), error.exact), error.nmse)


def kind_table(results: Results) -> Table | None:
    """Ops, weights, work and error by kind."""
    graph = results.graph
    scheme, table = base_scheme(results), results.sensitivity
    parts = contributions(table, scheme) if table and scheme else ()
    together, exact = total(parts), all_exact(parts)
    groups: dict[str, list[int]] = {}
    for op in graph.ops:
        groups.setdefault(main_kind(op), []).append(op.index)
    inputs = [part for part in parts if part.op is None]
    rows = []
    for kind, members in groups.items():
        own = [part for part in parts if part.op in members]
        weights = [part for part in own if part.part == "weights"]
        outputs = [part for part in own if part.part == "activation"]
        macs = sum(graph.ops[index].macs for index in members)
        cells = [
            Cell(kind, kind, KINDS.get(kind, "")),
            Cell(numbers.count(len(members)), len(members)),
            Cell(numbers.large(macs) if macs else "", macs or None, f"{numbers.count(macs)} MACs"),
        ]
        if parts:
            cells += [_sum_cell(weights), _sum_cell(outputs), _share_cell([*weights, *outputs], together)]
        rows.append(Row(tuple(cells)))
    if inputs:
        blank = Cell("", None)
        first = Cell("model input", "model input", KINDS["input"])
        rows.append(Row((first, blank, blank, blank, _sum_cell(inputs), _share_cell(inputs, together))))
    if parts:
        rows.sort(key=lambda row: -(value if isinstance(value := row.cells[-1].value, int | float) else -1.0))
    columns = [Column("Kind"), Column("Ops", "", True), Column("MACs", "Multiply-accumulates for one sample", True)]
    if parts and scheme:
        columns += [
            Column("Weights", f"Summed output error (nmse) of the weights, {scheme.name}", True),
            Column("Activations", f"Summed output error (nmse) of the output activations, {scheme.name}", True),
            Column(numbers.marked("Share", exact), "Of the sum over all sources, quantized one at a time", True),
        ]
    note = "Each op counts once, under its most telling kind."
    return Table("kinds", "By kind", tuple(columns), tuple(rows), (note,) if exact else (note, ESTIMATE_NOTE))


def _sum_cell(parts: list[Contribution]) -> Cell:
    if not parts:
        return Cell("", None)
    return Cell(numbers.marked(numbers.significant(total(parts)), all_exact(parts)), total(parts))


def _share_cell(parts: list[Contribution], together: float) -> Cell:
    if not parts or together == 0:
        return Cell("", None)
    share = total(parts) / together
    return Cell(numbers.percent(share, 1), share)

"""Where the error comes from: rankings, kinds, both directions, and how poor a guide the error at the layer is."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..analyzer.schema import KINDS, SCHEMES, Graph, Results, Scheme, SensitivityTable
from . import numbers
from .cells import Bar, Cell, Column, Dot, Ranking, Row, SensitivityPart, Table
from .sources import (
    PARTS,
    Contribution,
    LayerError,
    base_scheme,
    contributions,
    input_label,
    labels,
    layer_errors,
    main_kind,
    measured_schemes,
    op_anchor,
    total,
)

SHOWN = 25
TOP = 5

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
    names = measured_schemes(table)
    layers = layer_errors(table, scheme)
    directions, directions_note = _directions(graph, table, layer, layers)
    dots = _dots(graph, layer, contributions(table, scheme))
    return SensitivityPart(
        findings=_findings(graph, layer, table, scheme),
        default=scheme.name,
        rankings=tuple(_ranking(graph, layer, table, SCHEMES[name]) for name in names),
        kinds=_kind_bars(graph, contributions(table, scheme)),
        dots=dots,
        by_scheme=_by_scheme(graph, layer, table, names),
        local_note=_local_note(dots, scheme),
        directions=directions,
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
    how = "measured" if part.exact else "estimated to first order"
    extent = f"{numbers.significant(part.low)} to {numbers.significant(part.high)}"
    note = f"{numbers.significant(part.nmse)} (95 % interval {extent}), {how}"
    anchor = "" if part.op is None else op_anchor(part.op)
    return Bar(label, PARTS[part.part], part.nmse, part.low, part.high, note, anchor)


def _kind_bars(graph: Graph, parts: tuple[Contribution, ...]) -> tuple[Bar, ...]:
    """Summed errors by kind and part, largest kind first; each op counts once, under its most telling kind."""
    sums: dict[tuple[str, str], list[float]] = {}
    for part in parts:
        kind = "model input" if part.op is None else main_kind(graph.ops[part.op])
        sums.setdefault((kind, part.part), []).append(part.nmse)
    of_kind: dict[str, float] = {}
    for (kind, _), values in sums.items():
        of_kind[kind] = of_kind.get(kind, 0.0) + math.fsum(values)
    keys = sorted(sums, key=lambda key: (-of_kind[key[0]], key[0], list(PARTS).index(key[1])))
    bars = []
    for key in keys:
        value = math.fsum(sums[key])
        note = f"{numbers.significant(value)} over {numbers.plural(len(sums[key]), 'source')}"
        bars.append(Bar(key[0], PARTS[key[1]], value, value, value, note))
    return tuple(bars)


def _dots(graph: Graph, layer: Mapping[int, str], parts: tuple[Contribution, ...]) -> tuple[Dot, ...]:
    return tuple(
        Dot(_label(graph, layer, part), PARTS[part.part], part.local_nmse, part.nmse)
        for part in parts
        if 0 < part.nmse < math.inf and 0 < part.local_nmse < math.inf
    )


def _local_note(dots: tuple[Dot, ...], scheme: Scheme) -> str:
    if len(dots) < FEWEST_DOTS:
        return ""
    by_local = sorted(dots, key=lambda dot: (-dot.local, dot.label, dot.part))
    worst, loudest = dots[0], by_local[0]
    if worst == loudest:
        return (
            f"Under {scheme.name} the same source is worst by both: here the error at the layer points the right way."
        )
    return (
        f"Ranked by the error at the layer itself, the source that hurts the output most ({worst.label}, {worst.part})"
        f" comes {numbers.ordinal(by_local.index(worst) + 1)} of {len(dots)}; the one that ranking puts first"
        f" ({loudest.label}, {loudest.part}) is {numbers.ordinal(dots.index(loudest) + 1)} at the output."
    )


def _findings(graph: Graph, layer: Mapping[int, str], table: SensitivityTable, scheme: Scheme) -> tuple[str, ...]:
    parts = contributions(table, scheme)
    sums = {name: math.fsum(part.nmse for part in parts if part.part == name) for name in PARTS}
    together = total(parts)
    findings = []
    if together > 0:
        shares = ", ".join(
            f"{PARTS[name]} {numbers.percent(value / together)}" for name, value in sums.items() if value
        )
        findings.append(f"Of the summed {scheme.name} error: {shares}.")
    if table.int8 and scheme.name == "w8a8" and together > 0:
        ratio = together / table.int8.nmse if table.int8.nmse else math.inf
        meaning = (
            "they nearly add up"
            if 0.8 <= ratio <= 1.25
            else "they cancel in part"
            if ratio > 1
            else "together they do more harm"
        )
        findings.append(
            f"One at a time the sources sum to {numbers.significant(together)}; all at once they give"
            f" {numbers.significant(table.int8.nmse)}: {meaning}."
        )
    inputs = [rank for rank, error in enumerate(layer_errors(table, scheme), 1) if error.op is None]
    if inputs:
        findings.append(f"The model input ranks {numbers.ordinal(inputs[0])} of {len(layer_errors(table, scheme))}.")
    estimated = sum(not part.exact for part in parts)
    if estimated:
        findings.append(
            f"{estimated} of {numbers.plural(len(parts), 'source')} were estimated to first order"
            " (marked \N{ALMOST EQUAL TO}), the others measured."
        )
    findings.append(f"Each figure stands on {numbers.plural(table.samples, 'calibration sample')}.")
    return tuple(findings)


def error_cell(part: Contribution | None) -> Cell:
    """A source's error with its interval; estimates carry a sign."""
    if part is None:
        return Cell("", None)
    sign = "" if part.exact else "\N{ALMOST EQUAL TO} "
    note = f"95 % interval {numbers.significant(part.low)} to {numbers.significant(part.high)}"
    return Cell(sign + numbers.significant(part.nmse), part.nmse, note)


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
            cells.append(Cell(numbers.significant(found.nmse), found.nmse) if found and comparable else Cell("", None))
        rows.append(Row(tuple(cells)))
    columns = (
        Column("Layer"),
        *(Column(name, f"Weights and output activation under {name}, summed", True) for name in names),
    )
    note = f"Output error (nmse) of the {SHOWN} worst layers of each scheme, one layer quantized at a time."
    return Table("by-scheme", "Error by scheme", columns, tuple(rows), (note,))


def _directions(
    graph: Graph, table: SensitivityTable, layer: Mapping[int, str], layers: tuple[LayerError, ...]
) -> tuple[Table | None, str]:
    """One layer quantized alone against one layer left in float, and whether the two orders agree at the top."""
    if not table.left_float:
        return None, ""
    alone = [error for error in layers if error.op is not None]
    relieved = sorted(table.left_float, key=lambda left: (-left.gain, left.op))
    rank_alone = {error.op: rank for rank, error in enumerate(alone, 1)}
    rank_left = {left.op: rank for rank, left in enumerate(relieved, 1)}
    gains = {left.op: left for left in table.left_float}
    chosen = dict.fromkeys(
        [left.op for left in relieved[: 2 * TOP]] + [error.op for error in alone[:TOP] if error.op is not None]
    )
    by_op = {error.op: error for error in alone}
    rows = []
    for op in chosen:
        left, error = gains.get(op), by_op.get(op)
        remaining = left.error if left else None
        rows.append(
            Row((
                Cell(layer[op], layer[op], is_name=True, href=f"#{op_anchor(op)}"),
                Cell(numbers.significant(error.nmse), error.nmse) if error else Cell("", None),
                Cell(str(rank_alone[op]), rank_alone[op]) if op in rank_alone else Cell("", None),
                Cell(numbers.significant(left.gain), left.gain) if left else Cell("not measured", None),
                Cell(str(rank_left[op]), rank_left[op]) if left else Cell("", None),
                Cell(numbers.significant(remaining.nmse), remaining.nmse) if remaining else Cell("", None),
            ))
        )  # fmt: skip
    columns = (
        Column("Layer"),
        Column("Error quantized alone", "nmse with only this layer in int8", True),
        Column("Rank", "By the error of this layer alone", True),
        Column("Gain left in float", "nmse of int8 everywhere minus nmse with this op in float", True),
        Column("Rank", "By the gain", True),
        Column("Error then left", "nmse of the file with this op in float and the rest int8", True),
    )
    title = "Quantized alone, or left in float"
    return Table("directions", title, columns, tuple(rows)), _disagreement(layer, rank_alone, rank_left)


def _disagreement(layer: Mapping[int, str], alone: Mapping[int | None, int], left: Mapping[int, int]) -> str:
    top_alone = [op for op, rank in alone.items() if op is not None and rank <= TOP and op in left]
    top_left = [op for op, rank in left.items() if rank <= TOP and op in alone]
    differ = [op for op in dict.fromkeys([*top_alone, *top_left]) if alone[op] != left[op]]
    if not differ:
        return f"Both directions give the same first {min(TOP, len(left))}."
    told = "; ".join(
        f"{layer[op]} is {numbers.ordinal(alone[op])} quantized alone and {numbers.ordinal(left[op])} left in float"
        for op in differ[:TOP]
    )
    more = f"; and {len(differ) - TOP} more" if len(differ) > TOP else ""
    meaning = "Where they differ, errors interact, or lie within the noise."
    return f"The two orders differ among the first {TOP}: {told}{more}. {meaning}"


def kind_table(results: Results) -> Table | None:
    """Ops, weights, work and error by kind."""
    graph = results.graph
    scheme, table = base_scheme(results), results.sensitivity
    parts = contributions(table, scheme) if table and scheme else ()
    together = total(parts)
    groups: dict[str, list[int]] = {}
    for op in graph.ops:
        groups.setdefault(main_kind(op), []).append(op.index)
    inputs = [part for part in parts if part.op is None]
    rows = []
    for kind, members in groups.items():
        own = [part for part in parts if part.op in members]
        weights = [part.nmse for part in own if part.part == "weights"]
        outputs = [part.nmse for part in own if part.part == "activation"]
        macs = sum(graph.ops[index].macs for index in members)
        cells = [
            Cell(kind, kind, KINDS.get(kind, "")),
            Cell(numbers.count(len(members)), len(members)),
            Cell(numbers.large(macs) if macs else "", macs or None, f"{numbers.count(macs)} MACs"),
        ]
        if parts:
            cells += [*_sum_cells(weights), *_sum_cells(outputs), _share_cell([*weights, *outputs], together)]
        rows.append(Row(tuple(cells)))
    if inputs:
        errors = [part.nmse for part in inputs]
        blank = Cell("", None)
        first = Cell("model input", "model input", KINDS["input"])
        rows.append(Row((first, blank, blank, blank, *_sum_cells(errors), _share_cell(errors, together))))
    if parts:
        rows.sort(key=lambda row: -(value if isinstance(value := row.cells[-1].value, int | float) else -1.0))
    columns = [Column("Kind"), Column("Ops", "", True), Column("MACs", "Multiply-accumulates for one sample", True)]
    if parts and scheme:
        columns += [
            Column("Weights", f"Summed output error (nmse) of the weights, {scheme.name}", True),
            Column("Activations", f"Summed output error (nmse) of the output activations, {scheme.name}", True),
            Column("Share", "Of the sum over all sources, measured one at a time", True),
        ]
    note = "Each op counts once, under its most telling kind."
    return Table("kinds", "By kind", tuple(columns), tuple(rows), (note,))


def _sum_cells(values: list[float]) -> list[Cell]:
    if not values:
        return [Cell("", None)]
    return [Cell(numbers.significant(math.fsum(values)), math.fsum(values))]


def _share_cell(values: list[float], together: float) -> Cell:
    if not values or together == 0:
        return Cell("", None)
    share = math.fsum(values) / together
    return Cell(numbers.percent(share, 1), share)

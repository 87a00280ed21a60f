"""The network op by op: the strip coloured by precision, the table by layer, and what stays in float."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ..analyzer.schema import SCHEMES, Assignment, Format, Graph, Op, Results
from . import numbers
from .cells import Cell, Column, Row, Strip, StripCell, Table
from .sensitivity import error_cell
from .sources import (
    ESTIMATE_NOTE,
    PARTS,
    LayerError,
    all_exact,
    base_scheme,
    contributions,
    labels,
    layer_errors,
    op_anchor,
    total,
    weight_count,
)

MARKS = {
    "w4a8": "4/8",
    "w4a16": "4/16",
    "w8a8": "8/8",
    "w8a16": "8/16",
    "w16a8": "16/8",
    "w16a16": "16/16",
    "float": "F",
}
MEANINGS = {
    "w4a8": "4-bit weights, 8-bit activations",
    "w4a16": "4-bit weights, 16-bit activations",
    "w8a8": "8-bit weights, 8-bit activations",
    "w8a16": "8-bit weights, 16-bit activations",
    "w16a8": "16-bit weights (hi + lo), 8-bit activations",
    "w16a16": "16-bit weights (hi + lo), 16-bit activations",
    "float": "left in float",
}

# Error bars of the strip span this many powers of ten below the worst layer.
DECADES = 4.0


def _assignments(results: Results) -> dict[str, Assignment]:
    return {} if results.plan is None else {a.op: a for a in results.plan.assignments}


def _errors(results: Results) -> dict[int, LayerError]:
    table, scheme = results.sensitivity, base_scheme(results)
    if table is None or scheme is None:
        return {}
    return {error.op: error for error in layer_errors(table, scheme) if error.op is not None}


def strip(results: Results) -> Strip | None:
    """The network in execution order; None without a plan."""
    plan, graph = results.plan, results.graph
    if plan is None:
        return None
    layer, errors, assigned = labels(graph), _errors(results), _assignments(results)
    worst = max((error.nmse for error in errors.values()), default=0.0)
    formats = {op.index: SCHEMES[assigned[op.key].scheme].format for op in graph.ops if op.key in assigned}
    writer = {t: op.index for op in graph.ops for t in op.outputs}
    cells = []
    for op in graph.ops:
        chosen = assigned.get(op.key)
        if chosen is None:
            continue
        border = _border(graph, op, formats, writer, plan.io)
        error = errors.get(op.index)
        facts = [f"{op.index}. {layer[op.index]}", op.opcode, f"{chosen.scheme} ({MARKS[chosen.scheme]})"]
        if chosen.bytes:
            facts.append(f"{numbers.count(chosen.bytes)} bytes")
        if error:
            size = numbers.marked(numbers.significant(error.nmse), error.exact)
            facts.append(f"{base_scheme_name(results)} error {size}")
        if border:
            facts.append(border)
        if op.refusal:
            facts.append(op.refusal)
        cells.append(
            StripCell(
                op_anchor(op.index),
                layer[op.index],
                chosen.scheme,
                MARKS[chosen.scheme],
                border,
                _height(error, worst),
                error is not None and 2 * error.estimated_nmse > error.nmse,
                " \N{MIDDLE DOT} ".join(facts),
            )
        )
    tally = Counter(cell.scheme for cell in cells)
    legend = tuple(
        (name, MARKS[name], f"{MEANINGS[name]}: {numbers.plural(tally[name], 'op')}") for name in SCHEMES if tally[name]
    )
    exit_border = _exit_border(graph, formats, writer, plan.io)
    borders = sum(bool(cell.border) for cell in cells) + bool(exit_border)
    summary = (
        f"{numbers.plural(len(cells), 'op')} in execution order."
        + (f" {numbers.plural(borders, 'format change')}." if borders else " No format changes.")
    )  # fmt: skip
    return Strip(tuple(cells), legend, summary, worst > 0, borders > 0, exit_border)


def borders(graph: Graph, schemes: Sequence[str], io: Format) -> tuple[bool, ...]:
    """Whether each op converts what it reads, were these the schemes of the ops in execution order."""
    formats = [SCHEMES[name].format for name in schemes]
    writer = {t: place for place, op in enumerate(graph.ops) for t in op.outputs}
    return tuple(
        any((formats[writer[t]] if t in writer else io) is not formats[place] for t in graph.activations_in(op))
        for place, op in enumerate(graph.ops)
    )


def base_scheme_name(results: Results) -> str:
    scheme = base_scheme(results)
    return scheme.name if scheme else ""


def _height(error: LayerError | None, worst: float) -> float | None:
    if error is None or worst <= 0:
        return None
    if error.nmse <= 0:
        return 0.0
    return round(max(0.04, 1 + math.log10(error.nmse / worst) / DECADES), 3)


def _border(graph: Graph, op: Op, formats: dict[int, Format], writer: dict[int, int], io: Format) -> str:
    """What this op's inputs are converted from, "" where they come in its own format."""
    own = formats[op.index]
    found = dict.fromkeys(
        source.value
        for t in graph.activations_in(op)
        if (source := formats.get(writer[t]) if t in writer else io) is not None and source is not own
    )
    return "reads " + " and ".join(f"{source} as {own.value}" for source in found) if found else ""


def _exit_border(graph: Graph, formats: dict[int, Format], writer: dict[int, int], io: Format) -> str:
    found = dict.fromkeys(
        formats[writer[t]].value for t in graph.outputs if t in writer and formats.get(writer[t], io) is not io
    )
    return " and ".join(f"{source} to {io.value}" for source in found)


def layer_table(results: Results) -> Table:
    """One row an op, in execution order; columns without any data are left out."""
    graph, layer = results.graph, labels(results.graph)
    errors, assigned = _errors(results), _assignments(results)
    scheme, table = base_scheme(results), results.sensitivity
    parts = contributions(table, scheme) if table and scheme else ()
    together, exact = total(parts), all_exact(parts)
    columns = [
        Column("Layer", "Name of the Keras layer where one can be read from the file"),
        Column("#", "Position in execution order", True),
        Column("Op"),
        Column("Kind", "Most telling first"),
        Column("Weights", "Values in weights and constant operands", True),
        Column("MACs", "Multiply-accumulates for one sample", True),
        Column("Output", "Bytes of one sample's output in float; int8 takes a quarter, int16 half", True),
    ]
    if not assigned:
        columns.append(Column("Can take", "Schemes that exist for this op"))
    if assigned:
        columns += [
            Column("Plan", "Scheme of the plan"),
            Column("Bytes", "Predicted: weights, bias and scales under the plan", True),
        ]
    if errors and scheme:
        columns += [
            Column("Weights error", f"Output error (nmse) with only this op's weights in {scheme.name}", True),
            Column("Activation error", f"Output error (nmse) with only this op's output in {scheme.name}", True),
            Column(
                numbers.marked("Share", exact),
                f"Weights and activation, of the sum over all {scheme.name} sources",
                True,
            ),
            Column(
                "At the layer",
                "Error at the layer itself: a poor guide, shown for comparison"
                + ("" if exact else "; only where it was measured"),
                True,
            ),
        ]
    rows = []
    for op in graph.ops:
        weights = weight_count(graph, op)
        outputs = graph.activations_out(op)
        elements = sum(graph.tensors[t].elements for t in outputs)
        shape = " ".join("\N{MULTIPLICATION SIGN}".join(str(n) for n in graph.tensors[t].shape) for t in outputs)
        cells = [
            Cell(layer[op.index], layer[op.index], is_name=True, href=f"#{op_anchor(op.index)}"),
            Cell(str(op.index), op.index),
            Cell(op.opcode, op.opcode, op.refusal),
            Cell(", ".join(op.kinds), ", ".join(op.kinds)),
            Cell(numbers.count(weights) if weights else "", weights or None),
            Cell(
                numbers.large(op.macs) if op.macs else "",
                op.macs or None,
                f"{numbers.count(op.macs)}" if op.macs else "",
            ),
            Cell(numbers.kibibytes(4 * elements), 4 * elements, f"{shape}, {numbers.count(elements)} elements"),
        ]
        if not assigned:
            cells.append(Cell(", ".join(op.schemes), len(op.schemes), op.refusal))
        if assigned:
            chosen = assigned.get(op.key)
            cells += [
                Cell(chosen.scheme, list(SCHEMES).index(chosen.scheme)) if chosen else Cell("", None),
                Cell(numbers.count(chosen.bytes) if chosen.bytes else "", chosen.bytes or None)
                if chosen
                else Cell("", None),
            ]
        if errors:
            cells += _error_cells(errors.get(op.index), together)
        role = "plan" if op.key in assigned and assigned[op.key].scheme != _usual(results) else ""
        rows.append(Row(tuple(cells), op_anchor(op.index), role))
    return Table("layers", "By layer", tuple(columns), tuple(rows), () if exact else (ESTIMATE_NOTE,))


def _usual(results: Results) -> str:
    """The plan's most frequent scheme: rows that differ from it stand out."""
    tally = Counter(a.scheme for a in results.plan.assignments) if results.plan else Counter[str]()
    return min(tally, key=lambda name: (-tally[name], name), default="")


def _error_cells(error: LayerError | None, together: float) -> list[Cell]:
    """Both parts, their share of the sum over all sources, and the error at the layer."""
    if error is None:
        return [Cell("", None)] * 4
    share = error.nmse / together if together else 0.0
    return [
        error_cell(error.weights),
        error_cell(error.activation),
        Cell(numbers.percent(share, 1), share),
        _local_cell(error),
    ]


def _local_cell(error: LayerError) -> Cell:
    if error.local_nmse is None:
        return Cell("", None)
    told = [PARTS[part.part] for part in error.parts if part.local_nmse is not None]
    note = "" if len(told) == len(error.parts) else f"Of the {told[0]} alone: the other part was not measured"
    return Cell(numbers.significant(error.local_nmse), error.local_nmse, note)


def _why(graph: Graph, op: Op) -> str:
    if not graph.activations_in(op) and not graph.activations_out(op):
        return "computes no float values"
    return "only float kernels exist for it"


def refused_table(results: Results) -> Table | None:
    """Ops that cannot be quantized, each with the reason."""
    graph, layer = results.graph, labels(results.graph)
    rows = tuple(
        Row((
            Cell(layer[op.index], layer[op.index], is_name=True, href=f"#{op_anchor(op.index)}"),
            Cell(str(op.index), op.index),
            Cell(op.opcode, op.opcode),
            Cell(op.refusal or _why(graph, op), op.refusal or _why(graph, op)),
        ))
        for op in graph.ops
        if op.refusal or op.schemes == ("float",)
    )  # fmt: skip
    columns = (Column("Layer"), Column("#", "Position in execution order", True), Column("Op"), Column("Why"))
    return Table("refused", "Ops that cannot be quantized", columns, rows) if rows else None

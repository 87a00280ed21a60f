"""Calibration ranges: how much of each range the values use, and how much lies at ReLU6's ceiling."""

from __future__ import annotations

import math

from ..analyzer.schema import Graph, Histogram, Op, Range, Results
from . import numbers
from .cells import Cell, Column, RangesPart, Row, Sparkline, Table
from .sources import input_label, labels, op_anchor

COLUMNS = 64
INNER = (0.001, 0.999)
RELU6_CEILING = 6.0


def ranges_part(results: Results) -> RangesPart | None:
    """One row a tensor, in execution order; None where nothing was calibrated."""
    calibration, graph = results.calibration, results.graph
    if calibration is None or not calibration.ranges:
        return None
    layer = labels(graph)
    writer = {t: op for op in graph.ops for t in op.outputs}
    order = sorted(calibration.ranges, key=lambda t: (writer[t].index if t in writer else -1, t))
    has_relu6 = any(writer[t].activation == "RELU6" for t in order if t in writer)
    rows, sparklines = [], []
    for t in order:
        seen, op = calibration.ranges[t], writer.get(t)
        low, high = inner_range(seen)
        used = _used(seen, low, high)
        cells = [
            _head(graph, layer, t, op, seen),
            Cell(numbers.significant(seen.minimum), seen.minimum),
            Cell(numbers.significant(seen.maximum), seen.maximum),
            Cell(
                numbers.percent(used),
                used,
                f"0.1 % to 99.9 %: {numbers.significant(low)} to {numbers.significant(high)}",
            )
            if used is not None
            else Cell("constant", None),
        ]
        if has_relu6:
            cells.append(_ceiling(op, seen))
        rows.append(Row(tuple(cells)))
        sparklines.append(sparkline(seen))
    columns = [
        Column("Output of", "The op that writes the tensor"),
        Column("Minimum", "Over all calibration samples", True),
        Column("Maximum", "Over all calibration samples", True),
        Column(
            "Range used",
            "Share of minimum to maximum in which the middle 99.8 % of the values lie; the rest is spent on outliers",
            True,
        ),
    ]
    if has_relu6:
        columns.append(Column("At 6", "Share of the values at ReLU6's ceiling", True))
    note = (
        f"Over {numbers.plural(calibration.samples, 'calibration sample')}. Histograms run from minimum to maximum;"
        " heights are logarithmic, so that single outliers show. The shaded part holds the middle 99.8 % of the values."
    )
    table = Table("ranges", "Calibration ranges", tuple(columns), tuple(rows), (note,))
    return RangesPart(table, tuple(sparklines))


def _head(graph: Graph, layer: dict[int, str], tensor: int, op: Op | None, seen: Range) -> Cell:
    detail = "declared by the model (FAKE_QUANT), not measured" if seen.declared else ""
    if op is None:
        label = input_label(graph, tensor)
        return Cell(label, label, detail=detail, is_name=True)
    label = layer[op.index]
    if len(op.outputs) > 1:
        label = f"{label}, output {op.outputs.index(tensor)}"
    return Cell(label, label, detail=detail, is_name=True, href=f"#{op_anchor(op.index)}")


def _used(seen: Range, low: float, high: float) -> float | None:
    width = seen.maximum - seen.minimum
    return (high - low) / width if width > 0 else None


def _ceiling(op: Op | None, seen: Range) -> Cell:
    if op is None or op.activation != "RELU6":
        return Cell("", None)
    share = share_from(seen.histogram, RELU6_CEILING)
    return Cell("", None) if share is None else Cell(numbers.percent(share, 2), share)


def share_from(histogram: Histogram, limit: float) -> float | None:
    """Share of the values at or above `limit`; None where that is not the edge of a bin, so that it cannot be told."""
    position = limit / histogram.width
    every = sum(histogram.counts)
    if position != math.floor(position) or not every:
        return None
    first = max(0, int(position) - histogram.start)
    return sum(histogram.counts[first:]) / every


def inner_range(seen: Range) -> tuple[float, float]:
    """Values below which 0.1 % and 99.9 % of the histogram lie: linear within a bin, never outside the extremes."""
    lower, upper = (quantile(seen.histogram, share) for share in INNER)
    return min(max(lower, seen.minimum), seen.maximum), min(max(upper, seen.minimum), seen.maximum)


def quantile(histogram: Histogram, share: float) -> float:
    """Value below which `share` of the counts lies, counts being spread evenly over their bin."""
    every = sum(histogram.counts)
    target, below = share * every, 0
    for position, count in enumerate(histogram.counts):
        if count and below + count >= target:
            return (histogram.start + position + (target - below) / count) * histogram.width
        below += count
    return (histogram.start + len(histogram.counts)) * histogram.width


def sparkline(seen: Range) -> Sparkline:
    """The histogram over minimum to maximum in at most `COLUMNS` columns of logarithmic height."""
    histogram, width = seen.histogram, seen.maximum - seen.minimum
    low, high = inner_range(seen)
    if width <= 0 or not any(histogram.counts):
        return Sparkline((1.0,), None, (0.0, 1.0))
    columns = [0] * min(COLUMNS, max(1, len(histogram.counts)))
    for position, count in enumerate(histogram.counts):
        middle = (histogram.start + position + 0.5) * histogram.width
        column = int((middle - seen.minimum) / width * len(columns))
        columns[min(max(column, 0), len(columns) - 1)] += count
    tallest = math.log1p(max(columns))
    heights = tuple(round(math.log1p(count) / tallest, 3) for count in columns)
    zero = -seen.minimum / width if seen.minimum < 0 < seen.maximum else None
    inner = (round((low - seen.minimum) / width, 4), round((high - seen.minimum) / width, 4))
    return Sparkline(heights, None if zero is None else round(zero, 4), inner)

"""Charts of runs beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..analyzer.schema import SCHEMES, Interval
from . import numbers
from .chart_parts import SCHEME_COLOURS, Chart, data, finish
from .side_by_side import SideBySide
from .side_figures import SideFigures

# Okabe and Ito's colours, which colour-blind readers tell apart; shapes differ as well.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#6b7280")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_UNITS = {
    "accuracy": "drop in accuracy against float, points", "agreement": "answers unlike float, %",
    "metric": "drop of the metric against float",
}  # fmt: skip
_DIFFERS = "schemes differ"


def side_by_side_charts(found: SideBySide) -> tuple[Chart, ...]:
    """What has data: file size against drop, and the schemes of every layer."""
    charts = []
    measured = [f for f in found.figures if f.drop is not None and f.file_bytes is not None]
    if len(measured) > 1 and len({f.drop_of for f in measured}) == 1:
        charts.append(_sizes(measured))
    if found.layers is not None:
        charts.append(_schemes(found))
    return tuple(charts)


def _sizes(measured: Sequence[SideFigures]) -> Chart:
    import altair as alt

    alike: dict[tuple[int, Interval], list[str]] = {}
    for f in measured:
        assert f.drop is not None and f.file_bytes is not None
        alike.setdefault((f.file_bytes, f.drop), []).append(numbers.name(f.name))  # one mark would hide the other
    rows: list[dict[str, Any]] = [
        {
            "run": ", ".join(names), "flash": size / 1e6, "drop": drop.value, "low": drop.low, "high": drop.high,
            "note": f"{numbers.megabytes(size, 3)}, {numbers.interval(drop)}",
        }
        for (size, drop), names in alike.items()
    ]  # fmt: skip
    order = [row["run"] for row in rows]
    count = len(order)
    colours = alt.Scale(domain=order, range=[_COLOURS[i % len(_COLOURS)] for i in range(count)])
    shapes = alt.Scale(domain=order, range=[_SHAPES[i % len(_SHAPES)] for i in range(count)])
    low, high = min(0.0, *(row["low"] for row in rows)), max(0.0, *(row["high"] for row in rows))
    margin = 0.06 * (high - low or 1.0)
    x = alt.X("flash:Q", title="flash (file), MB").scale(zero=False, padding=30, nice=False)
    y = alt.Y("drop:Q", title=_UNITS[measured[0].drop_of]).scale(domain=[low - margin, high + margin], nice=False)
    base = alt.Chart(data(rows)).encode(x=x, color=alt.Color("run:N", title=None, scale=colours, sort=order))
    spec = alt.layer(
        alt.Chart(data([{"zero": 0}])).mark_rule(strokeDash=[3, 3], color="#8a919c").encode(y=alt.Y("zero:Q")),
        base.mark_rule(strokeWidth=3, opacity=0.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            y=y,
            shape=alt.Shape("run:N", title=None, scale=shapes, sort=order),
            tooltip=[alt.Tooltip("run:N", title="run"), alt.Tooltip("note:N", title="figures")],
        ),
    )
    text = "Below and to the left is better. The line is the 95 % interval; one that reaches 0 is no measurable loss."
    return Chart("sizes", "What each file costs and loses", text, {"": finish(spec, 340)}, "runs")


def _schemes(found: SideBySide) -> Chart:
    import altair as alt

    table = found.layers
    assert table is not None
    names = [column.label for column in table.columns[2:]]
    rows: list[dict[str, Any]] = []
    marks = []
    for row in table.rows:
        layer, position = row.cells[0].text, row.cells[1].value
        for name, cell in zip(names, row.cells[2:], strict=True):
            rows.append({"op": position, "layer": layer, "run": name, "scheme": cell.text})
        if row.role:
            marks.append({"op": position, "layer": layer, "run": _DIFFERS})
    present = [scheme for scheme in SCHEMES if any(row["scheme"] == scheme for row in rows)]
    colours = alt.Scale(domain=present, range=[SCHEME_COLOURS[scheme] for scheme in present])
    order = [*names, *([_DIFFERS] if marks else [])]
    step = next(step for step in (1, 5, 10, 50, 100, 500) if len(table.rows) <= 20 * step or step == 500)
    named = alt.Axis(values=list(range(0, len(table.rows), step)), labelAngle=0, labelOverlap=False, grid=False)
    x = alt.X("op:O", title="op, in execution order", axis=named)
    tips = [alt.Tooltip("layer:N", title="layer"), alt.Tooltip("run:N", title="run")]
    layers = [
        alt.Chart(data(rows)).mark_rect(stroke="white", strokeWidth=0.5).encode(
            x=x,
            y=alt.Y("run:N", sort=order, title=None, scale=alt.Scale(domain=order), axis=alt.Axis(grid=False)),
            color=alt.Color("scheme:N", title=None, scale=colours),
            tooltip=[*tips, alt.Tooltip("scheme:N", title="scheme")],
        )
    ]  # fmt: skip
    if marks:
        layers.append(
            alt.Chart(data(marks))
            .mark_point(shape="triangle-up", size=45, filled=True, color="#c2571a", opacity=1)
            .encode(x=alt.X("op:O"), y=alt.Y("run:N", sort=order), tooltip=tips)
        )
    text = "One column an op, one row a run, coloured by precision."
    if marks:
        text += " Triangles mark the ops that the runs treat differently."
    return Chart(
        "schemes", "Schemes, layer by layer", text, {"": finish(alt.layer(*layers), 34 * len(order))}, "schemes"
    )

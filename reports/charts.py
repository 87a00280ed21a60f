"""Results -> Vega-Lite specifications, made with Altair. The same ones serve the page and figures for slides.

Parts have colours that colour-blind readers tell apart, and differ in shape or in place as well. What was measured is
filled, what was estimated outlined. Nothing here makes Altair number its charts or parameters, so that equal results
give equal specifications.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..analyzer.schema import Results
from .cells import Bar, Dot, Ranking, SensitivityPart
from .chart_parts import (
    BASELINE_COLOUR,
    CHOSEN,
    PLAN_COLOUR,
    SILENT,
    Chart,
    Row,
    chosen_only,
    data,
    decades,
    finish,
    told,
)
from .frontier_chart import frontier_chart
from .parts import View
from .repair_charts import training_chart, waterfall_chart
from .study_chart import study_charts
from .view import build_view

PART_COLOURS = {"weights": "#1f77c9", "output activation": "#e08a00", "model input": "#0b9e77"}
PART_SHAPES = {"weights": "circle", "output activation": "diamond", "model input": "square"}

# Opacity of a fill: an estimate is its outline, with a breath of colour that tells inside from outside.
MEASURED_FILL, ESTIMATED_FILL = 0.95, 0.12
FILL_LEGEND_COLOUR = "#7b8494"

_FEW_KINDS = 2
"""No more kinds than these, one of them often the model's input, are told by their table alone."""

DROP_TITLES = {
    "accuracy": ("Drop in accuracy against float", "percentage points"),
    "agreement": ("Answers unlike the float model's", "% of answers"),
    "metric": ("Drop of the metric against float", "units of the metric"),
}


def build_charts(results: Results) -> tuple[Chart, ...]:
    """Every chart that the results have data for, in the order of the page."""
    return charts_of(build_view(results))


def charts_of(view: View) -> tuple[Chart, ...]:
    """The same, from a view that is already there."""
    charts = []
    if view.drops:
        charts.append(_drops(view))
    if view.sensitivity:
        charts += _sensitivity(view.sensitivity)
    if view.plan and view.plan.frontier and view.plan.frontier.dots:
        charts.append(frontier_chart(view.plan.frontier))
    if view.repairs and view.repairs.falls:
        charts.append(waterfall_chart(view.repairs))
    if view.repairs and view.repairs.learned:
        charts.append(training_chart(view.repairs))
    if view.study:
        charts += study_charts(view.study.found)
    return tuple(charts)


def _drops(view: View) -> Chart:
    import altair as alt

    rows = [_row(bar) for bar in view.drops]
    order = [bar.label for bar in view.drops]
    low, high = min(0.0, *(bar.low for bar in view.drops)), max(0.0, *(bar.high for bar in view.drops))
    margin = 0.06 * (high - low or 1.0)
    title, unit = DROP_TITLES[view.drop_of]
    x = alt.X("value:Q", title=unit).scale(domain=[low - margin, high + margin], nice=False, zero=False)
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("label:N", sort=order, title=None),
        color=alt.Color("part:N", legend=None).scale(domain=["plan", "baseline"], range=[PLAN_COLOUR, BASELINE_COLOUR]),
        tooltip=_tooltip(),
    )
    spec = alt.layer(
        alt.Chart(data([{"zero": 0}])).mark_rule(strokeDash=[3, 3], color=BASELINE_COLOUR).encode(x=alt.X("zero:Q")),
        base.mark_rule(strokeWidth=3, opacity=0.55).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=x),
    )
    text = "Each dot is a file, the line its 95 % interval; a line that reaches 0 is no measurable difference."
    return Chart("drops", title, text, {"": finish(spec, 30 * len(order), label_limit=340)}, "comparison")


def _sensitivity(part: SensitivityPart) -> list[Chart]:
    specs = {}
    for ranking in part.rankings:
        scales = ("log", "linear") if ranking.logarithmic else ("linear", "log")
        for scale in scales:
            if ranking.bars:
                specs[f"{ranking.scheme}|{scale}"] = _ranking(ranking, part.unit, scale == "log")
    charts = []
    if specs:
        text = (
            f"{_ranked(part.rankings)}, weights and output activation apart, with 95 % intervals over samples;"
            " on a logarithmic scale each step is ten times the error."
        )
        if any(bar.estimated for ranking in part.rankings for bar in ranking.bars):
            text += (
                " Filled marks were measured, outlined ones estimated to first order: their intervals do not tell how"
                " far the estimate is from what would be measured."
            )
        charts.append(Chart("ranking", "Which layers hurt the output", text, specs, "by-scheme"))
    if len({bar.label for bar in part.kinds}) > _FEW_KINDS:
        text = f"Summed over the sources of each kind, {part.default}, one source at a time, on a linear scale."
        if part.has_estimates:
            text += " What is filled was measured, what is outlined estimated."
        charts.append(Chart("kinds", "By kind of layer", text, {"": _kinds(part)}, "kinds"))
    if part.local_note:
        which = "one source that was measured" if part.has_estimates else "one source"
        text = f"Each mark is {which}. Were the error at the layer a good guide, the marks would lie on a rising line."
        # A few of the worst sources cannot show how poor a guide it is.
        title = "Error at the layer and at the output" if part.has_estimates else "Error at the layer: a poor guide"
        charts.append(Chart("local", title, text, {"": _local(part.dots)}, "layers"))
    return charts


def _ranking(ranking: Ranking, unit: str, logarithmic: bool) -> dict[str, Any]:
    import altair as alt

    bars = ranking.bars
    order = list(dict.fromkeys(bar.label for bar in bars))
    smallest = min(bar.value for bar in bars)
    floor = 10.0 ** math.floor(math.log10(smallest)) if logarithmic else 0.0
    # An interval that reaches 0 has no place on a logarithmic axis: it is drawn to the chart's edge.
    rows = [{**_row(bar), "low": max(bar.low, floor), "anchor": bar.anchor, "estimated": bar.estimated} for bar in bars]
    top = max(bar.high for bar in bars)
    if logarithmic:
        scale, axis = alt.Scale(type="log", domain=[floor, top * 1.25], nice=False), decades(floor, top * 1.25)
    else:
        scale, axis = alt.Scale(domain=[0, top * 1.02], nice=False), alt.Axis(format="~r")
    tall = len(order) > 1
    encode: dict[str, Any] = {"y": alt.Y("label:N", sort=order, title=None), "tooltip": _tooltip()}
    offset: dict[str, Any] = {"yOffset": alt.YOffset("part:N", sort=list(PART_COLOURS))} if tall else {}
    colour, filling = _part_colour(bars), _filling(bars)
    base = alt.Chart(data(rows)).encode(**encode)
    layers: dict[str, Row] = {bar.label: {"label": bar.label, "anchor": bar.anchor} for bar in bars}
    band = chosen_only(alt.Chart(data(list(layers.values())))).mark_rule(**SILENT, strokeWidth=18, opacity=0.2)
    band = band.encode(y=encode["y"])
    rule = base.mark_rule(strokeWidth=2, opacity=0.45).encode(
        x=alt.X("low:Q", title=unit, scale=scale, axis=axis),
        x2="high:Q",
        color=colour,
        **({} if logarithmic else offset),
    )
    if logarithmic:
        points = base.mark_point(filled=True, size=80, strokeWidth=2).encode(
            x=alt.X("value:Q", scale=scale), color=colour, shape=_part_shape(bars), **filling
        )
        return finish(told(alt.layer(band, rule, points, *_filling_legend(bars)), CHOSEN, ""), 19 * len(order))
    filled = base.mark_bar(cornerRadiusEnd=2, strokeWidth=1.2).encode(
        x=alt.X("value:Q", scale=scale), color=colour, **filling, **offset
    )
    black = rule.encode(color=alt.value("#6b7280"))
    return finish(told(alt.layer(band, filled, black, *_filling_legend(bars)), CHOSEN, ""), 26 * len(order))


def _ranked(rankings: Sequence[Ranking]) -> str:
    """What the longest of some rankings has: all that there is, or the worst of it."""
    longest = max(rankings, key=lambda ranking: ranking.shown)
    if longest.shown == longest.total:
        return "Every layer and the model's input"
    return f"The {longest.shown} worst layers" if longest.shown > 1 else "The worst layer"


def _kinds(part: SensitivityPart) -> dict[str, Any]:
    import altair as alt

    order = list(dict.fromkeys(bar.label for bar in part.kinds))
    rows = [
        {**_row(bar), "rank": 2 * list(PART_COLOURS).index(bar.part) + bar.estimated, "estimated": bar.estimated}
        for bar in part.kinds
    ]
    bars = (
        alt.Chart(data(rows))
        .mark_bar(cornerRadiusEnd=2, strokeWidth=1.2)
        .encode(
            y=alt.Y("label:N", sort=order, title=None),
            x=alt.X("value:Q", title="summed output error (nmse)"),
            color=_part_colour(part.kinds),
            order=alt.Order("rank:Q"),
            tooltip=_tooltip(),
            **_filling(part.kinds),
        )
    )
    return finish(alt.layer(bars, *_filling_legend(part.kinds)), 26 * len(order))


def _local(dots: Sequence[Dot]) -> dict[str, Any]:
    import altair as alt

    rows: list[Row] = [
        {"label": dot.label, "part": dot.part, "local": dot.local, "output": dot.output, "anchor": dot.anchor}
        for dot in dots
    ]
    ends = {of: [getattr(dot, of) for dot in dots] for of in ("local", "output")}
    # Ends that are written down: the ring's own data is empty as long as nothing is chosen.
    log = {
        of: alt.Scale(type="log", nice=False, padding=12, domain=[min(values) / 1.05, max(values) * 1.05])
        for of, values in ends.items()
    }
    across = decades(min(dot.local for dot in dots) / 2, max(dot.local for dot in dots) * 2)
    up = decades(min(dot.output for dot in dots) / 2, max(dot.output for dot in dots) * 2)
    points = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=55, opacity=0.8)
        .encode(
            x=alt.X("local:Q", scale=log["local"], axis=across, title="error at the layer (nmse)"),
            y=alt.Y("output:Q", scale=log["output"], axis=up, title="error at the output (nmse)"),
            color=_part_colour(dots),
            shape=_part_shape(dots),
            tooltip=[
                alt.Tooltip("label:N", title="layer"),
                alt.Tooltip("part:N", title="part"),
                alt.Tooltip("local:Q", title="at the layer", format=".3g"),
                alt.Tooltip("output:Q", title="at the output", format=".3g"),
            ],
        )
    )
    # The worst source's name goes to the side on which there is room for it.
    right = dots[0].local < _middle([dot.local for dot in dots])
    named = (
        alt.Chart(data(rows[:1]))
        .mark_text(align="left" if right else "right", dx=9 if right else -9, dy=-1, fontSize=11, limit=220)
        .encode(x=alt.X("local:Q"), y=alt.Y("output:Q"), text="label:N")
    )
    ring = chosen_only(alt.Chart(data(rows))).mark_point(**SILENT, size=260, strokeWidth=2, opacity=1)
    ring = ring.encode(x=alt.X("local:Q"), y=alt.Y("output:Q"))
    return finish(told(alt.layer(points, named, ring), CHOSEN, ""), 320)


def _middle(values: Sequence[float]) -> float:
    return math.sqrt(min(values) * max(values))


def _row(bar: Bar) -> Row:
    return {
        "label": bar.label,
        "part": bar.part,
        "value": bar.value,
        "low": bar.low,
        "high": bar.high,
        "note": bar.note,
    }


def _tooltip() -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("label:N", title="layer"),
        alt.Tooltip("part:N", title="part"),
        alt.Tooltip("note:N", title="figure"),
    ]


def _present(marks: Sequence[Bar | Dot]) -> list[str]:
    return [part for part in PART_COLOURS if any(mark.part == part for mark in marks)]


def _part_colour(marks: Sequence[Bar | Dot]) -> Any:
    import altair as alt

    parts = _present(marks)
    return alt.Color("part:N", title=None).scale(domain=parts, range=[PART_COLOURS[part] for part in parts])


def _part_shape(marks: Sequence[Bar | Dot]) -> Any:
    import altair as alt

    parts = _present(marks)
    return alt.Shape("part:N", title=None).scale(domain=parts, range=[PART_SHAPES[part] for part in parts])


def _filling(bars: Sequence[Bar]) -> dict[str, Any]:
    """Encodings that fill what was measured, and outline what was estimated."""
    import altair as alt

    parts = _present(bars)
    outline = alt.Stroke("part:N", title=None).scale(domain=parts, range=[PART_COLOURS[part] for part in parts])
    fill = alt.condition("datum.estimated", alt.value(ESTIMATED_FILL), alt.value(MEASURED_FILL))
    return {"stroke": outline, "fillOpacity": fill}


def _filling_legend(bars: Sequence[Bar]) -> list[Any]:
    """A layer without marks that says what filled and outlined mean: Vega-Lite has no legend of a fill's opacity."""
    import altair as alt

    if not any(bar.estimated for bar in bars):
        return []
    words = ["measured", "estimated"] if any(not bar.estimated for bar in bars) else ["estimated"]
    fills = alt.Scale(domain=words, range=[FILL_LEGEND_COLOUR, "transparent"][-len(words) :])
    legend = alt.Legend(symbolType="square", symbolStrokeColor=FILL_LEGEND_COLOUR, symbolStrokeWidth=1.8)
    none = alt.Chart(data([{"how": word} for word in words])).mark_point(size=0, opacity=0, tooltip=False)
    return [none.encode(fill=alt.Fill("how:N", title=None, scale=fills, legend=legend))]

"""The frontier as a chart: predicted error by amount, the plan marked, beside what was measured and other plans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .cells import FrontierDot, FrontierPart
from .chart_parts import BASELINE_COLOUR, BUDGET, PLAN_COLOUR, SILENT, Chart, Row, data, decades, finish, told

HEIGHT = 400

_BEST, _MEASURED = "best plan, predicted", "measured"
_KINDS = {"frontier": _BEST, "plan": _BEST, "greedy": "greedy", "threshold": "threshold", "by hand": "by hand"}
_COLOURS = {
    _BEST: PLAN_COLOUR, _MEASURED: PLAN_COLOUR, "greedy": "#c2571a", "threshold": "#8a5bb5", "by hand": BASELINE_COLOUR
}  # fmt: skip
_SHAPES = {
    _BEST: "circle", _MEASURED: "diamond", "greedy": "triangle-up", "threshold": "triangle-down", "by hand": "square"
}  # fmt: skip

# From here on amounts need a logarithmic axis, or the small plans lie on a heap.
_LOGARITHMIC_FROM = 3.0
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)

# Names are set apart by so many pixels; marks within this share of the axis share a list of names; behind that share of
# it names are written on the left.
_LINE_HEIGHT = 15.0
_NEAR = 0.15
_TURN = 0.55
_EDGE = 0.1


def frontier_chart(part: FrontierPart) -> Chart:
    """The chart of a frontier that has dots."""
    help_text = (
        "Below and to the left is better. Each step of the line is the best plan from that amount on; outlined marks"
        " are predicted, filled ones measured on the emitted file. The error is on a logarithmic scale."
    )
    return Chart("frontier", "What more would buy", help_text, {"": _spec(part)}, "frontier")


def _spec(part: FrontierPart) -> dict[str, Any]:
    import altair as alt

    dots = part.dots
    x, y = _amounts(dots, part.axis), _errors(dots)
    rows = [row for dot in dots for row in _rows(dot)]
    kinds = [kind for kind in _COLOURS if any(row["kind"] == kind for row in rows)]
    line = [_row(dot, dot.predicted) for dot in dots if dot.on_line]
    missed = [{**_row(dot, dot.predicted), "measured": dot.measured} for dot in dots if dot.measured]
    marked = [_row(dot, dot.predicted) for dot in dots if dot.family == "plan"]
    layers = [
        alt.Chart(data(line)).mark_line(interpolate="step-after", color=PLAN_COLOUR, opacity=0.45).encode(x=x, y=y),
        alt.Chart(data(missed)).mark_rule(color=PLAN_COLOUR, strokeWidth=2, opacity=0.5).encode(
            x=alt.X("amount:Q"), y=alt.Y("error:Q"), y2="measured:Q"
        ),
        alt.Chart(data(marked)).mark_point(filled=True, size=420, opacity=0.22, color=PLAN_COLOUR).encode(
            x=alt.X("amount:Q"), y=alt.Y("error:Q")
        ),
        alt.Chart(data(rows)).mark_point(size=75, strokeWidth=2, opacity=1).encode(
            x=alt.X("amount:Q"),
            y=alt.Y("error:Q"),
            stroke=alt.Stroke("kind:N", title=None, scale=_scale(kinds, _COLOURS)),
            fill=alt.Fill("kind:N", title=None, scale=_scale(kinds, _fills())),
            shape=alt.Shape("kind:N", title=None, scale=_scale(kinds, _SHAPES)),
            tooltip=[alt.Tooltip("label:N", title="plan"), alt.Tooltip("note:N", title="figures")],
        ),
        *_names(dots),
        *_at_the_budget(dots),
    ]  # fmt: skip
    return finish(told(alt.layer(*layers), BUDGET, -1), HEIGHT)


def _at_the_budget(dots: Sequence[FrontierDot]) -> list[Any]:
    """The plan that the page's slider is at; nothing where there is no slider."""
    import altair as alt

    rows = [{**_row(dot, dot.predicted), "place": dot.place} for dot in dots if dot.place is not None]
    base = alt.Chart(data(rows)).transform_filter(f"datum.place === {BUDGET}").encode(x=alt.X("amount:Q"))
    return [
        base.mark_rule(**SILENT, strokeWidth=1.5, strokeDash=[4, 3]),
        base.mark_point(**SILENT, size=300, strokeWidth=2, opacity=1).encode(y=alt.Y("error:Q")),
    ]


def _row(dot: FrontierDot, error: float) -> Row:
    return {"amount": dot.amount, "error": error}


def _rows(dot: FrontierDot) -> list[Row]:
    """A mark for what was predicted of a plan, and one for what was measured."""
    about: Row = {"label": dot.label or "on the frontier", "note": dot.note}
    if dot.place is not None:
        about["place"] = dot.place
    rows = [{**_row(dot, dot.predicted), "kind": _KINDS[dot.family], **about}]
    if dot.measured:
        rows.append({**_row(dot, dot.measured), "kind": _MEASURED, **about})
    return rows


def _scale(kinds: Sequence[str], looks: dict[str, str]) -> Any:
    import altair as alt

    return alt.Scale(domain=list(kinds), range=[looks[kind] for kind in kinds])


def _fills() -> dict[str, str]:
    return {kind: colour if kind == _MEASURED else "transparent" for kind, colour in _COLOURS.items()}


# --- axes ------------------------------------------------------------------------------------------------------------


def _span(dots: Sequence[FrontierDot]) -> tuple[float, float]:
    """Least and largest error on the chart, with room around them."""
    errors = [error for dot in dots for error in (dot.predicted, dot.measured) if error]
    return min(errors) / 1.6, max(errors) * 1.6


def _reach(dots: Sequence[FrontierDot]) -> tuple[float, float, bool]:
    """Least and largest amount, and whether their axis is logarithmic."""
    low, high = min(dot.amount for dot in dots), max(dot.amount for dot in dots)
    return low, high, low > 0 and high / low >= _LOGARITHMIC_FROM


def _amounts(dots: Sequence[FrontierDot], title: str) -> Any:
    import altair as alt

    low, high, logarithmic = _reach(dots)
    if not logarithmic:
        margin = 0.04 * (high - low or abs(high) or 1.0)
        scale = alt.Scale(domain=[low - margin, high + margin], nice=False, zero=False)
        return alt.X("amount:Q", title=title, scale=scale)
    low, high = low / 1.05, high * 1.05
    ticks = [
        step * 10.0**exponent
        for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for step in _STEPS
        if low <= step * 10.0**exponent <= high
    ]
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return alt.X("amount:Q", title=title, scale=scale, axis=alt.Axis(values=ticks, format="~g"))


def _errors(dots: Sequence[FrontierDot]) -> Any:
    import altair as alt

    low, high = _span(dots)
    axis = decades(low, high)
    if high / low < 100:  # fewer than two powers of ten lie between them
        axis = alt.Axis(tickCount=4, format="~g")
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return alt.Y("error:Q", title="output error (nmse)", scale=scale, axis=axis)


# --- names -----------------------------------------------------------------------------------------------------------


def _names(dots: Sequence[FrontierDot]) -> list[Any]:
    """Names of the plan and of those made by hand; the other marks are in the legend."""
    named = [dot for dot in dots if dot.family == "by hand" and dot.label]
    return [*_plan_name(dots), *_names_by_hand(named, dots)]


def _plan_name(dots: Sequence[FrontierDot]) -> list[Any]:
    """Below the line and to the left, where no plan can be; at the chart's left edge above it."""
    import altair as alt

    layers = []
    for dot in dots:
        if dot.family == "plan":
            room = _across(dot, dots) > _EDGE
            text = alt.Chart(data([{**_row(dot, dot.predicted), "label": dot.label}])).mark_text(
                align="right" if room else "left", dx=-12 if room else 12, dy=14 if room else -14, fontWeight="bold"
            )
            layers.append(text.encode(x=alt.X("amount:Q"), y=alt.Y("error:Q"), text="label:N"))
    return layers


def _names_by_hand(named: Sequence[FrontierDot], dots: Sequence[FrontierDot]) -> list[Any]:
    """Beside heaps of close marks, with lines from each mark to its name."""
    import altair as alt

    layers = []
    for on_the_left in (False, True):
        side = [dot for dot in named if (_across(dot, dots) > _TURN) == on_the_left]
        if not side:
            continue
        base = alt.Chart(data(_placed(side, dots, on_the_left)))
        layers += [
            base.mark_rule(color=BASELINE_COLOUR, strokeWidth=0.8, opacity=0.8).encode(
                x=alt.X("amount:Q"), x2="beside:Q", y=alt.Y("error:Q"), y2="place:Q"
            ),
            base.mark_text(align="right" if on_the_left else "left", dx=-11 if on_the_left else 11, fontSize=11).encode(
                x=alt.X("beside:Q"), y=alt.Y("place:Q"), text="label:N"
            ),
        ]
    return layers


def _placed(side: Sequence[FrontierDot], dots: Sequence[FrontierDot], on_the_left: bool) -> list[Row]:
    """Where each name is written: behind the last mark of its heap, and far enough below the name before."""
    outermost = min if on_the_left else max
    rows: list[Row] = []
    heaps = _heaps(side, dots)
    for heap in heaps:
        beside = outermost(dot.amount for dot in heap)
        # The nearest mark's name comes first, so that the lines to the names do not cross.
        for dot in sorted(heap, key=lambda dot: dot.amount, reverse=not on_the_left):
            rows.append({**_row(dot, dot.predicted), "label": dot.label, "beside": beside})
    tops = [_height(max(dot.predicted for dot in heap), dots) for heap in heaps for _ in heap]
    places: list[float] = []
    for top in tops:
        places.append(max(top, places[-1] + _LINE_HEIGHT) if places else top)
    excess = max(0.0, places[-1] - HEIGHT)
    low, high = _span(dots)
    return [
        {**row, "place": high * (low / high) ** ((place - excess) / HEIGHT)}
        for row, place in zip(rows, places, strict=True)
    ]


def _heaps(side: Sequence[FrontierDot], dots: Sequence[FrontierDot]) -> list[list[FrontierDot]]:
    """Marks whose names would cover one another, from the top down."""
    heaps: list[list[FrontierDot]] = []
    for dot in sorted(side, key=lambda dot: (-dot.predicted, dot.label)):
        near = [
            heap
            for heap in heaps
            if _height(dot.predicted, dots) - _height(heap[-1].predicted, dots) < _LINE_HEIGHT
            and min(abs(_across(dot, dots) - _across(other, dots)) for other in heap) < _NEAR
        ]
        if near:
            near[0].append(dot)
        else:
            heaps.append([dot])
    return heaps


def _height(error: float, dots: Sequence[FrontierDot]) -> float:
    """Pixels from the chart's upper edge."""
    low, high = _span(dots)
    return HEIGHT * math.log(high / error) / math.log(high / low)


def _across(dot: FrontierDot, dots: Sequence[FrontierDot]) -> float:
    """How far along the axis of amounts a dot lies, 0 to 1."""
    low, high, logarithmic = _reach(dots)
    if high <= low:
        return 0.0
    return math.log(dot.amount / low) / math.log(high / low) if logarithmic else (dot.amount - low) / (high - low)

"""Repairs as charts: a waterfall from the planned file to the repaired one, and the error while training."""

from __future__ import annotations

import itertools
from typing import Any

from .chart_parts import BASELINE_COLOUR, PLAN_COLOUR, Chart, Row, data, finish
from .repair_cells import Fall, RepairPart
from .repairs import AFTER, BEFORE, DROPPED, KEPT

KEPT_COLOUR = "#0b9e77"
ROW_HEIGHT = 34

_COLOURS = {BEFORE: BASELINE_COLOUR, KEPT: KEPT_COLOUR, DROPPED: BASELINE_COLOUR, AFTER: PLAN_COLOUR}
_LINES = ("#1f77c9", "#c2571a", "#8a5bb5", "#0b9e77")
_TRAINING_HEIGHT = 200


def waterfall_chart(part: RepairPart) -> Chart:
    """The chart of repairs that were tried to their end."""
    text = (
        "From the file as planned to the repaired one, on held-back samples; to the left is better. Each step starts"
        " where the last one that was kept ended; outlined ones were tried and dropped."
    )
    if any(fall.low != fall.high for fall in part.falls):
        text += " Thin lines are 95 % intervals."
    return Chart("waterfall", "What each repair won", text, {"": _waterfall(part)}, "repairs")


def _waterfall(part: RepairPart) -> dict[str, Any]:
    import altair as alt

    falls = part.falls
    order = [fall.label for fall in falls]
    low, high = min(0.0, *(fall.low for fall in falls)), max(0.0, *(_right(fall) for fall in falls))
    reach = high - low or 1.0
    kinds = [kind for kind in _COLOURS if any(fall.kind == kind for fall in falls)]
    colours = [_COLOURS[kind] for kind in kinds]
    fills = ["transparent" if kind == DROPPED else _COLOURS[kind] for kind in kinds]
    # Room on the right for the figure beside the longest bar.
    scale = alt.Scale(domain=[low - 0.02 * reach, high + 0.16 * reach], nice=False, zero=False)
    x = alt.X("start:Q", title=part.axis, scale=scale, axis=alt.Axis(format="~r"))
    y = alt.Y("label:N", title=None, axis=alt.Axis(grid=False)).scale(domain=order)
    base = alt.Chart(data([_row(fall) for fall in falls])).encode(y=y)
    bars = base.mark_bar(strokeWidth=1.6, height={"band": 0.56}).encode(
        x=x,
        x2="end:Q",
        stroke=alt.Stroke("kind:N", title=None).scale(domain=kinds, range=colours),
        fill=alt.Fill("kind:N", title=None).scale(domain=kinds, range=fills),
        tooltip=[alt.Tooltip("label:N", title="repair"), alt.Tooltip("note:N", title="figure")],
    )
    layers = [
        alt.Chart(data([{"zero": 0}])).mark_rule(strokeDash=[3, 3], color=BASELINE_COLOUR).encode(x=alt.X("zero:Q")),
        _steps(falls, order),
        bars,
        _intervals(base),
        base.mark_text(align="left", dx=7, fontSize=12).encode(x=alt.X("right:Q"), text="change:N"),
    ]
    return finish(alt.layer(*layers), ROW_HEIGHT * len(order))


def _intervals(base: Any) -> Any:
    """By its name the page's style gives this layer the colour of text: it crosses bars of any colour."""
    import altair as alt

    return base.mark_rule(strokeWidth=1.4).encode(x=alt.X("low:Q"), x2="high:Q").properties(name="intervals")


def _right(fall: Fall) -> float:
    return max(fall.start, fall.end, fall.high)


def _row(fall: Fall) -> Row:
    return {
        "label": fall.label,
        "kind": fall.kind,
        "start": fall.start,
        "end": fall.end,
        "low": fall.low,
        "high": fall.high,
        "right": _right(fall),
        "change": fall.change,
        "note": fall.note,
    }


def _steps(falls: tuple[Fall, ...], order: list[str]) -> Any:
    """Lines between bars, where the figure stood from one to the next: what was dropped moves it nowhere."""
    import altair as alt

    rows, level = [], falls[0].end
    for fall, following in itertools.pairwise(falls):
        level = level if fall.kind == DROPPED else fall.end
        rows.append({"from": fall.label, "to": following.label, "level": level})
    return (
        alt.Chart(data(rows))
        .mark_rule(strokeWidth=1, opacity=0.8, color=BASELINE_COLOUR)
        .encode(x=alt.X("level:Q"), y=alt.Y("from:N", title=None).scale(domain=order), y2="to:N")
    )


def training_chart(part: RepairPart) -> Chart:
    """The chart of repairs that learned step by step."""
    text = "Error of the simulated file on held-back samples; the ring marks the least, whose weights it takes."
    return Chart("training", "Error while training", text, {"": _training(part)}, "training")


def _training(part: RepairPart) -> dict[str, Any]:
    import altair as alt

    names = list(dict.fromkeys(one.repair for one in part.learned))
    rows = [
        {"repair": one.repair, "step": one.step, "error": one.error, "chosen": one.chosen} for one in part.learned
    ]  # fmt: skip
    colours = [_LINES[place % len(_LINES)] for place in range(len(names))]
    legend = alt.Legend() if len(names) > 1 else None
    encode = {
        "x": alt.X("step:Q", title="steps", axis=alt.Axis(format="d", tickMinStep=1)),
        "y": alt.Y("error:Q", title=part.error, axis=alt.Axis(format="~r")).scale(zero=True),
        "color": alt.Color("repair:N", title=None, legend=legend).scale(domain=names, range=colours),
    }
    tooltip = [
        alt.Tooltip("repair:N"),
        alt.Tooltip("step:Q", title="steps"),
        alt.Tooltip("error:Q", title=part.error, format=".3g"),
    ]
    taken = [row for row in rows if row["chosen"]]
    layers = [
        alt.Chart(data(rows)).mark_line(strokeWidth=2).encode(**encode),
        alt.Chart(data(rows)).mark_point(filled=True, size=45, opacity=1).encode(**encode, tooltip=tooltip),
        alt.Chart(data(taken)).mark_point(size=190, strokeWidth=2, opacity=1).encode(**encode),
    ]
    return finish(alt.layer(*layers), _TRAINING_HEIGHT)

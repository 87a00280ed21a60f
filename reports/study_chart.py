"""A calibration study as a chart: a line for each method over the size of the set, in a band across the sets."""

from __future__ import annotations

from typing import Any

from ..analyzer.schema import DRAWS, Interval, Study, StudyBand
from .chart_parts import Chart, Row, data, finish

_COLOURS = ("#1f77c9", "#c2571a", "#0b9e77", "#8a5bb5", "#b8860b", "#6b7280")
_DASHES = ([1, 0], [5, 3])
_HEIGHT = 320

HELD_BACK, EVALUATION, ACCURACY = "error, held back", "error, evaluation", "accuracy"


def study_charts(found: Study) -> tuple[Chart, ...]:
    """The chart of a study; none where it has one size: there is no line through one point."""
    return (study_chart(found),) if len({band.size for band in found.bands}) > 1 else ()


def study_chart(found: Study) -> Chart:
    """The error on held-back samples, and where there are evaluation samples the error and the accuracy on them."""
    specs: dict[str, dict[str, Any]] = {}
    for name, title in (
        (HELD_BACK, "nmse on held-back samples"),
        (EVALUATION, "nmse on evaluation samples"),
        (ACCURACY, "accuracy on evaluation samples"),
    ):
        rows = [_row(band, figure) for band in found.bands if (figure := _figure(band, name)) is not None]
        if rows:
            specs[name] = _spec(found, rows, title, is_share=name == ACCURACY)
    if len(specs) == 1:
        specs = {"": specs[HELD_BACK]}
    text = (
        "Each line is a way to choose ranges: the mean over the sets of a size, in the band from the least to the"
        " largest."
    )
    if len({band.draw for band in found.bands}) > 1:
        text += " Dashed: sets drawn evenly over the classes."
    return Chart("study", "What the calibration set changes", text, specs, "study")


def _figure(band: StudyBand, name: str) -> Interval | None:
    return {HELD_BACK: band.held_back_nmse, EVALUATION: band.evaluation_nmse, ACCURACY: band.accuracy}[name]


def _row(band: StudyBand, figure: Interval) -> Row:
    return {
        "size": band.size,
        "method": band.method,
        "draw": band.draw,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
    }


def _spec(found: Study, rows: list[Row], title: str, *, is_share: bool) -> dict[str, Any]:
    import altair as alt

    methods = list(dict.fromkeys(band.method for band in found.bands))
    sizes = sorted({band.size for band in found.bands})
    colour = alt.Color("method:N", title=None).scale(domain=methods, range=list(_COLOURS[: len(methods)]))
    dash = alt.StrokeDash("draw:N", legend=None).scale(domain=list(DRAWS), range=[*_DASHES])
    x = alt.X("size:Q", title="samples in the set", axis=alt.Axis(values=sizes, format="d"))
    x = x.scale(type="log", nice=False, padding=12)
    form = ".2%" if is_share else "~r"
    logarithmic = not is_share and all(row["low"] > 0 for row in rows)
    scale = alt.Scale(type="log", nice=False, padding=12) if logarithmic else alt.Scale(zero=False)
    y = alt.Y("value:Q", title=title, scale=scale, axis=alt.Axis(format=form, tickCount=5))
    base = alt.Chart(data(rows)).encode(x=x, color=colour, detail="draw:N")
    figures = [
        alt.Tooltip(f"{name}:Q", title=label, format=form if is_share else ".3g")
        for name, label in (("value", "mean"), ("low", "least"), ("high", "largest"))
    ]
    tooltip = [alt.Tooltip("method:N"), alt.Tooltip("draw:N"), alt.Tooltip("size:Q", title="samples"), *figures]
    layers = [
        base.mark_area(opacity=0.14).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash),
        base.mark_point(filled=True, size=50, opacity=1).encode(y=y, tooltip=tooltip),
    ]
    return finish(alt.layer(*layers), _HEIGHT)

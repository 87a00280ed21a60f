"""The drawings of a layer's panel: specifications without data, into which the page puts the layer that is chosen."""

from __future__ import annotations

from typing import Any

from .chart_parts import BASELINE_COLOUR, PLAN_COLOUR, decades, finish
from .panel_cells import PanelsPart

CLIPPED_COLOUR = "#c2571a"
ROWS, ENDS = "rows", "ends"
"""Names of the data: columns or channels, and both ends of a range."""

# A count of 1 needs height on a logarithmic axis.
_FLOOR = 0.5


def panel_specs(part: PanelsPart | None) -> dict[str, dict[str, Any]]:
    """Those for which any layer has data, by name."""
    if part is None:
        return {}
    specs: dict[str, dict[str, Any]] = {}
    if any(panel.weights for panel in part.panels):
        specs |= {"weights": _weights(), "channels": _channels()}
    if any(panel.activations for panel in part.panels):
        specs["activation"] = _activation()
    return specs


def _bars(colour: Any) -> Any:
    """Columns of counts on a logarithmic axis, so that single outliers show."""
    import altair as alt

    scale = alt.Scale(type="log", domainMin=_FLOOR, nice=False)
    return (
        alt.Chart(alt.NamedData(name=ROWS))
        .mark_bar()
        .encode(
            x=alt.X("low:Q", title=None, scale=alt.Scale(zero=False, nice=False)),
            x2="high:Q",
            y=alt.Y("count:Q", title="values", scale=scale, axis=alt.Axis(values=decades(1, 1e12).values, format="~s")),
            y2="floor:Q",
            color=colour,
            tooltip=[
                alt.Tooltip("low:Q", title="from", format=".4g"),
                alt.Tooltip("high:Q", title="to", format=".4g"),
                alt.Tooltip("count:Q", title="values", format=","),
            ],
        )
    )


def _weights() -> dict[str, Any]:
    import altair as alt

    return finish(_bars(alt.value(PLAN_COLOUR)), 130)


def _channels() -> dict[str, Any]:
    import altair as alt

    base = alt.Chart(alt.NamedData(name=ROWS))
    bars = base.mark_bar().encode(
        x=alt.X("first:Q", title="channel", scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(format="d")),
        x2="last:Q",
        y=alt.Y("low:Q", title="smallest to largest weight"),
        y2="high:Q",
        color=alt.value(PLAN_COLOUR),
        tooltip=[
            alt.Tooltip("name:N", title="channel"),
            alt.Tooltip("low:Q", title="from", format=".4g"),
            alt.Tooltip("high:Q", title="to", format=".4g"),
        ],
    )
    return finish(bars, 130)


def _activation() -> dict[str, Any]:
    """What lies outside of the range in another colour, the ends of the range as lines."""
    import altair as alt

    kinds = alt.Scale(domain=["in the range", "clipped"], range=[BASELINE_COLOUR, CLIPPED_COLOUR])
    ends = alt.Chart(alt.NamedData(name=ENDS)).mark_rule(strokeWidth=2, strokeDash=[5, 3], color=PLAN_COLOUR)
    lines = ends.encode(x=alt.X("at:Q"), tooltip=[alt.Tooltip("at:Q", title="end of the range", format=".4g")])
    return finish(alt.layer(_bars(alt.Color("kind:N", title=None, scale=kinds)), lines), 130)

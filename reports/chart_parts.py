"""What every chart is made with: its colours, its data, its axes and its size."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PLAN_COLOUR, BASELINE_COLOUR = "#1f77c9", "#8a919c"

# As in the page's strip of the network.
SCHEME_COLOURS: Mapping[str, str] = {
    "w4a8": "#e3a3c7", "w4a16": "#f3d3e4", "w8a8": "#d5dbe4", "w8a16": "#8cc8ee", "w16a8": "#58c2a0",
    "w16a16": "#a5e0cd", "float": "#f2a93b",
}  # fmt: skip
SILENT: Mapping[str, Any] = {"color": PLAN_COLOUR, "aria": False}
"""A mark of what is chosen: screen readers hear that from the page, in words."""

CHOSEN, BUDGET = "chosen", "budget"
"""Names of what the page tells a chart: the anchor of the layer that was chosen, and the plan that the slider is at."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
      id: Unique within the page.
      title: What it shows.
      help: How it is read.
      specs: Vega-Lite specification by choice, the default first; one with key "" where there is nothing to choose.
        A choice of two parts is written `scheme|scale`.
      table: Id of the table that holds the same figures.
    """

    id: str
    title: str
    help: str
    specs: Mapping[str, dict[str, Any]]
    table: str


# More digits than any screen has pixels.
_DIGITS = 6


def data(rows: Sequence[Row]) -> Any:
    """Rows of a chart, inside its specification."""
    import altair as alt

    # A tuple: Altair copies lists, each time that a chart is changed.
    return alt.Data(values=tuple({key: _shown(value) for key, value in row.items()} for row in rows))


def _shown(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def chosen_only(base: Any) -> Any:
    """Of a chart's marks those of the layer that is chosen on the page; none where nobody chooses, as in a figure."""
    return base.transform_filter(f"{CHOSEN} !== '' && datum.anchor === {CHOSEN}")


def told(chart: Any, name: str, value: str | int) -> Any:
    """A chart that the page can tell something."""
    import altair as alt

    return chart.add_params(alt.param(name=name, value=value))


def decades(low: float, high: float) -> Any:
    """An axis with a line and a label at each power of ten: Vega's default draws all nine between them too."""
    import altair as alt

    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    return alt.Axis(values=[10.0**exponent for exponent in exponents], format="~g")


def finish(chart: Any, height: int, label_limit: int = 230) -> dict[str, Any]:
    """Size, fonts and axes; the width follows the container."""
    import altair as alt

    # In one step: Altair copies a chart with all of its parts for each `configure_...`.
    config = alt.Config(
        font="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelFontSize=12, titleFontSize=12, titleFontWeight="normal", grid=True, gridOpacity=0.6, domain=False,
            ticks=False, labelPadding=6,
        ),
        axisX=alt.AxisConfig(tickCount=6, labelFlush=False),
        axisY=alt.AxisConfig(labelLimit=label_limit),
        legend=alt.LegendConfig(
            orient="top", labelFontSize=12, symbolSize=90, padding=0, offset=6, symbolOpacity=1
        ),
    )  # fmt: skip
    autosize = alt.AutoSizeParams(type="fit-x", contains="padding")
    spec: dict[str, Any] = chart.properties(
        width="container", height=height, background="transparent", autosize=autosize, config=config
    ).to_dict(validate=False)  # a test validates every chart; here it would take longer than all the rest
    return _once(spec)


def vega_lite_version() -> str:
    """The version of Vega-Lite that Altair writes for, as vl-convert-python names it: `6.4`."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _once(spec: dict[str, Any]) -> dict[str, Any]:
    """With rows that several layers share written down once, under a name."""
    found: dict[str, Any] = {}
    names: dict[str, str] = {}

    def visit(part: Any) -> Any:
        if isinstance(part, list):
            return [visit(inner) for inner in part]
        if not isinstance(part, dict):
            return part
        rows = part.get("values") if set(part) == {"values"} else None
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            key = json.dumps(rows)
            name = names.setdefault(key, f"rows{len(names)}")
            found[name] = rows
            return {"name": name}
        return {key: visit(inner) for key, inner in part.items()}

    out: dict[str, Any] = visit(spec)
    return {**out, "datasets": found} if found else out

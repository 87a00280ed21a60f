"""The page's charts as files for slides and papers: the same specifications, drawn without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import numbers
from .chart_parts import Chart, vega_lite_version

WIDTH = 900
"""Of the plot in SVG units; a PNG has `PNG_SCALE` times as many pixels."""

PNG_SCALE = 2.0


@dataclass(frozen=True)
class Figure:
    """One chart under one choice.

    Attributes:
      name: Of its files, without what tells their format: `frontier`, `ranking-w8a8-log`. Equal for equal charts.
    """

    name: str
    svg: str
    png: bytes


def draw_figures(charts: Sequence[Chart], subject: str) -> Iterator[Figure]:
    """Draws every chart under every choice that the page offers, on white.

    Args:
      charts: Of a page.
      subject: What they are charts of: stands below each title.
    """
    import vl_convert

    for chart in charts:
        for choice, spec in chart.specs.items():
            drawn = _fixed(spec, chart.title, _subtitle(numbers.name(subject), choice))
            # Nothing may be fetched: the data is in the specification.
            svg = vl_convert.vegalite_to_svg(drawn, vl_version=vega_lite_version(), allowed_base_urls=[])
            yield Figure(file_name(chart.id, choice), svg, vl_convert.svg_to_png(svg, scale=PNG_SCALE))


def file_name(chart_id: str, choice: str) -> str:
    """Name of a chart's files under one choice of its."""
    return "-".join(re.sub(r"[^\w.]+", "_", part) for part in (chart_id, *choice.split("|")) if part)


def _subtitle(subject: str, choice: str) -> str:
    """What it is of, and which choice of the page it shows."""
    scales = {"log": "logarithmic scale", "linear": "linear scale"}
    return ", ".join([subject, *(scales.get(part, part) for part in choice.split("|") if part)])


def _fixed(spec: dict[str, Any], title: str, subtitle: str) -> dict[str, Any]:
    """A specification that has no page around it: a width of its own, a title, and paper behind it."""
    heading = {"text": title, "subtitle": subtitle, "anchor": "start", "fontSize": 16, "subtitleFontSize": 12}
    autosize = {"type": "pad", "contains": "content"}
    return {
        **spec, "width": WIDTH, "autosize": autosize, "background": "white", "padding": 16,
        "title": {**heading, "offset": 14, "subtitleColor": "#5b6575"},
    }  # fmt: skip

"""One self-contained page: no request leaves it, and nothing in a model's names can become markup or script.

Data travels as JSON blocks, text is escaped by the template engine, and a Content-Security-Policy forbids every source
but the page's own scripts, which it names by their hashes. Vega's expressions are interpreted from their syntax tree
(`ast: true`), because compiling them would need `unsafe-eval`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from ..analyzer.schema import Results
from . import amounts
from .budget import block as budget_block
from .cells import Cell, Sparkline, Table
from .chart_parts import vega_lite_version
from .charts import charts_of
from .panel_charts import panel_specs
from .panels import block as panel_block
from .parts import View
from .view import build_view

if TYPE_CHECKING:
    import jinja2

    from .chart_parts import Chart
    from .side_by_side import SideBySide

_HEIGHT = 24


def render(results: Results) -> str:
    """The page of one run, as HTML.

    Equal results give equal bytes; what differs between equal runs (times, memory) stands in two elements of its own,
    `times` and `measured`.

    Args:
      results: Of any stage: parts that were not computed are absent from the page.
    """
    view = build_view(results)
    charts, drawings = charts_of(view), panel_specs(view.panels)
    libraries = [vega()] if charts or drawings else []
    return (
        environment()
        .get_template("report.html")
        .render(
            **page_frame(libraries, ("layers.js", "plans.js") if charts or view.panels else ()),
            view=view,
            charts={chart.id: chart for chart in charts},
            chart_data={chart.id: chart.specs for chart in charts},
            layer_data={**panel_block(view.panels), "charts": drawings} if view.panels else None,
            plan_data=budget_block(view.budget) if view.budget else None,
            contents=_contents(view),
        )
    )


def render_side_by_side(view: SideBySide, charts: Sequence[Chart]) -> str:
    """The page of several runs, as HTML: as self-contained as that of one."""
    return (
        environment()
        .get_template("side_by_side.html")
        .render(
            **page_frame([vega()] if charts else []),
            view=view,
            charts={chart.id: chart for chart in charts},
            chart_data={chart.id: chart.specs for chart in charts},
        )
    )


def environment() -> jinja2.Environment:
    """The template engine of every page: what it is given is escaped, what it misses is an error."""
    import jinja2

    engine = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters.update(data_value=data_value, spark=spark, numeric=numeric)
    engine.filters.update(unbroken=unbroken, breakable=breakable, lower_first=amounts.lowered, compact=compact)
    return engine


def page_frame(libraries: Sequence[str], more: Sequence[str] = ()) -> dict[str, Any]:
    """What every page needs: its style, its scripts, and the policy that allows these and nothing else.

    Args:
      libraries: Scripts to run before the page's own; with them comes what draws charts.
      more: Names of scripts to run after what every page has.
    """
    names = ("report.js", *(("charts.js",) if libraries else ()), *more)
    scripts = [_script(text) for text in (*libraries, *map(_resource, names))]
    return {
        "policy": _policy(scripts),
        "scripts": [("module", _verbatim(text)) for text in scripts],
        "style": _verbatim(_resource("report.css")),
    }


def _contents(view: View) -> list[tuple[str, str]]:
    """Sections that exist, in the page's order: (id, title)."""
    sections: list[tuple[str, str, object]] = [
        ("before-after", "Before and after", view.comparison),
        ("causes", "Where the error comes from", view.sensitivity),
        ("network", "The network", view.strip),
        ("plan", "The plan", view.plan),
        ("layer", "Each layer", view.panels),
        ("repairs", "Repairs", view.repairs),
        ("flips", "Changed classes", view.flips),
        ("study", "Calibration study", view.study),
        ("tables", "Tables", view.layers),
        ("weights", "Weights", view.weights),
        ("calibration", "Calibration ranges", view.ranges),
        ("run", "What was run", view.run),
    ]
    return [(anchor, title) for anchor, title, part in sections if part]


def compact(value: Any) -> Any:
    """JSON for a script element: without spaces, and with nothing that could end the element."""
    import markupsafe

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&'\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


def data_value(cell: Cell) -> Any:
    """The attribute by which a cell sorts; nothing where that is the text that it shows."""
    import markupsafe

    value = cell.value
    text = _sortable(value) if isinstance(value, float) else "" if value is None else str(value)
    return "" if text == cell.text and not cell.detail else markupsafe.Markup(' data-value="{}"').format(text)


def _sortable(value: float) -> str:
    """A number as JavaScript's `Number` reads it back, with as many digits as tell figures apart."""
    if not math.isfinite(value):
        return "" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return f"{value:.7g}"


def numeric(table: Table, index: int) -> bool:
    """Whether a column is right-aligned."""
    return table.columns[index].numeric


def spark(line: Sparkline) -> str:
    """The outline of a histogram, one unit wide for each column and `_HEIGHT` high, as SVG path data."""
    heights = [_HEIGHT - round(height * (_HEIGHT - 1)) for height in line.heights]
    steps = [f"V{height}h{len(list(run))}" for height, run in itertools.groupby(heights)]
    return f"M0 {_HEIGHT}{''.join(steps)}V{_HEIGHT}z"


def unbroken(text: str) -> str:
    """Numbers with their units and signs on one line."""
    return re.sub(r"(?<=≈) |(?<=[\d±]) (?=[\d±%×]|MB|KiB|kB|B\b|dB|ms\b|points)", "\N{NO-BREAK SPACE}", text)


def breakable(text: str) -> Any:
    """A name, escaped, that may go on in the next line where its words end."""
    import markupsafe

    return markupsafe.Markup(re.sub(r"(?<=[_/])(?=\w)", "<wbr>", str(markupsafe.escape(text))))


def _policy(scripts: list[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    # Vega and the strip's bars need style attributes; under this policy a style cannot reach the network.
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _script(text: str) -> str:
    """A script that its element cannot end early; line ends as an HTML parser leaves them, so that hashes hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _verbatim(text: str) -> Any:
    """Marks our own scripts and styles, and nothing that came from a user, as not to be escaped."""
    import markupsafe

    return markupsafe.Markup(text)


@functools.cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, in the version that Altair writes for.

    It comes out of the installed vl-convert-python, so that no copy of it lies here and grows old.
    """
    import vl_convert

    script = "globalThis.vegaEmbed = vegaEmbed;"
    bundle: str = vl_convert.javascript_bundle(script, vl_version=vega_lite_version())
    return bundle

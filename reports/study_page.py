"""The page of a calibration study that was made without a run."""

from __future__ import annotations

from ..analyzer.schema import Study
from . import numbers
from .html import environment, page_frame, vega
from .study import study_table, study_verdict
from .study_chart import study_charts


def render_study(found: Study, model_name: str) -> str:
    """The study's page, as one self-contained HTML file."""
    charts = study_charts(found)
    return environment().get_template("study.html").render(
        **page_frame([vega()] if charts else []),
        title=numbers.name(model_name) or "model",
        verdict=study_verdict(found),
        table=study_table(found),
        charts={chart.id: chart for chart in charts},
        chart_data={chart.id: chart.specs for chart in charts},
    )  # fmt: skip

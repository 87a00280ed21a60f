"""Charts keep to Vega-Lite's schema. Altair could check as it writes, which takes longer than the rest of a page."""

from __future__ import annotations

import altair as alt
import jsonschema
import pytest
from bitplan.reports.charts import build_charts
from bitplan.reports.panel_charts import panel_specs
from bitplan.reports.side_by_side import build_side_by_side
from bitplan.reports.side_by_side_charts import side_by_side_charts
from bitplan.reports.side_figures import Side
from bitplan.reports.view import build_view

from .. import results_factory as factory
from .. import results_refined, results_repairs, results_samples


def specs_of(charts):
    return [spec for chart in charts for spec in chart.specs.values()]


@pytest.mark.parametrize("made", [results_samples.sampled, results_repairs.repaired, results_refined.refined])
def test_of_a_page(made):
    specs = [*specs_of(build_charts(made())), *panel_specs(build_view(made()).panels).values()]
    assert len(specs) > 5
    for spec in specs:
        alt.Chart.from_dict(spec, validate=True)


def test_of_several_runs():
    sides = tuple(Side(name, made()) for name, made in (("a", factory.mobilenet), ("b", factory.islands)))
    specs = specs_of(side_by_side_charts(build_side_by_side(sides)))
    assert specs
    for spec in specs:
        alt.Chart.from_dict(spec, validate=True)


def test_the_check_sees_what_is_wrong():
    spec = specs_of(build_charts(factory.two_layers()))[0]
    with pytest.raises(jsonschema.ValidationError):
        alt.Chart.from_dict({**spec, "width": "narrow"}, validate=True)

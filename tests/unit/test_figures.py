"""Charts as files: one for every chart and choice of the page, which open, and nothing in a name can become markup."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import pytest
from bitplan.reports.chart_parts import Chart
from bitplan.reports.charts import build_charts
from bitplan.reports.figures import PNG_SCALE, WIDTH, draw_figures, file_name
from PIL import Image

from .. import results_factory as factory
from .. import results_repairs

SVG = "{http://www.w3.org/2000/svg}"


def first_choices(charts):
    """Every chart under its first choice alone: the others differ in data only, and each takes a second."""
    return [Chart(c.id, c.title, c.help, dict([next(iter(c.specs.items()))]), c.table) for c in charts]


def texts(figure):
    return [text for node in ElementTree.fromstring(figure.svg).iter(f"{SVG}text") for text in node.itertext()]


def figures_of(charts, subject="model.tflite"):
    return {figure.name: figure for figure in draw_figures(first_choices(charts), subject)}


@pytest.fixture(scope="module")
def drawn():
    return figures_of([*build_charts(factory.mobilenet()), *build_charts(results_repairs.repaired())])


def test_every_chart_of_the_page_has_a_figure_with_its_title(drawn):
    charts = [*build_charts(factory.mobilenet()), *build_charts(results_repairs.repaired())]
    assert {chart.id for chart in charts} >= {"drops", "ranking", "kinds", "local", "frontier", "waterfall", "training"}
    for chart in charts:
        figure = drawn[file_name(chart.id, next(iter(chart.specs)))]
        assert chart.title in texts(figure)


def test_svg_and_png_open_and_hold_a_drawing(drawn):
    for name, figure in drawn.items():
        root = ElementTree.fromstring(figure.svg)
        assert root.tag == f"{SVG}svg" and len(list(root.iter(f"{SVG}path"))) > 5, name
        image = Image.open(io.BytesIO(figure.png))
        image.load()
        assert image.format == "PNG" and image.width >= WIDTH * PNG_SCALE * 0.9, name
        assert image.width == pytest.approx(float(root.get("width")) * PNG_SCALE, abs=2), name
        assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255), name
        assert len(image.convert("L").getcolors(256)) > 10, name


def test_a_figure_asks_for_nothing_from_elsewhere(drawn):
    for figure in drawn.values():
        for node in ElementTree.fromstring(figure.svg).iter():
            assert node.tag not in (f"{SVG}image", f"{SVG}script", f"{SVG}foreignObject")
            assert not [key for key in node.attrib if key.endswith("href")]


def test_names_of_files_are_stable_and_told_apart():
    charts = build_charts(factory.mobilenet())
    names = [file_name(chart.id, choice) for chart in charts for choice in chart.specs]
    assert len(names) == len(set(names)) and {"drops", "ranking-w8a8-log", "ranking-w8a8-linear"} <= set(names)
    assert file_name("ranking", "../../w8|a b") == "ranking-.._.._w8-a_b"


def test_the_choice_is_said_below_the_title(drawn):
    assert "model.tflite, w8a8, logarithmic scale" in texts(drawn["ranking-w8a8-log"])
    assert "model.tflite" in texts(drawn["drops"])


def test_equal_charts_give_equal_files():
    chart = first_choices(build_charts(factory.two_layers()))[:1]
    assert list(draw_figures(chart, "m")) == list(draw_figures(chart, "m"))


def test_hostile_names_are_text():
    drawn = figures_of(build_charts(factory.hostile()), factory.HOSTILE[0])
    said = " ".join(text for figure in drawn.values() for text in texts(figure))
    assert "</script><b>\"'" in said

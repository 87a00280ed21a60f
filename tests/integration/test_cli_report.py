"""`bitplan report` as people type it: figures for slides, files for other programs, and several runs side by side."""

from __future__ import annotations

import csv
import json
import shutil

import jsonschema
import numpy as np
import pytest
from bitplan.reports.side_by_side import comparison_schema
from PIL import Image

from .test_cli import DATA, MODEL, bitplan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one network: one within 310 kB, one of the same analysis with int8 alone."""
    folder = tmp_path_factory.mktemp("runs")
    arrays = np.load(DATA)
    np.savez(folder / "few.npz", x=arrays["x_calibration"][:16], xe=arrays["x_eval"][:60], ye=arrays["y_eval"][:60])
    one, other = folder / "mixed", folder / "int8"
    data = f"{folder / 'few.npz'}:xe,ye"
    bitplan(
        "run", MODEL, "--calibration", f"{folder / 'few.npz'}:x", "--evaluation", data, "--scale", "tf",
        "--size-budget", "310KB", "--no-left-float", "--sensitivity", "linear", "--out", one,
    )  # fmt: skip
    shutil.copytree(one, other)
    bitplan("plan", other, "--size-budget", "none", "--allow", "w8a8")
    bitplan("convert", other)
    bitplan("verify", other, "--evaluation", data)
    return one, other


def test_figures_open_and_every_chart_of_the_page_has_them(runs, tmp_path):
    result = bitplan("report", runs[0], "--figures", tmp_path / "slides")
    page = (runs[0] / "report.html").read_text()
    data = page.split('<script type="application/json" id="chart-data">')[1].split("</script>")[0]
    wanted = {
        "-".join([chart, *choice.split("|")] if choice else [chart])
        for chart, specs in json.loads(data).items()
        for choice in specs
    }
    found = {path.stem for path in (tmp_path / "slides").iterdir()}
    assert found == wanted and {"drops", "ranking-w8a8-log"} <= found
    for name in wanted:
        assert (tmp_path / "slides" / f"{name}.svg").read_text().startswith("<svg")
        Image.open(tmp_path / "slides" / f"{name}.png").verify()
    assert str(runs[0] / "sensitivity.csv") in result.stdout


def test_a_run_folder_has_what_other_programs_read(runs):
    rows = list(csv.DictReader((runs[0] / "sensitivity.csv").open()))
    measured = json.loads((runs[0] / "report.json").read_text())["sensitivity"]["measurements"]
    assert {row["source"] for row in rows} == {m["id"] for m in measured}
    for name in ("sensitivity", "schemes", "gain"):
        document = json.loads((runs[0] / f"model-explorer-{name}.json").read_text())
        assert document["name"] and document["results"]


def test_runs_are_put_side_by_side(runs, tmp_path):
    result = bitplan("report", *runs, "--out", tmp_path / "both", "--figures", tmp_path / "figures")
    document = json.loads((tmp_path / "both" / "comparison.json").read_text())
    jsonschema.Draft202012Validator(comparison_schema()).validate(document)
    assert [run["name"] for run in document["runs"]] == ["mixed", "int8"]
    for run, folder in zip(document["runs"], runs, strict=True):
        assert run["file_bytes"] == (folder / "model.tflite").stat().st_size
    plans = [json.loads((folder / "plan.json").read_text())["assignments"] for folder in runs]
    assert [layer["schemes"] for layer in document["layers"]] == [
        {"mixed": a["scheme"], "int8": b["scheme"]} for a, b in zip(*plans, strict=True)
    ]
    page = (tmp_path / "both" / "comparison.html").read_text()
    assert "2 runs side by side" in page and "int8 against mixed" in result.stdout
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}.{suffix}" for name in ("sizes", "schemes") for suffix in ("svg", "png")
    }
    assert json.loads(bitplan("report", *runs, "--json").stdout) == document


def test_what_cannot_be_is_said(runs, tmp_path):
    assert "add --out DIR" in bitplan("report", *runs, check=2).stderr
    assert "several runs" in bitplan("report", runs[0], "--out", tmp_path, check=2).stderr
    (tmp_path / "file").write_text("")
    assert "choose another --figures" in bitplan("report", runs[0], "--figures", tmp_path / "file", check=2).stderr
    assert "no folder" in bitplan("report", runs[0], tmp_path / "none", "--out", tmp_path / "c", check=2).stderr


def test_a_notebook_shows_a_run(runs):
    from bitplan import open_run

    html = open_run(runs[0])._repr_html_()
    assert html.startswith("<div") and "Before and after" in html and "<script" not in html

"""The wheel: what people install is what they need, and nothing else."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_wheel_holds_the_product_and_no_more(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "bitplan/cli.py",
        "bitplan/py.typed",
        "bitplan/analyzer/demo/fashion_mobilenet.tflite",
        "bitplan/analyzer/demo/data.npz",
        "bitplan/analyzer/demo/LICENSE-fashion-mnist.txt",
        "bitplan/reports/templates/report.html",
        "bitplan/reports/templates/report.css",
        "bitplan/reports/schemas/report.schema.json",
    ):
        assert needed in names
    tops = {name.split("/")[0] for name in names}
    assert len(tops) == 2 and "bitplan" in tops
    for folder in ("tests", "benchmarks", "examples", "docs"):
        assert not [name for name in names if name.startswith(f"bitplan/{folder}/")]
    demo = sum(i.file_size for i in zipfile.ZipFile(wheel).infolist() if "/demo/" in i.filename)
    assert demo < 4_000_000

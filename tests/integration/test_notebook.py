"""The example notebook, run as Jupyter runs it: every cell, in a kernel of its own, offline."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = pathlib.Path(__file__).resolve().parents[2] / "examples" / "first_steps.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    if importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None:
        reason = "nbclient or ipykernel is not installed: they come with bitplan[dev]"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class ThisPython(AsyncKernelManager):
        """Starts this interpreter, whatever kernels the user has."""

        @property
        def kernel_spec(self):
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Python 3", language="python")

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    folder = tmp_path_factory.mktemp("notebook")
    NotebookClient(
        notebook, timeout=600, kernel_manager_class=ThisPython, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def shown(notebook, start):
    """What the code cell that begins so shows: its outputs' data by media type."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and c.source.startswith(start)]
    return [output["data"] for output in cell.outputs if "data" in output]


def test_results_are_shown_as_tables(executed):
    for start, said in (
        ("run = bp.analyze", "calibration samples"),
        ("table =", "nmse"),
        ("mixed = run.plan", "Before and after"),
        ("int8 = run.plan", "side by side"),
    ):
        (data,) = shown(executed, start)
        assert said in data["text/html"] and "<table" in data["text/html"], start


def test_runs_beside_one_another_have_the_names_that_were_given(executed):
    (data,) = shown(executed, "int8 = run.plan")
    assert "int8 against mixed: flash +" in data["text/html"]


def test_the_folder_has_what_the_text_promises(executed):
    (data,) = shown(executed, "import tempfile")
    for name in ("model.tflite", "plan.json", "report.html", "report.json", "sensitivity.csv"):
        assert f"'{name}'" in data["text/plain"]


def test_it_is_kept_without_outputs():
    import json

    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None

"""`bitplan diff`: what changed between two plans or two runs."""

from __future__ import annotations

import pathlib

from .analyzer.runs import RunFolder, read_stage
from .analyzer.schema import Evaluation, Plan, RunDiff, Verification
from .strategies.comparison import diff_plans


def diff(before: str | pathlib.Path, after: str | pathlib.Path) -> RunDiff:
    """Compares two plans, op by op, and what their files were measured to be.

    Args:
      before, after: Run folders, or `plan.json` files; of one network, or of the same network trained again.

    Raises:
      RunFolderError: There is no plan in one of them.
      UsageError: The networks are of unlike structure.
    """
    (a, measured_a), (b, measured_b) = _read(pathlib.Path(before)), _read(pathlib.Path(after))
    return RunDiff(diff_plans(a, b), b.latency_unit, measured_a, measured_b)


def _read(path: pathlib.Path) -> tuple[Plan, Evaluation | None]:
    if not path.is_dir():
        return read_stage(path, "plan", Plan), None
    folder = RunFolder.open(path)
    verification = folder.load("verification", Verification)
    return folder.require("plan", Plan), None if verification is None else verification.find("plan")

"""A run folder, opened again."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import replace

from .analyzer.conversion.converter import check_plan
from .analyzer.measures.crew import Crew
from .analyzer.network import flatbuffer as fb
from .analyzer.network.graph import build_graph
from .analyzer.network.runtime import DEFAULT_WORKERS
from .analyzer.runs import RunFolder
from .analyzer.schema import Calibration, Plan, Planning, RepairLog, SensitivityTable, Target, Verification
from .record import Emitted, Inputs, Measured, judged_at_outputs, labelled
from .session import Reporter, Run, ignore, silent
from .strategies.repair.material import Network
from .strategies.targets import load_target


def open_run(
    path: str | pathlib.Path,
    *,
    with_plan: bool = True,
    workers: int = DEFAULT_WORKERS,
    reporter: Reporter = silent,
    warn: Callable[[str], None] = ignore,
) -> Run:
    """Opens a run folder with every stage in it that belongs to the stage before.

    Args:
      path: The folder.
      with_plan: Whether the plan is wanted; a plan that was edited into nonsense does not keep a new one from being
        made.
      workers: Threads.
      reporter, warn: As in `prepare`.

    Raises:
      RunFolderError: There is no run in the folder, or a stage is damaged.
      UsageError: The plan does not fit the network.
    """
    folder = RunFolder.open(path)
    inputs = folder.require("inputs", Inputs)
    flatbuffer = folder.read_bytes("float.tflite")
    graph = judged_at_outputs(build_graph(flatbuffer), inputs.options.metric)
    if any(d.get("labelled") for d in (inputs.calibration, inputs.evaluation)):
        graph = labelled(graph)
    measured = folder.load("measured", Measured) or Measured()
    calibration = folder.load("calibration", Calibration)
    sensitivity = folder.load("sensitivity", SensitivityTable)
    plan = folder.load("plan", Plan) if with_plan else None
    if plan is not None:
        check_plan(graph, plan)
        if folder.is_edited("plan"):
            inputs = replace(inputs, notes=(*inputs.notes, "plan.json was edited by hand: its predictions are older."))
    as_made = plan is not None and not folder.is_edited("plan")
    same_data = (
        calibration is not None and sensitivity is not None and sensitivity.data_digest == calibration.data_digest
    )
    run = Run(
        flatbuffer, graph, inputs, folder=folder, crew=Crew(workers), reporter=reporter, warn=warn,
        calibration=calibration,
        sensitivity=sensitivity if same_data else None,
        plan_=plan,
        planning=folder.load("planning", Planning) if as_made else None,
        repair_=folder.load("repair", RepairLog) if as_made else None,
        network=_network_of(folder) if as_made else None,
        target=_target_of(folder, plan),
        measured=measured.figures,
    )  # fmt: skip
    if plan is None or calibration is None or not (folder.path / "model.tflite").is_file():
        return run
    emitted = folder.load("emitted", Emitted)
    model, verification = folder.read_bytes("model.tflite"), folder.load("verification", Verification)
    belongs = verification is not None and verification.file_digest == fb.digest(model)
    return replace(
        run, model=model, made_from=emitted.made_from if emitted else "", verification=verification if belongs else None
    )  # fmt: skip


def _target_of(folder: RunFolder, plan: Plan | None) -> Target | None:
    """What a plan was made for; None where there is none, or it came from elsewhere."""
    path = folder.path / "target.toml"
    return replace(load_target(str(path)), name=plan.target) if plan is not None and path.is_file() else None


def _network_of(folder: RunFolder) -> Network | None:
    """The repaired network of a run; None without one."""
    calibration = folder.load("repaired_calibration", Calibration)
    if calibration is None or not (folder.path / "repaired.tflite").is_file():
        return None
    flatbuffer = folder.read_bytes("repaired.tflite")
    return Network(flatbuffer, calibration, flatbuffer)

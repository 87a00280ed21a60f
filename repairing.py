"""The stage between plan and file that is not always run: repairs."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .analyzer.errors import RunFolderError, UsageError
from .analyzer.inputs.dataset import Samples
from .analyzer.network import flatbuffer as fb
from .analyzer.runs import content_key
from .analyzer.schema import REPAIRS, Calibration, Plan, RepairLog, RepairStep
from .analyzer.serialize import dumps
from .record import AFTER_REPAIR, versions_key
from .run_data import calibration_samples, held_back_samples, samples_to_learn_from
from .session import Run
from .strategies.ladder import Memory, Rung, climb
from .strategies.repair.material import Material, Network
from .strategies.repair.ranges import check_method
from .strategies.trial import SAMPLES

MOST_SAMPLES = 5000
"""Samples to learn from, at most."""

_HELD_BACK_SHARE = 4
"""Where the data holds no more than the calibration samples, one in so many of them is held back."""

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def repair(run: Run, steps: Sequence[str], time_budget: str | float | None, ranges: str) -> Run:
    """See `Run.repair`."""
    if run.plan_ is None or run.calibration is None:
        raise RunFolderError("there is no plan to repair", "run `bitplan plan` first")
    check_method(ranges)
    material = material_of(run, run.plan_, ranges)
    with run.timed("repair_s") as measured:
        repaired = climb(
            material, steps=steps or REPAIRS, time_budget_s=parse_duration(time_budget),
            file_bytes=run.plan_.budget_bytes, memory=_memory(run, material), reporter=run.reporter,
        )  # fmt: skip
    if run.folder:
        run.folder.discard(*AFTER_REPAIR)
    done = replace(
        run, repair_=repaired.log, network=repaired.network if repaired.log.kept else None, model=None, made_from="",
        verification=None, measured=measured(),
    )  # fmt: skip
    save_repair(done, repaired.log, done.network)
    return done


def save_repair(run: Run, log: RepairLog, network: Network | None) -> None:
    """Writes what repairs did into the run's folder where there is one."""
    if run.folder is None:
        return
    run.save_stage("repair", log, "")
    run.folder.discard("repaired.tflite", "repaired_calibration.json")
    if network is not None:
        run.folder.write_bytes("repaired.tflite", network.flatbuffer)
        run.save_stage("repaired_calibration", network.calibration, "")


def check_export(model: Any, path: str | pathlib.Path) -> None:
    """Whether the learned weights of a model could be written as a Keras file, before anything is learned.

    Raises:
      UsageError: The path does not end in `.keras`, or its folder does not exist.
      UnsupportedModel: The model is no Keras model.
    """
    from .analyzer.inputs.keras_export import check_keras

    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise UsageError(f"{path} does not end in .keras", "give --export-keras a name like learned.keras")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.absolute().parent}", "make it, or choose another --export-keras")
    check_keras(model)


def export_learned(run: Run, model: Any, path: str | pathlib.Path, *, trust_model: bool) -> None:
    """Writes the Keras model with what repairs have learned; says so where there is nothing to write.

    Args:
      run: A repaired one.
      model: What it was prepared from.
      path: Of the `.keras` file.
      trust_model: Whether code inside `model` may run.

    Raises:
      UnsupportedModel: Some changed op is no layer of the model whose weights can be set.
    """
    from .analyzer.inputs.keras_export import export_keras

    if run.network is None:
        run.warn(f"no repair was kept, so the Keras model has nothing to learn: {path} was not written")
        return
    run.reporter("Putting the learned weights into the Keras model")(0, 1)
    export_keras(
        model, pathlib.Path(path), run.graph, run.flatbuffer, run.network.flatbuffer, trust_model=trust_model
    )  # fmt: skip


def parse_duration(text: str | float | None) -> float | None:
    """Reads a duration in seconds: `15m`, `90s`, `1h`, a number of seconds; None and "" are no limit.

    Raises:
      UsageError: It is none.
    """
    if text is None or isinstance(text, int | float):
        return text
    if not text.strip():
        return None
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"the time {text!r} cannot be read", "write 15m, 90s or 1h")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def material_of(run: Run, plan: Plan, ranges: str = "auto") -> Material:
    """What repairs of a plan are made from and judged by: an analyzed run's calibration data, a part held back."""
    assert run.calibration is not None
    calibration = calibration_samples(run)
    held_back = held_back_samples(run, SAMPLES)
    if held_back is None:
        held_back = calibration.subset(range(0, len(calibration), _HELD_BACK_SHARE))
        run.warn(
            f"the calibration data holds no further samples: {len(held_back)} of the {len(calibration)} decide what "
            "helps, and the others are learned from; more images make better repairs"
        )
    samples = samples_to_learn_from(run, held_back, MOST_SAMPLES)
    return Material(
        run.flatbuffer, run.graph, run.calibration, plan, _without(calibration, held_back), samples, held_back,
        ranges, run.inputs.options.seed, run.workers,
    )  # fmt: skip


def _without(samples: Samples, others: Samples) -> Samples:
    apart = {*others.hashes}
    return samples.subset([index for index, digest in enumerate(samples.hashes) if digest not in apart])


@dataclass(frozen=True)
class _Kept:
    """A rung as the folder holds it; its network lies beside it."""

    step: RepairStep
    calibration: Calibration
    is_reference: bool


def _memory(run: Run, material: Material) -> Memory:
    """Finished rungs lie in the run folder, under keys of what they were made from."""
    folder = run.folder
    if folder is None:
        return Memory()

    def key(name: str, network: Network) -> str:
        schemes = [assignment.scheme for assignment in material.plan.assignments]
        return content_key(
            "rung-1", versions_key(), name, fb.digest(material.flatbuffer), fb.digest(network.flatbuffer),
            fb.digest(network.reference),
            dumps(network.calibration), schemes, material.plan.io.value, material.plan.per_channel,
            material.samples.digest, material.held_back.digest, material.seed, material.range_method,
        )  # fmt: skip

    def load(name: str, network: Network) -> Rung | None:
        kept = folder.load(f"rung_{name}", _Kept, key(name, network))
        if kept is None or not (folder.path / f"rung_{name}.tflite").is_file():
            return None
        flatbuffer = folder.read_bytes(f"rung_{name}.tflite")
        reference = flatbuffer if kept.is_reference else network.reference
        return Rung(kept.step, Network(flatbuffer, kept.calibration, reference))

    def save(name: str, network: Network, rung: Rung) -> None:
        folder.write_bytes(f"rung_{name}.tflite", rung.network.flatbuffer)
        is_reference = rung.network.reference == rung.network.flatbuffer != network.flatbuffer
        folder.save(f"rung_{name}", _Kept(rung.step, rung.network.calibration, is_reference), key(name, network))

    return Memory(load, save)

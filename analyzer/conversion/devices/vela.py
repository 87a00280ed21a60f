"""Compiles a file with Arm's Vela for an Ethos-U."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UnsupportedModel
from ...network import flatbuffer as fb
from ...schema import Opinion, Target
from .tool import Tool

TOOL = Tool("ethos-u-vela", "vela")
_NPU_OP = "CUSTOM:ethos-u"


@dataclass(frozen=True)
class Setting:
    """What Vela compiles for, by the names of its own configuration file `Arm/vela.ini`."""

    accelerator: str
    system: str
    memory: str

    def __str__(self) -> str:
        return f"compiled for {self.accelerator}, {self.system}, {self.memory}"


SETTINGS: Mapping[str, Setting] = {
    "ethos-u55": Setting("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u85": Setting("ethos-u85-256", "Ethos_U85_SYS_DRAM_Mid", "Shared_Sram"),
}
"""By the beginning of a target's name; those that the shipped tables of costs were made for."""


def setting_of(target: Target) -> Setting | None:
    """The setting for a target; None where its name says nothing of an accelerator."""
    return next((setting for name, setting in SETTINGS.items() if target.name.startswith(name)), None)


def compile_file(flatbuffer: bytes, setting: Setting) -> Opinion:
    """Compiles a file.

    Returns:
      Its arena is Vela's SRAM, its flash the compiled file. Cycles and inferences per second are Vela's estimates for
      the NPU; they leave out ops on the CPU.

    Raises:
      UnsupportedModel: Vela crashes on the file, or refuses all of it.
    """
    with tempfile.TemporaryDirectory(prefix="bitplan-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(flatbuffer)
        done = TOOL.run(
            [
                "-m", "ethosu.vela", "model.tflite", "--output-dir", ".", "--config", "Arm/vela.ini",
                "--accelerator-config", setting.accelerator, "--system-config", setting.system,
                "--memory-mode", setting.memory,
            ],
            folder,
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["it gives no reason"]
            raise UnsupportedModel(
                f"{TOOL.package} {TOOL.version} cannot compile the file: {said[-1].strip()}",
                "allow only schemes that its target table lists",
            )
        compiled = (folder / "model_vela.tflite").read_bytes()
        with (folder / f"model_summary_{setting.system}.csv").open(encoding="utf-8", newline="") as file:
            summary = next(csv.DictReader(file))
    figures = _figures(summary)
    return Opinion(
        "vela", TOOL.package, TOOL.version, str(setting),
        arena_bytes=int(figures["sram_bytes"]),
        flash_bytes=len(compiled),
        cpu_ops=cpu_ops(fb.read(compiled)),
        figures=figures,
    )  # fmt: skip


def cpu_ops(model: Any) -> tuple[str, ...]:
    """Opcodes of a compiled model that do not run on the NPU, but for the borders of float inputs and outputs."""
    subgraph = model.subgraphs[0]
    inputs, outputs = {int(t) for t in subgraph.inputs}, {int(t) for t in subgraph.outputs}
    found = []
    for op in subgraph.operators:
        opcode = fb.opcode_name(model, op)
        enters = opcode == "QUANTIZE" and _is_float(subgraph, op.inputs[0]) and int(op.inputs[0]) in inputs
        leaves = opcode == "DEQUANTIZE" and int(op.outputs[0]) in outputs
        if opcode != _NPU_OP and not enters and not leaves:
            found.append(opcode)
    return tuple(found)


def _is_float(subgraph: Any, tensor: int) -> bool:
    return fb.dtype_name(subgraph.tensors[int(tensor)]) == "float32"


def _figures(summary: Mapping[str, str]) -> dict[str, float]:
    areas = ("sram", "dram", "on_chip_flash", "off_chip_flash")
    found: dict[str, float] = {f"{area}_bytes": round(1024 * float(summary[f"{area}_memory_used"])) for area in areas}
    found["npu_cycles"] = float(summary["cycles_total"])
    if found["npu_cycles"]:
        found["npu_inferences_per_s"] = float(summary["inferences_per_second"])
    return found

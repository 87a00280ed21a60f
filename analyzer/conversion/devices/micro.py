"""Runs a file in TFLite Micro on this host."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...network import flatbuffer as fb
from ...network.runtime import Port, Runner
from ...schema import Opinion
from .tool import Tool

TOOL = Tool("tflite-micro", "tflite-micro")
_SETTING = "TFLite Micro with its reference kernels, run on this 64-bit host"
_WORKER = Path(__file__).with_name("micro_worker.py")
_SPARE_BYTES = 4 * 2**20

_ALLOCATION = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_MISSING = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_FAILED = re.compile(r"Node (\S+) \(number (\d+)\) failed")


def run_file(flatbuffer: bytes, samples: Sequence[np.ndarray] | None) -> Opinion:
    """Runs a file once, or over samples.

    Args:
      flatbuffer: The file.
      samples: One float array [n, ...] for each input, or None.

    Returns:
      Its arena is what is taken after the run, with the interpreter's own structures, whose pointers are half as long
      on a microcontroller of 32 bits.

    Raises:
      UnsupportedModel: TFLite Micro crashes on the file, or LiteRT cannot load it.
    """
    runner = Runner(flatbuffer)
    given = _given(runner.inputs, samples)
    with tempfile.TemporaryDirectory(prefix="bitplan-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(flatbuffer)
        np.savez(folder / "inputs.npz", *given)
        done = TOOL.run([str(_WORKER), str(_enough(flatbuffer))], folder)
        if done.returncode:
            return Opinion("tflite-micro", TOOL.package, TOOL.version, _SETTING, refusal=refusal_in(done.stderr))
        answers = np.load(folder / "outputs.npy")
    taken = {part: int(count) for part, count in _ALLOCATION.findall(done.stderr)}
    compared = samples is not None and answers[0].size > 1
    return Opinion(
        "tflite-micro", TOOL.package, TOOL.version, _SETTING,
        arena_bytes=taken["total"],
        flash_bytes=len(flatbuffer),
        agreement=_agreement(runner, given, answers) if compared else None,
        samples=len(answers) if compared else 0,
        figures={"activations_bytes": taken["head"], "structures_bytes": taken["tail"]},
    )  # fmt: skip


def refusal_in(said: str) -> str:
    """What TFLite Micro's own words on stderr come to, in one line that names the op."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if missing := _MISSING.search(line):
            return f"it has no {missing[1]}"
        if failed := _FAILED.search(line):
            why = re.sub(r"^\S+:\d+ ", "", lines[number - 1]) if number else "it gives no reason"
            return f"op {failed[2]} of the file, {failed[1]}: {why}"
    return lines[-1] if lines else "it gives no reason"


def _given(ports: Sequence[Port], samples: Sequence[np.ndarray] | None) -> list[np.ndarray]:
    """An array [n, *shape] for each input, in the input's own type; one sample of zeros where there are none."""
    if samples is None:
        return [np.zeros((1, *port.shape), port.dtype) for port in ports]
    found = []
    for port, values in zip(ports, samples, strict=True):
        if port.scale:
            limits = np.iinfo(port.dtype)
            steps = np.rint(values / np.float32(port.scale)) + port.zero_point
            values = np.clip(steps, limits.min, limits.max)
        found.append(values.astype(port.dtype).reshape(len(values), *port.shape))
    return found


def _enough(flatbuffer: bytes) -> int:
    """More bytes than the arena can need: every activation twice, and as much as the file for what is kept of it."""
    model = fb.read(flatbuffer)
    size = 0
    for tensor in model.subgraphs[0].tensors:
        if fb.constant(model, tensor) is None and tensor.shape is not None:
            size += 8 * int(np.prod(tensor.shape))
    return 2 * size + len(flatbuffer) + _SPARE_BYTES


def _agreement(runner: Runner, given: Sequence[np.ndarray], answers: np.ndarray) -> float:
    """Share of samples with the same largest value; integers are compared as such, for their scale is one for all."""
    wanted = [int(runner.run([array[k] for array in given])[0].argmax()) for k in range(len(answers))]
    return float(np.mean([answer.argmax() == best for answer, best in zip(answers, wanted, strict=True)]))

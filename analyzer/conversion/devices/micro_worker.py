"""A program: runs `model.tflite` of its folder in TFLite Micro over `inputs.npz`, writes `outputs.npy`.

    python micro_worker.py ARENA_BYTES

TFLite Micro itself prints on stderr what it allocated, or why it cannot run the model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main() -> None:
    from tflite_micro.python.tflite_micro import runtime

    arena_bytes = int(sys.argv[1])
    interpreter = runtime.Interpreter.from_bytes(Path("model.tflite").read_bytes(), arena_size=arena_bytes)
    with np.load("inputs.npz") as arrays:
        given = [arrays[name] for name in arrays.files]
    outputs = []
    for sample in zip(*given, strict=True):
        for index, values in enumerate(sample):
            interpreter.set_input(values, index)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0))
    np.save("outputs.npy", np.stack(outputs))
    interpreter.print_allocations()


if __name__ == "__main__":
    main()

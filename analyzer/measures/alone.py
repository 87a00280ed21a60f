"""A quantized file's own weights and scales, put into the float network one at a time and run by the interpreter.

It takes networks with ops that have no rule as TensorFlow functions, which `attribution.py` cannot.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..network import kernels, runtime
from ..schema import Calibration, Graph, Measurement, Source
from .calibration import Progress
from .crew import Crew
from .exact import ExactSweep
from .grids import Grid
from .quantized_file import QuantizedFile
from .sweep import LabelledSource, Sweep, Task


def measure_alone(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    file: QuantizedFile,
    samples: LabelledSource,
    *,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> tuple[Measurement, ...]:
    """Output error of each of the file's own sources, alone in the float network.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Of `data` on the same samples: variances to normalise with.
      file: The quantized file.
      samples: What to measure on.
      workers: Threads.
      progress: Called with (units done, units in all).

    Returns:
      One measurement for each aligned source, in execution order.
    """
    found: list[Source] = []
    grids: dict[Source, Grid] = {}
    weights: dict[Source, np.ndarray] = {}
    for tensor in graph.inputs:
        if tensor in calibration.ranges and (grid := file.activation_grid(tensor)) is not None:
            found.append(Source("input", f"a{grid.bits}", tensor))
            grids[found[-1]] = grid
    for op in graph.ops:
        changed = file.weights(op) if op.weights is not None else None
        if (
            changed is not None
            and changed[0].size == graph.tensors[op.inputs[kernels.WEIGHTS_INPUT[op.opcode]]].elements
        ):
            found.append(Source("weights", f"w{changed[1]}", op.outputs[0], op.index))
            weights[found[-1]] = changed[0]
        for tensor in graph.activations_out(op):
            grid = file.activation_grid(tensor)
            if grid is not None and op.opcode not in kernels.MOVEMENT:
                found.append(Source("activation", f"a{grid.bits}", tensor, op.index))
                grids[found[-1]] = grid

    def change(sweep: Sweep, source: Source) -> Callable[[int], np.ndarray]:
        if source not in weights:
            return lambda sample: grids[source].round(sweep.value(source.tensor, sample))
        assert source.op is not None, "only ops have weights"
        op = graph.ops[source.op]
        assert op.weights is not None, "only what has weights was given other ones"
        return sweep.alone(op, source.tensor, {op.weights: weights[source].reshape(graph.tensors[op.weights].shape)})

    with ExactSweep(Task(data, graph, calibration, change), samples, crew=Crew(threads=workers)) as sweep:
        measured = sweep.measure(found, progress=progress)
    return tuple(measured[source.id] for source in found)

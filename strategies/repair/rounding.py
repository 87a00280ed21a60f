"""Learned rounding: each weight up or down as the layer's output demands, not simply to the nearest point (AdaRound).

Layer by layer in execution order: a layer reads what the quantized network before it, already learned, gives it, and is
to answer what the float layer answers. Ranges of activations and biases stay as they are. What was learned becomes
float weights that lie on the grid, so that any converter rounds them to these integers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...analyzer.conversion.converter import convert
from ...analyzer.measures.calibration import Progress, SampleSource
from ...analyzer.network.constants import replace_constants
from ...analyzer.schema import Calibration, Graph, Plan
from ...analyzer.silence import import_tensorflow
from .passage import Passage, Stop
from .schedule import Schedule

if TYPE_CHECKING:
    from .adaround import Learner

_TRIAL_STEPS = 4
_LEARNING_SHARE = 0.6
"""Of a time budget; the rest is for computing what the layers read and answer."""
_LEAST_ITERATIONS = 100
"""With fewer, most weights are still undecided in the end."""


@dataclass(frozen=True)
class LayerRounding:
    """One layer.

    Attributes:
      op: Its index.
      before, after: Mean squared error of its output behind its activation, over the positions that were learned from,
        when it reads what the learned network before it gives: with the weights as the converter rounds them, and with
        those of the new network. `after` is never larger: where learning does not help, the weights stay.
      moved: How many weights have another integer than nearest rounding to the same grid gives.
      weights: How many it has.
    """

    op: int
    before: float
    after: float
    moved: int
    weights: int


@dataclass(frozen=True)
class LearnedRounding:
    """What came of it.

    Attributes:
      flatbuffer: The float network with weights on the grid points that were learned.
      layers: In execution order.
      left_out: Ops with 4- or 8-bit weights that stay: they share them with other ops, or compute their bias.
      iterations: How many steps each layer was learned for. The same number as `Schedule.iterations`, without a time
        budget, gives the same flatbuffer again.
      samples: How many were learned from: fewer than given where their activations do not fit into memory.
    """

    flatbuffer: bytes
    layers: tuple[LayerRounding, ...]
    left_out: tuple[int, ...]
    iterations: int
    samples: int


def learn_rounding(
    flatbuffer: bytes,
    graph: Graph,
    calibration: Calibration,
    plan: Plan,
    samples: SampleSource,
    *,
    reference: bytes | None = None,
    schedule: Schedule | None = None,
    time_budget_s: float | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LearnedRounding:
    """Learns which way to round the 4- and 8-bit weights of a planned network.

    Makes TensorFlow's ops deterministic for the rest of the process. The same arguments give the same bytes on the same
    kind of processor; a time budget decides only how many iterations there are.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      calibration: Its ranges.
      plan: One scheme for each op.
      samples: To learn from, in content order.
      reference: The float network whose layers' outputs are wanted, where `flatbuffer` was repaired already; it
        has the same ops and tensors. None for `flatbuffer` itself.
      schedule: How.
      time_budget_s: Seconds for everything; there are always 100 iterations, if the schedule has them. None for no
        limit.
      progress: Called with (layers done, layers in all).
      clock: Seconds; for the time budget.

    Raises:
      UnsupportedModel: Some op has no differentiable rule, or the network cannot be converted by the plan.
    """
    schedule = schedule or Schedule()
    started = clock()
    import_tensorflow().config.experimental.enable_op_determinism()
    from .adaround import Learner

    emitted = convert(flatbuffer, graph, calibration, plan).model
    passage = Passage(flatbuffer, graph, plan, emitted, samples, schedule.seed, reference or flatbuffer)
    learner = Learner(schedule)
    iterations = schedule.iterations
    if time_budget_s is not None:
        seconds = _step_seconds(passage, learner, schedule, clock)
        affordable = (started + time_budget_s - clock()) * _LEARNING_SHARE / max(seconds, 1e-9)
        iterations = min(iterations, max(_LEAST_ITERATIONS, int(affordable)))
    layers, weights = [], {}
    for number, stop in enumerate(passage.stops):
        layer, learned = _learn(passage, stop, learner, schedule, iterations)
        layers.append(layer)
        if learned is not None:
            weights[stop.layer.weights] = learned
        if progress:
            progress(number + 1, len(passage.stops))
    return LearnedRounding(
        replace_constants(flatbuffer, weights), tuple(layers), passage.left_out, iterations, passage.samples
    )


def _learn(
    passage: Passage, stop: Stop, learner: Learner, schedule: Schedule, iterations: int
) -> tuple[LayerRounding, np.ndarray | None]:
    """Learns one layer and passes it; its weights for the float network, None where they stay."""
    patches = stop.patches
    reconstruction = passage.arrive(stop, schedule.rows)
    narrow = stop.layer.bits in schedule.narrow_bits
    grid = passage.grid(stop, reconstruction.moments() if narrow else None)
    learned = learner.learn(reconstruction, grid, iterations)
    errors, nearest = (reconstruction.errors(grid.values(up)) for up in (learned, grid.nearest))
    up = np.where((errors < nearest)[:, None], learned, grid.nearest)
    plain = passage.plain_weights(stop)
    before = float(reconstruction.errors(patches.matrix(plain)).mean())
    after = float(np.minimum(errors, nearest).mean())
    if after >= before:
        passage.depart(stop, plain)
        return LayerRounding(stop.layer.op, before, before, 0, plain.size), None
    passage.depart(stop, patches.kernel(grid.values(up), plain.shape))
    moved = int((grid.integers(up) != grid.integers(grid.nearest)).sum())
    found = patches.kernel(grid.float_weights(up), plain.shape)
    return LayerRounding(stop.layer.op, before, after, moved, plain.size), found


def _step_seconds(passage: Passage, learner: Learner, schedule: Schedule, clock: Callable[[], float]) -> float:
    """What one step takes, of all layers together; on made-up data."""
    from .adaround import Reconstruction

    total = 0.0
    for number, stop in enumerate(passage.stops):
        groups, columns, outputs = stop.patches.groups, stop.patches.columns, stop.patches.outputs
        rows, targets = (np.zeros((groups, schedule.batch, size), np.float32) for size in (columns, outputs))
        made_up = Reconstruction(rows, targets, np.zeros((groups, 1, outputs), np.float32), (-np.inf, np.inf))
        grid = passage.grid(stop, None)
        if number == 0:
            learner.learn(made_up, grid, 1)  # traces the program
        started = clock()
        learner.learn(made_up, grid, _TRIAL_STEPS)
        total += (clock() - started) / _TRIAL_STEPS
    return total

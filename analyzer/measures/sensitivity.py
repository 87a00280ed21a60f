"""The sweep: each place where quantization enters the network, quantized alone, and the error at the output.

To measure a source exactly, weights are changed by running the op alone with other weights, activations by rounding
them to their calibrated grid. Estimates are made by `linear.py`; which of them are measured after all, `refinement.py`
says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import UsageError
from ..network.differentiable import uncovered
from ..schema import Calibration, Graph, Measurement, Op, SensitivityTable, Source
from ..units import Store, content_key, versions_of
from . import quantization as q
from .calibration import Progress
from .crew import Crew
from .exact import ExactSweep
from .linear import beyond_linear, measure_linear
from .per_sample import Metric
from .refinement import TOP, refine
from .sources import grids_of, rounded_constants, sources_of, split
from .sweep import LabelledSource, Sweep, Task, variance_of
from .worker import PACKAGES

VERSION = "sweep-4"
"""Part of every row's key: raise it when a change of these modules changes a figure."""


MODES = {"refined": 2, "linear": 1, "exact": 0}
"""How to sweep; and the random vectors a sample that the estimates of that mode stand on."""


def measure_sensitivity(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    samples: LabelledSource,
    *,
    mode: str = "exact",
    per_channel: bool = True,
    known: SensitivityTable | None = None,
    metric: Metric | None = None,
    context: str = "",
    store: Store | None = None,
    crew: Crew | None = None,
    estimating: Progress | None = None,
    progress: Progress | None = None,
) -> SensitivityTable:
    """Finds the error of every source, one at a time.

    A network with an op that has no gradient here is measured exactly whatever the mode; the table names the op.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Ranges that the quantized tensors take.
      samples: In content order.
      mode: `exact`; `linear`, estimates of first order; or `refined`, estimates, and the worst sources exactly.
      per_channel: Whether weights have a scale for each channel; else they have one for the tensor, and `calibration`
        must hold the partial sums of weights that are split so (`with_per_tensor_sums`).
      known: A table of the same network, samples, calibration and metric for the other kind of weights: what it says of
        activations and inputs is taken over, and only weights are measured.
      metric: See `per_sample.Metric`; it judges the compared tensors of what is measured exactly.
      context: As in `exact_sweep`.
      store: Rows of earlier sweeps are taken from here, new ones put here.
      crew: Who measures exactly; two threads unless given.
      estimating: Called with (samples done, samples in all).
      progress: Called with (units done, units to do) of what is measured exactly.

    Raises:
      UsageError: There is no such mode; or the metric fails, or cannot be sent to another process.
      WorkerError: A worker died, or the cluster cannot be reached.
    """
    check_mode(mode)
    sources = sources_of(graph, calibration, per_channel=per_channel)
    missing = uncovered(data) if mode != "exact" else ()
    estimates = {} if known is None else _known(known, sources, graph, samples, mode)
    if mode != "exact" and not missing:
        beyond = beyond_linear(data, graph, sources)
        wanted = [s for s in sources if s.id not in beyond and s.id not in estimates]
        if wanted:
            estimates |= measure_linear(
                data, graph, calibration, samples, wanted, vectors=MODES[mode], store=store, progress=estimating
            )
    with exact_sweep(
        data, graph, calibration, samples, metric=metric, context=context, store=store, crew=crew
    ) as sweep:
        found = refine(sweep, estimates, sources, top=TOP if mode == "refined" else 0, progress=progress)
    return SensitivityTable(
        measurements=tuple(found[source.id] for source in sources),
        left_float=(),
        int8=None,
        output_variance=tuple(variance_of(calibration, tensor) for tensor in graph.compared),
        samples=len(samples),
        data_digest=samples.digest,
        graph_digest=graph.digest,
        mode="exact" if missing else mode,
        not_differentiable=missing,
        per_channel=per_channel,
    )


def _known(
    table: SensitivityTable, sources: Sequence[Source], graph: Graph, samples: LabelledSource, mode: str
) -> dict[str, Measurement]:
    """What a table says of some sources, by id; where all are to be measured exactly, without its estimates."""
    if (table.graph_digest, table.data_digest) != (graph.digest, samples.digest):
        raise ValueError("the known table is of another network or of other samples")
    wanted = {source.id for source in sources}
    return {
        m.source.id: m for m in table.measurements if m.source.id in wanted and (m.method == "exact" or mode != "exact")
    }


def check_mode(mode: str) -> None:
    """Raises UsageError where there is no such mode."""
    if mode not in MODES:
        raise UsageError(f"there is no sweep {mode!r}", f"choose one of {', '.join(MODES)}")


def exact_sweep(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    samples: LabelledSource,
    *,
    metric: Metric | None = None,
    context: str = "",
    store: Store | None = None,
    crew: Crew | None = None,
) -> ExactSweep:
    """A sweep that measures whatever sources it is asked for, as often as it is asked; to be closed.

    Arguments are those of `measure_sensitivity`.

    Args:
      context: Part of the key of every row: what its figures depend on that is not seen here, such as the metric's
        source. Versions, network, grids and samples are part of it anyway.
    """
    versions = versions_of(*PACKAGES)

    def key(source: Source) -> str:
        grids = [(grid.scale, grid.zero_point, grid.bits) for grid in grids_of(source, graph, calibration)]
        compared, judged = list(graph.compared), graph.is_classifier
        return content_key(VERSION, versions, graph.digest, compared, judged, source.id, grids, context)

    return ExactSweep(Task(data, graph, calibration, _change, metric), samples, key=key, store=store, crew=crew)


def _change(sweep: Sweep, source: Source) -> Callable[[int], np.ndarray]:
    """The changed values of a source's tensor, by sample of the loaded shard."""
    grids = grids_of(source, sweep.graph, sweep.calibration)
    if source.part != "weights":
        (grid,) = grids
        return lambda sample: q.fake_quantize(sweep.value(source.tensor, sample), grid)
    assert source.op is not None, "only ops have weights"
    op = sweep.graph.ops[source.op]
    if not grids:
        return sweep.alone(op, source.tensor, rounded_constants(source, op, sweep.constant))
    return _split(sweep, source, op, *grids)


def _split(
    sweep: Sweep, source: Source, op: Op, high_grid: q.AffineParams, low_grid: q.AffineParams
) -> Callable[[int], np.ndarray]:
    """hi + lo: both partial sums are rounded to the activation format, then added, then clamped."""
    assert op.weights is not None
    high, low = split(source, op, sweep.constant(op.weights))
    no_bias = {} if op.bias is None else {op.bias: np.zeros_like(sweep.constant(op.bias))}
    run_high = sweep.alone(op, source.tensor, {op.weights: high}, plain=True)
    run_low = sweep.alone(op, source.tensor, {op.weights: low, **no_bias}, plain=True)

    def run(sample: int) -> np.ndarray:
        total = q.fake_quantize(run_high(sample), high_grid) + q.fake_quantize(run_low(sample), low_grid)
        return q.fused(total, op.activation).astype(np.float32)

    return run

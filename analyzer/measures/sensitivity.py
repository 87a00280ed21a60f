"""The exact sweep: each place where quantization enters the network, quantized alone, and the error at the output.

Weights are changed by running the op alone with other weights, activations by rounding them to their calibrated grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..network import flatbuffer as fb
from ..network import kernels, runtime
from ..network.rewrite import relevant_range
from ..schema import ACTIVATION_VARIANTS, SCHEMES, Calibration, Format, Graph, Op, SensitivityTable, Source
from . import quantization as q
from .calibration import Progress
from .per_sample import Metric
from .sweep import Job, LabelledSource, Store, Sweep, jobs_of, run_jobs

VERSION = "sweep-3"
"""Part of every unit's key: raise it when a change of this module changes a figure."""


def sources_of(graph: Graph, calibration: Calibration) -> tuple[Source, ...]:
    """Every source of a network, in execution order: inputs first, then weights, output and edges of each op.

    An op without an integer scheme has no weights to quantize, but its readers may read its output as integers.
    The output of a movement op is none of its own, for it keeps its input's scale.
    """
    found: list[Source] = []
    for tensor in graph.inputs:
        if tensor in calibration.ranges:
            found += [Source("input", variant, tensor) for variant in ACTIVATION_VARIANTS]
    for op in graph.ops:
        own = _formats(op)
        if own:
            found += [Source("weights", v, op.outputs[0], op.index) for v in weight_variants(op)]
        if own and op.opcode in kernels.MOVEMENT:
            continue
        for tensor in graph.activations_out(op):
            formats = own.union(*(_formats(graph.ops[reader]) for reader in graph.consumers(tensor)))
            if tensor in graph.outputs:  # the model's output may be asked for in any format (--io)
                formats |= set(ACTIVATION_VARIANTS.values())
            found += [Source("activation", v, tensor, op.index) for v, f in ACTIVATION_VARIANTS.items() if f in formats]
    for tensor in sorted(calibration.ranges):
        readers = graph.consumers(tensor)
        if len(readers) > 1:
            producer = graph.producer(tensor)
            found += [Source("edge", "a8", tensor, producer, reader) for reader in readers]
    return tuple(found)


def _formats(op: Op) -> set[Format]:
    return {SCHEMES[name].format for name in op.schemes} - {Format.FLOAT}


def weight_variants(op: Op) -> tuple[str, ...]:
    """The weight variants that an op's schemes need, each once, in order."""
    return tuple(v for v in dict.fromkeys(op.variant(SCHEMES[name]) for name in op.schemes) if v)


def measure_sensitivity(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    samples: LabelledSource,
    *,
    metric: Metric | None = None,
    context: str = "",
    store: Store | None = None,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> SensitivityTable:
    """Measures every source exactly, one at a time.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Ranges that the quantized tensors take.
      samples: In content order.
      metric: See `per_sample.Metric`; it judges the compared tensors.
      context: Part of the key of every saved unit: whatever else its figures depend on, such as the metric.
      store: Finished units are taken from here and put here.
      workers: Threads.
      progress: Called with (units done, units in all).
    """
    sweep = Sweep(data, graph, calibration, samples, metric)
    sources = sources_of(graph, calibration)
    measured = run_jobs(
        sweep,
        jobs_of(sources, graph),
        _Perturbation,
        key=lambda job, block: _unit_key(sweep, job, block, context),
        store=store,
        workers=workers,
        progress=progress,
    )
    return SensitivityTable(
        measurements=tuple(measured[source.id] for source in sources),
        left_float=(),
        int8=None,
        output_variance=sweep.variances,
        samples=len(samples),
        data_digest=samples.digest,
        graph_digest=graph.digest,
    )


class _Perturbation:
    """The changed values of a job's tensor, source by source."""

    def __init__(self, sweep: Sweep, job: Job) -> None:
        self._sweep, self._job = sweep, job
        self._weights = {s: self._prepare(s) for s in job.sources if s.part == "weights"}
        opcode = job.op.opcode if job.op else ""
        seen = sweep.calibration.ranges[job.tensor]
        self._params = {
            s: q.activation_params(seen.minimum, seen.maximum, ACTIVATION_VARIANTS[s.variant].bits, opcode)
            for s in job.sources if s.part != "weights"
        }  # fmt: skip

    def __call__(self, sample: int) -> Iterator[tuple[Source, np.ndarray]]:
        for source in self._job.sources:
            if source.part == "weights":
                yield source, self._weights[source](sample)
            else:
                yield source, q.fake_quantize(self._sweep.value(self._job.tensor, sample), self._params[source])

    def _prepare(self, source: Source) -> Callable[[int], np.ndarray]:
        op, sweep = self._job.op, self._sweep
        assert op is not None, "only ops have weights"
        if op.weights is None:
            bits = 8 if source.variant == "c8" else 16
            constants = {t: q.fake_quantize_constant(sweep.constant(t), bits) for t in op.constants}
            return sweep.alone(op, self._job.tensor, constants)
        weights = sweep.constant(op.weights)
        if source.variant in ("w4", "w8"):
            bits = 4 if source.variant == "w4" else 8
            return sweep.alone(
                op, self._job.tensor, {op.weights: q.fake_quantize_weights(weights, op.channel_axis, bits)}
            )
        return self._split(op, weights, 8 if source.variant == "w16a8" else 16)

    def _split(self, op: Op, weights: np.ndarray, bits: int) -> Callable[[int], np.ndarray]:
        """hi + lo: both partial sums are rounded to the activation format, then added, then clamped."""
        sweep = self._sweep
        assert op.weights is not None
        high = q.fake_quantize_weights(weights, op.channel_axis, 8)
        low = q.fake_quantize_weights(weights - high, op.channel_axis, 8)
        no_bias = {} if op.bias is None else {op.bias: np.zeros_like(sweep.constant(op.bias))}
        run_high = sweep.alone(op, self._job.tensor, {op.weights: high}, plain=True)
        run_low = sweep.alone(op, self._job.tensor, {op.weights: low, **no_bias}, plain=True)
        high_range, low_range = sweep.calibration.partial_sums[op.index]
        high_params = q.activation_params(*relevant_range(op.activation, high_range, low_range), bits)
        low_params = q.activation_params(*low_range, bits)

        def run(sample: int) -> np.ndarray:
            total = q.fake_quantize(run_high(sample), high_params) + q.fake_quantize(run_low(sample), low_params)
            return q.fused(total, op.activation).astype(np.float32)

        return run


def _unit_key(sweep: Sweep, job: Job, shard: str, context: str) -> str:
    ranges = sweep.calibration.ranges[job.tensor]
    halves = sweep.calibration.partial_sums.get(job.op.index) if job.op else None
    parts = (
        VERSION, sweep.graph.digest, [s.id for s in job.sources], ranges.minimum, ranges.maximum, halves,
        sweep.variances, shard, context,
    )  # fmt: skip
    return fb.digest(repr(parts).encode())

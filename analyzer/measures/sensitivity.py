"""The exact sweep: each place where quantization enters the network, quantized alone, and the error at the output.

For every op the values that the float network computes are taken once (per block of samples); a changed output of the
op is then pushed through only what lies behind it. Weights are changed by running the op alone with other weights.

The unit of work is (op, block of samples). Each is saved when done, so that a killed sweep goes on where it stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np

from ..network import flatbuffer as fb
from ..network import kernels, runtime
from ..network.rewrite import relevant_range
from ..network.subgraph import Cutter, Piece
from ..schema import ACTIVATION_VARIANTS, SCHEMES, Calibration, Graph, Measurement, Op, SensitivityTable, Source
from . import quantization as q
from .calibration import Progress, SampleSource
from .metrics import ErrorSums
from .per_sample import Metric

VERSION = "sweep-1"
"""Part of every unit's key: raise it when a change of this module changes a figure."""

_BLOCK_BYTES = 256 * 2**20
_LARGEST_BLOCK = 64


class LabelledSource(SampleSource, Protocol):
    """Samples in content order, with labels where there are some."""

    @property
    def labels(self) -> np.ndarray | None: ...


class Store(Protocol):
    """Finished units by key (`analyzer.runs.UnitStore`)."""

    def get(self, key: str) -> dict[str, Any] | None: ...
    def put(self, key: str, value: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class _Target:
    """Where one output's error is measured for a given change: the compared tensor if reached, else the output."""

    tensor: int
    is_logits: bool


@dataclass(frozen=True)
class _Job:
    """All sources that start at one tensor: an op's output, or an input."""

    tensor: int
    op: Op | None
    sources: tuple[Source, ...]


def sources_of(graph: Graph, calibration: Calibration) -> tuple[Source, ...]:
    """Every source of a network, in execution order: inputs first, then weights, output and edges of each op.

    Ops that have no integer scheme have no source; outputs of movement ops neither, for they keep their input's scale.
    """
    found: list[Source] = []
    for tensor in graph.inputs:
        if tensor in calibration.ranges:
            found += [Source("input", variant, tensor) for variant in ACTIVATION_VARIANTS]
    for op in graph.ops:
        schemes = [SCHEMES[name] for name in op.schemes if name != "float"]
        if not schemes:
            continue
        found += [Source("weights", v, op.outputs[0], op.index) for v in weight_variants(op)]
        if op.opcode in kernels.MOVEMENT:
            continue
        formats = {s.format for s in schemes}
        for tensor in graph.activations_out(op):
            found += [Source("activation", v, tensor, op.index) for v, f in ACTIVATION_VARIANTS.items() if f in formats]
    for tensor in sorted(calibration.ranges):
        readers = graph.consumers(tensor)
        if len(readers) > 1:
            producer = graph.producer(tensor)
            found += [Source("edge", "a8", tensor, producer, reader) for reader in readers]
    return tuple(found)


def weight_variants(op: Op) -> tuple[str, ...]:
    """The weight variants that an op's schemes need, each once, in order; constant operands have `c8` and `c16`."""
    schemes = [SCHEMES[name] for name in op.schemes if name != "float"]
    if op.weights is not None:
        return tuple(dict.fromkeys(s.weight_variant for s in schemes))
    return tuple(dict.fromkeys(f"c{s.format.bits}" for s in schemes)) if op.constants else ()


def measure_sensitivity(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    samples: LabelledSource,
    *,
    metric: Metric | None = None,
    metric_name: str = "",
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
      metric: See `per_sample.Metric`; it judges the compared tensors. `metric_name` keys its saved results.
      store: Finished units are taken from here and put here.
      workers: Threads.
      progress: Called with (units done, units in all).
    """
    sweep = _Sweep(data, graph, calibration, samples, metric)
    jobs = _jobs(sources_of(graph, calibration), graph)
    block = _block_size(graph)
    bounds = [(start, min(start + block, len(samples))) for start in range(0, len(samples), block)]
    parts: dict[str, list[dict[str, Any]]] = {}
    done, lock = 0, threading.Lock()
    for start, stop in bounds:
        shard = _shard_key(samples, start, stop)
        keys = {job: _unit_key(sweep, job, shard, metric_name) for job in jobs}
        found = {job: store.get(keys[job]) if store else None for job in jobs}
        missing = [job for job in jobs if found[job] is None]
        if missing:
            sweep.load(start, stop)

        def measure(job: _Job) -> dict[str, Any]:
            nonlocal done
            unit = found[job] or sweep.measure(job)  # noqa: B023 - the pool is drained before the next block
            with lock:
                done += 1
                if store and found[job] is None:  # noqa: B023
                    store.put(keys[job], unit)  # noqa: B023
                if progress:
                    progress(done, len(jobs) * len(bounds))
            return unit

        with ThreadPoolExecutor(workers) as pool:
            for unit in pool.map(measure, jobs):
                for source_id, part in unit.items():
                    parts.setdefault(source_id, []).append(part)
    measurements = tuple(
        sweep.finish(source, parts[source.id]) for job in jobs for source in job.sources
    )  # fmt: skip
    order = {source.id: i for i, source in enumerate(sources_of(graph, calibration))}
    return SensitivityTable(
        measurements=tuple(sorted(measurements, key=lambda m: order[m.source.id])),
        left_float=(),
        int8=None,
        output_variance=sweep.variances,
        samples=len(samples),
        data_digest=samples.digest,
        graph_digest=graph.digest,
    )


class _Sweep:
    """One float network with the activations of one block of samples."""

    def __init__(
        self, data: bytes, graph: Graph, calibration: Calibration, samples: LabelledSource, metric: Metric | None
    ) -> None:
        self.graph, self.calibration = graph, calibration
        self._samples, self._metric = samples, metric
        self._cutter = Cutter(data)
        self._model = fb.read(data)
        self._tensors = sorted({t for op in graph.ops for t in op.outputs} | set(graph.outputs) | set(graph.compared))
        self._runner: runtime.Runner | None = None
        self._values: dict[int, np.ndarray] = {}
        self._range = (0, 0)
        self.variances = tuple(_scale_of(calibration, t) for t in graph.compared)

    def load(self, start: int, stop: int) -> None:
        """Runs the float network on the samples `[start, stop)` and keeps every activation."""
        produced = [t for t in self._tensors if not self.graph.tensors[t].is_constant and t not in self.graph.inputs]
        if self._runner is None:
            self._runner = runtime.Runner(self._cutter.whole(produced).flatbuffer)
            size = _block_size(self.graph)
            for tensor, port in zip(produced, self._runner.outputs, strict=True):
                self._values[tensor] = np.empty((size, *port.shape), port.dtype)
        arrays = self._samples.block(start, stop)
        self._values.update(zip(self.graph.inputs, arrays, strict=True))
        for i in range(stop - start):
            for tensor, values in zip(produced, self._runner.run_reusing([a[i] for a in arrays]), strict=True):
                self._values[tensor][i] = values
        self._range = (start, stop)

    def measure(self, job: _Job) -> dict[str, Any]:
        """Error sums of every source of a job on the loaded block, by source id, ready for JSON."""
        start, stop = self._range
        whole = [s for s in job.sources if s.part != "edge"]
        result: dict[str, list[list[np.ndarray]]] = {s.id: [] for s in job.sources}
        local: dict[str, list[float]] = {s.id: [] for s in job.sources}
        perturb = _Perturbation(self, job)
        paths = {None: _Path(self, job.tensor, None)} if whole else {}
        paths |= {s.consumer: _Path(self, job.tensor, s.consumer) for s in job.sources if s.part == "edge"}
        for i in range(stop - start):
            original = self._values[job.tensor][i]
            for source, changed in perturb(i):
                result[source.id].append(paths[source.consumer].run(i, changed))
                difference = (changed.reshape(original.shape) - original).astype(np.float64)
                local[source.id].append(float(np.mean(difference * difference)))
        labels = self._samples.labels
        unit: dict[str, Any] = {}
        for source in job.sources:
            path = paths[source.consumer]
            sums = ErrorSums.of(
                [np.stack([self._values[t.tensor][i].ravel() for i in range(stop - start)]) for t in path.targets],
                [np.stack([row[k].ravel() for row in result[source.id]]) for k in range(len(path.targets))],
                variances=[_scale_of(self.calibration, t.tensor) for t in path.targets],
                is_classifier=self.graph.is_classifier,
                are_logits=path.targets[0].is_logits,
                labels=None if labels is None else labels[start:stop],
                user_metric=self._metric,
            )
            unit[source.id] = {"error": asdict(sums), "local": local[source.id]}
        return unit

    def finish(self, source: Source, parts: Sequence[Mapping[str, Any]]) -> Measurement:
        """Joins the blocks of one source."""
        sums = reduce(ErrorSums.merge, (_error_sums(part["error"]) for part in parts))
        local = np.array([value for part in parts for value in part["local"]])
        scale = _scale_of(self.calibration, source.tensor)
        return Measurement(source, sums.to_output_error(), float(local.mean()) / scale)

    def value(self, tensor: int, sample: int) -> np.ndarray:
        return self._values[tensor][sample]

    def single(
        self, op: Op, constants: Mapping[int, np.ndarray], *, plain: bool = False
    ) -> tuple[runtime.Runner, Piece]:
        piece = self._cutter.single(op.index, constants, without_activation=plain)
        return runtime.Runner(piece.flatbuffer), piece

    def suffix(self, tensor: int, outputs: Sequence[int], consumer: int | None) -> Piece:
        return self._cutter.suffix(tensor, outputs, consumer)

    def constant(self, tensor: int) -> np.ndarray:
        values = fb.constant(self._model, self._model.subgraphs[0].tensors[tensor])
        assert values is not None, "only constants are asked for"
        return values


class _Path:
    """What runs behind one changed tensor."""

    def __init__(self, sweep: _Sweep, tensor: int, consumer: int | None) -> None:
        graph = sweep.graph
        self._sweep, self._tensor = sweep, tensor
        wanted = list(dict.fromkeys((*graph.compared, *graph.outputs)))
        piece = sweep.suffix(tensor, wanted, consumer)
        itself = () if consumer is not None else (tensor,)
        reached = {*piece.outputs, *itself}
        self.targets = tuple(
            _Target(c, c != o) if c in reached or o not in reached else _Target(o, False)
            for c, o in zip(graph.compared, graph.outputs, strict=True)
        )
        piece = sweep.suffix(tensor, [t for t in piece.outputs if t in {x.tensor for x in self.targets}], consumer)
        self._piece = piece
        self._runner = runtime.Runner(piece.flatbuffer) if piece.outputs else None
        self._itself = itself

    def run(self, sample: int, changed: np.ndarray) -> list[np.ndarray]:
        """The targets' values where the tensor has been changed for one sample."""
        values = dict.fromkeys(self._itself, changed)
        if self._runner:
            others = [self._sweep.value(t, sample) for t in self._piece.inputs[1:]]
            values |= zip(self._piece.outputs, self._runner.run([changed, *others]), strict=True)
        return [values.get(t.tensor, self._sweep.value(t.tensor, sample)) for t in self.targets]


class _Perturbation:
    """The changed values of a job's tensor, source by source."""

    def __init__(self, sweep: _Sweep, job: _Job) -> None:
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
            return self._alone(op, constants)
        weights = sweep.constant(op.weights)
        if source.variant in ("w4", "w8"):
            bits = 4 if source.variant == "w4" else 8
            return self._alone(op, {op.weights: q.fake_quantize_weights(weights, op.channel_axis, bits)})
        return self._split(op, weights, 8 if source.variant == "w16a8" else 16)

    def _alone(
        self, op: Op, constants: Mapping[int, np.ndarray], *, plain: bool = False
    ) -> Callable[[int], np.ndarray]:
        runner, piece = self._sweep.single(op, constants, plain=plain)
        place = piece.outputs.index(self._job.tensor)
        return lambda sample: runner.run([self._sweep.value(t, sample) for t in piece.inputs])[place]

    def _split(self, op: Op, weights: np.ndarray, bits: int) -> Callable[[int], np.ndarray]:
        """hi + lo: both partial sums are rounded to the activation format, then added, then clamped."""
        assert op.weights is not None
        high = q.fake_quantize_weights(weights, op.channel_axis, 8)
        low = q.fake_quantize_weights(weights - high, op.channel_axis, 8)
        no_bias = {} if op.bias is None else {op.bias: np.zeros_like(self._sweep.constant(op.bias))}
        run_high = self._alone(op, {op.weights: high}, plain=True)
        run_low = self._alone(op, {op.weights: low, **no_bias}, plain=True)
        high_range, low_range = self._sweep.calibration.partial_sums[op.index]
        high_params = q.activation_params(*relevant_range(op.activation, high_range, low_range), bits)
        low_params = q.activation_params(*low_range, bits)

        def run(sample: int) -> np.ndarray:
            total = q.fake_quantize(run_high(sample), high_params) + q.fake_quantize(run_low(sample), low_params)
            return q.fused(total, op.activation).astype(np.float32)

        return run


def _jobs(sources: Sequence[Source], graph: Graph) -> list[_Job]:
    by_tensor: dict[int, list[Source]] = {}
    for source in sources:
        by_tensor.setdefault(source.tensor, []).append(source)
    producers = {t: op for op in graph.ops for t in op.outputs}
    return [_Job(tensor, producers.get(tensor), tuple(found)) for tensor, found in by_tensor.items()]


def _block_size(graph: Graph) -> int:
    """Samples whose every activation fits into the block's memory; the same on every machine."""
    per_sample = sum(4 * graph.tensors[t].elements for op in graph.ops for t in op.outputs)
    return max(1, min(_LARGEST_BLOCK, _BLOCK_BYTES // max(per_sample, 1)))


def _error_sums(data: Mapping[str, Any]) -> ErrorSums:
    return ErrorSums(**{name: None if values is None else tuple(values) for name, values in data.items()})


def _scale_of(calibration: Calibration, tensor: int) -> float:
    """Variance that a tensor's error is divided by; its mean square where it does not vary, 1 where it is 0."""
    seen = calibration.ranges.get(tensor)
    if seen is None:
        return 1.0
    return seen.variance or seen.mean**2 or 1.0


def _shard_key(samples: LabelledSource, start: int, stop: int) -> str:
    parts = [fb.digest(np.ascontiguousarray(array).tobytes()) for array in samples.block(start, stop)]
    labels = samples.labels
    if labels is not None:
        parts.append(fb.digest(np.ascontiguousarray(labels[start:stop], np.int64).tobytes()))
    return fb.digest("".join(parts).encode())


def _unit_key(sweep: _Sweep, job: _Job, shard: str, metric_name: str) -> str:
    ranges = sweep.calibration.ranges[job.tensor]
    halves = sweep.calibration.partial_sums.get(job.op.index) if job.op else None
    parts = (
        VERSION, sweep.graph.digest, [s.id for s in job.sources], ranges.minimum, ranges.maximum, halves,
        sweep.variances, shard, metric_name,
    )  # fmt: skip
    return fb.digest(repr(parts).encode())

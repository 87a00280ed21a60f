"""The linear sweep: every source under every scheme, estimated from one forward and one backward pass over the samples.

The estimate is of first order: right for small errors, too large where clipping saturates.
"""

from __future__ import annotations

import base64
import ctypes
import gc
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..network.differentiable import cut_gradients
from ..schema import Calibration, Graph, Measurement, Source
from ..silence import import_tensorflow
from ..units import Store, content_key, versions_of
from .calibration import Progress
from .metrics import ErrorSums
from .per_sample import per_sample_power
from .sweep import LabelledSource, variance_of

VERSION = "linear-3"
"""Part of the key of what was found: raise it when a change here or in `linear_terms` changes a figure."""

PACKAGES = ("bitplan", "tensorflow", "numpy")
"""What an estimate is computed with, beside the code of these modules."""

_PLACES = 10
"""How many of the worst 8-bit sources must have found their places before samples are left out."""
_FEWEST = 256
_SURE = 3.0  # standard errors between neighbours of the ranking
_BATCH_BYTES = 128 * 2**20
_LARGEST_BATCH = 32


def measure_linear(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    samples: LabelledSource,
    sources: Sequence[Source],
    *,
    vectors: int = 1,
    store: Store | None = None,
    progress: Progress | None = None,
) -> dict[str, Measurement]:
    """Estimates the error of each source; there is no interpreter in it, and no KL divergence or agreement.

    Samples are taken in their order, all of them unless the places of the worst ten sources are sure before.

    Args:
      data: The float flatbuffer, all of whose ops are differentiable (`uncovered` names none).
      graph: Of `data`.
      calibration: Ranges that the quantized tensors take.
      samples: In content order.
      sources: None of `beyond_linear`.
      vectors: Random vectors a sample; more of them make up for few samples.
      store: Finished batches are taken from here and put here.
      progress: Called with (batches done, batches in all).

    Returns:
      Measurements by `Source.id`, their method `linear`.
    """
    found = LinearSweep(data, graph, calibration, samples, sources, vectors, store).measurements(progress)
    _give_memory_back()
    return found


class LinearSweep:
    """Estimates batch by batch; arguments are those of `measure_linear`."""

    def __init__(
        self,
        data: bytes,
        graph: Graph,
        calibration: Calibration,
        samples: LabelledSource,
        sources: Sequence[Source],
        vectors: int,
        store: Store | None = None,
    ) -> None:
        self._data, self._graph, self._calibration = data, graph, calibration
        self._samples, self._sources, self._vectors = samples, tuple(sources), vectors
        self._store = store
        self._variances = [variance_of(calibration, t) for t in graph.compared]

    def measurements(self, progress: Progress | None = None) -> dict[str, Measurement]:
        """What `measure_linear` returns."""
        errors, powers, batches = self._until_settled(progress)
        # One vector after the other: two backward passes at a time take more memory and no less time.
        for vector in range(1, self._vectors):
            found = []
            for done, (start, stop) in enumerate(batches, start=1):
                found.append(self.measure(start, stop, vector)[0])
                if progress:
                    progress(vector * len(batches) + done, self._vectors * len(batches))
            errors += np.concatenate(found, axis=1)
        signal = tuple(powers.tolist())
        sums = (ErrorSums(tuple(row.tolist()), signal) for row in errors / self._vectors)
        return {
            source.id: Measurement(source, total.to_output_error(), None, "linear")
            for source, total in zip(self._sources, sums, strict=True)
        }

    def _until_settled(self, progress: Progress | None) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
        """What `measure` says of all batches that are needed, joined, with the first vector; and which those are."""
        ranked = [source.is_ranked for source in self._sources]
        batches = list(self.batches())
        errors, powers = np.empty((len(self._sources), 0)), np.empty(0)
        for done, (start, stop) in enumerate(batches, start=1):
            found, signal = self.measure(start, stop)
            errors, powers = np.concatenate([errors, found], axis=1), np.concatenate([powers, signal])
            if stop >= _FEWEST and is_settled(errors[ranked]):
                batches = batches[:done]
            if progress:
                progress(done, self._vectors * len(batches))
            if done == len(batches):
                break
        return errors, powers, batches

    def batches(self) -> Iterator[tuple[int, int]]:
        """Bounds of batches whose activations and gradients fit into memory; the same on every machine."""
        graph, count = self._graph, len(self._samples)
        per_sample = sum(4 * graph.tensors[t].elements for op in graph.ops for t in op.outputs)
        size = max(1, min(_LARGEST_BATCH, _BATCH_BYTES // max(per_sample, 1)))
        for start in range(0, count, size):
            yield start, min(start + size, count)

    def measure(self, start: int, stop: int, vector: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Estimates for the samples `[start, stop)` with one of the random vectors.

        Returns:
          Means over the outputs of MSE / variance, float64 [sources, samples]; and of the float outputs' mean square /
          variance, float64 [samples].
        """
        key = "" if self._store is None else self._key(start, stop, vector)
        kept = None if self._store is None else self._store.get(key)
        if kept is not None:
            rows, powers = (np.frombuffer(base64.b64decode(kept[name]), "<f4" if name == "errors" else "<f8")
                            for name in ("errors", "powers"))  # fmt: skip
            return rows.reshape(len(self._sources), stop - start).astype(np.float64), powers
        errors, outputs = self._run(start, stop, vector)
        each = [per_sample_power(y, v) for y, v in zip(outputs, self._variances, strict=True)]
        powers = np.asarray(np.mean(each, axis=0), np.float64)
        if self._store is not None:
            self._store.put(key, {"errors": _packed(errors, "<f4"), "powers": _packed(powers, "<f8")})
        return errors.astype(np.float64), powers

    def _run(self, start: int, stop: int, vector: int) -> tuple[np.ndarray, list[np.ndarray]]:
        tf = import_tensorflow()
        tensors, count = self._graph.tensors, stop - start
        hashes = self._samples.hashes[start:stop]
        signs = [
            tf.constant(random_signs(hashes, tensors[t].shape, k, vector)) for k, t in enumerate(self._graph.compared)
        ]
        blocks = zip(self._graph.inputs, self._samples.block(start, stop), strict=True)
        inputs = [tf.constant(values.reshape(count, *tensors[t].shape)) for t, values in blocks]
        errors, outputs = self._program(inputs, signs)
        return errors.numpy(), [y.numpy() for y in outputs]

    @cached_property
    def _program(self) -> Any:
        from .linear_terms import LinearTerms

        tf = import_tensorflow()
        elements = [self._graph.tensors[t].elements for t in self._graph.compared]
        outputs = len(elements)
        scales = [1 / math.sqrt(outputs * n * v) for n, v in zip(elements, self._variances, strict=True)]
        terms = LinearTerms(self._data, self._graph, self._calibration, self._sources, scales)
        shapes = {t: self._graph.tensors[t] for t in (*self._graph.inputs, *self._graph.compared)}
        inputs = [tf.TensorSpec([None, *shapes[t].shape], shapes[t].dtype) for t in self._graph.inputs]
        signs = [tf.TensorSpec([None, *shapes[t].shape], "float32") for t in self._graph.compared]
        return tf.function(terms, autograph=False, input_signature=[inputs, signs])

    def _key(self, start: int, stop: int, vector: int) -> str:
        ranges = [(t, r.minimum, r.maximum) for t, r in sorted(self._calibration.ranges.items())]
        sums = [
            [op, *map(list, halves)]
            for per_channel in sorted({s.per_channel for s in self._sources}, reverse=True)
            for op, halves in sorted(self._calibration.sums(per_channel).items())
        ]
        return content_key(
            VERSION, versions_of(*PACKAGES), self._graph.digest, list(self._graph.compared), self._variances,
            [s.id for s in self._sources], ranges, sums, vector, list(self._samples.hashes[start:stop]),
        )  # fmt: skip


def beyond_linear(data: bytes, graph: Graph, sources: Sequence[Source]) -> frozenset[str]:
    """Ids of the sources that a gradient cannot see whole, and that must be measured exactly.

    Those behind the compared tensor are judged at the output itself; those before an op without a gradient would have
    the error on that way left out.
    """
    cut = cut_gradients(data, graph.compared)
    behind: set[int] = set()
    for compared, output in zip(graph.compared, graph.outputs, strict=True):
        if compared != output:
            behind |= _readers_outputs(graph, compared)
    return frozenset(s.id for s in sources if s.tensor in cut or s.tensor in behind)


def is_settled(rows: np.ndarray) -> bool:
    """Whether the places of the worst sources are sure: each worse than the next by three standard errors, paired.

    Args:
      rows: float64 [sources, samples].
    """
    order = np.argsort(-rows.mean(axis=1), kind="stable")[: _PLACES + 1]
    gaps = rows[order[:-1]] - rows[order[1:]]
    errors = gaps.std(axis=1, ddof=1) / math.sqrt(rows.shape[1])
    return bool(np.all(gaps.mean(axis=1) > _SURE * errors))


def random_signs(hashes: Sequence[bytes], shape: Sequence[int], output: int, vector: int) -> np.ndarray:
    """Independent 1 and -1, drawn from each sample's content, whatever batch it comes in.

    Args:
      hashes: SHA-256 of each sample.
      shape: Of one sample's output.
      output: Which output.
      vector: Which of several independent ones.

    Returns:
      float32 [samples, *shape].
    """
    signs = np.empty((len(hashes), math.prod(shape)), np.float32)
    # The generator counts in the low 64 bits, so streams that start further up never meet.
    place = (output << 64) + (vector << 128)
    for row, digest in zip(signs, hashes, strict=True):
        bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"), counter=place)
        row[:] = np.random.Generator(bits).integers(0, 2, row.size) * 2 - 1
    return signs.reshape(len(hashes), *shape)


def _give_memory_back() -> None:
    """Hands TensorFlow's freed buffers to the system: glibc keeps 150 MB of them, and what follows needs its own."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _packed(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def _readers_outputs(graph: Graph, tensor: int) -> set[int]:
    """Every activation behind a tensor."""
    reached = {tensor}
    for op in graph.ops:
        if reached.intersection(op.inputs):
            reached.update(op.outputs)
    return reached - {tensor}

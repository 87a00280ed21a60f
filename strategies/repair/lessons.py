"""What a network is taught from: samples as it takes them, each with what the float network answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from ...analyzer.measures.calibration import SampleSource
from ...analyzer.network.differentiable import DifferentiableGraph
from ...analyzer.schema import Graph
from ...analyzer.silence import import_tensorflow
from .augmentation import NO_AUGMENTATION, Augmentation

Tensor = Any
_KEPT_BYTES = 800 * 2**20
"""Prepared samples are kept in memory up to this size; else they are prepared anew for each batch."""
_BLOCK_BYTES = 16 * 2**20


class TrainingSamples(SampleSource, Protocol):
    """What training needs of a data set (`analyzer.inputs.dataset.Samples`)."""

    @property
    def labels(self) -> np.ndarray | None: ...
    def subset(self, indices: np.ndarray) -> Self: ...


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Attributes:
      inputs: One tensor [N, *shape] for each input of the network.
      targets: The float network's answers, [N, *shape] for each compared output.
      labels: int64 [N]; None without.
    """

    inputs: list[Tensor]
    targets: list[Tensor]
    labels: Tensor | None


class Lessons:
    """Samples in memory or prepared on demand, and the float network's answers to them.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      samples: In content order, so that what is learned does not depend on the order they were brought in.
      augmentation: How `batches` changes them where they are colour images; None leaves them as they are.
    """

    def __init__(
        self, flatbuffer: bytes, graph: Graph, samples: TrainingSamples, augmentation: Augmentation | None = None
    ) -> None:
        tf = import_tensorflow()
        self._graph, self._samples = graph, samples
        tensors = [graph.tensors[t] for t in graph.inputs]
        self._sample_bytes = sum(4 * math.prod(tensor.shape) for tensor in tensors)
        self._kept: list[np.ndarray] | None = None
        if self._sample_bytes * len(samples) <= _KEPT_BYTES:
            self._kept = self._reshaped(samples.block(0, len(samples)))
        fitting = (augmentation or NO_AUGMENTATION).fitting([t.shape for t in tensors], [t.dtype for t in tensors])
        self._augmentation = fitting if fitting.changes_anything else None
        network, compared = DifferentiableGraph(flatbuffer), graph.compared
        specs = [tf.TensorSpec([None, *tensor.shape], tensor.dtype) for tensor in tensors]
        self._teacher = tf.function(
            lambda inputs: [network(inputs)[t] for t in compared], autograph=False, input_signature=[specs]
        )

    def __len__(self) -> int:
        return len(self._samples)

    @cached_property
    def targets(self) -> list[np.ndarray]:
        """The float network's answers to all samples as they are, [samples, *shape] for each compared output."""
        rows = [[v.numpy() for v in self._teacher(_constants(self._inputs(block)))] for block in self._blocks()]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """All samples once in an order drawn from `seed` and `epoch`; what does not fill a batch is left out."""
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(len(self))
        size = min(size, len(self))
        for start in range(0, len(self) - size + 1, size):
            indices = order[start : start + size]
            yield self.batch(indices) if self._augmentation is None else self._changed(indices, generator)

    def batch(self, indices: np.ndarray) -> Batch:
        """Some samples as they are."""
        targets = [values[indices] for values in self.targets]
        return Batch(_constants(self._inputs(indices)), _constants(targets), self._labels(indices))

    def mean(self, errors: Callable[[Batch], Tensor]) -> float:
        """Mean over all samples, as they are, of what `errors` says of each of a batch's; an exact sum."""
        found = [errors(self.batch(block)).numpy() for block in self._blocks()]
        return math.fsum(np.concatenate(found).tolist()) / len(self)

    def _changed(self, indices: np.ndarray, generator: np.random.Generator) -> Batch:
        assert self._augmentation is not None
        (images,) = self._inputs(indices)
        inputs = _constants([self._augmentation.apply(images, generator)])
        return Batch(inputs, list(self._teacher(inputs)), self._labels(indices))

    def _labels(self, indices: np.ndarray) -> Tensor | None:
        labels = self._samples.labels
        return None if labels is None else import_tensorflow().constant(labels[indices])

    def _blocks(self) -> list[np.ndarray]:
        size = max(1, min(64, _BLOCK_BYTES // self._sample_bytes))
        return [np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def _inputs(self, indices: np.ndarray) -> list[np.ndarray]:
        if self._kept is not None:
            return [values[indices] for values in self._kept]
        return self._reshaped(self._samples.subset(indices).block(0, len(indices)))

    def _reshaped(self, block: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = self._graph.tensors
        return [v.reshape(len(v), *tensors[t].shape) for t, v in zip(self._graph.inputs, block, strict=True)]


def _constants(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    tf = import_tensorflow()
    return [tf.constant(values) for values in arrays]

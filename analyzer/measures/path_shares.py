"""Every single change's share of the output error, from a few runs with gradients.

All of a file's numbers are put into the float network together, in growing doses from 0 to 1. A change's share is the
integral of how much more error a little more of it would make along that way (Aumann and Shapley 1974; Sundararajan et
al., Axiomatic Attribution for Deep Networks, 2017). Where the error is quadratic in the changes, as it is while they
are small, that is the Shapley value among all changes; in any case the shares sum to the error, but for the quadrature
and for the steps of rounding, whose gradient is taken to be straight through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .calibration import Progress
from .grids import Grid
from .per_sample import output_variance
from .substitution import Doses, Ingredients, Substituted
from .sweep import LabelledSource

Tensor = Any

_NODES = 3
"""Of the Gauss-Legendre quadrature, exact for polynomials up to degree 5. A quadratic error has a linear slope."""

_BATCHES = 8
"""At least so many, where there are samples enough: the standard error is that between batches."""


@dataclass(frozen=True, order=True)
class Change:
    """One change of the float network.

    Attributes:
      kind: `weights`, `bias` (of the float op `place`), `constants`, `rounding` or `clipping` (of the float tensor).
      place: See there.
    """

    kind: str
    place: int


@dataclass(frozen=True)
class PathShare:
    """One change's share, nmse at the output, with the standard error of its mean (infinite of a single batch)."""

    nmse: float
    standard_error: float


def path_shares(
    network: Substituted, samples: LabelledSource, ingredients: Ingredients, *, progress: Progress | None = None
) -> dict[Change, PathShare]:
    """The share of every change that a file makes.

    Args:
      network: The float network.
      samples: What to run on.
      ingredients: The changes.
      progress: Called with (batches done, batches in all).
    """
    size = max(1, min(network.batch_size, math.ceil(len(samples) / _BATCHES)))
    count = math.ceil(len(samples) / size)
    reference = [network.run(inputs, Ingredients()) for inputs in network.batches(samples, size)]
    variances = [output_variance(np.concatenate([y.numpy() for y in parts])) for parts in zip(*reference, strict=True)]
    slopes = _Slopes(network, ingredients, variances)
    rows: list[np.ndarray] = []
    for done, (inputs, outputs) in enumerate(zip(network.batches(samples, size), reference, strict=True), start=1):
        rows.append(slopes.integral(inputs, outputs))
        if progress:
            progress(done, count)
    weights = [len(outputs[0]) for outputs in reference]
    return {
        change: _mean([float(row[k]) for row in rows], weights)
        for k, change in enumerate(slopes.changes)
    }  # fmt: skip


class _Slopes:
    """How much more error a little more of each change would make.

    Args:
      network: The float network.
      ingredients: All changes.
      variances: Of the whole float outputs.

    Attributes:
      changes: In the order of the figures; known after the first call.
    """

    def __init__(self, network: Substituted, ingredients: Ingredients, variances: Sequence[float]) -> None:
        import tensorflow as tf

        self.changes: tuple[Change, ...] = ()
        self._network, self._ingredients, self._variances = network, ingredients, variances
        self._program = tf.function(self._slopes, autograph=False, reduce_retracing=True)

    def integral(self, inputs: Sequence[Tensor], reference: Sequence[Tensor]) -> np.ndarray:
        """Over doses from 0 to 1: the shares of all changes on one batch, float64 [changes]."""
        import tensorflow as tf

        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        found = [
            weight * self._program(inputs, reference, tf.constant(node, tf.float32)).numpy().astype(np.float64)
            for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True)
        ]  # fmt: skip
        return np.asarray(np.sum(found, axis=0))

    def _slopes(self, inputs: Sequence[Tensor], reference: Sequence[Tensor], part: Tensor) -> Tensor:
        """Derivatives of the batch's nmse by every change's dose, [changes]."""
        import tensorflow as tf

        doses = _PartDoses(part)
        with tf.GradientTape() as tape:
            doses.watch(tape)
            outputs = self._network.run(inputs, self._ingredients, doses=doses)
            errors = [
                tf.reduce_mean(tf.square(y - x)) / variance
                for x, y, variance in zip(reference, outputs, self._variances, strict=True)
            ]  # fmt: skip
            error = tf.add_n(errors) / len(errors)
        self.changes = tuple(sorted(doses.used))
        found = tape.gradient(
            error, [doses.used[c] for c in self.changes], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return tf.stack(found) if found else tf.zeros([0])


@dataclass
class _PartDoses(Doses):
    """The same part of every change.

    Attributes:
      part: 0 to 1, a tensor.
      used: The tensor, of that value, that each change was multiplied with: what the error is differentiated by.
    """

    part: Tensor
    used: dict[Change, Tensor] = field(default_factory=dict)
    _tape: Any = None

    def watch(self, tape: Any) -> None:
        """Lets a gradient tape see every dose from now on."""
        self._tape = tape

    def on_grid(self, tensor: int, values: Tensor, grid: Grid | None) -> Tensor:
        import tensorflow as tf

        if grid is None or not (grid.clips or grid.rounds):
            return values
        result = values
        inside: Tensor = 1.0
        if grid.clips:
            dose = self._dose(Change("clipping", tensor))
            clipped = tf.clip_by_value(values, grid.minimum, grid.maximum)
            result = result + dose * (clipped - values)
            inside = 1.0 - dose * tf.cast(clipped != values, tf.float32)
        if grid.rounds:
            steps = tf.round(values / grid.scale) * grid.scale
            rounded = tf.stop_gradient(steps - values)
            result = result + self._dose(Change("rounding", tensor)) * inside * rounded
        return result

    def constant(self, kind: str, place: int, given: Tensor, original: Tensor) -> Tensor:
        return original + self._dose(Change(kind, place)) * (given - original)

    def _dose(self, change: Change) -> Tensor:
        import tensorflow as tf

        if change not in self.used:
            self.used[change] = tf.identity(self.part)
            self._tape.watch(self.used[change])
        return self.used[change]


def _mean(values: Sequence[float], weights: Sequence[int]) -> PathShare:
    total = sum(weights)
    mean = math.fsum(v * w for v, w in zip(values, weights, strict=True)) / total
    if len(values) < 2:
        return PathShare(mean, math.inf)
    spread = math.fsum(w * (v - mean) ** 2 for v, w in zip(values, weights, strict=True)) / total
    return PathShare(mean, math.sqrt(spread / (len(values) - 1)))

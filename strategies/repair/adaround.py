"""Which way to round each weight of one layer, learned by gradient descent. Needs TensorFlow.

AdaRound (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization"): a weight is
`scale * (lower + h(v))` with the rectified sigmoid `h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1)` (equation 23); what is
lowered is the squared error of the layer's output behind its activation plus the regulariser `1 - |2h - 1|^beta`
(equation 24), whose beta falls, so that every h ends at 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from .schedule import Schedule
from .weight_grid import WeightGrid

Tensor = Any
_ZETA, _GAMMA = 1.1, -0.1
_MOMENTUM, _SQUARE_MOMENTUM, _EPSILON = 0.9, 0.999, 1e-8  # Adam's usual ones (Kingma and Ba 2015)
_FIRST_BETA, _LAST_BETA = 20.0, 2.0  # as in the paper's experiments
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class Reconstruction:
    """One layer as products of matrices, and what it is to answer.

    Attributes:
      rows: What output positions read in the quantized network, float32 [groups, rows, columns], in random order.
      targets: What the float layer answers there, behind its activation, [groups, rows, outputs].
      bias: [groups, 1, outputs].
      clamp: What the activation clamps to; infinite where it does not.
    """

    rows: np.ndarray
    targets: np.ndarray
    bias: np.ndarray
    clamp: tuple[float, float]

    def errors(self, weights: np.ndarray) -> np.ndarray:
        """Mean squared error of each output channel, float64 [groups, outputs].

        Args:
          weights: float32 [groups, columns, outputs].
        """
        total = np.zeros((self.targets.shape[0], self.targets.shape[2]))
        for start in range(0, self.rows.shape[1], _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            answer = tf.clip_by_value(tf.matmul(self.rows[:, part], weights) + self.bias, *self.clamp)
            total += np.square(answer.numpy() - self.targets[:, part], dtype=np.float64).sum(axis=1)
        return np.asarray(total / self.targets.shape[1])

    def noise(self, change: np.ndarray) -> float:
        """Mean square of what a change of the weights adds to the output before the activation."""
        return float(tf.reduce_mean(tf.square(tf.matmul(self.rows[:, :_ROWS_AT_ONCE], change))))

    def moments(self) -> np.ndarray:
        """Mean products of the columns, float32 [groups, columns, columns]."""
        return np.asarray(tf.matmul(self.rows, self.rows, transpose_a=True)) / np.float32(self.rows.shape[1])


class Learner:
    """Learns layers of all shapes by one program, traced once.

    Args:
      schedule: How.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        cube, number, count = tf.TensorSpec([None] * 3), tf.TensorSpec([]), tf.TensorSpec([], tf.int32)
        self._program = tf.function(
            self._descend, autograph=False, input_signature=[[cube] * 7, [number] * 3, [count] * 2]
        )

    def learn(self, layer: Reconstruction, grid: WeightGrid, iterations: int) -> np.ndarray:
        """Whether each weight is best rounded up, bool [groups, columns, outputs].

        Args:
          layer: What the layer reads and is to answer.
          grid: Of its weights; what is said of those that are not free is of no consequence.
          iterations: How many steps to take.
        """
        start = np.log((grid.share - _GAMMA) / (_ZETA - grid.share))
        unit = max(layer.noise(grid.values(grid.nearest) - grid.weights), float(np.finfo(np.float32).tiny))
        batch = min(self._schedule.batch, layer.rows.shape[1])
        arrays = [layer.rows, layer.targets, layer.bias, grid.lower, grid.free, grid.scales, start]
        found = self._program(
            [tf.constant(array, tf.float32) for array in arrays],
            [tf.constant(value, tf.float32) for value in (*layer.clamp, unit)],
            [tf.constant(value, tf.int32) for value in (iterations, batch)],
        )
        return np.asarray(found >= 0)  # h(0) is a half

    def _descend(self, arrays: list[Tensor], numbers: list[Tensor], counts: list[Tensor]) -> Tensor:
        """All steps; answers the v of each weight."""
        start, iterations = arrays[-1], counts[0]
        return tf.while_loop(
            lambda index, *_: index < iterations,
            lambda index, *state: (index + 1, *self._step(arrays, numbers, counts, index, *state)),
            (tf.constant(0), start, tf.zeros_like(start), tf.zeros_like(start)),
        )[1]

    def _step(
        self,
        arrays: list[Tensor],
        numbers: list[Tensor],
        counts: list[Tensor],
        index: Tensor,
        values: Tensor,
        mean: Tensor,
        square: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step of Adam: v and both moments, before and after."""
        rows, targets, bias, lower, free, scales, _ = arrays
        low, high, unit = numbers
        iterations, batch = counts
        first = index % (tf.shape(rows)[1] // batch) * batch
        done = tf.cast(index, tf.float32)
        pressure, beta = self._regulariser(done, tf.cast(iterations, tf.float32))
        with tf.GradientTape() as tape:
            tape.watch(values)
            up = tf.clip_by_value(tf.sigmoid(values) * (_ZETA - _GAMMA) + _GAMMA, 0, 1)
            sums = tf.matmul(rows[:, first : first + batch], (lower + up) * scales) + bias
            off = tf.clip_by_value(sums, low, high) - targets[:, first : first + batch]
            undecided = tf.reduce_mean(free * (1 - tf.pow(tf.abs(2 * up - 1), beta)))
            loss = tf.reduce_mean(tf.square(off)) / unit + pressure * undecided
        slope = tape.gradient(loss, values) * free
        mean = _MOMENTUM * mean + (1 - _MOMENTUM) * slope
        square = _SQUARE_MOMENTUM * square + (1 - _SQUARE_MOMENTUM) * tf.square(slope)
        unbiased = tf.sqrt(1 - tf.pow(_SQUARE_MOMENTUM, done + 1)) / (1 - tf.pow(_MOMENTUM, done + 1))
        return values - self._schedule.rate * unbiased * mean / (tf.sqrt(square) + _EPSILON), mean, square

    def _regulariser(self, done: Tensor, iterations: Tensor) -> tuple[Tensor, Tensor]:
        """Its weight and its beta, which falls as a cosine does once the warm-up is over."""
        warm = iterations * self._schedule.warm_up
        progress = tf.maximum(done - warm, 0) / tf.maximum(iterations - warm, 1)
        beta = _LAST_BETA + 0.5 * (_FIRST_BETA - _LAST_BETA) * (1 + tf.cos(np.pi * progress))
        return tf.where(done < warm, 0.0, self._schedule.pressure), beta

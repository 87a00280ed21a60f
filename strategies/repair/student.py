"""The network that learns: a simulation of the planned file with trainable constants. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ...analyzer.conversion.simulation import Parameters, Simulation
from ...analyzer.measures.quantization import best_weight_scales, weight_scales
from ...analyzer.schema import Calibration, Graph
from .lessons import Batch

Tensor = Any
_MOMENTUM, _SQUARE_MOMENTUM, _EPSILON = 0.9, 0.999, 1e-7  # Adam's usual ones (Kingma and Ba 2015)
_SHARES = tuple(np.linspace(0.4, 1.0, 61).tolist())
_SCALE_RATE = 0.2
"""By how much slower than weights, in steps of their grid, the logarithm of that step is learned."""
_SMALLEST_UNIT = 1e-7


@dataclass(frozen=True)
class Loss:
    """What the student is to lower.

    Attributes:
      kind: `kl` (divergence from the float network's class distribution, nats) or `nmse` (squared error over the float
        output's variance).
      variances: Of the float network's compared outputs.
      label_weight: Share of the cross-entropy with the labels.
    """

    kind: str
    variances: tuple[float, ...]
    label_weight: float = 0.0

    def per_sample(self, targets: Sequence[Tensor], outputs: Sequence[Tensor], labels: Tensor) -> Tensor:
        """The loss of each sample, [N].

        Args:
          targets: What the float network answers, [N, *shape] each.
          outputs: What the student answers.
          labels: int64 [N]; of no consequence where they have no weight.
        """
        errors = [
            _divergence(_rows(target), _rows(y)) if self.kind == "kl"
            else tf.reduce_mean(tf.square(_rows(y) - _rows(target)), axis=1) / variance
            for target, y, variance in zip(targets, outputs, self.variances, strict=True)
        ]  # fmt: skip
        error = tf.add_n(errors) / len(errors)
        if not self.label_weight:
            return error
        wrong = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, _rows(outputs[0]))
        return (1 - self.label_weight) * error + self.label_weight * wrong


class Student:
    """Trainable parameters of a simulation, and Adam's memory of them.

    Weights are learned in units of what their bits round them to, channel by channel, and biases in units of the
    output's int8 step: so one rate fits layers of all sizes and precisions.

    Args:
      simulation: Of the planned file.
      graph: Of the float network.
      calibration: Its ranges.
      loss: What to lower.
      learn_scales: Whether the steps of 4-bit weights are learned too, from those with the least squared error on; else
        a channel's largest weight gives its step.
    """

    def __init__(
        self, simulation: Simulation, graph: Graph, calibration: Calibration, loss: Loss, *, learn_scales: bool
    ) -> None:
        self._simulation, self._graph, self._loss = simulation, graph, loss
        start = simulation.parameters()
        layers = {t: readers[0] for t, readers in simulation.readers.items()}
        self._units: dict[int, np.ndarray] = {
            t: np.maximum(weight_scales(values, layers[t].axis, min(layers[t].bits, 8)), _SMALLEST_UNIT)
            for t, values in start.weights.items()
        }
        self._units |= _bias_units(graph, calibration, start.biases)
        self._first_scales = {
            t: best_weight_scales(values, layers[t].axis, 4, _SHARES)
            for t, values in start.weights.items()
            if layers[t].bits == 4 and learn_scales
        }
        self._weights = {t: tf.Variable(v / self._units[t], dtype=tf.float32) for t, v in start.weights.items()}
        self._biases = {t: tf.Variable(v / self._units[t], dtype=tf.float32) for t, v in start.biases.items()}
        self._scales = {t: tf.Variable(tf.zeros_like(v)) for t, v in self._first_scales.items()}
        self._learned = [*self._weights.values(), *self._biases.values(), *self._scales.values()]
        self._rates = [1.0] * (len(self._weights) + len(self._biases)) + [_SCALE_RATE] * len(self._scales)
        self._moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in self._learned]
        self._count = tf.Variable(0, dtype=tf.int64)
        batch = [_specs(graph, graph.inputs), _specs(graph, graph.compared), tf.TensorSpec([None], tf.int64)]
        self._step = tf.function(self._adam, autograph=False, input_signature=[*batch, tf.TensorSpec([], tf.float32)])
        self._errors = tf.function(self._loss_now, autograph=False, input_signature=batch)
        self._first_errors = tf.function(self._loss_at_first, autograph=False, input_signature=batch)

    def step(self, batch: Batch, rate: float) -> Tensor:
        """One step of Adam.

        Args:
          batch: What to learn from.
          rate: The share of a grid's step by which a weight moves.

        Returns:
          The mean loss before the step; reading its value waits for the step to end.
        """
        return self._step(*_arguments(batch), tf.constant(rate, tf.float32))

    def errors(self, batch: Batch) -> Tensor:
        """The loss of each sample as the network is now, [N]."""
        return self._errors(*_arguments(batch))

    def first_errors(self, batch: Batch) -> Tensor:
        """The loss of each sample with the planned file as it is without any training, [N]."""
        return self._first_errors(*_arguments(batch))

    def state(self) -> list[np.ndarray]:
        """Everything that a step changes, to go on from."""
        return [variable.numpy() for variable in self._state()]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Goes back to a state."""
        for variable, values in zip(self._state(), state, strict=True):
            variable.assign(values)

    def parameters(self) -> Parameters:
        """The present values."""
        return Parameters(
            weights={t: v * self._units[t] for t, v in self._weights.items()},
            biases={t: v * self._units[t] for t, v in self._biases.items()},
            scales={t: tf.exp(v) * self._first_scales[t] for t, v in self._scales.items()},
        )

    def constants(self) -> dict[int, np.ndarray]:
        """Weights and biases by tensor index of the float network, which convert to the integers that were learned.

        Weights in 4 and 8 bits are those that the integers stand for: one of each channel lies at the grid's end, so
        the converter finds the same grid, even where the weights it was learned with reach further.
        """
        now = self.parameters()
        placed = self._simulation.constants(now)
        found = {t: values.numpy() for t, values in now.biases.items()}
        for first, readers in self._simulation.readers.items():
            on_grid = readers[0].bits < 16
            values = placed[readers[0].placed_weights[0]] if on_grid else now.weights[first]
            found.update({reader.weights: values.numpy() for reader in readers})
        return found

    def _adam(self, inputs: list[Tensor], targets: list[Tensor], labels: Tensor, rate: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self._loss_now(inputs, targets, labels))
        gradients = tape.gradient(loss, self._learned, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        count = tf.cast(self._count.assign_add(1), tf.float32)
        powers = tf.pow(_MOMENTUM, count), tf.pow(_SQUARE_MOMENTUM, count)
        for variable, gradient, (mean, square), share in zip(
            self._learned, gradients, self._moments, self._rates, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=mean.handle, v=square.handle, beta1_power=powers[0], beta2_power=powers[1],
                lr=rate * share, beta1=_MOMENTUM, beta2=_SQUARE_MOMENTUM, epsilon=_EPSILON, grad=gradient,
            )  # fmt: skip
        return loss

    def _loss_now(self, inputs: list[Tensor], targets: list[Tensor], labels: Tensor) -> Tensor:
        return self._loss.per_sample(targets, self._simulation(inputs, self.parameters()), labels)

    def _loss_at_first(self, inputs: list[Tensor], targets: list[Tensor], labels: Tensor) -> Tensor:
        return self._loss.per_sample(targets, self._simulation(inputs), labels)

    def _state(self) -> list[Any]:
        return [*self._learned, *(moment for pair in self._moments for moment in pair), self._count]


def _bias_units(graph: Graph, calibration: Calibration, biases: Mapping[int, Any]) -> dict[int, np.ndarray]:
    found = {}
    for op in graph.ops:
        if op.bias is not None and op.bias in biases:
            seen = calibration.ranges[op.outputs[0]]
            span = max(seen.maximum, 0.0) - min(seen.minimum, 0.0)
            found[op.bias] = np.asarray(max(span / 255, _SMALLEST_UNIT), np.float32)
    return found


def _specs(graph: Graph, tensors: Sequence[int]) -> list[Any]:
    return [tf.TensorSpec([None, *graph.tensors[t].shape], graph.tensors[t].dtype) for t in tensors]


def _arguments(batch: Batch) -> tuple[Any, Any, Any]:
    labels = tf.zeros([0], tf.int64) if batch.labels is None else batch.labels
    return batch.inputs, batch.targets, labels


def _rows(values: Tensor) -> Tensor:
    return tf.reshape(tf.cast(values, tf.float32), [tf.shape(values)[0], -1])


def _divergence(targets: Tensor, outputs: Tensor) -> Tensor:
    wanted, found = tf.nn.log_softmax(targets), tf.nn.log_softmax(outputs)
    return tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=1)

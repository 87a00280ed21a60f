"""The program of the linear sweep: error terms of all sources from one forward and one backward pass.

For a source s that changes a tensor by d, the output changes by about J_s d. With v of independent random signs,
`E_v (v . J_s d)^2 = |J_s d|^2` (Hutchinson 1989), and `v . J_s d` is the inner product of d with the gradient of
`v . y`, which one backward pass gives for every source at once.

Rounding to 8 bits, and weights of any width, enter with their real d. Rounding to 16 bits, and the rounding of the two
partial sums of split weights, enter with their expectation: noise of variance step^2 / 12 on each element, independent
of the others (Widrow and Kollar 2008). An element that is exactly 0 has no rounding error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..network import flatbuffer as fb
from ..network.differentiable import DifferentiableGraph, Taps
from ..schema import Calibration, Graph, Op, Source
from . import quantization as q
from .sources import Constants, grids_of, rounded_constants, split

Tensor = Any
Place = tuple[str, int, int]
"""Where a gradient is taken: (`written`, tensor, -1), (`read`, tensor, op) or (`before`, op, -1)."""

_CLAMPS = ("RELU", "RELU6", "RELU_N1_TO_1")
"""Fused activations that give values on the 16-bit grid wherever they hold the output still."""

_PIXELS_FOR_GRADIENTS = 100
"""From so many pixels on, the gradient of a 1x1 convolution's weights costs less than convolving with each change."""


class LinearTerms:
    """Error terms of some sources, to be called within a `tf.function`.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Ranges.
      sources: In the order of the result's rows.
      scales: For each compared output, what its random signs are multiplied by.
    """

    def __init__(
        self, data: bytes, graph: Graph, calibration: Calibration, sources: Sequence[Source], scales: Sequence[float]
    ) -> None:
        self._graph, self._calibration = graph, calibration
        self._sources, self._scales = tuple(sources), tuple(scales)
        self._network = DifferentiableGraph(data)
        model = fb.read(data)

        def constant(tensor: int) -> np.ndarray:
            values = fb.constant(model, model.subgraphs[0].tensors[tensor])
            assert values is not None, "only constants are asked for"
            return values

        self._weights = {s.id: WeightChange.of(s, graph, calibration, constant) for s in sources if s.part == "weights"}

    def __call__(self, inputs: Sequence[Tensor], signs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Runs forward and backward.

        Args:
          inputs: [N, *shape] for each model input.
          signs: float32 [N, *shape] for each compared output, of 1 and -1.

        Returns:
          float32 [sources, N], estimates of `sum_k (scale_k |y_k,s - y_k|)^2`; and the compared outputs.
        """
        import tensorflow as tf

        with tf.GradientTape() as tape:
            recorder = _Recorder(tape, {self._place(s) for s in self._sources})
            values = self._network(inputs, taps=recorder.taps)
            outputs = [values[t] for t in self._graph.compared]
            weighted = zip(outputs, signs, self._scales, strict=True)
            projection = tf.add_n([scale * tf.reduce_sum(y * sign) for y, sign, scale in weighted])
        gradients = tape.gradient(projection, recorder.seen)
        none = tf.zeros([tf.shape(inputs[0])[0]])
        rows = []
        for source in self._sources:
            gradient = gradients.get(self._place(source))
            # Kept until here, the changes of all tensors would take more memory than the network.
            with tf.control_dependencies([] if gradient is None else [gradient]):
                rows.append(none if gradient is None else self._term(source, values, gradient))
        return tf.stack(rows), outputs

    def _term(self, source: Source, values: Mapping[int, Tensor], gradient: Tensor) -> Tensor:
        """Squared changes of `v . y`, [N], from the gradient at the source's place, [N, *shape]."""
        import tensorflow as tf

        if source.part == "weights":
            change = self._weights[source.id]
            moved = tf.square(self._moved(source, values, gradient))
            return moved + change.noise * _power(gradient) if change.noise else moved
        (grid,) = grids_of(source, self._graph, self._calibration)
        value = values[source.tensor]
        if grid.bits == 8:
            return tf.square(_inner(_rounded(value, grid) - value, gradient))
        return grid.scale**2 / 12 * _power(gradient, None if self._is_clamped(source) else value)

    def _is_clamped(self, source: Source) -> bool:
        """Whether the gradient before the op's activation is 0 wherever the tensor has no 16-bit rounding error."""
        return source.op is not None and source.variant == "a16" and self._graph.ops[source.op].activation in _CLAMPS

    def _place(self, source: Source) -> Place:
        if source.op is not None and (source.part == "weights" or self._is_clamped(source)):
            return "before", source.op, -1
        if source.consumer is not None:
            return "read", source.tensor, source.consumer
        return "written", source.tensor, -1

    def _moved(self, source: Source, values: Mapping[int, Tensor], gradient: Tensor) -> Tensor:
        """Change of `v . y` by the constants' change alone, [N], from the gradient before the activation."""
        import tensorflow as tf

        assert source.op is not None, "only ops have weights"
        op, constants = self._graph.ops[source.op], self._weights[source.id].constants
        compute = self._network.op_before_activation
        if op.weights is None:
            return _inner(compute(op.index, values, constants) - compute(op.index, values), gradient)
        delta, pixels = constants[op.weights], self._pixels(op)
        if pixels is None:
            return _inner(compute(op.index, values, constants, bias=False), gradient)
        inputs, outputs = delta.shape[-1], delta.shape[0]
        flat = tf.reshape(values[op.inputs[0]], [-1, pixels, inputs])
        matrix = tf.transpose(tf.reshape(delta, [outputs, inputs]))
        if pixels < _PIXELS_FOR_GRADIENTS:
            product = tf.matmul(tf.reshape(flat, [-1, inputs]), matrix)
            return _inner(tf.reshape(product, [-1, pixels, outputs]), gradient)
        of_weights = tf.matmul(flat, tf.reshape(gradient, [-1, pixels, outputs]), transpose_a=True)
        return tf.reduce_sum(of_weights * matrix, axis=[1, 2])

    def _pixels(self, op: Op) -> int | None:
        """Pixels of a 1x1 convolution without stride; None of any other op."""
        assert op.weights is not None
        tensors = self._graph.tensors
        source, target = tensors[op.inputs[0]].shape, tensors[op.outputs[0]].shape
        weights = tensors[op.weights].shape
        is_plain = op.opcode == "CONV_2D" and weights[1:3] == (1, 1) and source[:3] == target[:3]
        return source[0] * source[1] * source[2] if is_plain and source[3] == weights[3] else None


@dataclass(frozen=True)
class WeightChange:
    """What quantizing an op's constants does to them.

    Attributes:
      constants: By tensor index: the change of the weights (the op is linear in them), or the new values of constant
        operands.
      noise: Variance that rounding the partial sums of split weights adds to each element before the activation.
    """

    constants: Mapping[int, Tensor] = field(repr=False)
    noise: float = 0.0

    @classmethod
    def of(cls, source: Source, graph: Graph, calibration: Calibration, constant: Constants) -> WeightChange:
        """The change of a `weights` source; `constant` gives the values of a constant tensor."""
        import tensorflow as tf

        assert source.op is not None, "only ops have weights"
        op = graph.ops[source.op]
        grids = grids_of(source, graph, calibration)
        if op.weights is None:
            return cls({t: tf.constant(v) for t, v in rounded_constants(source, op, constant).items()})
        weights = constant(op.weights)
        high, low = split(source, op, weights) if grids else (rounded_constants(source, op, constant)[op.weights], 0.0)
        return cls({op.weights: tf.constant(high + low - weights)}, sum(grid.scale**2 for grid in grids) / 12)


class _Recorder:
    """Remembers values at some places, and has a tape watch them."""

    def __init__(self, tape: Any, places: set[Place]) -> None:
        self._tape, self._places = tape, places
        self.seen: dict[Place, Tensor] = {}
        self.taps = Taps(
            written=lambda tensor, value: self._see(("written", tensor, -1), value),
            read=lambda tensor, op, value: self._see(("read", tensor, op), value),
            before_activation=lambda op, value: self._see(("before", op, -1), value),
        )

    def _see(self, place: Place, value: Tensor) -> Tensor:
        import tensorflow as tf

        if place not in self._places:
            return value
        value = tf.identity(value)  # each reader's own: a tape tells tensors apart, not uses of one
        self._tape.watch(value)
        self.seen[place] = value
        return value


def _rounded(value: Tensor, params: q.AffineParams) -> Tensor:
    """Values rounded to the grid and back, in one kernel."""
    import tensorflow as tf

    low, high = ((end - params.zero_point) * params.scale for end in (params.low, params.high))
    return tf.quantization.fake_quant_with_min_max_args(value, low, high, num_bits=params.bits)


def _inner(change: Tensor, gradient: Tensor) -> Tensor:
    """Inner products of the samples' changes and gradients, [N]."""
    return _sums(_flat(change) * _flat(gradient))


def _power(gradient: Tensor, value: Tensor | None = None) -> Tensor:
    """Sums of squares of the samples' gradients, [N]; without the elements where `value` is 0."""
    import tensorflow as tf

    squares = tf.square(gradient)
    return _sums(_flat(squares if value is None else tf.where(tf.equal(value, 0), tf.zeros_like(squares), squares)))


def _flat(values: Tensor) -> Tensor:
    """One row for each sample, [N, elements]."""
    import tensorflow as tf

    return tf.reshape(values, [-1, values.shape[1:].num_elements()])


def _sums(rows: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.reduce_sum(rows, axis=1)

"""A planned mixed-precision network as a TensorFlow function, with gradients through its rounding.

It is made from the emitted file itself, so it rounds what the file rounds, to the same grids: borders between formats,
ops that share a scale, fixed scales, partial sums of split weights. Weights and biases can be replaced by others of the
float network; they are then rounded as the converter would round them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..measures.quantization import AffineParams
from ..network import flatbuffer as fb
from ..network.differentiable import DifferentiableGraph, Taps
from ..schema import Graph, Plan
from .dequantized import dequantize, weight_scales_of
from .layers import Layer, own_biases, place, shared_weights
from .weight_ranges import LARGEST_BIAS

Tensor = Any


@dataclass(frozen=True)
class Parameters:
    """Values that a simulation can take in place of the file's own, by tensor index of the float network.

    Attributes:
      weights: One array for each buffer that can be changed as one, under its first tensor.
      biases: One for each bias.
      scales: Of those `weights` that have one symmetric grid in 4 or 8 bits: real value of one step, size 1 in every
        axis but the channels'. May be left out: then every channel's largest weight is the end of its grid.
    """

    weights: Mapping[int, Tensor]
    biases: Mapping[int, Tensor]
    scales: Mapping[int, Tensor] = field(default_factory=dict)


class Simulation:
    """One emitted file, simulated.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      plan: One scheme for each op.
      emitted: What `converter.convert` made of them.

    Attributes:
      grids: Of the file's activations, by tensor index of the file.
      readers: The layers that read each buffer of weights that can be replaced, by its first tensor.

    Raises:
      UnsupportedModel: Some op has no differentiable rule.
    """

    def __init__(self, flatbuffer: bytes, graph: Graph, plan: Plan, emitted: bytes) -> None:
        placement = place(emitted, graph, plan)
        found = dequantize(emitted)
        self.grids: Mapping[int, AffineParams] = found.grids
        self.readers = shared_weights(placement.layers, graph)
        self._layers = placement.layers
        self._biases = own_biases(placement.layers, graph)
        self._compared = placement.compared
        self._network = DifferentiableGraph(found.flatbuffer)
        self._emitted_scales = weight_scales_of(emitted)
        self._float = fb.read(flatbuffer)

    def parameters(self) -> Parameters:
        """All weights and biases that can be replaced, with the values that the float network has."""
        weights = {tensor: self._constant(tensor) for tensor in self.readers}
        return Parameters(weights, {tensor: self._constant(tensor) for tensor in sorted(self._biases)})

    def __call__(self, inputs: Sequence[Tensor], parameters: Parameters | None = None) -> list[Tensor]:
        """The compared outputs of a batch, [N, *shape] each.

        Args:
          inputs: One tensor [N, *shape] for each input of the network, in float whatever the file's io is.
          parameters: Values in place of the file's own; None for none.
        """
        constants = {} if parameters is None else self.constants(parameters)
        values = self._network(inputs, taps=Taps(written=self._rounded), constants=constants)
        return [values[tensor] for tensor in self._compared]

    def constants(self, parameters: Parameters) -> dict[int, Tensor]:
        """What the file's constants would hold if it were made with these parameters, by tensor index of the file."""
        import tensorflow as tf

        found: dict[int, Tensor] = {}
        scales: dict[int, Tensor] = {}
        for first, values in parameters.weights.items():
            readers = self.readers[first]
            scale = parameters.scales.get(first)
            placed, step = self._weights(tf.convert_to_tensor(values), scale, readers, parameters.biases)
            for layer in readers:
                found.update(zip(layer.placed_weights, placed, strict=True))
                scales[layer.op] = step
        for layer in self._layers:
            bias = None if layer.bias is None else parameters.biases.get(layer.bias)
            if bias is not None and layer.placed_bias is not None:
                found[layer.placed_bias] = self._bias(layer, tf.convert_to_tensor(bias), scales.get(layer.op))
        return found

    def weight_scales(self, parameters: Parameters, first: int) -> Tensor:
        """Real value of one step of some weights (of the high part of split ones)."""
        import tensorflow as tf

        values, readers = tf.convert_to_tensor(parameters.weights[first]), self.readers[first]
        return self._steps(values, parameters.scales.get(first), readers, parameters.biases)

    def _weights(
        self, values: Tensor, scales: Tensor | None, readers: Sequence[Layer], biases: Mapping[int, Tensor]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The tensors that weights become in the file, and the step of the first of them."""
        import tensorflow as tf

        from ..measures import straight_through as st

        bits, axis = readers[0].bits, readers[0].axis
        if bits == 32:
            return (values,), tf.ones([1])
        step = self._steps(values, scales, readers, biases)
        high = st.round_weights(values, step, min(bits, 8))
        if bits < 16:
            return (high,), step
        rest = tf.stop_gradient(values - high)
        return (high, st.round_weights(rest, st.widest_steps(rest, axis, 8), 8)), step

    def _steps(
        self, values: Tensor, scales: Tensor | None, readers: Sequence[Layer], biases: Mapping[int, Tensor]
    ) -> Tensor:
        """The step of each channel's grid; given ones are kept so small that some weight reaches the grid's end.

        Else the converter, which knows only the weights, would not find that end again.
        """
        import tensorflow as tf

        from ..measures import straight_through as st

        bits, axis = min(readers[0].bits, 8), readers[0].axis
        step = st.widest_steps(values, axis, bits)
        if scales is not None:
            top = 2 ** (bits - 1) - 1
            step = tf.minimum(scales, step * (top / (top - _ALMOST_HALF)))
        for layer in readers:
            bias = biases.get(layer.bias) if layer.bias is not None else None
            if bias is not None and layer.input_scale:
                step = tf.maximum(step, _bias_floor(bias, layer, step.shape))
        return step

    def _bias(self, layer: Layer, values: Tensor, step: Tensor | None) -> Tensor:
        from ..measures import straight_through as st

        if layer.bits == 32:
            return values
        if step is None:
            step = self._emitted_scales[layer.placed_weights[0]]
        return st.round_bias(values, layer.input_scale, step)

    def _rounded(self, tensor: int, values: Tensor) -> Tensor:
        from ..measures import straight_through as st

        grid = self.grids.get(tensor)
        return values if grid is None else st.round_activation(values, grid)

    def _constant(self, tensor: int) -> np.ndarray:
        values = fb.constant(self._float, self._float.subgraphs[0].tensors[tensor])
        assert values is not None, "layers have constant weights and biases"
        return values


_ALMOST_HALF = 0.49
"""A weight that lies this much below the grid's end still rounds to it."""


def _bias_floor(bias: Tensor, layer: Layer, shape: Sequence[int]) -> Tensor:
    """The least steps, in `shape`, at which a bias fits int32, as the converter has it; no gradient."""
    import tensorflow as tf

    floor = tf.abs(tf.stop_gradient(bias)) / (layer.input_scale * LARGEST_BIAS)
    return tf.reshape(floor if layer.axis is not None else tf.reduce_max(floor), shape)

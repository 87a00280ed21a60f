"""Bias correction: what rounding adds to a layer's mean output is taken off its bias.

Empirical, as in Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section
4.2: the mean over samples (and places) of each channel's pre-activation in the float network, less the one in the
quantized network, is added to the bias. Layers are corrected in order, each behind corrected ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...analyzer.conversion.converter import convert
from ...analyzer.conversion.dequantized import dequantize
from ...analyzer.conversion.layers import Layer, own_biases, place
from ...analyzer.measures.calibration import Progress, SampleSource
from ...analyzer.network import flatbuffer as fb
from ...analyzer.network.constants import replace_constants
from ...analyzer.network.differentiable import DifferentiableGraph, Taps
from ...analyzer.schema import Calibration, Graph, Plan
from ...analyzer.silence import import_tensorflow

Tensor = Any
_KEPT_BYTES = 2**30
"""Activations of all samples that are kept between two ops, at most."""
_BLOCK = 16
"""Samples that run side by side."""

NO_BIAS, SHARED_BIAS = "it has no bias", "its bias is computed, or read by other ops too"


@dataclass(frozen=True)
class CorrectedLayer:
    """What was done to one layer.

    Attributes:
      op: Its index.
      layer: Its name.
      shift: Root mean square over channels of what was added to the bias, in standard deviations of the layer's float
        pre-activation (of all its channels).
      largest: The largest of them.
    """

    op: int
    layer: str
    shift: float
    largest: float


@dataclass(frozen=True)
class BiasCorrection:
    """What came of correcting biases.

    Attributes:
      flatbuffer: The float network with corrected biases. Its float output is another one; its quantized output is
        nearer to the float output of the network it was made from.
      layers: Those that were corrected, in order.
      left_out: (op, name, why) of those that were not: none gets a bias that had none.
      samples: How many the means were taken over.
    """

    flatbuffer: bytes
    layers: tuple[CorrectedLayer, ...]
    left_out: tuple[tuple[int, str, str], ...]
    samples: int


def correct_biases(
    flatbuffer: bytes,
    graph: Graph,
    calibration: Calibration,
    plan: Plan,
    samples: SampleSource,
    *,
    reference: bytes | None = None,
    progress: Progress | None = None,
) -> BiasCorrection:
    """Corrects the biases of all layers for a plan, ranges of activations staying as they are.

    Layers that the plan leaves in float are corrected too: their inputs are off. One pass over the samples, op by op,
    so the activations of all samples are kept from one op to the next; of a large network only so many samples are
    taken that they fit into 1 GiB.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      calibration: Its ranges.
      plan: One scheme for each op.
      samples: Calibration data, in content order.
      reference: The float network whose means are wanted, where `flatbuffer` has been changed by another repair; it has
        the same ops and tensors. None for `flatbuffer` itself.
      progress: Called with (ops done, ops in all).

    Raises:
      UnsupportedModel: Some op has no differentiable rule, or the network cannot be converted by the plan.
    """
    import_tensorflow()
    emitted = convert(flatbuffer, graph, calibration, plan).model
    layers = place(emitted, graph, plan).layers
    reasons = _left_out(layers, graph)
    corrected = [layer for layer in layers if layer.op not in reasons]
    walk = _Walk(emitted, graph, samples)
    wanted = _float_moments(reference or flatbuffer, graph, corrected, samples, walk.count)
    shifts = walk.correct(corrected, {op: mean for op, (mean, _) in wanted.items()}, progress)
    model = fb.read(flatbuffer)
    biases, done = {}, []
    for layer in corrected:
        assert layer.bias is not None
        shift, (_, spread) = shifts[layer.op], wanted[layer.op]
        before = fb.constant(model, model.subgraphs[0].tensors[layer.bias])
        assert before is not None, "only constant biases are corrected"
        biases[layer.bias] = (before + shift).astype(np.float32).reshape(before.shape)
        sizes = np.abs(shift) / spread
        root = math.sqrt(float(np.mean(sizes * sizes)))
        done.append(CorrectedLayer(layer.op, graph.ops[layer.op].layer, root, float(sizes.max())))
    return BiasCorrection(
        flatbuffer=replace_constants(flatbuffer, biases),
        layers=tuple(done),
        left_out=tuple((op, graph.ops[op].layer, why) for op, why in sorted(reasons.items())),
        samples=walk.count,
    )


def _left_out(layers: Sequence[Layer], graph: Graph) -> dict[int, str]:
    """Why a layer's bias cannot be corrected, by op; only of those whose cannot."""
    own = own_biases(layers, graph)
    readers = [layer.bias for layer in layers]
    found = {}
    for layer in layers:
        if layer.bias is None:
            found[layer.op] = NO_BIAS
        elif layer.bias not in own or readers.count(layer.bias) > 1:
            found[layer.op] = SHARED_BIAS
    return found


def _float_moments(
    flatbuffer: bytes, graph: Graph, layers: Sequence[Layer], samples: SampleSource, count: int
) -> dict[int, tuple[np.ndarray, float]]:
    """By op: the mean of each channel's pre-activation, float64 [channels], and the spread of all of them together."""
    tf = import_tensorflow()
    network, ops = DifferentiableGraph(flatbuffer), {layer.op for layer in layers}

    def sums(inputs: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        found = {}

        def seen(op: int, values: Tensor) -> Tensor:
            if op in ops:
                found[str(op)] = _channel_sums(values), _channel_sums(tf.square(values))
            return values

        network(inputs, taps=Taps(before_activation=seen))
        return found

    specs = [tf.TensorSpec([None, *graph.tensors[t].shape], graph.tensors[t].dtype) for t in graph.inputs]
    run = tf.function(sums, autograph=False, input_signature=[specs])
    parts = [run(_block(graph, samples, start, stop)) for start, stop in _bounds(count)]
    moments = {}
    for op in sorted(ops):
        elements = count * math.prod(graph.tensors[graph.ops[op].outputs[0]].shape[:-1])
        mean, square = (sum(part[str(op)][k].numpy() for part in parts) / elements for k in (0, 1))
        variance = float(np.mean(square) - np.mean(mean) ** 2)
        moments[op] = mean, math.sqrt(variance) if variance > 0 else 1.0
    return moments


class _Walk:
    """A file's ops one after the other, each on all samples before the next.

    Args:
      emitted: The file.
      graph: Of the float network it was made from.
      samples: In content order; the first `count` are taken.

    Attributes:
      count: As many samples as fit.
    """

    def __init__(self, emitted: bytes, graph: Graph, samples: SampleSource) -> None:
        found = dequantize(emitted)
        self._graph, self._samples, self._grids = graph, samples, found.grids
        self._network = DifferentiableGraph(found.flatbuffer)
        self._file = fb.read(found.flatbuffer)
        self._subgraph = self._file.subgraphs[0]
        self._last = {int(t): k for k, op in enumerate(self._subgraph.operators) for t in op.inputs}
        self.count = max(1, min(len(samples), _KEPT_BYTES // max(1, self._peak_bytes())))

    def correct(
        self, layers: Sequence[Layer], wanted: Mapping[int, np.ndarray], progress: Progress | None
    ) -> dict[int, np.ndarray]:
        """Walks through the file, correcting layers on the way.

        Args:
          layers: Those to correct, in order.
          wanted: By op of the float network: the mean of each channel's pre-activation, float64 [channels].
          progress: Called with (ops done, ops in all).

        Returns:
          By op: what is added to the bias, float64 [channels].
        """
        measured_at = {layer.placed_ops[len(layer.placed_weights) - 1]: layer for layer in layers}
        blocks = [self._inputs(start, stop) for start, stop in _bounds(self.count)]
        constants: dict[int, Tensor] = {}
        means: dict[int, np.ndarray] = {}
        shifts: dict[int, np.ndarray] = {}
        for index in range(len(self._subgraph.operators)):
            sums = [self._run(index, values, constants) for values in blocks]
            means[index] = np.sum(sums, axis=0) / self._places(index)
            if index in measured_at:
                layer = measured_at[index]
                assert layer.placed_bias is not None, "only layers with a bias are corrected"
                # Of split weights, the parts before they are rounded: the range of the first is clipped on purpose.
                found = sum(means[op] for op in layer.placed_ops[: len(layer.placed_weights)])
                shifts[layer.op] = wanted[layer.op] - found
                constants[layer.placed_bias] = self._shifted(layer.placed_bias, shifts[layer.op])
                for values in blocks:
                    self._run(layer.placed_ops[0], values, constants)
            for values in blocks:
                for tensor in [t for t in values if self._last.get(t, -1) <= index]:
                    del values[tensor]
            if progress:
                progress(index + 1, len(self._subgraph.operators))
        return shifts

    def _places(self, op: int) -> int:
        """Values of each channel that an op writes for all samples."""
        output = self._subgraph.tensors[self._subgraph.operators[op].outputs[0]]
        return self.count * math.prod(int(size) for size in output.shape[:-1])

    def _run(self, op: int, values: dict[int, Tensor], constants: Mapping[int, Tensor]) -> np.ndarray:
        """Runs an op on a block, whose values get its outputs; answers the sums of its pre-activation by channel."""
        found = []

        def seen(_op: int, before: Tensor) -> Tensor:
            found.append(_channel_sums(before).numpy())
            return before

        taps = Taps(before_activation=seen, written=self._rounded)
        values.update(self._network.run_op(op, values, taps=taps, constants=constants))
        return np.asarray(found[0] if found else 0.0)

    def _inputs(self, start: int, stop: int) -> dict[int, Tensor]:
        block = _block(self._graph, self._samples, start, stop)
        inputs = [int(t) for t in self._subgraph.inputs]
        return {t: self._rounded(t, values) for t, values in zip(inputs, block, strict=True)}

    def _rounded(self, tensor: int, values: Tensor) -> Tensor:
        from ...analyzer.measures import straight_through as st

        grid = self._grids.get(tensor)
        return values if grid is None else st.round_activation(values, grid)

    def _shifted(self, bias: int, shift: np.ndarray) -> Tensor:
        values = fb.constant(self._file, self._subgraph.tensors[bias])
        assert values is not None, "placed biases are constants"
        return import_tensorflow().constant((values + shift).astype(np.float32))

    def _peak_bytes(self) -> int:
        """Bytes of one sample's activations that are alive at once, at most."""
        tensors, live, peak = self._subgraph.tensors, set(map(int, self._subgraph.inputs)), 0
        for index, op in enumerate(self._subgraph.operators):
            live.update(map(int, op.outputs))
            peak = max(peak, sum(4 * math.prod(tensors[t].shape) for t in live))
            live -= {t for t in live if self._last.get(t, -1) <= index}
        return peak


def _channel_sums(values: Tensor) -> Tensor:
    """Sums over all axes but the last, float64."""
    import tensorflow as tf

    return tf.reduce_sum(tf.cast(values, tf.float64), axis=list(range(values.shape.rank - 1)))


def _bounds(count: int) -> list[tuple[int, int]]:
    return [(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]


def _block(graph: Graph, samples: SampleSource, start: int, stop: int) -> list[Tensor]:
    """Samples as `DifferentiableGraph` takes them."""
    tf = import_tensorflow()
    arrays = zip(graph.inputs, samples.block(start, stop), strict=True)
    return [tf.constant(values.reshape(len(values), *graph.tensors[t].shape)) for t, values in arrays]

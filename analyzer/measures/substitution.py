"""The float network with a quantized file's own numbers put in, any subset of them: what counterfactuals are run on.

The float network runs as a TensorFlow function, op by op, in float32. Nothing is traced, so any subset costs the same
from the first run on; an op runs only where something before it, or of its own, was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..network import flatbuffer as fb
from ..network.differentiable import DifferentiableGraph, Taps
from ..schema import Graph, Op
from ..silence import import_tensorflow
from .calibration import Progress
from .grids import Grid, WeightGrid
from .per_sample import output_variance, per_sample_nmse
from .sweep import LabelledSource

Tensor = Any
Values = Mapping[int, Tensor]

_BATCH_BYTES = 128 * 2**20
_LARGEST_BATCH = 32


@dataclass(frozen=True, eq=False)
class SplitSum:
    """How a file rounds the two partial sums of a layer whose weights it keeps as hi + lo.

    Attributes:
      low: The dequantized lo weights, of the float weights' shape; hi is what the layer's weights have beyond them.
      high_grid, low_grid: Of the two sums; None where one stays float.
    """

    low: np.ndarray
    high_grid: Grid | None
    low_grid: Grid | None

    def with_parts(self, *, clips: bool, rounds: bool) -> SplitSum:
        """The same sums on grids that do only some of what they did before."""
        high, low = (
            None if grid is None else grid.with_parts(clips=clips, rounds=rounds)
            for grid in (self.high_grid, self.low_grid)
        )  # fmt: skip
        return replace(self, high_grid=high, low_grid=low)


@dataclass(frozen=True, eq=False)
class Ingredients:
    """Numbers of a quantized file, by where they belong in the float network. What is left out stays float.

    Attributes:
      activations: By float tensor, model inputs included: the grid that it is rounded to when it is written.
      reads: By (float tensor, float op that reads it): a second grid, where the file has a QUANTIZE in between.
      before: By float op with a fused activation function: a grid in front of that function, where the file has an op
        of its own for it.
      weights: By float op: dequantized weights in the float tensor's shape, float32.
      biases: By float op: the dequantized bias, float32 [channels].
      constants: By float tensor: other dequantized constants (second inputs of ADD, MUL ...), in the float tensor's
        shape.
      sums: By float op: the partial sums of split weights.
      weight_grids: By float op: what `weights` were rounded to, for who wants to round others. The computation does not
        read them.
    """

    activations: Mapping[int, Grid] = field(default_factory=dict)
    reads: Mapping[tuple[int, int], Grid] = field(default_factory=dict)
    before: Mapping[int, Grid] = field(default_factory=dict)
    weights: Mapping[int, np.ndarray] = field(default_factory=dict)
    biases: Mapping[int, np.ndarray] = field(default_factory=dict)
    constants: Mapping[int, np.ndarray] = field(default_factory=dict)
    sums: Mapping[int, SplitSum] = field(default_factory=dict)
    weight_grids: Mapping[int, WeightGrid] = field(default_factory=dict)

    def merged(self, other: Ingredients) -> Ingredients:
        """Both; where both have something, the other's."""
        return Ingredients(**{name: {**getattr(self, name), **getattr(other, name)} for name in _FIELDS})

    def replaced(self, **changed: Mapping[Any, Any]) -> Ingredients:
        """With entries of some attributes replaced or added: `replaced(weights={3: array})`."""
        return replace(self, **{name: {**getattr(self, name), **entries} for name, entries in changed.items()})

    def without_weights(self, ops: Collection[int]) -> Ingredients:
        """Some ops' weights in float again, and with them their partial sums."""
        return replace(
            self,
            weights={op: values for op, values in self.weights.items() if op not in ops},
            sums={op: split for op, split in self.sums.items() if op not in ops},
        )

    def without_activations(self, tensors: Collection[int]) -> Ingredients:
        """Some activations in float again, wherever they are read."""
        return replace(
            self,
            activations={tensor: grid for tensor, grid in self.activations.items() if tensor not in tensors},
            reads={(tensor, op): grid for (tensor, op), grid in self.reads.items() if tensor not in tensors},
        )

    def with_parts(self, *, clips: bool, rounds: bool, tensors: Collection[int] | None = None) -> Ingredients:
        """With the grids of activations that only clip, or only round.

        Args:
          clips, rounds: What is left of what they did before; with neither they do nothing.
          tensors: Float tensors; None for all, partial sums and what lies before activation functions included.
        """

        def part(grid: Grid, tensor: int) -> Grid:
            is_meant = tensors is None or tensor in tensors
            return grid.with_parts(clips=clips, rounds=rounds) if is_meant else grid

        before, sums = self.before, self.sums
        if tensors is None:
            before = {op: grid.with_parts(clips=clips, rounds=rounds) for op, grid in before.items()}
            sums = {op: split.with_parts(clips=clips, rounds=rounds) for op, split in sums.items()}
        return replace(
            self,
            activations={tensor: part(grid, tensor) for tensor, grid in self.activations.items()},
            reads={(tensor, op): part(grid, tensor) for (tensor, op), grid in self.reads.items()},
            before=before,
            sums=sums,
        )


_FIELDS = ("activations", "reads", "before", "weights", "biases", "constants", "sums", "weight_grids")


class Doses:
    """How much of each change is put in: all of it, here. `path_shares.py` has one that puts in a part."""

    def on_grid(self, tensor: int, values: Tensor, grid: Grid | None) -> Tensor:
        """Values of a float tensor (or on their way to it) on a grid; as `Grid.round`. None leaves them alone."""
        import tensorflow as tf

        if grid is None or not (grid.clips or grid.rounds):
            return values
        if not grid.rounds:
            return tf.clip_by_value(values, grid.minimum, grid.maximum)
        steps = tf.round(values / grid.scale)
        if grid.clips:
            steps = tf.clip_by_value(steps, grid.low - grid.zero_point, grid.high - grid.zero_point)
        return steps * grid.scale

    def constant(self, kind: str, place: int, given: Tensor, original: Tensor) -> Tensor:
        """A constant in the place of the float network's.

        Args:
          kind: `weights` or `bias` of the float op `place`, or `constants` of the float tensor `place`.
          place: See there.
          given: What is put in.
          original: What the float network has.
        """
        return given


class Substituted:
    """A float network that takes a quantized file's numbers.

    Args:
      data: The float flatbuffer.
      graph: Of `data`; outputs are those of `graph.compared`.

    Raises:
      UnsupportedModel: Some op has no rule as a TensorFlow function.
    """

    def __init__(self, data: bytes, graph: Graph) -> None:
        import_tensorflow()
        self._graph = graph
        self._model = fb.read(data)
        self._originals: dict[int, Tensor] = {}
        self._network = DifferentiableGraph(data)
        self._last_use = {t: op.index for op in graph.ops for t in op.inputs}

    def outputs(
        self, samples: LabelledSource, ingredients: Ingredients, *, clipping: bool = True, rounding: bool = True
    ) -> list[np.ndarray]:
        """The compared outputs of all samples.

        Args:
          samples: What to run on.
          ingredients: What is put into the float network.
          clipping: Whether the grids of activations clip.
          rounding: Whether they round.

        Returns:
          One float32 array [samples, *shape] for each compared output; the shape holds the model's own batch dimension.
        """
        parts = ingredients.with_parts(clips=clipping, rounds=rounding)
        batches = [self.run(inputs, parts) for inputs in self.batches(samples)]
        return [np.concatenate([batch[k].numpy() for batch in batches]) for k in range(len(self._graph.compared))]

    def errors(
        self, samples: LabelledSource, variants: Sequence[Ingredients], *, progress: Progress | None = None
    ) -> np.ndarray:
        """The squared error of several variants against the float network, sample by sample.

        Args:
          samples: What to run on.
          variants: Each is put into the float network alone.
          progress: Called with (runs done, runs in all).

        Returns:
          nmse of each variant and sample, float64 [variants, samples]: mean over the compared outputs of MSE / variance
          of the float output over all these samples. Infinite where an output is not finite.
        """
        reference: list[list[np.ndarray]] = []
        answers: list[list[list[np.ndarray]]] = [[] for _ in variants]
        batches = -(-len(samples) // self.batch_size)
        for number, inputs in enumerate(self.batches(samples)):
            floats = self.float_values(inputs)
            reference.append([floats[t].numpy() for t in self._graph.compared])
            for k, variant in enumerate(variants):
                answers[k].append([value.numpy() for value in self.run(inputs, variant, floats)])
                if progress:
                    progress(number * len(variants) + k + 1, batches * len(variants))
        wanted = _joined(reference)
        found = [squared_errors(wanted, _joined(answer)) for answer in answers]
        return np.array(found, np.float64).reshape(len(variants), len(samples))

    @property
    def batch_size(self) -> int:
        """Samples that are run at a time, so that all activations of the network fit into memory."""
        per_sample = sum(4 * self._graph.tensors[t].elements for op in self._graph.ops for t in op.outputs)
        return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // max(per_sample, 1)))

    def float_values(self, inputs: Sequence[Tensor]) -> dict[int, Tensor]:
        """Every activation of the float network by tensor, [N, *shape].

        Args:
          inputs: One tensor [N, *shape] for each input of the network.
        """
        return self._network(inputs)

    def run(
        self, inputs: Sequence[Tensor], ingredients: Ingredients, floats: Values | None = None,
        doses: Doses | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """The compared outputs of one batch, [N, *shape] each.

        Args:
          inputs: One tensor [N, *shape] for each input of the network.
          ingredients: What is put in.
          floats: What `float_values` says of these inputs: then ops with nothing changed at or before them do not run.
          doses: How much of each change is put in; None for all of it.
        """
        doses = doses or Doses()
        values: dict[int, Tensor] = dict(floats or {})
        changed: set[int] = set() if floats is not None else {t for op in self._graph.ops for t in op.outputs}
        for tensor, value in zip(self._graph.inputs, inputs, strict=True):
            values[tensor] = doses.on_grid(tensor, value, ingredients.activations.get(tensor))
            if tensor in ingredients.activations:
                changed.add(tensor)
        for op in self._graph.ops:
            if changed.isdisjoint(op.inputs) and changed.isdisjoint(op.outputs) and not _is_touched(op, ingredients):
                continue
            values.update(self._run_op(op, values, ingredients, doses))
            changed.update(op.outputs)
            self._forget(op, values)
        return [values[tensor] for tensor in self._graph.compared]

    def _run_op(self, op: Op, values: Values, ingredients: Ingredients, doses: Doses) -> dict[int, Tensor]:
        constants = self._constants_of(op, ingredients, doses)
        read = {
            t: doses.on_grid(t, values[t], ingredients.reads.get((t, op.index)))
            for t in self._graph.activations_in(op)
        }  # fmt: skip
        taps = Taps(
            written=lambda tensor, value: doses.on_grid(tensor, value, ingredients.activations.get(tensor)),
            before_activation=self._before_activation(op, read, ingredients, constants, doses),
        )
        return self._network.run_op(op.index, {**values, **read}, taps=taps, constants=constants)

    def _before_activation(
        self, op: Op, read: Values, ingredients: Ingredients, constants: Values, doses: Doses
    ) -> Callable[[int, Tensor], Tensor] | None:
        """A hook for what the file does before the activation function; None where it does nothing there."""
        grid, split = ingredients.before.get(op.index), ingredients.sums.get(op.index)
        if grid is None and split is None:
            return None

        def hook(_: int, value: Tensor) -> Tensor:
            if split is not None:
                value = self._partial_sums(op, read, constants, split, doses)
            return doses.on_grid(op.outputs[0], value, grid)

        return hook

    def _partial_sums(self, op: Op, read: Values, constants: Values, split: SplitSum, doses: Doses) -> Tensor:
        """The sum of both rounded partial sums, in the place of the whole one."""
        import tensorflow as tf

        assert op.weights is not None, "only weights are split"
        low = doses.constant("weights", op.index, tf.constant(split.low), tf.zeros_like(split.low))
        high = constants.get(op.weights, self._float_constant(op.weights)) - low
        first = self._network.op_before_activation(op.index, read, {**constants, op.weights: high})
        second = self._network.op_before_activation(op.index, read, {**constants, op.weights: low}, bias=False)
        target = op.outputs[0]
        return doses.on_grid(target, first, split.high_grid) + doses.on_grid(target, second, split.low_grid)

    def _constants_of(self, op: Op, ingredients: Ingredients, doses: Doses) -> dict[int, Tensor]:
        """What replaces an op's constants, by float tensor. Of one op alone: ops may share a tensor and differ here."""
        import tensorflow as tf

        found = [("constants", t, t, ingredients.constants[t]) for t in op.constants if t in ingredients.constants]
        if op.weights is not None and op.index in ingredients.weights:
            found.append(("weights", op.index, op.weights, ingredients.weights[op.index]))
        if op.bias is not None and op.index in ingredients.biases:
            found.append(("bias", op.index, op.bias, ingredients.biases[op.index]))
        return {
            tensor: doses.constant(kind, place, tf.constant(values, tf.float32), self._float_constant(tensor))
            for kind, place, tensor, values in found
        }

    def _float_constant(self, tensor: int) -> Tensor:
        import tensorflow as tf

        if tensor not in self._originals:
            values = fb.constant(self._model, self._model.subgraphs[0].tensors[tensor])
            assert values is not None, "what is replaced is a constant"
            with tf.init_scope():  # outlives a function that is being traced
                self._originals[tensor] = tf.constant(values)
        return self._originals[tensor]

    def _forget(self, op: Op, values: dict[int, Tensor]) -> None:
        """Drops what no later op reads: memory decides how many samples fit into a batch."""
        for tensor in op.inputs:
            if self._last_use.get(tensor) == op.index and tensor not in self._graph.compared:
                values.pop(tensor, None)

    def batches(self, samples: LabelledSource, size: int | None = None) -> Iterator[list[Tensor]]:
        """The inputs in batches of `size`, or as many as fit; one tensor [N, *shape] for each input."""
        import tensorflow as tf

        size = size or self.batch_size
        for start in range(0, len(samples), size):
            block = samples.block(start, min(start + size, len(samples)))
            yield [
                tf.constant(values.reshape(len(values), *self._graph.tensors[tensor].shape))
                for tensor, values in zip(self._graph.inputs, block, strict=True)
            ]


def squared_errors(reference: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> np.ndarray:
    """nmse of each sample, float64 [samples]: mean over the outputs of MSE / variance of that whole float output.

    Args:
      reference: The float network's compared outputs, one array [samples, ...] each.
      outputs: The same shapes.

    Raises:
      ShapeMismatch: The shapes differ.
      DataError: `reference` is not finite, or empty.
    """
    rows = [per_sample_nmse(a, b, output_variance(a)) for a, b in zip(reference, outputs, strict=True)]
    return np.asarray(np.mean(rows, axis=0))


def _joined(batches: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _is_touched(op: Op, ingredients: Ingredients) -> bool:
    return (
        op.index in ingredients.weights
        or op.index in ingredients.biases
        or any(t in ingredients.constants for t in op.constants)
        or op.index in ingredients.before
        or op.index in ingredients.sums
        or any(t in ingredients.activations for t in op.outputs)
        or any((t, op.index) in ingredients.reads for t in op.inputs)
    )

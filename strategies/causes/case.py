"""What is known of a quantized file and its float parent before anything is mended, and what a mend is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ...analyzer.measures.extremes import Extremes
from ...analyzer.measures.grids import Grid
from ...analyzer.measures.substitution import Ingredients
from ...analyzer.network import flatbuffer as fb
from ...analyzer.schema import CAUSES, NOT_TESTABLE, RULED_OUT, Cause, Graph, Op


@dataclass(frozen=True, eq=False)
class Case:
    """A float network and a quantized file of it.

    Attributes:
      data: The float flatbuffer.
      graph: Of `data`.
      file: The quantized file.
      numbers: The file's own, by where they belong in the float network.
      extremes: Of the float activations on the studied samples.
      errors: Output error of each source alone in the float network, by (part, op or input tensor); what decides which
        layer of several is looked at first, and nothing else.
    """

    data: bytes
    graph: Graph
    file: bytes
    numbers: Ingredients
    extremes: Extremes
    errors: Mapping[tuple[str, int], float] = field(default_factory=dict)

    @cached_property
    def constants(self) -> Mapping[int, np.ndarray]:
        """Weights and constant biases of the float network by tensor, float32."""
        model = fb.read(self.data)
        wanted = {t for op in self.graph.ops for t in (op.weights, op.bias) if t is not None}
        found = {t: fb.constant(model, model.subgraphs[0].tensors[t]) for t in sorted(wanted)}
        return {t: values for t, values in found.items() if values is not None}

    def layer(self, tensor: int) -> str:
        """Label of the op that writes an activation, or of the input."""
        producer = self.graph.producer(tensor)
        return self.graph.tensors[tensor].name if producer is None else self.graph.ops[producer].layer

    def weighted(self) -> list[Op]:
        """Ops whose weights the file quantizes."""
        return [op for op in self.graph.ops if op.weights is not None and op.index in self.numbers.weights]

    def grid(self, tensor: int) -> Grid | None:
        """How the file quantizes an activation: as it is written, or as its only quantizing reader takes it."""
        written = self.numbers.activations.get(tensor)
        if written is not None:
            return written
        reads = {grid for (read, _), grid in self.numbers.reads.items() if read == tensor}
        return next(iter(reads)) if len(reads) == 1 else None

    def with_weights(self, weights: Mapping[int, np.ndarray]) -> Ingredients:
        """The file's numbers with other weights for some ops, each as one tensor."""
        return self.numbers.without_weights(weights.keys()).replaced(weights=weights)

    def float_weights(self, op: Op) -> np.ndarray:
        """The float network's weights of an op that has some."""
        assert op.weights is not None, "only ops with weights are asked"
        return self.constants[op.weights]

    def float_biases(self, ops: Sequence[Op]) -> dict[int, np.ndarray]:
        """The float network's biases, of those ops whose biases the file quantizes."""
        known = [(op.index, op.bias) for op in ops if op.index in self.numbers.biases and op.bias in self.constants]
        return {op: self.constants[bias] for op, bias in known if bias is not None}

    def worst_op(self, part: str, ops: Sequence[Op]) -> Op:
        """The op whose source of error is the largest alone; the first one where nothing was measured."""
        return max(ops, key=lambda op: (self.errors.get((part, op.index), 0.0), -op.index))

    def worst_tensor(self, tensors: Sequence[int]) -> int:
        """The activation whose source of error is the largest alone."""

        def error(tensor: int) -> float:
            producer = self.graph.producer(tensor)
            key = ("input", tensor) if producer is None else ("activation", producer)
            return self.errors.get(key, 0.0)

        return max(tensors, key=lambda tensor: (error(tensor), -tensor))


@dataclass(frozen=True, eq=False)
class Mend:
    """The file's numbers with one cause mended, and nothing else.

    Attributes:
      name: A key of `CAUSES`.
      layer: Label of what is mended, of the worst where it is several.
      layers: How many layers or tensors.
      numbers: What is put into the float network.
      evidence: What was read from the file's numbers, as a sentence without its full stop.
      worst: The same mend at `layer` alone; None where that is all of it.
    """

    name: str
    layer: str
    layers: int
    numbers: Ingredients
    evidence: str
    worst: Mend | None = None


Proposal = Mend | Cause
"""A mend to be run, or a cause that the numbers alone rule out."""


def ruled_out(name: str, evidence: str) -> Cause:
    """A cause that the file's numbers, or a run, speak against."""
    return Cause(name, "", RULED_OUT, None, evidence, CAUSES[name].remedy)


def not_testable(name: str, reason: str) -> Cause:
    """A cause about which nothing can be said here."""
    return Cause(name, "", NOT_TESTABLE, None, reason, CAUSES[name].remedy)

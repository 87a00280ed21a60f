"""Networks of a single op for the tests of the differentiable graph, and their comparison with the interpreter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.runtime import Runner
from bitplan.analyzer.network.subgraph import Cutter
from small_networks import Network


@dataclass(frozen=True)
class X:
    """An activation that the network is given: values between `low` and `high`, as far apart as there is room."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float = -2.0
    high: float = 2.0

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        size = math.prod(self.shape)
        middles = self.low + (np.arange(size) + 0.5) * (self.high - self.low) / size
        values = np.stack([generator.permutation(middles) for _ in range(count)]).reshape(count, *self.shape)
        return values > (self.low + self.high) / 2 if self.dtype == "bool" else values.astype(self.dtype)


@dataclass(frozen=True)
class Case:
    """One op.

    Attributes:
      operands: `X`, constants as arrays, or None for an absent one.
      kind: The schema's name of its options, without the `Options`.
      options: By the schema's names.
      outputs: Their dtypes.
      shapes: Of the outputs, where the interpreter does not find them by itself.
    """

    opcode: str
    operands: tuple[Any, ...]
    kind: str | None = None
    options: Any = ()
    outputs: tuple[str, ...] = ("float32",)
    name: str = ""
    shapes: Any = None

    def __str__(self) -> str:
        return f"{self.opcode} {self.name}".strip()

    @property
    def given(self) -> list[X]:
        return [operand for operand in self.operands if isinstance(operand, X)]

    def samples(self, count: int, seed: int = 0) -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        return [x.draw(generator, count) for x in self.given]


def case(
    opcode: str, *operands: Any, kind: str | None = None, out: Sequence[str] = ("float32",), name: str = "",
    shapes: Any = None, **options: Any,
) -> Case:  # fmt: skip
    return Case(opcode, operands, kind, tuple(options.items()), tuple(out), name, shapes)


def named(name: str, made: Case) -> Case:
    return replace(made, name=name)


def build(made: Case, shapes: Sequence[Sequence[int]] | None = None) -> bytes:
    """The flatbuffer; where no output shapes are given, the interpreter says what they are."""
    shapes = shapes or made.shapes
    net = Network()
    inputs = []
    for position, operand in enumerate(made.operands):
        if operand is None:
            inputs.append(-1)
        elif isinstance(operand, X):
            inputs.append(net.tensor(f"in{position}", operand.shape, operand.dtype))
            net.graph.inputs.append(inputs[-1])
        else:
            inputs.append(net.constant(f"c{position}", operand))
    outputs = [net.tensor(f"out{k}", shapes[k] if shapes else [1], dtype) for k, dtype in enumerate(made.outputs)]
    net.op(made.opcode, inputs, outputs)
    net.model.operatorCodes[0].version = 2 if made.opcode == "BROADCAST_TO" else 1
    op = net.graph.operators[-1]
    op.builtinOptionsType, op.builtinOptions = 0, None
    if made.kind:
        op.builtinOptionsType = getattr(net.schema.BuiltinOptions, f"{made.kind}Options")
        op.builtinOptions = getattr(net.schema, f"{made.kind}OptionsT")()
        for key, value in made.options:
            assert hasattr(op.builtinOptions, key), key
            setattr(op.builtinOptions, key, value)
    data = net.build(outputs)
    if shapes is not None:
        return data
    runner = Runner(data, kernels="builtin")
    found = [runner.static_shape(tensor) for tensor in outputs]
    assert all(shape is not None for shape in found), "the output's shape depends on the data"
    return build(made, found)


def tensors_of(data: bytes) -> list[int]:
    """Indices of what the ops write, in order."""
    return [int(t) for op in fb.read(data).subgraphs[0].operators for t in op.outputs]


def interpreted(data: bytes, samples: Sequence[np.ndarray], tensors: Sequence[int]) -> list[np.ndarray]:
    """What the interpreter makes of samples [n, ...]: tensors [n, *shape]."""
    runner = Runner(Cutter(data).whole(tensors).flatbuffer, kernels="builtin")
    rows = [[np.array(a) for a in runner.run([x[n] for x in samples])] for n in range(len(samples[0]))]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def assert_close(found: np.ndarray, wanted: np.ndarray, what: str, tolerance: float = 1e-4) -> None:
    """`max|a-b| / max|b|` within the tolerance; integers and truth values are equal."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype, what
    if wanted.dtype != np.float32:
        np.testing.assert_array_equal(found, wanted, err_msg=what)
        return
    assert np.isfinite(wanted).all() and np.isfinite(found).all(), what
    scale = np.abs(wanted).max()
    assert np.abs(found - wanted).max() <= tolerance * scale, what

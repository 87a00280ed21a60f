"""Error sources grouped the way people ask for them: by layer, by scheme, by kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..analyzer.schema import SCHEMES, Graph, Measurement, Op, Results, Scheme, SensitivityTable
from . import numbers

ESTIMATE_NOTE = f"{numbers.ALMOST_EQUAL} marks a first-order estimate, or figures that one goes into."

PARTS: Mapping[str, str] = {"weights": "weights", "activation": "output activation", "input": "model input"}


def op_anchor(op: int) -> str:
    """Id of an op's row on the page."""
    return f"op-{op}"


def labels(graph: Graph) -> dict[int, str]:
    """Layer names by op index, shortened and unique: ops that share a name get their position in brackets."""
    short = {op.index: numbers.name(op.layer) for op in graph.ops}
    often = Counter(short.values())
    return {index: f"{label} [{index}]" if often[label] > 1 else label for index, label in short.items()}


def input_label(graph: Graph, tensor: int) -> str:
    """`model input`, with its name where there are several."""
    if len(graph.inputs) == 1:
        return "model input"
    return f"model input {numbers.name(graph.tensors[tensor].name)}"


def weight_count(graph: Graph, op: Op) -> int:
    """Values in an op's weights and constant operands."""
    tensors = [*([] if op.weights is None else [op.weights]), *op.constants]
    return sum(graph.tensors[t].elements for t in tensors)


def main_kind(op: Op) -> str:
    """The most telling kind, under which an op is counted once."""
    return op.kinds[0] if op.kinds else "other"


@dataclass(frozen=True)
class Contribution:
    """One source under one scheme, quantized alone.

    Attributes:
      op: None for a model input.
      part: A key of `PARTS`.
      local_nmse: Error at the layer itself; None where only the effect at the output was estimated.
      exact: Whether `nmse` was measured; else it was estimated to first order.
    """

    op: int | None
    part: str
    tensor: int
    nmse: float
    standard_error: float
    local_nmse: float | None
    exact: bool

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval over samples (normal approximation); never below 0, as no error is.

        It says nothing of how far an estimate is from what would be measured.
        """
        return max(0.0, self.nmse - 1.96 * self.standard_error)

    @property
    def high(self) -> float:
        return self.nmse + 1.96 * self.standard_error


def contributions(table: SensitivityTable, scheme: Scheme) -> tuple[Contribution, ...]:
    """Every source that a network wholly under `scheme` has, largest first.

    `edge` sources belong to mixed networks only: where one scheme rules, a tensor is rounded once, by its producer.
    """
    chosen = [m for m in table.measurements if _belongs(m, scheme)]
    return tuple(
        sorted(
            (
                Contribution(
                    m.source.op,
                    m.source.part,
                    m.source.tensor,
                    m.error.nmse,
                    m.error.standard_error,
                    m.local_nmse,
                    m.method == "exact",
                )
                for m in chosen
            ),
            key=lambda c: (-c.nmse, c.tensor, c.part),
        )
    )


def _belongs(measurement: Measurement, scheme: Scheme) -> bool:
    source = measurement.source
    if source.part == "weights":
        return source.variant in (scheme.weight_variant, f"c{scheme.format.bits}")  # c: constant operands
    return source.part in ("activation", "input") and source.variant == f"a{scheme.format.bits}"


@dataclass(frozen=True)
class LayerError:
    """What one op, or one model input, costs under a scheme.

    Attributes:
      weights, activation: The two parts; None where the table does not have that part.
    """

    op: int | None
    tensor: int
    weights: Contribution | None
    activation: Contribution | None

    @property
    def parts(self) -> tuple[Contribution, ...]:
        return tuple(part for part in (self.weights, self.activation) if part)

    @property
    def nmse(self) -> float:
        return math.fsum(part.nmse for part in self.parts)

    @property
    def estimated_nmse(self) -> float:
        """How much of `nmse` was estimated."""
        return math.fsum(part.nmse for part in self.parts if not part.exact)

    @property
    def local_nmse(self) -> float | None:
        """Error at the layer itself, of the larger of the parts that have one; None where neither has."""
        return max((part.local_nmse for part in self.parts if part.local_nmse is not None), default=None)

    @property
    def exact(self) -> bool:
        """Whether every part was measured: a sum with an estimate in it is an estimate."""
        return all_exact(self.parts)


def layer_errors(table: SensitivityTable, scheme: Scheme) -> tuple[LayerError, ...]:
    """Layers and model inputs, worst first. An op with several outputs keeps its worst one as its activation part."""
    weights: dict[int, Contribution] = {}
    activations: dict[int, Contribution] = {}
    inputs: list[LayerError] = []
    for part in contributions(table, scheme):
        if part.op is None:
            inputs.append(LayerError(None, part.tensor, None, part))
        else:
            (weights if part.part == "weights" else activations).setdefault(part.op, part)
    layers = [
        LayerError(op, (weights.get(op) or activations[op]).tensor, weights.get(op), activations.get(op))
        for op in sorted(weights.keys() | activations.keys())
    ]
    return tuple(sorted([*layers, *inputs], key=lambda layer: (-layer.nmse, layer.tensor)))


def swept_schemes(table: SensitivityTable) -> tuple[str, ...]:
    """Schemes of which the table has weights or activations, `w8a8` first: that is what people ship."""
    variants = {m.source.variant for m in table.measurements}
    with_weights = any(m.source.part == "weights" for m in table.measurements)
    names = [
        scheme.name
        for scheme in SCHEMES.values()
        if not scheme.is_float
        and f"a{scheme.format.bits}" in variants
        and (
            scheme.weight_variant in variants
            or (not (with_weights and variants & {"w4", "w8", "w16a8", "w16a16"}) and scheme.weight_bits == 8)
        )
    ]
    return tuple(sorted(names, key=lambda name: name != "w8a8"))


def total(parts: Sequence[Contribution]) -> float:
    """Sum of errors, one source at a time; the joint error may be smaller or larger."""
    return math.fsum(part.nmse for part in parts)


def all_exact(parts: Sequence[Contribution]) -> bool:
    """Whether every source was measured, so that sums and shares of them are no estimates."""
    return all(part.exact for part in parts)


def base_scheme(results: Results) -> Scheme | None:
    """The scheme that headlines speak of: `w8a8` where the table has it."""
    if results.sensitivity is None:
        return None
    names = swept_schemes(results.sensitivity)
    return SCHEMES[names[0]] if names else None


def sample_word(graph: Graph) -> str:
    """`images` where the only input looks like one, else `samples`."""
    shapes = [graph.tensors[t].shape for t in graph.inputs]
    return "images" if len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][-1] in (1, 3, 4) else "samples"

"""What each choice of precision costs in output error: the terms that a plan's predicted error is the sum of.

An op writes a tensor in its own format and every reader reads it in the reader's format. A tensor is rounded where it
is written in an integer format, and once more where a reader takes it narrower than it was written. Nothing is rounded
between two float ops, and an int16 op that reads an int8 tensor gains nothing from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...analyzer.errors import RunFolderError
from ...analyzer.network.wiring import INPUT, OUTPUT, Wiring, wire
from ...analyzer.schema import (
    ACTIVATION_VARIANTS,
    SCHEMES,
    Format,
    Graph,
    Scheme,
    SensitivityTable,
    Source,
)

_Key = TypeVar("_Key")
_SUFFIX = {fmt: variant for variant, fmt in ACTIVATION_VARIANTS.items()}


@dataclass(frozen=True)
class Noise:
    """The terms of the predicted error, each an nmse at the network's output, each at least 0.

    Absent where the sensitivity table has no such measurement; an op without weights and constants, and the output of a
    movement op, have explicit zeros. Use the methods, which say what is missing.

    Attributes:
      wiring: Who writes and who reads each tensor.
      weights: By (op index, scheme name): its weights, or its constant operands where it has no weights.
      written: By (tensor index, format): its writer writes it in that format.
      edge: By (tensor index, reader, format): that reader (an op index or `OUTPUT`) reads it in that format while it
        was written wider.
      per_channel: Whether weights have a scale for each channel, or one for the tensor.
    """

    wiring: Wiring
    weights: Mapping[tuple[int, str], float]
    written: Mapping[tuple[int, Format], float]
    edge: Mapping[tuple[int, int, Format], float]
    per_channel: bool = True

    def of_weights(self, op: int, scheme: Scheme) -> float:
        """Error from the op's weights or constant operands; 0 in float.

        Raises:
          RunFolderError: It was not measured.
        """
        if scheme.is_float:
            return 0.0
        first = next(iter(self.wiring.writes[op]), None)
        weights = f"weights:{first}:{scheme.weight_variant}{'' if self.per_channel else 't'}"
        source = f"{weights} (weights:{first}:c{scheme.format.bits} for constant operands)"
        return _required(self.weights.get((op, scheme.name)), source)

    def of_writing(self, tensor: int, fmt: Format) -> float:
        """Error from writing a tensor in a format; 0 in float, and where nobody reads it.

        Raises:
          RunFolderError: It was not measured.
        """
        if fmt is Format.FLOAT or not self.wiring.readers[tensor]:
            return 0.0
        part = "input" if self.wiring.writer[tensor] == INPUT else "activation"
        return _required(self.written.get((tensor, fmt)), f"{part}:{tensor}:{_SUFFIX[fmt]}")

    def of_reading(self, tensor: int, reader: int, written: Format, read: Format) -> float:
        """Error from reading a tensor in a format; 0 unless that is narrower than it was written.

        Raises:
          RunFolderError: It was not measured.
        """
        if read.bits >= written.bits:
            return 0.0
        part = "input" if self.wiring.writer[tensor] == INPUT else "activation"
        return _required(self.edge.get((tensor, reader, read)), f"{part}:{tensor}:{_SUFFIX[read]}")


def build_noise(graph: Graph, table: SensitivityTable, *, per_channel: bool = True) -> Noise:
    """Takes the terms out of a sensitivity table.

    A reader's own term (`edge`) is measured where a tensor has several readers. Where it has one, or the edge was not
    measured, reading the tensor narrower counts as much as writing it narrower. The output of a movement op carries the
    values of its input, so quantizing it adds nothing when the op itself is quantized; when the op stays float, a
    narrower reader counts as much as the op's own edge does.

    Args:
      graph: The float network.
      table: Of the same network.
      per_channel: Whether the plan's weights shall have a scale for each channel, or one for the tensor.

    Raises:
      RunFolderError: The table is another network's, or of the other kind of weights.
    """
    if table.graph_digest != graph.digest:
        raise RunFolderError(
            "the sensitivity table is of another model",
            "run `bitplan analyze` on this model, or plan in the run folder it was analyzed in",
        )
    if table.per_channel != per_channel:
        kinds = {True: "a scale for each channel", False: "one scale for the tensor"}
        raise RunFolderError(
            f"the sensitivities are those of weights with {kinds[table.per_channel]}, and the target's have "
            f"{kinds[per_channel]}",
            "run `bitplan analyze` with the same --target",
        )
    measured = {m.source.id: m.error.nmse for m in table.measurements}
    wiring = wire(graph)
    weights: dict[tuple[int, str], float] = {}
    written: dict[tuple[int, Format], float] = {}
    edge: dict[tuple[int, int, Format], float] = {}

    for op in graph.ops:
        for name in op.schemes:
            variant = op.variant(SCHEMES[name])
            source = Source.of_weights(op, variant, per_channel=per_channel)
            nmse = _found(measured, source) if variant else 0.0
            _keep(weights, (op.index, name), nmse)

    # In execution order, so that a movement op finds the edge that leads into it.
    for tensor, writer in sorted(wiring.writer.items(), key=lambda item: item[1]):
        moved = wiring.source.get(writer)
        for variant, fmt in ACTIVATION_VARIANTS.items():
            own = _found(measured, Source("input" if writer == INPUT else "activation", variant, tensor))
            arriving = edge.get((moved, writer, fmt)) if moved is not None else None
            _keep(written, (tensor, fmt), 0.0 if moved is not None else own)
            for reader in wiring.readers[tensor]:
                apart = _found(measured, Source("edge", variant, tensor, consumer=reader))
                _keep(edge, (tensor, reader, fmt), _first(apart, own, arriving))
    return Noise(wiring, weights, written, edge, per_channel)


def noise_shares(graph: Graph, noise: Noise, schemes: Sequence[Scheme], io: Format) -> list[float]:
    """Each op's share of a plan's predicted error; they sum to it.

    An op answers for its weights, for what it writes and for what it reads narrower than it was written. The rounding
    of a model input counts with its first reader, that of a model output with its writer.

    Args:
      graph: The float network.
      noise: Its terms.
      schemes: One for each op, in execution order.
      io: Format of the model's inputs and outputs.

    Returns:
      nmse, one for each op.

    Raises:
      RunFolderError: A term that the schemes need was not measured.
    """
    formats = {op.index: scheme.format for op, scheme in zip(graph.ops, schemes, strict=True)} | {INPUT: io, OUTPUT: io}
    shares = [noise.of_weights(op.index, schemes[op.index]) for op in graph.ops]
    for tensor, writer in noise.wiring.writer.items():
        readers = noise.wiring.readers[tensor]
        owner = writer if writer != INPUT else readers[0] if readers else OUTPUT
        if owner != OUTPUT:
            shares[owner] += noise.of_writing(tensor, formats[writer])
        for reader in readers:
            answers = reader if reader != OUTPUT else owner
            if answers != OUTPUT:
                shares[answers] += noise.of_reading(tensor, reader, formats[writer], formats[reader])
    return shares


def evaluate_noise(graph: Graph, noise: Noise, schemes: Sequence[Scheme], io: Format) -> float:
    """A plan's predicted error: the sum of `noise_shares`, an nmse at the network's output."""
    return math.fsum(noise_shares(graph, noise, schemes, io))


def _found(measured: Mapping[str, float], source: Source) -> float | None:
    """The nmse of a source; None where it was not measured or came out as no number."""
    nmse = measured.get(source.id, math.nan)
    return max(0.0, nmse) if math.isfinite(nmse) else None


def _keep(terms: dict[_Key, float], key: _Key, value: float | None) -> None:
    if value is not None:
        terms[key] = value


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _required(value: float | None, source: str) -> float:
    if value is None:
        raise RunFolderError(
            f"the sensitivity table has no finite figure for {source}",
            "run `bitplan analyze` again with every scheme that the plan may use (--allow)",
        )
    return value

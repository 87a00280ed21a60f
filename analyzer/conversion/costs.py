"""Predicted bytes of an emitted file, as a sum that a planner can take apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..network import flatbuffer as fb
from ..network import packing
from ..network.kernels import KEEPS_SCALE
from ..network.wiring import INPUT, OUTPUT, Wiring, wire
from ..schema import SCHEMES, Format, Graph, Op, Scheme

_OUTPUT_SCALE = frozenset({
    "CONCATENATION", "PACK", "MAXIMUM", "PADV2", "SELECT", "SELECT_V2", "DYNAMIC_UPDATE_SLICE",
})  # fmt: skip
"""Ops that litert-quantizer lets read their inputs with their output's scale."""

_BOUND_SCALE = KEEPS_SCALE | _OUTPUT_SCALE | {"SOFTMAX", "TANH", "LOGISTIC"}
"""Ops whose output scale is not free, so that it cannot be made to fit the op that reads it."""


_LAYOUTS = 64
"""Bytes of the vtables that the first QUANTIZE, DEQUANTIZE and quantized tensor bring; they come to 30 to 100."""


@dataclass(frozen=True)
class Border:
    """A QUANTIZE or DEQUANTIZE op that changes a tensor's format for some of its readers.

    Attributes:
      tensor: Tensor index.
      writer: The op that writes it, or `INPUT`.
      readers: The ops (or `OUTPUT`) that share it when they read in `format`.
      format: The format it makes.
      bytes: Its op, its tensor and their names.
      always: Whether it is also needed where the writer writes that format, because the readers demand their own scale.
    """

    tensor: int
    writer: int
    readers: tuple[int, ...]
    format: Format
    bytes: int
    always: bool = False


@dataclass(frozen=True)
class Costs:
    """File bytes by choice.

    Attributes:
      fixed_bytes: What every file has.
      io_bytes: What the model inputs add by their format.
      op_bytes: By (op index, scheme name): what no other op may share (bias, scales, split).
      shared: By (op index, scheme name): keys of `shared_bytes` that this choice needs.
      shared_bytes: By (buffer, encoding): weights that several ops may share; counted once where any op needs them. By
        (channels, "zero points") too: the zero points of all constants with so many channels.
      borders: See `Border`.
    """

    fixed_bytes: int
    io_bytes: Mapping[Format, int]
    op_bytes: Mapping[tuple[int, str], int]
    shared: Mapping[tuple[int, str], tuple[tuple[int, str], ...]]
    shared_bytes: Mapping[tuple[int, str], int]
    borders: tuple[Border, ...]

    def total(self, schemes: Sequence[Scheme], io: Format) -> int:
        """Predicted bytes of the file.

        Args:
          schemes: One for each op, in execution order.
          io: Format of the model's inputs and outputs.
        """
        formats = {index: scheme.format for index, scheme in enumerate(schemes)} | {INPUT: io, OUTPUT: io}
        choices = [(index, scheme.name) for index, scheme in enumerate(schemes)]
        needed = {key for choice in choices for key in self.shared.get(choice, ())}
        return (
            self.fixed_bytes
            + self.io_bytes[io]
            + sum(self.op_bytes[choice] for choice in choices)
            + sum(self.shared_bytes[key] for key in needed)
            + sum(border.bytes for border in self.borders if crosses(border, formats))
        )

    def corrected(self, by: int) -> Costs:
        """The same costs with `by` bytes more in every file: what an emitted file showed the prediction to lack."""
        return replace(self, fixed_bytes=self.fixed_bytes + by)


def crosses(border: Border, formats: Mapping[int, Format]) -> bool:
    """Whether a border op is needed: somebody reads its format, and it is not what was written.

    Args:
      border: The border.
      formats: By op index, with `INPUT` and `OUTPUT`.
    """
    if formats[border.writer] is border.format and not border.always:
        return False
    return any(formats[reader] is border.format for reader in border.readers)


def build_costs(graph: Graph, flatbuffer: bytes, *, per_channel: bool = True) -> Costs:
    """Prices every choice for a network.

    The base is the float file as it is written again; every choice adds what it has over that. What depends on the
    order of things in the file (padding, the first use of an operator code) is priced at its mean, so that the total
    is a few bytes an op off the truth.

    Args:
      graph: Of `flatbuffer`.
      flatbuffer: The float model, as `load_float` makes it.
      per_channel: Whether weights have a scale for each channel, or one for the tensor.
    """
    return _Pricing(graph, fb.read(flatbuffer), per_channel).costs()


@dataclass(frozen=True)
class _Use:
    """A float constant as one op reads it; `role` is `weights`, `bias` or `constant`."""

    op: Op
    tensor: int
    buffer: int
    role: str


@dataclass(frozen=True)
class _Stored:
    """How a constant lies in the file under a scheme.

    Attributes:
      encoding: Equal where ops that read the same constant can share it; None where they never can.
      size: Bytes of its values.
      channels, axis: Of its scales; 0 channels in float.
    """

    encoding: str | None
    size: int
    channels: int = 0
    axis: int = 0


class _Pricing:
    """Collects the sums of `Costs`. Bytes stay fractions until the end, because padding is priced at its mean."""

    def __init__(self, graph: Graph, model: Any, per_channel: bool) -> None:
        self._graph, self._model, self._per_channel = graph, model, per_channel
        self._tensors = model.subgraphs[0].tensors
        self._wiring = wire(graph)
        self._uses = list(_uses(graph))
        self._tensor_readers = Counter(use.tensor for use in self._uses)
        self._buffer_readers = Counter(use.buffer for use in self._uses)
        self._shared_bytes: dict[tuple[int, str], float] = {}

    def costs(self) -> Costs:
        op_bytes: dict[tuple[int, str], float] = {}
        shared: dict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
        for op in self._graph.ops:
            quantized = self._one_scale(self._wiring.writes[op.index])
            for name in op.schemes:
                scheme = SCHEMES[name]
                op_bytes[op.index, name] = 0.0 if scheme.is_float else quantized
                op_bytes[op.index, name] += self._split(op, scheme) if scheme.is_split else 0.0
        for use in self._uses:
            for name in use.op.schemes:
                choice = (use.op.index, name)
                own, keys = self._constant(use, self._stored(use, SCHEMES[name]))
                op_bytes[choice] += own
                shared[choice] += keys
        inputs = self._one_scale([t for t, writer in self._wiring.writer.items() if writer == INPUT])
        return Costs(
            fixed_bytes=round(self._fixed()),
            io_bytes={fmt: 0 if fmt is Format.FLOAT else round(inputs) for fmt in Format},
            op_bytes={choice: round(size) for choice, size in op_bytes.items()},
            shared={choice: tuple(dict.fromkeys(keys)) for choice, keys in shared.items() if keys},
            shared_bytes={key: round(size) for key, size in self._shared_bytes.items()},
            borders=tuple(find_borders(self._graph, self._wiring)),
        )

    def _fixed(self) -> float:
        """The float file without what the choices bring back, with the operator codes that most plans add."""
        size = len(fb.write(self._model)) + 2.0 * packing.opcode_bytes() + _LAYOUTS
        size -= sum(packing.buffer_bytes(4 * self._elements(use)) for use in {u.buffer: u for u in self._uses}.values())
        shared = {use.tensor for use in self._uses if self._tensor_readers[use.tensor] > 1}
        return size - sum(packing.tensor_bytes(self._name(t), self._tensors[t]) for t in shared)

    def _constant(self, use: _Use, stored: _Stored) -> tuple[float, list[tuple[int, str]]]:
        """What one op's reading of a constant costs: (bytes of its own, keys of what it shares)."""
        own, keys = 0.0, []
        scales = self._scales(use, stored)
        if self._tensor_readers[use.tensor] > 1:
            scales += packing.tensor_bytes(self._name(use.tensor), self._tensors[use.tensor])
        parts = (
            ("tensor", use.tensor, scales, self._tensor_readers[use.tensor]),
            ("buffer", use.buffer, packing.buffer_bytes(stored.size), self._buffer_readers[use.buffer]),
        )
        for part, index, size, readers in parts:
            if readers > 1 and stored.encoding is not None:
                key = (index, f"{part}:{stored.encoding}")
                self._shared_bytes[key] = size
                keys.append(key)
            else:
                own += size
        if stored.channels > 1:
            key = (stored.channels, "zero points")
            self._shared_bytes[key] = packing.zero_points_bytes(stored.channels)
            keys.append(key)
        return own, keys

    def _stored(self, use: _Use, scheme: Scheme) -> _Stored:
        count = self._elements(use)
        if scheme.is_float:
            return _Stored("float", 4 * count)
        if use.role == "bias":
            # int32 beside int8 activations, int64 beside int16; its scale is the op's own product of scales.
            scales = count if self._per_channel else 1
            return _Stored(None, count * (4 if scheme.format is Format.INT8 else 8), scales)
        if use.role == "constant":
            return _Stored(scheme.format.value, count * scheme.format.bits // 8, 1)
        shape, axis = self._graph.tensors[use.tensor].shape, use.op.channel_axis or 0
        size = -(-count // 2) if scheme.weight_bits == 4 else count
        encoding = None if scheme.is_split else f"int{scheme.weight_bits}:{shape}:{axis}"
        return _Stored(encoding, size, shape[axis], axis) if self._per_channel else _Stored(encoding, size, 1)

    def _split(self, op: Op, scheme: Scheme) -> float:
        """The second half of a split: its weights and bias, two partial sums, a second op and the ADD."""
        parsed = self._model.subgraphs[0].operators[op.index]
        output = self._tensors[op.outputs[0]]
        size = packing.op_bytes(parsed) + packing.add_bytes()
        for part in ("hi", "lo"):
            size += packing.tensor_bytes(f"{op.index}.{part}", output) + packing.quantization_bytes(output, 1)
        for use in self._uses:
            if use.op.index == op.index and use.role != "constant":
                stored = self._stored(use, scheme)
                size += packing.buffer_bytes(stored.size) + self._scales(use, stored)
                size += packing.tensor_bytes(f"{op.index}.lo.w", self._tensors[use.tensor])
        return size

    def _scales(self, use: _Use, stored: _Stored) -> float:
        if not stored.channels:
            return 0.0
        return packing.quantization_bytes(self._tensors[use.tensor], stored.channels, stored.axis)

    def _one_scale(self, tensors: Sequence[int]) -> float:
        return sum(packing.quantization_bytes(self._tensors[t], 1) for t in tensors)

    def _elements(self, use: _Use) -> int:
        return self._graph.tensors[use.tensor].elements

    def _name(self, tensor: int) -> str:
        return self._graph.tensors[tensor].name


def _uses(graph: Graph) -> Iterator[_Use]:
    for op in graph.ops:
        roles = [("weights", op.weights), ("bias", op.bias), *(("constant", t) for t in op.constants)]
        for role, tensor in roles:
            buffer = None if tensor is None else graph.tensors[tensor].buffer
            if tensor is not None and buffer is not None:
                yield _Use(op, tensor, buffer, role)


def find_borders(graph: Graph, wiring: Wiring) -> Iterator[Border]:
    for tensor, writer in wiring.writer.items():
        readers = wiring.readers[tensor]
        demanding = [r for r in readers if r != OUTPUT and graph.ops[r].opcode in _OUTPUT_SCALE]
        groups = [(tuple(r for r in readers if r not in demanding), False)]
        # A single demanding reader gets its scale from the writer itself, where the writer's scale is free.
        yields = len(readers) == 1 and writer != INPUT and graph.ops[writer].opcode not in _BOUND_SCALE
        groups += [((reader,), not yields) for reader in demanding]
        rank = len(graph.tensors[tensor].shape)
        for group, own_scale in groups:
            if not group:
                continue
            for fmt in Format:
                quantized = fmt is not Format.FLOAT
                size = round(packing.border_bytes(rank, quantized))
                yield Border(tensor, writer, group, fmt, size, own_scale and quantized)

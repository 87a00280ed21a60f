"""What one quantized file shows by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FILE_KINDS: Mapping[str, str] = {
    "integer": "integer weights and activations",
    "mixed": "some ops in integers, others in float",
    "dynamic range": "integer weights, activations that are rounded while it runs",
    "weight only": "integer weights that are turned into float before use",
    "float16": "float16 weights, float activations",
    "float": "nothing is quantized",
}


@dataclass(frozen=True)
class WeightCodes:
    """How one op uses the integers that its weights have.

    Attributes:
      op: `Op.key`.
      layer: Its label.
      opcode: TFLite's name.
      bits: 4, 8 or 16.
      elements: How many weights.
      channels: Output channels.
      per_channel: Whether each has a scale of its own.
      spread: Largest over smallest channel range: with one scale for all, the narrowest channel has that many times
        fewer steps.
      at_ends: Share of weights at the largest or smallest integer of their kind, 0 to 1.
      used: Share of the integers between both ends that occur at least once.
      unreached: Channels (or tensors) whose largest weight uses less than 90 % of the integers on its side.
      empty: Channels whose weights are all zero.
    """

    op: str
    layer: str
    opcode: str
    bits: int
    elements: int
    channels: int
    per_channel: bool
    spread: float
    at_ends: float
    used: float
    unreached: int
    empty: int


@dataclass(frozen=True)
class FileFinding:
    """Something in a file that is known to cost accuracy, or that does not fit together.

    Attributes:
      name: What it is, as causes of an audit are called.
      layer: Label of the op, "" for the whole file.
      evidence: What was seen, in words.
      amount: By which findings of one name are ranked; a ratio, a share or a count.
    """

    name: str
    layer: str
    evidence: str
    amount: float


@dataclass(frozen=True)
class FileInspection:
    """A quantized file alone.

    Attributes:
      quantization: Of `FILE_KINDS`.
      file_bytes: Its size.
      ops: How many.
      tensor_types: Count of tensors by type.
      weights: Every op with quantized weights, in execution order.
      findings: In the order of their names, the largest of each name first.
      unknown: What one file cannot tell, in words.
    """

    quantization: str
    file_bytes: int
    ops: int
    tensor_types: Mapping[str, int]
    weights: tuple[WeightCodes, ...]
    findings: tuple[FileFinding, ...]
    unknown: tuple[str, ...]

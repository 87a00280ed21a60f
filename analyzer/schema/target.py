"""What a model will run on: the schemes that exist there for each op, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .network import Format

RUNTIMES = ("litert", "tflite-micro", "vela", "other")
"""Whose figures of memory and time hold for a target."""

EVERY_OP = "*"
"""Stands for every op that a table does not name."""

ASSUMED = "assumed"
"""The source of a number that no document gives."""


@dataclass(frozen=True)
class Kernel:
    """A way in which a target runs an op, or changes a tensor's format.

    Attributes:
      cost: Relative time of one multiply-accumulate, or of one element where an op has none; an int8 CONV_2D of that
        target is 1.
      source: Key of the document that says that it exists.
      cost_source: Key of the document that the cost comes from, often `ASSUMED`.
      note: What limits it, in words.
    """

    cost: float
    source: str
    cost_source: str
    note: str = ""


@dataclass(frozen=True)
class Target:
    """What a model will run on.

    Attributes:
      name: As `--target` takes it.
      title: For people.
      runtime: One of `RUNTIMES`.
      integer_only: It never runs a float op, not even by falling back to a CPU.
      per_channel: Weights may have one scale for each channel; else they have one for the tensor.
      io: Formats of the model's inputs and outputs that need no border on a CPU.
      kernels: By opcode (or `EVERY_OP`) and scheme name. The splits `w16a8` and `w16a16` are not listed: they are two
        8-bit ops and an ADD, and exist where these do.
      border: By (format read, format written): QUANTIZE or DEQUANTIZE of one element. A pair that is missing cannot be
        had.
      sources: Document by key: its title, version or date, and where it is.
      measured: Milliseconds by (key of an op, scheme name); they go before `kernels`. For one model on one machine.
      measured_work: What each of these ops computes (`strategies.targets.work`) by its key, as far as the table says
        so: it tells a model from the same one at another resolution.
      mac_ms: Milliseconds of a cost of 1 where `measured` holds any, so that both add up; else None.
    """

    name: str
    title: str
    runtime: str
    integer_only: bool
    per_channel: bool
    io: tuple[Format, ...]
    kernels: Mapping[str, Mapping[str, Kernel]]
    border: Mapping[tuple[Format, Format], Kernel]
    sources: Mapping[str, str]
    measured: Mapping[tuple[str, str], float] = field(default_factory=lambda: MappingProxyType({}))
    measured_work: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    mac_ms: float | None = None

    def kernel(self, opcode: str, scheme: str) -> Kernel | None:
        """The kernel of an op in a listed scheme; None where the target has none, and for the splits."""
        return self.kernels.get(opcode, self.kernels.get(EVERY_OP, {})).get(scheme)

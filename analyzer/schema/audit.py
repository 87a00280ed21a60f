"""A quantized file of any converter beside its float parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .attribution import Attribution
from .causes import Cause
from .drops import Drop
from .options import OptionTable
from .outcomes import Evaluation


@dataclass(frozen=True)
class AuditCause:
    """One source of a quantized file's error, measured alone in the float network.

    Attributes:
      name: `weights`, `activation` or `input`; a kind of `LayerShare` where the error was divided.
      layer: Label of the op, or of the input.
      opcode: TFLite's name; "" for an input.
      nmse: At the network's output.
      share_of_error: Of the file's own error where it was divided (below 0 where the source undoes others' error), else
        of the sum over all sources, 0 to 1.
      evidence: What was measured, in words.
    """

    name: str
    layer: str
    opcode: str
    nmse: float
    share_of_error: float
    evidence: str


@dataclass(frozen=True)
class Audit:
    """A float model beside a quantized file of it.

    Attributes:
      sources: What of the file is quantized, worst first: each with its share of `attribution`, or measured alone where
        there is none.
      evaluation: The quantized file on all evaluation samples.
      matched_ops, total_ops: How many of the float network's ops were found in the file.
      unmatched: Keys of those that were not.
      parts_nmse: Sum of the sources.
      measured_nmse: Of the file itself on the same samples; what `parts_nmse` misses of it is kernels, and, of
        sources measured alone, interaction.
      samples: On which the sources stand.
      external_buffers: Whether buffers lie behind the flatbuffer, where TFLite Micro reads garbage.
      causes: Why the file is worse, each mended alone and run, worst first.
      ruled_out: Causes that were looked for and not found, and those that could not be tested.
      causes_nmse, simulated_nmse: As in `CauseTrial`; None where nothing was tried.
      attribution: The error divided among its parts; None where the network has an op without a rule for it.
      drop: Which classes and samples `evaluation`'s drop hits, and where on the way it arises.
      options: What to do about it, measured; None where nobody asked.
    """

    sources: tuple[AuditCause, ...]
    evaluation: Evaluation
    float_bytes: int
    quantized_bytes: int
    tensor_types: Mapping[str, int]
    matched_ops: int
    total_ops: int
    unmatched: tuple[str, ...]
    parts_nmse: float
    measured_nmse: float
    samples: int
    external_buffers: bool
    causes: tuple[Cause, ...] = ()
    ruled_out: tuple[Cause, ...] = ()
    causes_nmse: float | None = None
    simulated_nmse: float | None = None
    attribution: Attribution | None = None
    drop: Drop | None = None
    options: OptionTable | None = None

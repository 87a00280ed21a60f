"""Where a quantized file's output error comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ERROR_KINDS: Mapping[str, str] = {
    "input rounding": "the model's input, rounded to the file's steps",
    "input clipping": "the model's input, clipped to the file's range",
    "weights": "the file's weights and other constants",
    "bias": "the file's biases",
    "activation rounding": "activations, rounded to the file's steps",
    "activation clipping": "activations, clipped to the file's ranges",
    "kernels": "what the file answers beyond its numbers in float arithmetic: kernels, dynamic ranges, unaligned ops",
}


@dataclass(frozen=True)
class KindShare:
    """What one kind of change has of the output error.

    Attributes:
      kind: Of `ERROR_KINDS`.
      nmse: Its Shapley value; of `kernels` the measured error less that of all other kinds together.
      standard_error: Of `nmse`, over samples; infinite of one sample.
      share_of_error: `nmse` by the measured whole; below 0 where the kind undoes what others do.
      alone: nmse with this kind alone in the float network; None for `kernels`.
      by_layer: Sum of what `LayerShare` says of its layers; `nmse` less this is not told by layer. None for `kernels`.
    """

    kind: str
    nmse: float
    standard_error: float
    share_of_error: float
    alone: float | None = None
    by_layer: float | None = None


@dataclass(frozen=True)
class LayerShare:
    """What one layer's change of one kind has of the output error.

    Attributes:
      layer: Label of the op that has the weights or writes the activation, or of the input.
      op: `Op.key`; "" for an input.
      opcode: TFLite's name; "" for an input.
      kind: Of `ERROR_KINDS`.
      nmse: Its Aumann-Shapley share.
      standard_error: Of `nmse`, over batches of samples; infinite of one batch.
      share_of_error: `nmse` by the measured whole.
      alone: nmse with this change alone in the float network; None where it was not run.
      removed: nmse that goes away with this change out and all others in; None where it was not run.
    """

    layer: str
    op: str
    opcode: str
    kind: str
    nmse: float
    standard_error: float
    share_of_error: float
    alone: float | None = None
    removed: float | None = None


@dataclass(frozen=True)
class ErrorInteraction:
    """What two changes have together beyond what they have apart.

    Attributes:
      first, second: Kinds, or `kind of layer`.
      nmse: Above 0 they amplify each other, below 0 they cancel. Of kinds the Shapley interaction index; of layers
        v(both) - v(first) - v(second), alone in the float network.
      standard_error: Over samples.
    """

    first: str
    second: str
    nmse: float
    standard_error: float

    @property
    def effect(self) -> str:
        """`amplify`, `cancel`, or `none` where these samples show neither (two standard errors)."""
        if abs(self.nmse) <= 2 * self.standard_error:
            return "none"
        return "amplify" if self.nmse > 0 else "cancel"


@dataclass(frozen=True)
class NotAligned:
    """An op of one of the two files without a counterpart in the other.

    Attributes:
      op: `Op.key`.
      layer: Its label.
      file: `float` or `quantized`: which of the two has it.
      reason: Why, in words.
      harmless: Whether it only moves values or works out a shape, so that nothing is missed.
    """

    op: str
    layer: str
    file: str
    reason: str
    harmless: bool


@dataclass(frozen=True)
class FileCoverage:
    """How much of a float network was found in a file.

    Attributes:
      matched_ops, total_ops: Ops of the float network; those that only move values count as found.
      matched_macs, total_macs: Their multiply-accumulates for one sample.
      found_by: Number of layers by what they were told by: `weights`, `names`, `neighbours`, `order`.
      dynamic_ops: Ops whose inputs are rounded while they run, with ranges that are not in the file.
      not_aligned: What has no counterpart.
    """

    matched_ops: int
    total_ops: int
    matched_macs: int
    total_macs: int
    found_by: Mapping[str, int]
    dynamic_ops: int
    not_aligned: tuple[NotAligned, ...]


@dataclass(frozen=True)
class Attribution:
    """The output error of a quantized file, divided among what makes it.

    Attributes:
      measured_nmse: Of the file in the interpreter: the whole. The `nmse` of all `kinds` sum to it.
      standard_error: Of `measured_nmse`, over samples.
      substituted_nmse: Of the float network with all of the file's numbers.
      kinds: Largest first.
      layers: Largest first; without changes that have no effect at all.
      interactions: Of kinds, largest first.
      layer_interactions: Of the largest layers.
      coverage: On how much of the network this stands.
      samples: How many.
    """

    measured_nmse: float
    standard_error: float
    substituted_nmse: float
    kinds: tuple[KindShare, ...]
    layers: tuple[LayerShare, ...]
    interactions: tuple[ErrorInteraction, ...]
    layer_interactions: tuple[ErrorInteraction, ...]
    coverage: FileCoverage
    samples: int

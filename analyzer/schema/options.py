"""What to do about a quantized file: options, each measured on a file that was really made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .measurements import OutputError
from .outcomes import Evaluation

OPTIONS: Mapping[str, str] = {
    "leave": "leave it as it is",
    "recalibrate": "int8 anew, other ranges",
    "repair": "int8 anew, repaired",
    "one_island": "int8, one op in float",
    "two_islands": "int8, two ops in float",
    "hybrid": "a precision for every op",
    "int16": "16-bit activations everywhere",
    "int4_repair": "4-bit weights, repaired",
}
"""What each option is, by its name, in the order in which they are shown: what changes least first."""


@dataclass(frozen=True)
class Option:
    """One thing to do, and what its file turned out to be.

    Attributes:
      name: One of `OPTIONS`.
      facts: What was done and how it was chosen, a line each; never chosen on evaluation samples.
      missing: Why there is no such file; "" where there is one, as in all that follows.
      evaluation: Size, memory, error and drop on the evaluation samples, paired with the float network; on the first
        ones alone where int16 kernels are slow.
      held_back: Error on calibration samples from which no range and no weight comes; what had to be chosen between
        files was chosen on them.
      latency: Predicted for one sample on the target, in `OptionTable.latency_unit`; None where the table cannot tell.
      runs_on: Names of the shipped targets whose tables have every op of the file as it is.
      refused_by: Why not, by the names of the others.
    """

    name: str
    facts: tuple[str, ...] = ()
    missing: str = ""
    evaluation: Evaluation | None = None
    held_back: OutputError | None = None
    latency: float | None = None
    runs_on: tuple[str, ...] = ()
    refused_by: Mapping[str, str] | None = None


@dataclass(frozen=True)
class OptionTable:
    """All options for one file.

    Attributes:
      options: In the order of `OPTIONS`.
      advised: Name of the one with the least error on held-back samples among those that the target runs, that are no
        larger than the file (or the budget), need hardly more memory, and are hardly slower than int8; "leave" where
        none is clearly better.
      target: Name of the target that files were made for and latencies are predicted on.
      latency_unit: `ms` where the target was measured, else `int8 = 1`.
      float_bytes: Size of the float file.
      samples: Evaluation samples.
      held_back: Calibration samples that errors were compared on.
    """

    options: tuple[Option, ...]
    advised: str
    target: str
    latency_unit: str
    float_bytes: int
    samples: int
    held_back: int

    def find(self, name: str) -> Option:
        """An option by its name; KeyError where it was not tried."""
        return {option.name: option for option in self.options}[name]

"""What a repair did to a network, and how far a simulation of it is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from .outcomes import Interval

REPAIRS = ("equalization", "ranges", "bias_correction", "rounding", "distillation")
"""Names of repairs, in the order in which they are tried: what changes the whole network first, the longest last."""

RANGE_METHODS = ("auto", "min-max", "percentile-99.9", "percentile-99.99", "percentile-99.999", "mse", "kl")
"""How the repair of ranges chooses them; `auto` takes for each tensor the one with the least measured error."""


@dataclass(frozen=True)
class HeldBackError:
    """How a network did in the middle of its training on samples that it was not trained on.

    Attributes:
      step: After how many steps; 0 is the planned file without any training.
      error: Mean over the samples.
    """

    step: int
    error: float


@dataclass(frozen=True)
class Likeness:
    """How alike two ways of running one network are, on the same samples.

    Attributes:
      agreement: Share of samples with the same top-1; None unless a classifier.
      nmse: Mean squared difference of the compared outputs over the float network's variance.
    """

    agreement: float | None
    nmse: float


@dataclass(frozen=True)
class KernelAgreement:
    """The simulation of a file, and LiteRT's two sets of kernels, each beside each.

    Attributes:
      samples: How many they ran on.
    """

    simulated_xnnpack: Likeness
    simulated_reference: Likeness
    reference_xnnpack: Likeness
    samples: int


@dataclass(frozen=True)
class RepairStep:
    """One repair that was tried: the file with it beside the file without it, on samples that were held back.

    Attributes:
      name: One of `REPAIRS`.
      kept: Whether the file is made with it.
      before, after: Error of the emitted file without and with it; see `RepairLog.error_of`. The latter is None where
        the repair was not tried to its end.
      drop_before, drop_after: Points of accuracy, see `RepairLog.drop_of`; None where no classes are scored.
      facts: What it changed, a line each.
      skipped: Why it was not tried; "" where it was.
      curve: Held-back error while training; empty for other repairs.
    """

    name: str
    kept: bool
    before: float
    after: float | None
    drop_before: Interval | None = None
    drop_after: Interval | None = None
    facts: tuple[str, ...] = ()
    skipped: str = ""
    curve: tuple[HeldBackError, ...] = ()


@dataclass(frozen=True)
class RepairLog:
    """The repairs of one plan, in the order in which they were tried; each builds on those that were kept.

    Attributes:
      steps: All of them.
      error_of: What decided: `kl` (divergence from the float network's class distribution, nats) or `nmse`, mean over
        the samples that were held back.
      drop_of: As in `Trial`.
      learned_from: Samples that repairs were made from: the calibration samples and what follows them.
      held_back: Samples that decided.
      plain_bytes, bytes: Of the emitted file before and after.
      kernels: How far the simulation that repairs were made in is to be trusted, on held-back samples; None where none
        was used.
    """

    steps: tuple[RepairStep, ...]
    error_of: str
    drop_of: str
    learned_from: int
    held_back: int
    plain_bytes: int
    bytes: int
    kernels: KernelAgreement | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(step.name for step in self.steps if step.kept)

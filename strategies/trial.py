"""Files on trial before the evaluation: how far off a prediction is, and how much accuracy a file loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..analyzer.conversion.verification import Comparison, Reference
from ..analyzer.measures.statistics import paired_bootstrap
from ..analyzer.measures.sweep import LabelledSource
from ..analyzer.network import runtime
from ..analyzer.schema import Format, Graph, Interval, Plan
from .drafting import Draft

SAMPLES = 512
"""How many samples are held back, where there are so many."""

ERROR_SAMPLES = 128
"""On how many of them an error is compared with its prediction: it is a mean over all output values, and settles
long before a drop of accuracy does."""

_SLOW_SAMPLES = 64
"""The same where a file has int16 kernels, which take some 50 times as long on a CPU."""

_SLOW_SHARE = 0.02
"""Share of a network's multiply-accumulates in int16 from which a file counts as slow."""


@dataclass(frozen=True)
class Outcome:
    """One file on trial.

    Attributes:
      nmse: At the network's output.
      drop: Points of accuracy, see `Comparison`; None where the network scores no classes.
      comparison: Sample by sample.
    """

    nmse: float
    drop: Interval | None
    comparison: Comparison


@dataclass(frozen=True)
class Court:
    """The samples of a trial and the float network's answers to them.

    Attributes:
      flatbuffer, graph: The float network.
      samples: What files are judged on.
      held_back: Whether neither ranges nor sensitivities were made from these samples.
      seed: Of the bootstrap.
      workers: Threads.
    """

    flatbuffer: bytes
    graph: Graph
    samples: LabelledSource
    held_back: bool
    seed: int = 0
    workers: int = runtime.DEFAULT_WORKERS

    def judge(self, draft: Draft) -> Outcome:
        """Error and drop on all samples, or on the first ones where the file is slow."""
        comparison = self._reference.compare(draft.conversion.model, self.samples_for(draft.plan))
        drop = None
        if comparison.drops is not None:
            drop = paired_bootstrap(comparison.drops, seed=self.seed, unit=100.0)
        return Outcome(comparison.error.nmse, drop, comparison)

    def nmse(self, draft: Draft, count: int) -> float:
        """Error alone, on the first so many samples."""
        return self._reference.error(draft.conversion.model, count).nmse

    def samples_for(self, plan: Plan) -> int:
        """How many samples a plan's file is judged on."""
        return len(self.samples) if not self._is_slow(plan) else min(ERROR_SAMPLES, len(self.samples))

    def error_samples_for(self, plan: Plan) -> int:
        """How many samples single terms are measured on."""
        return min(_SLOW_SAMPLES if self._is_slow(plan) else ERROR_SAMPLES, len(self.samples))

    def _is_slow(self, plan: Plan) -> bool:
        return int16_macs(self.graph, plan) > _SLOW_SHARE * sum(op.macs for op in self.graph.ops)

    @cached_property
    def _reference(self) -> Reference:
        return Reference(self.flatbuffer, self.graph, self.samples, workers=self.workers)


def int16_macs(graph: Graph, plan: Plan) -> int:
    """Multiply-accumulates that a plan has in int16 kernels."""
    return sum(
        op.macs for op, scheme in zip(graph.ops, plan.schemes, strict=True) if scheme.format is Format.INT16
    )  # fmt: skip


def spread(count: int, of: Sequence[object]) -> list[int]:
    """Positions of `count` things out of a sequence, the first and the last among them, evenly between."""
    if count >= len(of):
        return list(range(len(of)))
    if count == 1:
        return [len(of) // 2]
    return sorted({round(i * (len(of) - 1) / (count - 1)) for i in range(count)})

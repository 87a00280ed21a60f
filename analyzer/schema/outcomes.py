"""What was decided, and what the emitted file turned out to be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .drops import Flips
from .interval import Interval as Interval
from .measurements import OutputError
from .network import SCHEMES, Format, Graph, Scheme
from .opinion import Opinion


@dataclass(frozen=True)
class Assignment:
    """One op's scheme in a plan.

    Attributes:
      op: `Op.key`.
      layer: Label only; ignored when a plan is read.
      predicted_nmse: This op's share of the predicted error.
      bytes: Predicted bytes of its weights, bias and scales under the scheme.
    """

    op: str
    layer: str
    scheme: str
    predicted_nmse: float = 0.0
    bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """A scheme for every op, in execution order.

    Attributes:
      strategy: `milp`, `greedy`, `threshold` or the name of a uniform scheme.
      io: Format of the model's inputs and outputs.
      budget_bytes: Limit on the file; None for none.
      predicted_bytes: Of the file.
      predicted_nmse: At the output, the sum of all noise terms.
      mip_gap: Relative optimality gap; None where no solver ran.
      status: The solver's own word.
      smallest_bytes: Predicted size of the smallest file these schemes allow, within the other limits.
      target: Name of the target that the schemes were chosen for.
      per_channel: Whether weights have a scale for each channel; else each tensor of weights has one.
      minimised: What the plan has least of: `noise`, `file_bytes`, `arena_bytes`, `latency` or `bops`.
      predicted_arena_bytes: What LiteRT's planner allocates for activations without delegates; None where nobody
        computed it, as for the next ones.
      predicted_latency: One op after the other on the target, in `latency_unit`.
      latency_unit: `ms` where the target was measured, `int8 = 1` for times of int8 everywhere, "" where nothing is
        predicted.
      predicted_bops: Multiply-accumulates x weight bits x activation bits of one sample.
      arena_budget_bytes, latency_budget, bops_budget, noise_budget: The other limits; None for none.
    """

    assignments: tuple[Assignment, ...]
    strategy: str
    io: Format
    allowed: tuple[str, ...]
    graph_digest: str
    predicted_bytes: int
    predicted_nmse: float
    budget_bytes: int | None = None
    smallest_bytes: int | None = None
    mip_gap: float | None = None
    status: str = ""
    target: str = "any"
    per_channel: bool = True
    minimised: str = "noise"
    predicted_arena_bytes: int | None = None
    predicted_latency: float | None = None
    latency_unit: str = ""
    predicted_bops: float | None = None
    arena_budget_bytes: int | None = None
    latency_budget: float | None = None
    bops_budget: float | None = None
    noise_budget: float | None = None

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        return tuple(SCHEMES[a.scheme] for a in self.assignments)

    def predicted(self, name: str) -> float:
        """What it is predicted to have of `noise`, `file_bytes`, `arena_bytes`, `latency` or `bops`; nan if unknown."""
        values = {
            "noise": self.predicted_nmse, "file_bytes": self.predicted_bytes, "bops": self.predicted_bops,
            "arena_bytes": self.predicted_arena_bytes, "latency": self.predicted_latency,
        }  # fmt: skip
        value = values[name]
        return math.nan if value is None else float(value)

    def limit(self, name: str) -> float | None:
        """The limit on one of the things that `predicted` knows; None for none."""
        limits: Mapping[str, float | None] = {
            "noise": self.noise_budget, "file_bytes": self.budget_bytes, "arena_bytes": self.arena_budget_bytes,
            "latency": self.latency_budget, "bops": self.bops_budget,
        }  # fmt: skip
        return limits[name]

    @classmethod
    def bare(
        cls,
        graph: Graph,
        schemes: Sequence[str],
        io: Format = Format.FLOAT,
        strategy: str = "given",
        *,
        per_channel: bool = True,
    ) -> Plan:
        """A plan with nothing predicted: one scheme name for each op, in execution order."""
        return cls(
            assignments=tuple(Assignment(op.key, op.layer, s) for op, s in zip(graph.ops, schemes, strict=True)),
            strategy=strategy,
            io=io,
            allowed=tuple(dict.fromkeys(schemes)),
            graph_digest=graph.digest,
            predicted_bytes=0,
            predicted_nmse=0.0,
            per_channel=per_channel,
        )


@dataclass(frozen=True)
class Evaluation:
    """One file measured on evaluation samples, paired with the float model on the same ones.

    Attributes:
      name: `float`, `int8 everywhere`, `w8a16 everywhere`, `plan` ...
      file_bytes: Size of the file.
      arena_bytes: Span of all activations that LiteRT's planner allocates without delegates.
      kernels: `xnnpack` or `reference`.
      error: Against float on `samples` samples, labels included where there are some.
      drop_points: Accuracy of float minus this one's, percentage points; where there are no labels, 100 minus the
        agreement with float. Paired bootstrap interval.
      drop_of: `accuracy`, `agreement` or `metric`: what `drop_points` is a drop of.
      mcnemar_p: Exact McNemar test of the difference; None without labels.
      discordant: Samples that only the float model got right, and only this one; for an agreement, samples that differ
        and 0. None for a metric, and where there is no drop.
      subset: Whether fewer than all evaluation samples were used.
      float_accuracy: The float model's on the same samples.
    """

    name: str
    file_bytes: int
    arena_bytes: int
    kernels: str
    error: OutputError
    drop_points: Interval | None
    drop_of: str
    mcnemar_p: float | None = None
    discordant: tuple[int, int] | None = None
    subset: bool = False
    float_accuracy: float | None = None


@dataclass(frozen=True)
class TypeMismatch:
    """A tensor of the emitted file whose type is not the planned one."""

    op: str
    layer: str
    tensor: str
    expected: str
    found: str


@dataclass(frozen=True)
class Verification:
    """What the emitted file really is.

    Attributes:
      evaluations: `float` first, then the baselines, `plan` last; then the same on subsets and other kernels.
      mismatches: Empty where the file is what was planned.
      tensor_types: Count of tensors by type in the emitted file.
      data_digest: Of the evaluation samples.
      on_calibration: There was no evaluation data; the figures stand on the calibration samples, on which the plan was
        chosen.
      opinion: What the target's own tool says of the file; None where there is no such tool, or it is not installed.
      flips: Samples that the emitted file puts into another class than the float network does; None unless a classifier
        was run on evaluation data.
      class_names: By class index; empty where nobody knows them.
    """

    evaluations: tuple[Evaluation, ...]
    mismatches: tuple[TypeMismatch, ...]
    tensor_types: Mapping[str, int]
    file_digest: str
    samples: int
    data_digest: str
    predicted_bytes: int
    predicted_nmse: float
    measured_nmse: float | None
    on_calibration: bool = False
    opinion: Opinion | None = None
    flips: Flips | None = None
    class_names: tuple[str, ...] = ()

    def find(self, name: str, subset: bool = False) -> Evaluation | None:
        return next((e for e in self.evaluations if e.name == name and e.subset == subset), None)

"""What there is to say of a plan beside itself: why, what else there was, what more would buy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .outcomes import Evaluation, Interval


@dataclass(frozen=True)
class Alternative:
    """Another scheme for one op, while all others keep theirs; movement ops behind it go along.

    Attributes:
      scheme: Its name.
      noise_change: Of the whole plan's predicted nmse.
      bytes_change: Of the file.
      latency_change: In the plan's unit.
      fits: Whether the plan would keep its limits.
    """

    scheme: str
    noise_change: float
    bytes_change: int
    latency_change: float
    fits: bool


@dataclass(frozen=True)
class Reason:
    """Why an op has its scheme. Both alternatives are single steps: the plan is not solved again around them.

    Attributes:
      op: `Op.key`.
      layer: Label.
      scheme: What the plan gives it.
      bytes: Of its weights, bias and scales.
      latency: Of the op alone, in the plan's unit.
      noise: Its share of the predicted error.
      cheaper: The next smaller scheme in bytes: what its scheme gains over it is that one's `noise_change`. None where
        none is smaller.
      next_best: What would raise the error least (or lower it most) if the op had to have another scheme; one that fits
        goes before one that does not. None where the op has no other.
      alternatives: All other schemes that the plan could give it, by their order in `SCHEMES`.
    """

    op: str
    layer: str
    scheme: str
    bytes: int
    latency: float
    noise: float
    cheaper: Alternative | None
    next_best: Alternative | None
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Price:
    """What a little more of something buys, from a point of a frontier and a better one.

    Attributes:
      of: `file_bytes`, `arena_bytes`, `latency` or `bops`.
      step: How much more.
      amount, noise: Of the point that is there now.
      next_amount, next_noise: Of the better one; it may be farther away than the step.
    """

    of: str
    step: float
    amount: float
    noise: float
    next_amount: float
    next_noise: float

    @property
    def bought(self) -> float:
        """nmse that a step removes: what the better point does, or a part of it where that is farther away."""
        return (self.noise - self.next_noise) * min(1.0, self.step / (self.next_amount - self.amount))


@dataclass(frozen=True)
class Rival:
    """A plan made in another way, beside the point of a frontier that uses no more.

    Attributes:
      name: How it was made.
      amount: What it uses of what the frontier runs along.
      noise: Its predicted nmse.
      frontier_amount, frontier_noise: Of the best point that uses no more; None where there is none.
    """

    name: str
    amount: float
    noise: float
    frontier_amount: float | None
    frontier_noise: float | None


@dataclass(frozen=True)
class OpChange:
    """One op in two plans.

    Attributes:
      op: `Op.key`.
      layer: Label, from the later plan.
      before, after: Names of its schemes.
      noise_change: Of its share of the predicted error.
      bytes_change: Of its weights, bias and scales.
    """

    op: str
    layer: str
    before: str
    after: str
    noise_change: float
    bytes_change: int

    @property
    def changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True)
class PlanDiff:
    """Two plans of networks of equal structure.

    Attributes:
      ops: All of them, in execution order.
      same_network: Whether both are of the same weights too; figures of two networks are of different things.
      noise_change, bytes_change: Of the whole.
      arena_change, latency_change: The same; None where a plan has no such figure, or their units differ.
    """

    ops: tuple[OpChange, ...]
    same_network: bool
    noise_change: float
    bytes_change: int
    arena_change: int | None
    latency_change: float | None

    @property
    def changes(self) -> tuple[OpChange, ...]:
        """The ops whose schemes differ."""
        return tuple(op for op in self.ops if op.changed)


@dataclass(frozen=True)
class RunDiff:
    """Two runs, or two plans.

    Attributes:
      plans: Their plans.
      latency_unit: Of the change of latency.
      before, after: The emitted files on evaluation data; None where a run was not verified, and for a bare plan.
    """

    plans: PlanDiff
    latency_unit: str
    before: Evaluation | None
    after: Evaluation | None


@dataclass(frozen=True)
class Remeasured:
    """An op's error as it is inside the plan, beside the prediction that it replaces.

    Attributes:
      op: `Op.key`.
      layer: Label.
      scheme: What the plan gave it.
      predicted: nmse that the prediction had for it.
      measured: nmse that goes away where the plan has this op in float.
    """

    op: str
    layer: str
    scheme: str
    predicted: float
    measured: float


@dataclass(frozen=True)
class Round:
    """A plan that was converted and measured before the evaluation data was looked at.

    Attributes:
      purpose: Why it was made: `plan`, `re-measured`, `more error allowed` or `less error allowed`.
      noise_limit: Largest predicted nmse it was allowed; None for none.
      predicted_nmse, measured_nmse: At the network's output; the latter on the samples of the trial.
      file_bytes: Of the emitted file.
      arena_bytes: What LiteRT's planner allocated for it without delegates.
      drop_points: Against float on the same samples; None where the network scores no classes.
      kept: Whether this is the plan of the run.
      remeasured: What was measured again because of this round, worst first.
    """

    purpose: str
    noise_limit: float | None
    predicted_nmse: float
    measured_nmse: float
    file_bytes: int
    arena_bytes: int
    drop_points: Interval | None
    kept: bool
    remeasured: tuple[Remeasured, ...] = ()

    @property
    def off(self) -> float:
        """By what share of the measured error the prediction misses it; nan where nothing was measured as wrong."""
        return abs(self.predicted_nmse - self.measured_nmse) / self.measured_nmse if self.measured_nmse else math.nan


@dataclass(frozen=True)
class Trial:
    """The rounds between a plan and the truth, on samples that neither ranges nor sensitivities were made from.

    Attributes:
      rounds: In order; exactly one is kept.
      samples: How many the rounds were measured on.
      held_back: Whether these samples were held back; else they are the calibration samples, for want of others.
      drop_of: `accuracy` with labels; `expected accuracy`, where the float network's own probabilities stand for
        labels: mean of p(class that float chooses) - p(class that the file chooses).
      max_drop_points: Largest drop that was asked for; None for none.
      answer: `holds`, `fails` or `undecided`; "" where no drop was asked for.
      advice: What would help, a line each.
    """

    rounds: tuple[Round, ...]
    samples: int
    held_back: bool
    drop_of: str = ""
    max_drop_points: float | None = None
    answer: str = ""
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrontierPoint:
    """A plan on a frontier.

    Attributes:
      schemes: Name for each op, in execution order.
      noise, file_bytes, arena_bytes, latency, bops: Predicted; None where nobody computed it.
      emitted_bytes, emitted_arena_bytes, measured_nmse: Of the emitted file, on the samples of the trial; None where
        the point was not converted.
      drop_points: The same; None also where the network scores no classes.
    """

    schemes: tuple[str, ...]
    noise: float
    file_bytes: int
    arena_bytes: int | None = None
    latency: float | None = None
    bops: float | None = None
    emitted_bytes: int | None = None
    emitted_arena_bytes: int | None = None
    measured_nmse: float | None = None
    drop_points: Interval | None = None


@dataclass(frozen=True)
class Frontier:
    """The best plans for every amount of something.

    Attributes:
      along: `file_bytes`, `arena_bytes` or `latency`.
      points: By rising amount and falling error.
      rivals: Plans made in other ways, each beside the best point that uses no more.
    """

    along: str
    points: tuple[FrontierPoint, ...]
    rivals: tuple[Rival, ...]


@dataclass(frozen=True)
class Planning:
    """What is known about a plan beside the plan itself; parts that were not computed are None or empty.

    Attributes:
      reasons: One for each op, in execution order.
      price: What a little more of the budget would buy.
      trial: The emitted file before the evaluation.
      frontier: From `--pareto`.
    """

    reasons: tuple[Reason, ...] = ()
    price: Price | None = None
    trial: Trial | None = None
    frontier: Frontier | None = None

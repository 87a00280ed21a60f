"""The loop with the truth: what was predicted is measured on emitted files, and planned again where it does not hold.

Weight errors are fixed and may cancel or add up, so a sum of single errors can miss what they do together. The worst
terms are then measured where they stand, in the plan: how much error goes away with this op alone in float?
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..analyzer.measures.statistics import decide, samples_needed
from ..analyzer.schema import SCHEMES, Op, Plan, Remeasured, Round, Scheme, Trial
from .assignment.budgets import Budgets
from .assignment.noise import Noise, evaluate_noise, noise_shares
from .drafting import Draft, Drafter
from .trial import Court, Outcome

TOLERATED = 0.25
"""Share of the measured error by which a prediction may miss it."""

_TERMS = 6
"""How many terms are measured again in one round."""

_CORRECTIONS = 3
_BISECTIONS = 7
_CLOSE = 0.005
"""Relative difference of what is minimised below which no better noise limit is looked for."""

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Settled:
    """What a loop ends with.

    Attributes:
      draft: The plan and its file; the plan's prediction is that of `noise`.
      noise: The error terms, with what was measured again.
      trial: The way there.
    """

    draft: Draft
    noise: Noise
    trial: Trial


@dataclass
class _Tried:
    """A plan that was converted and measured; what was measured again because of it comes later."""

    purpose: str
    limit: float | None
    draft: Draft
    outcome: Outcome
    remeasured: tuple[Remeasured, ...] = ()

    @property
    def plan(self) -> Plan:
        return self.draft.plan

    def round(self, kept: bool) -> Round:
        return Round(
            self.purpose, self.limit, self.plan.predicted_nmse, self.outcome.nmse, self.draft.file_bytes,
            self.draft.arena_bytes, self.outcome.drop, kept, self.remeasured,
        )  # fmt: skip

    def holds(self, max_drop_points: float) -> bool:
        return self.outcome.drop is not None and decide(self.outcome.drop, max_drop_points) == "holds"

    @property
    def drop(self) -> float:
        return math.inf if self.outcome.drop is None else self.outcome.drop.value


class Loop:
    """One loop.

    Args:
      drafter: Makes plans and files.
      court: Measures them.
      progress: Called with (files measured, about how many in all).
    """

    def __init__(self, drafter: Drafter, court: Court, progress: Report | None = None) -> None:
        self._drafter, self._court = drafter, court
        self._progress = progress or (lambda _done, _total: None)
        self._tried: list[_Tried] = []
        self._in_place: set[tuple[int, str]] = set()
        self._files = 0

    def least_error(self, budgets: Budgets) -> Settled:
        """The plan with the least error within budgets, and how near its prediction came.

        Of the plans that were measured the one with the least measured error is kept.

        Raises:
          ImpossibleBudget: No plan fits.
        """
        self._plan_and_correct(budgets)
        return self._settled(min(self._tried, key=lambda tried: tried.outcome.nmse))

    def least(self, goal: str, budgets: Budgets, max_drop_points: float) -> Settled:
        """The plan with the least of something whose drop of accuracy holds.

        A drop cannot be predicted, but it falls with the error: the largest error is looked for with which the upper
        end of the drop's interval stays within the limit. Where not even the least error does that, the plan with the
        smallest drop is kept, and the answer says whether it fails or the samples are too few to tell.

        Args:
          goal: `file_bytes`, `arena_bytes`, `latency` or `bops`.
          budgets: Other limits.
          max_drop_points: Largest drop.

        Raises:
          ImpossibleBudget: No plan fits the other limits.
        """
        best = self._plan_and_correct(budgets)
        if not best.holds(max_drop_points):
            return self._settled(min(self._tried, key=lambda tried: tried.drop), max_drop_points)
        worst = self._measure("more error allowed", self._drafter.draft(budgets, goal))
        if worst.holds(max_drop_points):
            return self._settled(worst, max_drop_points)
        low, high = best.plan.predicted_nmse, worst.plan.predicted_nmse
        for _ in range(_BISECTIONS):
            if not 0 < low < high or _alike(best, worst, goal):
                break
            limit = math.sqrt(low * high)
            purpose = "more error allowed" if self._tried[-1].holds(max_drop_points) else "less error allowed"
            found = self._measure(purpose, self._drafter.draft(replace(budgets, noise=limit), goal), limit)
            if found.holds(max_drop_points):
                low, best = limit, found
            else:
                high, worst = limit, found
        return self._settled(best, max_drop_points)

    def _plan_and_correct(self, budgets: Budgets) -> _Tried:
        """Plans, measures, and measures terms again while the prediction misses; the last plan."""
        tried = self._measure("plan", self._drafter.draft(budgets))
        for _ in range(_CORRECTIONS if self._drafter.has_choice else 0):
            if not tried.round(kept=False).off > TOLERATED or not self._measure_terms(tried):
                break
            draft = self._drafter.draft(budgets)
            if draft.plan.schemes in [other.plan.schemes for other in self._tried]:
                break
            tried = self._measure("re-measured", draft)
        return tried

    def _measure(self, purpose: str, draft: Draft, limit: float | None = None) -> _Tried:
        for known in self._tried:
            if known.plan.schemes == draft.plan.schemes:
                return known
        self._tick()
        self._tried.append(_Tried(purpose, limit, draft, self._court.judge(draft)))
        return self._tried[-1]

    def _measure_terms(self, tried: _Tried) -> bool:
        """Measures a plan's worst terms in place and corrects the noise; whether there was one left to measure."""
        plan, graph = tried.plan, self._drafter.graph
        count = self._court.error_samples_for(plan)
        whole = self._court.nmse(tried.draft, count)
        found = []
        for op in self._worst(plan):
            self._tick()
            names = [assignment.scheme for assignment in plan.assignments]
            names[op] = "float"
            without = Plan.bare(graph, names, plan.io, per_channel=plan.per_channel)
            gain = whole - self._court.nmse(self._drafter.made_from(without), count)
            predicted = self._predicted(plan) - self._predicted(without)
            noise = _with_more(self._drafter.noise, graph.ops[op], plan.schemes[op], gain - predicted)
            self._drafter = replace(self._drafter, noise=noise)
            self._in_place.add((op, plan.schemes[op].name))
            found.append(Remeasured(graph.ops[op].key, graph.ops[op].layer, plan.schemes[op].name, predicted, gain))
        tried.remeasured = tuple(found)
        return bool(found)

    def _worst(self, plan: Plan) -> list[int]:
        """Ops whose weights cost most error and were not measured in place yet."""
        shares = noise_shares(self._drafter.graph, self._drafter.noise, plan.schemes, plan.io)
        terms = self._drafter.noise.weights
        left = [
            op
            for op, scheme in enumerate(plan.schemes)
            if "float" in self._drafter.graph.ops[op].schemes
            and terms.get((op, scheme.name), 0) > 0
            and (op, scheme.name) not in self._in_place
        ]
        return sorted(left, key=lambda op: (-shares[op], op))[:_TERMS]

    def _predicted(self, plan: Plan) -> float:
        return evaluate_noise(self._drafter.graph, self._drafter.noise, plan.schemes, plan.io)

    def _tick(self) -> None:
        self._progress(self._files, self._files + 1)
        self._files += 1

    def _settled(self, kept: _Tried, max_drop_points: float | None = None) -> Settled:
        """Ends with one of the plans; what it predicts is what is known by now."""
        answer, advice = "", tuple[str, ...]()
        if max_drop_points is not None and kept.outcome.drop is not None:
            answer = _ANSWERS[decide(kept.outcome.drop, max_drop_points)]
            advice = _advice(answer, kept.outcome, max_drop_points)
        shares = noise_shares(self._drafter.graph, self._drafter.noise, kept.plan.schemes, kept.plan.io)
        assignments = tuple(
            replace(assignment, predicted_nmse=share)
            for assignment, share in zip(kept.plan.assignments, shares, strict=True)
        )
        plan = replace(kept.plan, assignments=assignments, predicted_nmse=math.fsum(shares))
        trial = Trial(
            tuple(tried.round(kept=tried is kept) for tried in self._tried), self._court.samples_for(plan),
            self._court.held_back, kept.outcome.comparison.drop_of, max_drop_points, answer, advice,
        )  # fmt: skip
        return Settled(replace(kept.draft, plan=plan), self._drafter.noise, trial)


_ANSWERS = {"holds": "holds", "broken": "fails", "undecided": "undecided"}


def _alike(a: _Tried, b: _Tried, goal: str) -> bool:
    smaller, larger = sorted((a.plan.predicted(goal), b.plan.predicted(goal)))
    return larger - smaller <= _CLOSE * larger


def _with_more(noise: Noise, op: Op, scheme: Scheme, more: float) -> Noise:
    """The terms with more (or less) error from one op's weights, in all schemes that have these very weights."""
    weights = dict(noise.weights)
    for name in op.schemes:
        if op.variant(SCHEMES[name]) == op.variant(scheme) and (op.index, name) in weights:
            weights[op.index, name] = max(0.0, weights[op.index, name] + more)
    return replace(noise, weights=weights)


def _advice(answer: str, outcome: Outcome, max_drop_points: float) -> tuple[str, ...]:
    if answer == "holds":
        return ()
    advice = []
    if answer == "undecided" and outcome.comparison.drops is not None:
        needed = samples_needed(outcome.comparison.drops, max_drop_points, unit=100.0)
        if needed is not None:
            advice.append(
                f"more images: about {needed} held back ones decide, {len(outcome.comparison.drops)} were used"
            )
    advice.append("a larger budget, or wider schemes (--allow)")
    advice.append("repair, which wins accuracy back without spending bits")
    return tuple(advice)

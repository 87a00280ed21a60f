"""What mends win, and in which order causes are named."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ...analyzer.measures.substitution import Ingredients
from ...analyzer.schema import CAUSES, Cause, Interval
from .case import Mend
from .inputs import OtherInput

_NEARLY_AS_MUCH = 0.8
"""A narrower cause is named before a broader one of which it has this share of the effect."""

_RESAMPLES = 2000

Touched = frozenset[tuple[str, object]]
"""Which of a file's numbers a mend changes; empty stands for all of them."""


@dataclass(frozen=True, eq=False)
class Found:
    """A cause with what mending it did to every sample.

    Attributes:
      errors: float64 [samples], mended.
      touched: What the mend changes.
      mend: What was mended: numbers of the file, or its inputs; None where neither was.
    """

    cause: Cause
    errors: np.ndarray
    touched: Touched
    mend: Mend | OtherInput | None = None

    @property
    def share(self) -> float:
        """Of the error that goes."""
        assert self.cause.share_of_error is not None, "it was measured"
        return self.cause.share_of_error


def touched(before: Ingredients, after: Ingredients) -> Touched:
    """Which entries of a file's numbers a mend changes, takes away or adds."""
    found: set[tuple[str, object]] = set()
    for field in fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        found |= {(field.name, key) for key in {*old, *new} if old.get(key) is not new.get(key)}
    return frozenset(found)


def share_of_error(before: np.ndarray, after: np.ndarray, seed: int) -> Interval:
    """How much of the error goes with a mend: 1 - sum(after) / sum(before), with its percentile bootstrap over samples.

    Args:
      before, after: Errors of each sample, float64 [samples]; their order does not change the result.
      seed: Of the bootstrap.
    """
    if not np.isfinite(before).all():
        share = 1.0 if np.isfinite(after).all() else 0.0
        return Interval(share, share, share)
    if not before.any() or not np.isfinite(after).all():
        share = -np.inf if after.any() else 0.0
        return Interval(share, share, share)
    order = np.lexsort((after, before))
    draws = np.random.default_rng(seed).integers(0, len(before), (_RESAMPLES, len(before)))
    drawn_before, drawn_after = (np.asarray(v, np.float64)[order][draws].sum(axis=1) for v in (before, after))
    shares = 1 - drawn_after[drawn_before > 0] / drawn_before[drawn_before > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    share = 1 - math.fsum(after) / math.fsum(before)
    return Interval(share, min(float(low), share), max(float(high), share))


def in_order(found: Collection[Found]) -> list[Found]:
    """Worst first; where mends change the same numbers and win nearly the same, the narrowest cause first.

    Nearly the same is 80 % of the larger effect. What comes first says so in its evidence.
    """
    ranks = {name: (kind.breadth, place) for place, (name, kind) in enumerate(CAUSES.items())}
    left = sorted(found, key=lambda f: (-f.share, ranks[f.cause.name], f.cause.layer))
    ordered = []
    while left:
        worst = left[0]
        rivals = [f for f in left if f is worst or (_overlap(f, worst) and f.share >= _NEARLY_AS_MUCH * worst.share)]
        first = min(rivals, key=lambda f: (ranks[f.cause.name], -f.share, f.cause.layer))
        left.remove(first)
        ordered.append(first if first is worst else _with_order(first, worst.cause))
    return ordered


def _with_order(first: Found, broader: Cause) -> Found:
    taken = percent(broader.share_of_error or 0.0)
    said = f"{first.cause.evidence}; named before {broader.name}, which covers more and takes {taken}"
    return replace(first, cause=replace(first.cause, evidence=said))


def _overlap(one: Found, other: Found) -> bool:
    return not one.touched or not other.touched or not one.touched.isdisjoint(other.touched)


def merged(causes: Sequence[Cause]) -> list[Cause]:
    """Causes that were not found, one for each name, with all that speaks against them."""
    by_name: dict[str, list[Cause]] = {}
    for cause in causes:
        by_name.setdefault(cause.name, []).append(cause)
    order = list(CAUSES)
    result = []
    for name in sorted(by_name, key=order.index):
        first, *rest = by_name[name]
        result.append(replace(first, evidence="; ".join(c.evidence for c in (first, *rest))))
    return result


def percent(share: float, decimals: int = 0) -> str:
    """A share as it is written in evidence."""
    return f"{100 * share:.{decimals}f} %"


def is_effective(share: Interval) -> bool:
    """Whether a mend takes error away: surely, and more than a fiftieth of it."""
    return share.value >= SMALLEST_SHARE and share.low > 0


SMALLEST_SHARE = 0.02
"""A cause that takes less of the error away is none."""

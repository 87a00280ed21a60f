"""What holds for intervals whatever the differences are."""

from __future__ import annotations

import math

import numpy as np
from bitplan.analyzer.measures.statistics import decide, mcnemar_exact, paired_bootstrap, samples_needed, tango_interval
from hypothesis import given, settings
from hypothesis import strategies as st

COUNTS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2000)).filter(any)


def ternary(counts):
    b, c, rest = counts
    return np.repeat([1.0, -1.0, 0.0], [b, c, rest])


@settings(deadline=None)
@given(COUNTS)
def test_interval_holds_the_mean_and_never_certainty(counts):
    d = ternary(counts)
    interval = paired_bootstrap(d)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high - interval.low > 1 / (len(d) + 4)
    low, high = tango_interval(counts[0], counts[1], len(d))
    assert interval.low <= low
    assert interval.high >= high


@settings(deadline=None)
@given(COUNTS)
def test_an_interval_without_zero_is_significant(counts):
    b, c, _ = counts
    # The exact test is the stricter one: its p-value lies above that of the score test that the interval inverts.
    if paired_bootstrap(ternary(counts)).excludes_zero:
        assert mcnemar_exact(b, c) <= 0.125  # 4 against 0
    elif mcnemar_exact(b, c) < 0.02:
        raise AssertionError("the interval holds zero although the test refutes it")


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(0, 3))
def test_metric_interval_holds_the_mean_in_any_order(values, seed):
    one = paired_bootstrap(values, resamples=200, seed=seed)
    assert one.low <= one.value <= one.high
    assert one.low < one.high
    assert paired_bootstrap(values[::-1], resamples=200, seed=seed) == one


@settings(deadline=None)
@given(COUNTS, st.floats(-0.9, 0.9))
def test_only_an_undecided_limit_needs_more_samples(counts, limit):
    d = ternary(counts)
    needed = samples_needed(d, limit)
    if decide(paired_bootstrap(d), limit) == "undecided" and needed is not None:
        low, high = tango_interval(counts[0], counts[1], len(d))
        assert needed > len(d) or not low <= limit <= high  # the bootstrap alone may hold the limit
    assert needed is None or (isinstance(needed, int) and needed >= 1)
    assert math.isfinite(limit)

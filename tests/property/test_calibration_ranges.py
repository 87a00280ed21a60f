"""Ranges and histograms do not depend on the order of the samples, nor on how they were shared out."""

from __future__ import annotations

import numpy as np
from bitplan.analyzer.measures.calibration import BINS, RangeRecorder
from hypothesis import given, settings
from hypothesis import strategies as st

samples = st.lists(
    st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=20).map(
        lambda v: np.array(v, np.float32)
    ),
    min_size=1,
    max_size=8,
)


def recorded(arrays):
    recorder = RangeRecorder()
    for array in arrays:
        recorder.add(array)
    return recorder


@settings(max_examples=200, deadline=None)
@given(samples, st.randoms(use_true_random=False), st.integers(0, 8))
def test_order_and_sharding_do_not_matter(arrays, random, cut):
    shuffled = list(arrays)
    random.shuffle(shuffled)
    one = recorded(arrays).finish(0, None)
    halves = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    other = recorded(halves[0])
    for part in halves[1:]:
        other = other.merge(recorded(part))
    assert other.finish(0, None) == one


@settings(max_examples=200, deadline=None)
@given(samples)
def test_histogram_counts_what_numpy_counts(arrays):
    found = recorded(arrays).finish(0, None)
    values = np.concatenate(arrays)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert len(found.histogram.counts) <= BINS
    assert sum(found.histogram.counts) == values.size
    bins = np.floor(values.astype(np.float64) / found.histogram.width).astype(int) - found.histogram.start
    assert np.array_equal(np.bincount(bins, minlength=len(found.histogram.counts)), found.histogram.counts)


@settings(deadline=None)
@given(samples)
def test_mean_and_variance_are_numpys(arrays):
    found = recorded(arrays).finish(0, None)
    values = np.concatenate(arrays).astype(np.float64)
    scale = max(np.abs(values).max(), 1e-30)
    assert abs(found.mean - values.mean()) <= 1e-9 * scale
    assert abs(found.variance - values.var()) <= 1e-9 * scale**2


def test_a_declared_range_wins():
    found = recorded([np.array([0.0, 9.0], np.float32)]).finish(0, (0.0, 6.0))
    assert (found.minimum, found.maximum, found.declared) == (0.0, 6.0, True)

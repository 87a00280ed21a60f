"""Ranges from histograms against the values themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bitplan.analyzer.measures import clipping as c
from bitplan.analyzer.measures.calibration import RangeRecorder
from bitplan.analyzer.measures.quantization import Grids, activation_params, fake_quantize
from hypothesis import given, settings
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from(["normal", "laplace", "relu", "relu6", "outliers", "negative", "positive", "few", "constant"])


def values_of(shape, seed):
    generator = np.random.default_rng(seed)
    count = 5 if shape == "few" else 20_000
    values = generator.normal(size=count) * 10.0 ** generator.uniform(-3, 3)
    if shape == "laplace":
        values = generator.laplace(size=count)
    elif shape == "outliers":
        values[: count // 2000] *= 20
    elif shape in ("relu", "relu6"):
        values = np.clip(generator.normal(size=count) * 3, 0, 6 if shape == "relu6" else None)
    elif shape in ("negative", "positive"):
        values = (np.abs(values) + 0.5) * (1 if shape == "positive" else -1)
    elif shape == "constant":
        values = np.full(count, values[0])
    return values.astype(np.float32)


def range_of(values):
    recorder = RangeRecorder()
    recorder.add(values)
    return recorder.finish(0, None)


def error_of(values, low, high):
    """Mean squared error of really rounding the values."""
    rounded = fake_quantize(values, activation_params(low, high, 8))
    return float(np.mean(np.square(rounded.astype(np.float64) - values)))


def one(measure, bins, grid):
    """A measure of several grids, of one."""
    return float(measure(bins, Grids(np.array([grid.scale]), np.array([float(grid.zero_point)]), grid.bits))[0])


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=1, max_size=20), st.sampled_from([8, 16]))
def test_grids_are_those_of_their_ranges(ends, bits):
    lows, highs = (np.array(side) for side in zip(*(sorted(pair) for pair in ends), strict=True))
    found = Grids.of(lows, highs, bits)
    for k, (low, high) in enumerate(zip(lows, highs, strict=True)):
        wanted = activation_params(low, high, bits)
        assert (found.scale[k], found.zero_point[k]) == (wanted.scale, wanted.zero_point)
        assert [side[k] for side in found.steps] == [wanted.low - wanted.zero_point, wanted.high - wanted.zero_point]


@settings(max_examples=100, deadline=None)
@given(shapes, seeds, st.sampled_from([60.0, 99.0, 99.9, 99.99, 100.0]))
def test_a_percentile_is_that_of_the_values_to_a_bin(shape, seed, percent):
    values = values_of(shape, seed)
    seen = range_of(values)
    low, high = c.percentile_range(seen, percent)
    allowed = math.floor(len(values) * (100 - percent) / 100 + 1e-6)
    assert (values < low).sum() <= allowed and (values > high).sum() <= allowed
    assert low <= 0 <= high and min(seen.minimum, 0) <= low and high <= max(seen.maximum, 0)
    width = seen.histogram.width
    if low < 0:
        assert (values < low + width * (1 + 1e-6)).sum() > allowed, "one bin less would clip too many"
    if high > 0:
        assert (values >= high - width * (1 + 1e-6)).sum() > allowed
    if percent == 100:
        assert (low, high) == (min(seen.minimum, 0.0), max(seen.maximum, 0.0))


@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(0.2, 1.5), st.floats(0.2, 1.5))
def test_squared_error_is_the_integral_over_the_bins(seed, below, above):
    """Bins of any place and width, each filled evenly with points."""
    generator = np.random.default_rng(seed)
    lows = np.sort(generator.uniform(-3, 3, 12))
    highs = np.minimum(lows + generator.uniform(0, 0.5, 12), np.append(lows[1:], 4.0))
    highs[3] = lows[3]
    counts = generator.integers(1, 50, 12).astype(np.float64)
    grid = activation_params(-3 * below, 4 * above, 8)
    points = [low + (high - low) * (np.arange(4000) + 0.5) / 4000 for low, high in zip(lows, highs, strict=True)]
    brute = [np.mean(np.square(fake_quantize(p.astype(np.float32), grid).astype(np.float64) - p)) for p in points]
    wanted = float((np.array(brute) * counts).sum() / counts.sum())
    assert one(c.squared_errors, c.Bins(lows, highs, counts), grid) == pytest.approx(wanted, rel=5e-3)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["normal", "laplace", "relu", "relu6", "outliers", "negative", "positive"]), seeds)
def test_the_mse_range_is_as_good_as_any_on_the_values_themselves(shape, seed):
    values = values_of(shape, seed)
    seen = range_of(values)
    low, high = c.mse_range(seen)
    assert seen.minimum <= low and high <= seen.maximum
    shares = np.linspace(0.1, 1.0, 19)
    lows = [seen.minimum * s for s in shares] if seen.minimum < 0 else [seen.minimum]
    highs = [seen.maximum * s for s in shares] if seen.maximum > 0 else [seen.maximum]
    # The extremes themselves are among them. A histogram knows values to a bin only, so the last percents are chance.
    best = min(error_of(values, a, b) for a in lows for b in highs)
    assert error_of(values, low, high) <= 1.03 * best


def divergence_by_hand(bins, grid):
    """Migacz's P and Q, bin by bin."""
    low, high = (grid.low - grid.zero_point) * grid.scale, (grid.high - grid.zero_point) * grid.scale
    centres = [(a + b) / 2 for a, b in zip(bins.lows, bins.highs, strict=True)]
    inside = [k for k, x in enumerate(centres) if low - grid.scale / 2 <= x <= high + grid.scale / 2]
    if not inside:
        return math.inf
    inside = list(range(inside[0], inside[-1] + 1))
    p = {k: float(bins.counts[k]) for k in inside}
    for k, count in enumerate(bins.counts):
        if k < inside[0]:
            p[inside[0]] += count
        if k > inside[-1]:
            p[inside[-1]] += count
    steps = {k: min(max(round(centres[k] / grid.scale) + grid.zero_point, grid.low), grid.high) for k in inside}
    q = {}
    for k in inside:
        mates = [j for j in inside if steps[j] == steps[k] and bins.counts[j] > 0]
        q[k] = sum(bins.counts[j] for j in mates) / len(mates) if bins.counts[k] > 0 else 0.0
    if any(p[k] > 0 and q[k] == 0 for k in inside):
        return math.inf
    return sum(
        p[k] / sum(p.values()) * math.log(p[k] / sum(p.values()) / (q[k] / sum(q.values()))) for k in inside if p[k] > 0
    )


@settings(max_examples=40, deadline=None)
@given(shapes, seeds, st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_the_divergence_is_the_one_of_its_definition(shape, seed, below, above):
    seen = range_of(values_of(shape, seed)[:300])
    grid = activation_params(seen.minimum * below, seen.maximum * above, 8)
    bins = c.Bins.of(seen)
    found, wanted = one(c.divergences, bins, grid), divergence_by_hand(bins, grid)
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert found >= -1e-12


@settings(max_examples=20, deadline=None)
@given(shapes, seeds)
def test_no_candidate_has_less_divergence(shape, seed):
    seen = range_of(values_of(shape, seed))
    bins = c.Bins.of(seen)
    low, high = c.kl_range(seen)
    least = one(c.divergences, bins, activation_params(low, high, 8))
    assert least <= one(c.divergences, bins, activation_params(seen.minimum, seen.maximum, 8))
    for share in (0.24, 0.52, 0.76, 1.0):
        assert (
            least <= one(c.divergences, bins, activation_params(share * seen.minimum, share * seen.maximum, 8)) + 1e-12
        )


FLOORS = {c.squared_errors: c.clipped_squares, c.divergences: c.clipped_divergences}


@settings(max_examples=80, deadline=None)
@given(shapes, seeds, st.sampled_from([300, 20_000]), st.sampled_from(sorted(FLOORS, key=lambda f: f.__name__)))
def test_what_clipping_alone_brings_is_no_more_than_the_whole(shape, seed, count, measure):
    seen = range_of(values_of(shape, seed)[:count])
    shares = np.random.default_rng(seed).uniform(0.01, 1, (2, 60))
    grids = Grids.of(shares[0] * seen.minimum, shares[1] * seen.maximum, 8)
    whole, part = measure(c.Bins.of(seen), grids), FLOORS[measure](c.Bins.of(seen), grids)
    assert (part <= whole * (1 + 1e-12) + 1e-15 * seen.maximum**2 + 1e-15).all()


@settings(max_examples=40, deadline=None)
@given(shapes, seeds, st.sampled_from([300, 20_000]), st.sampled_from(["mse", "kl"]))
def test_the_search_finds_what_trying_every_grid_finds(shape, seed, count, method):
    """Round by round, one grid at a time: the first of the best, and only if it is better than what was there."""
    seen = range_of(values_of(shape, seed)[:count])
    measure = c.squared_errors if method == "mse" else c.divergences
    bins, low, high = c.Bins.of(seen), seen.minimum, seen.maximum
    error = lambda ends: one(measure, bins, activation_params(*ends, 8))  # noqa: E731
    found = (low, high)
    shares = np.linspace(0.01, 1, 100)[::-1]
    if low >= 0 or high <= 0:
        rounds = [lambda _: [(low, s * high) if low >= 0 else (s * low, high) for s in shares]]
    else:
        coarse, fine = np.linspace(0.04, 1, 25)[::-1], np.linspace(-0.04, 0.04, 9)[::-1]
        rounds = [
            lambda _: [(a * low, b * high) for a in coarse for b in coarse],
            lambda f: [
                (max(low, min(f[0] + a * low, 0)), min(high, max(f[1] + b * high, 0))) for a in fine for b in fine
            ],
        ]
    for candidates in rounds:
        tried = candidates(found)
        errors = [error(ends) for ends in tried]
        if min(errors) < error(found):
            found = tried[errors.index(min(errors))]
    assert c.METHODS[method](seen) == found


@settings(max_examples=40, deadline=None)
@given(shapes, seeds, st.sampled_from(sorted(c.METHODS)))
def test_every_method_stays_within_what_was_seen(shape, seed, method):
    seen = range_of(values_of(shape, seed))
    low, high = c.METHODS[method](seen)
    assert low <= high and min(seen.minimum, 0) <= low and high <= max(seen.maximum, 0)
    assert c.METHODS[method](seen) == (low, high)


def test_zeros_behind_a_relu_cost_nothing():
    """Half of the values are exactly 0: the error is that of the other half alone."""
    generator = np.random.default_rng(0)
    values = np.maximum(generator.normal(size=200_000), 0).astype(np.float32)
    seen = range_of(values)
    for high in (1.5, 3.0, seen.maximum):
        found = one(c.squared_errors, c.Bins.of(seen), activation_params(0.0, high, 8))
        assert found == pytest.approx(error_of(values, 0.0, high), rel=0.02)

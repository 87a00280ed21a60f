"""Intervals and tests against scipy, numerical likelihoods, published figures and simulation."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
from bitplan.analyzer.errors import DataError
from bitplan.analyzer.measures.statistics import (
    decide,
    mcnemar_exact,
    paired_bootstrap,
    samples_needed,
    tango_interval,
)
from bitplan.analyzer.schema import Interval
from scipy import optimize, stats

Z = 1.959963984540054


def ternary(b: int, c: int, n: int) -> np.ndarray:
    return np.repeat([1.0, -1.0, 0.0], [b, c, n - b - c])


def percentile_bootstrap(d: np.ndarray, resamples: int = 20_000) -> tuple[float, float]:
    result = stats.bootstrap((d,), np.mean, n_resamples=resamples, method="percentile", random_state=1, batch=500)
    return result.confidence_interval


@pytest.mark.parametrize(("b", "c", "n"), [(60, 30, 400), (45, 45, 300), (200, 10, 500)])
def test_ternary_interval_is_the_bootstraps(b, c, n):
    interval = paired_bootstrap(ternary(b, c, n))
    low, high = percentile_bootstrap(ternary(b, c, n))
    assert interval.value == pytest.approx((b - c) / n)
    # The score interval that it is widened to differs by less than a tenth of a half-width; a step is 1 / n.
    slack = 1.5 / n + 0.1 * (high - low) / 2
    assert low - slack <= interval.low <= low + 1.5 / n
    assert high - 1.5 / n <= interval.high <= high + slack


def test_ternary_bootstrap_is_that_of_every_possible_resample():
    d, n = np.array([1, 1, -1, 0]), 4
    means = [np.mean(resample) for resample in itertools.product(d, repeat=n)]
    for confidence in (0.5, 0.9):
        tail = (1 - confidence) / 2
        low, high = np.quantile(means, [tail, 1 - tail], method="inverted_cdf")
        interval = paired_bootstrap(d, confidence=confidence)
        score = tango_interval(2, 1, n, confidence)
        assert (interval.low, interval.high) == pytest.approx((min(low, score[0]), max(high, score[1])))


def test_real_interval_is_the_bootstraps():
    d = np.random.default_rng(2).gamma(2.0, 1.0, 300)
    interval = paired_bootstrap(d)
    low, high = percentile_bootstrap(d)
    assert interval.value == pytest.approx(d.mean())
    assert interval.low == pytest.approx(low, abs=0.02)
    assert interval.high == pytest.approx(high, abs=0.02)
    t = stats.ttest_1samp(d, 0).confidence_interval()
    assert interval.low <= t.low
    assert interval.high >= t.high


def test_interval_does_not_depend_on_the_order_of_samples():
    rng = np.random.default_rng(3)
    for d in (ternary(9, 4, 60), rng.normal(size=60)):
        assert paired_bootstrap(rng.permutation(d)) == paired_bootstrap(d) == paired_bootstrap(d)


def test_interval_is_in_the_unit_of_the_differences():
    share, points = paired_bootstrap(ternary(9, 4, 60)), paired_bootstrap(100 * ternary(9, 4, 60), unit=100)
    assert (points.value, points.low, points.high) == pytest.approx(
        (100 * share.value, 100 * share.low, 100 * share.high)
    )


def test_swapping_the_models_mirrors_the_interval():
    a, b = paired_bootstrap(ternary(9, 4, 60)), paired_bootstrap(ternary(4, 9, 60))
    assert (a.low, a.high) == pytest.approx((-b.high, -b.low), abs=1 / 60)


def test_more_confidence_is_a_wider_interval():
    narrow, wide = (paired_bootstrap(ternary(9, 4, 60), confidence=c) for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


@pytest.mark.parametrize("n", [1, 2, 10, 100, 5000])
def test_no_difference_among_n_samples_is_not_certainty(n):
    interval = paired_bootstrap(np.zeros(n))
    assert interval.value == 0.0
    assert interval.high == pytest.approx(Z**2 / (n + Z**2))
    assert interval.low == pytest.approx(-interval.high)
    # Clopper and Pearson's bound on the rate of an event that was not seen, one side at 97.5 %.
    exact = stats.binomtest(0, n).proportion_ci().high
    assert interval.high == pytest.approx(exact, rel=0.25 if n < 10 else 0.11)


@pytest.mark.parametrize("d", [[0.3] * 5, [0.0, 0.0, 0.5], [7.0, 7.0], [1.0] * 9, [-1.0], [0.2, 0.2, 0.2 + 1e-12]])
def test_no_interval_has_zero_width(d):
    interval = paired_bootstrap(d)
    assert interval.low <= interval.value <= interval.high
    assert interval.low < interval.high


def test_equal_differences_leave_room_for_one_unseen():
    interval = paired_bootstrap(np.full(1000, 0.25), unit=0.1)
    assert interval.high - 0.25 == 0.25 - interval.low == pytest.approx(0.25 * Z**2 / (1000 + Z**2))


def test_one_sample_of_a_metric_bounds_nothing():
    assert paired_bootstrap([0.3]) == Interval(0.3, -math.inf, math.inf)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_differences_that_are_not_finite_decide_nothing(bad):
    interval = paired_bootstrap([0.1, bad, 0.2])
    assert not math.isfinite(interval.value)
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert decide(interval, 1.0) == "undecided"
    assert samples_needed([0.1, bad, 0.2], 1.0) is None


def test_no_samples_are_refused():
    for call in (lambda: paired_bootstrap([]), lambda: samples_needed([], 0.5)):
        with pytest.raises(DataError, match="no samples"):
            call()


def test_settings_out_of_range_are_defects():
    for options in ({"confidence": 95}, {"confidence": 0.0}, {"unit": 0.0}):
        with pytest.raises(ValueError, match="must lie"):
            paired_bootstrap([0.0, 1.0], **options)


def test_score_interval_is_the_published_one():
    # Newcombe, Statistics in Medicine 17 (1998), and Tango's letter on it: 36, 12, 2, 0 of 50 pairs.
    assert tango_interval(12, 2, 50) == pytest.approx((0.0611, 0.3447), abs=5e-5)


@pytest.mark.parametrize(("b", "c", "n"), [(12, 2, 50), (3, 3, 20), (0, 5, 30), (1, 0, 100)])
def test_score_interval_inverts_the_test_at_the_likeliest_rates(b, c, n):
    """The restricted likelihood is maximised numerically here."""

    def score(delta: float) -> float:
        def log_likelihood(q: float) -> float:
            return sum(
                k * math.log(max(p, 1e-300)) for k, p in ((b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta)) if k
            )

        span = (max(0.0, -delta) + 1e-14, (1 - delta) / 2 - 1e-14)
        q = optimize.minimize_scalar(
            lambda q: -log_likelihood(q), bounds=span, method="bounded", options={"xatol": 1e-13}
        ).x
        return (b - c - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))

    low, high = tango_interval(b, c, n)
    assert score(low) == pytest.approx(Z, abs=2e-3)
    assert score(high) == pytest.approx(-Z, abs=2e-3)


def test_score_interval_excludes_zero_exactly_where_mcnemars_score_does():
    for b, c in itertools.product(range(12), range(12)):
        low, high = tango_interval(b, c, 100)
        assert (low > 0 or high < 0) == (b + c > 0 and abs(b - c) / math.sqrt(b + c) > Z)


@pytest.mark.parametrize("rates", [(0.002, 0.002), (0.01, 0.0), (0.05, 0.02), (0.3, 0.1), (0.0, 0.0)])
@pytest.mark.parametrize("n", [20, 100, 500])
def test_interval_covers_the_truth_as_often_as_it_says(n, rates):
    """2000 data sets each; the plain bootstrap covers 18 % at n = 20 and rates of 1 %."""
    b_rate, c_rate = rates
    draws = np.random.default_rng(n).multinomial(n, [b_rate, c_rate, 1 - b_rate - c_rate], 2000)
    interval = functools.cache(lambda b, c: paired_bootstrap(ternary(b, c, n)))
    covered = np.mean([(i := interval(int(b), int(c))).low <= b_rate - c_rate <= i.high for b, c, _ in draws])
    assert covered >= 0.935  # 0.95 less three standard errors of the simulation


def test_metric_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(4)
    intervals = [paired_bootstrap(rng.normal(0.5, 2.0, 12), resamples=1000) for _ in range(500)]
    assert np.mean([i.low <= 0.5 <= i.high for i in intervals]) >= 0.92


def test_mcnemar_is_the_exact_sign_test():
    tail = sum(math.comb(12, k) for k in range(3)) / 2**12
    assert mcnemar_exact(2, 10) == mcnemar_exact(10, 2) == pytest.approx(2 * tail)
    assert mcnemar_exact(6, 6) == pytest.approx(1.0)
    assert mcnemar_exact(0, 0) == 1.0


def test_interval_decides_a_limit():
    assert decide(Interval(0.1, -0.2, 0.4), 0.5) == "holds"
    assert decide(Interval(0.1, -0.2, 0.5), 0.5) == "holds"
    assert decide(Interval(0.8, 0.6, 1.0), 0.5) == "broken"
    assert decide(Interval(0.4, 0.1, 0.7), 0.5) == "undecided"
    assert decide(Interval(0.5, 0.5, 0.7), 0.5) == "undecided"


@pytest.mark.parametrize(("b", "c", "limit"), [(12, 10, 0.02), (40, 10, 0.02), (0, 0, 0.01), (3, 0, 0.05)])
def test_so_many_samples_decide_four_times_in_five(b, c, limit):
    n = 1000 if b + c else 100
    needed = samples_needed(ternary(b, c, n), limit)
    # Where no sample differs, the rates behind the answer are zero and every data set of that size decides.
    draws = np.random.default_rng(6).multinomial(needed, [b / n, c / n, 1 - (b + c) / n], 400)
    answers = [decide(Interval(0.0, *tango_interval(int(x), int(y), needed)), limit) for x, y, _ in draws]
    right = "holds" if (b - c) / n < limit else "broken"
    assert answers.count(right) / len(answers) >= 0.72


def test_samples_needed_for_a_metric_is_the_power_formula():
    d = np.random.default_rng(7).normal(1.0, 3.0, 400)
    expected = ((Z + stats.norm.ppf(0.8)) * d.std(ddof=1) / (d.mean() - 2.0)) ** 2
    assert samples_needed(d, 2.0) == math.ceil(expected)


def test_equal_differences_need_as_many_samples_as_an_unseen_one_could_hide_in():
    needed = samples_needed([0.25] * 10, 0.3, unit=0.1)
    assert needed == math.ceil((Z + stats.norm.ppf(0.8)) ** 2 * (0.25 / 0.05 - 1))


def test_an_undecided_limit_needs_more_samples_than_there_are():
    for b, c, n in [(5, 4, 100), (0, 0, 50), (1, 0, 30), (20, 10, 500)]:
        d = ternary(b, c, n)
        for limit in (0.01, 0.03, 0.05):
            if decide(paired_bootstrap(d), limit) == "undecided" and d.mean() != limit:
                assert samples_needed(d, limit) > n


def test_samples_needed_counts_in_the_unit():
    d = ternary(12, 10, 1000)
    assert samples_needed(100 * d, 2.0, unit=100) == samples_needed(d, 0.02)


def test_no_number_of_samples_tells_equal_things_apart():
    assert samples_needed(ternary(10, 5, 100), 0.05) is None
    assert samples_needed([0.0, 0.0, 0.0], 0.0) is None
    assert samples_needed([0.25, 0.75], 0.5) is None
    assert samples_needed([0.3], 0.5) is None


def test_a_limit_beyond_every_difference_needs_one_sample():
    assert samples_needed(ternary(10, 5, 100), 1.0) == 1

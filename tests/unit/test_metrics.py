"""Error figures against closed forms, plain-Python arithmetic and scipy."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from bitplan.analyzer.errors import DataError, ShapeMismatch, UsageError
from bitplan.analyzer.measures import metrics
from bitplan.analyzer.measures.metrics import ErrorSums, output_error
from bitplan.analyzer.measures.per_sample import PROBABILITY_FLOOR
from bitplan.analyzer.serialize import dumps, loads
from scipy import special, stats

RNG = np.random.default_rng(5)
FLOAT = RNG.normal(2.0, 3.0, (40, 10)).astype(np.float32)
QUANTIZED = (FLOAT + RNG.normal(0.0, 0.5, FLOAT.shape)).astype(np.float32)
LABELS = RNG.integers(0, 10, 40)


def of(reference=FLOAT, quantized=QUANTIZED, **options):
    options = {"is_classifier": True, "labels": None, "variances": [metrics.output_variance(reference)], **options}
    return ErrorSums.of([reference], [quantized], **options)


def test_sqnr_of_a_tenth_of_the_amplitude_is_20_db():
    x = np.array([[3.0, 4.0], [-5.0, 12.0]])
    assert metrics.sqnr_db(x, x * 1.1) == pytest.approx(20.0, abs=1e-12)


def test_sqnr_of_equal_arrays_is_infinite_and_of_pure_noise_minus_infinite():
    assert metrics.sqnr_db(FLOAT, FLOAT) == math.inf
    assert metrics.sqnr_db(np.zeros((2, 2)), np.ones((2, 2))) == -math.inf
    assert metrics.sqnr_db(np.ones(3), [1.0, np.nan, 1.0]) == -math.inf


def test_sqnr_survives_signals_and_noise_at_the_ends_of_the_float_range():
    assert metrics.sqnr_db([[1e150, 1e-100]], [[1e150, 0.0]]) == pytest.approx(5000)


def test_nmse_is_mean_squared_error_over_variance():
    by_hand = sum((float(a) - float(b)) ** 2 for a, b in zip(FLOAT.flat, QUANTIZED.flat, strict=True)) / FLOAT.size
    assert metrics.nmse(FLOAT, QUANTIZED, 7.0) == pytest.approx(by_hand / 7.0, rel=1e-12)


def test_answering_with_the_mean_has_an_nmse_of_one():
    mean = np.full_like(FLOAT, FLOAT.mean(dtype=np.float64), dtype=np.float64)
    assert metrics.nmse(FLOAT, mean, metrics.output_variance(FLOAT)) == pytest.approx(1.0, rel=1e-12)


def test_sums_are_taken_in_float64():
    x = np.full((1, 100_000), 1.0, np.float32)
    y = np.full((1, 100_000), 1.0 + 2**-10, np.float32)
    assert metrics.nmse(x, y, 1.0) == pytest.approx(2**-20, rel=1e-12)


def test_output_variance_is_numpys():
    assert metrics.output_variance(FLOAT) == pytest.approx(np.var(FLOAT, dtype=np.float64), rel=1e-12)


@pytest.mark.parametrize(("value", "expected"), [(0.1, 0.01), (-3.0, 9.0), (0.0, 1.0)])
def test_a_constant_output_is_measured_against_its_mean_square(value, expected):
    constant = np.full((7, 3), value)
    assert metrics.output_variance(constant) == pytest.approx(expected, rel=1e-15)
    assert metrics.per_sample_nmse(constant, constant + 1, 0.0) == pytest.approx(np.full(7, 1 / expected), rel=1e-12)


def test_variance_that_cannot_be_one_is_a_defect():
    for variance in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="no variance"):
            metrics.nmse(FLOAT, QUANTIZED, variance)


def test_kl_of_logits_is_scipys_entropy_of_their_softmax():
    p, q = special.softmax(FLOAT.astype(np.float64), axis=1), special.softmax(QUANTIZED.astype(np.float64), axis=1)
    expected = stats.entropy(p, q, axis=1)
    assert metrics.per_sample_kl(FLOAT, QUANTIZED) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert metrics.kl_divergence(FLOAT, QUANTIZED) == pytest.approx(expected.mean(), rel=1e-9)


def test_kl_goes_from_float_to_quantized():
    p, q = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    assert metrics.kl_divergence(p, q) == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2), rel=1e-12)


def test_kl_of_logits_ignores_an_offset_and_survives_huge_ones():
    assert metrics.kl_divergence(FLOAT, FLOAT + 100) == pytest.approx(0.0, abs=1e-9)
    assert metrics.kl_divergence([[1000.0, 0.0]], [[0.0, 0.0]]) == pytest.approx(math.log(2), rel=1e-12)
    assert metrics.kl_divergence([[0.0, 0.0]], [[2000.0, 0.0]]) == pytest.approx(1000 - math.log(2), rel=1e-9)


def test_kl_of_probabilities_is_that_of_their_logits():
    p, q = special.softmax(FLOAT.astype(np.float64), axis=1), special.softmax(QUANTIZED.astype(np.float64), axis=1)
    floored = metrics.kl_divergence_of_probabilities(p, q)
    assert floored == pytest.approx(metrics.kl_divergence(FLOAT, QUANTIZED), rel=1e-4)


def test_a_probability_rounded_to_zero_costs_what_the_floor_says():
    cost = metrics.kl_divergence_of_probabilities([[0.5, 0.5]], [[1.0, 0.0]])
    assert cost == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.5 / PROBABILITY_FLOOR), rel=1e-6)


def test_top1_counts_agreement_and_right_answers():
    scores, other = (
        np.array([[1, 2, 3], [3, 2, 1], [0, 5, 0], [9, 0, 0]]),
        np.array([[0, 0, 1], [0, 1, 0], [0, 1, 0], [1, 0, 0]]),
    )
    assert metrics.top1_agreement(scores, other) == 0.75
    assert metrics.accuracy(scores, [2, 0, 1, 1]) == 0.75
    assert metrics.accuracy(scores, np.array([[2], [0], [1], [1]])) == 0.75


def test_of_tied_scores_the_first_wins():
    assert metrics.top1_agreement([[1.0, 0.5]], [[0.5, 0.5]]) == 1.0
    assert metrics.top1_agreement([[0.5, 1.0]], [[0.5, 0.5]]) == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_not_finite_is_an_error_that_shows(bad):
    broken = FLOAT.copy()
    broken[3, 4] = bad
    labels = FLOAT.argmax(axis=1)
    error = output_error([FLOAT], [broken], variances=[1.0], is_classifier=True, labels=labels)
    assert (error.nmse, error.standard_error, error.sqnr_db, error.kl) == (math.inf, math.inf, -math.inf, math.inf)
    assert error.agreement == error.accuracy == 39 / 40
    assert np.isinf(metrics.per_sample_nmse(FLOAT, broken, 1.0)).sum() == 1


def test_a_float_output_that_is_not_finite_is_refused_with_its_sample():
    broken = FLOAT.copy()
    broken[3, 4] = math.nan
    for compare in (metrics.sqnr_db, metrics.kl_divergence, metrics.top1_agreement):
        with pytest.raises(DataError, match="sample 3"):
            compare(broken, FLOAT)


def test_unlike_shapes_are_refused():
    for compare in (
        metrics.sqnr_db,
        metrics.kl_divergence,
        metrics.kl_divergence_of_probabilities,
        metrics.top1_agreement,
    ):
        with pytest.raises(ShapeMismatch, match=r"\[40, 10\].*\[40, 9\]"):
            compare(FLOAT, QUANTIZED[:, :9])
    with pytest.raises(ShapeMismatch):
        metrics.accuracy(FLOAT, LABELS[:39])
    with pytest.raises(ShapeMismatch):
        output_error([FLOAT], [QUANTIZED, QUANTIZED], variances=[1.0], is_classifier=False)
    with pytest.raises(ShapeMismatch):
        output_error([FLOAT, FLOAT[:9]], [FLOAT, FLOAT[:9]], variances=[1.0, 1.0], is_classifier=False)
    with pytest.raises(ShapeMismatch):
        output_error([], [], variances=[], is_classifier=False)


def test_no_samples_are_refused():
    with pytest.raises(DataError, match="no samples"):
        output_error([FLOAT[:0]], [FLOAT[:0]], variances=[1.0], is_classifier=True)
    with pytest.raises(DataError, match="no samples"):
        metrics.output_variance(FLOAT[:0])


def test_output_error_gathers_every_figure():
    variance = metrics.output_variance(FLOAT)
    error = output_error([FLOAT], [QUANTIZED], variances=[variance], is_classifier=True, labels=LABELS)
    per_sample = [np.mean((FLOAT[i].astype(float) - QUANTIZED[i].astype(float)) ** 2) / variance for i in range(40)]
    assert error.samples == 40
    assert error.nmse == pytest.approx(np.mean(per_sample), rel=1e-12)
    assert error.standard_error == pytest.approx(stats.sem(per_sample), rel=1e-12)
    assert error.sqnr_db == pytest.approx(metrics.sqnr_db(FLOAT, QUANTIZED), rel=1e-12)
    assert error.kl == metrics.kl_divergence(FLOAT, QUANTIZED)
    assert error.agreement == metrics.top1_agreement(FLOAT, QUANTIZED)
    assert error.accuracy == np.mean(QUANTIZED.argmax(axis=1) == LABELS)
    assert error.metric is None


def test_only_a_classifier_has_classes():
    error = output_error([FLOAT], [QUANTIZED], variances=[1.0], is_classifier=False, labels=LABELS)
    assert (error.kl, error.agreement, error.accuracy) == (None, None, None)


def test_several_outputs_count_alike_whatever_their_scale():
    big, noise = FLOAT * 1000, QUANTIZED - FLOAT
    variances = [metrics.output_variance(FLOAT), metrics.output_variance(big)]
    one = output_error([FLOAT], [QUANTIZED], variances=variances[:1], is_classifier=False)
    two = output_error([FLOAT, big], [QUANTIZED, big + 1000 * noise], variances=variances, is_classifier=False)
    assert two.nmse == pytest.approx(one.nmse, rel=1e-4)
    assert two.sqnr_db == pytest.approx(one.sqnr_db, rel=1e-4)
    half = output_error([FLOAT, big], [QUANTIZED, big], variances=variances, is_classifier=False)
    assert half.nmse == pytest.approx(one.nmse / 2, rel=1e-6)


def test_one_sample_says_nothing_about_the_spread():
    assert of(FLOAT[:1], QUANTIZED[:1]).to_output_error().standard_error == math.inf


def test_sums_go_through_json_unchanged():
    broken = QUANTIZED.copy()
    broken[0, 0] = math.nan
    sums = of(quantized=broken, labels=LABELS)
    assert loads(ErrorSums, dumps(sums)) == sums
    assert set(dataclasses.asdict(sums)) == {"nmse", "signal", "kl", "agree", "right", "metric"}


def test_large_samples_are_compared_block_by_block():
    x = RNG.normal(size=(5, 700_000)).astype(np.float32)
    y = x + np.float32(0.25) * np.arange(5, dtype=np.float32)[:, None]
    expected = [np.mean((a.astype(float) - b.astype(float)) ** 2) for a, b in zip(x, y, strict=True)]
    assert metrics.per_sample_nmse(x, y, 1.0) == pytest.approx(expected, rel=1e-12)


def test_integer_outputs_are_compared_as_numbers():
    assert metrics.nmse(np.array([[0], [200]], np.uint8), np.array([[1], [198]], np.uint8), 1.0) == 2.5
    assert metrics.nmse(np.array([[True], [False]]), np.array([[True], [True]]), 1.0) == 0.5


def test_the_metric_sees_one_sample_its_reference_and_its_label():
    def metric(output, reference, label):
        assert output.shape == reference.shape == (10,)
        return float(abs(output - reference).max() < 1) + 10 * int(label)

    error = output_error([FLOAT], [QUANTIZED], variances=[1.0], is_classifier=False, labels=LABELS, user_metric=metric)
    assert error.metric == pytest.approx(np.mean((abs(QUANTIZED - FLOAT).max(axis=1) < 1) + 10 * LABELS))


def test_the_metric_of_several_outputs_sees_tuples():
    def metric(output, reference, label):
        assert label is None
        return len(output) + len(reference)

    pair = [FLOAT, FLOAT[:, :2]]
    assert output_error(pair, pair, variances=[1.0, 1.0], is_classifier=False, user_metric=metric).metric == 4


def test_a_metric_that_answers_no_number_is_the_users_to_mend():
    for metric in (lambda output, reference, label: "good", lambda output, reference, label: output[99]):
        with pytest.raises(UsageError, match="sample 0"):
            of(user_metric=metric)


@pytest.mark.parametrize("values", [[math.nan, 1.0], [math.inf, -math.inf], [math.inf, math.nan]])
def test_a_metric_that_is_not_a_number_stays_visible(values):
    answers = itertools.cycle(values)
    assert math.isnan(of(user_metric=lambda output, reference, label: next(answers)).to_output_error().metric)

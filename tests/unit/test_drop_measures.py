"""Flips, classes, set metrics and gaps, each against a computation of another kind."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from bitplan.analyzer.errors import UsageError
from bitplan.analyzer.measures.flips import class_drops, find_flips
from bitplan.analyzer.measures.gaps import first_differences, output_gap, variances_of
from bitplan.analyzer.measures.set_metrics import set_metric_drop
from bitplan.analyzer.measures.statistics import holm, pairs_needed, samples_needed
from scipy import stats


def logits(classes, width=4, height=3.0):
    """Scores [n, width] whose top-1 are `classes`."""
    return (height * np.eye(width, dtype=np.float32))[np.asarray(classes)]


def test_holm_is_the_closed_test_of_bonferroni_tests():
    """Of every set of hypotheses that holds one: Bonferroni's p of that set; the largest of them is Holm's."""
    p = [0.012, 0.3, 0.004, 0.004, 0.9, 0.03]
    sets = [s for size in range(1, 7) for s in itertools.combinations(range(6), size)]
    for index, corrected in enumerate(holm(p)):
        closed = max(min(1.0, len(s) * min(p[i] for i in s)) for s in sets if index in s)
        assert corrected == pytest.approx(closed)


def test_pairs_needed_is_samples_needed_from_counts():
    assert pairs_needed(27, 20, 1000, 0.0) == samples_needed([100.0] * 27 + [-100.0] * 20 + [0.0] * 953, 0, unit=100.0)


def test_flips_are_counted_and_the_surest_stand_first():
    labels = np.array([0, 1, 2, 3, 0, 1])
    before = logits([0, 1, 2, 0, 0, 2])  # right: 0, 1, 2, 4
    after = logits([1, 1, 2, 3, 0, 3])  # right: 1, 2, 3, 4
    before[0] = [2.0, 1.9, 0.0, 0.0]  # a coin
    flips = find_flips(before, after, labels, np.array([10, 11, 12, 13, 14, 15]), [f"s{i}" for i in range(6)])
    assert (flips.samples, flips.lost, flips.gained, flips.changed, flips.total) == (6, 1, 1, 1, 3)
    assert [(f.index, f.outcome) for f in flips.listed] == [(13, "gained"), (15, "changed"), (10, "lost")]
    sure = math.exp(3) / (math.exp(3) + 3)
    assert flips.listed[0].float_confidence == pytest.approx(sure)
    assert flips.listed[2].float_confidence == pytest.approx(math.exp(2) / (math.exp(2) + math.exp(1.9) + 2))
    assert [f.label for f in flips.listed] == [3, 1, 0]
    assert flips.listed[0].origin == "s3"


def test_probabilities_are_confidences_as_they_are_and_integer_ones_need_not_sum_to_one():
    before = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]], np.float32)
    after = np.array([[0.3, 0.6, 0.09], [0.2, 0.49, 0.3]], np.float32)
    (flip,) = find_flips(before, after, None, np.arange(2), ["a", "b"]).listed
    assert (flip.float_confidence, flip.quantized_confidence) == pytest.approx((0.7, 0.6))
    assert flip.label is None and flip.outcome == "changed"


def test_a_file_that_answers_nan_flips_every_sample_and_they_stand_last():
    before, after = logits([0, 1, 2]), logits([0, 2, 2])
    after[2] = np.nan
    flips = find_flips(before, after, np.array([0, 1, 2]), np.arange(3), ["a", "b", "c"])
    assert flips.lost == 2 and [f.index for f in flips.listed] == [1, 2]


def test_classes_have_their_own_accuracies_and_corrected_tests():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], [40, 60, 20])
    before, after = labels.copy(), labels.copy()
    after[:15] = 1  # 15 of class 0 are lost
    before[40:42] = 2  # 2 of class 1 are won
    order = rng.permutation(len(labels))
    drops = class_drops(logits(before[order]), logits(after[order]), labels[order], ("cat", "dog", "owl", "fox"))
    assert [d.label for d in drops] == [0, 3, 1]
    worst, same, better = drops
    assert (worst.name, worst.samples, worst.float_accuracy, worst.accuracy) == ("cat", 40, 1.0, 25 / 40)
    assert worst.drop_points.value == pytest.approx(37.5) and worst.drop_points.low > 20
    assert worst.p_holm == pytest.approx(3 * stats.binomtest(15, 15, 0.5).pvalue)
    assert same.p_holm == 1.0 and same.drop_points.value == 0 and same.drop_points.low < 0 < same.drop_points.high
    assert better.drop_points.value == pytest.approx(-100 * 2 / 60)


def accuracy(outputs, targets):
    return float((outputs.argmax(axis=1) == targets).mean())


def test_a_set_metric_that_is_a_mean_has_the_interval_of_a_mean():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 800)
    before = np.where(rng.random(800) < 0.9, labels, (labels + 1) % 4)
    after = np.where(rng.random(800) < 0.08, (before + 1) % 4, before)
    found = set_metric_drop(accuracy, "m:accuracy", [logits(before)], [logits(after)], labels, seed=3)
    differences = (before == labels).astype(float) - (after == labels)
    assert found.drop.value == pytest.approx(differences.mean())
    half = 1.96 * differences.std() / math.sqrt(800)  # the normal interval of a mean, paired
    assert found.drop.low == pytest.approx(differences.mean() - half, abs=0.15 * half)
    assert found.drop.high == pytest.approx(differences.mean() + half, abs=0.15 * half)
    # Of two accuracies that are not paired the interval would be wider.
    unpaired = 1.96 * math.sqrt(((before == labels).var() + (after == labels).var()) / 800)
    assert found.drop.high - found.drop.low < 1.7 * unpaired
    assert set_metric_drop(accuracy, "m:accuracy", [logits(before)], [logits(after)], labels, seed=3) == found


def test_equal_outputs_lose_nothing_of_a_set_metric():
    labels = np.arange(40) % 4
    same = logits((labels + (np.arange(40) < 9)) % 4)
    found = set_metric_drop(accuracy, "m:accuracy", [same], [same.copy()], labels, resamples=50)
    assert (found.drop.low, found.drop.value, found.drop.high) == (0, 0, 0)
    assert found.float_value == found.quantized_value and found.float_value.low < found.float_value.high


def test_resamples_without_a_positive_are_left_out_and_counted():
    labels = np.array([1, 0, 0, 0])
    scores = logits([1, 0, 0, 1])

    def recall(outputs, targets):
        positive = targets == 1
        return (outputs.argmax(axis=1) == 1)[positive].mean() if positive.any() else math.nan

    found = set_metric_drop(recall, "m:recall", [scores], [scores], labels, resamples=2000)
    assert found.undefined == pytest.approx(2000 * (3 / 4) ** 4, rel=0.1)
    with pytest.raises(UsageError, match="gives nan"):
        set_metric_drop(recall, "m:recall", [scores], [scores], np.zeros(4), resamples=5)


def test_a_set_metric_gets_all_outputs_and_its_failures_are_named():
    boxes, scores = np.zeros((5, 3, 4)), np.ones((5, 3))
    seen = []

    def look(outputs, targets):
        seen.append((outputs[0].shape, outputs[1].shape, targets.shape))
        return 1.0

    set_metric_drop(look, "m:look", [boxes, scores], [boxes, scores], np.zeros((5, 2)), resamples=1)
    assert set(seen) == {((5, 3, 4), (5, 3), (5, 2))}
    with pytest.raises(UsageError, match=r"m:bad failed: KeyError"):
        set_metric_drop(lambda o, t: {}["x"], "m:bad", [boxes], [boxes], np.zeros(5))


def test_a_gap_is_what_loops_say_it_is():
    rng = np.random.default_rng(2)
    reference, found = rng.normal(size=(7, 3, 2)), rng.normal(size=(7, 3, 2))
    found[4] = reference[4]
    gap = output_gap("b", [found], "a", [reference], variances=variances_of([reference]), steps=[0.25])
    squares = [(x - y) ** 2 for x, y in zip(reference.ravel(), found.ravel(), strict=True)]
    assert gap.nmse == pytest.approx(sum(squares) / len(squares) / np.var(reference))
    assert gap.max_abs == pytest.approx(math.sqrt(max(squares))) and gap.max_steps == pytest.approx(gap.max_abs / 0.25)
    assert (gap.equal, gap.samples, gap.agreement, gap.drop_points) == (1, 7, None, None)


def test_the_first_differences_are_those_of_the_first_samples_in_the_data():
    expected = [np.zeros((4, 3)), np.zeros((4, 2))]
    found = [values.copy() for values in expected]
    found[0][1, 2], found[1][3, 1], found[1][1, 0] = 5.0, np.nan, 7.0
    differences = first_differences(found, expected, np.array([9, 8, 7, 6]), 5)
    assert [(d.index, d.output, d.element, d.expected) for d in differences] == [(6, 1, 1, 0.0), (8, 0, 2, 0.0)]
    assert differences[1].found == 5.0 and math.isnan(differences[0].found)
    assert len(first_differences(found, expected, np.array([9, 8, 7, 6]), 1)) == 1

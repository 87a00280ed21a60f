"""When the linear sweep may stop, and the signs it draws."""

from __future__ import annotations

import hashlib

import numpy as np
from bitplan.analyzer.measures.linear import is_settled, random_signs

HASHES = [hashlib.sha256(bytes([i])).digest() for i in range(200)]


def test_signs_belong_to_the_sample_and_not_to_its_batch():
    whole = random_signs(HASHES, (1, 7), 0, 2)
    assert whole.shape == (200, 1, 7) and set(np.unique(whole)) == {-1.0, 1.0}
    np.testing.assert_array_equal(random_signs(HASHES[50:60], (1, 7), 0, 2), whole[50:60])


def test_signs_are_independent_of_one_another():
    size = 40
    drawn = [random_signs(HASHES, (size,), output, vector) for output in range(3) for vector in range(2)]
    for i, a in enumerate(drawn):
        assert abs(float(a.mean())) < 5 / np.sqrt(a.size)
        for b in drawn[:i]:
            # Every sign of one against every sign of the other: no stream may be another one shifted.
            together = np.abs(a.T @ b) / len(HASHES)
            assert together.max() < 6 / np.sqrt(len(HASHES))


def test_settled_when_every_gap_at_the_top_is_three_standard_errors():
    noise = np.random.default_rng(0).normal(size=(3, 400))
    noise -= noise.mean(axis=1, keepdims=True)
    gap = (noise[0] - noise[1]).std(ddof=1) / 20
    levels = np.array([[10 * gap], [0.0], [-50 * gap]])
    assert is_settled(noise + levels)
    levels[0] = 3.1 * gap
    assert is_settled(noise + levels)
    levels[0] = 2.9 * gap
    assert not is_settled(noise + levels)


def test_places_below_the_tenth_need_not_be_sure():
    steps = np.arange(20, 0, -1.0)
    steps[12:] = steps[12]
    rows = np.repeat(steps[:, None], 300, axis=1) + np.random.default_rng(1).normal(size=(20, 300)) * 0.1
    assert is_settled(rows)
    steps[3] = steps[4]
    assert not is_settled(
        np.repeat(steps[:, None], 300, axis=1) + np.random.default_rng(1).normal(size=(20, 300)) * 0.1
    )

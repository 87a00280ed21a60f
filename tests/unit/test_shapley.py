"""Shapley values and interactions against orders counted one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from bitplan.analyzer.measures.shapley import interactions, shapley_values


def by_orders(worths, players):
    """The definition itself: what each player adds, over all orders."""
    values = np.zeros(players)
    for order in itertools.permutations(range(players)):
        coalition = 0
        for player in order:
            values[player] += worths[coalition | 1 << player] - worths[coalition]
            coalition |= 1 << player
    return values / math.factorial(players)


@pytest.mark.parametrize("players", [0, 1, 2, 5])
def test_values_are_means_over_all_orders(players):
    worths = np.random.default_rng(players).normal(size=1 << players)
    found = shapley_values(worths)
    np.testing.assert_allclose(found, by_orders(worths, players), atol=1e-12)
    assert found.sum() == pytest.approx(worths[-1] - worths[0])


def test_a_glove_game_gives_what_the_textbook_says():
    """Player 0 has a left glove, 1 and 2 a right one each: a pair is worth 1."""
    worths = np.array([float(c & 1 and c >> 1) for c in range(8)], float) > 0
    np.testing.assert_allclose(shapley_values(worths.astype(float)), [4 / 6, 1 / 6, 1 / 6])


def test_samples_are_divided_one_by_one():
    worths = np.random.default_rng(3).normal(size=(8, 5))
    found = shapley_values(worths)
    for sample in range(5):
        np.testing.assert_allclose(found[:, sample], by_orders(worths[:, sample], 3), atol=1e-12)


def test_an_interaction_is_what_a_quadratic_game_has_between_two():
    generator = np.random.default_rng(4)
    single, pairs = generator.normal(size=4), generator.normal(size=(4, 4))
    pairs = pairs + pairs.T
    members = [[k for k in range(4) if c >> k & 1] for c in range(16)]
    worths = np.array([
        sum(single[k] for k in m) + sum(pairs[a, b] for a, b in itertools.combinations(m, 2)) for m in members
    ])  # fmt: skip
    np.fill_diagonal(pairs, 0)
    np.testing.assert_allclose(interactions(worths), pairs, atol=1e-12)
    np.testing.assert_allclose(shapley_values(worths), single + pairs.sum(axis=1) / 2, atol=1e-12)


def test_worths_of_some_coalitions_only_are_refused():
    with pytest.raises(ValueError, match="all coalitions"):
        shapley_values(np.zeros(6))

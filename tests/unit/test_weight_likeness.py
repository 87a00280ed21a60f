"""Weights are recognised in other shapes and orders, and strangers are not."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.measures.weight_likeness import cosine, fitted, in_order_of

GENERATOR = np.random.default_rng(8)


@pytest.mark.parametrize("channels_first", [True, False])
def test_columns_behind_a_flattened_map_are_put_in_order(channels_first):
    sizes = (5, 3, 4) if channels_first else (3, 4, 5)
    original = GENERATOR.normal(size=(7, 60)).astype(np.float32)
    axes = (0, 2, 3, 1) if channels_first else (0, 3, 1, 2)
    theirs = original.reshape(7, *sizes).transpose(axes).reshape(7, 60)
    rounded = np.rint(theirs * 20) / 20
    assert cosine(original, rounded) < 0.5
    np.testing.assert_allclose(in_order_of(original, rounded, sizes), np.rint(original * 20) / 20, rtol=1e-6)


def test_weights_in_order_and_strangers_stay_as_they_are():
    original, stranger = GENERATOR.normal(size=(2, 6, 12))
    for values in (original + 0.01, stranger):
        assert in_order_of(original, values, (3, 2, 2)) is values


def test_only_sizes_of_one_are_added_or_left_out():
    values = GENERATOR.normal(size=(6, 1, 1, 4))
    np.testing.assert_array_equal(fitted(values, (6, 4)), values.reshape(6, 4))
    assert fitted(values, (4, 6)) is None
    assert fitted(values, values.shape) is values


def test_cosine_of_scaled_and_of_empty_weights():
    values = GENERATOR.normal(size=(64, 128))
    assert cosine(values, 4 * values) == pytest.approx(1)
    assert cosine(values, np.zeros_like(values)) == 0

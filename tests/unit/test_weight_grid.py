"""Grids of weights: the converter finds them again, and they hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.measures.quantization import quantize_weights, weight_scales
from bitplan.strategies.repair.weight_grid import weight_grid

CASES = [(bits, per_channel, narrow) for bits in (4, 8) for per_channel in (True, False) for narrow in (True, False)]


def matrix(seed=0):
    generator = np.random.default_rng(seed)
    heavy_tails = generator.standard_t(3, size=(2, 40, 5)) * generator.uniform(0.01, 10, size=(2, 1, 5))
    return heavy_tails.astype(np.float32)


def reads(weights):
    """Mean products of correlated data that such weights are multiplied with."""
    generator = np.random.default_rng(7)
    mixed = generator.normal(size=(2, 300, 40)) @ generator.normal(size=(2, 40, 40))
    return (mixed.transpose(0, 2, 1) @ mixed / 300).astype(np.float32)


def scales_of(weights, bits, per_channel):
    """As the converter finds them."""
    if not per_channel:
        return weight_scales(weights, None, bits)
    flat = weights.transpose(0, 2, 1).reshape(-1, weights.shape[1])
    return weight_scales(flat, 0, bits).reshape(weights.shape[0], 1, -1)


def grid_of(weights, bits, per_channel, narrow, least=0.0):
    emitted = scales_of(weights, bits, per_channel)
    return weight_grid(weights, bits, emitted, np.full(emitted.shape, least), reads(weights) if narrow else None)


@pytest.mark.parametrize(("bits", "per_channel", "narrow"), CASES)
def test_the_converter_finds_scales_and_integers_again_however_weights_are_rounded(bits, per_channel, narrow):
    for seed in range(5):
        grid = grid_of(matrix(seed), bits, per_channel, narrow)
        up = np.random.default_rng(seed).random(grid.weights.shape) < 0.5
        found = grid.float_weights(up)
        scales = scales_of(found, bits, per_channel)
        np.testing.assert_array_equal(scales, grid.scales)
        np.testing.assert_array_equal(np.rint(found / scales), grid.integers(up))
        assert np.abs(grid.integers(up)).max() == grid.top
        assert grid.integers(up).min() >= -grid.top
        np.testing.assert_array_equal(grid.values(up), grid.integers(up).astype(np.float32) * scales)


@pytest.mark.parametrize("top", [7, 127])
def test_a_scale_is_found_again_in_the_last_point_of_its_grid_whatever_float_it_is(top):
    every_mantissa = np.arange(2**23, 2**24).astype(np.float32)
    scales = every_mantissa / np.float32(top)
    np.testing.assert_array_equal(scales * np.float32(top) / np.float32(top), scales)


@pytest.mark.parametrize(("bits", "per_channel"), [(4, True), (4, False), (8, True), (8, False)])
def test_nearest_on_the_widest_grid_is_what_the_converter_does(bits, per_channel):
    weights = matrix()
    grid = grid_of(weights, bits, per_channel, narrow=False)
    assert not grid.alone.any()
    flat = weights.transpose(0, 2, 1).reshape(-1, 40)
    wanted, _ = quantize_weights(flat, 0 if per_channel else None, bits)
    got = grid.integers(grid.nearest).transpose(0, 2, 1).reshape(-1, 40)
    np.testing.assert_array_equal(got, wanted)


def test_both_roundings_are_neighbours_and_the_largest_weight_stays():
    grid = grid_of(matrix(), 4, per_channel=True, narrow=False)
    low, high = (grid.integers(np.full(grid.weights.shape, up)) for up in (False, True))
    np.testing.assert_array_equal(high - low, grid.free)
    inside = grid.free
    assert (low * grid.scales <= grid.weights + 1e-6)[inside].all()
    assert (high * grid.scales >= grid.weights - 1e-6)[inside].all()
    assert (~grid.free).sum(axis=1).min() == 1


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_narrow_grid_lowers_the_error_of_the_output(per_channel):
    weights = matrix()
    moments = reads(weights)
    errors = []
    for narrow in (True, False):
        grid = grid_of(weights, 4, per_channel, narrow)
        off = (grid.values(grid.nearest) - weights).astype(np.float64)
        errors.append((off * (moments @ off)).sum(axis=1 if per_channel else None))
    assert np.all(errors[0] <= errors[1] * (1 + 1e-5))
    assert np.sum(errors[0]) < 0.9 * np.sum(errors[1])


def test_channels_of_zeros_and_below_their_bias_are_left_alone():
    weights = matrix()
    weights[0, :, 1] = 0
    emitted = scales_of(weights, 8, per_channel=True)
    least = np.zeros(emitted.shape)
    least[1, 0, 2] = emitted[1, 0, 2] = emitted[1, 0, 2] * 3
    grid = weight_grid(weights, 8, emitted, least, reads(weights))
    assert grid.alone[0, 0, 1] and grid.alone[1, 0, 2] and grid.alone.sum() == 2
    up = np.ones(weights.shape, bool)
    np.testing.assert_array_equal(grid.float_weights(up)[0, :, 1], 0)
    np.testing.assert_array_equal(grid.float_weights(up)[1, :, 2], weights[1, :, 2])
    np.testing.assert_array_equal(grid.integers(up)[1, :, 2], np.rint(weights[1, :, 2] / emitted[1, 0, 2]))


def test_a_grid_is_never_narrowed_below_what_the_bias_needs():
    weights = matrix()
    widest = scales_of(weights, 4, per_channel=True)
    for share in (0.5, 0.8, 0.95):
        grid = weight_grid(weights, 4, widest, widest * share, reads(weights))
        assert np.all(grid.scales > widest * share)

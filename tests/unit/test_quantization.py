"""The quantization arithmetic against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.measures import quantization as q
from hypothesis import given
from hypothesis import strategies as st

finite = st.floats(-1e4, 1e4, width=32)


@given(finite, finite, st.sampled_from([8, 16]))
def test_zero_is_always_exact(a, b, bits):
    params = q.activation_params(min(a, b), max(a, b), bits)
    assert q.fake_quantize(np.zeros(1, np.float32), params)[0] == 0


@given(st.lists(finite, min_size=1, max_size=50), st.sampled_from([8, 16]))
def test_values_within_the_range_move_by_half_a_step_at_most(values, bits):
    x = np.array(values, np.float32)
    params = q.activation_params(float(x.min()), float(x.max()), bits)
    # The zero point is rounded, so an end of the range may lie up to half a step outside the grid: a whole step in all.
    assert np.abs(q.fake_quantize(x, params) - x).max() <= params.scale * 1.01 + 1e-6


def test_int8_range_is_spread_over_255_steps():
    params = q.activation_params(-1.0, 2.0, 8)
    assert params.scale == pytest.approx(3 / 255)
    assert params.zero_point == round(-128 + 1.0 / (3 / 255))


def test_int16_is_symmetric():
    params = q.activation_params(-1.0, 3.0, 16)
    assert params.zero_point == 0
    assert params.scale == pytest.approx(3 / 32767)


def test_a_range_that_lacks_zero_is_widened_to_hold_it():
    assert q.activation_params(2.0, 4.0, 8).zero_point == -128


@pytest.mark.parametrize(("opcode", "scale", "zero"), [("SOFTMAX", 1 / 256, -128), ("TANH", 1 / 128, 0)])
def test_kernels_that_fix_their_outputs_scale(opcode, scale, zero):
    assert q.activation_params(0.1, 0.2, 8, opcode) == q.AffineParams(scale, zero, 8)


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]))
def test_each_channels_largest_weight_is_exact(seed, bits):
    w = np.random.default_rng(seed).normal(size=(5, 3, 3, 2)).astype(np.float32)
    rounded = q.fake_quantize_weights(w, 0, bits)
    for channel, original in zip(rounded, w, strict=True):
        largest = np.unravel_index(np.abs(original).argmax(), original.shape)
        assert channel[largest] == pytest.approx(original[largest], rel=1e-6)
        step = np.abs(original).max() / (2 ** (bits - 1) - 1)
        assert np.abs(channel - original).max() <= step / 2 * 1.001


def test_a_channel_of_zeros_stays_zero():
    w = np.zeros((2, 4), np.float32)
    w[1] = 1
    assert np.array_equal(q.fake_quantize_weights(w, 0, 8), w)


def test_two_int8_tensors_hold_what_16_bits_would():
    w = np.random.default_rng(0).normal(size=(8, 100)).astype(np.float32)
    high = q.fake_quantize_weights(w, 0, 8)
    low = q.fake_quantize_weights(w - high, 0, 8)
    error = np.abs(high + low - w).max(1)
    step_16 = np.abs(w).max(1) / 32767
    assert (error <= 2.1 * step_16).all()


def test_scalars_keep_their_shape():
    assert q.fake_quantize(np.float32(0.5) * np.ones(()), q.AffineParams(0.1, 0, 8)).shape == ()

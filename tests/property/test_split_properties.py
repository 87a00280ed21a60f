"""The two claims that the hi + lo split rests on."""

from __future__ import annotations

import numpy as np
from bitplan.analyzer.network.rewrite import relevant_range, split_values
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

CLAMPS = {"NONE": (None, None), "RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}
sums = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-50, 50))


@given(st.sampled_from(sorted(CLAMPS)), sums, st.data())
def test_clipping_the_high_sum_to_its_relevant_range_changes_no_output(activation, high, data):
    low = data.draw(hnp.arrays(np.float64, high.shape, elements=st.floats(-5, 5)))
    floor, ceiling = CLAMPS[activation]

    def fused(values):
        return values if activation == "NONE" else np.clip(values, floor, ceiling)

    bounds = relevant_range(activation, (high.min(), high.max()), (low.min(), low.max()))
    assert bounds[0] <= bounds[1]
    clipped = np.clip(high, *bounds)
    np.testing.assert_allclose(fused(clipped + low), fused(high + low), rtol=0, atol=1e-12)


@given(st.sampled_from(["RELU", "RELU6"]), st.floats(-50, 0), st.floats(0, 50), st.floats(0, 5))
def test_relevant_range_is_as_narrow_as_the_claim_allows(activation, minimum, maximum, reach):
    low, high = relevant_range(activation, (minimum, maximum), (-reach, reach / 2))
    assert low == max(minimum, -reach)
    assert high == (maximum if activation == "RELU" else min(maximum, 6 + reach))


def test_a_high_sum_wholly_outside_the_relevant_part_gives_its_nearest_end():
    assert relevant_range("RELU6", (-20.0, -15.0), (-1.0, 0.5)) == (-1.0, -1.0)


weights = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-1e3, 1e3, width=32)
)


@given(weights, st.data())
def test_high_weights_keep_the_integers_of_int8_and_low_ones_stay_below_half_a_step(values, data):
    axis = data.draw(st.integers(0, values.ndim - 1))
    high, low = split_values(values, axis)
    others = tuple(a for a in range(values.ndim) if a != axis)
    scale = np.maximum(np.abs(values.astype(np.float64)).max(axis=others, keepdims=True), 1e-9) / 127
    again = np.maximum(np.abs(high.astype(np.float64)).max(axis=others, keepdims=True), 1e-9) / 127
    assert np.isfinite(high).all()
    assert np.isfinite(low).all()
    np.testing.assert_array_equal(np.rint(high / again), np.rint(values / scale))
    assert (np.abs(low) <= 0.5001 * scale).all()
    np.testing.assert_allclose(high.astype(np.float64) + low, values, rtol=0, atol=1e-7 * float(scale.max()))


@given(weights, st.data())
def test_both_halves_in_int8_miss_the_weights_by_a_hundredth_of_what_int8_alone_does(values, data):
    axis = data.draw(st.integers(0, values.ndim - 1))
    others = tuple(a for a in range(values.ndim) if a != axis)

    def int8(array):
        scale = np.maximum(np.abs(array.astype(np.float64)).max(axis=others, keepdims=True), 1e-9) / 127
        return np.rint(array / scale) * scale, scale

    high, low = split_values(values, axis)
    kept = int8(high)[0] + int8(low)[0]
    floor = 1e-9 / 127  # no scale is smaller
    assert (np.abs(kept - values) <= int8(values)[1] / 2 / 100 + floor).all()


def test_a_channel_of_zeros_splits_into_zeros():
    values = np.array([[0.0, 0.0], [1.0, -0.5]], np.float32)
    high, low = split_values(values, 0)
    assert not high[0].any()
    assert not low[0].any()

"""What holds for error figures whatever the outputs are."""

from __future__ import annotations

import math

import numpy as np
from bitplan.analyzer.measures import metrics
from bitplan.analyzer.measures.metrics import ErrorSums
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHAPES = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6)
VALUES = st.floats(-1e6, 1e6, width=32)
ANY_VALUES = st.floats(width=32)


@st.composite
def outputs(draw, quantized=VALUES):
    shape = draw(SHAPES)
    return draw(hnp.arrays(np.float32, shape, elements=VALUES)), draw(hnp.arrays(np.float32, shape, elements=quantized))


@settings(deadline=None)
@given(outputs(ANY_VALUES))
def test_figures_stay_in_their_ranges_and_hide_nothing(pair):
    x, y = pair
    error = ErrorSums.of([x], [y], variances=[metrics.output_variance(x)], is_classifier=True).to_output_error()
    assert error.nmse >= 0
    assert error.kl >= 0
    assert 0 <= error.agreement <= 1
    assert not math.isnan(error.sqnr_db)
    assert math.isinf(error.nmse) == (not np.isfinite(y).all())


@settings(deadline=None)
@given(outputs())
def test_an_unchanged_output_has_no_error(pair):
    x, _ = pair
    error = ErrorSums.of([x], [x], variances=[metrics.output_variance(x)], is_classifier=True).to_output_error()
    assert (error.nmse, error.sqnr_db, error.kl, error.agreement) == (0.0, math.inf, 0.0, 1.0)


@settings(deadline=None)
@given(outputs(), st.integers(-20, 20))
def test_scaling_both_outputs_changes_neither_nmse_nor_sqnr(pair, exponent):
    x, y = pair
    assume(np.abs(x)[x != 0].min(initial=1) > 1e-6 and np.abs(y - x)[y != x].min(initial=1) > 1e-6)
    a, b = (np.ldexp(v.astype(np.float64), exponent) for v in pair)
    one = ErrorSums.of([x], [y], variances=[metrics.output_variance(x)], is_classifier=False).to_output_error()
    two = ErrorSums.of([a], [b], variances=[metrics.output_variance(a)], is_classifier=False).to_output_error()
    assume(x.any())  # an output of zeros is measured against 1, whatever the scale
    assert math.isclose(one.nmse, two.nmse, rel_tol=1e-9)
    assert math.isclose(one.sqnr_db, two.sqnr_db, rel_tol=1e-9, abs_tol=1e-9)

"""Causes by their arithmetic: ranges, orders, yardsticks. No network is run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.measures.extremes import Extremes
from bitplan.analyzer.measures.grids import Grid
from bitplan.analyzer.measures.substitution import Ingredients
from bitplan.analyzer.schema import CAUSES, RULED_OUT, TESTED, Cause, Graph, Op, Tensor
from bitplan.strategies.causes.case import Case, Mend
from bitplan.strategies.causes.inputs import other_inputs
from bitplan.strategies.causes.order import Found, in_order, is_effective, merged, share_of_error, touched
from bitplan.strategies.causes.ranges import range_proposals
from bitplan.strategies.causes.regrid import regrid, shared_grids
from bitplan.strategies.causes.yardstick import Yardstick

INT8 = Grid(1.0, 0, -128, 127, 8)
RNG = np.random.default_rng(0)
TENSORS, SAMPLES = 24, 256


def chain(tensors: int = TENSORS) -> Graph:
    """One input and a row of ops that each write one tensor."""
    made = tuple(Tensor(t, f"t{t}", (1, 4, 4, 3), "float32") for t in range(tensors))
    ops = tuple(
        Op(k, f"{k}:RELU:", "HARD_SWISH", f"layer{k + 1}", (k,), (k + 1,), activation="NONE")
        for k in range(tensors - 1)
    )
    return Graph(made, ops, (0,), (tensors - 1,), (tensors - 1,), False, "", 0)


def extremes(tensors: int = TENSORS) -> Extremes:
    """Maxima that differ from sample to sample; minima of -1 everywhere."""
    maxima = {t: 1.0 + RNG.gamma(3.0, 1.0, SAMPLES) for t in range(tensors)}
    maxima[0] = 1.0 + 0.05 * RNG.random(SAMPLES)
    minima = {t: np.full(SAMPLES, -1.0) for t in range(tensors)}
    return Extremes(minima, maxima, {t: np.ones(3) for t in range(tensors)}, SAMPLES)


def case(grids: dict[int, Grid], seen: Extremes) -> Case:
    return Case(b"", chain(), b"", Ingredients(activations=grids), seen)


def grids_of(seen: Extremes, samples: np.ndarray, factor: float = 1.0) -> dict[int, Grid]:
    """What a converter makes of the extremes of some samples."""
    return {t: regrid(INT8, -1.0 * factor, float(seen.maxima[t][samples].max()) * factor) for t in seen.maxima}


def proposed(grids: dict[int, Grid], seen: Extremes) -> dict[str, Mend | Cause]:
    return {proposal.name: proposal for proposal in range_proposals(case(grids, seen))}


def test_the_schema_lists_every_cause_with_a_meaning_a_mend_and_a_remedy():
    wanted = (
        "ranges_too_wide, ranges_clipped, too_few_samples, calibration_unlike_evaluation, per_tensor_weights, "
        "channel_spread_after_bn_fold, depthwise_weights, relu6_clipping, unused_range, add_scale_mismatch, "
        "input_quantization, mixed_range_output, output_rounding, bias_saturation, float_fallback, external_buffers, "
        "channel_order, input_scaling, scale_corrupted, kernel_difference, not_the_parent"
    )
    assert set(wanted.split(", ")) <= set(CAUSES)
    for kind in CAUSES.values():
        assert kind.meaning.endswith(".") and kind.counterfactual.endswith(".") and kind.remedy.endswith(".")


def test_a_grid_of_another_range_holds_zero_exactly_and_both_ends():
    grid = regrid(INT8, -0.7, 3.1)
    assert grid.round(np.zeros(1, np.float32)) == 0
    assert grid.maximum - grid.minimum == pytest.approx(3.8, rel=1e-6)
    assert abs(grid.maximum - 3.1) <= grid.scale / 2 + 1e-6
    assert regrid(replace(INT8, low=0, high=255), 1.0, 2.0).minimum == 0
    wide = regrid(Grid(1.0, 0, -32768, 32767, 16), -2.0, 1.0)
    assert (wide.zero_point, wide.maximum) == (0, pytest.approx(2.0))


@pytest.mark.parametrize("count", [1, 3, 10])
def test_ranges_of_few_samples_are_told_by_how_many_samples_would_give_them(count):
    seen = extremes()
    found = proposed(grids_of(seen, np.arange(count)), seen)
    mend = found["too_few_samples"]
    assert isinstance(mend, Mend)
    said = float(mend.evidence.split("about ")[1].split(" ")[0])
    assert count / 2 < said < count * 2
    tensor = 5
    grid = mend.numbers.activations[tensor]
    assert grid.maximum == pytest.approx(seen.maxima[tensor].max(), abs=grid.scale)


def test_two_ends_are_too_few_to_tell_how_many_samples_gave_them():
    seen = extremes(2)
    seen = replace(seen, maxima={t: np.linspace(1.0, 5.0, SAMPLES) for t in range(2)})
    narrow = float(np.quantile(seen.maxima[0], 0.94))  # of about 16 samples; by two ends, of up to 45
    grids = {t: regrid(INT8, -1.0, narrow) for t in range(2)}
    assert isinstance(found := proposed(grids, seen)["too_few_samples"], Cause) and found.status == RULED_OUT
    many = extremes(TENSORS)
    many = replace(many, maxima={t: np.linspace(1.0, 5.0, SAMPLES) for t in range(TENSORS)})
    assert isinstance(proposed({t: regrid(INT8, -1.0, narrow) for t in many.maxima}, many)["too_few_samples"], Mend)


def of_input(low: float, high: float) -> dict[str, Mend | Cause]:
    """What is proposed for inputs of 0 to 255, or what else occurs, on a 16-bit grid that was made for 0 to 255."""
    seen = extremes()
    seen = replace(
        seen, minima={**seen.minima, 0: np.full(SAMPLES, low)}, maxima={**seen.maxima, 0: np.full(SAMPLES, high)}
    )
    return proposed({0: regrid(Grid(1.0, 0, -32768, 32767, 16), 0.0, 255.0)}, seen)


def test_a_grid_of_16_bits_is_symmetric_and_not_calibrated_on_other_data_for_that():
    other = of_input(0.0, 255.0)["calibration_unlike_evaluation"]
    assert isinstance(other, Cause) and other.status == RULED_OUT
    assert isinstance(of_input(0.0, 1.0)["calibration_unlike_evaluation"], Mend)
    assert isinstance(of_input(0.0, 0.0)["calibration_unlike_evaluation"], Mend)  # a constant input
    assert isinstance(of_input(0.0, 600.0)["calibration_unlike_evaluation"], Mend)


def test_ranges_of_all_samples_are_not_those_of_few():
    seen = extremes()
    found = proposed(grids_of(seen, np.arange(SAMPLES)), seen)
    assert {cause.status for cause in found.values() if isinstance(cause, Cause)} == {RULED_OUT}
    assert not any(isinstance(proposal, Mend) for proposal in found.values())


def test_ranges_below_every_samples_are_clipped_not_few():
    seen = extremes()
    grids = {t: regrid(INT8, -1.0, 0.5 * float(seen.maxima[t].min())) for t in seen.maxima}
    grids[0] = grids_of(seen, np.arange(SAMPLES))[0]
    found = proposed(grids, seen)
    assert isinstance(found["too_few_samples"], Cause)
    assert isinstance(found["ranges_clipped"], Mend)


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (0.0, 1.0), (-0.3, 0.3)])
def test_an_input_on_another_range_is_calibration_on_other_data(low, high):
    seen = extremes()
    grids = grids_of(seen, np.arange(2))
    grids[0] = regrid(INT8, low, high)
    found = proposed(grids, seen)
    assert isinstance(found["calibration_unlike_evaluation"], Mend)
    assert isinstance(found["too_few_samples"], Cause)


def test_tensors_that_an_op_only_passes_on_have_one_range():
    graph = chain()
    moved = replace(graph.ops[3], opcode="MAX_POOL_2D")
    graph = replace(graph, ops=(*graph.ops[:3], moved, *graph.ops[4:]))
    seen = extremes()
    grids = grids_of(seen, np.arange(SAMPLES))
    grids[4] = grids[3]
    shared = shared_grids(Case(b"", graph, b"", Ingredients(activations=grids), seen))
    joint = next(s for s in shared if 3 in s.tensors)
    assert joint.tensors == (3, 4)
    assert joint.high == max(seen.maxima[3].max(), seen.maxima[4].max())


def test_columns_of_unlike_ranges_are_measured_each_against_its_own_variance():
    wanted = np.stack([640 * RNG.random(50), RNG.random(50)], -1)
    answer = wanted.copy()
    answer[:, 1] = wanted[:, 1].mean()
    errors = Yardstick(chain(), [wanted]).errors([answer])
    assert errors.mean() == pytest.approx((0 + 1) / 2, rel=1e-4)
    alike = wanted / wanted.std(axis=0)
    together = Yardstick(chain(), [alike]).errors([alike + 0.1])
    assert together.mean() == pytest.approx(0.01 / np.float32(alike).var(), rel=1e-4)


def found(name: str, share: float, keys: set[tuple[str, object]]) -> Found:
    cause = Cause(name, "layer", TESTED, share, "seen", "", samples=8)
    return Found(cause, np.zeros(8), frozenset(keys))


def names(causes: list[Found]) -> list[str]:
    return [one.cause.name for one in causes]


def test_of_mends_that_do_the_same_the_narrowest_cause_comes_first():
    one, both = {("weights", 1)}, {("weights", 1), ("weights", 2)}
    order = in_order([found("weight_rounding", 0.9, both), found("scale_corrupted", 0.85, one)])
    assert names(order) == ["scale_corrupted", "weight_rounding"]
    assert "named before weight_rounding" in order[0].cause.evidence


def test_a_narrow_cause_with_little_effect_does_not_come_first():
    one, both = {("weights", 1)}, {("weights", 1), ("weights", 2)}
    order = in_order([found("weight_rounding", 0.9, both), found("scale_corrupted", 0.3, one)])
    assert names(order) == ["weight_rounding", "scale_corrupted"]


def test_causes_that_share_nothing_are_ordered_by_their_effect_alone():
    order = in_order([
        found("weight_rounding", 0.5, {("weights", 1)}), found("too_few_samples", 0.45, {("activations", 3)})
    ])  # fmt: skip
    assert names(order) == ["weight_rounding", "too_few_samples"]


def test_what_a_mend_touches_is_what_differs():
    before = Ingredients(activations={1: INT8, 2: INT8}, weights={4: np.zeros(3)})
    after = replace(before.without_activations([1]), weights={4: np.ones(3)})
    assert touched(before, after) == {("activations", 1), ("weights", 4)}


def test_shares_of_error():
    before = 1.0 + RNG.random(64)
    share = share_of_error(before, 0.25 * before, 0)
    assert share.value == pytest.approx(0.75)
    assert (share.low, share.high) == (pytest.approx(0.75), pytest.approx(0.75)) and is_effective(share)
    unlike = share_of_error(before, before * RNG.random(64), 0)
    assert unlike.low < unlike.value < unlike.high <= 1
    assert not is_effective(share_of_error(before, before + RNG.normal(0, 0.1, 64) * before, 0))
    assert share_of_error(np.full(4, np.inf), np.ones(4), 0).value == 1


def test_causes_that_were_not_found_are_listed_once_with_all_reasons():
    one = Cause("scale_corrupted", "", RULED_OUT, None, "weights are right", "")
    result = merged([one, replace(one, evidence="ranges are right"), replace(one, name="channel_order", evidence="x")])
    assert [cause.name for cause in result] == ["channel_order", "scale_corrupted"]
    assert result[1].evidence == "weights are right; ranges are right"


def test_every_order_of_channels_and_every_normalisation_is_tried():
    seen = extremes()
    seen = replace(seen, minima={**seen.minima, 0: np.zeros(SAMPLES)}, maxima={**seen.maxima, 0: np.ones(SAMPLES)})
    others = other_inputs(case({}, seen))
    orders = [other for other in others if other.name == "channel_order"]
    images = RNG.random((2, 4, 4, 3)).astype(np.float32)
    changed = {other.change([images])[0].tobytes() for other in orders}
    assert len(orders) == len(changed) == 5
    pixels = next(other for other in others if "0..255 instead of 0..1" in other.said)
    np.testing.assert_allclose(pixels.change([images])[0], 255 * images, rtol=1e-6)
    imagenet = next(other for other in others if other.said.startswith("values of ImageNet"))
    wanted = (images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(imagenet.change([images])[0], wanted, rtol=1e-4, atol=1e-5)

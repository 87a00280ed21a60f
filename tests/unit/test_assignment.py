"""The planner's rules on networks small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bitplan.analyzer.errors import ImpossibleBudget, RunFolderError, UsageError
from bitplan.analyzer.schema import (
    DEFAULT_ALLOWED,
    SCHEMES,
    Format,
    Graph,
    Op,
    Plan,
    SensitivityTable,
    Source,
)
from bitplan.analyzer.serialize import dumps, loads
from bitplan.strategies.assignment.choices import schemes_for_ops, uniform_schemes
from bitplan.strategies.assignment.noise import build_noise, evaluate_noise, noise_shares

from .small_problems import BORDER_BYTES, CONV, DEPTHWISE, PLAIN, THREE, WEIGHT_BYTES, chain, costs, plan, table


def names(found: Plan) -> list[str]:
    return [a.scheme for a in found.assignments]


def noise_of(graph: Graph, sensitivities: SensitivityTable, *schemes: str, io: Format = Format.FLOAT) -> float:
    return evaluate_noise(graph, build_noise(graph, sensitivities), [SCHEMES[s] for s in schemes], io)


def with_one_scale(sensitivities: SensitivityTable, factor: float) -> SensitivityTable:
    """The table of weights with one scale for the tensor, whose errors are larger."""
    measurements = tuple(
        replace(m, source=replace(m.source, per_channel=False), error=replace(m.error, nmse=factor * m.error.nmse))
        if m.source.part == "weights" else m
        for m in sensitivities.measurements
    )  # fmt: skip
    return replace(sensitivities, measurements=measurements, per_channel=False)


def test_nothing_is_rounded_in_a_float_network() -> None:
    assert noise_of(THREE, table(THREE), "float", "float", "float") == 0


def test_weights_with_one_scale_have_terms_of_their_own() -> None:
    graph = THREE
    many, one = table(graph), with_one_scale(table(graph), 7.0)
    assert {m.source.id for m in one.measurements} >= {"weights:1:w8t", "weights:2:w16a8t", "activation:1:a8"}
    noises = build_noise(graph, many), build_noise(graph, one, per_channel=False)
    assert [noise.per_channel for noise in noises] == [True, False]
    for scheme in ("w8a8", "w16a8"):
        terms = [noise.of_weights(0, SCHEMES[scheme]) for noise in noises]
        assert terms[1] == pytest.approx(7 * terms[0])
    assert noises[0].written == noises[1].written


def test_weights_of_the_other_kind_are_no_terms_at_all() -> None:
    for kind, words in ((True, "one scale for the tensor, and"), (False, "a scale for each channel, and")):
        wrong = with_one_scale(table(THREE), 1.0) if kind else table(THREE)
        with pytest.raises(RunFolderError, match=words) as caught:
            build_noise(THREE, wrong, per_channel=kind)
        assert "--target" in caught.value.remedy


def test_a_missing_term_of_one_scale_is_named() -> None:
    one = with_one_scale(table(THREE), 1.0)
    poorer = replace(one, measurements=tuple(m for m in one.measurements if m.source.id != "weights:2:w8t"))
    with pytest.raises(RunFolderError, match="weights:2:w8t"):
        build_noise(THREE, poorer, per_channel=False).of_weights(1, SCHEMES["w8a8"])


def test_constant_operands_have_one_scale_either_way() -> None:
    op = Op(0, "0:ADD", "ADD", "l0", (0, 1), (2,), constants=(1,), schemes=PLAIN)
    ids = {Source.of_weights(op, "c8", per_channel=kind).id for kind in (True, False)}
    assert ids == {"weights:2:c8"}


def test_a_plan_says_how_many_scales_its_weights_have() -> None:
    for kind in (True, False):
        made = Plan.bare(THREE, ["w8a8"] * 3, per_channel=kind)
        assert loads(Plan, dumps(made)) == made
        assert made.per_channel is kind
    older = dumps(made).replace(',\n "per_channel": false', "")
    assert "per_channel" not in older
    assert loads(Plan, older).per_channel, "plans written before that had a scale for each channel"


def test_int8_everywhere_has_the_noise_of_every_source() -> None:
    # input, three weights, three outputs
    assert noise_of(THREE, table(THREE), "w8a8", "w8a8", "w8a8") == pytest.approx(7e-4)


def test_a_lone_int16_op_among_int8_ops_gains_nothing() -> None:
    everywhere = noise_of(THREE, table(THREE), "w8a8", "w8a8", "w8a8")
    assert noise_of(THREE, table(THREE), "w8a8", "w8a16", "w8a8") > everywhere


def test_a_float_island_saves_its_weights_and_neither_of_its_activations() -> None:
    everywhere = noise_of(THREE, table(THREE), "w8a8", "w8a8", "w8a8")
    # It still reads what the first op rounded, and the third op still rounds what it writes.
    assert noise_of(THREE, table(THREE), "w8a8", "float", "w8a8") == pytest.approx(everywhere - 1e-4)


def test_int8_inputs_are_rounded_for_a_float_op_too() -> None:
    assert noise_of(THREE, table(THREE), "float", "float", "float", io=Format.INT8) == pytest.approx(2e-4)
    assert noise_of(THREE, table(THREE), "float", "float", "float", io=Format.INT16) == pytest.approx(2e-8)


def test_shares_name_the_op_that_hurts() -> None:
    sensitivities = table(THREE, weights_1_w8=0.5)
    shares = noise_shares(THREE, build_noise(THREE, sensitivities), [SCHEMES["w8a8"]] * 3, Format.FLOAT)
    assert shares == pytest.approx([3e-4, 0.5001, 2e-4])


def test_a_negative_measurement_counts_as_none() -> None:
    assert noise_of(THREE, table(THREE, weights_1_w8=-1e-3), "float", "w8a8", "float") == pytest.approx(2e-4)


def test_a_bad_depthwise_op_gets_16_bit_weights_and_not_16_bit_activations() -> None:
    sensitivities = table(THREE, weights_1_w8=0.063, weights_1_w16a8=1e-6, weights_1_w16a16=1e-7)
    int8 = 500 + 3 * WEIGHT_BYTES + 2 * BORDER_BYTES
    found = plan(THREE, sensitivities, int8 + 1000, DEFAULT_ALLOWED[:-1])
    assert [scheme.weight_bits for scheme in found.schemes] == [8, 16, 8]
    # With int8 activations all around, the wide weights alone bring nearly all of it.
    narrow = plan(THREE, sensitivities, int8 + 1000, ("w8a8", "w16a8"))
    assert names(narrow) == ["w8a8", "w16a8", "w8a8"]
    assert narrow.predicted_nmse < 0.011 * noise_of(THREE, sensitivities, "w8a8", "w8a16", "w8a8")


def test_without_a_budget_everything_stays_float() -> None:
    found = plan(THREE, table(THREE), None)
    assert names(found) == ["float"] * 3
    assert (found.predicted_nmse, found.predicted_bytes) == (0.0, 500 + 3 * 4 * WEIGHT_BYTES)


def test_plan_reports_how_it_was_found() -> None:
    found = plan(THREE, table(THREE), 4000)
    assert (found.strategy, found.status, found.budget_bytes) == ("milp", "Optimal", 4000)
    assert found.mip_gap is not None and found.mip_gap <= 1e-3
    assert found.smallest_bytes == 500 + 2 * WEIGHT_BYTES // 2 + WEIGHT_BYTES + 2 * BORDER_BYTES
    assert sum(a.bytes for a in found.assignments) + 500 <= found.predicted_bytes <= 4000
    assert sum(a.predicted_nmse for a in found.assignments) == pytest.approx(found.predicted_nmse)
    assert [a.op for a in found.assignments] == [op.key for op in THREE.ops]


@pytest.mark.parametrize("strategy", ["milp", "greedy", "threshold"])
def test_impossible_budget_states_the_smallest_size_and_what_to_do(strategy: str) -> None:
    with pytest.raises(ImpossibleBudget, match="2700 bytes") as error:
        plan(THREE, table(THREE), 2699, strategy=strategy)
    assert "--size-budget to at least 2700B" in error.value.remedy


def test_uniform_takes_the_best_scheme_that_fits_and_says_which() -> None:
    int8 = 500 + 3 * WEIGHT_BYTES + 2 * BORDER_BYTES
    assert plan(THREE, table(THREE), int8, strategy="uniform").strategy == "w8a16"
    assert plan(THREE, table(THREE), int8 - 1, strategy="uniform").strategy == "w4a8"
    assert names(plan(THREE, table(THREE), None, strategy="uniform", scheme="w4a8")) == ["w4a8", "w8a8", "w4a8"]
    with pytest.raises(ImpossibleBudget):
        plan(THREE, table(THREE), int8 - 1, strategy="uniform", scheme="w8a8")


def test_an_op_without_an_allowed_scheme_falls_back_to_int8_then_to_float() -> None:
    graph = chain(("CONV_2D", CONV), ("DEPTHWISE_CONV_2D", DEPTHWISE), ("PRELU", ("float",)), ("ADD", PLAIN))
    chosen = [[s.name for s in options] for options in schemes_for_ops(graph, ("w4a8",))]
    assert chosen == [["w4a8"], ["w8a8"], ["float"], ["w8a8"]]
    assert [s.name for s in uniform_schemes(graph, "w16a16")] == ["w16a16", "w16a16", "float", "w8a16"]


@pytest.mark.parametrize("allowed", [("w8a8", "w3a3"), ()])
def test_unknown_or_no_schemes_are_refused(allowed: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"w3a3|no scheme"):
        plan(THREE, table(THREE), None, allowed)
    with pytest.raises(UsageError):
        uniform_schemes(THREE, "w3a3")


def test_a_table_of_another_model_is_refused() -> None:
    with pytest.raises(RunFolderError, match="another model"):
        build_noise(THREE, replace(table(THREE), graph_digest="other"))


def test_a_missing_measurement_is_named_when_a_plan_needs_it() -> None:
    whole = table(THREE)
    without = replace(
        whole,
        measurements=tuple(m for m in whole.measurements if m.source.id not in ("weights:2:w8", "activation:3:a8")),
    )
    with pytest.raises(RunFolderError, match="weights:2:w8"):
        noise_of(THREE, without, "float", "w8a8", "float")
    with pytest.raises(RunFolderError, match="activation:3:a8"):
        noise_of(THREE, without, "w8a8", "float", "float", io=Format.INT8)
    assert noise_of(THREE, without, "w8a8", "float", "float") == pytest.approx(3e-4)


def test_a_figure_that_is_no_number_counts_as_missing() -> None:
    with pytest.raises(RunFolderError, match="weights:2:w8"):
        noise_of(THREE, table(THREE, weights_1_w8=float("nan")), "float", "w8a8", "float")


MOVED = chain(("CONV_2D", CONV), ("RESHAPE", PLAIN), ("CONV_2D", CONV))


def without_movement(sensitivities: SensitivityTable) -> SensitivityTable:
    kept = tuple(m for m in sensitivities.measurements if m.source.id not in ("activation:2:a8", "activation:2:a16"))
    return replace(sensitivities, measurements=kept)


def test_a_movement_op_adds_no_noise_and_needs_no_measurement() -> None:
    sensitivities = without_movement(table(MOVED))
    assert noise_of(MOVED, sensitivities, "w8a8", "w8a8", "w8a8") == pytest.approx(5e-4)
    # In float it hands on what the first op wrote, and the third op rounds that.
    assert noise_of(MOVED, sensitivities, "float", "float", "w8a8") == pytest.approx(3e-4)


@pytest.mark.parametrize("strategy", ["milp", "greedy", "threshold"])
@pytest.mark.parametrize("budget", [None, 3200, 5000, 7000])
def test_a_movement_op_has_the_format_of_what_it_moves(strategy: str, budget: int | None) -> None:
    found = plan(MOVED, without_movement(table(MOVED)), budget, strategy=strategy)
    first, moved, _ = found.schemes
    assert moved.format is first.format


def test_a_movement_op_behind_a_float_op_stays_quantized_where_float_is_not_allowed() -> None:
    graph = chain(("PRELU", ("float",)), ("RESHAPE", PLAIN), ("CONV_2D", CONV))
    sensitivities = without_movement(table(graph))
    assert names(plan(graph, sensitivities, None, ("w8a8",))) == ["float", "w8a8", "w8a8"]


def test_shared_weights_are_stored_once_for_each_encoding() -> None:
    whole = costs(THREE)
    shared = {(op, name): ((7, f"int{SCHEMES[name].weight_bits}"),) for op in (0, 2) for name in CONV}
    sizes = {key: 100 * SCHEMES[name].weight_bits for (_, name), (key,) in shared.items()}
    tied = replace(whole, shared=shared, shared_bytes=sizes)
    for schemes, extra in ((("w8a8", "w8a16", "w8a8"), 800), (("w8a8", "w8a8", "w4a8"), 1200)):
        chosen = [SCHEMES[name] for name in schemes]
        assert tied.total(chosen, Format.INT8) - whole.total(chosen, Format.INT8) == extra


def test_a_correction_moves_every_prediction_alike() -> None:
    schemes = [SCHEMES["w8a8"]] * 3
    assert costs(THREE).corrected(-37).total(schemes, Format.INT8) == costs(THREE).total(schemes, Format.INT8) - 37


def test_the_solver_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    plan(THREE, table(THREE), 4000)
    assert capfd.readouterr() == ("", "")

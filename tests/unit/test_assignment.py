"""The planner's rules on networks small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bitplan.analyzer.conversion.costs import Border, Costs
from bitplan.analyzer.errors import ImpossibleBudget, RunFolderError, UsageError
from bitplan.analyzer.network.wiring import INPUT, OUTPUT
from bitplan.analyzer.schema import (
    DEFAULT_ALLOWED,
    SCHEMES,
    Format,
    Graph,
    Measurement,
    Op,
    OutputError,
    Plan,
    SensitivityTable,
    Source,
    Tensor,
)
from bitplan.strategies.assignment import STRATEGIES
from bitplan.strategies.assignment.choices import schemes_for_ops, uniform_schemes
from bitplan.strategies.assignment.noise import build_noise, evaluate_noise, noise_shares

CONV = ("w4a8", "w8a8", "w8a16", "w16a8", "w16a16", "float")
DEPTHWISE = ("w8a8", "w8a16", "w16a8", "w16a16", "float")
PLAIN = ("w8a8", "w8a16", "float")
WEIGHT_BYTES = 1000
BORDER_BYTES = 100


def chain(*kinds: tuple[str, tuple[str, ...]]) -> Graph:
    """Ops in a row; op i reads tensor i and writes tensor i + 1, weights come behind."""
    count = len(kinds)
    tensors = [Tensor(i, f"t{i}", (1, 8), "float32") for i in range(count + 1)]
    ops = []
    for index, (opcode, schemes) in enumerate(kinds):
        weights = None
        inputs: tuple[int, ...] = (index,)
        if "CONV" in opcode:
            weights = len(tensors)
            tensors.append(Tensor(weights, f"w{index}", (8, 8), "float32", buffer=1 + index))
            inputs = (index, weights)
        ops.append(Op(index, f"{index}:{opcode}", opcode, f"l{index}", inputs, (index + 1,), weights, schemes=schemes))
    return Graph(tuple(tensors), tuple(ops), (0,), (count,), (count,), False, "digest", 10_000)


def table(graph: Graph, **errors: float) -> SensitivityTable:
    """Every source the ops need: 1e-4 in 8 bits, 1e-8 in 16, 1e-2 in 4; `weights_1_w8=0.5` overrides one."""
    level = {"w4": 1e-2, "w8": 1e-4, "w16a8": 1e-6, "w16a16": 1e-8, "a8": 1e-4, "a16": 1e-8}
    sources = [Source("input", v, t) for t in graph.inputs for v in ("a8", "a16")]
    for op in graph.ops:
        if op.weights is not None:
            sources += [Source("weights", v, op.outputs[0], op.index) for v in ("w4", "w8", "w16a8", "w16a16")]
        sources += [Source("activation", v, op.outputs[0], op.index) for v in ("a8", "a16")]
    measurements = []
    for source in sources:
        name = f"{source.part}_{source.tensor if source.op is None else source.op}_{source.variant}"
        nmse = errors.pop(name, level[source.variant])
        measurements.append(Measurement(source, OutputError(nmse, 0.0, 40.0, 8), nmse))
    assert not errors
    return SensitivityTable(tuple(measurements), (), None, (1.0,), 8, "data", graph.digest)


def costs(graph: Graph) -> Costs:
    """1000 weights an op, 100 bytes a border, 500 bytes of everything else."""
    op_bytes = {
        (op.index, name): WEIGHT_BYTES * SCHEMES[name].weight_bits // 8 if op.weights is not None else 0
        for op in graph.ops
        for name in op.schemes
    }
    ends = [(0, INPUT), *((op.outputs[0], op.index) for op in graph.ops)]
    borders = [
        Border(tensor, writer, graph.consumers(tensor) or (OUTPUT,), fmt, BORDER_BYTES)
        for tensor, writer in ends
        for fmt in Format
    ]
    return Costs(500, dict.fromkeys(Format, 0), op_bytes, {}, {}, tuple(borders))


def plan(graph: Graph, sensitivities: SensitivityTable, budget: int | None, allowed=DEFAULT_ALLOWED, **options) -> Plan:
    strategy = options.pop("strategy", "milp")
    io = options.pop("io", Format.FLOAT)
    return STRATEGIES[strategy](
        graph, build_noise(graph, sensitivities), costs(graph), budget_bytes=budget, allowed=allowed, io=io, **options
    )


def names(found: Plan) -> list[str]:
    return [a.scheme for a in found.assignments]


def noise_of(graph: Graph, sensitivities: SensitivityTable, *schemes: str, io: Format = Format.FLOAT) -> float:
    return evaluate_noise(graph, build_noise(graph, sensitivities), [SCHEMES[s] for s in schemes], io)


THREE = chain(("CONV_2D", CONV), ("DEPTHWISE_CONV_2D", DEPTHWISE), ("CONV_2D", CONV))


def test_nothing_is_rounded_in_a_float_network() -> None:
    assert noise_of(THREE, table(THREE), "float", "float", "float") == 0


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

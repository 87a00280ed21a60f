"""The page as data: what it says of a run, and what it leaves unsaid."""

from __future__ import annotations

import dataclasses
import math
import pathlib

import pytest
from bitplan.analyzer.schema import Format, Histogram, Range, Results
from bitplan.reports import ranges
from bitplan.reports.cells import Cell, Table
from bitplan.reports.parts import View
from bitplan.reports.view import RANDOM_BANNER, build_view

from .. import results_factory as factory
from .. import results_refined

GOLD = pathlib.Path(__file__).parent.parent / "gold" / "view_mobilenetv2.txt"


@pytest.fixture(scope="module")
def mobilenet() -> View:
    return build_view(factory.mobilenet())


@pytest.fixture(scope="module")
def refined() -> View:
    return build_view(results_refined.refined())


def text(view: View) -> str:
    return view.verdict.text


def plan_tables(view: View) -> list[Table | None]:
    """Every table of the plan's section; None for those without data."""
    plan = view.plan
    found = [plan.limits, plan.reasons]
    found += [plan.frontier.table, plan.frontier.rivals] if plan.frontier else []
    return [*found, plan.trial.rounds, plan.trial.remeasured] if plan.trial else found


def column(table: Table, label: str) -> list[Cell]:
    position = [c.label for c in table.columns].index(label)
    return [row.cells[position] for row in table.rows]


def with_evaluations(base: Results, evaluations) -> Results:
    return dataclasses.replace(base, verification=dataclasses.replace(base.verification, evaluations=evaluations))


# --- parts -----------------------------------------------------------------------------------------------------------


def test_random_calibration_data_puts_a_banner_on_the_page(mobilenet):
    assert build_view(factory.unevaluated()).banner == RANDOM_BANNER
    assert mobilenet.banner == ""


def test_rows_on_a_subset_come_last_with_the_float_figure_on_the_same_samples(mobilenet):
    names = [row.cells[0] for row in mobilenet.comparison.rows]
    assert [row.role for row in mobilenet.comparison.rows] == ["float", "", "plan", "aside", "aside", "aside"]
    assert names[4] == Cell("w8a16 everywhere", "w8a16 everywhere", detail=names[4].detail)
    assert names[4].detail == "subset of 500 images; float on the same: 87.40 %"


def test_every_row_names_its_samples_and_kernels(mobilenet):
    said = {cell.text for cell in column(mobilenet.comparison, "Measured on")}
    assert said == {"5000 images, XNNPACK", "500 images, reference kernels"}


def test_a_chart_does_not_repeat_a_file_that_was_also_measured_on_a_subset():
    base = factory.mobilenet()
    again = dataclasses.replace(base.verification.evaluations[2], subset=True)
    again = dataclasses.replace(again, error=dataclasses.replace(again.error, samples=500))
    view = build_view(with_evaluations(base, (*base.verification.evaluations, again)))
    assert [bar.label for bar in view.drops] == [
        "int8 everywhere", "plan", "w8a16 everywhere (500 images, reference kernels)",
        "plan (500 images, reference kernels)",
    ]  # fmt: skip
    assert len(view.comparison.rows) == 7


def test_a_metric_is_not_called_accuracy():
    base = factory.mobilenet()
    evaluations = tuple(
        dataclasses.replace(
            e, drop_of="metric", mcnemar_p=None, float_accuracy=31.2,
            error=dataclasses.replace(e.error, accuracy=None, agreement=None, metric=30.5),
        )
        for e in base.verification.evaluations
    )  # fmt: skip
    view = build_view(with_evaluations(base, evaluations))
    labels = [c.label for c in view.comparison.columns]
    assert (
        "Metric" in labels and "Drop of the metric" in labels and "Accuracy" not in labels and "McNemar p" not in labels
    )
    assert "loses 3.4 ± 0.8 of the metric" in text(view)
    assert view.comparison.rows[4].cells[0].detail.endswith("float on the same: 31.2")


def test_predicted_stands_beside_measured(mobilenet):
    size, arena, work, operations, error = mobilenet.plan.limits.rows
    assert [c.text for c in size.cells] == [
        "Flash (file)",
        "2\u202f800\u202f000 bytes",
        "2\u202f735\u202f180 bytes",
        "2\u202f735\u202f248 bytes",
        "+68 bytes (<0.01 %)",
    ]
    assert size.cells[1].detail == "97.7 % used"
    assert [c.text for c in arena.cells] == [
        "RAM (arena)", "700\u202f000 bytes", "613\u202f300 bytes", "617\u202f472 bytes", "+4172 bytes (0.68 %)",
    ]  # fmt: skip
    assert [c.text for c in work.cells] == ["Work", "", "1.14 × int8", "", ""]
    assert operations.cells[2].text == "5.71 G"
    assert error.cells[4].text == "1.03 times the prediction"


def test_a_plan_without_predictions_is_not_compared_with_them():
    base = factory.mobilenet()
    bare = dataclasses.replace(base.verification, predicted_bytes=0, predicted_nmse=0.0)
    assert build_view(dataclasses.replace(base, verification=bare)).plan.limits is None


def test_the_ranking_puts_the_worst_layer_first_and_the_input_among_the_layers(mobilenet):
    ranking = mobilenet.sensitivity.rankings[0]
    order = list(dict.fromkeys(bar.label for bar in ranking.bars))
    assert ranking.scheme == "w8a8" and order[:3] == ["expanded_conv_depthwise", "Conv1", "model input"]
    assert (ranking.shown, ranking.total) == (25, 66)
    worst = ranking.bars[0]
    assert worst.part == "weights" and worst.value == pytest.approx(1.27 / 20.2)
    assert worst.low == pytest.approx(worst.value * (1 - 1.96 * 0.07)) and worst.anchor == "op-1"


def test_every_measured_scheme_can_be_chosen(mobilenet):
    assert [r.scheme for r in mobilenet.sensitivity.rankings] == ["w8a8", "w4a8", "w4a16", "w8a16", "w16a8", "w16a16"]


def test_kinds_add_up_to_the_sum_of_all_sources(mobilenet):
    shares = [cell.value for cell in column(mobilenet.kinds, "Share")]
    assert math.fsum(shares) == pytest.approx(1.0)
    sources = factory.mobilenet().sensitivity.measurements
    expected = math.fsum(m.error.nmse for m in sources if m.source.variant in ("w8", "a8"))
    assert math.fsum(bar.value for bar in mobilenet.sensitivity.kinds) == pytest.approx(expected)


def test_edges_of_mixed_networks_do_not_count_in_a_ranking():
    base = factory.mobilenet()
    measurement = base.sensitivity.measurements[5]
    source = dataclasses.replace(measurement.source, part="edge", variant="a8", consumer=9)
    huge = dataclasses.replace(measurement, source=source, error=dataclasses.replace(measurement.error, nmse=9.0))
    table = dataclasses.replace(base.sensitivity, measurements=(*base.sensitivity.measurements, huge))
    assert (
        build_view(dataclasses.replace(base, sensitivity=table)).sensitivity.rankings
        == build_view(base).sensitivity.rankings
    )


def test_the_two_directions_and_where_they_differ_are_told(mobilenet):
    part = mobilenet.sensitivity
    assert part.directions.rows[0].cells[0].text == "expanded_conv_depthwise"
    assert part.directions_note.startswith("The two orders differ among the first 5: ")
    assert "expanded_conv_depthwise" not in part.directions_note


def test_the_strip_marks_each_format_change(mobilenet):
    cells = mobilenet.strip.cells
    assert len(cells) == 65 and [c.scheme for c in cells].count("float") == 1
    # Input -> int8 -> float -> int8 -> float output: four changes.
    assert [i for i, c in enumerate(cells) if c.border] == [0, 1, 2]
    assert (cells[0].border, cells[1].border, cells[2].border) == (
        "reads float as int8",
        "reads int8 as float",
        "reads float as int8",
    )
    assert mobilenet.strip.exit_border == "int8 to float"
    assert "4 format changes" in mobilenet.strip.summary


def test_a_uniform_strip_with_matching_io_has_no_border():
    base = factory.mobilenet()
    plan = factory.plan(base.graph, {}, 1, 0.0)
    view = build_view(dataclasses.replace(base, plan=dataclasses.replace(plan, io=Format.INT8)))
    assert not any(cell.border for cell in view.strip.cells) and view.strip.exit_border == ""


def test_ops_that_cannot_be_quantized_are_listed_with_the_reason():
    refused = build_view(factory.two_layers()).refused
    assert [cell.text for cell in refused.rows[0].cells] == [
        "prelu", "2", "PRELU", "litert-quantizer has no PRELU: it stays in float",
    ]  # fmt: skip


def test_ops_that_share_a_name_stay_apart():
    base = factory.mobilenet()
    ops = tuple(dataclasses.replace(op, layer="same") for op in base.graph.ops)
    view = build_view(dataclasses.replace(base, graph=dataclasses.replace(base.graph, ops=ops)))
    assert len({row.cells[0].text for row in view.layers.rows}) == 65


def test_hostile_names_are_short_and_visible():
    view = build_view(factory.hostile())
    names = [row.cells[0].text for row in view.layers.rows]
    assert "</script><b>\"'" in names
    assert max(map(len, names)) < 110
    assert not any(character in name for name in names for character in "\u202e\u202c\x00\n\t")


# --- ranges ----------------------------------------------------------------------------------------------------------


def uniform(low: float, high: float, bins: int) -> Range:
    width = (high - low) / bins
    return Range(0, low, high, Histogram(round(low / width), width, (10,) * bins), 0.0, 1.0)


def test_a_uniform_histogram_uses_998_permille_of_its_range():
    low, high = ranges.inner_range(uniform(-4.0, 4.0, 64))
    assert (low, high) == (pytest.approx(-4 + 0.008), pytest.approx(4 - 0.008))


def test_quantiles_agree_with_counting():
    counts = (5, 0, 0, 90, 5)
    histogram = Histogram(-1, 0.5, counts)
    assert ranges.quantile(histogram, 0.05) == pytest.approx(0.0)
    assert ranges.quantile(histogram, 0.5) == pytest.approx(1.0 + 0.5 * 45 / 90)
    assert ranges.quantile(histogram, 1.0) == pytest.approx(2.0)


def test_the_share_at_the_ceiling_counts_the_bin_that_starts_there():
    histogram = Histogram(0, 2.0, (50, 25, 20, 5))
    assert ranges.share_from(histogram, 6.0) == 0.05
    assert ranges.share_from(Histogram(0, 4.0, (50, 50)), 6.0) is None
    assert ranges.share_from(Histogram(0, 1.0, (3, 1)), 6.0) == 0.0


def test_a_constant_tensor_has_no_used_range():
    base = factory.two_layers()
    seen = Range(0, 1.5, 1.5, Histogram(3, 0.5, (7,)), 1.5, 0.0)
    calibration = dataclasses.replace(base.calibration, ranges={0: seen})
    view = build_view(dataclasses.replace(base, calibration=calibration))
    assert view.ranges.table.rows[0].cells[3].text == "constant"


def test_only_fused_relu6_has_a_share_at_6(mobilenet):
    at6 = dict(
        zip(
            (row.cells[0].text for row in mobilenet.ranges.table.rows),
            column(mobilenet.ranges.table, "At 6"),
            strict=True,
        )
    )
    assert at6["expanded_conv_project"].value is None and at6["Conv1"].value > 0


def test_every_measured_accuracy_has_its_interval(mobilenet):
    place = [column.label for column in mobilenet.comparison.columns].index("Accuracy")
    cells = [row.cells[place] for row in mobilenet.comparison.rows]
    assert all(cell.detail.endswith("\xa0%") and "\xa0to\xa0" in cell.detail for cell in cells)
    # 4325 of 5000: Wilson's interval by hand, (0.865 + z²/2n ± z sqrt(0.865 * 0.135 / n + z²/4n²)) / (1 + z²/n).
    assert (cells[0].text, cells[0].detail) == ("86.50 %", "85.5\xa0to\xa087.4\xa0%")
    assert mobilenet.card[2].basis == "5000 images, XNNPACK; 95 % interval 84.9\xa0to\xa086.9\xa0%"
    assert any("(Wilson)" in note for note in mobilenet.comparison.notes)
    # Answers like float's, without labels, are no accuracy.
    assert not any("(Wilson)" in note for note in build_view(factory.two_layers()).comparison.notes)


# --- the whole -------------------------------------------------------------------------------------------------------


def test_the_view_is_a_pure_function_of_the_results():
    assert build_view(factory.mobilenet()) == build_view(factory.mobilenet())


def test_every_row_has_a_cell_for_every_column(mobilenet, refined):
    for view in (mobilenet, refined, build_view(factory.two_layers()), build_view(factory.unevaluated())):
        part = view.sensitivity
        tables = (
            view.comparison,
            view.times,
            *plan_tables(view),
            view.layers,
            view.kinds,
            view.refused,
            part.by_scheme,
            part.directions,
        )
        for table in (*tables, view.ranges.table):
            if table is not None:
                assert {len(row.cells) for row in table.rows} == {len(table.columns)}, table.id


def test_the_view_matches_the_gold_file(mobilenet, tmp_path):
    actual = tmp_path / GOLD.name
    actual.write_text(as_text(mobilenet), encoding="utf-8")
    assert GOLD.is_file(), f"look at {actual}, then copy it to {GOLD}"
    assert actual.read_text(encoding="utf-8") == GOLD.read_text(encoding="utf-8"), (
        f"look at the difference; if it is meant: cp {actual} {GOLD}"
    )


def as_text(view: View) -> str:
    """The view as lines that a person can compare."""
    lines = [
        view.title,
        view.subtitle,
        view.verdict.label,
        *("".join(s.text for s in sentence) for sentence in view.verdict.sentences),
    ]
    part = view.sensitivity
    tables = (
        view.comparison,
        view.times,
        *plan_tables(view),
        part.by_scheme,
        part.directions,
        view.kinds,
        view.layers,
        view.ranges.table,
        view.weights.table,
    )
    for table in tables:
        lines += ["", f"== {table.caption}", " | ".join(c.label for c in table.columns)]
        for row in table.rows:
            cells = (f"{c.text} [{c.detail}]" if c.detail else c.text for c in row.cells)
            lines.append(" | ".join(cells) + (f"   <{row.role}>" if row.role else ""))
        lines += [f"   {note}" for note in table.notes]
    lines += ["", "== the plan", view.plan.mix, view.plan.price, *view.plan.frontier.findings]
    lines += [view.plan.trial.basis, view.plan.trial.outcome, *view.plan.trial.advice]
    lines += ["", "== findings", *part.findings, part.local_note, part.directions_note]
    lines += ["", "== strip", view.strip.summary, *(f"{c.mark} {c.height} {c.note}" for c in view.strip.cells)]
    lines += ["", "== card", *(" | ".join(dataclasses.astuple(figure)) for figure in view.card)]
    lines += ["", f"== {view.budget.label}: {view.budget.own}"]
    for stop in view.budget.stops:
        lines += [stop.title, *(f"   {key}: {value}" for key, value in stop.facts), f"   {stop.changed}"]
    lines += ["", f"== panels: {view.panels.first}"]
    for panel in view.panels.panels:
        lines += [
            panel.label,
            *(f"   {sentence}" for sentence in panel.why),
            *(f"   {a.note}" for a in panel.activations),
        ]
        lines += [
            f"   {choice.scheme} | {' | '.join(choice.cells)}{' <plan>' * choice.chosen}" for choice in panel.choices
        ]
    for facts in view.run.facts:
        lines += ["", f"== {facts.title}", *(f"{key}: {value}" for key, value in facts.items)]
    return "\n".join(lines) + "\n"

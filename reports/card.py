"""The card: flash, RAM, accuracy and latency before and after, each with what it stands on."""

from __future__ import annotations

from ..analyzer.schema import Evaluation, Plan, Results
from . import amounts, numbers
from .accuracies import span
from .panel_cells import Figure
from .sources import sample_word


def card(results: Results) -> tuple[Figure, ...]:
    """Figures of float and of the emitted file; empty where no file was measured beside float."""
    verification, plan = results.verification, results.plan
    if verification is None or plan is None:
        return ()
    before, after = verification.find("float"), verification.find("plan")
    if before is None or after is None:
        return ()
    found = [_flash(before, after), _ram(before, after, plan), _quality(before, after, results)]
    if plan.predicted_latency is not None:
        found.append(_latency(plan))
    return tuple(figure for figure in found if figure)


def _flash(before: Evaluation, after: Evaluation) -> Figure:
    return Figure(
        amounts.FLASH,
        numbers.megabytes(before.file_bytes, beside=after.file_bytes),
        numbers.megabytes(after.file_bytes, beside=before.file_bytes),
        numbers.ratio(before.file_bytes, after.file_bytes),
        "the float .tflite and the emitted one",
    )


def _ram(before: Evaluation, after: Evaluation, plan: Plan) -> Figure:
    return Figure(
        amounts.arena_label(plan),
        numbers.kibibytes(before.arena_bytes),
        numbers.kibibytes(after.arena_bytes),
        numbers.ratio(before.arena_bytes, after.arena_bytes),
        "all activations, as LiteRT lays them out without delegates",
    )


def _quality(before: Evaluation, after: Evaluation, results: Results) -> Figure:
    """Accuracy, metric or agreement, with the interval of the drop; the output error where there is none of them."""
    error, drop = after.error, after.drop_points
    word = sample_word(results.graph)
    basis = f"{numbers.count(error.samples)} {word}, {numbers.kernels(after.kernels)}"
    if results.verification and results.verification.on_calibration:
        basis += ", calibration samples"
    if drop is not None and after.drop_of == "accuracy" and error.accuracy is not None and before.error.accuracy:
        change = f"drop {numbers.interval(drop)} points"
        return Figure(
            "Accuracy",
            numbers.percent(before.error.accuracy, 2),
            numbers.percent(error.accuracy, 2),
            change,
            f"{basis}; 95 % interval {span(error.accuracy, error.samples)}",
        )
    if drop is not None and after.drop_of == "metric" and error.metric is not None and before.error.metric is not None:
        change = f"drop {numbers.interval(drop)}"
        return Figure(
            "Metric",
            numbers.significant(before.error.metric),
            numbers.significant(error.metric),
            change,
            basis,
        )
    if drop is not None and error.agreement is not None:
        change = f"{numbers.interval(drop)} % of answers differ"
        return Figure("Same answer as float", "", numbers.percent(error.agreement, 2), change, basis)
    return Figure(
        "Output error (nmse)", "", numbers.significant(error.nmse), f"SQNR {numbers.decibels(error.sqnr_db)} dB", basis
    )


def _latency(plan: Plan) -> Figure:
    assert plan.predicted_latency is not None
    value = amounts.latency(plan.predicted_latency, plan.latency_unit)
    return Figure(
        amounts.latency_label(plan), "", value, "predicted, not measured", amounts.lowered(amounts.latency_note(plan))
    )

"""The rounds between a plan and the truth, before anybody looked at the evaluation data."""

from __future__ import annotations

import math

from ..analyzer.schema import Graph, Plan, Remeasured, Results, Round, Trial
from . import amounts, numbers
from .cells import Cell, Column, Row, Table, TrialPart
from .sources import labels, op_anchor, sample_word

_PURPOSES = {
    "plan": "first plan",
    "re-measured": "planned again with what was re-measured",
    "more error allowed": "more predicted error allowed",
    "less error allowed": "less predicted error allowed",
}
_ANSWERS = {
    "holds": "{limit}: it holds.",
    "fails": "{limit}: it does NOT hold; this is the best plan found.",
    "undecided": "{limit}: too few samples to tell whether it holds.",
}


def trial_part(results: Results) -> TrialPart | None:
    """The rounds, what was measured again in them, and what they came to; None without a trial."""
    trial = results.planning.trial if results.planning else None
    if trial is None or not trial.rounds:
        return None
    return TrialPart(
        basis=_basis(trial, results.graph),
        held_back=trial.held_back,
        outcome=_outcome(trial),
        rounds=_rounds(trial, results.plan),
        remeasured=_remeasured(trial, results.graph),
        advice=tuple(numbers.name(line, 400) for line in trial.advice),
    )


def _basis(trial: Trial, graph: Graph) -> str:
    word = sample_word(graph)
    n = f"{numbers.count(trial.samples)} {word[:-1] if trial.samples == 1 else word}"
    if trial.held_back:
        basis = f"Measured on {n} that were held back: neither ranges nor sensitivities were made from them."
    else:
        basis = (
            f"NOT held back: for want of others, these are the {n} from which ranges and sensitivities were made, so"
            " expect worse elsewhere."
        )
    if trial.drop_of == "expected accuracy":
        basis += " There are no labels: the float network's own probabilities stand for them in every drop."
    return f"{basis} Evaluation data was not looked at."


def _outcome(trial: Trial) -> str:
    """The plan that was kept, in a line."""
    kept = next((tried for tried in trial.rounds if tried.kept), trial.rounds[-1])
    missed = "" if math.isnan(kept.off) else f" (off by {numbers.percent(kept.off)})"
    rounds = numbers.plural(len(trial.rounds), "round")
    line = (
        f"After {rounds}: predicted error {numbers.significant(kept.predicted_nmse)}, measured"
        f" {numbers.significant(kept.measured_nmse)}{missed}."
    )
    if kept.drop_points is not None:
        of = f" of {trial.drop_of}" if trial.drop_of else ""
        line += f" Drop{of}: {numbers.interval(kept.drop_points)} points."
    if trial.answer and trial.max_drop_points is not None:
        word = "point" if trial.max_drop_points == 1 else "points"
        limit = f"A drop of at most {trial.max_drop_points:g} {word} was asked for"
        line += f" {_ANSWERS[trial.answer].format(limit=limit)}"
    return line


def _rounds(trial: Trial, plan: Plan | None) -> Table:
    limited = any(tried.noise_limit is not None for tried in trial.rounds)
    drops = any(tried.drop_points is not None for tried in trial.rounds)
    columns = [
        Column("Round"),
        Column("Why"),
        *([Column("Error allowed", "Largest predicted nmse that the plan was allowed", True)] if limited else []),
        Column("Predicted error", "nmse at the output", True),
        Column("Measured error", "nmse of the emitted file, on the samples of the trial", True),
        Column("Off by", "Of the measured error", True),
        Column(amounts.FLASH, "Of the emitted file", True),
        Column(amounts.arena_label(plan), amounts.arena_note(plan), True),
        *([Column("Drop, points", "Against float on the same samples; 95 % interval", True)] if drops else []),
        Column("Kept", "Whether this is the plan of the run"),
    ]  # fmt: skip
    rows = []
    for number, tried in enumerate(trial.rounds, 1):
        cells = [
            Cell(str(number), number),
            Cell(_PURPOSES.get(tried.purpose, tried.purpose), tried.purpose),
            *([_error(tried.noise_limit)] if limited else []),
            _error(tried.predicted_nmse),
            _error(tried.measured_nmse),
            _off(tried),
            Cell(amounts.file_size(tried.file_bytes), tried.file_bytes, f"{numbers.count(tried.file_bytes)} bytes"),
            Cell(numbers.kibibytes(tried.arena_bytes), tried.arena_bytes, f"{numbers.count(tried.arena_bytes)} bytes"),
            *([_drop(tried)] if drops else []),
            Cell("yes" if tried.kept else "no"),
        ]
        rows.append(Row(tuple(cells), role="plan" if tried.kept else ""))
    return Table("rounds", "Rounds", tuple(columns), tuple(rows))


def _error(value: float | None) -> Cell:
    return Cell("", None) if value is None else Cell(numbers.significant(value), value)


def _off(tried: Round) -> Cell:
    return Cell("", None) if math.isnan(tried.off) else Cell(numbers.percent(tried.off), tried.off)


def _drop(tried: Round) -> Cell:
    drop = tried.drop_points
    return Cell("", None) if drop is None else Cell(numbers.interval(drop), drop.value)


def _remeasured(trial: Trial, graph: Graph) -> Table | None:
    """Every error that was measured again, with the round that it came from."""
    layer, position = labels(graph), {op.key: op.index for op in graph.ops}
    rows = tuple(
        Row((
            _layer(again, layer, position),
            Cell(str(number), number),
            Cell(again.scheme, again.scheme),
            Cell(numbers.significant(again.predicted), again.predicted),
            Cell(numbers.significant(again.measured), again.measured),
        ))
        for number, tried in enumerate(trial.rounds, 1)
        for again in tried.remeasured
    )  # fmt: skip
    columns = (
        Column("Layer"),
        Column("After round", "", True),
        Column("Scheme"),
        Column("Predicted error", "nmse that the prediction had for this op", True),
        Column("Measured in the plan", "nmse that goes away where the plan has this op in float", True),
    )
    return Table("remeasured", "Measured again, inside the plan", columns, rows) if rows else None


def _layer(again: Remeasured, layer: dict[int, str], position: dict[str, int]) -> Cell:
    op = position.get(again.op)
    if op is None:
        return Cell(numbers.name(again.layer), again.layer, is_name=True)
    return Cell(layer[op], layer[op], is_name=True, href=f"#{op_anchor(op)}")

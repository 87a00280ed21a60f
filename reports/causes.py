"""The causes of a drop for people: the first sentences of a verdict, a table, and what was ruled out."""

from __future__ import annotations

from ..analyzer.schema import CAUSES, NOT_TESTABLE, Audit, Cause, Interval
from . import numbers
from .amounts import lowered
from .cells import Cell, Column, Row, Span, Table

_NEARLY_EQUAL = 0.2
"""Share by which two errors may differ and still be called the same."""


def causes_table(found: Audit) -> Table:
    """The causes that were found, worst first: what mending each alone gives back, and what to do."""
    columns = (
        Column("Cause"),
        Column("Layer", "the one that was mended, or the worst of several"),
        Column("Share of error", "how much of the output error goes when this alone is mended", numeric=True),
        Column("Accuracy recovered", "when this alone is mended; paired, with its 95 % interval", numeric=True),
        Column("Evidence"),
        Column("What to do"),
    )
    notes = [_stands_on(found)] if found.causes else ["No cause takes 2 % of the error away when it is mended alone."]
    shares = [cause.share_of_error for cause in found.causes if cause.share_of_error is not None]
    if sum(shares) > 1:
        notes.append("Shares sum to more than all: causes overlap, and each was mended in the file as it is.")
    return Table(
        "causes", "Why: each cause mended alone, and run", columns, tuple(map(_row, found.causes)), tuple(notes)
    )


def ruled_out_table(found: Audit) -> Table:
    """The causes that were looked for and not found, and those that could not be tested."""
    columns = (Column("Cause"), Column("Outcome"), Column("Why not"))
    rows = tuple(
        Row((
            Cell(_title(cause.name), cause.name, CAUSES[cause.name].meaning),
            Cell("not testable" if cause.status == NOT_TESTABLE else "ruled out", cause.status),
            Cell(cause.evidence, cause.evidence),
        ))
        for cause in found.ruled_out
    )  # fmt: skip
    return Table("ruled-out", "What was tested and ruled out", columns, rows)


def cause_sentences(found: Audit) -> list[list[Span]]:
    """What the first cause is and what its counterfactual gave; nothing where none was found."""
    if not found.causes:
        return []
    first = found.causes[0]
    sentences = [[Span(f"The largest cause of its error: {lowered(CAUSES[first.name].meaning)}")]]
    if first.layer:
        several = f", the worst of {first.layers}" if first.layers > 1 else ""
        sentences[0] = [Span(f"The largest cause of its error: {lowered(CAUSES[first.name].meaning[:-1])} ("),
                        Span(numbers.name(first.layer), "name"), Span(f"{several}).")]  # fmt: skip
    if first.share_of_error is not None:
        sentences.append(_effect(first))
    sentences.append([Span(first.remedy)])
    return sentences


def _effect(cause: Cause) -> list[Span]:
    assert cause.share_of_error is not None, "only measured effects are told"
    spans = [Span("Mended alone, it takes "), Span(numbers.percent(cause.share_of_error), "figure"),
             Span(f" of the output error away ({numbers.plural(cause.samples, 'sample')})")]  # fmt: skip
    gain = cause.accuracy_recovered
    if gain is not None:
        spans += [Span(" and gives back "), Span(f"{numbers.interval(gain)} points", "figure"),
                  Span(_of_lost(cause))]  # fmt: skip
    return [*spans, Span(".")]


def _of_lost(cause: Cause) -> str:
    """What a recovered accuracy is a part of: the loss on the same samples."""
    samples = numbers.plural(cause.accuracy_samples, "evaluation sample")
    lost = _lost(cause)
    return f" {lost} on the same {samples}" if lost else f" ({samples})"


def _lost(cause: Cause) -> str:
    """What the file loses on those samples; on a few it may well gain."""
    if cause.accuracy_lost is None:
        return ""
    return f"of {numbers.fixed(cause.accuracy_lost, 2)} lost" if cause.accuracy_lost > 0 else "where none is lost"


def _row(cause: Cause) -> Row:
    kind = CAUSES[cause.name]
    return Row((
        Cell(_title(cause.name), cause.name, f"{kind.meaning} Mended: {lowered(kind.counterfactual)}"),
        Cell(numbers.name(cause.layer), cause.layer, is_name=True,
             detail=f"and {cause.layers - 1} more" if cause.layers > 1 else ""),
        _share(cause.share_of_error, cause.share_interval, cause.samples),
        _gain(cause),
        Cell(cause.evidence, cause.evidence),
        Cell(cause.remedy, cause.remedy),
    ))  # fmt: skip


def _share(share: float | None, interval: Interval | None, samples: int) -> Cell:
    if share is None:
        return Cell("")
    within = "" if interval is None else f"{numbers.percent(interval.low)} to {numbers.percent(interval.high)}, "
    return Cell(numbers.percent(share), share, detail=f"{within}n = {samples}")


def _gain(cause: Cause) -> Cell:
    gain = cause.accuracy_recovered
    if gain is None:
        return Cell("")
    lost = f"{_lost(cause)}, " if _lost(cause) else ""
    return Cell(f"{numbers.interval(gain)} points", gain.value, detail=f"{lost}n = {cause.accuracy_samples}")


def _stands_on(found: Audit) -> str:
    whole, simulated = found.causes_nmse, found.simulated_nmse
    if whole is None or simulated is None:
        return ""
    said = (
        f"Mends are run in the float network with all of the file's own numbers put in: its output error is "
        f"{numbers.significant(simulated)}, the file's on the interpreter {numbers.significant(whole)}."
    )
    if abs(simulated - whole) > _NEARLY_EQUAL * whole:
        said += " The two differ: part of the error is not in the file's numbers, and shares are of the former."
    return said


def _title(name: str) -> str:
    return name.replace("_", " ")

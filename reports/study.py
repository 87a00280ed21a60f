"""A calibration study for people: what to take, and a table of every size and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..analyzer.schema import Interval, Results, Study, StudyBand
from . import numbers
from .cells import Cell, Column, Row, Span, Table, Verdict


@dataclass(frozen=True)
class StudyPart:
    """A study on the page of a run.

    Attributes:
      found: What the chart draws.
      sentences: What to take, and why.
      table: Every size, draw and method.
    """

    found: Study
    sentences: tuple[tuple[Span, ...], ...]
    table: Table


def study_table(found: Study) -> Table:
    """Every size, draw and method; what is recommended is marked."""
    draws = len({band.draw for band in found.bands}) > 1
    evaluated, accurate = found.evaluation > 0, found.float_accuracy is not None
    drop = "Drop, points" if found.drop_of == "accuracy" else "Expected drop, points"
    columns = (
        Column("Ranges", "how they are chosen from what the samples have shown"),
        Column("Samples", "in a calibration set", numeric=True),
        *([Column("Drawn", "evenly over the classes, or any samples")] if draws else []),
        Column("Sets", "that were drawn and differ", numeric=True),
        Column("Error, held back", "nmse of the int8 file: mean of the sets, the least and the largest", numeric=True),
        *([Column("Error, evaluation", "the same on the evaluation samples", numeric=True)] if evaluated else []),
        *([Column("Accuracy", "mean over the sets, and the least and largest", numeric=True)] if accurate else []),
        *([Column(drop, "mean, and the outermost ends of the sets' own 95 % intervals", numeric=True)]
          if found.drop_of else []),
    )  # fmt: skip
    rows = tuple(_row(band, found, draws) for band in found.bands)
    return Table("study", "int8 files by calibration set", columns, rows, _notes(found))


def study_part(results: Results) -> StudyPart | None:
    """The study as a part of a run's page; None without one."""
    found = results.study
    if found is None:
        return None
    sentences = study_verdict(found).sentences
    if results.calibration is not None:
        taken = numbers.plural(results.calibration.samples, "sample")
        sentences += ((Span(f"This run was calibrated on {taken}."),),)
    return StudyPart(found, sentences, study_table(found))


def _row(band: StudyBand, found: Study, draws: bool) -> Row:
    cells = [
        Cell(band.method, band.method),
        Cell(numbers.count(band.size), band.size),
        *([Cell(band.draw, band.draw)] if draws else []),
        Cell(numbers.count(band.seeds), band.seeds),
        _error(band.held_back_nmse, band.seeds),
    ]
    if band.evaluation_nmse is not None:
        cells.append(_error(band.evaluation_nmse, band.seeds))
    if found.float_accuracy is not None and band.accuracy is not None:
        one = band.accuracy
        span = f"{numbers.percent(one.low, 2)} to {numbers.percent(one.high, 2)}" if band.seeds > 1 else ""
        cells.append(Cell(numbers.percent(one.value, 2), one.value, detail=span))
    if found.drop_of:
        assert band.drop is not None, "every file of a classifier has a drop"
        cells.append(Cell(numbers.interval(band.drop), band.drop.value))
    return Row(tuple(cells), role="plan" if band == found.recommended else "")


def _error(figure: Interval, seeds: int) -> Cell:
    span = f"{numbers.significant(figure.low)} to {numbers.significant(figure.high)}" if seeds > 1 else ""
    return Cell(numbers.significant(figure.value), figure.value, detail=span)


def _notes(found: Study) -> tuple[str, ...]:
    where = "that follow the pool in the data" if found.held_back_apart else "that were taken out of the pool"
    notes = [
        f"Sets are drawn from {numbers.plural(found.pool, 'calibration sample')}; files are compared on "
        f"{numbers.count(found.held_back)} others {where}. What is recommended is chosen on these alone."
    ]
    if found.evaluation:
        accuracy = "" if found.float_accuracy is None else f"; float has {numbers.percent(found.float_accuracy, 2)}"
        notes.append(
            f"Beside it, {numbers.plural(found.evaluation, 'evaluation sample')}, on which nothing is chosen{accuracy}."
        )
    if any(band.seeds < _most_sets(found) for band in found.bands):
        notes.append("A set as large as the pool is the pool itself: there is one, and no spread.")
    return tuple(notes)


def study_verdict(found: Study) -> Verdict:
    """The recommendation in a few sentences."""
    best, largest = found.recommended, max(band.size for band in found.bands)
    several = len({band.draw for band in found.bands}) > 1
    drawn = f", drawn {'evenly over the classes' if best.draw == 'balanced' else 'at random'}" if several else ""
    sentences = [
        (
            Span("Take "), Span(f"{numbers.plural(best.size, 'sample')} and {best.method} ranges", "figure"),
            Span(f"{drawn}: the int8 file's error on held-back samples is "),
            Span(_around(best.held_back_nmse), "figure"),
            Span(", as low as any here but for what the choice of samples changes."),
        ),
        *_trend(found, best.draw, best.method),
    ]  # fmt: skip
    plain = next((b for b in found.bands if (b.method, b.size, b.draw) == ("min-max", largest, best.draw)), None)
    if plain is not None and plain != best:
        sentences.append((
            Span(f"The plain extremes of {numbers.plural(largest, 'sample')} give "),
            Span(_around(plain.held_back_nmse), "figure"), Span("."),
        ))  # fmt: skip
    if best.drop is not None:
        said = "it loses" if best.drop.low > 0 else "it shows no measurable loss:"
        sentences.append((
            Span(f"On {numbers.plural(found.evaluation, 'evaluation sample')}, on which nothing was chosen, {said} "),
            Span(f"{numbers.interval(best.drop)} points of {found.drop_of}", "figure"), Span("."),
        ))  # fmt: skip
    return Verdict("good", "What to calibrate with", tuple(sentences))


def _trend(found: Study, draw: str, method: str) -> Sequence[tuple[Span, ...]]:
    """What more samples do to the error with one method: whether the bands of the smallest and largest sets part."""
    bands = [band for band in found.bands if (band.draw, band.method) == (draw, method)]
    few, many = bands[0], bands[-1]
    if few.size == many.size:
        return ()
    before, after = few.held_back_nmse, many.held_back_nmse
    said = (
        "More samples lower it" if after.high < before.low
        else "More samples raise it" if after.low > before.high
        else "More samples change it by no more than other samples of the same number do"
    )  # fmt: skip
    return ((
        Span(f"{said}: {_around(before)} with {numbers.count(few.size)}, "
             f"{_around(after)} with {numbers.count(many.size)}."),
    ),)  # fmt: skip


def _around(figure: Interval) -> str:
    """A mean with its least and largest."""
    if figure.low == figure.high:
        return numbers.significant(figure.value)
    return (
        f"{numbers.significant(figure.value)} ({numbers.significant(figure.low)} to {numbers.significant(figure.high)})"
    )


def _most_sets(found: Study) -> int:
    return max(band.seeds for band in found.bands)

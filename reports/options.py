"""What to do about a quantized file, for people: a table of files that were made and measured, and what it advises."""

from __future__ import annotations

from collections.abc import Mapping

from ..analyzer.schema import OPTIONS, Evaluation, Option, OptionTable
from . import numbers
from .cells import Cell, Column, Row, Span, Table

_LONGEST = 300
"""Characters of a line that names layers."""

_DROPS = {
    "accuracy": "Drop, points",
    "agreement": "Answers unlike float's, %",
    "metric": "Drop of the metric",
    "": "Drop",
}


def option_tables(found: OptionTable, times: Mapping[str, float]) -> tuple[Table, ...]:
    """What a page shows of options: their figures, how they were made, and how long they take here.

    Args:
      found: The options.
      times: Milliseconds by name; empty for none.
    """
    tables = (options_table(found), making_table(found))
    return (*tables, times_table(found, times)) if times else tables


def options_table(found: OptionTable) -> Table:
    """Every option with what its file was measured to have; one without a file says why."""
    judged = [option.evaluation for option in found.options if option.evaluation is not None]
    drop_of = judged[0].drop_of if judged else ""
    unit = "times int8 everywhere" if found.latency_unit != "ms" else "ms"
    columns = (
        Column("Option"),
        Column("Size", "of the file", numeric=True),
        Column("Memory", "activations, as LiteRT's planner lays them out without delegates", numeric=True),
        Column("Beside float", "the float file's size beside this one's", numeric=True),
        Column("Accuracy", numeric=True),
        Column(_DROPS[drop_of], "against float on the same samples, paired 95 % interval", numeric=True),
        Column("Samples", "that it was judged on", numeric=True),
        Column("Error, held back", "nmse on calibration samples from which no range and no weight comes", numeric=True),
        Column("Latency", f"predicted for {found.target}, {unit}", numeric=True),
        Column("Runs on", "so many of the targets that Bitplan has tables of", numeric=True),
    )
    rows = tuple(_row(option, found) for option in found.options)
    return Table("options", "What to do", columns, rows, _notes(found))


def making_table(found: OptionTable) -> Table:
    """How each file was made, which targets run it, and what keeps the others from it."""
    columns = (Column("Option"), Column("How it was made"), Column("Runs on"), Column("Not on"))
    rows = []
    for option in found.options:
        refused = sorted((option.refused_by or {}).items())
        how = "; ".join(option.facts) if not option.missing else f"no file: {option.missing}"
        whys = tuple(f"{target}: {why}" for target, why in refused)
        cells = (_title(option), how, ", ".join(option.runs_on), "; ".join(whys))
        rows.append(Row(tuple(Cell(numbers.name(text, _LONGEST), text) for text in cells)))
    note = "Where a file runs is what the targets' tables say; a target's own compiler has the last word."
    return Table("making", "How the options were made, and where they run", columns, tuple(rows), (note,))


def times_table(found: OptionTable, times: Mapping[str, float]) -> Table:
    """What each file takes on the machine that made them; differs between equal runs.

    Args:
      found: The options.
      times: Milliseconds by name.
    """
    rows = tuple(
        Row((Cell(_title(option)), Cell(f"{numbers.significant(times[option.name])} ms", times[option.name])))
        for option in found.options
        if option.name in times
    )
    columns = (Column("Option"), Column("Time of one sample", numeric=True))
    note = "Measured here, on this machine's CPU, one thread; no figure of the target's."
    return Table("option-times", "Times on this CPU", columns, rows, (note,))


def advice(found: OptionTable) -> tuple[Span, ...]:
    """What the options advise, a sentence."""
    best, left = found.find(found.advised), found.find("leave")
    if best.name == "leave" or best.held_back is None or left.held_back is None:
        return (
            Span("No option of its size, memory and speed has a clearly lower error on held-back samples: leave it."),
        )
    return (
        Span("What helps most within its size, memory and speed: "),
        Span(OPTIONS[best.name], "figure"),
        Span(f", with an error on {numbers.plural(found.held_back, 'held-back sample')} of "),
        Span(numbers.significant(best.held_back.nmse), "figure"),
        Span(f" instead of {numbers.significant(left.held_back.nmse)}{_then(best.evaluation)}."),
    )


def _title(option: Option) -> str:
    title = OPTIONS[option.name]
    return title[0].upper() + title[1:]


def _then(found: Evaluation | None) -> str:
    """What the evaluation says of the option that was advised."""
    if found is None or found.drop_points is None:
        return ""
    what = {"accuracy": "points of accuracy", "agreement": "% of float's answers"}.get(found.drop_of, "of the metric")
    samples = numbers.plural(found.error.samples, "evaluation sample")
    return f"; on {samples} its drop is {numbers.interval(found.drop_points)} {what}"


def _row(option: Option, found: OptionTable) -> Row:
    title = _title(option)
    if option.evaluation is None or option.held_back is None:
        why = numbers.name(f"no file: {option.missing}", _LONGEST)
        return Row((Cell(title, title, detail=why), *([Cell("")] * 9)), role="aside")
    e, targets = option.evaluation, len(option.runs_on) + len(option.refused_by or {})
    accuracy = e.error.metric if e.drop_of == "metric" else e.error.accuracy
    latency = "" if option.latency is None else _latency(option.latency, found.latency_unit)
    cells = (
        Cell(title, title),
        Cell(numbers.megabytes(e.file_bytes), e.file_bytes),
        Cell(numbers.kibibytes(e.arena_bytes), e.arena_bytes),
        Cell(numbers.ratio(found.float_bytes, e.file_bytes), found.float_bytes / e.file_bytes),
        Cell("" if accuracy is None else _share(accuracy, e.drop_of), accuracy),
        Cell("") if e.drop_points is None else Cell(numbers.interval(e.drop_points), e.drop_points.value),
        Cell(numbers.count(e.error.samples), e.error.samples, detail="the first ones" if e.subset else ""),
        Cell(numbers.significant(option.held_back.nmse), option.held_back.nmse),
        Cell(latency, option.latency),
        Cell(f"{len(option.runs_on)} of {targets}", len(option.runs_on), note=", ".join(option.runs_on)),
    )
    return Row(cells, role="plan" if option.name == found.advised else "float" if option.name == "leave" else "")


def _share(value: float, drop_of: str) -> str:
    return numbers.significant(value) if drop_of == "metric" else numbers.percent(value, 2)


def _latency(value: float, unit: str) -> str:
    return f"{numbers.significant(value)} ms" if unit == "ms" else f"{numbers.significant(value)}{numbers.TIMES}"


def _notes(found: OptionTable) -> tuple[str, ...]:
    few = any(o.evaluation is not None and o.evaluation.subset for o in found.options)
    notes = [
        f"Each file was made and run on {numbers.plural(found.samples, 'evaluation sample')}, on which nothing was"
        f" chosen. {numbers.count(found.held_back)} calibration samples from which no range and no weight comes decide"
        " what is advised."
    ]
    if few:
        notes.append(
            "Files with 16-bit kernels, some fifty times slower on a CPU, were run on the first samples alone, and"
            " float beside them on the same ones."
        )
    return tuple(notes)

"""Before and after: the float file, the baselines and the plan side by side, and what is not as planned."""

from __future__ import annotations

from ..analyzer.schema import Evaluation, Graph, Results, Verification
from . import amounts, numbers
from .accuracies import INTERVAL_NOTE, accuracy_cell
from .cells import Bar, Cell, Column, Row, Table
from .repair_gain import UNREPAIRED
from .sources import sample_word


def comparison_table(results: Results) -> Table | None:
    """One row a file; files measured on a subset or with other kernels after the others, marked as such."""
    verification = results.verification
    if verification is None or not verification.evaluations:
        return None
    graph, evaluations = results.graph, _in_order(verification)
    drop_of = _drop_of(verification)
    has_accuracy = any(e.error.accuracy is not None for e in evaluations)
    has_metric = any(e.error.metric is not None for e in evaluations)
    has_agreement = any(e.error.agreement is not None for e in evaluations)
    has_p = any(e.mcnemar_p is not None for e in evaluations)
    word = sample_word(graph)
    columns = [
        Column("File", "What was measured"),
        Column(amounts.FLASH, "Of the .tflite file; MB is 10^6 bytes", True),
        Column(amounts.arena_label(results.plan), f"{amounts.arena_note(results.plan)}; KiB is 1024 bytes", True),
        Column("Against float", "Size against the float .tflite, not against a .keras file or checkpoint", True),
        *(
            [Column("Accuracy", f"Share of right top-1 answers over the {word} named beside it", True)]
            if has_accuracy
            else []
        ),
        *([Column("Metric", "Mean of the --metric function; higher is better", True)] if has_metric else []),
        *([Column(*_drop_heading(drop_of), True)] if drop_of else []),
        *(
            [Column("McNemar p", "Exact test: chance of a difference this large if there were none", True)]
            if has_p
            else []
        ),
        *(
            [Column("Agreement", "Share of samples with the same top-1 answer as the float model", True)]
            if has_agreement
            else []
        ),
        Column("Output error", "nmse: mean squared error at the output over the variance of the float output", True),
        Column("SQNR", "Signal-to-quantization-noise ratio at the output, dB; higher is better", True),
        Column("Measured on", "Number of samples, and the kernels that computed"),
    ]
    first, smallest = evaluations[0], min(e.file_bytes for e in evaluations)
    rows = []
    for e in sorted(evaluations, key=lambda e: (_aside(e, first), -e.error.samples if _aside(e, first) else 0)):
        cells = [
            Cell(e.name, e.name, detail=_paired(e, word)),
            Cell(numbers.megabytes(e.file_bytes, 3, smallest), e.file_bytes, f"{numbers.count(e.file_bytes)} bytes"),
            Cell(numbers.kibibytes(e.arena_bytes), e.arena_bytes, f"{numbers.count(e.arena_bytes)} bytes"),
            _ratio_cell(e, graph),
            *([accuracy_cell(e.error.accuracy, e.error.samples)] if has_accuracy else []),
            *([_number(e.error.metric)] if has_metric else []),
            *([_drop(e)] if drop_of else []),
            *([_p(None if e.name == "float" else e.mcnemar_p)] if has_p else []),
            *([_share(e.error.agreement if e.name != "float" else None)] if has_agreement else []),
            _number(e.error.nmse) if e.name != "float" else Cell("", None),
            Cell(numbers.decibels(e.error.sqnr_db), e.error.sqnr_db) if e.name != "float" else Cell("", None),
            Cell(f"{numbers.count(e.error.samples)} {word}, {numbers.kernels(e.kernels)}", e.error.samples),
        ]
        role = "aside" if _aside(e, first) else e.name if e.name in ("float", "plan") else ""
        rows.append(Row(tuple(cells), role=role))
    return Table("comparison", "Before and after", tuple(columns), tuple(rows), _notes(results, drop_of))


def _in_order(verification: Verification) -> tuple[Evaluation, ...]:
    """As they were measured, with the file before repair right above the repaired one."""
    before = [e for e in verification.evaluations if e.name == UNREPAIRED]
    ordered: list[Evaluation] = []
    for e in verification.evaluations:
        if e.name == "plan":
            beside = [b for b in before if (b.subset, b.kernels) == (e.subset, e.kernels) and b not in ordered]
            ordered += beside
        if e.name != UNREPAIRED:
            ordered.append(e)
    return (*ordered, *(b for b in before if b not in ordered))


def _repeats(e: Evaluation, other: Evaluation) -> bool:
    """Whether `other` is the same file with the same kernels on more samples: a chart needs it once."""
    return (e.name, e.kernels) == (other.name, other.kernels) and e.error.samples < other.error.samples


def _aside(e: Evaluation, first: Evaluation) -> bool:
    return e.subset or e.kernels != first.kernels


def _paired(e: Evaluation, word: str) -> str:
    if not e.subset:
        return ""
    text = f"subset of {numbers.count(e.error.samples)} {word}"
    if e.float_accuracy is not None and e.name != "float":
        figure = (
            numbers.significant(e.float_accuracy) if e.drop_of == "metric" else numbers.percent(e.float_accuracy, 2)
        )
        text += f"; float on the same: {figure}"
    return text


def _ratio_cell(e: Evaluation, graph: Graph) -> Cell:
    if e.name == "float":
        return Cell("", 1.0)
    return Cell(numbers.ratio(graph.file_bytes, e.file_bytes), graph.file_bytes / e.file_bytes)


def _share(value: float | None) -> Cell:
    return Cell("", None) if value is None else Cell(numbers.percent(value, 2), value)


def _number(value: float | None) -> Cell:
    return Cell("", None) if value is None else Cell(numbers.significant(value), value)


def _drop(e: Evaluation) -> Cell:
    drop = e.drop_points
    if drop is None or e.name == "float":
        return Cell("", None)
    exact = f"95 % interval {numbers.significant(drop.low)} to {numbers.significant(drop.high)}"
    return Cell(numbers.interval(drop), drop.value, exact)


def _p(value: float | None) -> Cell:
    return Cell("", None) if value is None else Cell(numbers.probability(value), value, f"p = {value:.3g}")


def _drop_of(verification: Verification) -> str:
    """What the drops are drops of; "" where none was measured."""
    return next((e.drop_of for e in verification.evaluations if e.drop_points is not None), "")


def _drop_heading(drop_of: str) -> tuple[str, str]:
    paired = "paired bootstrap over the same samples, 95 % interval"
    return {
        "accuracy": ("Drop, points", f"Accuracy of float minus this file's, percentage points; {paired}"),
        "agreement": ("Other answer, %", f"Share of samples on which the file answers unlike float; {paired}"),
        "metric": ("Drop of the metric", f"Metric of float minus this file's; {paired}"),
    }[drop_of]


def _notes(results: Results, drop_of: str) -> tuple[str, ...]:
    verification = results.verification
    assert verification is not None
    notes = []
    if drop_of:
        notes.append("± is half of the 95 % interval of the difference, paired over the same samples.")
    if any(e.error.accuracy is not None for e in verification.evaluations):
        notes.append(INTERVAL_NOTE)
    if drop_of == "agreement":
        notes.append("No labels were given: agreement with the float model stands in for accuracy.")
    if any(e.subset for e in verification.evaluations):
        notes.append(
            "Rows marked as a subset were measured on fewer samples because their kernels are slow on a CPU; compare"
            " them with the float figure beside them, not with the rows above."
        )
    if verification.on_calibration:
        notes.append(
            "No evaluation data was given: these are the calibration samples, on which the plan was chosen too; expect"
            " worse elsewhere."
        )
    notes.append(f"{amounts.arena_label(results.plan)}: {amounts.lowered(amounts.arena_note(results.plan))}.")
    return tuple(notes)


def drop_bars(results: Results) -> tuple[tuple[Bar, ...], str]:
    """Drop of each file with its interval, for the chart, and what it is a drop of."""
    verification = results.verification
    if verification is None or not _drop_of(verification):
        return (), ""
    graph, first = results.graph, verification.evaluations[0]
    word = sample_word(graph)
    bars = []
    seen: set[str] = set()
    for e in _in_order(verification):
        if e.name == "float" or e.drop_points is None or e.drop_of != _drop_of(verification):
            continue
        if any(_repeats(e, other) for other in verification.evaluations):
            continue
        basis = f"{numbers.count(e.error.samples)} {word}, {numbers.kernels(e.kernels)}"
        label = f"{e.name} ({basis})" if _aside(e, first) else e.name
        if label in seen:
            continue
        seen.add(label)
        drop = e.drop_points
        text = (
            f"{numbers.interval(drop)} on {basis}; flash {numbers.megabytes(e.file_bytes, 3)},"
            f" arena {numbers.kibibytes(e.arena_bytes)}"
        )
        bars.append(Bar(label, "plan" if e.name == "plan" else "baseline", drop.value, drop.low, drop.high, text))
    return tuple(bars), _drop_of(verification)


def mismatch_table(results: Results) -> Table | None:
    """Tensors of the emitted file whose type is not the planned one."""
    verification = results.verification
    if verification is None or not verification.mismatches:
        return None
    rows = tuple(
        Row((
            Cell(numbers.name(m.layer), m.layer, is_name=True),
            Cell(numbers.name(m.tensor), m.tensor, is_name=True),
            Cell(m.expected, m.expected),
            Cell(m.found, m.found),
        ))
        for m in verification.mismatches
    )  # fmt: skip
    columns = (Column("Layer"), Column("Tensor"), Column("Planned"), Column("Found in the file"))
    return Table("mismatches", "Not as planned", columns, rows)

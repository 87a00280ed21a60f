"""The drop in detail: sentences for the verdict, and tables of classes, set metrics, conversion and device."""

from __future__ import annotations

from ..analyzer.schema import Audit, ClassDrop, DeviceJudgement, Drop, Interval, OutputGap, SetMetric
from . import numbers
from .cells import Cell, Column, Row, Span, Table
from .flips import class_label

_SURE = 0.05
"""A class whose corrected p-value is below this has lost or gained something."""

_MOST_CLASSES = 20
"""Rows of the page's table; `audit.json` has all."""

_MAIN_PART = 2.0
"""One error is the main one where it is so many times the other."""

Sentence = list[Span]


def drop_sentences(found: Audit) -> list[Sentence]:
    """What the details add to the verdict, most important first."""
    drop = found.drop
    if drop is None:
        return []
    sentences: list[Sentence] = []
    if drop.samples_needed is not None:
        sentences.append(
            [
                Span("To tell such a difference from none would take about "),
                Span(numbers.samples_to_decide(drop.samples_needed), "figure"),
                Span(" samples."),
            ]
        )
    if drop.set_metric is not None:
        sentences.append(_set_metric_sentence(drop.set_metric))
    if drop.classes:
        sentences.append(_class_sentence(drop.classes))
    if drop.conversion:
        sentences.append(_conversion_sentence(drop.conversion))
    if drop.device is not None:
        sentences.append(_device_sentence(drop.device))
    return sentences


def drop_tables(drop: Drop) -> tuple[Table, ...]:
    """The tables that the drop has something for."""
    tables = []
    if drop.set_metric is not None:
        tables.append(_set_metric_table(drop.set_metric))
    if drop.conversion:
        tables.append(_conversion_table(drop))
    if drop.device is not None:
        tables += _device_tables(drop.device)
    if drop.classes:
        tables.append(_class_table(drop.classes))
    return tuple(tables)


def _class_sentence(classes: tuple[ClassDrop, ...]) -> Sentence:
    losing = [c for c in classes if c.p_holm < _SURE and c.drop_points.value > 0]
    worst = losing[0] if losing else classes[0]
    named = Span(class_label(worst.label, worst.name), "name")
    figure = Span(f"{numbers.interval(worst.drop_points)} points", "figure")
    p = f"{numbers.p_value(worst.p_holm)}, corrected for {numbers.plural(len(classes), 'class', 'classes')}"
    if losing:
        many = "" if len(losing) == 1 else f"{numbers.count(len(losing))} classes lose by themselves; "
        return [Span(f"{many}{'most' if many else 'Most'} is lost in "), named, Span(": "), figure, Span(f" ({p}).")]
    return [
        Span("No class by itself shows a loss; the largest figure is that of "),
        named, Span(", "), figure, Span(f" ({p})."),
    ]  # fmt: skip


def _set_metric_sentence(metric: SetMetric) -> Sentence:
    said, drop = "loses" if metric.drop.low > 0 else "shows no significant loss:", metric.drop
    if drop.high < 0:
        said, drop = "gains", Interval(-drop.value, -drop.high, -drop.low)
    return [
        Span("By "), Span(numbers.name(metric.name), "name"), Span(f" it {said} "),
        Span(numbers.interval(drop, 4), "figure"), Span("."),
    ]  # fmt: skip


def _conversion_sentence(parts: tuple[OutputGap, ...]) -> Sentence:
    conversion, quantization, _ = parts
    first, second = numbers.significant(conversion.nmse), numbers.significant(quantization.nmse)
    figures = [
        Span(first, "figure"), Span(" (nmse) enters in the conversion to float, "),
        Span(second, "figure"), Span(" in the quantization"),
    ]  # fmt: skip
    if conversion.nmse > _MAIN_PART * quantization.nmse:
        return [*figures, Span(": the error is the conversion's.")]
    if quantization.nmse > _MAIN_PART * conversion.nmse:
        return [*figures, Span(": the error is the quantization's.")]
    return [*figures, Span(".")]


def _device_sentence(device: DeviceJudgement) -> Sentence:
    gap = device.against_file[device.nearest]
    runtime = f"LiteRT's {numbers.kernels(gap.reference)}" if gap.reference == "reference" else "LiteRT with XNNPACK"
    n = numbers.plural(gap.samples, "sample")
    if gap.equal == gap.samples:
        every = max(one.samples for one in device.against_file)
        where = (
            "the one sample of its file" if gap.samples == every == 1 else f"{'all ' if gap.samples > 1 else 'the '}{n}"
        )
        few = "" if gap.samples == every else f" that these ran, of {numbers.count(every)}"
        return [Span(f"The device answers exactly what {runtime} does, on "), Span(where, "figure"), Span(f"{few}.")]
    differ = numbers.count(gap.samples - gap.equal)
    steps = "" if gap.max_steps is None else f", by at most {numbers.significant(gap.max_steps)} steps of its scale"
    first = device.differing[0]
    return [
        Span("The device differs from "), Span(f"{runtime} on "), Span(f"{differ} of {n}", "figure"),
        Span(f"{steps}; first on sample {first.index}."),
    ]  # fmt: skip


def _class_table(classes: tuple[ClassDrop, ...]) -> Table:
    columns = (
        Column("Class"),
        Column("Samples", numeric=True),
        Column("Float", "accuracy on the samples of this class", numeric=True),
        Column("Quantized", "accuracy on the samples of this class", numeric=True),
        Column("Drop, points", "with its own paired 95 % interval", numeric=True),
        Column("p, corrected", "exact McNemar test, corrected for the number of classes after Holm", numeric=True),
    )
    rows = tuple(
        Row(
            (
                Cell(class_label(c.label, c.name), c.label, is_name=True),
                Cell(numbers.count(c.samples), c.samples),
                Cell(numbers.percent(c.float_accuracy, 1), c.float_accuracy),
                Cell(numbers.percent(c.accuracy, 1), c.accuracy),
                Cell(numbers.interval(c.drop_points), c.drop_points.value),
                Cell(numbers.probability(c.p_holm), c.p_holm),
            )
        )
        for c in classes[:_MOST_CLASSES]
    )
    notes = ["Each interval is that of its class alone: of 20 such intervals one misses on average."]
    if len(classes) > _MOST_CLASSES:
        notes.append(f"The {_MOST_CLASSES} classes with the largest drop of {len(classes)}; audit.json has all.")
    return Table("classes", "The drop by class", columns, rows, tuple(notes))


def _set_metric_table(metric: SetMetric) -> Table:
    columns = (Column("Figure"), Column("Value", "with its 95 % interval over samples", numeric=True))
    figures = (
        ("float", metric.float_value), ("quantized", metric.quantized_value), ("drop", metric.drop),
    )  # fmt: skip
    rows = tuple(Row((Cell(name, name), Cell(numbers.interval(value, 4), value.value))) for name, value in figures)
    note = (
        f"Percentile bootstrap over {numbers.plural(metric.samples, 'sample')}, "
        f"{numbers.plural(metric.resamples, 'resample')}; the drop's is taken on the same resamples for both files."
    )
    notes = [note]
    if metric.undefined:
        notes.append(f"On {numbers.plural(metric.undefined, 'resample')} the function gave no number: left out.")
    return Table("set-metric", numbers.name(metric.name), columns, rows, tuple(notes))


_GAP_COLUMNS = (
    Column("Samples", numeric=True),
    Column("Output error", "nmse at the network's outputs", numeric=True),
    Column("Largest difference", "of one element", numeric=True),
    Column("Same top-1", numeric=True),
    Column("Drop, points", "of accuracy, with its paired 95 % interval", numeric=True),
    Column("p", "exact McNemar test", numeric=True),
)


def _gap_cells(name: str, gap: OutputGap) -> tuple[Cell, ...]:
    drop, p = gap.drop_points, gap.mcnemar_p
    return (
        Cell(name, name),
        Cell(numbers.count(gap.samples), gap.samples),
        Cell(numbers.significant(gap.nmse), gap.nmse),
        Cell(numbers.significant(gap.max_abs), gap.max_abs),
        Cell("" if gap.agreement is None else numbers.percent(gap.agreement, 2), gap.agreement),
        Cell("" if drop is None else numbers.interval(drop), None if drop is None else drop.value),
        Cell("" if p is None else numbers.probability(p), p),
    )


def _conversion_table(drop: Drop) -> Table:
    names = ("conversion: framework to float file", "quantization: float file to quantized file", "both together")
    rows = tuple(Row(_gap_cells(name, gap)) for name, gap in zip(names, drop.conversion, strict=True))
    notes = ("All three are divided by the variance of the framework's outputs. Errors can cancel, so the first two "
             "need not sum to the third.", *drop.notes)  # fmt: skip
    return Table("conversion", "Conversion error and quantization error", (Column("Step"), *_GAP_COLUMNS), rows, notes)


def _device_tables(device: DeviceJudgement) -> list[Table]:
    columns = (
        Column("Against"),
        *_GAP_COLUMNS,
        Column("In steps", "the largest difference in steps of the output's scale", numeric=True),
        Column("Equal samples", "in every element", numeric=True),
    )
    names = {"xnnpack": "the quantized file in LiteRT, XNNPACK", "reference": "the quantized file, reference kernels"}
    named = [(names[gap.reference], gap) for gap in device.against_file]
    rows = tuple(
        Row(
            (
                *_gap_cells(name, gap),
                Cell("" if gap.max_steps is None else numbers.significant(gap.max_steps), gap.max_steps),
                Cell(numbers.count(gap.equal), gap.equal),
            )
        )
        for name, gap in (*named, ("the float file", device.against_float))
    )
    tables = [Table("device", "The device's answers", columns, rows)]
    if device.differing:
        head = (Column("Sample", numeric=True), Column("Output", numeric=True), Column("Element", numeric=True),
                Column("In LiteRT", numeric=True), Column("On the device", numeric=True))  # fmt: skip
        lines = tuple(
            Row(
                (
                    Cell(str(d.index), d.index),
                    Cell(str(d.output), d.output),
                    Cell(str(d.element), d.element),
                    Cell(numbers.significant(d.expected, 6), d.expected),
                    Cell(numbers.significant(d.found, 6), d.found),
                )
            )
            for d in device.differing
        )
        note = "The first element that differs in each of the first samples that differ, dequantized."
        tables.append(Table("device-samples", "Where the device differs", head, lines, (note,)))
    return tables

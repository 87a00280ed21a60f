"""An audit for people: a verdict, a table of the sources, and one page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..analyzer.schema import Audit, Drop, Interval
from . import numbers
from .accuracies import INTERVAL_NOTE, accuracy_cell
from .attribution import attribution_tables
from .causes import cause_sentences, causes_table, ruled_out_table
from .cells import Cell, Column, Row, Span, Table, Verdict
from .drops import drop_sentences, drop_tables
from .flips import Gallery, gallery
from .html import environment, page_frame
from .options import advice, option_tables

_STRANGER = 0.5
"""nmse above which a quantized file hardly follows its float model; 1 is as bad as answering with the mean."""

_SHARE_TO_NAME = 0.3
"""Above this share one source is the story; below it, naming one would mislead."""


@dataclass(frozen=True)
class _Wording:
    """What the figures of the sources are: shares of an error that was divided, or errors of each source alone."""

    title: str
    error: str
    share: str
    rest: str
    whole: str


_ALONE = _Wording(
    "Where the error comes from, one source at a time",
    "nmse at the network's output, this source alone in the float network",
    "of the sum over all sources",
    "interaction of errors, bias rounding and kernels",
    "what its sources add up to",
)
_DIVIDED = _Wording(
    "Where the error comes from, layer by layer",
    "this source's share of the nmse at the network's output",
    "of the file's own error on the same samples",
    "the kernels' own error, and what dividing by a path through all sources at once leaves out",
    "its error",
)


def audit_verdict(found: Audit) -> str:
    """The answer in a few sentences."""
    return _verdict(found).text


def audit_table(found: Audit) -> Table:
    """The sources of the file's error, worst first."""
    wording = _ALONE if found.attribution is None else _DIVIDED
    columns = (
        Column("Layer", "as the float network names it"),
        Column("Op"),
        Column("Source", "what of it is quantized"),
        Column("Output error", wording.error, numeric=True),
        Column("Share", wording.share, numeric=True),
        Column("Evidence"),
    )
    rows = tuple(
        Row(
            (
                Cell(numbers.name(cause.layer), cause.layer, is_name=True),
                Cell(cause.opcode, cause.opcode),
                Cell(cause.name, cause.name),
                Cell(numbers.significant(cause.nmse), cause.nmse),
                Cell(numbers.percent(cause.share_of_error), cause.share_of_error),
                Cell(cause.evidence, cause.evidence),
            )
        )
        for cause in found.sources
    )
    matched = f"{found.matched_ops} of {found.total_ops} ops of the float network were found in the file."
    lost = f" Not found: {', '.join(numbers.name(key) for key in found.unmatched)}." if found.unmatched else ""
    sums = (
        f"The sources sum to {numbers.significant(found.parts_nmse)}; the file itself has "
        f"{numbers.significant(found.measured_nmse)} on the same {numbers.plural(found.samples, 'sample')}. What is "
        f"between the two is {wording.rest}."
    )
    return Table("sources", wording.title, columns, rows, (matched + lost, sums))


def files_table(found: Audit) -> Table:
    """The two files side by side."""
    columns = (Column("File"), Column("Size", numeric=True), Column("Accuracy", numeric=True), Column("Measured on"))
    e = found.evaluation
    n = f"{numbers.plural(e.error.samples, 'sample')}, {numbers.kernels(e.kernels)}"

    files = (
        ("float", found.float_bytes, e.float_accuracy, "float"),
        ("quantized", found.quantized_bytes, e.error.accuracy, "plan"),
    )
    rows = tuple(
        Row((Cell(name), _size(size, found.quantized_bytes), accuracy_cell(share, e.error.samples), Cell(n)), role=role)
        for name, size, share, role in files
    )
    types = ", ".join(f"{count} {name}" for name, count in sorted(found.tensor_types.items()))
    ratio = numbers.ratio(found.float_bytes, found.quantized_bytes)
    notes = [f"The quantized file is {ratio} than the float .tflite. Its tensors: {types}."]
    if e.error.accuracy is not None:
        notes.append(INTERVAL_NOTE)
    return Table("files", "The two files", columns, rows, tuple(notes))


def render_audit(found: Audit, model_name: str, times: Mapping[str, float] | None = None) -> str:
    """The audit's page, as one self-contained HTML file.

    Args:
      found: The audit.
      model_name: For the title.
      times: Milliseconds of the options' files on this machine, by name.
    """
    divided = () if found.attribution is None else attribution_tables(found.attribution)
    drops = drop_tables(found.drop) if found.drop else ()
    return environment().get_template("audit.html").render(
        **page_frame([]),
        title=numbers.name(model_name) or "model",
        verdict=_verdict(found),
        tables=(
            files_table(found), causes_table(found), *drops, audit_table(found), *divided, ruled_out_table(found)
        ),
        gallery=_gallery(found.drop),
        options=() if found.options is None else option_tables(found.options, times or {}),
    )  # fmt: skip


def _gallery(drop: Drop | None) -> Gallery | None:
    return gallery(drop.flips, drop.class_names, "audit.json") if drop and drop.flips else None


def _size(size_bytes: int, beside: int) -> Cell:
    return Cell(numbers.megabytes(size_bytes, beside=beside), size_bytes)


def _verdict(found: Audit) -> Verdict:
    sentences = [_drop(found), *(cause_sentences(found) or [_source(found)]), *drop_sentences(found), _coverage(found)]
    if found.options is not None:
        sentences.append(list(advice(found.options)))
    if found.measured_nmse > _STRANGER and not found.causes:
        sentences.append([Span("Their outputs have next to nothing in common, and no single cause explains it.")])
    if found.external_buffers:
        sentences.append([Span("Its buffers lie behind the flatbuffer: TFLite Micro reads such a file as garbage.")])
    drop = found.evaluation.drop_points
    if drop is not None and math.isnan(drop.value):
        drop = None
    real = drop is not None and drop.low > 0
    label = "A real drop" if real else "No drop that these samples can show" if drop else "Output error only"
    return Verdict("fair" if real else "open" if drop is None else "good", label, tuple(map(tuple, sentences)))


def _drop(found: Audit) -> list[Span]:
    e, drop = found.evaluation, found.evaluation.drop_points
    n = f" on {numbers.plural(e.error.samples, 'sample')} ({numbers.kernels(e.kernels)})"
    if drop is None:
        return [
            Span("The quantized file has an output error (nmse) of "),
            Span(numbers.significant(e.error.nmse), "figure"),
            Span(f"{n}."),
        ]
    if math.isnan(drop.value):
        return [
            Span("What the quantized file loses cannot be told: the metric is "), Span("not a number", "figure"),
            Span(f" for some samples{n}."),
        ]  # fmt: skip
    word = {"accuracy": "points of accuracy", "agreement": "% of the float model's answers"}.get(e.drop_of, "of metric")
    p = "" if e.mcnemar_p is None else f"; exact McNemar test {numbers.p_value(e.mcnemar_p)}"
    said = "loses" if drop.low > 0 else "shows no significant loss:"
    decimals = 4 if e.drop_of == "metric" else 2  # a metric of one's own has any unit
    figure = numbers.interval(drop, decimals)
    if drop.high < 0:
        said, figure = "gains", numbers.interval(Interval(-drop.value, -drop.high, -drop.low), decimals)
    return [
        Span(f"The quantized file {said} "),
        Span(f"{figure} {word}", "figure"),
        Span(f"{n}{_shares(found)}{p}."),
    ]


def _shares(found: Audit) -> str:
    """The two accuracies; "" where there are none."""
    before, after = found.evaluation.float_accuracy, found.evaluation.error.accuracy
    if found.evaluation.drop_of != "accuracy" or before is None or after is None:
        return ""
    return f", {numbers.percent(after, 2)} against {numbers.percent(before, 2)}"


def _coverage(found: Audit) -> list[Span]:
    """How much of the network the verdict stands on."""
    matched, total = found.matched_ops, found.total_ops
    if matched == total:
        return [Span(f"The verdict covers {'its one op' if total == 1 else f'all {total} ops of the float network'}.")]
    covered = found.attribution.coverage if found.attribution is not None else None
    share = ""
    if covered is not None and covered.total_macs:
        share = f", with {numbers.percent(covered.matched_macs / covered.total_macs)} of its multiplications"
    return [
        Span("The verdict covers "),
        Span(f"{matched} of {total} ops", "figure"),
        Span(f" of the float network{share}; what is in the others is not explained."),
    ]


def _source(found: Audit) -> list[Span]:
    if not found.sources:
        return [Span("No source of error could be found in the file.")]
    worst, whole = found.sources[0], (_ALONE if found.attribution is None else _DIVIDED).whole
    if worst.share_of_error < _SHARE_TO_NAME:
        return [Span("The error is spread: no single source has more than "),
                Span(numbers.percent(worst.share_of_error), "figure"), Span(" of it.")]  # fmt: skip
    return [
        Span(numbers.percent(worst.share_of_error), "figure"),
        Span(f" of {whole} enters at the {worst.name} of "),
        Span(numbers.name(worst.layer), "name"),
        Span("."),
    ]

"""A quantized file alone, for people: what it shows, and what it cannot tell."""

from __future__ import annotations

from collections import Counter

from ..analyzer.schema import FILE_KINDS, FileInspection
from . import numbers
from .cells import Cell, Column, Row, Span, Table, Verdict
from .html import environment, page_frame

_WORDS = {
    "add_scale_mismatch": "sums of unlike operands",
    "bias_saturation": "biases at the limit of int32",
    "channel_spread_after_bn_fold": "channels of unlike ranges",
    "external_buffers": "buffers behind the flatbuffer",
    "float_fallback": "ops left in float",
    "mixed_range_output": "unlike ranges joined in one tensor",
    "per_tensor_weights": "one scale for all channels",
    "scale_corrupted": "scales that contradict each other",
    "unused_codes": "weights that leave integers unused",
    "unused_range": "ranges that are never reached",
    "weights_saturated": "weights that were clipped",
    "zero_point": "odd zero points",
}


def inspection_verdict(found: FileInspection) -> Verdict:
    """What the file is and shows, in a few sentences."""
    seen = Counter(finding.name for finding in found.findings)
    sentences: list[tuple[Span, ...]] = [
        (
            Span(f"The file has {FILE_KINDS[found.quantization]}: "),
            Span(numbers.megabytes(found.file_bytes), "figure"),
            Span(f", {numbers.plural(found.ops, 'op')}."),
        )
    ]
    if seen:
        listed = ", ".join(f"{_WORDS.get(name, name)} ({count})" for name, count in seen.most_common())
        sentences.append((Span(f"It shows {listed}."),))
    else:
        sentences.append((Span("Nothing in it contradicts itself or is known to cost accuracy."),))
    what = "What that costs" if seen else "Whether it lost accuracy"
    sentences.append((Span(f"{what}, one file cannot tell: give the float model and evaluation data too."),))
    return Verdict("open", "One file alone", tuple(sentences))


def findings_table(found: FileInspection) -> Table:
    """What the file shows."""
    columns = (Column("What"), Column("Layer", "as the file names it"), Column("Seen"))
    rows = tuple(
        Row(
            (
                Cell(_WORDS.get(finding.name, finding.name), finding.name),
                Cell(numbers.name(finding.layer) or "the whole file", finding.layer, is_name=bool(finding.layer)),
                Cell(finding.evidence, finding.amount),
            )
        )
        for finding in found.findings
    )
    unknown = tuple(f"It cannot be known {sentence}." for sentence in found.unknown)
    return Table("findings", "What the file shows", columns, rows, unknown)


def weights_table(found: FileInspection) -> Table:
    """How each layer uses the integers of its weights."""
    columns = (
        Column("Layer", "as the file names it"),
        Column("Op"),
        Column("Bits", numeric=True),
        Column("Scales", "one for each output channel, or one for all"),
        Column("Channel spread", "largest over smallest channel range", numeric=True),
        Column("At the ends", "share of the weights at the largest or smallest integer", numeric=True),
        Column("Integers used", "share of all integers that occur", numeric=True),
        Column("Short channels", "whose largest weight stays below 90 % of the integers", numeric=True),
    )
    rows = tuple(
        Row(
            (
                Cell(numbers.name(codes.layer), codes.layer, is_name=True),
                Cell(codes.opcode, codes.opcode),
                Cell(str(codes.bits), codes.bits),
                Cell(f"{codes.channels if codes.per_channel else 1}", codes.channels if codes.per_channel else 1),
                Cell(numbers.significant(codes.spread), codes.spread),
                Cell(numbers.percent(codes.at_ends, 1), codes.at_ends),
                Cell(numbers.percent(codes.used), codes.used),
                Cell(str(codes.unreached), codes.unreached),
            )
        )
        for codes in found.weights
    )
    types = ", ".join(f"{count} {name}" for name, count in sorted(found.tensor_types.items()))
    return Table("weights", "How weights use their integers", columns, rows, (f"The file's tensors: {types}.",))


def render_inspection(found: FileInspection, file_name: str) -> str:
    """The page, as one self-contained HTML file."""
    return environment().get_template("audit.html").render(
        **page_frame([]),
        title=numbers.name(file_name) or "file",
        verdict=inspection_verdict(found),
        tables=(findings_table(found), weights_table(found)),
        options=(),
        gallery=None,
    )  # fmt: skip

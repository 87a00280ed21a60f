"""The weights of every layer: how far they reach, how unlike channels are, and what rounding leaves of small ones."""

from __future__ import annotations

import math

from ..analyzer.schema import Results, WeightProfile
from . import numbers
from .cells import Cell, Column, RangesPart, Row, Sparkline, Table
from .sources import labels, op_anchor


def weights_part(results: Results) -> RangesPart | None:
    """One row an op with weights, in execution order; None where nobody looked at them."""
    if not results.weights:
        return None
    layer = labels(results.graph)
    columns = (
        Column("Weights of"),
        Column("Values", "", True),
        Column("Channels", "Each has its own scale in int8, unless the target wants one for all", True),
        Column("Minimum", "", True),
        Column("Maximum", "", True),
        Column(
            "Widest to narrowest", "Largest max|w| of a channel over the smallest: what one scale has to span", True
        ),
        Column("Become 0 in 8 bits", "Share of the values that are not 0 and become 0", True),
        Column("Become 0 in 4 bits", "The same in 4 bits", True),
    )
    rows = tuple(_row(layer[profile.op], profile) for profile in results.weights)
    note = (
        "Of the float network, before any repair. Histograms run from minimum to maximum; heights are logarithmic, so"
        " that single outliers show."
    )
    table = Table("weights", "Weights by layer", columns, rows, (note,))
    return RangesPart(table, tuple(_sparkline(profile) for profile in results.weights))


def _row(label: str, profile: WeightProfile) -> Row:
    spread = profile.widest / profile.narrowest if profile.channels > 1 and profile.narrowest > 0 else None
    return Row((
        Cell(label, label, is_name=True, href=f"#{op_anchor(profile.op)}"),
        Cell(numbers.count(profile.values), profile.values),
        Cell(numbers.count(profile.channels), profile.channels),
        Cell(numbers.significant(profile.minimum), profile.minimum),
        Cell(numbers.significant(profile.maximum), profile.maximum),
        Cell("", None) if spread is None else Cell(_times(spread), spread),
        *(Cell(numbers.percent(profile.zeroed[bits], 1), profile.zeroed[bits]) for bits in (8, 4)),
    ))  # fmt: skip


def _times(spread: float) -> str:
    return f"{numbers.count(round(spread)) if spread >= 1000 else numbers.significant(spread)} {numbers.TIMES}"


def _sparkline(profile: WeightProfile) -> Sparkline:
    width = profile.maximum - profile.minimum
    pairs = [sum(profile.counts[place : place + 2]) for place in range(0, len(profile.counts), 2)]
    tallest = math.log1p(max(pairs))
    heights = tuple(round(math.log1p(count) / tallest, 3) for count in pairs)
    zero = round(-profile.minimum / width, 4) if profile.minimum < 0 < profile.maximum else None
    return Sparkline(heights, zero, (0.0, 1.0))

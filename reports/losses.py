"""What a file loses against float, in words."""

from __future__ import annotations

from dataclasses import dataclass

from ..analyzer.schema import Evaluation, Graph
from . import numbers
from .cells import Span
from .sources import sample_word


@dataclass(frozen=True)
class Loss:
    """What a file loses, in words, and what that stands on."""

    verb: str
    figure: str
    rest: str
    basis: str

    def spans(self, basis: str = "") -> list[Span]:
        tail = self.rest + basis
        return [Span(f"{self.verb} "), Span(self.figure, "figure"), Span(tail)]


def loss(evaluation: Evaluation, graph: Graph) -> Loss:
    """The drop of one file in words; its output error where there is neither accuracy nor metric."""
    drop, error = evaluation.drop_points, evaluation.error
    word, n = sample_word(graph), error.samples
    basis = f"on {numbers.count(n)} {word} ({numbers.kernels(evaluation.kernels)})"
    if drop is None:
        if error.nmse == 0:
            return Loss("gives", "the float model's output", " exactly", basis)
        return Loss(
            "has",
            f"an output error (nmse) of {numbers.significant(error.nmse)}",
            f" ({numbers.decibels(error.sqnr_db)} dB)",
            basis,
        )
    text = numbers.interval(drop, 1)
    if evaluation.drop_of == "agreement":
        if drop.value == 0:
            bound = f" (at most {numbers.fixed(drop.high, 1)} % may differ)" if drop.high > 0 else ""
            return Loss("gives", "the float model's answer", f" every time{bound}", basis)
        return Loss("answers unlike the float model", f"{text} %", " of the time", basis)
    unit = " points" if evaluation.drop_of == "accuracy" else " of the metric"
    if not drop.excludes_zero:
        return Loss("shows", "no measurable loss", f" ({text}{unit})", basis)
    if drop.low > 0:
        return Loss("loses", f"{text}{unit}", "", basis)
    gain = numbers.interval(type(drop)(-drop.value, -drop.high, -drop.low), 1)
    return Loss("scores", f"{gain}{unit}", " better than float", basis)


def same_basis(one: Evaluation, other: Evaluation) -> bool:
    """Whether two figures were measured on the same samples with the same kernels."""
    return (one.error.samples, one.kernels, one.drop_of) == (other.error.samples, other.kernels, other.drop_of)

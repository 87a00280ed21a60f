"""What repairs won on the samples that judge the emitted file, in a sentence that says no more than its intervals."""

from __future__ import annotations

from ..analyzer.schema import Evaluation, Interval, Verification
from . import numbers
from .cells import Span

UNREPAIRED = "plan before repair"
"""Name of the evaluation of the file that the plan gives without any repair."""

_Z = 1.96


def gain(verification: Verification) -> list[Span]:
    """Drop before and after; both output errors where there is no drop. Empty without a file before repair.

    Two intervals that lie apart tell the files apart. Where they overlap nothing is claimed: the difference itself was
    not measured.
    """
    before, after = verification.find(UNREPAIRED), verification.find("plan")
    if before is None or after is None or not _comparable(before, after):
        return []
    one, other = _figure(before), _figure(after)
    change = f"{_text(before, one)} to {_text(after, other)}{_unit(after)}"
    what = "the output error (nmse)" if after.drop_points is None else "the drop"
    cost = _cost(after.file_bytes - before.file_bytes)
    if other.high < one.low:
        return [Span(f"Repair lowered {what} from "), Span(change, "figure"), Span(f" {cost}.")]
    if other.low > one.high:
        return [Span(f"Repair RAISED {what} from "), Span(change, "figure"), Span(f" {cost}.")]
    return [
        Span(f"Repair took {what} from "),
        Span(change, "figure"),
        Span(f" {cost}; the intervals overlap, so these samples do not show that it won anything."),
    ]


def _comparable(before: Evaluation, after: Evaluation) -> bool:
    """Whether both were measured on the same samples, with the same kernels, against the same."""
    kinds = [(e.error.samples, e.kernels, e.drop_of, e.drop_points is None) for e in (before, after)]
    return kinds[0] == kinds[1]


def _figure(evaluation: Evaluation) -> Interval:
    """The drop; else the error with its 95 % interval over samples (normal approximation)."""
    if evaluation.drop_points is not None:
        return evaluation.drop_points
    error = evaluation.error
    half = _Z * error.standard_error
    return Interval(error.nmse, error.nmse - half, error.nmse + half)


def _text(evaluation: Evaluation, figure: Interval) -> str:
    if evaluation.drop_points is None:
        return f"{numbers.significant(figure.value)} ± {numbers.significant((figure.high - figure.low) / 2)}"
    return numbers.interval(figure, 1)


def _unit(evaluation: Evaluation) -> str:
    if evaluation.drop_points is None:
        return ""
    return {"accuracy": " points", "agreement": " % of answers", "metric": " of the metric"}[evaluation.drop_of]


def _cost(more: int) -> str:
    if more == 0:
        return "at no cost in size"
    return f"for {numbers.plural(abs(more), 'byte')} {'more' if more > 0 else 'less'}"

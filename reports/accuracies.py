"""Accuracies as they are shown: with the interval that so many samples allow."""

from __future__ import annotations

from ..analyzer.schema import Interval
from . import numbers
from .cells import Cell


def wilson(share: float, samples: int) -> Interval:
    """A share with its 95 % score interval (Wilson 1927): right near 0 and 1 too, and inside of them.

    Args:
      share: 0 to 1, of whole samples.
      samples: At least one.
    """
    from scipy.stats import binomtest

    found = binomtest(round(share * samples), samples).proportion_ci(method="wilson")
    return Interval(share, min(share, float(found.low)), max(share, float(found.high)))


def span(share: float, samples: int) -> str:
    """The interval in words, on one line: `81.6 to 90.0 %`."""
    found = wilson(share, samples)
    return f"{found.low * 100:.1f} to {found.high * 100:.1f} %".replace(" ", "\N{NO-BREAK SPACE}")


def accuracy_cell(share: float | None, samples: int) -> Cell:
    """An accuracy with its interval below; empty where there are no labels."""
    if share is None:
        return Cell("", None)
    return Cell(numbers.percent(share, 2), share, detail=span(share, samples))


INTERVAL_NOTE = (
    "Below an accuracy stands its own 95 % interval (Wilson). Files that were run on the same samples are compared by"
    " the drop."
)

"""How far outputs lie apart that several runtimes gave for the same samples. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..schema import DeviceDifference, OutputGap
from .per_sample import agreements, output_variance, per_sample_nmse, right_answers
from .statistics import mcnemar_exact, paired_bootstrap

Outputs = Sequence[np.ndarray]
"""One array [n, ...] for each output of a network."""


def output_gap(
    found_name: str,
    found: Outputs,
    reference_name: str,
    reference: Outputs,
    *,
    variances: Sequence[float],
    is_classifier: bool = False,
    labels: NDArray[np.int64] | None = None,
    steps: Sequence[float] = (),
) -> OutputGap:
    """Compares outputs, sample by sample.

    Args:
      found_name, reference_name: What to call the two.
      found, reference: The outputs, of equal shapes.
      variances: What each output's squared error is divided by.
      is_classifier: Whether the first output scores classes.
      labels: Class indices, [n], or None.
      steps: For each output what lies between two neighbouring values, 0 where any value can be; empty for none.

    Raises:
      ShapeMismatch: Shapes differ.
      DataError: `reference` is not finite.
    """
    pairs = list(zip(found, reference, strict=True))
    nmse = [float(per_sample_nmse(y, x, v).mean()) for (x, y), v in zip(pairs, variances, strict=True)]
    largest = [_largest(x, y) for x, y in pairs]
    in_steps = [size / step for size, step in zip(largest, steps, strict=False) if step]
    agreement = drop = p_value = None
    if is_classifier:
        agreement = float(agreements(reference[0], found[0]).mean())
    if is_classifier and labels is not None:
        before, after = right_answers(reference[0], labels), right_answers(found[0], labels)
        drop = paired_bootstrap(100.0 * (before.astype(float) - after), unit=100.0)
        p_value = mcnemar_exact(int((before & ~after).sum()), int((~before & after).sum()))
    return OutputGap(
        found=found_name,
        reference=reference_name,
        samples=len(found[0]),
        nmse=math.fsum(nmse) / len(nmse),
        max_abs=max(largest),
        equal=int(_equal_rows(pairs).sum()),
        max_steps=max(in_steps) if in_steps else None,
        agreement=agreement,
        drop_points=drop,
        mcnemar_p=p_value,
    )


def variances_of(outputs: Outputs) -> list[float]:
    """What the squared errors of these outputs are divided by, see `per_sample.output_variance`."""
    return [output_variance(values) for values in outputs]


def first_differences(
    found: Outputs, expected: Outputs, places: NDArray[np.int64], most: int
) -> tuple[DeviceDifference, ...]:
    """The first element that differs in each of the first samples that differ.

    Args:
      found, expected: The outputs, of equal shapes.
      places: [n], of each sample in the data as brought: what "first" means.
      most: At most so many samples.
    """
    differing = np.flatnonzero(~_equal_rows(list(zip(found, expected, strict=True))))
    rows = differing[np.argsort(places[differing])][:most]
    return tuple(_first_difference(found, expected, int(row), int(places[row])) for row in rows)


def _first_difference(found: Outputs, expected: Outputs, row: int, place: int) -> DeviceDifference:
    for output, (x, y) in enumerate(zip(found, expected, strict=True)):
        elements = np.flatnonzero(_unequal(x[row], y[row]).reshape(-1))
        if len(elements):
            first = int(elements[0])
            wanted, answered = float(y[row].reshape(-1)[first]), float(x[row].reshape(-1)[first])
            return DeviceDifference(place, output, first, wanted, answered)
    raise ValueError(f"row {row} does not differ")


def _equal_rows(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> NDArray[np.bool_]:
    return np.asarray(np.all([~_unequal(x, y).reshape(len(x), -1).any(axis=1) for x, y in pairs], axis=0))


def _unequal(x: np.ndarray, y: np.ndarray) -> NDArray[np.bool_]:
    """Elementwise; NaN beside NaN is a difference too, for neither is an answer."""
    return np.asarray(x != y)


def _largest(x: np.ndarray, y: np.ndarray) -> float:
    """Largest absolute difference; infinite where one of the two is not finite."""
    with np.errstate(invalid="ignore"):
        gaps = np.abs(x.astype(np.float64) - y.astype(np.float64))
    return float(np.where(np.isfinite(gaps), gaps, np.inf).max(initial=0.0))

"""Class labels: reading them, and drawing samples evenly over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

# Names under which labels usually come beside the inputs.
LABEL_NAMES = ("y", "label", "labels", "target", "targets")
_WITHOUT = "leave the labels out to compare with the float model instead"


def to_labels(values: Any, count: int) -> NDArray[np.int64]:
    """Class indices, [count], from integers, whole floats, or rows that are exactly one-hot.

    Raises:
      DataError: They are something else, negative, or not as many as the samples.
    """
    labels = np.asarray(values)
    if labels.shape[:1] != (count,):
        found = f"{len(labels)} labels" if labels.ndim else "one label"
        raise DataError(f"there are {count} samples and {found}", "give one label for each sample, in the same order")
    if labels.dtype.kind not in "biuf":
        raise DataError(f"the labels are {labels.dtype}, not class indices", f"number the classes, or {_WITHOUT}")
    labels = labels.reshape(count, -1) if labels.size else labels
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise DataError(
                f"the labels have {labels.shape[1]} values a sample and are not one-hot",
                f"give one class index for each sample, or {_WITHOUT}",
            )
        return np.asarray(labels.argmax(axis=1), np.int64)
    labels = labels.reshape(count)
    whole = labels.astype(np.int64) if np.isfinite(labels).all() else None
    if whole is None or not np.array_equal(whole, labels):
        bad = next(i for i, value in enumerate(labels) if not np.isfinite(value) or value != np.floor(value))
        raise DataError(f"label {bad} is {labels[bad]}, not an integer", f"number the classes from 0, or {_WITHOUT}")
    if (whole < 0).any():
        bad = int(np.argmax(whole < 0))
        raise DataError(f"label {bad} is {whole[bad]}: labels count from 0", "take samples without a class out")
    return whole


def draw_evenly(labels: NDArray[np.int64], count: int, seed: int, key: Callable[[int], bytes]) -> NDArray[np.int64]:
    """Positions of `count` samples drawn evenly over the classes, ascending.

    Which ones are drawn depends on `seed` and on what the samples are, not on the order they come in. Counts differ by
    at most one; a class that has too few gives all it has, and the others make up for it.

    Args:
      key: Identifies the sample at a position.
    """
    classes, available = np.unique(labels, return_counts=True)
    quota = np.zeros_like(available)
    left = min(count, len(labels))
    while left:
        open_classes = np.flatnonzero(quota < available)
        share = left // len(open_classes)
        if share == 0:
            ranked = sorted(open_classes, key=lambda c: _rank(seed, f"class {classes[c]}".encode()))
            quota[ranked[:left]] += 1
            break
        given = np.minimum(share, available[open_classes] - quota[open_classes])
        quota[open_classes] += given
        left -= int(given.sum())
    chosen: list[int] = []
    for label, number in zip(classes, quota, strict=True):
        members = sorted((_rank(seed, key(int(p))), int(p)) for p in np.flatnonzero(labels == label))
        chosen += [position for _, position in members[:number]]
    return np.array(sorted(chosen), np.int64)


def _rank(seed: int, key: bytes) -> bytes:
    return hashlib.sha256(f"{seed}:".encode() + key).digest()

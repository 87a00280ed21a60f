"""Which samples a quantized file puts into another class, and which classes lose by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..inputs.samples import Samples
from ..inputs.thumbnails import thumbnail
from ..schema import ClassDrop, Flip, Flips
from .per_sample import agreements, log_softmax, right_answers
from .statistics import holm, mcnemar_exact, paired_bootstrap

MOST_LISTED = 1000
"""Flips that are listed: a file that answers at random flips nearly all of its samples."""

THUMBNAILS = 24
"""Flips that are shown with a picture."""


def class_drops(
    reference: np.ndarray, found: np.ndarray, labels: NDArray[np.int64], names: Sequence[str] = ()
) -> tuple[ClassDrop, ...]:
    """Accuracy of every class that has samples, before and after.

    Args:
      reference: Scores of the float network, [n, ..., classes].
      found: Scores of the quantized file, the same shape.
      labels: Class indices, [n].
      names: By class index; may be empty.

    Returns:
      Largest drop first.
    """
    before, after = right_answers(reference, labels), right_answers(found, labels)
    classes = np.unique(labels)
    p_values = [
        mcnemar_exact(int((before & ~after)[labels == c].sum()), int((~before & after)[labels == c].sum()))
        for c in classes
    ]
    drops = []
    for label, p_value in zip(classes.tolist(), holm(p_values), strict=True):
        of_class = labels == label
        differences = 100.0 * (before[of_class].astype(float) - after[of_class])
        drops.append(
            ClassDrop(
                label=label,
                name=names[label] if label < len(names) else "",
                samples=int(of_class.sum()),
                float_accuracy=float(before[of_class].mean()),
                accuracy=float(after[of_class].mean()),
                drop_points=paired_bootstrap(differences, unit=100.0),
                p_holm=p_value,
            )
        )
    return tuple(sorted(drops, key=lambda drop: (-drop.drop_points.value, drop.p_holm, drop.label)))


def flips_of(samples: Samples, reference: np.ndarray, found: np.ndarray) -> Flips:
    """Samples whose top-1 differs, the surest first, and pictures of the first ones where samples are images.

    Args:
      samples: That judge; labels where there are some.
      reference: Scores of the float network, [n, ..., classes], in the order of the samples.
      found: Scores of the quantized file, the same shape.
    """
    places = samples.places
    origins = [samples.origin(index) for index in range(len(samples))]
    flips = find_flips(reference, found, samples.labels, places, origins)
    row_of = np.argsort(places)
    shown = tuple(
        replace(flip, thumbnail=thumbnail(samples, int(row_of[flip.index]))) for flip in flips.listed[:THUMBNAILS]
    )
    return replace(flips, listed=(*shown, *flips.listed[THUMBNAILS:]))


def find_flips(
    reference: np.ndarray,
    found: np.ndarray,
    labels: NDArray[np.int64] | None,
    places: NDArray[np.int64],
    origins: Sequence[str],
) -> Flips:
    """Samples whose top-1 differs.

    The surest come first: those where the less sure one of the two files is surest of its class. A flip between 0.95
    and 0.93 is a finding, one between 0.51 and 0.50 a coin that fell the other way.

    Args:
      reference: Scores of the float network, [n, ..., classes].
      found: Scores of the quantized file, the same shape.
      labels: Class indices, [n], or None.
      places: [n], of each sample in the data as brought.
      origins: What to call each sample, [n].
    """
    before, after = reference.reshape(len(reference), -1), found.reshape(len(found), -1)
    as_logits = not are_probabilities(before)
    sure, then_sure = _confidences(before, as_logits), _confidences(after, as_logits)
    top, then_top = before.argmax(axis=1), after.argmax(axis=1)
    outcomes = _outcomes(reference, found, labels)
    flipped = np.flatnonzero(~agreements(reference, found))
    # A score that is not finite is sure of nothing, and sorts last.
    surest = np.nan_to_num(np.minimum(sure, then_sure)[flipped], nan=-1.0)
    ranked = flipped[np.lexsort((places[flipped], -surest))]
    count = {name: int((outcomes[flipped] == name).sum()) for name in ("lost", "gained", "changed")}
    listed = tuple(
        Flip(
            index=int(places[i]),
            origin=origins[i],
            outcome=str(outcomes[i]),
            label=None if labels is None else int(labels[i]),
            float_class=int(top[i]),
            float_confidence=float(sure[i]),
            quantized_class=int(then_top[i]),
            quantized_confidence=float(then_sure[i]),
        )
        for i in ranked[:MOST_LISTED].tolist()
    )
    return Flips(len(reference), count["lost"], count["gained"], count["changed"], listed)


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether every row of scores [n, classes] is a distribution, up to float32 rounding."""
    return bool(scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def _outcomes(reference: np.ndarray, found: np.ndarray, labels: NDArray[np.int64] | None) -> NDArray[np.str_]:
    if labels is None:
        return np.full(len(reference), "changed")
    before, after = right_answers(reference, labels), right_answers(found, labels)
    return np.where(before & ~after, "lost", np.where(~before & after, "gained", "changed"))


def _confidences(scores: np.ndarray, as_logits: bool) -> NDArray[np.float64]:
    """Of the top-1 of each row: its probability, or its share of a softmax."""
    if not as_logits:
        return np.asarray(scores.max(axis=1), np.float64)
    with np.errstate(invalid="ignore"):  # of scores that are not finite nothing can be said: nan
        return np.asarray(np.exp(log_softmax(scores).max(axis=1)))

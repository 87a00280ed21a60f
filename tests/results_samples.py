"""Made-up samples that change their class, and a calibration study, around the plan of `results_factory`."""

from __future__ import annotations

import dataclasses

from bitplan.analyzer.schema import Flip, Flips, Interval, Results, Study, StudyBand, StudyCell

from .results_factory import HOSTILE, mobilenet
from .results_measures import error

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def flips(lost: int = 30, gained: int = 9, changed: int = 4, *, labelled: bool = True, pictures: int = 24) -> Flips:
    """Of 5000 samples; the surest first, with pictures of some."""
    outcomes = ["lost"] * lost + ["gained"] * gained + ["changed"] * changed
    listed = tuple(
        Flip(
            17 * k, f"sample {17 * k}", outcome if labelled else "changed",
            {"lost": 3, "gained": 5, "changed": 6}[outcome] if labelled else None,
            3, 0.95 - 0.01 * k, 5, 0.93 - 0.01 * k, PIXEL if k < pictures else "",
        )
        for k, outcome in enumerate(outcomes)
    )  # fmt: skip
    total = len(outcomes)
    return Flips(5000, lost, gained, changed, listed) if labelled else Flips(5000, 0, 0, total, listed)


def band(size: int, method: str, value: float, drop: float) -> StudyBand:
    """Five sets of one size."""
    return StudyBand(
        size, "random", method, 5, Interval(value, 0.9 * value, 1.2 * value), Interval(1.1 * value, value, 1.3 * value),
        Interval(0.865 - drop / 100, 0.86 - drop / 100, 0.87 - drop / 100), Interval(drop, drop - 1, drop + 1),
    )  # fmt: skip


def study(sizes: tuple[int, ...] = (10, 100)) -> Study:
    """Two ways to choose ranges, and one cell of one file."""
    bands = tuple(
        band(size, method, worst / size**0.5, 40 * worst / size**0.5)
        for method, worst in (("min-max", 0.3), ("mse", 0.2)) for size in sizes
    )  # fmt: skip
    cell = StudyCell(sizes[0], 0, "random", "min-max", error(0.1, 256), error(0.11, 5000), bands[0].drop)
    return Study((cell,), bands, bands[-1], max(sizes), 256, True, 5000, "accuracy", 0.865)


def with_flips(base: Results, found: Flips | None, names: tuple[str, ...] = NAMES) -> Results:
    """Results whose emitted file puts some samples into another class."""
    checked = dataclasses.replace(base.verification, flips=found, class_names=names)
    return dataclasses.replace(base, verification=checked)


def sampled() -> Results:
    """Both parts."""
    return dataclasses.replace(with_flips(mobilenet(), flips()), study=study())


def hostile() -> Results:
    """Files and classes with names that try to be markup."""
    found = flips(pictures=0)
    listed = tuple(
        dataclasses.replace(flip, origin=name) for flip, name in zip(found.listed, HOSTILE * 9, strict=False)
    )  # fmt: skip
    return with_flips(mobilenet(), dataclasses.replace(found, listed=listed), (*HOSTILE[:4], *NAMES[4:]))

"""The samples that a quantized file puts into another class, as a gallery."""

from __future__ import annotations

from dataclasses import dataclass

from ..analyzer.schema import Drop, Flip
from . import numbers
from .drops import class_label

SHOWN = 24
"""Cards on the page; `audit.json` lists more."""

_OUTCOMES = {"lost": "only float is right", "gained": "only the quantized file is right", "changed": ""}


@dataclass(frozen=True)
class FlipCard:
    """One sample.

    Attributes:
      picture: Data URI, "" for none.
      origin: Which sample.
      label: What it is, "" where nobody knows.
      before, after: Class and confidence in float and in the quantized file.
      outcome: `lost`, `gained` or `changed`.
      said: The outcome in words.
    """

    picture: str
    origin: str
    label: str
    before: str
    after: str
    outcome: str
    said: str


@dataclass(frozen=True)
class Gallery:
    """Cards and what they are a part of."""

    summary: str
    cards: tuple[FlipCard, ...]
    note: str


def gallery(drop: Drop) -> Gallery | None:
    """The surest flips; None where no classes are scored."""
    flips = drop.flips
    if flips is None:
        return None
    changed = "changed between two wrong classes" if any(f.label is not None for f in flips.listed) else "changed"
    of = f"{numbers.count(flips.total)} of {numbers.plural(flips.samples, 'sample')} change their class"
    parts = (
        (flips.lost, "lost (only float is right)"),
        (flips.gained, "gained (only the quantized file is)"),
        (flips.changed, changed),
    )
    summary = of + (": " if flips.total else "") + ", ".join(f"{numbers.count(n)} {what}" for n, what in parts if n)
    cards = tuple(_card(flip, drop.class_names) for flip in flips.listed[:SHOWN])
    note = ""
    if flips.total > len(cards):
        listed = "all" if len(flips.listed) == flips.total else f"the first {numbers.count(len(flips.listed))}"
        note = f"The {len(cards)} that both files are surest of are shown; audit.json lists {listed}."
    return Gallery(f"{summary}.", cards, note)


def _card(flip: Flip, names: tuple[str, ...]) -> FlipCard:
    def named(label: int) -> str:
        return class_label(label, names[label] if label < len(names) else "")

    return FlipCard(
        picture=flip.thumbnail,
        origin=numbers.name(flip.origin),
        label="" if flip.label is None else named(flip.label),
        before=f"{named(flip.float_class)}, {numbers.percent(flip.float_confidence)}",
        after=f"{named(flip.quantized_class)}, {numbers.percent(flip.quantized_confidence)}",
        outcome=flip.outcome,
        said=_OUTCOMES[flip.outcome] or ("neither is right" if flip.label is not None else ""),
    )

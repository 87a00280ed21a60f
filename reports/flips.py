"""The samples that a quantized file puts into another class, as a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..analyzer.schema import Flip, Flips
from . import numbers

SHOWN = 24
"""Cards on the page; the file that they lie in lists more."""

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


def gallery(flips: Flips, names: Sequence[str], file: str) -> Gallery:
    """The surest flips, and how many there are.

    Args:
      flips: Of one file.
      names: Of the classes, by index; may be empty.
      file: That lists them all.
    """
    changed = "changed between two wrong classes" if any(f.label is not None for f in flips.listed) else "changed"
    change = "changes its class" if flips.total == 1 else "change their class"
    of = f"{numbers.count(flips.total)} of {numbers.plural(flips.samples, 'sample')} {change}"
    parts = (
        (flips.lost, "lost (only float is right)"),
        (flips.gained, "gained (only the quantized file is)"),
        (flips.changed, changed),
    )
    summary = of + (": " if flips.total else "") + ", ".join(f"{numbers.count(n)} {what}" for n, what in parts if n)
    cards = tuple(_card(flip, names) for flip in flips.listed[:SHOWN])
    note = ""
    if flips.total > len(cards):
        listed = "all" if len(flips.listed) == flips.total else f"the first {numbers.count(len(flips.listed))}"
        note = f"The {len(cards)} that both files are surest of are shown; {file} lists {listed}."
    return Gallery(f"{summary}.", cards, note)


def class_label(label: int, name: str) -> str:
    """A class for people: its name and number, or its number alone."""
    return f"{numbers.name(name)} ({label})" if name else f"class {label}"


def _card(flip: Flip, names: Sequence[str]) -> FlipCard:
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

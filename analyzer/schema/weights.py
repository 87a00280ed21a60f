"""What the weights of a float network are like, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightProfile:
    """The weights of one op.

    Attributes:
      op: Its index.
      values: How many there are.
      minimum, maximum: Of all of them.
      counts: Histogram over minimum to maximum in bins of equal width; one bin where both are equal.
      channels: Channels that int8 weights have a scale each for; 1 where they share one.
      joined: How many neighbouring channels one entry of `low` and `high` stands for.
      low, high: Extremes of each channel, or of so many neighbouring ones.
      narrowest, widest: Least and largest max|w| of a channel; channels of nothing but zeros, or a millionth of
        the widest, do not count.
      zeroed: Share of all values that are not 0 and become 0, by bits of the weights, 4 and 8.
    """

    op: int
    values: int
    minimum: float
    maximum: float
    counts: tuple[int, ...]
    channels: int
    joined: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    narrowest: float
    widest: float
    zeroed: Mapping[int, float]

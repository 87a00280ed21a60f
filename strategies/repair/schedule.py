"""How long and how hard rounding is learned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How rounding is learned.

    Attributes:
      iterations: Steps of Adam for each layer; fewer where a time budget does not allow them.
      batch: Output positions in a step.
      rows: Output positions of each layer that are learned from, of all samples together.
      rate: Adam's, constant.
      pressure: Weight of the regulariser's mean over all weights, where 1 is the mean squared error that nearest
        rounding of this layer brings to its output.
      warm_up: Share of the steps without the regulariser.
      narrow_bits: Weights of which widths get the grid with the least error of the output; others get one that ends at
        a channel's largest weight.
      seed: Of the output positions.
    """

    iterations: int = 500
    batch: int = 256
    rows: int = 8192
    rate: float = 0.1
    pressure: float = 30.0
    warm_up: float = 0.2
    narrow_bits: tuple[int, ...] = (4, 8)
    seed: int = 0

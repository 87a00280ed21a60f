"""Estimates for all sources, and exact figures for the worst: the sweep that `analyze` runs unless told otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..schema import Measurement, Source
from .calibration import Progress
from .exact import ExactSweep

TOP = 6
"""So many of the worst 8-bit sources are measured exactly."""


def refine(
    sweep: ExactSweep,
    estimates: Mapping[str, Measurement],
    sources: Sequence[Source],
    *,
    top: int = TOP,
    progress: Progress | None = None,
) -> dict[str, Measurement]:
    """Measures exactly what has no estimate, and the worst 8-bit sources until the same ones stay the worst.

    A source that turns out less harmful than its estimate may leave the top; the one that takes its place is measured
    too.

    Args:
      sweep: The exact sweep of the same network and samples.
      estimates: By `Source.id`; one that is not finite, as the gradient of a logarithm at 0, counts as none.
      sources: All of them.
      top: How many of the worst to measure.
      progress: Called with (units done, units to do), from the start in each round.

    Returns:
      One measurement for each source, by `Source.id`.
    """
    found = {name: estimate for name, estimate in estimates.items() if math.isfinite(estimate.error.nmse)}
    wanted = [s for s in sources if s.id not in found]
    if found:  # the likely worst in the same round: the network runs once more for each round
        likely = worst(found, [s for s in sources if s.id in found], top)
        wanted += [s for s in likely if found[s.id].method != "exact"]
    while wanted:
        found |= sweep.measure(wanted, progress=progress)
        wanted = [s for s in worst(found, sources, top) if found[s.id].method != "exact"]
    return found


def worst(found: Mapping[str, Measurement], sources: Sequence[Source], count: int = TOP) -> list[Source]:
    """The 8-bit sources with the largest error, worst first; ties keep the order of `sources`."""
    ranked = (source for source in sources if source.is_ranked)
    return sorted(ranked, key=lambda s: -found[s.id].error.nmse)[:count]

"""What a calibration study found: how many samples, which ones and which way to choose ranges."""

from __future__ import annotations

from dataclasses import dataclass

from .measurements import OutputError
from .outcomes import Interval

DRAWS = ("random", "balanced")
"""How the samples of a set are drawn from the pool: any of them, or evenly over the classes."""


@dataclass(frozen=True)
class StudyCell:
    """One int8 file: ranges chosen in one way from one set of samples.

    Attributes:
      size: Samples in the set.
      seed: Of the draw.
      draw: One of `DRAWS`.
      method: A key of `analyzer.measures.clipping.METHODS`.
      held_back: Error on calibration samples that are in no set: what a recommendation stands on.
      evaluation: Error on the evaluation samples; None without any. Nothing is chosen on it.
      drop: Points of accuracy that the file loses on them, paired 95 % interval; None where no classes are scored.
    """

    size: int
    seed: int
    draw: str
    method: str
    held_back: OutputError
    evaluation: OutputError | None = None
    drop: Interval | None = None


@dataclass(frozen=True)
class StudyBand:
    """The cells of one size, draw and method, over the seeds.

    Attributes:
      seeds: How many sets were drawn; those that came out the same count once.
      held_back_nmse: Mean over the seeds; low and high are the least and the largest, no confidence interval.
      evaluation_nmse: The same on the evaluation samples.
      accuracy: The same of the accuracy, a share of 1.
      drop: Mean drop in points; low and high are the outermost ends of the seeds' own 95 % intervals.
    """

    size: int
    draw: str
    method: str
    seeds: int
    held_back_nmse: Interval
    evaluation_nmse: Interval | None = None
    accuracy: Interval | None = None
    drop: Interval | None = None


@dataclass(frozen=True)
class Study:
    """A calibration study of one network.

    Attributes:
      cells: Draws, methods and sizes in the order asked for, then seeds.
      bands: In the same order.
      recommended: The band that is recommended, chosen on held-back samples alone.
      pool: Samples that the sets are drawn from.
      held_back: Samples that errors are compared on.
      held_back_apart: Whether these follow the pool in the data; else they were taken out of it.
      evaluation: Evaluation samples that every file was run on; 0 for none.
      drop_of: `accuracy`, or `expected accuracy` without labels (see `conversion.verification.Reference`); "" where no
        classes are scored.
      float_accuracy: The float network's on the evaluation samples; None without labels.
    """

    cells: tuple[StudyCell, ...]
    bands: tuple[StudyBand, ...]
    recommended: StudyBand
    pool: int
    held_back: int
    held_back_apart: bool
    evaluation: int
    drop_of: str = ""
    float_accuracy: float | None = None

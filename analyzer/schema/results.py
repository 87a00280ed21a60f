"""Everything that one run found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .measurements import Calibration, SensitivityTable
from .network import Graph
from .outcomes import Plan, Verification
from .planning import Planning
from .repairs import RepairLog
from .study import Study
from .weights import WeightProfile


@dataclass(frozen=True)
class Provenance:
    """How a run came about.

    Attributes:
      command: As typed, or "" from Python.
      versions: Of Bitplan and the packages that decide its numbers.
      calibration, evaluation: What the data is, as declared: source, preprocessing, digest.
      measured: Times (`_s`) and memory (`_bytes`): outside the promise that equal runs give equal bytes.
    """

    command: str
    seed: int
    versions: Mapping[str, str]
    model_name: str
    model_digest: str
    calibration: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """Everything a report shows; parts that were not computed are None, or empty.

    Attributes:
      weights: Of the float network as it came, before any repair.
      study: Of this network and this data.
      emitted_ranges: Those that the emitted file was made from, where a repair chose others than `calibration` has.
    """

    provenance: Provenance
    graph: Graph
    calibration: Calibration | None = None
    sensitivity: SensitivityTable | None = None
    plan: Plan | None = None
    planning: Planning | None = None
    repair: RepairLog | None = None
    verification: Verification | None = None
    notes: tuple[str, ...] = ()
    weights: tuple[WeightProfile, ...] = ()
    emitted_ranges: Calibration | None = None
    study: Study | None = None

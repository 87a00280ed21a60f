"""A whole page as data."""

from __future__ import annotations

from dataclasses import dataclass

from .cells import Bar, OpinionPart, PlanPart, RangesPart, RunPart, SensitivityPart, Strip, Table, Verdict
from .flips import Gallery
from .panel_cells import BudgetPart, Figure, PanelsPart
from .repair_cells import RepairPart
from .study import StudyPart


@dataclass(frozen=True)
class View:
    """A whole page as data; a part that has no data is None.

    Attributes:
      drop_of: What `drops` are drops of: `accuracy`, `agreement`, `metric`, or "" where there are none.
      times: Of this machine's CPU: differs between equal runs.
      card: What counts most, before and after.
      flips: None also where no sample changes its class.
    """

    title: str
    subtitle: str
    banner: str
    verdict: Verdict
    notes: tuple[str, ...]
    comparison: Table | None
    drops: tuple[Bar, ...]
    drop_of: str
    times: Table | None
    opinion: OpinionPart | None
    mismatches: Table | None
    sensitivity: SensitivityPart | None
    strip: Strip | None
    plan: PlanPart | None
    repairs: RepairPart | None
    layers: Table
    kinds: Table | None
    refused: Table | None
    ranges: RangesPart | None
    run: RunPart
    card: tuple[Figure, ...] = ()
    budget: BudgetPart | None = None
    panels: PanelsPart | None = None
    weights: RangesPart | None = None
    flips: Gallery | None = None
    study: StudyPart | None = None

"""Repairs, cheapest first: each is made, its file measured on held-back samples, and kept only where it helps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..analyzer.conversion.agreement import kernel_agreement
from ..analyzer.conversion.converter import convert
from ..analyzer.conversion.verification import Comparison, Reference
from ..analyzer.errors import UsageError
from ..analyzer.measures.calibration import Progress
from ..analyzer.measures.statistics import paired_bootstrap
from ..analyzer.network.differentiable import uncovered
from ..analyzer.schema import REPAIRS, Interval, KernelAgreement, RepairLog, RepairStep
from .repair.material import Effort, Material, Network
from .repair.rungs import RUNGS, Repair

HELPS = 0.01
"""By what share a repair must lower the held-back error to be kept: less may be chance."""

_KERNEL_SAMPLES = 64

Reporter = Callable[[str], Progress]


@dataclass(frozen=True)
class Repaired:
    """What a ladder ends with.

    Attributes:
      network: The float network to convert, its ranges; those of the start where nothing helped.
      model: The emitted file.
      log: The way there.
    """

    network: Network
    model: bytes
    log: RepairLog


@dataclass(frozen=True)
class Rung:
    """A repair that was tried, for a run that goes on.

    Attributes:
      step: The log's entry.
      network: With the repair.
    """

    step: RepairStep
    network: Network


@dataclass(frozen=True)
class Memory:
    """Where finished rungs are kept and found again; by default nowhere.

    Attributes:
      load: The rung of a repair (its name, and the network it was made on), or None.
      save: Keeps one.
    """

    load: Callable[[str, Network], Rung | None] = field(default=lambda _name, _network: None)
    save: Callable[[str, Network, Rung], None] = field(default=lambda _name, _network, _rung: None)


def check_steps(names: Sequence[str]) -> tuple[str, ...]:
    """Names of repairs in the order in which they are tried.

    Raises:
      UsageError: There is no such repair.
    """
    unknown = [name for name in names if name not in RUNGS]
    if unknown or not names:
        problem = f"there is no repair called {', '.join(unknown)}" if unknown else "no repair is named"
        raise UsageError(problem, f"choose from {', '.join(REPAIRS)}")
    return tuple(name for name in REPAIRS if name in names)


def climb(
    material: Material,
    *,
    steps: Sequence[str] = REPAIRS,
    time_budget_s: float | None = None,
    file_bytes: int | None = None,
    memory: Memory | None = None,
    reporter: Reporter = lambda _title: lambda _done, _total: None,
    clock: Callable[[], float] = time.monotonic,
) -> Repaired:
    """Tries repairs one after the other on what the kept ones before have made.

    A repair is kept where the file with it has an error lower by `HELPS` on the held-back samples: the divergence from
    float's class distribution for a classifier, else the error at the output. The file must still fit its budget.

    Args:
      material: The network, its plan and data.
      steps: Names of repairs; they are tried in `REPAIRS` whatever theirs is.
      time_budget_s: Seconds for everything. A repair that can stop early gets its share of what is left; one that
        would start after the end is skipped. None for no limit.
      file_bytes: Largest file; None for no limit.
      memory: Where finished steps are kept.
      reporter: Starts a line of progress.
      clock: Seconds.

    Raises:
      UnsupportedModel: The network cannot be converted by the plan.
      UsageError: There is no such repair.
    """
    names, memory = check_steps(steps), memory or Memory()
    deadline = None if time_budget_s is None else clock() + time_budget_s
    court = _Court(material)
    start = Network(material.flatbuffer, material.calibration, material.flatbuffer)
    best, model = start, court.file(start)
    plain_bytes, comparison = len(model), court.compare(model)
    found: list[RepairStep] = []
    for index, name in enumerate(names):
        repair = RUNGS[name]
        reason = repair.unsuitable(material.graph, material.plan) or _needs_gradients(repair, material.flatbuffer)
        left = math.inf if deadline is None else deadline - clock()
        if not reason and left <= 0:
            reason = "the time was over"
        if reason:
            found.append(RepairStep(name, False, court.error(comparison), None, court.drop(comparison), skipped=reason))
            continue
        rung = memory.load(name, best)
        if rung is None:
            effort = Effort(_share(left, names[index:]), reporter(repair.title))
            rung = _tried(court, material, repair, best, comparison, effort, file_bytes)
            memory.save(name, best, rung)
        found.append(rung.step)
        if rung.step.kept:
            best = rung.network
            model = court.file(best)
            comparison = court.compare(model)
    log = RepairLog(
        tuple(found), court.error_of, comparison.drop_of, len(material.samples), len(material.held_back), plain_bytes,
        len(model), court.kernels(best, model),
    )  # fmt: skip
    return Repaired(best, model, log)


def _tried(
    court: _Court, material: Material, repair: Repair, best: Network, before: Comparison, effort: Effort,
    file_bytes: int | None,
) -> Rung:  # fmt: skip
    """One repair on the best network so far, and what held-back samples say of it."""
    made = repair.make(material, best, effort)
    model = court.file(made.network)
    after = court.compare(model)
    helps = court.error(after) < (1 - HELPS) * court.error(before)
    fits = file_bytes is None or len(model) <= file_bytes
    facts = made.facts if fits else (*made.facts, f"the file would have {len(model)} bytes, over the budget")
    step = RepairStep(
        repair.name, helps and fits, court.error(before), court.error(after), court.drop(before), court.drop(after),
        facts, curve=made.curve,
    )  # fmt: skip
    return Rung(step, made.network)


class _Court:
    """Files of one plan, held against the float network on held-back samples."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._reference = Reference(
            material.flatbuffer, material.graph, material.held_back, workers=material.workers
        )  # fmt: skip
        self.error_of = "kl" if material.graph.is_classifier else "nmse"

    def file(self, network: Network) -> bytes:
        graph = self._material.graph_of(network)
        return convert(network.flatbuffer, graph, network.calibration, self._material.plan).model

    def compare(self, model: bytes) -> Comparison:
        return self._reference.compare(model)

    def error(self, found: Comparison) -> float:
        kl = found.error.kl
        return found.error.nmse if kl is None else kl

    def drop(self, found: Comparison) -> Interval | None:
        return None if found.drops is None else paired_bootstrap(found.drops, seed=self._material.seed, unit=100.0)

    def kernels(self, network: Network, model: bytes) -> KernelAgreement | None:
        """How like the simulation, XNNPACK and the reference kernels are; None where there is no simulation."""
        if uncovered(network.flatbuffer):
            return None
        material = self._material
        few = material.held_back.take(min(_KERNEL_SAMPLES, len(material.held_back)))
        return kernel_agreement(
            network.flatbuffer, material.graph_of(network), material.plan, model, few, workers=material.workers
        )


def _needs_gradients(repair: Repair, flatbuffer: bytes) -> str:
    missing = uncovered(flatbuffer) if repair.simulates else ()
    return f"it cannot see through {', '.join(missing)}" if missing else ""


def _share(left: float, names: Sequence[str]) -> float | None:
    """Seconds for the first of the repairs that are left, by how much each is worth giving."""
    if math.isinf(left):
        return None
    return left * RUNGS[names[0]].weight / sum(RUNGS[name].weight for name in names)

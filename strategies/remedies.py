"""The usual remedies for a quantized file, each made into a file of its own from calibration samples alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..analyzer.conversion.converter import convert
from ..analyzer.conversion.costs import build_costs
from ..analyzer.conversion.verification import Candidate, evaluate
from ..analyzer.errors import BitplanError, ImpossibleBudget
from ..analyzer.inputs.dataset import Samples
from ..analyzer.measures.calibration import Progress
from ..analyzer.measures.clipping import METHODS
from ..analyzer.schema import DEFAULT_ALLOWED, OPTIONS, REPAIRS, SCHEMES, Format, Graph, Plan, SensitivityTable, Target
from .assignment.budgets import DEFAULT_LATENCY, Budgets
from .assignment.choices import uniform_schemes
from .assignment.noise import build_noise
from .assignment.resources import build_resources
from .drafting import DEFAULT_EXTRA, Drafter
from .judgement import has_scheme
from .ladder import climb
from .loop import Loop
from .repair.material import Material
from .repair.ranges import PLAIN
from .request import has_slow_kernels
from .study import with_method
from .targets import schemes_on
from .targets.files import FileOps
from .trial import ERROR_SAMPLES, Court

CHEAP = ("equalization", "ranges", "bias_correction", "rounding")
"""Repairs that are always tried; distillation only where there is the time for it."""

DISTILLATION_S = 900.0
"""Seconds for one file's repairs from which distillation is among them: with less it barely starts."""

CLEARLY = 0.01
"""Share by which a held-back error must be lower to count as lower."""

Reporter = Callable[[str], Progress]


@dataclass(frozen=True)
class Case:
    """A quantized file, and what others can be made from.

    Attributes:
      material: The float network, its ranges and data; its plan is int8 everywhere on the target.
      sensitivity: Of the float network, on calibration samples, for the target's kind of weights.
      quantized: The file that was brought.
      target: Where it shall run.
      size_budget: Bytes that the hybrid plan may have; None for a little more than the file has.
      time_budget_s: For the repairs of each repaired file; None for no limit, and no distillation.
    """

    material: Material
    sensitivity: SensitivityTable
    quantized: Candidate
    target: Target
    size_budget: int | None = None
    time_budget_s: float | None = None

    @property
    def held_back(self) -> Samples:
        """What errors are compared on."""
        return self.material.held_back.take(min(ERROR_SAMPLES, len(self.material.held_back)))

    @property
    def largest_bytes(self) -> int:
        """What a file may have that is no larger than what there is."""
        return self.size_budget or int(len(self.quantized.flatbuffer) * (1 + DEFAULT_EXTRA))

    def uniform(self, scheme: str, floats: Sequence[int] = ()) -> Plan:
        """One scheme everywhere on the target, but for some ops in float."""
        plan, graph = self.material.plan, self.material.graph
        names = [found.name for found in uniform_schemes(graph, scheme, self.target)]
        names = ["float" if index in floats else name for index, name in enumerate(names)]
        return Plan.bare(graph, names, plan.io, strategy=scheme, per_channel=plan.per_channel)

    def file(self, plan: Plan) -> bytes:
        """A plan's file, from plain ranges."""
        material = self.material
        return convert(material.flatbuffer, material.graph, material.calibration, plan).model


@dataclass(frozen=True)
class OptionFile:
    """What was made of an option, before it is judged.

    Attributes:
      file: Empty where there is none.
      facts: As in `Option`.
      missing: Why there is none.
    """

    file: bytes
    facts: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class OptionMemory:
    """Where finished files are kept and found again; by default nowhere."""

    load: Callable[[str], OptionFile | None] = field(default=lambda _name: None)
    save: Callable[[str, OptionFile], None] = field(default=lambda _name, _made: None)


class _NotHere(Exception):
    """An option does not exist for this network or target; the message says why."""


def int8_plan(graph: Graph, target: Target, quantized: bytes) -> Plan:
    """Int8 everywhere on a target, its inputs and outputs of the kind that a quantized file has."""
    model = FileOps.read(quantized).graph
    dtype = model.tensors[model.inputs[0]].dtype
    io = {"int8": Format.INT8, "uint8": Format.INT8, "int16": Format.INT16}.get(dtype, Format.FLOAT)
    names = [scheme.name for scheme in uniform_schemes(graph, "w8a8", target)]
    return Plan.bare(graph, names, io, strategy="w8a8", per_channel=target.per_channel)


def make_files(
    case: Case, *, memory: OptionMemory | None = None, reporter: Reporter = lambda _title: lambda _done, _total: None
) -> dict[str, OptionFile]:
    """Makes the file of every option, in the order of `OPTIONS`; looks at calibration samples alone.

    Args:
      case: The file and what others are made from.
      memory: Where finished files are kept.
      reporter: Starts a line of progress.
    """
    memory, found = memory or OptionMemory(), {}
    for name in OPTIONS:
        made = memory.load(name)
        if made is None:
            made = _made(case, name, reporter)
            memory.save(name, made)
        found[name] = made
    return found


def _made(case: Case, name: str, reporter: Reporter) -> OptionFile:
    progress = reporter(f"Making the option: {OPTIONS[name]}")
    try:
        file, facts = _MAKERS[name](case, progress, reporter)
    except _NotHere as reason:
        return OptionFile(b"", missing=str(reason))
    except BitplanError as error:  # what cannot be made is a line of the table, and no end of an audit
        return OptionFile(b"", missing=error.problem)
    obstacle = "" if name == "leave" else FileOps.read(file).obstacle(case.target)
    if obstacle:
        return OptionFile(b"", missing=f"{case.target.name} cannot run it: {obstacle}")
    return OptionFile(file, facts)


_Maker = Callable[[Case, Progress, Reporter], tuple[bytes, tuple[str, ...]]]


def _leave(case: Case, _progress: Progress, _reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    return case.quantized.flatbuffer, ("the file as it was brought",)


def _recalibrate(case: Case, progress: Progress, _reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    """Int8 everywhere, the way to choose ranges being the one with the least error on held-back samples."""
    material = case.material
    files = {}
    for method in METHODS:
        calibration = with_method(material.graph, material.calibration, material.plan, method)
        files[method] = convert(material.flatbuffer, material.graph, calibration, material.plan).model
    judged = evaluate(
        material.flatbuffer, material.graph, [Candidate(name, file) for name, file in files.items()], case.held_back,
        seed=material.seed, workers=material.workers, progress=progress,
    )  # fmt: skip
    errors = {one.name: one.error.nmse for one in judged}
    best = min(errors, key=lambda name: errors[name])
    if errors[best] > (1 - CLEARLY) * errors[PLAIN]:
        best = PLAIN
    return files[best], (
        f"int8 everywhere from {material.calibration.samples} calibration samples",
        f"{best} ranges: held-back error {errors[best]:.3g}, {errors[PLAIN]:.3g} with the extremes, of {len(METHODS)} "
        "ways tried",
    )


def _repair(case: Case, _progress: Progress, reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    return _climbed(case, case.material.plan, reporter)


def _int4_repair(case: Case, _progress: Progress, reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    if not has_scheme(case.material.graph, "w4a8", case.target):
        raise _NotHere(f"{case.target.name} has no 4-bit weights for any op of this network")
    return _climbed(case, case.uniform("w4a8"), reporter)


def _climbed(case: Case, plan: Plan, reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    seconds = case.time_budget_s
    steps = REPAIRS if seconds is not None and seconds >= DISTILLATION_S else CHEAP
    found = climb(replace(case.material, plan=plan), steps=steps, time_budget_s=seconds, reporter=reporter)
    tried = [step for step in found.log.steps if not step.skipped]
    kept = ", ".join(found.log.kept).replace("_", " ") or "none"
    facts = [f"repairs kept: {kept}, of {len(tried)} tried; decided on {found.log.held_back} held-back samples"]
    late = [step.name.replace("_", " ") for step in found.log.steps if step.skipped == "the time was over"]
    if late:
        facts.append(f"not tried, for the time was over: {', '.join(late)}")
    return found.model, tuple(facts)


def _one_island(case: Case, _progress: Progress, _reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    return _islands(case, 1)


def _two_islands(case: Case, _progress: Progress, _reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    return _islands(case, 2)


def _islands(case: Case, count: int) -> tuple[bytes, tuple[str, ...]]:
    """Int8 everywhere but for the ops whose quantization costs most, as far as the target has float for them."""
    graph, gains = case.material.graph, _gains(case)
    ranked = sorted(gains, key=lambda op: (-gains[op], op))[:count]
    if len(ranked) < count:
        raise _NotHere(f"{case.target.name} has no float" if not gains else "there are no more ops to leave in float")
    layers = " and ".join(graph.ops[op].layer for op in ranked)
    return case.file(case.uniform("w8a8", ranked)), (f"{layers} in float, by what was measured on calibration samples",)


def _gains(case: Case) -> dict[int, float]:
    """What each op in float would win, by op index: measured with all others in int8, else its own sources' error."""
    table, graph, schemes = case.sensitivity, case.material.graph, case.material.plan.schemes
    allowed = [
        op for op in graph.ops
        if schemes[op.index].name == "w8a8" and "float" in schemes_on(case.target, op, graph)
    ]  # fmt: skip
    if table.left_float:
        measured = {entry.op: entry.gain for entry in table.left_float}
        return {op.index: measured[op.index] for op in allowed if op.index in measured}
    return {op.index: sum(table.layer_nmse(op, SCHEMES["w8a8"])) for op in allowed}


def _hybrid(case: Case, progress: Progress, _reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    """The planner's file within the size of the file that was brought, or within the budget."""
    material, target = case.material, case.target
    noise = build_noise(material.graph, case.sensitivity, per_channel=target.per_channel)
    costs = build_costs(material.graph, material.flatbuffer, per_channel=target.per_channel)
    # A tiny model is smaller in float than with all its scales. Nobody quantizes to hear that.
    in_float = case.largest_bytes < material.graph.file_bytes
    allowed = tuple(name for name in DEFAULT_ALLOWED if name != "float" or in_float)
    drafter = Drafter(
        material.flatbuffer, material.graph, material.calibration, noise, costs, target, allowed, material.plan.io
    )  # fmt: skip
    court = Court(
        material.flatbuffer, material.graph, material.held_back, True, seed=material.seed, workers=material.workers
    )  # fmt: skip
    resources = build_resources(material.graph, costs, target, material.plan.io)
    budgets = Budgets(case.largest_bytes)
    if has_slow_kernels(target):
        budgets = replace(budgets, latency=DEFAULT_LATENCY * resources.int8_latency)
    try:
        settled = Loop(drafter, court, progress).least_error(budgets)
    except ImpossibleBudget as error:
        if budgets.latency is None or error.limit not in ("latency", "file_bytes"):
            raise
        settled = Loop(drafter, court, progress).least_error(Budgets(case.largest_bytes))
    mix = Counter(scheme.name for scheme in settled.draft.plan.schemes)
    schemes = ", ".join(f"{mix[name]} {name}" for name in SCHEMES if mix[name])
    return settled.draft.conversion.model, (
        f"ops: {schemes}", f"the least predicted error within {case.largest_bytes} bytes"
    )  # fmt: skip


def _int16(case: Case, _progress: Progress, _reporter: Reporter) -> tuple[bytes, tuple[str, ...]]:
    if not has_scheme(case.material.graph, "w8a16", case.target):
        raise _NotHere(f"{case.target.name} has no 16-bit activations for any op of this network")
    return case.file(case.uniform("w8a16")), ("8-bit weights, 16-bit activations",)


_MAKERS: Mapping[str, _Maker] = {
    "leave": _leave,
    "recalibrate": _recalibrate,
    "repair": _repair,
    "one_island": _one_island,
    "two_islands": _two_islands,
    "hybrid": _hybrid,
    "int16": _int16,
    "int4_repair": _int4_repair,
}

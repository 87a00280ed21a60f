"""Where the file will run: what the target's own tool says of it, and how long it takes on this machine's CPU."""

from __future__ import annotations

from collections.abc import Mapping

from ..analyzer.schema import Opinion, Plan, Results
from . import amounts, numbers
from .cells import Cell, Column, OpinionPart, Row, Table

TIMES = {"latency_float_ms": "float", "latency_int8_ms": "int8 everywhere", "latency_plan_ms": "plan"}
"""Files by the keys of their times in `Provenance.measured`."""

_LITERT_CPU = "litert-cpu"


def opinion_part(results: Results) -> OpinionPart | None:
    """What the target's own tool says of the emitted file; None where none looked at it."""
    opinion = results.verification.opinion if results.verification else None
    if opinion is None:
        return None
    items = [*_agreement(opinion), *_left_to_the_cpu(opinion), *_figures(opinion.figures)]
    refusal = numbers.name(opinion.refusal, 400)
    return OpinionPart(numbers.name(opinion.source, 400), refusal, _memory(results, opinion), tuple(items))


def _memory(results: Results, opinion: Opinion) -> Table | None:
    """Flash and RAM, LiteRT's beside the tool's."""
    emitted = results.verification.find("plan") if results.verification else None
    if opinion.refusal:
        return None
    flash = "The file, or what it was compiled to: what is stored"
    columns = (
        Column("Of the emitted file"),
        Column("LiteRT on this host", amounts.arena_note(results.plan), True),
        Column(numbers.name(f"{opinion.tool} {opinion.version}"), numbers.name(opinion.setting, 400), True),
    )
    file_bytes, arena_bytes = (emitted.file_bytes, emitted.arena_bytes) if emitted else (None, None)
    rows = [
        Row((Cell("Flash", "Flash", flash), _bytes(file_bytes), _bytes(opinion.flash_bytes))),
        Row((Cell("RAM", "RAM"), _bytes(arena_bytes), _bytes(opinion.arena_bytes))),
    ]
    return Table("opinion", "What the target's own tool says", columns, tuple(rows))


def _bytes(value: int | None) -> Cell:
    return Cell("", None) if value is None else Cell(f"{numbers.count(value)} bytes", value)


def _agreement(opinion: Opinion) -> list[tuple[str, str]]:
    if opinion.agreement is None:
        return []
    share = numbers.percent(opinion.agreement, 1)
    return [("Same answer as LiteRT", f"{share} of {numbers.plural(opinion.samples, 'sample')}")]


def _left_to_the_cpu(opinion: Opinion) -> list[tuple[str, str]]:
    """Only an NPU's compiler leaves ops to the CPU."""
    if opinion.cpu_ops:
        return [("Left to the CPU", numbers.name(", ".join(opinion.cpu_ops), 400))]
    return [("Left to the CPU", "nothing")] if opinion.runtime == "vela" and not opinion.refusal else []


def _figures(figures: Mapping[str, float]) -> list[tuple[str, str]]:
    found = []
    for key, value in figures.items():
        is_size = key.endswith("_bytes")
        name = numbers.name(key.removesuffix("_bytes").replace("_", " "))
        text = f"{numbers.count(round(value))} bytes" if is_size else _number(value)
        found.append((name[:1].upper() + name[1:], text))
    return found


def _number(value: float) -> str:
    return numbers.count(round(value)) if float(value).is_integer() else numbers.significant(value)


def times_table(results: Results) -> Table | None:
    """Times on this machine's CPU; None where none were taken. They differ between equal runs."""
    measured = results.provenance.measured
    found = {name: measured[key] for key, name in TIMES.items() if key in measured}
    if not found:
        return None
    int8 = found.get("int8 everywhere")
    predicted = _predicted(results.plan)
    columns = [Column("File"), Column("Time", "Of one sample on this machine's CPU, one thread", True)]
    if int8:
        columns.append(Column("Against int8", "Times of int8 everywhere, on this machine's CPU", True))
    if predicted and "plan" in found:
        columns.append(Column("Predicted", "From the target's table", True))
    rows = []
    for name, value in found.items():
        cells = [Cell(name, name), Cell(f"{numbers.significant(value)} ms", value)]
        if int8:
            cells.append(Cell(f"{numbers.significant(value / int8)} {numbers.TIMES}", value / int8))
        if predicted and "plan" in found:
            cells.append(Cell(predicted if name == "plan" else ""))
        rows.append(Row(tuple(cells), role=name if name in ("float", "plan") else ""))
    return Table("times", "Time on this machine's CPU", tuple(columns), tuple(rows), (_not_the_device(results.plan),))


def _predicted(plan: Plan | None) -> str:
    """What the table of LiteRT's CPU, or one measured for it, says of the plan; another target's says nothing here."""
    if plan is None or plan.predicted_latency is None:
        return ""
    comparable = plan.latency_unit == amounts.MS or plan.target == _LITERT_CPU
    return amounts.latency(plan.predicted_latency, plan.latency_unit) if comparable else ""


def _not_the_device(plan: Plan | None) -> str:
    if plan is None or amounts.runs_litert(plan):
        return "One thread of this machine's CPU; another machine takes another time."
    return f"One thread of this machine's CPU: says nothing of {numbers.name(plan.target)}."

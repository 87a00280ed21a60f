"""The best plans for every amount of flash (or RAM, latency, bit operations), beside plans made in other ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..analyzer.schema import Frontier, FrontierPoint, Plan, Results, Rival, Round
from . import amounts, numbers
from .cells import Cell, Column, FrontierDot, FrontierPart, Row, Table

FAMILIES = ("greedy", "threshold", "by hand")
"""Ways to make the plans that stand beside a frontier."""

# Differences below the solver's own tolerance are no differences.
_TIE = 1e-3

_AXES = {
    "file_bytes": ("flash (file), MB", 1e6),
    "small files": ("flash (file), KiB", 1024.0),
    "arena_bytes": ("{arena}, KiB", 1024.0),
    "latency": ("{latency}", 1.0),
    "bops": ("bit operations, G", 1e9),
}
_NOUNS = {"file_bytes": "size", "arena_bytes": "arena", "latency": "latency", "bops": "number of bit operations"}


@dataclass(frozen=True)
class Placed:
    """A plan in the table and on the slider: whether it is the run's own, and whether it lies on the frontier."""

    point: FrontierPoint
    chosen: bool
    on_line: bool


def frontier_part(results: Results) -> FrontierPart | None:
    """Points, rivals, and what they show; None without a frontier."""
    frontier = results.planning.frontier if results.planning else None
    plan = results.plan
    if frontier is None or not frontier.points or plan is None:
        return None
    placed = frontier_plans(results)
    return FrontierPart(
        findings=_findings(frontier, plan),
        dots=_dots(frontier, placed, plan),
        axis=_axis(frontier, plan),
        table=_table(frontier, placed, plan),
        rivals=_rivals(frontier, plan),
    )


def frontier_plans(results: Results) -> tuple[Placed, ...]:
    """The frontier's points and the run's plan, by rising amount; empty without a frontier."""
    frontier = results.planning.frontier if results.planning else None
    if frontier is None or not frontier.points or results.plan is None:
        return ()
    return _placed(frontier, results.plan, _kept(results))


def plan_anchor(place: int) -> str:
    """Id of a plan's row in the frontier's table."""
    return f"frontier-{place}"


def _kept(results: Results) -> Round | None:
    trial = results.planning.trial if results.planning else None
    return next((tried for tried in trial.rounds if tried.kept), None) if trial else None


def _placed(frontier: Frontier, plan: Plan, kept: Round | None) -> tuple[Placed, ...]:
    """The points and the run's plan, by rising amount; one that is no point stands beside them."""
    schemes = tuple(a.scheme for a in plan.assignments)
    placed = [Placed(point, point.schemes == schemes, True) for point in frontier.points]
    if not any(one.chosen for one in placed) and plan.predicted_bytes > 0:
        own = FrontierPoint(
            schemes, plan.predicted_nmse, plan.predicted_bytes, plan.predicted_arena_bytes, plan.predicted_latency,
            plan.predicted_bops,
        )  # fmt: skip
        placed.append(Placed(own, True, False))
    placed = [replace(one, point=_tried(one.point, kept)) if one.chosen else one for one in placed]
    return tuple(sorted(placed, key=lambda one: (amount_of(one.point, frontier.along), -one.point.noise)))


def _tried(point: FrontierPoint, kept: Round | None) -> FrontierPoint:
    """With what the trial found of the plan, where the frontier did not convert it itself."""
    if kept is None or point.measured_nmse is not None:
        return point
    return replace(
        point, emitted_bytes=kept.file_bytes, emitted_arena_bytes=kept.arena_bytes, measured_nmse=kept.measured_nmse,
        drop_points=kept.drop_points,
    )  # fmt: skip


def amount_of(point: FrontierPoint, along: str) -> float:
    """How much a point has of what the frontier runs along."""
    value = getattr(point, along)
    return 0.0 if value is None else float(value)


def _scaled(frontier: Frontier) -> tuple[str, float]:
    """The axis' title and the unit that it counts in; small files are in KiB, as in the tables."""
    small = frontier.along == "file_bytes" and max(point.file_bytes for point in frontier.points) < numbers.SMALL_FILE
    return _AXES["small files" if small else frontier.along]


def _axis(frontier: Frontier, plan: Plan) -> str:
    arena = amounts.arena_label(plan)
    latency = "ms" if plan.latency_unit == amounts.MS else f"{amounts.latency_label(plan).lower()}, int8 everywhere = 1"
    return _scaled(frontier)[0].format(arena=arena, latency=latency)


# --- what it shows ---------------------------------------------------------------------------------------------------


def _findings(frontier: Frontier, plan: Plan) -> tuple[str, ...]:
    beside = [rival for rival in frontier.rivals if rival.frontier_noise is not None]
    noun = _NOUNS[frontier.along]
    first = (
        f"{numbers.plural(len(frontier.points), 'plan')}, each with the least predicted error for its {noun}; with more"
        " of it the error only falls."
    )
    greedy = [rival for rival in beside if _family(rival) == "greedy"]
    return tuple(
        s for s in (first, _against_greedy(greedy, frontier.along, plan), _dominance(beside, frontier.along, plan)) if s
    )


def _against_greedy(greedy: Sequence[Rival], along: str, plan: Plan) -> str:
    """Where and by how much the program beats greedy, or that it nowhere does."""
    if not greedy:
        return ""
    noun, all_of_them = _NOUNS[along], numbers.count(len(greedy))
    gains = {rival: _gain(rival) for rival in greedy}
    beaten = [rival for rival in greedy if gains[rival] > _TIE]
    if not beaten:
        at = f"the {noun} at which both were tried" if len(greedy) == 1 else f"{all_of_them} {noun}s"
        return f"The program nowhere beats greedy: at {at}, its plan predicts no less error."
    most = max(beaten, key=lambda rival: gains[rival])
    share = numbers.percent(gains[most])
    where = amounts.amount(along, most.amount, plan.latency_unit)
    how = f"{numbers.significant(most.frontier_noise or 0.0)} instead of {numbers.significant(most.noise)}"
    return (
        f"The program beats greedy at {numbers.count(len(beaten))} of {numbers.plural(len(greedy), noun)}: by most at"
        f" {where}, with {share} less predicted error ({how})."
    )


def _gain(rival: Rival) -> float:
    """Share of a rival's predicted error that the frontier does without."""
    assert rival.frontier_noise is not None
    return (rival.noise - rival.frontier_noise) / rival.noise if rival.noise > 0 else 0.0


def _dominance(rivals: Sequence[Rival], along: str, plan: Plan) -> str:
    noun = _NOUNS[along]
    if not rivals:
        return ""
    better = [rival for rival in rivals if (rival.frontier_noise or 0.0) > rival.noise * (1 + _TIE)]
    if better:
        names = ", ".join(_name(rival, along, plan) for rival in better)
        verb = "predicts" if len(better) == 1 else "predict"
        return f"It does NOT lie below every other plan: {names} {verb} less error at no larger {noun}."
    if len(rivals) == 1:
        return f"The one plan made in another way predicts no less error at its {noun}."
    return f"None of the {numbers.count(len(rivals))} plans made in other ways predicts less error at its {noun}."


# --- the chart -------------------------------------------------------------------------------------------------------


def _dots(frontier: Frontier, placed: Sequence[Placed], plan: Plan) -> tuple[FrontierDot, ...]:
    scale = _scaled(frontier)[1]
    dots = [
        FrontierDot(
            "the plan" if one.chosen else "",
            "plan" if one.chosen else "frontier",
            one.on_line,
            amount_of(one.point, frontier.along) / scale,
            one.point.noise,
            one.point.measured_nmse if one.point.measured_nmse else None,
            _note(one.point, plan),
            place,
        )
        for place, one in enumerate(placed)
        if one.point.noise > 0
    ]
    for rival in frontier.rivals:
        if rival.noise > 0:
            where = amounts.amount(frontier.along, rival.amount, plan.latency_unit)
            note = f"{where}; predicted error {numbers.significant(rival.noise)}"
            name = _name(rival, frontier.along, plan)
            dots.append(FrontierDot(name, _family(rival), False, rival.amount / scale, rival.noise, None, note))
    return tuple(dots)


def _note(point: FrontierPoint, plan: Plan) -> str:
    facts = [f"flash {amounts.file_size(point.file_bytes)}"]
    if point.arena_bytes is not None:
        facts.append(f"{amounts.arena_label(plan)} {numbers.kibibytes(point.arena_bytes)}")
    if point.latency is not None:
        facts.append(f"{amounts.latency_label(plan).lower()} {amounts.latency(point.latency, plan.latency_unit)}")
    facts.append(f"predicted error {numbers.significant(point.noise)}")
    if point.measured_nmse is not None:
        facts.append(f"measured {numbers.significant(point.measured_nmse)}")
    return "; ".join(facts)


def _family(rival: Rival) -> str:
    return next((name for name in FAMILIES if rival.name.startswith(name)), FAMILIES[-1])


def _name(rival: Rival, along: str, plan: Plan) -> str:
    """With the amount at which a strategy was tried in a unit: `greedy at 2.750 MB` for `greedy at 2750000`."""
    strategy, _, asked = rival.name.partition(" at ")
    try:
        return f"{strategy} at {amounts.amount(along, float(asked), plan.latency_unit)}"
    except ValueError:
        return numbers.name(rival.name)


# --- the tables ------------------------------------------------------------------------------------------------------


def _table(frontier: Frontier, placed: Sequence[Placed], plan: Plan) -> Table:
    points = [one.point for one in placed]
    has_latency = any(point.latency is not None for point in points)
    has_bops = frontier.along == "bops"
    measured = any(point.measured_nmse is not None for point in points)
    drops = any(point.drop_points is not None for point in points)
    columns = [
        Column("Plan", "By rising amount"),
        Column(amounts.FLASH, "Predicted size of the file", True),
        Column(amounts.arena_label(plan), f"Predicted. {amounts.arena_note(plan)}", True),
        *([Column(amounts.latency_label(plan), amounts.latency_note(plan), True)] if has_latency else []),
        *([Column("Bit operations", "Of one sample", True)] if has_bops else []),
        Column("Predicted error", "nmse at the output", True),
        *([Column("Measured error", "Of the emitted file, on the samples of the trial", True)] if measured else []),
        *([Column("Drop, points", "Against float on the samples of the trial; 95 % interval", True)] if drops else []),
        Column("Ops by scheme"),
    ]  # fmt: skip
    rows = []
    for number, one in enumerate(placed, 1):
        point = one.point
        aside = "the plan" if one.on_line else "the plan, beside the frontier"
        cells = [
            Cell(str(number), number, detail=aside if one.chosen else "", href=f"#{plan_anchor(number - 1)}"),
            _size(amounts.file_size(point.file_bytes), point.file_bytes, point.emitted_bytes),
            _size(
                "" if point.arena_bytes is None else numbers.kibibytes(point.arena_bytes),
                point.arena_bytes,
                point.emitted_arena_bytes,
            ),
            *([_optional("latency", point.latency, plan)] if has_latency else []),
            *([_optional("bops", point.bops, plan)] if has_bops else []),
            Cell(numbers.significant(point.noise), point.noise),
            *([_optional("noise", point.measured_nmse, plan)] if measured else []),
            *([_drop(point)] if drops else []),
            Cell(amounts.mix(point.schemes), amounts.mix(point.schemes)),
        ]
        rows.append(Row(tuple(cells), plan_anchor(number - 1), "plan" if one.chosen else ""))
    notes = ["Each plan is the best for its amount; only those with a measured error were converted."]
    if any(point.noise <= 0 for point in points):
        notes.append(
            "A plan without any predicted error is in this table alone: a logarithmic scale has no place for 0."
        )
    caption = f"The frontier: predicted error against {_NOUNS[frontier.along]}"
    return Table("frontier", caption, tuple(columns), tuple(rows), tuple(notes))


def _size(text: str, predicted: int | None, emitted: int | None) -> Cell:
    note = "" if predicted is None else f"{numbers.count(predicted)} bytes"
    return Cell(text, predicted, note, "" if emitted is None else f"file: {numbers.count(emitted)} bytes")


def _optional(of: str, value: float | None, plan: Plan) -> Cell:
    return Cell("", None) if value is None else Cell(amounts.amount(of, value, plan.latency_unit), value)


def _drop(point: FrontierPoint) -> Cell:
    drop = point.drop_points
    return Cell("", None) if drop is None else Cell(numbers.interval(drop), drop.value)


def _rivals(frontier: Frontier, plan: Plan) -> Table | None:
    if not frontier.rivals:
        return None
    unit, along = plan.latency_unit, frontier.along
    rows = []
    for rival in frontier.rivals:
        at, error = rival.frontier_amount, rival.frontier_noise
        cells = (
            Cell(_name(rival, along, plan), rival.name),
            Cell(amounts.amount(along, rival.amount, unit), rival.amount),
            Cell(numbers.significant(rival.noise), rival.noise),
            Cell("", None) if at is None else Cell(amounts.amount(along, at, unit), at),
            Cell("", None) if error is None else Cell(numbers.significant(error), error),
            Cell(_times(rival), rival.noise / error if error else None),
        )
        rows.append(Row(cells))
    head = amounts.title(along, plan)
    columns = (
        Column("Plan"),
        Column(head, "Predicted", True),
        Column("Predicted error", "nmse at the output", True),
        Column(f"Best plan: {head[:1].lower()}{head[1:]}", "Of the frontier's best plan that uses no more", True),
        Column("Best plan: predicted error", "Of the frontier's best plan that uses no more", True),
        Column("Error against it", "This plan's predicted error, of that one's", True),
    )
    return Table("rivals", "Plans made in other ways", columns, tuple(rows))


def _times(rival: Rival) -> str:
    error = rival.frontier_noise
    if error is None:
        return "smaller than all"
    if rival.noise == error:
        return "the same"
    return "not comparable" if error <= 0 else f"{numbers.significant(rival.noise / error)} {numbers.TIMES}"

"""The budget slider: for each budget the best plan there is, with everything that is shown of it worked out before."""

from __future__ import annotations

from collections.abc import Sequence

from ..analyzer.schema import SCHEMES, Plan, Results
from . import amounts, numbers
from .frontier import Placed, amount_of, frontier_plans
from .network import borders
from .panel_cells import BudgetPart, Stop


def budget_part(results: Results) -> BudgetPart | None:
    """One stop a plan, by rising amount; None where there are fewer than two to choose from."""
    frontier = results.planning.frontier if results.planning else None
    plan = results.plan
    placed = frontier_plans(results)
    every = len(results.graph.ops)
    if frontier is None or plan is None or len(placed) < 2 or any(len(one.point.schemes) != every for one in placed):
        return None
    schemes = tuple(a.scheme for a in plan.assignments)
    stops = []
    for place, one in enumerate(placed):
        stops.append(
            Stop(
                title=_title(place, placed, frontier.along, plan),
                facts=_facts(one, plan),
                schemes=one.point.schemes,
                borders=borders(results.graph, one.point.schemes, plan.io),
                changed=_changed(one, schemes),
            )
        )
    own = next((place for place, one in enumerate(placed) if one.chosen), 0)
    return BudgetPart(amounts.title(frontier.along, plan), tuple(stops), own)


def _title(place: int, placed: Sequence[Placed], along: str, plan: Plan) -> str:
    one = placed[place]
    amount = amounts.amount(along, amount_of(one.point, along), plan.latency_unit)
    number = f"plan {place + 1} of {len(placed)}"
    if not one.on_line:
        return f"{amount}: {number}, which is the plan of this run, beside the frontier"
    later = next((other for other in placed[place + 1 :] if other.on_line), None)
    next_amount = "" if later is None else amounts.amount(along, amount_of(later.point, along), plan.latency_unit)
    # Neighbours may be so close that they are written alike.
    until = "" if next_amount == amount else f" to less than {next_amount}" if next_amount else " or more"
    return f"{amount}{until}: {number}{', which is the plan of this run' if one.chosen else ''}"


def _facts(one: Placed, plan: Plan) -> tuple[tuple[str, str], ...]:
    point = one.point
    facts = [(amounts.FLASH, f"{amounts.file_size(point.file_bytes)}, predicted")]
    if point.emitted_bytes is not None:
        facts[0] = (amounts.FLASH, f"{numbers.count(point.emitted_bytes)} bytes, of the emitted file")
    if point.emitted_arena_bytes is not None:
        facts.append(
            (amounts.arena_label(plan), f"{numbers.kibibytes(point.emitted_arena_bytes)}, of the emitted file")
        )
    elif point.arena_bytes is not None:
        facts.append((amounts.arena_label(plan), f"{numbers.kibibytes(point.arena_bytes)}, predicted"))
    if point.latency is not None:
        facts.append((amounts.latency_label(plan), f"{amounts.latency(point.latency, plan.latency_unit)}, predicted"))
    facts.append(("Output error (nmse)", f"{numbers.significant(point.noise)}, predicted"))
    if point.measured_nmse is not None:
        facts.append(("Output error (nmse)", f"{numbers.significant(point.measured_nmse)}, measured in the trial"))
    if point.drop_points is not None:
        facts.append(("Drop, points", f"{numbers.interval(point.drop_points)}, measured in the trial"))
    facts.append(("Ops by scheme", amounts.mix(point.schemes)))
    return tuple(facts)


def _changed(one: Placed, own: Sequence[str]) -> str:
    if one.chosen:
        return "This is the run's own plan."
    differing = sum(scheme != other for scheme, other in zip(one.point.schemes, own, strict=False))
    return (
        f"{numbers.plural(differing, 'op')} of {len(own)} {'has' if differing == 1 else 'have'} another scheme than"
        " in the run's own plan; they are framed."
    )


def block(part: BudgetPart) -> dict[str, object]:
    """The stops as the page carries them: one letter an op, its scheme's place in `SCHEMES`, large at a border."""
    letters = {name: chr(ord("a") + place) for place, name in enumerate(SCHEMES)}
    return {
        "own": part.own,
        "schemes": {letters[name]: name for name in SCHEMES},
        "stops": [
            {
                "title": stop.title,
                "facts": [list(fact) for fact in stop.facts],
                "changed": stop.changed,
                "ops": "".join(
                    letters[name].upper() if border else letters[name]
                    for name, border in zip(stop.schemes, stop.borders, strict=True)
                ),
            }
            for stop in part.stops
        ],
    }

"""The loop with the truth, on networks whose true error is a formula."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from bitplan.analyzer.conversion.converter import Conversion
from bitplan.analyzer.conversion.verification import Comparison
from bitplan.analyzer.errors import ImpossibleBudget
from bitplan.analyzer.measures.statistics import paired_bootstrap
from bitplan.analyzer.schema import DEFAULT_ALLOWED, Format, OutputError, Plan
from bitplan.strategies.assignment.budgets import Budgets
from bitplan.strategies.assignment.noise import build_noise, evaluate_noise
from bitplan.strategies.drafting import Draft, Drafter
from bitplan.strategies.loop import TOLERATED, Loop
from bitplan.strategies.trial import Court, Outcome, spread

from .small_problems import ANY, CONV, chain, costs, table

GRAPH = chain(*[("CONV_2D", CONV)] * 4)
WEIGHTS_ONLY = table(
    GRAPH,
    **{f"activation_{op}_a8": 0.0 for op in range(4)}, **{f"activation_{op}_a16": 0.0 for op in range(4)},
    input_0_a8=0.0, input_0_a16=0.0,
)  # fmt: skip


class FormulaDrafter(Drafter):
    """Its files are the names of their schemes."""

    def made_from(self, plan: Plan) -> Draft:
        names = ",".join(a.scheme for a in plan.assignments)
        return Draft(plan, Conversion(names.encode().ljust(plan.predicted_bytes), (), {}, (), b""), arena_bytes=64)


@dataclass(frozen=True)
class FormulaCourt(Court):
    """Knows the true weight error of (op, scheme) where it is not the measured one, and the drop from the error."""

    truth: dict[tuple[int, str], float] = field(default_factory=dict)
    spread: float = 0.0
    asked: list[str] = field(default_factory=list)

    def judge(self, draft: Draft) -> Outcome:
        nmse = self.nmse(draft, 0)
        drops = np.full(400, 1000 * nmse) + self.spread * (-1.0) ** np.arange(400)
        drops[0] += 1e-9
        error = OutputError(nmse, nmse, 0.0, 400)
        return Outcome(nmse, paired_bootstrap(drops, unit=100.0), Comparison(error, drops, "expected accuracy"))

    def nmse(self, draft: Draft, count: int) -> float:
        names = draft.conversion.model.decode().strip().split(",")
        self.asked.append(",".join(names))
        noise = build_noise(GRAPH, WEIGHTS_ONLY)
        noise = replace(noise, weights={**noise.weights, **self.truth})
        return evaluate_noise(GRAPH, noise, Plan.bare(GRAPH, names).schemes, Format.FLOAT)

    def samples_for(self, plan: Plan) -> int:
        return 400

    def error_samples_for(self, plan: Plan) -> int:
        return 400


def loop_of(truth=None, *, spread=0.0, allowed=("w4a8", "w8a8")) -> tuple[Loop, FormulaCourt]:
    drafter = FormulaDrafter(b"", GRAPH, None, build_noise(GRAPH, WEIGHTS_ONLY), costs(GRAPH), ANY, allowed)
    court = FormulaCourt(b"", GRAPH, None, True, truth=truth or {}, spread=spread)
    return Loop(drafter, court), court


def bytes_of(*names: str) -> int:
    return costs(GRAPH).total(Plan.bare(GRAPH, names).schemes, Format.FLOAT)


def test_a_prediction_that_holds_is_left_alone() -> None:
    loop, court = loop_of()
    settled = loop.least_error(Budgets(file_bytes=bytes_of("w4a8", "w8a8", "w8a8", "w8a8")))
    assert len(settled.trial.rounds) == len(court.asked) == 1
    assert settled.trial.rounds[0].kept
    assert settled.trial.rounds[0].off < 1e-9


def test_a_term_that_was_wrong_is_measured_in_place_and_planned_around() -> None:
    # Op 0 is the first choice for 4 bits where all are predicted to be alike; in truth it is the worst by far.
    truth = {(0, "w4a8"): 0.5}
    budgets = Budgets(file_bytes=bytes_of("w4a8", "w8a8", "w8a8", "w8a8"))
    first = loop_of()[0].least_error(budgets).draft.plan
    worst = next(op for op, a in enumerate(first.assignments) if a.scheme == "w4a8")
    truth = {(worst, "w4a8"): 0.5}
    settled = loop_of(truth)[0].least_error(budgets)
    one, two = settled.trial.rounds
    assert (one.kept, two.kept) == (False, True)
    assert one.off > TOLERATED > two.off
    assert one.remeasured[0].op == GRAPH.ops[worst].key
    assert one.remeasured[0].measured == pytest.approx(0.5)
    assert settled.draft.plan.assignments[worst].scheme == "w8a8"
    assert settled.draft.plan.predicted_nmse == pytest.approx(two.measured_nmse)
    assert sum(a.predicted_nmse for a in settled.draft.plan.assignments) == pytest.approx(two.measured_nmse)


def test_of_plans_that_all_miss_the_best_measured_one_is_kept() -> None:
    truth = {(op, "w4a8"): 0.1 + op for op in range(4)}
    settled = loop_of(truth)[0].least_error(Budgets(file_bytes=bytes_of("w4a8", "w8a8", "w8a8", "w8a8")))
    kept = next(r for r in settled.trial.rounds if r.kept)
    assert kept.measured_nmse == min(r.measured_nmse for r in settled.trial.rounds)
    # Every 4-bit op was tried in turn, so that the best of all plans was found.
    assert settled.draft.plan.assignments[0].scheme == "w4a8"


def test_where_there_is_no_choice_nothing_is_measured_again() -> None:
    loop, court = loop_of({(0, "w8a8"): 0.5}, allowed=("w8a8",))
    settled = loop.least_error(Budgets())
    assert len(court.asked) == len(settled.trial.rounds) == 1
    assert settled.trial.rounds[0].off > TOLERATED


@pytest.mark.parametrize("limit", [1.0, 2.0, 5.0, 15.0, 25.0, 35.0, 50.0])
def test_the_smallest_file_whose_drop_holds_is_found(limit: float) -> None:
    loop, _ = loop_of()
    settled = loop.least("file_bytes", Budgets(), limit)
    drops = {}
    noise = build_noise(GRAPH, WEIGHTS_ONLY)
    for names in itertools.product(("w4a8", "w8a8"), repeat=4):
        error = evaluate_noise(GRAPH, noise, Plan.bare(GRAPH, names).schemes, Format.FLOAT)
        drops[bytes_of(*names)] = min(drops.get(bytes_of(*names), np.inf), 1000 * error)
    smallest = min(size for size, drop in drops.items() if drop < limit)
    assert settled.draft.plan.predicted_bytes == smallest
    assert settled.trial.answer == "holds"
    assert settled.trial.advice == ()


def test_a_drop_that_cannot_be_had_fails_and_says_what_would_help() -> None:
    settled = loop_of()[0].least("file_bytes", Budgets(), 0.01)
    assert settled.trial.answer == "fails"
    assert {a.scheme for a in settled.draft.plan.assignments} == {"w8a8"}  # the best there is
    assert any("repair" in line for line in settled.trial.advice)
    assert not any("images" in line for line in settled.trial.advice)


def test_too_few_samples_to_tell_is_neither_good_nor_bad() -> None:
    settled = loop_of(spread=20.0)[0].least("file_bytes", Budgets(), 1.0)
    assert settled.trial.answer == "undecided"
    needed = next(line for line in settled.trial.advice if "images" in line)
    assert "400 were used" in needed


def test_a_limit_beside_the_drop_is_kept() -> None:
    size = bytes_of("w4a8", "w4a8", "w4a8", "w8a8")
    settled = loop_of()[0].least("bops", Budgets(file_bytes=size), 100.0)
    assert settled.draft.file_bytes <= size
    with pytest.raises(ImpossibleBudget):
        loop_of()[0].least("bops", Budgets(file_bytes=100), 100.0)


def test_default_schemes_hold_too() -> None:
    settled = loop_of(allowed=DEFAULT_ALLOWED)[0].least("file_bytes", Budgets(), 3.0)
    assert settled.trial.answer == "holds"
    assert settled.trial.rounds[-1].measured_nmse <= 3e-3 or not settled.trial.rounds[-1].kept


@pytest.mark.parametrize(("count", "of", "found"), [(1, 5, [2]), (2, 5, [0, 4]), (3, 5, [0, 2, 4]), (9, 3, [0, 1, 2])])
def test_points_are_spread_from_end_to_end(count: int, of: int, found: list[int]) -> None:
    assert spread(count, range(of)) == found

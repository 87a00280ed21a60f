"""Two plans op by op."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bitplan.analyzer.errors import UsageError
from bitplan.strategies.comparison import diff_plans

from .small_problems import BORDER_BYTES, CONV, PLAIN, THREE, WEIGHT_BYTES, chain, plan, table

INT8 = 500 + 3 * WEIGHT_BYTES + 2 * BORDER_BYTES


def test_a_difference_is_that_of_the_wholes_and_of_each_op() -> None:
    before, after = plan(THREE, table(THREE), INT8), plan(THREE, table(THREE), INT8 + 1000)
    diff = diff_plans(before, after)
    assert diff.same_network
    assert [(op.before, op.after) for op in diff.ops] == [
        (a.scheme, b.scheme) for a, b in zip(before.assignments, after.assignments, strict=True)
    ]
    assert diff.changes and all(op.before != op.after for op in diff.changes)
    assert diff.bytes_change == after.predicted_bytes - before.predicted_bytes
    assert sum(op.bytes_change for op in diff.ops) == pytest.approx(diff.bytes_change, abs=2 * BORDER_BYTES)
    assert sum(op.noise_change for op in diff.ops) == pytest.approx(diff.noise_change)
    assert diff.arena_change == after.predicted_arena_bytes - before.predicted_arena_bytes
    assert diff.latency_change == pytest.approx(after.predicted_latency - before.predicted_latency)


def test_a_plan_does_not_differ_from_itself() -> None:
    once = plan(THREE, table(THREE), INT8)
    diff = diff_plans(once, once)
    assert (diff.changes, diff.noise_change, diff.bytes_change, diff.arena_change, diff.latency_change) == (
        (),
        0,
        0,
        0,
        0,
    )


def test_plans_of_a_network_and_of_the_same_trained_again_compare() -> None:
    again = replace(
        THREE,
        digest="trained again",
        tensors=tuple(replace(t, name=f"again/{t.name}") for t in THREE.tensors),
        ops=tuple(replace(op, layer=f"again/{op.layer}") for op in THREE.ops),
    )
    first = plan(THREE, table(THREE), INT8 + 1000)
    second = plan(again, table(again, weights_1_w8=0.5), INT8 + 1000)
    diff = diff_plans(first, second)
    assert not diff.same_network
    assert [op.layer for op in diff.ops] == ["again/l0", "again/l1", "again/l2"]
    assert [op.layer for op in diff_plans(second, first).ops] == ["l0", "l1", "l2"], "labels are the later plan's"
    worst = max(diff.ops, key=lambda op: abs(op.noise_change))
    assert diff.noise_change == pytest.approx(second.predicted_nmse - first.predicted_nmse)
    assert worst.op == THREE.ops[1].key or second.assignments[1].scheme.startswith(("w16", "float"))


def test_figures_that_only_one_plan_has_are_not_compared() -> None:
    once = plan(THREE, table(THREE), INT8)
    diff = diff_plans(once, replace(once, predicted_arena_bytes=None, target="litert-cpu"))
    assert (diff.arena_change, diff.latency_change) == (None, None), "times on two targets are of two kinds"


def test_plans_of_other_structures_are_refused_by_their_first_other_op() -> None:
    once = plan(THREE, table(THREE), INT8)
    for other, problem in (
        (chain(("CONV_2D", CONV), ("ADD", PLAIN), ("CONV_2D", CONV)), "first 1:DEPTHWISE_CONV_2D and 1:ADD"),
        (chain(("CONV_2D", CONV)), "3 and 1 ops"),
    ):
        with pytest.raises(UsageError, match=problem):
            diff_plans(once, plan(other, table(other), None))

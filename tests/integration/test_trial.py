"""From a run to a plan that holds: held back data, drops, targets, the frontier; on real files of the demo network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bitplan.analyzer.conversion.verification import Reference
from bitplan.analyzer.errors import EXIT_OK, UsageError
from bitplan.analyzer.network import runtime
from bitplan.checking import answer_code
from bitplan.run_data import calibration_samples, evaluation_samples, held_back_samples
from conftest_data import DEMO, demo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory):
    import bitplan as bp

    data = DEMO / "data.npz"
    return bp.analyze(
        DEMO / "fashion_mobilenet.tflite", f"{data}:x_calibration", evaluation=f"{data}:x_calibration,y_calibration",
        calibration_samples=16, scale="tf", left_float=False, sensitivity="linear", compare_data=False,
    )  # fmt: skip


def probabilities(data: bytes, samples) -> np.ndarray:
    runner = runtime.Runner(data)
    return np.stack([runtime.run_one(runner, samples[i])[0].reshape(-1) for i in range(len(samples))])


def test_held_back_samples_are_nobody_elses(analyzed) -> None:
    assert held_back_samples(analyzed, 64) is None  # all of them judge, too
    free = replace(analyzed, inputs=replace(analyzed.inputs, options=replace(analyzed.inputs.options, evaluation=None)))
    held = held_back_samples(free, 64)
    used = set(calibration_samples(free).hashes)
    assert len(held) == 64
    assert used.isdisjoint(held.hashes)
    assert set(held.hashes) < set(evaluation_samples(analyzed).hashes)
    assert list(held.hashes) == sorted(held.hashes)


def test_held_back_samples_of_a_python_object() -> None:
    import bitplan as bp

    data, images, _ = demo()
    x = images[:40].astype(np.float32) / 127.5 - 1
    run = bp.prepare(data, x, calibration_samples=16)
    held = held_back_samples(run, 100)
    assert len(held) == 24
    assert {held[i][0].tobytes() for i in range(24)} == {row[None].tobytes() for row in x[16:]}
    assert held_back_samples(bp.prepare(data, x, calibration_samples=40), 100) is None
    assert held_back_samples(bp.prepare(data), 100) is None


def test_a_drop_is_what_the_answers_say(analyzed) -> None:
    samples = evaluation_samples(analyzed)
    int4 = analyzed.plan("none", allow=("w4a8", "w8a8"), strategy="uniform", latency_budget="none").convert().model
    before, after = probabilities(analyzed.flatbuffer, samples), probabilities(int4, samples)
    labelled = Reference(analyzed.flatbuffer, analyzed.graph, samples).compare(int4)
    right = (before.argmax(1) == samples.labels).astype(float) - (after.argmax(1) == samples.labels)
    assert labelled.drop_of == "accuracy"
    np.testing.assert_array_equal(labelled.drops, 100 * right)
    unlabelled = Reference(analyzed.flatbuffer, analyzed.graph, replace(samples, labels=None)).compare(int4)
    rows = np.arange(len(samples))
    expected = 100 * (before[rows, before.argmax(1)] - before[rows, after.argmax(1)])
    assert unlabelled.drop_of == "expected accuracy"
    np.testing.assert_allclose(unlabelled.drops, expected, atol=1e-3)
    assert unlabelled.drops.min() == 0 < unlabelled.drops.max()
    assert labelled.error.nmse == unlabelled.error.nmse > 0


def test_the_smallest_file_with_a_drop_that_holds(analyzed) -> None:
    from bitplan.analyzer.conversion.verification import Reference as Judge

    run = analyzed.plan(max_drop="20pt", allow=("w4a8", "w8a8"))
    trial = run.planning.trial
    assert not trial.held_back
    assert trial.answer == "holds"
    kept = next(r for r in trial.rounds if r.kept)
    assert kept.drop_points.high <= 20
    assert kept.file_bytes == len(run.model) == min(r.file_bytes for r in trial.rounds if r.drop_points.high <= 20)
    samples = calibration_samples(analyzed)
    again = Judge(analyzed.flatbuffer, analyzed.graph, samples).compare(run.model)
    assert again.error.nmse == kept.measured_nmse
    assert run.convert().verify().planning.trial == trial
    assert answer_code(run) == EXIT_OK


@pytest.fixture(scope="module")
def measured():
    """With the figures of single readers, which 16-bit schemes need."""
    import bitplan as bp

    calibration = f"{DEMO / 'data.npz'}:x_calibration"
    return bp.analyze(
        DEMO / "fashion_mobilenet.tflite", calibration, calibration_samples=4, scale="tf", left_float=False
    )


def test_integer_only_targets_get_no_float_and_their_arena_is_as_predicted(measured) -> None:
    for target in ("ethos-u55", "coral"):
        run = measured.plan("330KB", target=target, io="int8").convert()
        assert "float" not in {a.scheme for a in run.plan_.assignments}
        assert run.plan_.target == run.target.name == target
        assert runtime.arena_bytes(run.model) == pytest.approx(run.plan_.predicted_arena_bytes, rel=0.05)
    assert {a.scheme for a in run.plan_.assignments} <= {"w8a8", "w16a8"}


def test_an_arena_budget_holds_for_the_emitted_file(measured) -> None:
    allow = ("w8a8", "w8a16", "float")
    wide = measured.plan("330KB", latency_budget="none", allow=allow).convert()
    tight = measured.plan("330KB", latency_budget="none", allow=allow, arena_budget="60KB").convert()
    assert runtime.arena_bytes(tight.model) <= 60_000 < runtime.arena_bytes(wide.model)
    assert tight.plan_.predicted_nmse > wide.plan_.predicted_nmse


def test_the_frontier_is_measured_where_asked(analyzed) -> None:
    run = analyzed.plan("none", allow=("w4a8", "w8a8"), latency_budget="none", pareto="size", verify_points=2)
    frontier = run.planning.frontier
    sizes, errors = [p.file_bytes for p in frontier.points], [p.noise for p in frontier.points]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    measured = [p for p in frontier.points if p.measured_nmse is not None]
    assert measured == [frontier.points[0], frontier.points[-1]]
    assert all(abs(p.emitted_bytes - p.file_bytes) <= max(512, 0.002 * p.emitted_bytes) for p in measured)
    assert {r.name for r in frontier.rivals} >= {"int8 everywhere", "int4 everywhere"}


def test_a_network_without_classes_has_no_accuracy_to_lose(analyzed) -> None:
    run = replace(analyzed, graph=replace(analyzed.graph, is_classifier=False))
    with pytest.raises(UsageError, match="no classes"):
        run.plan(max_drop="1pt")


def test_a_plan_folder_opens_with_all_that_was_said_of_it(analyzed, tmp_path) -> None:
    import bitplan as bp

    run = analyzed.plan("none", allow=("w8a8",), target="any")
    run.save(tmp_path / "run")
    again = bp.open_run(tmp_path / "run")
    assert again.planning == run.planning
    assert again.target == run.target
    assert len(again.planning.reasons) == len(run.graph.ops)

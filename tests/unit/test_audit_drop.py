"""What an audit and a check say of a drop, from figures alone."""

from __future__ import annotations

import dataclasses

import bitplan as bp
import numpy as np
import pytest
from bitplan.analyzer.errors import RunFolderError, UsageError
from bitplan.analyzer.measures.statistics import mcnemar_exact, paired_bootstrap, pairs_needed
from bitplan.analyzer.runs import RunFolder
from bitplan.analyzer.schema import (
    TESTED,
    Attribution,
    Audit,
    AuditCause,
    Cause,
    ClassDrop,
    DeviceDifference,
    DeviceJudgement,
    Drop,
    Evaluation,
    FileCoverage,
    Flip,
    Flips,
    Interval,
    OutputError,
    OutputGap,
    SetMetric,
)
from bitplan.reports.audit import audit_table, audit_verdict, render_audit
from bitplan.reports.causes import cause_sentences


def audit_of(worse, better, right, samples, drop=None, drop_of="accuracy", size=100_000):
    """An audit of `samples` images of which float gets `right`, and only one of the two gets `worse` and `better`."""
    differences = np.array([100.0] * worse + [-100.0] * better + [0.0] * (samples - worse - better))
    accuracy = (right - worse + better) / samples
    evaluation = Evaluation(
        "quantized", size, 1000, "xnnpack", OutputError(0.01, 0.001, 20.0, samples, agreement=0.95, accuracy=accuracy),
        paired_bootstrap(differences, unit=100.0), drop_of, mcnemar_exact(worse, better), (worse, better), False,
        right / samples,
    )  # fmt: skip
    return Audit((), evaluation, 400_000, size, {"int8": 9}, 5, 5, (), 0.0, 0.01, 64, False, drop=drop)


def test_76_point_5_against_77_point_2_on_1000_images_is_no_finding():
    needed = pairs_needed(27, 20, 1000, 0.0)
    found = audit_of(27, 20, 772, 1000, Drop(samples_needed=needed))
    text = audit_verdict(found)
    assert "shows no significant loss: 0.70 ± 1.3" in text
    assert "76.50 % against 77.20 %" in text and "p = 0.38" in text
    # (1.96 + 0.84)^2 (0.047 - 0.007^2) / 0.007^2 = 7512 by the normal approximation; two digits are shown, rounded up.
    assert needed == pytest.approx(7512, rel=0.01)
    assert "about 7600 samples" in text
    page = render_audit(found, "net")
    assert "No drop that these samples can show" in page and "A real drop" not in page


def test_the_same_drop_on_fifty_times_the_images_is_a_finding():
    text = audit_verdict(audit_of(27 * 50, 20 * 50, 772 * 50, 50_000))
    assert "loses 0.70" in text and "no significant" not in text


def test_the_verdict_says_how_much_of_the_network_it_covers():
    found = audit_of(27, 20, 772, 1000)
    assert audit_verdict(found).endswith("The verdict covers all 5 ops of the float network.")
    fewer = dataclasses.replace(found, matched_ops=3, unmatched=("1:CONV_2D:1", "2:CONV_2D:1"))
    assert "covers 3 of 5 ops of the float network; what is in the others is not explained" in audit_verdict(fewer)
    coverage = FileCoverage(3, 5, 30, 40, {"names": 3}, 0, ())
    parts = Attribution(0.1, 0.01, 0.1, (), (), (), (), coverage, 8)
    assert "of the float network, with 75 % of its" in audit_verdict(dataclasses.replace(fewer, attribution=parts))


def class_drop(label, name, drop, p):
    return ClassDrop(label, name, 100, 0.8, 0.8 - drop / 100, Interval(drop, drop - 5, drop + 5), p)


def test_a_class_is_blamed_only_where_its_corrected_test_says_so():
    quiet = Drop(classes=(class_drop(3, "cat", 4.0, 0.6), class_drop(1, "", 0.0, 1.0)))
    assert "No class by itself shows a loss" in audit_verdict(audit_of(27, 20, 772, 1000, quiet))
    loud = Drop(classes=(class_drop(1, "", 30.0, 0.2), class_drop(3, "cat", 12.0, 0.001)))
    text = audit_verdict(audit_of(90, 20, 772, 1000, loud))
    assert "Most is lost in cat (3): 12.00 ± 5.00 points (p = 0.0010, corrected for 2 classes)" in text


def test_a_set_metric_says_whether_its_loss_is_real():
    def text(low, high):
        value = Interval(0.6, 0.5, 0.7)
        metric = SetMetric("m:ap", value, value, Interval((low + high) / 2, low, high), 50, 1000, 0)
        return audit_verdict(audit_of(1, 0, 40, 50, Drop(set_metric=metric)))

    assert "By m:ap it loses 0.0200 ± 0.0100." in text(0.01, 0.03)
    assert "By m:ap it shows no significant loss: 0.0100 ± 0.0200." in text(-0.01, 0.03)
    assert "By m:ap it gains 0.0200 ± 0.0100." in text(-0.03, -0.01)


def gap(found, reference, nmse, equal=0, steps=None):
    return OutputGap(found, reference, 40, nmse, nmse, equal, steps)


@pytest.mark.parametrize(
    ("conversion", "quantization", "word"),
    [
        (0.5, 0.01, "the error is the conversion's."),
        (0.001, 0.01, "the error is the quantization's."),
        (0.01, 0.012, "in the quantization."),
    ],
)
def test_conversion_and_quantization_are_told_apart(conversion, quantization, word):
    parts = (gap("float file", "framework", conversion), gap("q", "float file", quantization), gap("q", "f", 0.5))
    assert word in audit_verdict(audit_of(1, 0, 40, 50, Drop(conversion=parts)))


def test_a_device_is_judged_by_the_kernels_that_it_is_nearest_to():
    against = (gap("device", "xnnpack", 0.01, 3, 2.0), gap("device", "reference", 0.0, 40, 0.0))
    same = DeviceJudgement(against, 1, gap("device", "float file", 0.02), ())
    text = audit_verdict(audit_of(1, 0, 40, 50, Drop(device=same)))
    assert "The device answers exactly what LiteRT's reference kernels does, on all 40 samples." in text
    one = dataclasses.replace(gap("device", "reference", 0.0, 1, 0.0), samples=1)
    alone = DeviceJudgement((one,), 0, gap("device", "float file", 0.02), ())
    assert "does, on the one sample of its file." in audit_verdict(audit_of(1, 0, 40, 50, Drop(device=alone)))
    few = dataclasses.replace(against[1], samples=16, equal=16)
    partly = DeviceJudgement((against[0], few), 1, gap("device", "float file", 0.02), ())
    assert "on all 16 samples that these ran, of 40." in audit_verdict(audit_of(1, 0, 40, 50, Drop(device=partly)))
    other = DeviceJudgement(against, 0, gap("device", "float file", 0.02), (DeviceDifference(4, 0, 7, 0.5, 0.75),))
    text = audit_verdict(audit_of(1, 0, 40, 50, Drop(device=other)))
    assert "differs from LiteRT with XNNPACK on 37 of 40 samples, by at most 2.00 steps of its scale" in text
    assert "first on sample 4" in text
    assert "0.75" in render_audit(audit_of(1, 0, 40, 50, Drop(device=other)), "net")


def test_flips_stand_on_the_page_with_their_pictures_and_names_stay_text():
    pixel = "data:image/png;base64,iVBORw0KGgo="
    flips = tuple(
        Flip(i, f"<b>{i}.png", "lost", 1, 1, 0.9, 0, 0.8, pixel if i < 24 else "") for i in range(40)
    )  # fmt: skip
    drop = Drop(flips=Flips(500, 40, 0, 0, flips), class_names=("<script>alert(1)</script>", "dog"))
    page = render_audit(audit_of(40, 0, 400, 500, drop), "net")
    assert page.count(f'src="{pixel}"') == 24
    assert "<script>alert" not in page and "<b>3.png" not in page and "&lt;b&gt;3.png" in page
    assert "40 of 500 samples change their class: 40 lost (only float is right)." in page
    assert "The 24 that both files are surest of are shown; audit.json lists all." in page


def test_a_page_of_a_thousand_classes_stays_small():
    classes = tuple(class_drop(i, f"class name {i}", 1.0, 1.0) for i in range(1000))
    flips = tuple(Flip(i, f"sample {i}", "lost", 1, 1, 0.9, 0, 0.8) for i in range(1000))
    drop = Drop(classes=classes, flips=Flips(5000, 1000, 0, 0, flips))
    page = render_audit(audit_of(40, 0, 400, 500, drop), "net")
    assert len(page.encode()) < 2_500_000 and "The 20 classes with the largest drop of 1000" in page


@pytest.fixture
def folder(tmp_path):
    def made(found):
        made_folder = RunFolder.create(tmp_path / "audit", force=True)
        made_folder.save("audit", found, "")
        return made_folder.path

    return made


def test_an_audits_folder_can_be_checked(folder):
    path = folder(audit_of(27, 20, 772, 1000, Drop(samples_needed=7500)))
    undecided = bp.check(path, max_drop="1pt", max_bytes="0.2MB")
    assert undecided.exit_code == 5 and "undecided against 1; needs about" in undecided.line
    assert bp.check(path, max_drop="3pt", max_bytes="0.2MB").exit_code == 0
    assert bp.check(path, max_drop="3pt", max_bytes="90KB").exit_code == 1
    assert bp.check(path, max_bytes="4x").exit_code == 0 and bp.check(path, max_bytes="4.1x").exit_code == 1
    broken = bp.check(folder(audit_of(90, 20, 772, 1000)), max_drop="1pt")
    assert broken.exit_code == 1 and broken.line.startswith("BROKEN: accuracy drop 7.00 points")
    assert (broken.samples, broken.drop_points) == (1000, pytest.approx(7.0))


def test_a_drop_in_a_metrics_unit_is_not_checked_in_points(folder):
    with pytest.raises(UsageError, match="audit measured no drop in points"):
        bp.check(folder(audit_of(27, 20, 772, 1000, drop_of="metric")), max_drop="1pt")


def test_a_users_metric_is_checked_in_its_own_unit(folder):
    seen = Interval(0.6, 0.55, 0.65)
    of_set = SetMetric("m:recall", seen, seen, Interval(0.02, 0.01, 0.03), 1000, 2000, 0)
    path = folder(audit_of(27, 20, 772, 1000, Drop(set_metric=of_set)))
    for limit, code, said in ((0.03, 0, "within 0.03"), (0.02, 5, "undecided against 0.02"), (0.005, 1, "OVER 0.005")):
        found = bp.check(path, max_metric_drop=limit)
        assert (found.exit_code, found.metric, found.metric_drop) == (code, "m:recall", 0.02)
        assert found.drop_points is None
        assert found.line.endswith(f"m:recall drop 0.02 (95 %: 0.01 to 0.03, n = 1000), {said}")
    both = bp.check(path, max_drop="3pt", max_metric_drop=0.005)
    assert both.exit_code == 1 and "accuracy drop" in both.line and "m:recall" in both.line
    per_sample = audit_of(27, 20, 772, 1000, drop_of="metric")
    value = per_sample.evaluation.drop_points
    alone = bp.check(folder(per_sample), max_metric_drop=value.high)
    assert alone.exit_code == 0 and alone.metric == "metric" and alone.metric_drop == value.value
    with pytest.raises(UsageError, match="no metric of yours"):
        bp.check(folder(audit_of(27, 20, 772, 1000)), max_metric_drop=0.1)


def test_shares_of_a_divided_error_are_not_called_sources_alone():
    source = AuditCause("weights", "layer", "CONV_2D", 0.008, 0.8, "seen")
    alone = dataclasses.replace(audit_of(90, 20, 772, 1000), sources=(source,), parts_nmse=0.008)
    divided = dataclasses.replace(
        alone, attribution=Attribution(0.01, 0.001, 0.01, (), (), (), (), FileCoverage(1, 1, 1, 1, {}, 0, ()), 64)
    )
    assert "one source at a time" in audit_table(alone).caption and "layer by layer" in audit_table(divided).caption
    assert "interaction" in audit_table(alone).notes[1] and "interaction" not in audit_table(divided).notes[1]
    assert "of what its sources add up to enters at" in audit_verdict(alone)
    assert "80 % of its error enters at the weights of layer" in audit_verdict(divided)


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -0.1])
def test_a_metric_is_held_to_a_number(folder, limit):
    path = folder(audit_of(27, 20, 772, 1000, drop_of="metric"))
    with pytest.raises(UsageError, match="cannot be held to a drop of"):
        bp.check(path, max_metric_drop=limit)


def test_a_folder_without_a_finished_audit_says_so(tmp_path):
    with pytest.raises(RunFolderError, match="neither a run nor a finished audit"):
        bp.check(RunFolder.create(tmp_path / "audit").path, max_drop="1pt")


def with_drop(value, low, high):
    """An audit with such a drop of the user's metric."""
    found = audit_of(27, 20, 772, 1000, drop_of="metric")
    return dataclasses.replace(
        found, evaluation=dataclasses.replace(found.evaluation, drop_points=Interval(value, low, high), mcnemar_p=None)
    )


def test_a_metric_that_is_no_number_is_no_finding():
    found = with_drop(float("nan"), -float("inf"), float("inf"))
    text = audit_verdict(found)
    assert "cannot be told: the metric is not a number for some samples" in text and "significant" not in text
    assert "No drop that these samples can show" not in render_audit(found, "net")


def test_a_small_metric_keeps_the_digits_that_its_interval_has():
    assert "loses 0.0013 ± 0.0009 of metric" in audit_verdict(with_drop(0.0013, 0.0004, 0.0022))
    assert "gains 0.0013 ± 0.0009 of metric" in audit_verdict(with_drop(-0.0013, -0.0022, -0.0004))


def test_coarse_activations_are_not_said_to_have_the_right_ranges():
    causes = tuple(
        Cause(name, "layer", TESTED, share, "seen", "", samples=8)
        for name, share in (("activation_rounding", 0.83), ("ranges_too_wide", 0.46))
    )
    text = audit_verdict(dataclasses.replace(audit_of(90, 20, 772, 1000), causes=causes))
    assert "activations are rounded too coarsely for this network (layer)" in text


@pytest.mark.parametrize(("lost", "said"), [(1.5, "of 1.50 lost"), (-0.2, "where none is lost"), (None, "(90 ")])
def test_what_comes_back_is_said_of_what_was_lost(lost, said):
    gain = Interval(0.4, 0.1, 0.7)
    cause = Cause(
        "weight_rounding", "layer", TESTED, 0.5, "seen", "", samples=8, accuracy_recovered=gain, accuracy_samples=90,
        accuracy_lost=lost,
    )  # fmt: skip
    audit = dataclasses.replace(audit_of(90, 20, 772, 1000), causes=(cause,))
    sentences = ["".join(span.text for span in sentence) for sentence in cause_sentences(audit)]
    assert f"gives back 0.40 ± 0.30 points {said}" in sentences[1]
    assert sentences[1].endswith("on the same 90 evaluation samples." if lost else "(90 evaluation samples).")


def test_an_audit_is_read_back_as_it_was_written(folder):
    device = DeviceJudgement((gap("device", "xnnpack", 0.0, 40, 0.0),), 0, gap("device", "float file", 0.02), ())
    flips = Flips(9, 1, 0, 0, (Flip(3, "a", "lost", 1, 1, 0.9, 0, 0.8, ""),))
    drop = Drop(7, (class_drop(3, "cat", 4.0, 0.6),), ("a", "b"), flips, None, (), device, ("note",))
    found = audit_of(27, 20, 772, 1000, drop)
    assert RunFolder.open(folder(found)).load("audit", Audit) == found

"""Made-up repairs, around the plan of `results_factory`: kept, dropped and not tried, with a curve and an agreement."""

from __future__ import annotations

import dataclasses

from bitplan.analyzer.schema import (
    HeldBackError,
    Interval,
    KernelAgreement,
    Likeness,
    RepairLog,
    RepairStep,
    Results,
)

from .results_factory import HOSTILE, evaluation, mobilenet, two_layers

PLAIN_BYTES = REPAIRED_BYTES = 2_735_248
_CURVE = ((0, 0.0221), (64, 0.0112), (128, 0.0074), (192, 0.0051), (256, 0.0043), (320, 0.0046))


def drop(value: float, half: float) -> Interval:
    """A symmetric interval."""
    return Interval(value, value - half, value + half)


def steps() -> tuple[RepairStep, ...]:
    """Each builds on those that were kept; the third is dropped, the fourth was not tried."""
    curve = tuple(HeldBackError(*point) for point in _CURVE)
    return (
        RepairStep("ranges", True, 0.0410, 0.0312, drop(3.32, 1.6), drop(2.34, 1.4), ("41 of 66 ranges narrowed",)),
        RepairStep(
            "bias_correction", True, 0.0312, 0.0221, drop(2.34, 1.4), drop(1.56, 1.3),
            ("52 of 53 biases moved", "by at most 0.31 of a step"),
        ),
        RepairStep("rounding", False, 0.0221, 0.0227, drop(1.56, 1.3), drop(1.95, 1.3), ("3 of 53 layers done",)),
        RepairStep("equalization", False, 0.0221, None, drop(1.56, 1.3), None, skipped="no weights share a scale"),
        RepairStep(
            "distillation", True, 0.0221, 0.0042, drop(1.56, 1.3), drop(0.20, 0.9),
            ("5 epochs of 320 steps", "6.2 % of the weights moved"), curve=curve,
        ),
    )  # fmt: skip


def agreement() -> KernelAgreement:
    """The simulation of MobileNetV2 and both sets of kernels."""
    return KernelAgreement(Likeness(0.9844, 0.0021), Likeness(0.9863, 0.0018), Likeness(0.9902, 0.0012), 512)


def log() -> RepairLog:
    """Repairs of a classifier, with labels."""
    return RepairLog(steps(), "kl", "accuracy", 4096, 512, PLAIN_BYTES, REPAIRED_BYTES, agreement())


def repaired() -> Results:
    """The benchmark network, all int8, repaired; the file before stands in the verification."""
    base = mobilenet()
    every = {"float_accuracy": 0.865}
    before = evaluation(
        "plan before repair", PLAIN_BYTES, 617_472, 0.8308, (3.42, 0.80), nmse=0.0741, agreement=0.9148,
        mcnemar_p=3.1e-17, **every,
    )  # fmt: skip
    after = evaluation(
        "plan", REPAIRED_BYTES, 617_472, 0.8644, (0.06, 0.54), nmse=0.0049, agreement=0.9752, mcnemar_p=0.87, **every
    )
    others = [e for e in base.verification.evaluations if e.name != "plan" or e.subset]
    # Where in the list it stands does not decide where the table shows it.
    checked = dataclasses.replace(base.verification, evaluations=(*others[:2], after, *others[2:], before))
    return dataclasses.replace(base, repair=log(), verification=checked)


def without_classes() -> Results:
    """A network that scores no classes: errors alone, and one repair that was dropped."""
    base = two_layers()
    assert base.verification is not None
    tried = (
        RepairStep("ranges", False, 0.0041, 0.0041),
        RepairStep("distillation", True, 0.0041, 0.0017, facts=("9 epochs of 16 steps",)),
    )
    same = Likeness(None, 1.1e-6)
    kernels = KernelAgreement(same, same, Likeness(None, 2.3e-6), 128)
    found = RepairLog(tried, "nmse", "", 900, 128, 6_104, 6_156, kernels)
    kept = tuple(
        dataclasses.replace(
            e, drop_points=None, drop_of="", error=dataclasses.replace(e.error, agreement=None, kl=None)
        )
        for e in base.verification.evaluations
    )
    better = dataclasses.replace(kept[2], file_bytes=6_156, error=dataclasses.replace(kept[2].error, nmse=0.0017))
    evaluations = (*kept[:2], dataclasses.replace(kept[2], name="plan before repair"), better)
    checked = dataclasses.replace(base.verification, evaluations=evaluations)
    graph = dataclasses.replace(base.graph, is_classifier=False)
    return dataclasses.replace(base, graph=graph, repair=found, verification=checked)


def hostile() -> Results:
    """Names, reasons and facts that try to be markup."""
    bad = HOSTILE[1]
    made = tuple(
        dataclasses.replace(
            step, name=f"{bad}{place}", facts=(bad, HOSTILE[3]), skipped=HOSTILE[0] if step.skipped else ""
        )
        for place, step in enumerate(steps())
    )
    return dataclasses.replace(repaired(), repair=dataclasses.replace(log(), steps=made))

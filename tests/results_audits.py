"""Made-up audits and a calibration study, with every part that their pages can have."""

from __future__ import annotations

from bitplan.analyzer.schema import (
    CAUSES,
    NOT_TESTABLE,
    RULED_OUT,
    TESTED,
    Attribution,
    Audit,
    AuditCause,
    Cause,
    ClassDrop,
    DeviceDifference,
    DeviceJudgement,
    Drop,
    ErrorInteraction,
    Evaluation,
    FileCoverage,
    FileFinding,
    FileInspection,
    Flip,
    Flips,
    Interval,
    KindShare,
    LayerShare,
    NotAligned,
    Option,
    OptionTable,
    OutputError,
    OutputGap,
    SetMetric,
    Study,
    StudyBand,
    WeightCodes,
)

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="
"""One pixel."""


def evaluation(name: str, drop: float, half: float, size: int = 2_734_336, **more: object) -> Evaluation:
    """An int8 file on 5000 images of a float network that gets 86.50 % of them right."""
    error = OutputError(0.0741, 0.004, 11.3, 5000, agreement=0.9148, accuracy=0.865 - drop / 100)
    interval = Interval(drop, drop - half, drop + half)
    return Evaluation(
        name, size, 304_128, "xnnpack", error, interval, "accuracy", 3.1e-17, (251, 80), False, 0.865, **more
    )


def audit() -> Audit:
    """Causes, flips, a metric of the set, a framework, a device and options."""
    return Audit(
        sources=tuple(
            AuditCause("weights", layer, "DEPTHWISE_CONV_2D", nmse, nmse / 0.0752, "int8, one scale a channel")
            for layer, nmse in (("expanded_conv_depthwise", 0.0629), ("Conv1", 0.0123))
        ),
        evaluation=evaluation("quantized", 3.42, 0.80),
        float_bytes=8_927_672, quantized_bytes=2_734_336, tensor_types={"int8": 118, "int32": 53},
        matched_ops=64, total_ops=65, unmatched=("64:SOFTMAX",), parts_nmse=0.0752, measured_nmse=0.0741, samples=256,
        external_buffers=True, causes=causes(), ruled_out=ruled_out(), causes_nmse=0.0741, simulated_nmse=0.0738,
        attribution=attribution(), drop=drop(), options=options(),
    )  # fmt: skip


def plain_audit() -> Audit:
    """No labels, no classes, nothing found."""
    error = OutputError(0.0041, 0.0002, 23.9, 64)
    judged = Evaluation("quantized", 6_104, 208, "xnnpack", error, None, "")
    return Audit((), judged, 14_512, 6_104, {"int8": 6}, 2, 2, (), 0.0, 0.0041, 64, False)


def causes() -> tuple[Cause, ...]:
    return (
        Cause(
            "channel_spread_after_bn_fold", "expanded_conv_depthwise", TESTED, 0.81,
            "the widest channel's weights are 651 times the narrowest's",
            CAUSES["channel_spread_after_bn_fold"].remedy, 1, Interval(0.81, 0.78, 0.84), 256,
            Interval(2.84, 2.1, 3.6), 5000, 3.42,
        ),
        Cause("scale_corrupted", "Conv1", TESTED, 0.04, "its scale is twice what the weights need",
              CAUSES["scale_corrupted"].remedy, 3, samples=256),
    )  # fmt: skip


def ruled_out() -> tuple[Cause, ...]:
    return (
        Cause("channel_order", "", RULED_OUT, -0.3, "no other order comes nearer", ""),
        Cause("input_scaling", "", NOT_TESTABLE, None, "the file has no input scale", ""),
    )


def attribution() -> Attribution:
    """Shares that sum to what was measured, a pair that cancels, an op that has no counterpart."""
    return Attribution(
        measured_nmse=0.0741, standard_error=0.002, substituted_nmse=0.0738,
        kinds=(
            KindShare("weights", 0.0698, 0.002, 0.942, 0.0701, 0.069),
            KindShare("activation rounding", 0.0040, 0.0003, 0.054, 0.0041, 0.0038),
            KindShare("kernels", 0.0003, 0.0001, 0.004),
        ),
        layers=tuple(
            LayerShare(f"block_{k}_project", f"{k}:CONV_2D:1", "CONV_2D", "weights", 0.01 / k, 0.001, 0.1 / k)
            for k in range(1, 46)
        ),
        interactions=(ErrorInteraction("weights", "activation rounding", -0.004, 0.0005),),
        layer_interactions=(ErrorInteraction("Conv1", "expanded_conv_depthwise", 0.003, 0.0004),),
        coverage=FileCoverage(
            64, 65, 90, 100, {"names": 60, "structure": 4}, 1,
            (NotAligned("64:SOFTMAX:1", "softmax", "float", "the other file has no SOFTMAX", False),),
        ),
        samples=32,
    )  # fmt: skip


def drop() -> Drop:
    """Everything that can be told of a drop."""
    classes = tuple(
        ClassDrop(label, name, 500, 0.87, 0.87 - points / 100, Interval(points, points - 2.1, points + 2.1), p)
        for label, name, points, p in ((3, "cat", 7.2, 0.0004), (5, "dog", 4.0, 0.02), (1, "automobile", 0.4, 1.0))
    )
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    outcomes = ("lost", "gained", "changed")
    flips = tuple(
        Flip(k, f"sample {k}", outcomes[k % 3], 3, 3 if k % 3 == 0 else 4, 0.93, 3 if k % 3 == 1 else 5, 0.71, PIXEL)
        for k in range(30)
    )
    value = Interval(0.61, 0.58, 0.64)
    metric = SetMetric("metrics:mean_ap", value, value, Interval(0.03, 0.01, 0.05), 5000, 2000, 3)
    conversion = (
        OutputGap("float file", "framework", 5000, 2e-9, 1e-4, 12),
        OutputGap("quantized file", "float file", 5000, 0.0741, 9.1, 0, 212.0, 0.9148),
        OutputGap("quantized file", "framework", 5000, 0.0741, 9.1, 0, 212.0, 0.9148),
    )
    device = DeviceJudgement(
        (OutputGap("device", "xnnpack", 64, 1e-5, 0.2, 51, 2.0, 0.984),), 0,
        OutputGap("device", "float file", 64, 0.0745, 9.2, 0, 213.0, 0.91), (DeviceDifference(4, 0, 7, 0.5, 0.75),),
    )  # fmt: skip
    every = Flips(5000, 251, 80, 97, flips)
    return Drop(None, classes, names, every, metric, conversion, device, ("two labels are missing",))


def options() -> OptionTable:
    """One that is advised, a slow one judged on fewer samples, one without a file."""

    def option(name: str, nmse: float, points: float, **more: object) -> Option:
        judged, held_back = evaluation(name, points, 0.7, **more), OutputError(nmse, nmse * 0.07, 12.0, 256)
        refused = {"coral": "it has no ADD in float"}
        return Option(name, ("as it is",), "", judged, held_back, 1.0, ("litert-cpu", "any"), refused)

    found = (
        option("leave", 0.0741, 3.42), option("repair", 0.012, 0.61), option("int16", 0.0112, 0.5),
        Option("int4_repair", missing="any has no 4-bit weights"),
    )  # fmt: skip
    return OptionTable(found, "repair", "litert-cpu", "int8 = 1", 8_927_672, 5000, 256)


def times() -> dict[str, float]:
    """Milliseconds on this machine, by option."""
    return {"leave": 0.32, "repair": 0.33, "int16": 19.4}


def inspection() -> FileInspection:
    """A file alone, with something to say of it."""
    codes = tuple(
        WeightCodes(f"{k}:CONV_2D:{k}", f"block_{k}", "CONV_2D", 8, 3456, 24, k % 2 == 0, 27.2, 0.011, 0.93, 2, 0)
        for k in range(12)
    )
    spread = "651 times from channel to channel"
    findings = (
        FileFinding("channel_spread_after_bn_fold", "expanded_conv_depthwise", spread, 651.0),
        FileFinding("external_buffers", "", "buffers begin behind byte 262144", 1.0),
    )
    return FileInspection(
        "mixed", 2_734_336, 65, {"int8": 118, "int32": 53, "float32": 6}, codes, findings,
        ("whether its input is scaled as in training", "how much accuracy it has lost"),
    )  # fmt: skip


def study() -> Study:
    """Two draws, two methods, three sizes, on labelled evaluation data."""

    def band(size: int, draw: str, method: str, value: float) -> StudyBand:
        spread = value * 0.1
        return StudyBand(
            size, draw, method, 5, Interval(value, value - spread, value + spread),
            Interval(value * 1.1, value, value * 1.2), Interval(0.83, 0.82, 0.84), Interval(3.5, 2.1, 4.9),
        )  # fmt: skip

    bands = tuple(
        band(size, draw, method, error / (1 + place))
        for draw, worse in (("random", 1.0), ("balanced", 1.03))
        for method, error in (("min-max", 0.11 * worse), ("mse", 0.09 * worse))
        for place, size in enumerate((10, 100, 1000))
    )
    return Study((), bands, bands[4], 4000, 256, True, 5000, "accuracy", 0.865)

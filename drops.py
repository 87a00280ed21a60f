"""The drop itself, in detail: classes, flips, set metrics; what a framework and a board say of the same samples."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .analyzer.conversion.verification import Answers, outputs_of, paired_drop, reference_subset
from .analyzer.errors import DataError, UsageError
from .analyzer.inputs.class_names import class_names
from .analyzer.inputs.functions import import_function
from .analyzer.inputs.outputs import OutputSpec, SavedOutputs, read_outputs, read_targets
from .analyzer.inputs.samples import Samples
from .analyzer.measures.flips import are_probabilities, class_drops, flips_of
from .analyzer.measures.gaps import first_differences, output_gap, variances_of
from .analyzer.measures.per_sample import Metric
from .analyzer.measures.set_metrics import SetMetricFunction, set_metric_drop
from .analyzer.measures.statistics import decide, samples_needed
from .analyzer.network.runtime import DEFAULT_WORKERS, Runner, drop_batch
from .analyzer.network.steps import output_steps
from .analyzer.schema import DeviceJudgement, Drop, Evaluation, Graph, OutputGap, SetMetric
from .session import Reporter, silent

_DIFFERENCES = 10
"""Samples of a device that are shown with what differs."""


@dataclass(frozen=True)
class DropOptions:
    """What a person can bring to an audit beside two files and data.

    Attributes:
      set_metric: `module:function`, or the function itself: of all outputs and targets, higher is better.
      targets: Of the set metric: FILE.npz:ARRAY, FILE.npy, or an array; None takes the labels.
      reference: The framework's own outputs for the evaluation samples, in their order: an `.npz`.
      device: What a board produced for them, or for those that the file's `index` names: an `.npz`.
      class_names: A text file with a name a line, or the names themselves.
    """

    set_metric: str | SetMetricFunction | None = None
    targets: Any = None
    reference: str | pathlib.Path | None = None
    device: str | pathlib.Path | None = None
    class_names: str | pathlib.Path | Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Brought:
    """The same, read and checked.

    Attributes:
      set_metric: None where none was given.
      set_metric_name: What to call it.
      targets: [samples, ...], in the order of the samples; None without a set metric.
      reference: One array [samples, ...] for each output, in the order of the samples; empty for none.
      device: As it was saved; None for none.
      rows: Of the device's outputs: which of the samples each row is for, [n].
      class_names: By class index.
      notes: What a reader should know.
    """

    set_metric: SetMetricFunction | None
    set_metric_name: str
    targets: np.ndarray | None
    reference: tuple[np.ndarray, ...]
    device: SavedOutputs | None
    rows: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def read_brought(
    options: DropOptions, file: bytes, graph: Graph, samples: Samples, beside: Sequence[pathlib.Path],
    warn: Callable[[str], None],
) -> Brought:  # fmt: skip
    """Reads what was brought before anything long is run.

    Args:
      options: As given.
      file: The quantized file.
      graph: Of the float network.
      samples: That judge.
      beside: The two models: class names are looked for in a `labels.txt` beside them.
      warn: Takes what is left out.

    Raises:
      DataError: Something cannot be read, or does not fit.
      UsageError: A set metric has no targets, or targets have no metric.
    """
    given, places = options.set_metric or None, samples.places
    if given is None and options.targets is not None:
        raise UsageError("targets are for a set metric, and there is none", "add --set-metric module:function")
    targets = None
    if given is not None:
        targets = _targets(options, len(samples))
        targets = samples.labels if targets is None else targets[places]
        if targets is None:
            raise UsageError(
                "a set metric needs something to compare outputs with, and the data has no labels",
                "name labels (FILE.npz:INPUT,LABELS), or give --targets FILE.npz:ARRAY",
            )
    ports = Runner(file).outputs
    shapes = [drop_batch(np.empty(port.shape, np.bool_)).shape for port in ports]
    floats = [OutputSpec(port.name, shape) for port, shape in zip(ports, shapes, strict=True)]
    own = [
        replace(spec, dtype=port.dtype, scale=port.scale, zero_point=port.zero_point)
        for spec, port in zip(floats, ports, strict=True)
    ]
    reference: tuple[np.ndarray, ...] = ()
    if options.reference is not None:
        reference = _in_order(pathlib.Path(options.reference), floats, samples)
    device, rows = None, np.zeros(0, np.int64)
    if options.device is not None:
        device = read_outputs(pathlib.Path(options.device), own, len(samples), "the device")
        rows = np.argsort(places)[device.places]
    return Brought(
        import_function(given) if isinstance(given, str) else given,
        given if isinstance(given, str) else getattr(given, "__qualname__", "set metric") if given else "",
        targets, reference, device, rows,
        class_names(options.class_names, graph, samples, beside, warn),
    )  # fmt: skip


def study_drop(
    file: bytes, graph: Graph, samples: Samples, reference: Answers, found: Answers, evaluation: Evaluation,
    brought: Brought, *, metric: Metric | None = None, seed: int = 0, workers: int = DEFAULT_WORKERS,
    reporter: Reporter = silent,
) -> Drop:  # fmt: skip
    """Everything that can be said of the drop without looking into the network.

    Args:
      file: The quantized file.
      graph: Of the float network.
      samples: That judge; labels where there are some.
      reference, found: Answers of the float network and of the file, to all of them.
      evaluation: Of the file.
      brought: See `read_brought`.
      metric: The user's metric of single samples.
      seed: Of bootstraps.
      workers: Threads.
      reporter: Takes progress.
    """
    labels, scores = samples.labels, (reference.outputs[0], found.outputs[0])
    with_classes = graph.is_classifier and labels is not None
    notes = brought.notes
    if brought.reference and graph.is_classifier and _look_unlike(brought.reference[0], reference.outputs[0]):
        notes += (
            "Of the framework's outputs and the float file's only one are probabilities: was a softmax left out?",
        )
    return Drop(
        samples_needed=_needed(graph, samples, reference, found, evaluation, metric),
        classes=class_drops(*scores, labels, brought.class_names) if with_classes and labels is not None else (),
        class_names=brought.class_names,
        flips=flips_of(samples, *scores) if graph.is_classifier else None,
        set_metric=_set_metric(brought, reference, found, seed, reporter),
        conversion=_conversion(graph, samples, reference, found, brought.reference),
        device=_device(file, graph, samples, reference, found, brought, workers, reporter),
        notes=notes,
    )


def _targets(options: DropOptions, total: int) -> np.ndarray | None:
    """In the order of the data as brought."""
    if options.targets is None:
        return None
    if isinstance(options.targets, str | pathlib.Path):
        return read_targets(str(options.targets), total)
    targets = np.asarray(options.targets)
    if targets.ndim == 0 or len(targets) != total:
        raise DataError(f"there are {total} samples, and not as many targets", "give one row for each sample")
    return targets


def _in_order(path: pathlib.Path, outputs: Sequence[OutputSpec], samples: Samples) -> tuple[np.ndarray, ...]:
    """The framework's outputs in the order of the samples; all of them must be there."""
    saved = read_outputs(path, outputs, len(samples), "the framework")
    if len(saved.places) < len(samples):
        raise DataError(
            f"{path} holds outputs of {len(saved.places)} samples, the data has {len(samples)}",
            "give the framework's output for every evaluation sample, in the order of the data",
        )
    row_of = np.argsort(saved.places)
    return tuple(array[row_of[samples.places]] for array in saved.arrays)


def _needed(
    graph: Graph, samples: Samples, reference: Answers, found: Answers, evaluation: Evaluation, metric: Metric | None
) -> int | None:
    """Samples that would tell the drop from none; None where these do."""
    drop = evaluation.drop_points
    if drop is None or drop.excludes_zero or decide(drop, 0.0) != "undecided" or evaluation.drop_of == "agreement":
        return None
    paired = paired_drop(graph, reference.outputs, found.outputs, samples.labels, metric)
    return None if paired.differences is None else samples_needed(paired.differences, 0.0, unit=paired.unit)


def _set_metric(
    brought: Brought, reference: Answers, found: Answers, seed: int, reporter: Reporter
) -> SetMetric | None:
    if brought.set_metric is None or brought.targets is None:
        return None
    return set_metric_drop(
        brought.set_metric, brought.set_metric_name, reference.outputs, found.outputs, brought.targets, seed=seed,
        progress=reporter(f"Resampling {brought.set_metric_name}"),
    )  # fmt: skip


def _conversion(
    graph: Graph, samples: Samples, reference: Answers, found: Answers, framework: tuple[np.ndarray, ...]
) -> tuple[OutputGap, ...]:
    """Framework to float file to quantized file, all in the framework's variance, so that the parts compare."""
    if not framework:
        return ()
    names = ("framework", "float file", "quantized file")
    outputs = (framework, reference.outputs, found.outputs)
    variances = variances_of(framework)
    return tuple(
        output_gap(
            names[after], outputs[after], names[before], outputs[before], variances=variances,
            is_classifier=graph.is_classifier, labels=samples.labels,
        )
        for before, after in ((0, 1), (1, 2), (0, 2))
    )  # fmt: skip


def _device(
    file: bytes, graph: Graph, samples: Samples, reference: Answers, found: Answers, brought: Brought, workers: int,
    reporter: Reporter,
) -> DeviceJudgement | None:  # fmt: skip
    """The device beside the file with LiteRT's default kernels and with its reference ones, and beside float."""
    device, rows = brought.device, brought.rows
    if device is None:
        return None
    count = min(len(rows), reference_subset(graph))
    plain = outputs_of(
        file, samples.subset(rows[:count]), kernels="reference", workers=workers,
        progress=reporter("Running the reference kernels"),
    )  # fmt: skip
    by_kernels = {"xnnpack": [values[rows] for values in found.outputs], "reference": plain}
    floats, labels = [v[rows] for v in reference.outputs], None if samples.labels is None else samples.labels[rows]
    variances, steps = variances_of(reference.outputs), output_steps(file)

    def gap(name: str, outputs: Sequence[np.ndarray], in_steps: Sequence[float]) -> OutputGap:
        n = len(outputs[0])
        return output_gap(
            "device", [values[:n] for values in device.arrays], name, outputs, variances=variances, steps=in_steps,
            is_classifier=graph.is_classifier, labels=None if labels is None else labels[:n],
        )  # fmt: skip

    gaps = tuple(gap(kernels, outputs, steps) for kernels, outputs in by_kernels.items())
    # On the samples that both ran, for a few look better than many; LiteRT's default where both fit equally well.
    both = [gap(kernels, [v[:count] for v in outputs], steps) for kernels, outputs in by_kernels.items()]
    nearest = min(range(len(both)), key=lambda k: (both[k].equal < both[k].samples, both[k].max_abs, both[k].nmse, k))
    expected = list(by_kernels.values())[nearest]
    n = len(expected[0])
    return DeviceJudgement(
        against_file=gaps,
        nearest=nearest,
        against_float=gap("float file", floats, ()),
        differing=first_differences([v[:n] for v in device.arrays], expected, device.places[:n], _DIFFERENCES),
    )


def _look_unlike(one: np.ndarray, other: np.ndarray) -> bool:
    return are_probabilities(one.reshape(len(one), -1)) != are_probabilities(other.reshape(len(other), -1))

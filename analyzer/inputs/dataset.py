"""Samples for calibration and evaluation, from whatever people have.

`sources.py` says what DATA may be on the command line, `objects.py` what it may be in Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .columns import ArrayColumn, Column, ImageColumn, RandomColumn
from .files import read_array_file, read_image_folder, tfds_items
from .functions import import_function
from .input_spec import InputSpec, input_specs, shape_text
from .labels import draw_evenly, to_labels
from .objects import read_object
from .preparation import Preparation
from .preprocessing import SCALES, Preprocessing, parse_preprocessing, parse_resize, resize_text
from .raw_data import RawData
from .samples import Samples, prepare, scan, unlabelled_draw
from .sources import DATA_SYNTAX, ArrayFile, FunctionName, ImageFolder, parse_data

__all__ = [
    "DATA_SYNTAX",
    "SCALES",
    "InputSpec",
    "Preprocessing",
    "Samples",
    "check_labels",
    "input_specs",
    "load_samples",
    "overlap_warnings",
    "parse_data",
    "parse_preprocessing",
    "parse_resize",
    "random_samples",
    "range_warnings",
]


def load_samples(
    data: Any,
    inputs: Sequence[InputSpec],
    preprocessing: Preprocessing,
    *,
    limit: int | None = None,
    balanced: bool = False,
    seed: int = 0,
    warn: Callable[[str], None],
) -> Samples:
    """Reads samples and checks that the model can take each of them.

    Every sample is read once here (shapes, types, finite values, content hash); afterwards blocks are made on demand.

    Args:
      data: DATA as typed, a path, or a Python object; also `Samples`, which are limited only.
      inputs: Of the model.
      preprocessing: What to do with each sample.
      limit: How many to take: the first ones, or all where there are fewer (a warning).
      balanced: Draw them evenly over the classes instead.
      seed: Of that draw.
      warn: Takes what looks wrong but may be meant, a line each.

    Raises:
      DataError: The data is missing, damaged, or does not fit the model.
      UsageError: `limit` is not positive, `balanced` has no limit, or the preprocessing does not fit the model.
    """
    inputs = tuple(inputs)
    if not inputs:
        raise DataError("the model has no inputs, so that samples are of no use to it", "give a model with inputs")
    if limit is not None and limit < 1:
        raise UsageError(f"{limit} samples cannot be taken", "take at least 1")
    if balanced and limit is None:
        raise UsageError("a balanced draw needs a number of samples", "say how many: --calibration-samples 256")
    if isinstance(data, Samples):
        if [(i.sample_shape, i.dtype) for i in data.inputs] != [(i.sample_shape, i.dtype) for i in inputs]:
            raise DataError("these samples were made for another model", "load the data again for this one")
        return _limited(data, limit, balanced, seed, warn)
    function = import_function(preprocessing.function) if preprocessing.function else None
    raw = _read(data, inputs, None if balanced else limit, free=function is not None)
    total = len(raw.columns[0])
    if total == 0:
        raise DataError(f"{raw.source} holds no samples", "give at least one")
    labels = None if raw.labels is None else to_labels(raw.labels, total)
    preparation = Preparation(inputs, raw.names, preprocessing, function, raw.images)
    positions = np.arange(total if limit is None else min(limit, total))
    if limit is not None and total < limit:
        warn(f"{raw.source} holds {total} samples, {limit} were asked for: all of them are taken")
    if balanced and limit is not None:
        if labels is None:
            raise unlabelled_draw(raw.source)
        positions = draw_evenly(labels, limit, seed, lambda p: b"".join(column.key(p) for column in raw.columns))
    elif labels is not None and limit is not None and len(positions) < total:
        _warn_of_few_classes(labels, len(positions), warn)
    if function is not None:
        _check_function(raw, preparation, positions)
    facts = scan(raw.columns, preparation, positions)
    columns, kept = _compact(raw.columns, positions)
    samples = Samples(
        columns=columns,
        positions=kept,
        labels=None if labels is None else labels[positions],
        preparation=preparation,
        facts=facts,
        source=raw.source,
        class_names=raw.class_names,
        notes=raw.notes,
    )
    samples = _note_resize(samples)
    for note in samples.notes:
        warn(note)
    for warning in (*_scale_warnings(samples), *_content_warnings(samples)):
        warn(warning)
    return samples


def random_samples(inputs: Sequence[InputSpec], count: int, seed: int) -> Samples:
    """Made-up samples, for when no data is given: nothing that is measured on them says much of real data.

    Standard normal values for float inputs, 0..255 for uint8, and 0 or 1 for the others, which are valid indices almost
    everywhere. Sample i is the same whatever `count` is. Dynamic dimensions become 1.
    """
    if count < 1:
        raise UsageError(f"{count} samples cannot be made", "make at least 1")
    inputs = tuple(inputs)
    columns = tuple(RandomColumn(spec, index, count, seed) for index, spec in enumerate(inputs))
    preparation = Preparation(inputs, tuple(spec.name for spec in inputs), Preprocessing())
    positions = np.arange(count)
    facts = scan(columns, preparation, positions)
    return Samples(columns, positions, None, preparation, facts, f"random values, seed {seed}", random=True)


def check_labels(samples: Samples, classes: int) -> None:
    """Checks labels against the number of the model's classes.

    Raises:
      DataError: A label is too large.
    """
    if samples.labels is not None and int(samples.labels.max()) >= classes:
        bad = int(np.argmax(samples.labels))
        raise DataError(
            f"the label of sample {bad} is {samples.labels[bad]}, the model has {classes} classes",
            "number the labels as in training, from 0",
        )


def range_warnings(calibration: Mapping[str, Any], evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """What looks wrong between two descriptions (`Samples.describe`) of samples for one model.

    Returns:
      A line for each input whose values lie elsewhere or spread more than 3 times as far in one than in the other.
    """
    warnings = []
    for one, other in zip(calibration["inputs"], evaluation["inputs"], strict=True):
        if np.dtype(one["dtype"]).kind != "f":
            continue
        seen = f"{one['minimum']:.4g} to {one['maximum']:.4g} in calibration"
        seen += f", {other['minimum']:.4g} to {other['maximum']:.4g} in evaluation"
        spread, other_spread = one["maximum"] - one["minimum"], other["maximum"] - other["minimum"]
        disjoint = one["maximum"] < other["minimum"] or other["maximum"] < one["minimum"]
        if disjoint:
            warnings.append(f"input {one['name']}: the values do not even overlap: {seen}; is the scale the same?")
        elif max(spread, other_spread) > 3 * min(spread, other_spread):
            warnings.append(f"input {one['name']}: the values spread very unequally: {seen}; is the scale the same?")
    return tuple(warnings)


def overlap_warnings(calibration: Samples, evaluation: Samples) -> tuple[str, ...]:
    """A line where samples that judge the result are among those it is made from, found by content; else nothing."""
    seen = set(calibration.facts.hashes)
    shared = sum(1 for digest in evaluation.facts.hashes if digest in seen)
    if not shared:
        return ()
    return (f"{shared} of {len(evaluation)} evaluation samples are calibration samples too: the figures flatter",)


def _limited(samples: Samples, limit: int | None, balanced: bool, seed: int, warn: Callable[[str], None]) -> Samples:
    if limit is None:
        return samples
    if limit > len(samples):
        warn(f"{samples.source} holds {len(samples)} samples, {limit} were asked for: all of them are taken")
    return samples.balanced(limit, seed) if balanced else samples.take(limit)


def _read(data: Any, inputs: Sequence[InputSpec], limit: int | None, free: bool) -> RawData:
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if not isinstance(data, str):
        return read_object(data, inputs, limit, free)
    source = parse_data(data)
    if isinstance(source, ArrayFile):
        return replace(read_array_file(source, inputs, free), source=data)
    if isinstance(source, ImageFolder):
        return replace(read_image_folder(source, inputs, free), source=data)
    if isinstance(source, FunctionName):
        return read_object(import_function(source.name), inputs, limit, free, data)
    return read_object(tfds_items(source), inputs, limit, free, data)


def _compact(columns: tuple[Column, ...], positions: NDArray[np.int64]) -> tuple[tuple[Column, ...], NDArray[np.int64]]:
    """Lets go of a large array of which few samples are taken."""
    if not all(isinstance(column, ArrayColumn) and 2 * len(positions) <= len(column) for column in columns):
        return columns, positions
    taken = tuple(ArrayColumn(np.asarray(column.rows(positions))) for column in columns)
    return taken, np.arange(len(positions))


def _check_function(raw: RawData, preparation: Preparation, positions: NDArray[np.int64]) -> None:
    """Blocks are prepared afresh each time they are read, so a function has to give the same answer each time."""
    first, again = (prepare(raw.columns, preparation, positions[:1]) for _ in range(2))
    if not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(first, again, strict=True)):
        raise DataError(
            f"{preparation.preprocessing.function} gives two answers for one sample",
            "take the randomness (augmentation) out of it",
        )


def _note_resize(samples: Samples) -> Samples:
    """Images of a folder are resized to the model's size where nothing was declared; that is worth a note."""
    size = samples.preparation.target_size(samples.inputs[0])
    column = samples.columns[0]
    if samples.preparation.preprocessing.size is not None or size is None or not isinstance(column, ImageColumn):
        return samples
    if all(column.size(int(position)) == size for position in samples.positions):
        return samples
    text = (
        f"images are resized to the model's {shape_text(size)} (bilinear); to declare it: --resize {resize_text(size)}"
    )
    return replace(samples, notes=(*samples.notes, text))


def _warn_of_few_classes(labels: NDArray[np.int64], count: int, warn: Callable[[str], None]) -> None:
    taken, there = len(np.unique(labels[:count])), len(np.unique(labels))
    if 2 * taken <= there:
        warn(f"the first {count} samples hold {taken} of {there} classes: --balanced draws evenly over all")


def _scale_warnings(samples: Samples) -> list[str]:
    """Pixels that reach a float input unscaled, or values that are scaled although they were scaled already."""
    preprocessing = samples.preparation.preprocessing
    if preprocessing.function:
        return []
    warnings = []
    for index, (spec, column) in enumerate(zip(samples.inputs, samples.columns, strict=True)):
        if not spec.is_float:
            continue
        if preprocessing.scale == "raw":
            low, high = samples.facts.minimum[:, index].min(), samples.facts.maximum[:, index].max()
            if column.integral and max(-low, high) > 16:
                warnings.append(
                    f"input {spec.name} gets raw values from {low:g} to {high:g}; "
                    "unless the model was trained on them, say how to scale: --scale tf, torch or 0-1"
                )
        elif samples.preparation.is_scaled(spec):
            rows = column.rows(samples.positions[:64])
            largest = max(float(np.max(np.abs(row.astype(np.float64)), initial=0)) for row in rows)
            if largest <= 2:
                warnings.append(
                    f"--scale {preprocessing.scale} is for values of 0..255, and those of input {spec.name} "
                    f"reach {largest:g} only: are they scaled already? Then use --scale raw"
                )
    return warnings


def _content_warnings(samples: Samples) -> list[str]:
    """Inputs that never change, and samples that are all the same one."""
    warnings = []
    if len(samples) > 1 and len(set(samples.facts.hashes)) == 1:
        warnings.append(f"all {len(samples)} samples of {samples.source} are equal: does a generator reuse its buffer?")
        return warnings
    for index, spec in enumerate(samples.inputs):
        low, high = samples.facts.minimum[:, index].min(), samples.facts.maximum[:, index].max()
        if low == high:
            warnings.append(f"input {spec.name} is {low:g} everywhere: nothing can be calibrated on it")
    return warnings

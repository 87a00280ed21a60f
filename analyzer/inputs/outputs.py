"""Outputs that something else produced for the same samples: a framework, a board; and targets of a set metric."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .files import unreadable
from .input_spec import shape_text
from .raw_data import bare_name, require_numbers

INDEX = "index"
"""Array of an outputs file that says where in the data each of its samples lies."""


@dataclass(frozen=True)
class OutputSpec:
    """One output that saved arrays must fit.

    Attributes:
      name: As the model has it.
      shape: Of one sample, without a leading 1.
      dtype: numpy's name of the file's own type.
      scale, zero_point: Of an integer output; a scale of 0 where it has none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, eq=False)
class SavedOutputs:
    """Outputs as read.

    Attributes:
      arrays: For each output, in the model's order, float32 [n, ...]; the output's own type where it has no scale.
      places: int64 [n], where in the data as brought each sample lies.
    """

    arrays: tuple[NDArray[Any], ...]
    places: NDArray[np.int64]


def read_outputs(path: Path, outputs: Sequence[OutputSpec], total: int, what: str) -> SavedOutputs:
    """Reads the outputs of an `.npz`, one array [n, ...] for each output, or of an `.npy` with the only one.

    Arrays are found by the outputs' names, as `output_0`, `output_1` ..., or as the only one there is. An array
    `index` says which samples they are for; without it they are for the first n. Integers are dequantized.

    Args:
      path: The file.
      outputs: What they must fit.
      total: How many samples the data has.
      what: What to call the file's maker, e.g. `the device`.

    Raises:
      DataError: The file cannot be read, lacks an output, or does not fit.
    """
    arrays = dict(read_arrays(path))
    places = arrays.pop(INDEX, None)
    found = [_array_of(arrays, spec, place, len(outputs), path) for place, spec in enumerate(outputs)]
    lengths = sorted({len(array) for array in found})
    if len(lengths) > 1 or lengths[0] == 0:
        raise DataError(f"the arrays of {path} hold {lengths} samples", "give as many of each output, at least one")
    places = np.arange(lengths[0]) if places is None else _places(places, lengths[0], total, path)
    if lengths[0] > total:
        raise DataError(
            f"{path} holds outputs of {lengths[0]} samples, the data has {total}",
            "give the evaluation data that they were made of",
        )
    values = [_fitted(array, spec, path, what) for array, spec in zip(found, outputs, strict=True)]
    return SavedOutputs(tuple(values), places)


def read_targets(text: str, total: int) -> NDArray[Any]:
    """Targets of a set metric, [total, ...]: FILE.npy, or FILE.npz:ARRAY.

    Raises:
      DataError: It cannot be read, or is not one row for each sample.
    """
    name, colon, key = text.rpartition(":")
    path = Path(name if colon and name.endswith(".npz") else text).expanduser()
    arrays = read_arrays(path)
    wanted = key if colon and path.suffix == ".npz" else ""
    if wanted not in arrays and (wanted or len(arrays) != 1):
        raise DataError(f"{path} has no array {wanted or 'of its own'}; it has {', '.join(arrays)}", "FILE.npz:ARRAY")
    targets = arrays[wanted] if wanted else next(iter(arrays.values()))
    if targets.ndim == 0 or len(targets) != total:
        raise DataError(
            f"the targets have the shape {shape_text(targets.shape)}, there are {total} evaluation samples",
            "give one row for each sample, in the order of the data",
        )
    return targets


def read_arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    """All arrays of an `.npz` by name, or the one of an `.npy` as `array`; numbers only.

    Raises:
      DataError: The file is missing or damaged, or holds something else.
    """
    try:
        opened = np.load(path, allow_pickle=False)  # pickled arrays can run code
        arrays = {name: opened[name] for name in opened.files} if hasattr(opened, "files") else {"array": opened}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise unreadable(path, error) from error
    if not arrays:
        raise DataError(f"{path} holds no arrays", "write it with np.savez")
    for name, array in arrays.items():
        require_numbers(array, f"array {name} of {path}")
    return arrays


def _array_of(arrays: Mapping[str, NDArray[Any]], spec: OutputSpec, place: int, count: int, path: Path) -> NDArray[Any]:
    by_name = {bare_name(name): array for name, array in arrays.items()}
    for name in (spec.name, bare_name(spec.name), f"output_{place}"):
        if name in arrays or name in by_name:
            found = arrays[name] if name in arrays else by_name[name]
            break
    else:
        if count > 1 or len(arrays) != 1:
            raise DataError(
                f"{path} has no array for output {spec.name}; it has {', '.join(arrays)}",
                f"name it {spec.name} or output_{place}",
            )
        found = next(iter(arrays.values()))
    if found.ndim == 0:
        raise DataError(f"the outputs in {path} are a single value", "the first dimension counts the samples")
    return found


def _places(index: NDArray[Any], count: int, total: int, path: Path) -> NDArray[np.int64]:
    whole = index.dtype.kind in "iu" and index.shape == (count,)
    if not whole or len(np.unique(index)) != count or index.min() < 0 or index.max() >= total:
        raise DataError(
            f"{INDEX} of {path} does not name {count} of the {total} evaluation samples",
            "give each sample's place in the data, from 0, once, or leave it out for the first ones",
        )
    return index.astype(np.int64)


def _fitted(array: NDArray[Any], spec: OutputSpec, path: Path, what: str) -> NDArray[Any]:
    """[n, *shape of the spec], dequantized; dimensions of 1 do not count."""
    if [s for s in array.shape[1:] if s != 1] != [s for s in spec.shape if s != 1]:
        raise DataError(
            f"{what} gives {shape_text(array.shape[1:])} for output {spec.name}, the model {shape_text(spec.shape)}",
            f"bring {path} to one row for each sample, of the model's shape and layout",
        )
    array = array.reshape(len(array), *spec.shape)
    if array.dtype.kind == "f" or spec.scale == 0:
        if array.dtype.kind != "f" and array.dtype.name != spec.dtype:
            raise DataError(
                f"{what} gives {array.dtype} for output {spec.name}, which is {spec.dtype}", f"save {spec.dtype} values"
            )
        return array.astype(np.float32) if array.dtype.kind == "f" else array
    if array.dtype.name != spec.dtype:
        raise DataError(
            f"{what} gives {array.dtype} for output {spec.name}, which is {spec.dtype}",
            f"save the raw {spec.dtype} values, or dequantized floats",
        )
    return np.asarray((array.astype(np.float32) - spec.zero_point) * np.float32(spec.scale), np.float32)

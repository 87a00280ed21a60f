"""What was brought, before any preprocessing, and how its arrays find the model's inputs by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .columns import ArrayColumn, Column
from .input_spec import InputSpec
from .labels import LABEL_NAMES


@dataclass(frozen=True, eq=False)
class RawData:
    """Samples as brought.

    Attributes:
      columns: One for each array of a sample; without a preprocessing function one for each model input.
      names: Of the columns: the model inputs' names, or the arrays' own where only a function makes inputs of them.
      labels: [n] or anything `labels.to_labels` takes; None where there are none.
      source: What to call it.
      class_names: Of the labels, where they have names.
      images: Whether the samples are decoded image files, [height, width, channels] each, resized where need be.
      notes: What a reader should know of how it was read.
    """

    columns: tuple[Column, ...]
    names: tuple[str, ...]
    labels: Any
    source: str
    class_names: tuple[str, ...] = ()
    images: bool = False
    notes: tuple[str, ...] = ()


def bare_name(name: str) -> str:
    """An input's name without what TensorFlow adds to it: `serving_default_image:0` is `image`."""
    return name.removeprefix("serving_default_").split(":")[0]


def match_inputs(names: Iterable[str], inputs: Sequence[InputSpec], what: str) -> list[str]:
    """The array for each input, by the input's name or, for a single input, as the only array that is not the labels.

    Args:
      what: What holds the arrays, for the message.

    Raises:
      DataError: An input has no array, or it is not clear which.
    """
    names = list(names)
    bare = {bare_name(name): name for name in names}
    found = [spec.name if spec.name in names else bare.get(bare_name(spec.name)) for spec in inputs]
    if len(inputs) == 1 and found == [None]:
        rest = [name for name in names if name not in LABEL_NAMES]
        if len(rest) == 1:
            return rest
    missing = [spec.name for spec, name in zip(inputs, found, strict=True) if name is None]
    if missing:
        raise DataError(
            f"{what} has no array named {', '.join(missing)}; it has {', '.join(names) or 'none'}",
            "name the arrays after the model's inputs, or say which: FILE.npz:INPUT,LABELS (in Python a dict)",
        )
    return [name for name in found if name is not None]


def choose_columns(
    names: Sequence[str], inputs: Sequence[InputSpec], what: str, free: bool
) -> tuple[list[str], tuple[str, ...]]:
    """(arrays to read, names to give them): the model's inputs where they can be found.

    Args:
      free: Whether a preprocessing function makes the inputs, so that any arrays but the labels will do.
    """
    try:
        return match_inputs(names, inputs, what), tuple(spec.name for spec in inputs)
    except DataError:
        rest = [name for name in names if name not in LABEL_NAMES]
        if not (free and rest):
            raise
        return rest, tuple(rest)


def find_labels(names: Iterable[str], used: Iterable[str]) -> str | None:
    """The one array beside the inputs that is named like labels; None where there is none, or more than one."""
    found = [name for name in names if name in LABEL_NAMES and name not in set(used)]
    return found[0] if len(found) == 1 else None


def columns_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[Column, ...]:
    """Columns from whole arrays, [n, ...] each.

    Raises:
      DataError: An array has no dimension that counts samples, or they count differently.
    """
    for name, array in arrays.items():
        if array.ndim == 0:
            raise DataError(f"array {name} is a single value", "an array's first dimension counts the samples")
        require_numbers(array, f"array {name}")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"the arrays hold unequal numbers of samples: {listed}", "cut them to one length")
    return tuple(ArrayColumn(array) for array in arrays.values())


def require_numbers(array: NDArray[Any], what: str) -> None:
    """Raises a DataError where an array holds anything but real numbers or booleans."""
    if array.dtype.kind not in "biuf":
        kind = {"O": "Python objects", "U": "text", "S": "text", "c": "complex numbers"}.get(array.dtype.kind)
        raise DataError(
            f"{what} holds {kind or array.dtype}, not numbers",
            "give arrays of one numeric type; samples of unequal shapes need --resize, or a generator",
        )


def as_array(value: Any) -> NDArray[Any]:
    """A copy of anything array-like: generators may write each sample into one buffer."""
    try:
        return np.array(value)
    except ValueError as error:  # a ragged nested list
        raise DataError(f"a sample is no array: {error}", "give numpy arrays") from error

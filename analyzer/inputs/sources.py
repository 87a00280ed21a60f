"""DATA as it is typed: what it names, told apart before anything is loaded.

    FILE.npz                    arrays named after the model's inputs (for one input: the only array but the labels),
                                labels under `y`, `label`, `labels`, `target` or `targets`, if at all
    FILE.npz:INPUT[,LABELS]     these arrays, e.g. cifar10.npz:x_eval,y_eval
    FILE.npz:IN1+IN2[,LABELS]   several inputs, in the order of the model's inputs
    FILE.npz:,LABELS            arrays named after the model's inputs, and these labels
    FILE.npy                    one array for the only input
    FOLDER                      images; each subfolder is a class, in sorted order; without subfolders unlabelled
    module:function             called without arguments; returns what the Python interface takes
    tfds:NAME/SPLIT             with tensorflow-datasets installed and the data prepared, e.g. tfds:cifar10/test[:1000]

Paths may hold colons, drive letters included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .functions import is_function_name

DATA_SYNTAX = "FILE.npz:INPUT[,LABELS] | FILE.npy | FOLDER | module:function | tfds:NAME/SPLIT"

_ARRAYS = re.compile(r"(?P<path>.+\.np[zy])(?::(?P<arrays>[^:/\\]*))?", re.IGNORECASE | re.DOTALL)
_IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))


@dataclass(frozen=True)
class ArrayFile:
    """Arrays of a `.npz` or `.npy` file.

    Attributes:
      arrays: Names in the order of the model's inputs; empty where they are found by the inputs' names.
      labels: Name of the array of labels; "" where it was not given.
    """

    path: Path
    arrays: tuple[str, ...] = ()
    labels: str = ""


@dataclass(frozen=True)
class ImageFolder:
    """A folder of image files."""

    path: Path


@dataclass(frozen=True)
class FunctionName:
    """A `module:function` that gives the data."""

    name: str


@dataclass(frozen=True)
class TfdsName:
    """A data set of tensorflow-datasets: its name (with config and version, if any) and a split."""

    name: str
    split: str


DataSource = ArrayFile | ImageFolder | FunctionName | TfdsName


def is_image_name(path: Path) -> bool:
    """Whether a file is an image by its name."""
    return path.suffix.lower() in _IMAGE_SUFFIXES and not path.name.startswith(".")


def parse_data(text: str) -> DataSource:
    """Reads DATA as typed. Files and folders must exist; nothing is opened, no module imported.

    Raises:
      DataError: It names nothing that exists, or nothing that can be read.
    """
    if text.startswith("tfds:"):
        name, _, split = text.removeprefix("tfds:").rpartition("/")
        if not name or not split:
            raise DataError(f"{text!r} names no split", "write tfds:NAME/SPLIT, e.g. tfds:cifar10/test")
        return TfdsName(name, split)
    path = Path(text).expanduser()
    if path.is_dir():
        return ImageFolder(path)
    match = _ARRAYS.fullmatch(text)
    if match is not None:
        return _array_file(Path(match["path"]).expanduser(), match["arrays"])
    if is_function_name(text):
        return FunctionName(text)
    if path.is_file():
        if is_image_name(path):
            raise DataError(f"{text} is a single image", "give the folder that holds the images")
        raise DataError(f"{text} is a file that Bitplan cannot read samples from", f"DATA is {DATA_SYNTAX}")
    if ".py:" in text:
        raise DataError(f"{text!r} is a path, not a module", "write module:function with dots and without .py")
    raise DataError(f"there is no {text}", f"DATA is {DATA_SYNTAX}; relative paths start in {Path.cwd()}")


def _array_file(path: Path, arrays: str | None) -> ArrayFile:
    if not path.is_file():
        raise DataError(f"there is no file {path}", f"relative paths start in {Path.cwd()}")
    if arrays is None:
        return ArrayFile(path)
    if path.suffix.lower() == ".npy":
        raise DataError(f"{path} holds one array without a name", f"leave :{arrays} out, or put both into an .npz")
    inputs, comma, labels = arrays.partition(",")
    names = tuple(inputs.split("+")) if inputs else ()
    if "" in names or "," in labels or (comma and not labels) or not (names or labels):
        raise DataError(f"{arrays!r} names no arrays", f"write {path.name}:INPUT or {path.name}:INPUT,LABELS")
    return ArrayFile(path, names, labels)

"""Samples from `.npz` and `.npy` files, from folders of images and from tensorflow-datasets."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .columns import ImageColumn
from .input_spec import InputSpec, shape_text
from .raw_data import RawData, choose_columns, columns_of, find_labels
from .sources import ArrayFile, ImageFolder, TfdsName, is_image_name

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_array_file(file: ArrayFile, inputs: Sequence[InputSpec], free: bool) -> RawData:
    """Reads the arrays that feed the model out of a `.npz` or `.npy` file.

    Args:
      free: Whether a preprocessing function makes the inputs, so that the arrays need not be named after them.

    Raises:
      DataError: The file is damaged or holds Python objects, or an array is missing.
    """
    try:
        # Pickled arrays can run code, so they are never opened.
        opened = np.load(file.path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise unreadable(file.path, error) from error
    if isinstance(opened, np.ndarray):
        if len(inputs) > 1 and not free:
            raise DataError(
                f"{file.path} holds one array, the model has {len(inputs)} inputs: {', '.join(i.name for i in inputs)}",
                "put one array for each of them into an .npz",
            )
        name = inputs[0].name
        return RawData(columns_of({name: opened}), (name,), None, str(file.path))
    with opened:
        held = list(opened.files)
        for name in (*file.arrays, *([file.labels] if file.labels else ())):
            if name not in held:
                raise DataError(
                    f"{file.path} has no array {name}; it has {', '.join(held) or 'none'}",
                    f"name one of them: {file.path.name}:INPUT,LABELS",
                )
        labels = file.labels or None
        if file.arrays:
            names: tuple[str, ...] = tuple(spec.name for spec in inputs)
            if len(file.arrays) != len(inputs):
                if not free:
                    raise DataError(
                        f"{len(file.arrays)} arrays were named, the model has {len(inputs)} inputs: {', '.join(names)}",
                        f"name them in this order: {file.path.name}:{'+'.join('ABCDEFGH'[: len(inputs)])},LABELS",
                    )
                names = file.arrays
            keys = list(file.arrays)
        else:
            candidates = [name for name in held if name != labels]
            keys, names = choose_columns(candidates, inputs, str(file.path), free)
            labels = labels or find_labels(held, keys)
        arrays = {name: _read(opened, key, file.path) for name, key in zip(names, keys, strict=True)}
        return RawData(columns_of(arrays), names, _read(opened, labels, file.path) if labels else None, str(file.path))


def _read(archive: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = archive[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise unreadable(path, error, f"array {name} of ") from error
    return array


def unreadable(path: Path, error: Exception, part: str = "") -> DataError:
    """What to say where NumPy could not read an `.npz` or `.npy`, or an array in it.

    Args:
      path: The file.
      error: NumPy's.
      part: What of it, before the path.
    """
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file {path}", "check the path")
    # To NumPy whatever is none of its own files may be a pickle.
    if not part and path.is_file() and not _starts_like_numpy(path):
        return DataError(f"{path} is neither an .npz nor an .npy file", "write it with np.savez or np.save")
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return DataError(
            f"{part}{path} holds Python objects, which are never loaded: they can run code",
            "save arrays of one numeric type: np.savez(path, x=np.stack(samples))",
        )
    return DataError(f"{part}{path} cannot be read: {error}", "write it again with np.savez or np.save")


def _starts_like_numpy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"PK", b"\x93NUMPY"))


def read_image_folder(folder: ImageFolder, inputs: Sequence[InputSpec], free: bool) -> RawData:
    """Lists the images of a folder; they are decoded when they are needed.

    Each subfolder is a class; classes are numbered in the sorted order of their names, as Keras does, and the images
    of a class lie in it at any depth. A folder without subfolders is unlabelled.

    Args:
      free: Whether a preprocessing function makes the inputs.

    Raises:
      DataError: There are no images, or they lie both beside and in subfolders, or the model takes no images.
    """
    spec = inputs[0]
    if not free:
        if len(inputs) > 1:
            raise DataError(
                f"a folder of images feeds one input, the model has {len(inputs)}",
                "give module:function, which returns a dict of arrays by input name",
            )
        if spec.channels not in _MODES:
            raise DataError(
                f"the model's input {spec.name} takes {shape_text(spec.sample_shape)}, which is no image",
                "turn images into it with --preprocess module:function",
            )
    root = folder.path
    entries = sorted((e for e in root.iterdir() if not e.name.startswith(".")), key=lambda e: e.name)
    classes = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if entry.is_file() and is_image_name(entry)]
    ignored = sum(1 for entry in entries if entry.is_file() and not is_image_name(entry))
    if classes and loose:
        raise DataError(
            f"{root} holds {len(loose)} images beside {len(classes)} subfolders",
            "sort them into the subfolders (each is a class), or take the subfolders away",
        )
    paths, labels = list(loose), []
    for index, entry in enumerate(classes):
        files = sorted((p for p in entry.rglob("*") if p.is_file()), key=lambda p: p.relative_to(root).parts)
        found = [p for p in files if is_image_name(p)]
        ignored += len(files) - len(found)
        paths += found
        labels += [index] * len(found)
    if not paths:
        raise DataError(f"{root} holds no images", "give a folder of .jpg, .png, .bmp, .gif, .tif or .webp files")
    names = tuple(entry.name for entry in classes)
    notes: tuple[str, ...] = (f"{ignored} files that are no images were left out",) if ignored else ()
    if all(name.isdecimal() for name in names) and sorted(names, key=int) != list(names):
        notes += (
            f"the folders {', '.join(names[:3])} ... are numbered as classes in text order, as Keras does it; "
            "to number them by value, write them with leading zeros",
        )
    column = ImageColumn(paths, root, _MODES.get(spec.channels or 3, "RGB"))
    return RawData(
        (column,), (spec.name,), np.array(labels, np.int64) if classes else None, str(root), names, True, notes
    )


def tfds_items(dataset: TfdsName) -> Iterator[Any]:
    """The elements of a split that is already on this machine: (x, y) where the data set names them, else dicts.

    Raises:
      DataError: tensorflow-datasets is not installed, or the data is not prepared. Nothing is ever downloaded.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"tfds:{dataset.name} needs tensorflow-datasets: {error}", "pip install tensorflow-datasets"
        ) from error
    known: list[str] = []
    try:
        builder = tfds.builder(dataset.name)
        known = list(builder.info.splits or ())  # empty until the data is prepared
        split = builder.as_dataset(split=dataset.split, shuffle_files=False)
    except Exception as error:  # AssertionError, ValueError, and classes of its own that move between versions
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        prepare = f"import tensorflow_datasets as tfds; tfds.builder('{dataset.name}').download_and_prepare()"
        raise DataError(
            f"tfds:{dataset.name}/{dataset.split} cannot be opened: {reason}",
            f"take one of its splits: {', '.join(known)}"
            if known
            else f'Bitplan downloads nothing: prepare it first with python -c "{prepare}"',
        ) from error
    keys = builder.info.supervised_keys
    supervised = bool(keys) and len(keys) == 2 and all(isinstance(key, str) for key in keys)
    for element in split.as_numpy_iterator():
        yield (element[keys[0]], element[keys[1]]) if supervised else element

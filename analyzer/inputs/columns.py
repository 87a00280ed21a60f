"""Samples as they were brought, one column per array that makes up a sample: kept compact, read by position.

Whatever is decoded or generated is so on demand, and a file is never decoded before somebody asks for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .input_spec import InputSpec

# The EXIF tag; from 5 on the image lies on its side.
_ORIENTATION = 0x0112

Rows = NDArray[Any] | list[NDArray[Any]]


class Column(Protocol):
    """One array of every sample."""

    @property
    def integral(self) -> bool:
        """Whether the values are whole numbers, as those of decoded images are."""

    def __len__(self) -> int: ...

    def rows(self, positions: NDArray[np.int64]) -> Rows:
        """The samples at `positions`: [n, ...] where all samples have one shape, else a list of arrays."""

    def key(self, position: int) -> bytes:
        """What identifies a sample whatever its position, without decoding it."""

    def origin(self, position: int) -> str:
        """What to call a sample in a message."""


@dataclass(frozen=True, eq=False)
class ArrayColumn:
    """Samples of one shape: `values` is [n, ...]."""

    values: NDArray[Any]

    @property
    def integral(self) -> bool:
        return self.values.dtype.kind in "iu"

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, positions: NDArray[np.int64]) -> Rows:
        return self.values[positions]

    def key(self, position: int) -> bytes:
        return hashlib.sha256(np.ascontiguousarray(self.values[position]).tobytes()).digest()

    def origin(self, position: int) -> str:
        return f"sample {position}"


@dataclass(frozen=True, eq=False)
class RaggedColumn:
    """Samples of unequal shapes."""

    values: Sequence[NDArray[Any]]

    @property
    def integral(self) -> bool:
        return all(value.dtype.kind in "iu" for value in self.values)

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, positions: NDArray[np.int64]) -> Rows:
        return [self.values[position] for position in positions]

    def key(self, position: int) -> bytes:
        value = self.values[position]
        return hashlib.sha256(f"{value.shape}".encode() + np.ascontiguousarray(value).tobytes()).digest()

    def origin(self, position: int) -> str:
        return f"sample {position}"


@dataclass(frozen=True, eq=False)
class ImageColumn:
    """Image files, decoded when they are read, EXIF orientation respected.

    Attributes:
      paths: One file a sample.
      folder: What the paths are named relative to.
      mode: pillow's `L`, `RGB` or `RGBA`.
    """

    paths: Sequence[Path]
    folder: Path
    mode: str
    integral: bool = True

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, positions: NDArray[np.int64]) -> Rows:
        return [decode_image(self.paths[position], self.mode) for position in positions]

    def key(self, position: int) -> bytes:
        return self.origin(position).encode()

    def origin(self, position: int) -> str:
        return self.paths[position].relative_to(self.folder).as_posix()

    def size(self, position: int) -> tuple[int, int]:
        """(height, width) of an image as it will be decoded, read from its header only."""
        from PIL import Image

        with Image.open(self.paths[position]) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)


@dataclass(frozen=True, eq=False)
class RandomColumn:
    """Made-up values for one input: see `dataset.random_samples`. Each sample has a generator of its own."""

    spec: InputSpec
    input_index: int
    count: int
    seed: int

    @property
    def integral(self) -> bool:
        return not self.spec.is_float

    def __len__(self) -> int:
        return self.count

    def rows(self, positions: NDArray[np.int64]) -> Rows:
        shape = tuple(abs(size) for size in self.spec.sample_shape)
        dtype = np.dtype(self.spec.dtype)
        block = np.empty((len(positions), *shape), dtype)
        for row, position in enumerate(positions):
            generator = np.random.default_rng((self.seed, self.input_index, int(position)))
            if dtype.kind == "f":
                block[row] = generator.standard_normal(shape, np.float32)
            else:
                block[row] = generator.integers(0, 256 if dtype == np.uint8 else 2, shape)
        return block

    def key(self, position: int) -> bytes:
        return f"{self.seed}:{self.input_index}:{position}".encode()

    def origin(self, position: int) -> str:
        return f"random sample {position}"


def decode_image(path: Path, mode: str) -> NDArray[np.uint8]:
    """Decodes an image file (of an animation the first frame) to uint8 [height, width, channels].

    Args:
      mode: pillow's `L`, `RGB` or `RGBA`.

    Raises:
      DataError: The file cannot be decoded, or holds more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":
                raise DataError(
                    f"{path} has more than 8 bits a channel (pillow's mode {image.mode})",
                    "convert it to 8 bits, or load such images through module:function",
                )
            values = np.asarray(ImageOps.exif_transpose(image).convert(mode), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded: {error}", "mend the image, or take it out of the folder") from error
    return values if values.ndim == 3 else values[:, :, None]


def stack(values: Sequence[NDArray[Any]]) -> Column:
    """A column of arrays: one array where their shapes and types are equal."""
    if all(v.shape == values[0].shape and v.dtype == values[0].dtype for v in values):
        return ArrayColumn(np.stack(values))
    return RaggedColumn(values)

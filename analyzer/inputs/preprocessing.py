"""What happens to a sample before the model sees it: a declared resize, a declared scale, or a function of the user's.

All of it is NumPy: what TensorFlow and Keras do is done here in the same float32 arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .functions import is_function_name

SCALES: Mapping[str, str] = {
    "raw": "as it is",
    "tf": "x / 127.5 - 1",
    "torch": "(x / 255 - mean) / std, with the mean and std of ImageNet's channels",
    "0-1": "x / 255",
}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """A declared preprocessing: `function` first, on the sample as loaded; then `resize`; then `scale`.

    Attributes:
      resize: Side of a square or (height, width), in pixels, bilinear; None leaves the size alone.
      scale: A key of `SCALES`.
      function: `module:function` or "". Takes one sample as loaded (an array, or a dict of arrays by name where there
        are several), returns one float array, or several as a list in the order of the model's inputs or a dict by
        their names.

    Raises:
      UsageError: One of them cannot be read.
    """

    resize: int | tuple[int, int] | None = None
    scale: str = "raw"
    function: str = ""

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"there is no scale {self.scale!r}", f"take one of {', '.join(SCALES)}")
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"images cannot be resized to {self.resize}", "give a size of at least 1 pixel")
        if self.function and not is_function_name(self.function):
            raise UsageError(f"{self.function!r} is not of the form module:function", "write it like prep:crop")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) to resize to."""
        return (self.resize, self.resize) if isinstance(self.resize, int) else self.resize

    def describe(self) -> dict[str, Any]:
        """As a JSON object, for the record of a run."""
        return {"resize": list(self.size) if self.size else None, "scale": self.scale, "function": self.function}


def parse_resize(text: str) -> int | tuple[int, int]:
    """Reads `96` (a square) or `96x128` (height x width).

    Raises:
      UsageError: It is neither.
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:[xX,]\s*(\d+)\s*)?", text)
    if match is None:
        raise UsageError(f"{text!r} is no image size", "write 96 for a square, 96x128 for height x width")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def resize_text(size: tuple[int, int]) -> str:
    """A size as `parse_resize` reads it: `96` or `96x128`."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def parse_preprocessing(resize: str = "", scale: str = "raw", function: str = "") -> Preprocessing:
    """Builds a `Preprocessing` from what was typed; "" for what was not.

    Raises:
      UsageError: One of them cannot be read.
    """
    return Preprocessing(parse_resize(resize) if resize else None, scale, function)


def resize_bilinear(images: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resizes images as `tf.image.resize` does by default: bilinear, half-pixel centres, no antialiasing.

    Args:
      images: [..., height, width, channels], any real type.
      size: (height, width).

    Returns:
      [..., size[0], size[1], channels].
    """
    lower, upper, weight = _taps(images.shape[-2], size[1])
    rows = _blend(images, lower, upper, weight[:, None], axis=images.ndim - 2)
    lower, upper, weight = _taps(images.shape[-3], size[0])
    return _blend(rows, lower, upper, weight[:, None, None], axis=images.ndim - 3)


def _taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `target` pixels: the two neighbours among `source` pixels and the weight of the second, [target]."""
    half = np.float32(0.5)
    # In float32, as TensorFlow's kernel has it: rounding decides which neighbours a pixel on a border gets.
    position = (np.arange(target, dtype=np.float32) + half) * (np.float32(source) / np.float32(target)) - half
    floor = np.floor(position)
    lower = np.maximum(floor, 0).astype(np.intp)
    upper = np.minimum(np.ceil(position), source - 1).astype(np.intp)
    return lower, upper, position - floor


def _blend(
    values: NDArray[Any],
    lower: NDArray[np.intp],
    upper: NDArray[np.intp],
    weight: NDArray[np.float32],
    axis: int,
) -> NDArray[np.float32]:
    """`values[lower] + (values[upper] - values[lower]) * weight` along one axis, in float32."""
    first = np.take(values, lower, axis=axis).astype(np.float32, copy=False)
    second = np.take(values, upper, axis=axis).astype(np.float32, copy=False)
    second -= first
    second *= weight
    second += first
    return second


def scale_values(values: NDArray[Any], scale: str, channel_axis: int = -1) -> NDArray[np.float32]:
    """Scales pixel values of 0..255 as `SCALES` has it, in float32.

    Args:
      values: Any shape; for `torch` of three channels along `channel_axis`.

    Raises:
      UsageError: `torch` was asked for and there are not three channels.
    """
    result = values.astype(np.float32)  # a copy, so that what follows may write in place
    if scale == "tf":
        result /= np.float32(127.5)
        result -= np.float32(1)
    elif scale in ("0-1", "torch"):
        result /= np.float32(255)
    if scale == "torch":
        if result.ndim == 0 or result.shape[channel_axis] != 3:
            raise UsageError(
                "--scale torch is defined for three channels, and these samples have not three",
                "scale them with --preprocess module:function",
            )
        shape = [1] * result.ndim
        shape[channel_axis] = 3
        result -= np.array(IMAGENET_MEAN, np.float32).reshape(shape)
        result /= np.array(IMAGENET_STD, np.float32).reshape(shape)
    return result

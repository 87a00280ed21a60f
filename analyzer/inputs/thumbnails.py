"""Small pictures of samples as they were brought, before any preprocessing."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .samples import Samples

SIDE = 64
"""Longest side of a thumbnail, pixels."""

_CHANNELS = (1, 3, 4)
_QUALITY = 80


def thumbnail(samples: Samples, index: int) -> str:
    """A sample's picture as a data URI; "" where the sample is no image.

    Args:
      samples: Of which the first input is looked at.
      index: Which sample.
    """
    raw = np.asarray(samples.columns[0].rows(samples.positions[index : index + 1])[0])
    pixels = _pixels(raw) if samples.preparation.images or samples.inputs[0].looks_like_image else None
    return "" if pixels is None else _data_uri(pixels)


def _pixels(raw: NDArray[Any]) -> NDArray[np.uint8] | None:
    """uint8 [height, width, 1, 3 or 4] of an array laid out as an image; None for any other.

    Whole numbers are taken as they are; other values are spread from the least one to the largest.
    """
    shape = tuple(size for size in raw.shape if size != 1)
    if len(shape) == 2:
        image = raw.reshape(*shape, 1)
    elif len(shape) == 3 and shape[2] in _CHANNELS:
        image = raw.reshape(shape)
    elif len(shape) == 3 and shape[0] in _CHANNELS:
        image = np.moveaxis(raw.reshape(shape), 0, -1)
    else:
        return None
    if raw.dtype.kind in "iu" and image.min() >= 0 and image.max() <= 255:
        return np.asarray(image, np.uint8)
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    return np.asarray(np.rint(255 * (values - low) / (high - low or 1.0)), np.uint8)


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """PNG for what is small already, which shows it exactly; JPEG for what has to be made smaller."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    is_small = max(image.size) <= SIDE
    if not is_small:
        image.thumbnail((SIDE, SIDE))
        image = image.convert("L" if image.mode == "L" else "RGB")
    file = io.BytesIO()
    if is_small:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=_QUALITY)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"

"""Whether two tensors of weights are the same ones, whatever their shape and the order of their columns. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

_COMPARED = 4096
"""So many elements of a tensor are compared, evenly spaced: the weights of a large network would take minutes."""

_UNLIKE = 0.5


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of the angle between two tensors of one shape, from some of their elements; 0 where one is all zero."""
    x, y = _direction(first), _direction(second)
    return float(x @ y)


def fitted(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Values in another shape that differs in sizes of 1 alone, as a 1x1 convolution's and a matrix' do; else None."""
    if values.shape == shape:
        return values
    squeezed = tuple(size for size in values.shape if size != 1)
    return values.reshape(shape) if squeezed == tuple(size for size in shape if size != 1) else None


def in_order_of(original: np.ndarray, values: np.ndarray, flattened: Sequence[int]) -> np.ndarray:
    """The columns of a matrix in the order that they have in the float network.

    A matrix behind a flattened map has its columns in the order of that map's axes, and converters put the channels
    first or last. The order is changed only where that makes unlike weights alike.

    Args:
      original: The float network's matrix [rows, columns].
      values: The file's, of the same shape.
      flattened: Sizes of the float network's map without its batch, e.g. (channels, height, width).
    """
    if cosine(original, values) >= _UNLIKE:
        return values
    best = max(_orders(values, flattened), key=lambda other: cosine(original, other), default=values)
    return best if cosine(original, best) > _UNLIKE else values


def _orders(values: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """The matrix as if the file had flattened its channels last, and first."""
    if values.ndim != 2 or len(sizes) != 3 or math.prod(sizes) != values.shape[1]:
        return
    first, second, third = sizes
    yield values.reshape(-1, second, third, first).transpose(0, 3, 1, 2).reshape(values.shape)
    yield values.reshape(-1, third, first, second).transpose(0, 2, 3, 1).reshape(values.shape)


def _direction(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1)
    some = flat[:: max(1, math.ceil(flat.size / _COMPARED))].astype(np.float64)
    length = float(np.linalg.norm(some))
    return some / length if length else some

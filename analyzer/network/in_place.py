"""A flatbuffer whose scales, zero points and constants are overwritten where they lie.

Their lengths never change, so nothing moves: a file that differs from another in these alone takes less than 1 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import flatbuffer as fb


class InPlace:
    """The first subgraph of a file, open for writing.

    Args:
      file: The flatbuffer, its buffers inside; it is copied.

    Attributes:
      model: Parsed, as it was at first.
    """

    def __init__(self, file: bytes) -> None:
        self.model = fb.read(file)
        self._file = bytearray(file)
        self._root = fb.schema().Model.GetRootAs(self._file, 0)
        self._graph = self._root.Subgraphs(0)

    def scale(self, tensor: int) -> np.ndarray:
        """A view of a quantized tensor's scales, float32 [n]."""
        return _view(self._graph.Tensors(tensor).Quantization().ScaleAsNumpy())

    def zero_point(self, tensor: int) -> np.ndarray:
        """A view of its zero points, int64 [n]; equal ones of several tensors may lie in one place."""
        return _view(self._graph.Tensors(tensor).Quantization().ZeroPointAsNumpy())

    def data(self, tensor: int, dtype: Any) -> np.ndarray:
        """A view of a constant's values [n]."""
        return _view(self._root.Buffers(self._graph.Tensors(tensor).Buffer()).DataAsNumpy()).view(dtype)

    def file(self) -> bytes:
        """As it now is."""
        return bytes(self._file)


def _view(found: Any) -> np.ndarray:
    """The generated code gives 0 for a vector that is not there."""
    return found if isinstance(found, np.ndarray) else np.zeros(0, np.uint8)

"""Arrays as samples, for what reads samples in content order."""

from __future__ import annotations

import numpy as np


class Arrays:
    """Samples of one input.

    Args:
      values: [samples, *shape].
      labels: [samples], or None.
    """

    def __init__(self, values: np.ndarray, labels: np.ndarray | None = None) -> None:
        self._values, self.labels = values, labels
        self.hashes = [row.tobytes() for row in values]

    def __len__(self) -> int:
        return len(self._values)

    def block(self, start: int, stop: int) -> list[np.ndarray]:
        return [self._values[start:stop]]

    def rows(self) -> list[list[np.ndarray]]:
        """Each sample as the interpreter takes it."""
        return [[row[None]] for row in self._values]

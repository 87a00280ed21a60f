"""The output error that mends are measured by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...analyzer.measures.per_sample import output_variance, per_sample_nmse
from ...analyzer.schema import Graph

UNLIKE = 16.0
"""Columns of one output are parts of unlike range where the widest is so many times as wide as the narrowest."""


class Yardstick:
    """nmse of each sample against the float network's compared outputs.

    An output whose columns (entries of its last axis) have unlike ranges is measured column by column, each against its
    own variance: else the error of scores of 0..1 would vanish beside that of boxes of 0..640. Classes are one thing,
    and are never taken apart.

    Args:
      graph: The float network.
      reference: Its compared outputs, [samples, ...] each.
    """

    def __init__(self, graph: Graph, reference: Sequence[np.ndarray]) -> None:
        self._reference = [np.asarray(values, np.float32) for values in reference]
        self.spans = [_column_spans(values) for values in self._reference]
        self._by_column = [not graph.is_classifier and is_mixed(spans) for spans in self.spans]

    def errors(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """float64 [samples]; infinite where an output is not finite.

        Args:
          outputs: Of the first samples, as many as there are; the shapes of the reference, or flattened.
        """
        rows = []
        for wanted, found, apart in zip(self._reference, outputs, self._by_column, strict=True):
            count = len(found)
            answers = np.asarray(found, np.float32).reshape(count, *wanted.shape[1:])
            if not apart:
                rows.append(per_sample_nmse(wanted[:count], answers, output_variance(wanted)))
                continue
            columns = [
                per_sample_nmse(wanted[:count, ..., k], answers[..., k], output_variance(wanted[..., k]))
                for k in range(wanted.shape[-1])
            ]  # fmt: skip
            rows.append(np.mean(columns, axis=0))
        return np.asarray(np.mean(rows, axis=0), np.float64)


def is_mixed(spans: np.ndarray) -> bool:
    """Whether the columns of an output have unlike ranges.

    Args:
      spans: From `Yardstick.spans`.
    """
    used = spans[spans > 0]
    return used.size > 1 and float(used.max() / used.min()) >= UNLIKE


def _column_spans(values: np.ndarray) -> np.ndarray:
    """Width of the range of each column over all samples, float64 [columns]; [1] without columns."""
    columns = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)
    return np.asarray(columns.max(axis=0) - columns.min(axis=0), np.float64)

"""What one source does to each sample apart: the rows that a sweep keeps, and finds again for other sets of samples.

Nothing in a row depends on the samples beside it. Squared errors are kept as they are and divided by the variance of
the float output at the very end: that variance is one of all samples, and another one when images are added.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..schema import Measurement, Source
from .metrics import ErrorSums, judge, mean_over_outputs
from .per_sample import Metric, per_sample_nmse, per_sample_power

_DTYPES = {
    "squared_error": "<f8",
    "power": "<f8",
    "local": "<f8",
    "kl": "<f8",
    "agree": "|b1",
    "right": "|b1",
    "metric": "<f8",
}
_BY_TARGET = frozenset({"squared_error", "power"})
_NEEDED = frozenset({"squared_error", "power", "local"})


@dataclass(frozen=True, eq=False)
class Rows:
    """Figures of n samples with one source quantized.

    Attributes:
      targets: The tensors that were compared, one for each compared output of the network.
      squared_error: Mean squared error of each target, float64 [targets, n]; infinite where it is not finite.
      power: Mean square of each float target, float64 [targets, n].
      local: Mean squared error at the changed tensor itself, float64 [n].
      kl, agree, right, metric: As in `ErrorSums`, arrays [n].
    """

    targets: tuple[int, ...]
    squared_error: np.ndarray
    power: np.ndarray
    local: np.ndarray
    kl: np.ndarray | None = None
    agree: np.ndarray | None = None
    right: np.ndarray | None = None
    metric: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        targets: Sequence[int],
        reference: Sequence[np.ndarray],
        quantized: Sequence[np.ndarray],
        local: Sequence[float],
        *,
        is_classifier: bool,
        are_logits: bool,
        labels: np.ndarray | None,
        user_metric: Metric | None,
    ) -> Rows:
        """Compares the targets' values, one array [n, ...] for each target; errors are those of `output_error`."""
        return cls(
            targets=tuple(targets),
            squared_error=np.stack([per_sample_nmse(a, b, 1.0) for a, b in zip(reference, quantized, strict=True)]),
            power=np.stack([per_sample_power(a, 1.0) for a in reference]),
            local=np.asarray(local, np.float64),
            **judge(
                reference, quantized, is_classifier=is_classifier, labels=labels, are_logits=are_logits,
                user_metric=user_metric,
            ),
        )  # fmt: skip

    def take(self, samples: np.ndarray) -> Rows:
        """The rows of some samples, by index [k]."""
        return self._with({name: column[..., samples] for name, column in self._columns().items()})

    @classmethod
    def joined(cls, parts: Sequence[tuple[np.ndarray, Rows]], count: int) -> Rows:
        """Puts parts together.

        Args:
          parts: Rows, and which samples they are of: indices [rows of the part].
          count: Samples in all; each must be in one part.

        Raises:
          ValueError: The parts lack samples, or hold unlike figures.
        """
        first = parts[0][1]
        columns = {name: np.empty((*c.shape[:-1], count), c.dtype) for name, c in first._columns().items()}
        filled = np.zeros(count, bool)
        for samples, rows in parts:
            given = rows._columns()
            if rows.targets != first.targets or given.keys() != columns.keys():
                raise ValueError("two parts of one source hold unlike figures")
            for name, column in given.items():
                columns[name][..., samples] = column
            filled[samples] = True
        if not filled.all():
            raise ValueError(f"{count - int(filled.sum())} of {count} samples have no row")
        return first._with(columns)

    def measurement(self, source: Source, variance: Callable[[int], float]) -> Measurement:
        """The figures over all rows.

        Args:
          source: What these rows are of.
          variance: What a tensor's squared error is divided by.
        """
        scales = [variance(target) for target in self.targets]
        optional = {name: getattr(self, name) for name in ("kl", "agree", "right", "metric")}
        sums = ErrorSums(
            nmse=mean_over_outputs([e / scale for e, scale in zip(self.squared_error, scales, strict=True)]),
            signal=mean_over_outputs([p / scale for p, scale in zip(self.power, scales, strict=True)]),
            **{name: None if values is None else tuple(values.tolist()) for name, values in optional.items()},
        )
        return Measurement(source, sums.to_output_error(), float(self.local.mean()) / variance(source.tensor))

    def to_unit(self) -> dict[str, Any]:
        """For a store: base64 of little-endian columns, a third of the same figures in decimals."""
        texts = {
            name: base64.b64encode(np.ascontiguousarray(column, _DTYPES[name]).tobytes()).decode("ascii")
            for name, column in self._columns().items()
        }
        return {"targets": list(self.targets), **texts}

    @classmethod
    def from_unit(cls, unit: Mapping[str, Any], count: int) -> Self | None:
        """Reads what `to_unit` made of `count` samples; None where it is something else."""
        targets = unit.get("targets")
        if not isinstance(targets, list) or not targets or not all(type(t) is int for t in targets):
            return None
        columns = {}
        for name in unit.keys() - {"targets"}:
            shape = (len(targets), count) if name in _BY_TARGET else (count,)
            try:
                columns[name] = np.frombuffer(base64.b64decode(unit[name], validate=True), _DTYPES[name]).reshape(shape)
            except (KeyError, TypeError, ValueError, binascii.Error):
                return None
        return cls(tuple(targets), **columns) if columns.keys() >= _NEEDED else None

    def _columns(self) -> dict[str, np.ndarray]:
        return {name: column for name in _DTYPES if (column := getattr(self, name)) is not None}

    def _with(self, columns: Mapping[str, np.ndarray]) -> Rows:
        return Rows(self.targets, **columns)

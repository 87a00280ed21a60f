"""A training that was killed goes on from the end of its last epoch."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...analyzer.files import atomic_write
from ...analyzer.schema import HeldBackError


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stood.

    Attributes:
      epochs: How many it was laid out for.
      curve: Held-back errors so far, the first one before any training.
      state: Of the student.
      best: Constants by tensor index with the least held-back error; None where no step was better than none.
      chosen: The step of `best`.
    """

    epochs: int
    curve: tuple[HeldBackError, ...]
    state: Sequence[np.ndarray]
    best: dict[int, np.ndarray] | None
    chosen: int

    def save(self, path: pathlib.Path, key: str) -> None:
        """Writes it, under the key of what is being trained from what."""
        arrays = {f"state{k}": values for k, values in enumerate(self.state)}
        arrays |= {f"best{tensor}": values for tensor, values in (self.best or {}).items()}
        arrays["key"], arrays["numbers"] = np.array(key), np.array([self.epochs, self.chosen, len(self.state)])
        arrays["steps"] = np.array([point.step for point in self.curve])
        arrays["errors"] = np.array([point.error for point in self.curve])
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        atomic_write(path, buffer.getvalue())

    @classmethod
    def load(cls, path: pathlib.Path, key: str) -> Checkpoint | None:
        """What was saved under the key; None where there is nothing, or something else."""
        if not path.is_file():
            return None
        try:
            with np.load(path) as file:
                arrays = dict(file)
        except (OSError, ValueError, EOFError):  # not ours, or damaged: training starts anew
            return None
        if str(arrays.get("key")) != key:
            return None
        epochs, chosen, count = (int(number) for number in arrays["numbers"])
        points = zip(arrays["steps"].tolist(), arrays["errors"].tolist(), strict=True)
        best = {int(name[4:]): values for name, values in arrays.items() if name.startswith("best")}
        return cls(
            epochs, tuple(HeldBackError(*point) for point in points), [arrays[f"state{k}"] for k in range(count)],
            best or None, chosen,
        )  # fmt: skip

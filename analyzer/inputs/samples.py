"""`Samples`: what every stage reads. Kept as brought, prepared block by block, and known by content."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .columns import Column
from .input_spec import InputSpec
from .labels import draw_evenly
from .preparation import Preparation

# Bytes of prepared values that reading all samples once keeps in memory at a time.
_SCAN_BYTES = 32_000_000


@dataclass(frozen=True, eq=False)
class Facts:
    """What reading all samples once has shown; rows are samples, columns model inputs.

    Attributes:
      hashes: SHA-256 of each prepared sample.
      minimum, maximum, total, squares: float64 [samples, inputs]: extremes, sum and sum of squares of the elements.
      elements: int64 [samples, inputs].
    """

    hashes: tuple[bytes, ...]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    elements: NDArray[np.int64]

    def at(self, indices: NDArray[np.int64]) -> Facts:
        """The facts of some samples."""
        return Facts(
            tuple(self.hashes[index] for index in indices),
            self.minimum[indices],
            self.maximum[indices],
            self.total[indices],
            self.squares[indices],
            self.elements[indices],
        )


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples that fit a model, in an order.

    A sequence: `len(samples)`, and `samples[i]` is sample i, one array for each model input. Built by
    `dataset.load_samples`; every other constructor here gives a view of the same data.

    Attributes:
      columns: The data as brought.
      positions: int64 [samples]: where in the columns each sample lies.
      labels: int64 [samples], or None.
      preparation: How the model's inputs are made of the columns.
      facts: Of these samples, in this order.
      source: The data as it was named.
      class_names: Of the labels, where they have names.
      random: Whether the values were made up because no data was given.
      notes: What a reader should know of how the data was read.
    """

    columns: tuple[Column, ...]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    preparation: Preparation
    facts: Facts
    source: str
    class_names: tuple[str, ...] = ()
    random: bool = False
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The model's inputs, in the order of the arrays of a block."""
        return self.preparation.inputs

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """SHA-256 of each prepared sample, in this order."""
        return self.facts.hashes

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> list[NDArray[Any]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        return [array[0] for array in self.block(index, index + 1)]

    def __iter__(self) -> Iterator[list[NDArray[Any]]]:
        for block in self.blocks(64):
            for index in range(len(block[0])):
                yield [array[index] for array in block]

    def block(self, start: int, stop: int) -> list[NDArray[Any]]:
        """Samples `start` to `stop` as the model takes them, prepared afresh at each call.

        Returns:
          One array for each model input: [stop - start, *sample shape], of the input's type; shorter where `stop` lies
          behind the last sample.
        """
        if not 0 <= start < len(self) or stop <= start:
            raise IndexError(f"samples {start} to {stop} of {len(self)}")
        return prepare(self.columns, self.preparation, self.positions[start:stop])

    def blocks(self, size: int) -> Iterator[list[NDArray[Any]]]:
        """All samples in blocks of `size`; the last one may be shorter."""
        for start in range(0, len(self), size):
            yield self.block(start, start + size)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the sorted hashes of the prepared samples: the same in whatever order they come."""
        return hashlib.sha256(b"".join(sorted(self.facts.hashes))).hexdigest()

    @cached_property
    def labels_digest(self) -> str | None:
        """SHA-256 over the prepared samples and their labels in whatever order; None without labels."""
        if self.labels is None:
            return None
        pairs = sorted(zip(self.facts.hashes, self.labels.tolist(), strict=True))
        return hashlib.sha256(b"".join(h + label.to_bytes(8, "little") for h, label in pairs)).hexdigest()

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Indices of the samples sorted by content, [samples]. Equal samples are told apart by their labels only."""
        labels = [0] * len(self) if self.labels is None else self.labels.tolist()
        return np.array(sorted(range(len(self)), key=lambda i: (self.facts.hashes[i], labels[i])), np.int64)

    @property
    def places(self) -> NDArray[np.int64]:
        """[samples]: which of these samples each one is in the order in which they were brought, from 0."""
        return np.argsort(np.argsort(self.positions, kind="stable"), kind="stable").astype(np.int64)

    def origin(self, index: int) -> str:
        """What to call a sample: its file's name within the folder, or its number in the data as brought."""
        return self.columns[0].origin(int(self.positions[index]))

    def in_content_order(self) -> Samples:
        """The same samples in the order of their content, so that nothing depends on the order they came in."""
        return self.subset(self.order)

    def take(self, count: int) -> Samples:
        """The first `count` samples, or all where there are fewer."""
        return self.subset(np.arange(min(count, len(self))))

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Samples:
        """The samples at `indices`, in their order.

        Raises:
          DataError: There are no indices, or one is out of range.
        """
        chosen = np.asarray(indices, np.int64)
        if chosen.size == 0:
            raise DataError("no samples are left", "choose at least one")
        if chosen.min() < 0 or chosen.max() >= len(self):
            bad = chosen[(chosen < 0) | (chosen >= len(self))][0]
            raise DataError(f"there is no sample {bad}: there are {len(self)}, counted from 0", "choose among those")
        return replace(
            self,
            positions=self.positions[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            facts=self.facts.at(chosen),
        )

    def balanced(self, count: int, seed: int) -> Samples:
        """`count` samples drawn evenly over the classes, in the order they lie in.

        The draw depends on the samples' content and `seed`, not on their order. Classes that have too few give all.

        Raises:
          DataError: The samples have no labels.
        """
        if self.labels is None:
            raise unlabelled_draw(self.source)
        return self.subset(draw_evenly(self.labels, count, seed, lambda index: self.facts.hashes[index]))

    def describe(self) -> dict[str, Any]:
        """A JSON object for the record of a run; the same for the same samples in any order."""
        preprocessing = self.preparation.preprocessing.describe()
        sizes = {self.preparation.target_size(spec) for spec in self.inputs} - {None}
        if sizes and preprocessing["resize"] is None:
            preprocessing["resize"] = next(list(size) for size in sizes if size)
            preprocessing["resize_automatic"] = True
        counts: dict[str, int] = {}
        if self.labels is not None:
            classes, numbers = np.unique(self.labels, return_counts=True)
            counts = {str(label): int(number) for label, number in zip(classes, numbers, strict=True)}
        return {
            "source": self.source,
            "random": self.random,
            "preprocessing": preprocessing,
            "count": len(self),
            "labelled": self.labels is not None,
            "digest": self.digest,
            "labels_digest": self.labels_digest,
            "inputs": [self._describe_input(index) for index in range(len(self.inputs))],
            "class_counts": counts,
            "class_names": list(self.class_names),
            "notes": list(self.notes),
        }

    def _describe_input(self, index: int) -> dict[str, Any]:
        spec, facts = self.inputs[index], self.facts
        elements = int(facts.elements[:, index].sum())
        # fsum is exact, so that the sums do not depend on the order of the samples.
        mean = math.fsum(facts.total[:, index]) / elements
        variance = max(0.0, math.fsum(facts.squares[:, index]) / elements - mean * mean)
        return {
            "name": spec.name,
            "shape": list(spec.sample_shape),
            "dtype": spec.dtype,
            "minimum": float(facts.minimum[:, index].min()),
            "maximum": float(facts.maximum[:, index].max()),
            "mean": mean,
            "standard_deviation": math.sqrt(variance),
        }


def unlabelled_draw(source: str) -> DataError:
    """The error of a balanced draw without labels."""
    return DataError(
        f"{source} has no labels to draw evenly over",
        "name them (FILE.npz:INPUT,LABELS; a subfolder for each class), or leave --balanced out",
    )


def prepare(columns: Sequence[Column], preparation: Preparation, positions: NDArray[np.int64]) -> list[NDArray[Any]]:
    """Reads and prepares the samples at `positions`: one array [positions, *sample shape] for each model input."""
    origins = [columns[0].origin(int(position)) for position in positions]
    return preparation.apply([column.rows(positions) for column in columns], origins)


def scan(columns: Sequence[Column], preparation: Preparation, positions: NDArray[np.int64]) -> Facts:
    """Reads all samples once, in bounded memory.

    Raises:
      DataError: A sample does not fit the model, or holds values that are not finite.
    """
    rows = max(1, min(64, _SCAN_BYTES // max(1, sum(spec.sample_bytes for spec in preparation.inputs))))
    hashes: list[bytes] = []
    figures: list[NDArray[np.float64]] = []  # [samples of a block, inputs, 5]
    for start in range(0, len(positions), rows):
        part = positions[start : start + rows]
        block = prepare(columns, preparation, part)
        figure = np.stack([_figures(array) for array in block], axis=1)
        finite = np.isfinite(figure).all(axis=2)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            bad = block[column][row]
            value = bad[~np.isfinite(bad)].flat[0] if bad.ndim else bad
            raise DataError(
                f"{columns[0].origin(int(part[row]))} of input {preparation.inputs[column].name} holds {value}",
                "take such samples out, or mend the preprocessing that makes them",
            )
        figures.append(figure)
        hashes += [_hash([array[row] for array in block]) for row in range(len(part))]
    table = np.concatenate(figures)
    lows, highs, totals, squares, elements = np.moveaxis(table, 2, 0)
    return Facts(tuple(hashes), lows, highs, totals, squares, elements.astype(np.int64))


def _figures(block: NDArray[Any]) -> NDArray[np.float64]:
    """[samples, 5]: minimum, maximum, sum, sum of squares and number of elements of each sample."""
    flat = block.reshape(len(block), -1)
    if flat.shape[1] == 0:
        raise DataError("the samples hold no values: one of their dimensions is 0", "give samples of the model's shape")
    low, high = flat.min(axis=1).astype(np.float64), flat.max(axis=1).astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        # The sums of a sample that is not finite mean nothing; its extremes already say which it is.
        return np.stack([low, high, low, low, low], axis=1)
    wide = flat.astype(np.float64)
    total, squares = wide.sum(axis=1), np.einsum("ij,ij->i", wide, wide)
    return np.stack([low, high, total, squares, np.full(len(flat), flat.shape[1], np.float64)], axis=1)


def _hash(arrays: Sequence[NDArray[Any]]) -> bytes:
    """SHA-256 of one prepared sample: types, shapes and values of all inputs, little-endian."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.name}{array.shape}".encode())
        digest.update(little.data if little.ndim else little.tobytes())
    return digest.digest()

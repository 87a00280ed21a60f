"""What a model takes: name, shape and type of each input, and how an image lies in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UnsupportedModel
from ..schema import Graph

_IMAGE_CHANNELS = (1, 3, 4)
_TAKEN = frozenset(
    ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
)


@dataclass(frozen=True)
class InputSpec:
    """One input of the model.

    Attributes:
      name: As the model has it; a label.
      shape: Of the whole tensor, leading dimension included; -1 for a dynamic dimension.
      dtype: numpy's name, e.g. `float32`, `int32`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: without the leading dimension where that is 1 or dynamic, else the whole shape."""
        if self.shape and self.shape[0] in (1, -1):
            return self.shape[1:]
        return self.shape

    @property
    def is_float(self) -> bool:
        return np.dtype(self.dtype).kind == "f"

    @property
    def layout(self) -> str:
        """How an image would lie in one sample: `HWC`, `CHW`, `HW`, or "" where the rank rules an image out."""
        shape = self.sample_shape
        if len(shape) == 2:
            return "HW"
        if len(shape) != 3:
            return ""
        return "CHW" if shape[0] in _IMAGE_CHANNELS and shape[2] not in _IMAGE_CHANNELS else "HWC"

    @property
    def channels(self) -> int | None:
        """Channels of an image; None without an image layout."""
        shape = self.sample_shape
        return {"HWC": shape[-1], "CHW": shape[0], "HW": 1}[self.layout] if self.layout else None

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of an image; None without an image layout, or where either is dynamic."""
        shape = self.sample_shape
        size = {"HWC": shape[:2], "CHW": shape[1:], "HW": shape}.get(self.layout)
        return (size[0], size[1]) if size and min(size) > 0 else None

    @property
    def looks_like_image(self) -> bool:
        """Whether one sample has three dimensions, of which one counts 1, 3 or 4 channels."""
        return len(self.sample_shape) == 3 and self.channels in _IMAGE_CHANNELS

    def matches(self, shape: Sequence[int]) -> bool:
        """Whether an array of `shape` holds one sample, elements in the same order: dimensions of 1 do not count."""
        wanted = self.sample_shape
        if -1 in wanted:
            return len(shape) == len(wanted) and all(w in (-1, s) for w, s in zip(wanted, shape, strict=True))
        return [s for s in shape if s != 1] == [s for s in wanted if s != 1]

    def is_batch(self, shape: Sequence[int]) -> bool:
        """Whether an array of `shape` holds several samples behind each other, rather than one.

        Exact fits decide; where the sizes are still to change (`--resize`), the number of dimensions does, and images
        without a channel dimension count where the model takes one channel.
        """
        rank = len(self.sample_shape)
        if len(shape) == rank + 1 and self.matches(shape[1:]):
            return True
        if self.matches(shape):
            return False
        if shape and self.matches(shape[1:]):
            return True
        return len(shape) == rank + 1 or (rank == len(shape) == 3 and self.channels == 1 and 1 not in shape)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample; dynamic dimensions count as 1."""
        return math.prod(abs(size) for size in self.sample_shape) * np.dtype(self.dtype).itemsize


def shape_text(shape: Sequence[int]) -> str:
    """A shape for people, e.g. `32x32x3`."""
    return "x".join(map(str, shape)) or "one value"


def input_specs(graph: Graph) -> tuple[InputSpec, ...]:
    """The inputs of a network, in its own order.

    Raises:
      UnsupportedModel: An input holds something other than numbers.
    """
    specs = tuple(InputSpec(t.name, t.shape, t.dtype) for t in (graph.tensors[index] for index in graph.inputs))
    for spec in specs:
        if spec.dtype not in _TAKEN:
            raise UnsupportedModel(
                f"the model's input {spec.name} is of type {spec.dtype}, which no sample can be made for",
                "cut the model behind the op that reads it and give that op's output as the input",
            )
    return specs

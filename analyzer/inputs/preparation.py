"""From samples as loaded to what the model takes: shapes fitted, images resized, values scaled and cast, or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .columns import Rows
from .functions import call
from .input_spec import InputSpec, shape_text
from .preprocessing import Preprocessing, resize_bilinear, resize_text, scale_values
from .raw_data import require_numbers


@dataclass(frozen=True, eq=False)
class Preparation:
    """Turns blocks of raw samples into blocks of model inputs.

    Attributes:
      inputs: Of the model.
      names: Of the raw columns.
      preprocessing: As declared.
      function: Its function, imported; None where there is none.
      images: Whether the raw samples are decoded image files, [height, width, channels]: they are resized to the
        model's size and turned to its layout, unless a function makes the model's input of them.
    """

    inputs: tuple[InputSpec, ...]
    names: tuple[str, ...]
    preprocessing: Preprocessing
    function: Callable[..., Any] | None = None
    images: bool = False

    def __post_init__(self) -> None:
        size, scale = self.preprocessing.size, self.preprocessing.scale
        pictures = [spec for spec in self.inputs if self.is_scaled(spec)]
        if scale != "raw" and not pictures:
            raise UsageError(
                f"--scale {scale} is for images of a float input, and none of the model's inputs looks like one",
                "scale the samples with --preprocess module:function",
            )
        for spec in pictures:
            if scale == "torch" and spec.channels != 3:
                raise UsageError(
                    f"--scale torch is defined for three channels; input {spec.name} takes {self._wanted(spec)}",
                    "scale the samples with --preprocess module:function",
                )
        if size is None:
            return
        resized = [spec for spec in self.inputs if self.is_image(spec)]
        if not resized:
            raise UsageError(
                "--resize is for images, and none of the model's inputs looks like one",
                "leave it out, or resize with --preprocess module:function",
            )
        for spec in resized:
            wanted = spec.image_size
            if wanted is not None and wanted != size:
                raise DataError(
                    f"--resize gives {shape_text(size)}, the model's input {spec.name} takes {self._wanted(spec)}",
                    f"use --resize {resize_text(wanted)}",
                )

    def is_image(self, spec: InputSpec) -> bool:
        """Whether `resize` is meant for this input: the only one with an image's layout, or it looks like an image."""
        return spec.looks_like_image or (len(self.inputs) == 1 and spec.layout != "")

    def is_scaled(self, spec: InputSpec) -> bool:
        """Whether `scale` is meant for this input: the only one, or one that looks like an image; never integers."""
        return spec.is_float and (len(self.inputs) == 1 or spec.looks_like_image)

    def target_size(self, spec: InputSpec) -> tuple[int, int] | None:
        """(height, width) to which samples of this input are brought; None where their size is left alone."""
        if not self.is_image(spec):
            return None
        automatic = spec.image_size if self.images and self.function is None else None
        return self.preprocessing.size or automatic

    def apply(self, columns: Sequence[Rows], origins: Sequence[str]) -> list[NDArray[Any]]:
        """Prepares a block.

        Args:
          columns: For each raw column the samples of the block.
          origins: What to call each sample in a message.

        Returns:
          One array for each model input: [samples, *sample shape], of the input's type.

        Raises:
          DataError: A sample does not fit the model, or the user's function fails.
        """
        if self.function is not None:
            columns = self._call_function(columns, origins)
        return [self._prepare(spec, rows, origins) for spec, rows in zip(self.inputs, columns, strict=True)]

    def _call_function(self, columns: Sequence[Rows], origins: Sequence[str]) -> list[Rows]:
        assert self.function is not None
        name = self.preprocessing.function
        results: list[Rows] = [[] for _ in self.inputs]
        for row, origin in enumerate(origins):
            # A copy: the function may write in place, and the same sample is read again by later stages.
            sample = {key: np.array(column[row]) for key, column in zip(self.names, columns, strict=True)}
            argument = sample if len(self.names) > 1 else sample[self.names[0]]
            made = call(self.function, argument, what=f"{name} on {origin}")
            for result, value in zip(results, self._results(made, name), strict=True):
                assert isinstance(result, list)
                require_numbers(value, f"what {name} returns")
                result.append(value)
        return results

    def _results(self, made: Any, name: str) -> list[NDArray[Any]]:
        wanted = [spec.name for spec in self.inputs]
        if isinstance(made, Mapping):
            missing = [key for key in wanted if key not in made]
            if missing:
                raise DataError(f"{name} returns no {', '.join(missing)}", f"return a dict with {', '.join(wanted)}")
            return [np.asarray(made[key]) for key in wanted]
        parts = list(made) if isinstance(made, list | tuple) else [made]
        if len(parts) != len(wanted):
            raise DataError(
                f"{name} returns {len(parts)} arrays, the model has {len(wanted)} inputs: {', '.join(wanted)}",
                "return one array for each, as a list in this order or as a dict",
            )
        return [np.asarray(part) for part in parts]

    def _prepare(self, spec: InputSpec, rows: Rows, origins: Sequence[str]) -> NDArray[Any]:
        if isinstance(rows, np.ndarray):
            return self._values(spec, rows, origins)
        if len({row.shape for row in rows}) == 1:
            return self._values(spec, np.stack(rows), origins)
        parts = [self._values(spec, row[None], (origin,)) for row, origin in zip(rows, origins, strict=True)]
        if len({part.shape for part in parts}) > 1:
            shapes = sorted({part.shape[1:] for part in parts})
            raise DataError(
                f"the samples have unequal shapes, e.g. {shape_text(shapes[0])} and {shape_text(shapes[-1])}",
                "bring images to one size with --resize, anything else with --preprocess module:function",
            )
        return np.concatenate(parts)

    def _values(self, spec: InputSpec, block: NDArray[Any], origins: Sequence[str]) -> NDArray[Any]:
        """Prepares samples of one shape: `block` is [samples, ...]."""
        size = self.target_size(spec)
        if size is not None:
            block = self._resized(spec, block, size, origins[0])
        if not spec.matches(block.shape[1:]):
            raise self._misfit(spec, block.shape[1:], origins[0])
        if -1 not in spec.sample_shape:
            block = block.reshape(len(block), *spec.sample_shape)
        if self.preprocessing.scale != "raw" and self.is_scaled(spec):
            block = scale_values(block, self.preprocessing.scale, -3 if spec.layout == "CHW" else -1)
        return _cast(block, np.dtype(spec.dtype), spec.name, origins)

    def _resized(self, spec: InputSpec, block: NDArray[Any], size: tuple[int, int], origin: str) -> NDArray[Any]:
        """[samples, ...] images to `size`, in the layout of `spec`."""
        shape, channels = block.shape[1:], spec.channels
        if len(shape) == 4 and shape[0] == 1:
            shape = shape[1:]
        decoded = self.images and self.function is None
        layout = "HWC" if decoded or spec.layout != "CHW" else "CHW"
        if channels == 1 and len(shape) == 3 and shape[-1 if layout == "HWC" else 0] != 1 and 1 in shape:
            shape = tuple(side for side in shape if side != 1)  # one channel, wherever its dimension stands
        if channels == 1 and len(shape) == 2:
            shape, layout = (*shape, 1), "HWC"
        if len(shape) != 3 or shape[-1 if layout == "HWC" else 0] != channels:
            raise self._misfit(spec, block.shape[1:], origin)
        block = block.reshape(len(block), *shape)
        if layout == "CHW":
            block = np.moveaxis(block, 1, -1)
        if block.shape[1:3] != size:
            block = resize_bilinear(block, size)
            if not spec.is_float:
                block = np.rint(block)  # resizing leaves fractions, which an input of pixels takes rounded
        if spec.layout == "CHW":
            return np.ascontiguousarray(np.moveaxis(block, -1, 1))
        return block[..., 0] if spec.layout == "HW" else block

    def _wanted(self, spec: InputSpec) -> str:
        return shape_text(spec.sample_shape)

    def _misfit(self, spec: InputSpec, shape: tuple[int, ...], origin: str) -> DataError:
        wanted = spec.sample_shape
        text = f"{origin} has the shape {shape_text(shape)}, the model's input {spec.name} takes {self._wanted(spec)}"
        if self.function is not None:
            return DataError(text, f"have {self.preprocessing.function} return that shape, or add --resize for images")
        if shape == wanted[1:]:
            return DataError(text, "an array's first dimension counts the samples: one sample alone is x[None]")
        inner = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
        channels = spec.channels
        if len(inner) == 3 and spec.looks_like_image:
            if spec.layout == "HWC" and inner[0] == channels != inner[2]:
                return DataError(f"{text}: it looks like channels first", "transpose them: x.transpose(0, 2, 3, 1)")
            if spec.layout == "CHW" and inner[2] == channels != inner[0]:
                return DataError(
                    f"{text}: the model takes channels first", "transpose the samples: x.transpose(0, 3, 1, 2)"
                )
        if spec.looks_like_image:
            given = 1 if len(inner) == 2 else inner[0 if spec.layout == "CHW" else -1] if len(inner) == 3 else None
            if (given, channels) == (1, 3):
                return DataError(
                    f"{text}: grayscale images for a model of colour images",
                    "repeat the channel in --preprocess module:function: numpy.repeat(x, 3, axis=-1)",
                )
            if (given, channels) == (3, 1):
                return DataError(
                    f"{text}: colour images for a model of grayscale images",
                    "make them grayscale as in training, in --preprocess module:function",
                )
            if given == channels and spec.image_size is not None:
                return DataError(text, f"bring them to its size with --resize {resize_text(spec.image_size)}")
        return DataError(text, "reshape the samples, or do it in --preprocess module:function")


def _cast(block: NDArray[Any], dtype: np.dtype[Any], name: str, origins: Sequence[str]) -> NDArray[Any]:
    """To the input's type, where that changes no value (floats may be rounded)."""
    if block.dtype == dtype:
        return np.ascontiguousarray(block)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused as such
            return block.astype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    with np.errstate(invalid="ignore"):
        bad = (block < low) | (block > high)
        if block.dtype.kind == "f":
            bad |= block != np.floor(block)
    if bad.any():
        row = int(np.argmax(bad.reshape(len(block), -1).any(axis=1)))
        value = block[row][bad[row]].flat[0] if block.ndim > 1 else block[row]
        raise DataError(
            f"{origins[row]} of input {name} holds {value}, which {dtype} does not",
            "give whole numbers in its range" if dtype.kind != "b" else "give 0 and 1",
        )
    return block.astype(dtype)

"""More images out of few: the float network says of any image what is right, so the student can be shown others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Augmentation:
    """How colour images are changed at random before they are learned from.

    Attributes:
      flips: Whether half of them are mirrored left to right.
      shift: By what share of its height and width an image is moved at most, its border repeated.
    """

    flips: bool = True
    shift: float = 0.125

    def fitting(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str]) -> Augmentation:
        """This where a network's one input is float colour images [batch, height, width, 3]; else `NO_AUGMENTATION`."""
        is_image = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][3] == 3
        return self if is_image and dtypes[0] == "float32" else NO_AUGMENTATION

    @property
    def changes_anything(self) -> bool:
        return self.flips or self.shift > 0

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Other images made of some: [N, batch, height, width, channels], a new array of the same shape.

        Args:
          images: [N, batch, height, width, channels].
          generator: Where chance comes from.
        """
        changed = np.array(images)
        if self.flips:
            mirrored = generator.random(len(images)) < 0.5
            changed[mirrored] = changed[mirrored][..., ::-1, :]
        if self.shift:
            _shift(changed, self.shift, generator)
        return changed


NO_AUGMENTATION = Augmentation(flips=False, shift=0.0)


def _shift(images: np.ndarray, share: float, generator: np.random.Generator) -> None:
    """Moves every sample's image by its own number of pixels, in place."""
    height, width = images.shape[2:4]
    reach = int(height * share), int(width * share)
    downs, rights = (generator.integers(-most, most + 1, len(images)) for most in reach)
    for image, down, right in zip(images, downs, rights, strict=True):
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        image[:] = image[:, rows][:, :, columns]

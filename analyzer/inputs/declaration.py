"""What a run's data was declared to be, so that a later stage can bring the same samples again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from .dataset import InputSpec, Samples, load_samples, parse_preprocessing


@dataclass(frozen=True)
class DataDeclaration:
    """Data as a person declares it.

    Attributes:
      data: DATA as typed; "" for an object given from Python, which no later process can bring again.
      resize: As typed, e.g. `96` or `96x128`; "" for none.
      scale: See `preprocessing.SCALES`.
      preprocess: `module:function` or "".
      limit: How many samples to take; None for all.
      balanced: Draw them evenly over the classes.
      seed: Of that draw.
    """

    data: str
    resize: str = ""
    scale: str = "raw"
    preprocess: str = ""
    limit: int | None = None
    balanced: bool = False
    seed: int = 0

    def load(self, inputs: Sequence[InputSpec], warn: Callable[[str], None], data: Any = None) -> Samples:
        """Reads the samples, in content order.

        Args:
          inputs: Of the model.
          warn: Takes warnings.
          data: The object, where it was given from Python.

        Raises:
          DataError: The data cannot be read, does not fit, or was an object that is gone.
        """
        if data is None and not self.data:
            raise DataError(
                "the run's data was a Python object that this process does not have",
                "give the data again, e.g. --evaluation FILE.npz:x,y",
            )
        return load_samples(
            self.data if data is None else data,
            inputs,
            parse_preprocessing(self.resize, self.scale, self.preprocess),
            limit=self.limit,
            balanced=self.balanced,
            seed=self.seed,
            warn=warn,
        ).in_content_order()

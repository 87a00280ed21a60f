"""Names of classes: as given, as folders have them, or as a `labels.txt` beside the model says."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

from ..errors import DataError
from ..schema import Graph
from .samples import Samples


def class_names(
    given: str | pathlib.Path | Sequence[str], graph: Graph, samples: Samples | None, beside: Sequence[pathlib.Path],
    warn: Callable[[str], None],
) -> tuple[str, ...]:  # fmt: skip
    """What was given, else the folders' names, else a `labels.txt` beside a model; empty where nobody knows.

    Args:
      given: A text file with a name a line, or the names themselves.
      graph: Of the float network.
      samples: Whose folders may have names; None for none.
      beside: Models.
      warn: Takes what is left out.

    Returns:
      By class index; empty unless the network is a classifier.

    Raises:
      DataError: What was given has not as many names as there are classes, or cannot be read.
    """
    if not graph.is_classifier:
        return ()
    classes = graph.tensors[graph.outputs[0]].shape[-1]
    if given:
        names = read_class_names(pathlib.Path(given)) if isinstance(given, str | pathlib.Path) else tuple(given)
        if len(names) != classes:
            raise DataError(f"there are {len(names)} class names, the model has {classes} classes", "give one for each")
        return names
    if samples is not None and samples.class_names:
        return samples.class_names
    for path in dict.fromkeys(model.parent / "labels.txt" for model in beside):
        if not path.is_file():
            continue
        try:
            names = read_class_names(path)
        except DataError as error:  # nobody asked for this file
            warn(f"{error.problem}: classes are called by their numbers")
            continue
        if len(names) == classes:
            return names
        warn(f"{path} names {len(names)} classes, the model has {classes}: classes are called by their numbers")
    return ()


def read_class_names(path: pathlib.Path) -> tuple[str, ...]:
    """Class names, one a line, the first one of class 0.

    Raises:
      DataError: It cannot be read as text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", "give a text file with a class name a line") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines)

"""What a run was asked for and what it was made from, as its stages share it."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .analyzer.errors import UsageError
from .analyzer.inputs.dataset import Samples
from .analyzer.inputs.declaration import DataDeclaration
from .analyzer.schema import SCHEMES, Graph

_PACKAGES = ("bitplan", "tensorflow", "ai-edge-litert", "litert-quantizer", "numpy", "scipy")


@dataclass(frozen=True)
class Options:
    """What a run was asked for, apart from the model and the plan: saved, so that later stages see the same.

    Attributes:
      calibration: None where the data is made up.
      metric: `module:function` or "".
    """

    model_name: str
    calibration: DataDeclaration | None
    evaluation: DataDeclaration | None
    metric: str = ""
    seed: int = 0
    command: str = ""


@dataclass(frozen=True)
class Inputs:
    """The model and the data, as later stages need them.

    Attributes:
      notes: What was mended in the model.
      calibration, evaluation: What the data is like.
      warnings: About model and data.
    """

    options: Options
    declared_ranges: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]
    calibration: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """Times (`_s`) and memory (`_bytes`), outside the promise that equal runs give equal bytes."""

    figures: Mapping[str, float] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Versions of Bitplan and of what decides its numbers."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {**found, "python": ".".join(map(str, sys.version_info[:3]))}


def judged_at_outputs(graph: Graph, metric: object) -> Graph:
    """A user's metric judges what the network answers, so errors are measured there too."""
    return replace(graph, compared=graph.outputs) if metric else graph


def as_classifier(graph: Graph, *samples: Samples | None) -> Graph:
    """The graph as a classifier's where there are class labels and one output of scores."""
    return labelled(graph) if any(s is not None and s.labels is not None for s in samples) else graph


def labelled(graph: Graph) -> Graph:
    """Class labels say that a single output of shape [1, classes] scores classes, with or without a softmax."""
    shape = graph.tensors[graph.outputs[0]].shape if len(graph.outputs) == 1 else ()
    return replace(graph, is_classifier=True) if len(shape) == 2 and shape[1] > 1 else graph


def check_plan_options(size_budget: str | int | None, allow: Sequence[str]) -> None:
    """Rejects what no plan can be made from, before anything long is started.

    Raises:
      UsageError: The size cannot be read, or a scheme is unknown.
    """
    from .strategies.assignment.budget import parse_size

    if size_budget is not None and str(size_budget).strip().lower() != "none":
        parse_size(str(size_budget), sys.maxsize)
    unknown = [name for name in allow if name not in SCHEMES]
    if unknown or not allow:
        problem = f"there is no scheme called {', '.join(unknown)}" if unknown else "no scheme is allowed"
        raise UsageError(problem, f"choose from {', '.join(SCHEMES)}")

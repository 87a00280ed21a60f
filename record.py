"""What a run was asked for and what it was made from, as its stages share it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import pathlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .analyzer.inputs.dataset import Samples, check_labels, overlap_warnings, range_warnings
from .analyzer.inputs.declaration import DataDeclaration
from .analyzer.network import flatbuffer as fb
from .analyzer.network.graph import scores_classes
from .analyzer.runs import content_key
from .analyzer.schema import Calibration, Graph, Plan

_PACKAGES = ("bitplan", "tensorflow", "ai-edge-litert", "litert-quantizer", "numpy", "scipy")


NODE_DATA = {name: f"model-explorer-{name}.json" for name in ("sensitivity", "schemes", "gain")}
_REPORT = ("report.json", "report.html", "report.md", "sensitivity.csv", *NODE_DATA.values())
AFTER_CONVERSION = ("verification.json", *_REPORT)
AFTER_REPAIR = (
    "model.tflite",
    "model.MISMATCH.tflite",
    "recipe.json",
    "ranges.json",
    "prepared.tflite",
    "emitted.json",
    *AFTER_CONVERSION,
)
AFTER_PLAN = (
    "planning.json",
    "target.toml",
    "repair.json",
    "repaired_calibration.json",
    "repaired.tflite",
    *AFTER_REPAIR,
)
AFTER_ANALYSIS = ("plan.json", *AFTER_PLAN)
"""Files of a run folder that belong to what a new plan, or a new analysis, replaces."""


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
      class_names: By class index; empty where nobody knows them.
    """

    options: Options
    declared_ranges: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]
    calibration: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    warnings: tuple[str, ...]
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Emitted:
    """What `model.tflite` was made from, as a content key."""

    made_from: str


@dataclass(frozen=True)
class Measured:
    """Times (`_s`) and memory (`_bytes`), outside the promise that equal runs give equal bytes."""

    figures: Mapping[str, float] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Versions of Bitplan and of what decides its numbers."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {**found, "python": ".".join(map(str, sys.version_info[:3]))}


def file_key(plan: Plan, flatbuffer: bytes, calibration: Calibration) -> str:
    """Key of what an emitted file is made from: the float network, its ranges, and what the plan makes of them."""
    schemes = [assignment.scheme for assignment in plan.assignments]
    ranges = [(t, r.minimum, r.maximum) for t, r in calibration.ranges.items()]
    sums = list(calibration.sums(plan.per_channel).items())
    made = (schemes, plan.io.value, plan.per_channel, ranges, sums)
    return content_key(versions_key(), fb.digest(flatbuffer), *made)


def study_key(graph: Graph, inputs: Inputs) -> str:
    """Key of what a calibration study of a run says something about: its network, and both kinds of its data."""
    declared = [(name, *map(float, ends)) for name, ends in sorted(inputs.declared_ranges.items())]
    data = [(d.get("digest") or "", d.get("labels_digest") or "") for d in (inputs.calibration, inputs.evaluation)]
    return content_key("study", graph.digest, list(graph.compared), graph.is_classifier, declared, data)


def versions_key() -> str:
    """Those versions as a part of a key."""
    return content_key(*(f"{name} {version}" for name, version in versions().items()))


def judged_at_outputs(graph: Graph, metric: object) -> Graph:
    """A user's metric judges what the network answers, so errors are measured there too."""
    return replace(graph, compared=graph.outputs) if metric else graph


def as_classifier(graph: Graph, *samples: Samples | None) -> Graph:
    """The graph as a classifier's where there are class labels and one output of scores.

    Raises:
      DataError: A label is larger than the number of classes.
    """
    with_labels = [s for s in samples if s is not None and s.labels is not None]
    graph = labelled(graph) if with_labels else graph
    if graph.is_classifier:
        for found in with_labels:
            check_labels(found, graph.tensors[graph.outputs[0]].shape[-1])
    return graph


def labelled(graph: Graph) -> Graph:
    """Class labels say that a single output of shape [1, classes] scores classes, with or without a softmax.

    Behind a LOGISTIC each score stands for itself, and there is no distribution over classes.
    """
    if len(graph.outputs) != 1 or not scores_classes(graph.tensors[graph.outputs[0]]):
        return graph
    closing = graph.producer(graph.outputs[0])
    if closing is not None and graph.ops[closing].opcode == "LOGISTIC":
        return graph
    return replace(graph, is_classifier=True)


def data_warnings(calibration: Samples, evaluation: Samples) -> tuple[str, ...]:
    """What looks wrong between the samples that a plan is chosen on and those that judge it."""
    if calibration.random:
        return ()
    return (*range_warnings(calibration.describe(), evaluation.describe()), *overlap_warnings(calibration, evaluation))


def source_key(function: Callable[..., Any]) -> str:
    """Digest of the module that a function is from, so that an edited function is another one."""
    path = inspect.getsourcefile(function)
    source = pathlib.Path(path).read_bytes() if path else b""
    return hashlib.sha256(function.__qualname__.encode() + b"\n" + source).hexdigest()

"""The other direction of a sweep: one layer left in float while every other one is int8, on real emitted files.

Where its order differs from that of one layer quantized alone, errors interact.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ..measures.calibration import Progress
from ..measures.sweep import LabelledSource
from ..network import runtime
from ..schema import Calibration, Format, Graph, LeftFloat, OutputError, Plan
from ..serialize import from_jsonable, to_jsonable
from ..units import Store, content_key, versions_of
from .converter import convert
from .verification import Reference

VERSION = "left-float-3"
"""Part of every unit's key: raise it when a change of this module changes a figure."""

_PACKAGES = ("bitplan", "ai-edge-litert", "litert-quantizer", "numpy")


def int8_everywhere(graph: Graph) -> list[str]:
    """Scheme names of int8 everywhere: float only where nothing else exists."""
    return ["w8a8" if "w8a8" in op.schemes else "float" for op in graph.ops]


def measure_left_float(
    data: bytes,
    graph: Graph,
    calibration: Calibration,
    samples: LabelledSource,
    *,
    ops: Sequence[int] | None = None,
    per_channel: bool = True,
    context: str = "",
    store: Store | None = None,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> tuple[OutputError, tuple[LeftFloat, ...]]:
    """Converts int8 everywhere, then the same with each op in turn in float, and measures every file.

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      calibration: Ranges.
      samples: What the error is measured on.
      ops: Indices of the ops to leave in float, one at a time; None for all.
      per_channel: Whether int8 weights have a scale for each channel; else they have one for the tensor.
      context: Part of the key of every file's figures: what they depend on that is not seen here.
      store: Finished files are taken from here and put here.
      workers: Threads.
      progress: Called with (files done, files in all).

    Returns:
      The error of int8 everywhere, and one entry for each of the ops that was int8 there, best gain first.
    """
    everywhere = int8_everywhere(graph)
    chosen = range(len(graph.ops)) if ops is None else ops
    int8_ops = [op for op in sorted(chosen) if everywhere[op] != "float"]

    def error_of(names: Sequence[str]) -> OutputError:
        kind = context if per_channel else f"{context} per tensor"
        key = _key(graph, calibration, samples, names, kind)
        found = store.get(key) if store is not None else None
        if found is not None:
            return from_jsonable(OutputError, found)
        plan = Plan.bare(graph, names, Format.FLOAT, per_channel=per_channel)
        model = convert(data, graph, calibration, plan).model
        error = reference().error(model)
        if store is not None:
            store.put(key, to_jsonable(error))
        return error

    # Made when the first file is not in the store; the float network runs once for all of them.
    reference = functools.cache(lambda: Reference(data, graph, samples, workers=workers))
    total = len(int8_ops) + 1
    int8 = error_of(everywhere)
    if progress:
        progress(1, total)
    left = []
    for done, op in enumerate(int8_ops, start=2):
        error = error_of([*everywhere[:op], "float", *everywhere[op + 1 :]])
        left.append(LeftFloat(op, error, int8.nmse - error.nmse))
        if progress:
            progress(done, total)
    return int8, tuple(sorted(left, key=lambda entry: (-entry.gain, entry.op)))


def _key(graph: Graph, calibration: Calibration, samples: LabelledSource, names: Sequence[str], context: str) -> str:
    ranges = [(t, r.minimum, r.maximum) for t, r in calibration.ranges.items()]
    labels = None if samples.labels is None else samples.labels.tolist()
    judged = (list(graph.compared), graph.is_classifier)
    versions = versions_of(*_PACKAGES)
    return content_key(VERSION, versions, graph.digest, judged, ranges, samples.digest, labels, list(names), context)

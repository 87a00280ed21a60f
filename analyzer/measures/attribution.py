"""Where a quantized file's output error comes from: shares of kinds, of layers, and what they do to one another.

The file's own numbers are put into the float network. Shapley values over the few kinds are exact, from every coalition
of them; a layer's share comes from a path through all changes at once (`path_shares.py`). What the file answers in the
interpreter beyond all that is the share of its kernels, so that all parts sum to what was measured.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..network import runtime
from ..network.subgraph import Cutter
from ..schema import Attribution, ErrorInteraction, Graph, KindShare, LayerShare
from .calibration import Progress
from .kinds import kind_of, of_changes, of_kinds, players
from .path_shares import Change, PathShare, path_shares
from .quantized_file import QuantizedFile, with_compared
from .shapley import interactions, shapley_values
from .substitution import Ingredients, Substituted, squared_errors
from .sweep import LabelledSource

_CONFIRMED = 6
"""So many of the largest layers are run alone, left out, and in pairs."""


def divide_error(
    data: bytes,
    graph: Graph,
    quantized: bytes,
    samples: LabelledSource,
    *,
    opened: QuantizedFile | None = None,
    workers: int = runtime.DEFAULT_WORKERS,
    progress: Progress | None = None,
) -> Attribution:
    """Divides the output error of a quantized file among what makes it.

    Args:
      data: The float flatbuffer, all of whose ops have rules as TensorFlow functions (`uncovered` names none).
      graph: Of `data`.
      quantized: The quantized file.
      samples: What to measure on.
      opened: `quantized`, where it has been opened already.
      workers: Threads of the interpreter.
      progress: Called with (runs done, runs in all).

    Raises:
      UnsupportedModel: Some op has no rule, or the file cannot be a child of the float network.
    """
    file = opened or QuantizedFile(quantized, graph, data)
    graph, places = with_compared(file, graph)
    network, ingredients = Substituted(data, graph), file.ingredients
    kinds = players(ingredients, graph, samples)
    work = _Work(network, samples, progress, (1 << len(kinds)) + 2 * _CONFIRMED + math.comb(_CONFIRMED, 2))
    measured = measured_errors(data, graph, quantized, places, samples, workers=workers)
    worths = work.errors([of_kinds(ingredients, _members(kinds, c), graph.inputs) for c in range(1 << len(kinds))])
    shares = path_shares(network, samples, ingredients)
    whole = float(measured.mean())
    layers = _layers(graph, shares, whole)
    confirmed, pairs = _confirm(work, graph, ingredients, worths[-1], layers)
    return Attribution(
        measured_nmse=whole,
        standard_error=_standard_error(measured),
        substituted_nmse=float(worths[-1].mean()),
        kinds=_kind_shares(kinds, worths, measured, layers),
        layers=tuple(confirmed.get(change, share) for change, share in layers.items()),
        interactions=_kind_interactions(kinds, worths),
        layer_interactions=pairs,
        coverage=file.coverage,
        samples=len(samples),
    )


def measured_errors(
    data: bytes, graph: Graph, quantized: bytes, places: Sequence[int], samples: LabelledSource, *,
    workers: int = runtime.DEFAULT_WORKERS,
) -> np.ndarray:  # fmt: skip
    """nmse of each sample, of the file in the interpreter, float64 [samples].

    Args:
      data: The float flatbuffer.
      graph: Of `data`.
      quantized: The quantized file.
      places: The file's tensors that stand for `graph.compared`.
      samples: What to run on.
      workers: Threads.
    """
    inputs = samples.block(0, len(samples))
    wanted = runtime.run_samples(Cutter(data).whole(graph.compared).flatbuffer, inputs, workers=workers)
    found = runtime.run_samples(Cutter(quantized).whole(places).flatbuffer, inputs, workers=workers)
    rows = len(samples)
    return squared_errors([a.reshape(rows, -1) for a in wanted], [a.reshape(rows, -1) for a in found])


class _Work:
    """Runs variants of the network and says how far it has come."""

    def __init__(self, network: Substituted, samples: LabelledSource, progress: Progress | None, runs: int) -> None:
        self._network, self._samples, self._progress = network, samples, progress
        self._done, self._runs = 0, runs

    def errors(self, variants: Sequence[Ingredients]) -> np.ndarray:
        """nmse of each variant and sample, float64 [variants, samples]."""

        def report(done: int, total: int) -> None:
            if self._progress:
                self._progress(self._done + done * len(variants) // total, self._runs)

        found = self._network.errors(self._samples, variants, progress=report)
        self._done += len(variants)
        return found


def _members(kinds: Sequence[str], coalition: int) -> list[str]:
    return [kind for k, kind in enumerate(kinds) if coalition >> k & 1]


def _kind_shares(
    kinds: Sequence[str], worths: np.ndarray, measured: np.ndarray, layers: Mapping[Change, LayerShare]
) -> tuple[KindShare, ...]:
    whole = float(measured.mean())
    found = []
    for k, values in enumerate(shapley_values(worths)):
        told = math.fsum(share.nmse for share in layers.values() if share.kind == kinds[k])
        alone = float(worths[1 << k].mean())
        found.append(_kind_share(kinds[k], values, whole, alone, told))
    found.append(_kind_share("kernels", measured - worths[-1], whole, None, None))
    return tuple(sorted(found, key=lambda share: (-share.nmse, share.kind)))


def _kind_share(
    kind: str, values: np.ndarray, whole: float, alone: float | None, told: float | None
) -> KindShare:  # fmt: skip
    nmse = float(values.mean())
    return KindShare(kind, nmse, _standard_error(values), nmse / whole if whole else 0.0, alone, told)


def _kind_interactions(kinds: Sequence[str], worths: np.ndarray) -> tuple[ErrorInteraction, ...]:
    found = interactions(worths)
    pairs = [
        ErrorInteraction(kinds[a], kinds[b], float(found[a, b].mean()), _standard_error(found[a, b]))
        for a, b in itertools.combinations(range(len(kinds)), 2)
    ]  # fmt: skip
    return tuple(sorted(pairs, key=lambda pair: -abs(pair.nmse)))


def _layers(graph: Graph, shares: Mapping[Change, PathShare], whole: float) -> dict[Change, LayerShare]:
    """Shares of single changes, largest first; none of those that change nothing, such as clipping that never clips."""
    found = {}
    for change, share in sorted(shares.items(), key=lambda item: (-item[1].nmse, item[0])):
        if share.nmse == share.standard_error == 0:
            continue
        op = _op_of(graph, change)
        found[change] = LayerShare(
            layer=graph.tensors[change.place].name if op is None else graph.ops[op].layer,
            op="" if op is None else graph.ops[op].key,
            opcode="" if op is None else graph.ops[op].opcode,
            kind=kind_of(change, graph.inputs),
            nmse=share.nmse,
            standard_error=share.standard_error,
            share_of_error=share.nmse / whole if whole else 0.0,
        )
    return found


def _op_of(graph: Graph, change: Change) -> int | None:
    """The op that has the constant or writes the activation; None for an input."""
    if change.kind in ("weights", "bias"):
        return change.place
    if change.kind == "constants":
        return graph.consumers(change.place)[0]
    return graph.producer(change.place)


def _confirm(
    work: _Work, graph: Graph, ingredients: Ingredients, everything: np.ndarray, layers: Mapping[Change, LayerShare]
) -> tuple[dict[Change, LayerShare], tuple[ErrorInteraction, ...]]:
    """The largest layers, run alone and left out; and what each two of them have together."""
    top = sorted(layers, key=lambda change: (-abs(layers[change].nmse), change))[:_CONFIRMED]
    pairs = list(itertools.combinations(range(len(top)), 2))
    variants = [of_changes(graph, ingredients, [change]) for change in top]
    variants += [of_changes(graph, ingredients, [change], inverse=True) for change in top]
    variants += [of_changes(graph, ingredients, [top[a], top[b]]) for a, b in pairs]
    errors = work.errors(variants)
    alone, without, together = np.split(errors, [len(top), 2 * len(top)])
    confirmed = {
        change: _with_runs(layers[change], float(alone[k].mean()), float((everything - without[k]).mean()))
        for k, change in enumerate(top)
    }  # fmt: skip
    found = []
    for (a, b), both in zip(pairs, together, strict=True):
        beyond = both - alone[a] - alone[b]
        names = [f"{layers[top[k]].kind} of {layers[top[k]].layer}" for k in (a, b)]
        found.append(ErrorInteraction(names[0], names[1], float(beyond.mean()), _standard_error(beyond)))
    return confirmed, tuple(sorted(found, key=lambda pair: -abs(pair.nmse)))


def _with_runs(share: LayerShare, alone: float, removed: float) -> LayerShare:
    return replace(share, alone=alone, removed=removed)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf

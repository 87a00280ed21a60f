"""Cross-layer equalization: channels trade scale between two layers until both have like ranges of weights.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section 4.1: where a
channel's activation scales with its input, dividing the weights and the bias that make it by s, and multiplying the
weights that read it by s, changes nothing. Weights with one scale for the tensor need it: a channel whose range r is
small beside the tensor's R gets hardly any steps. With `s = sqrt((r1 / R1) / (r2 / R2))` it gets the same share of them
on both sides. The paper's `sqrt(r1 / r2)`, which makes both ranges `sqrt(r1 r2)`, is the same but for one factor for
all channels of the pair. That changes no integer, but drives channels to the ceiling of a ReLU6, and takes no notice of
channels that must stay as they are.

ReLU6 scales with its input below 6 alone, so only channels that stay below it on all samples, before and after, are
scaled; it is never turned into ReLU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ...analyzer.measures.calibration import SampleSource
from ...analyzer.network import flatbuffer as fb
from ...analyzer.network import runtime
from ...analyzer.network.constants import replace_constants
from ...analyzer.network.subgraph import Cutter
from ...analyzer.schema import Graph, Op
from .output_change import largest_change
from .pairs import Pair, find_pairs, read_ranges, scale_read, scale_written, written_ranges

TOLERANCE = 1e-4
"""By how much the float output may change at most, in standard deviations of it."""

REACHES_CEILING = "it reaches 6 on calibration data, or nearly"
SWITCHED_OFF = "its weights are zero on one side"

_CEILING = 6.0
_SETTLED = 1e-3
_ROUNDS = 200
_WIDEST = 2.0**20
"""A channel whose weights on one side are smaller by more than this is switched off there."""


@dataclass(frozen=True)
class EqualizedPair:
    """What was done between two layers.

    Attributes:
      first, second: Op indices.
      channels: Of the activation between them.
      scaled: How many of them were scaled by more than 0.1 %.
      held: How many of those would have been scaled further, but for the activation's ceiling or range.
      left_out: How many could not be scaled, by reason.
      spread_before, spread_after: The largest range of the first layer's channels over their median, in weights.
    """

    first: int
    second: int
    channels: int
    scaled: int
    held: int
    left_out: Mapping[str, int]
    spread_before: float
    spread_after: float


@dataclass(frozen=True)
class Equalization:
    """What came of equalizing.

    Attributes:
      flatbuffer: The float network, scaled. Its activations have other ranges: **calibrate it again** before it is
        converted; `rescaled` says which.
      pairs: In execution order.
      unpaired: Channels of layers that begin no pair, by reason.
      rescaled: Activations between pairs with other values than before, as their first layers write them.
      output_change: The largest change of the float output on the samples, in standard deviations of it.
      undone: Whether that was more than `TOLERANCE`, so that `flatbuffer` is what it was.
      rounds: How often all pairs were gone through.
    """

    flatbuffer: bytes
    pairs: tuple[EqualizedPair, ...]
    unpaired: Mapping[str, int]
    rescaled: tuple[int, ...]
    output_change: float
    undone: bool
    rounds: int

    @property
    def scaled(self) -> int:
        """Channels that were scaled."""
        return 0 if self.undone else sum(pair.scaled for pair in self.pairs)

    @property
    def left_out(self) -> Mapping[str, int]:
        """Channels between paired layers that could not be scaled, by reason."""
        return dict(sum((Counter(pair.left_out) for pair in self.pairs), Counter()))


def equalize(
    flatbuffer: bytes,
    graph: Graph,
    samples: SampleSource,
    *,
    margin: float = 0.25,
    workers: int = runtime.DEFAULT_WORKERS,
) -> Equalization:
    """Equalizes the ranges of weights through all pairs of layers, again and again until nothing changes.

    It needs neither a plan nor ranges. No activation gets a wider range than it had: that would cost it what the
    weights gain.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      samples: Calibration data.
      margin: How far a channel behind ReLU6 must stay below 6, as a share of its largest value.
      workers: Threads.
    """
    found = find_pairs(flatbuffer, graph)
    largest = _largest(flatbuffer, [pair.tensor for pair in found.pairs], samples, workers)
    weights = _weights(flatbuffer, graph, found.pairs)
    limits = [_limits(graph, pair, weights, largest[pair.tensor], margin) for pair in found.pairs]
    scales, rounds = _settle(graph, found.pairs, weights, limits)
    after = _applied(graph, found.pairs, weights, scales)
    constants = _constants(flatbuffer, graph, found.pairs, scales, after)
    scaled = replace_constants(flatbuffer, constants) if constants else flatbuffer
    change = largest_change(flatbuffer, scaled, graph, samples, workers=workers)
    pairs = tuple(
        _told(graph, pair, limit, scale, weights, after)
        for pair, limit, scale in zip(found.pairs, limits, scales, strict=True)
    )
    unpaired: Counter[str] = Counter()
    for op, why in found.left_out.items():
        unpaired[why] += graph.tensors[graph.ops[op].outputs[0]].shape[-1]
    undone = change > TOLERANCE
    rescaled = tuple(pair.tensor for pair, scale in zip(found.pairs, scales, strict=True) if (scale != 1).any())
    return Equalization(
        flatbuffer=flatbuffer if undone else scaled,
        pairs=pairs,
        unpaired=dict(unpaired),
        rescaled=() if undone else rescaled,
        output_change=change,
        undone=undone,
        rounds=rounds,
    )


@dataclass(frozen=True)
class _Limits:
    """What the channels of one pair may be divided by.

    Attributes:
      lowest: float64 [channels].
      why_not: By reason: bool [channels], the channels that must not be scaled.
    """

    lowest: np.ndarray
    why_not: Mapping[str, np.ndarray]

    @property
    def free(self) -> np.ndarray:
        """bool [channels]."""
        return np.asarray(~np.logical_or.reduce(list(self.why_not.values())))


def _limits(graph: Graph, pair: Pair, weights: Mapping[int, np.ndarray], largest: np.ndarray, margin: float) -> _Limits:
    """The limits of a pair; `largest` is each channel's largest |activation|, float64 [channels]."""
    first, second = graph.ops[pair.first], graph.ops[pair.second]
    made = written_ranges(first, weights[first.index])
    read = read_ranges(second, weights[second.index], pair.channels)
    why_not = {SWITCHED_OFF: (np.minimum(made, read) <= 0) | (made > _WIDEST * read) | (read > _WIDEST * made)}
    top = float(largest.max())
    if first.activation == "RELU6":
        top = min(top, _CEILING / (1 + margin))
        why_not[REACHES_CEILING] = (largest * (1 + margin) >= _CEILING) & ~why_not[SWITCHED_OFF]
    return _Limits(largest / top if top > 0 else np.zeros_like(largest), why_not)


def _settle(
    graph: Graph, pairs: Sequence[Pair], weights: Mapping[int, np.ndarray], limits: Sequence[_Limits]
) -> tuple[list[np.ndarray], int]:
    """What each pair's channels are divided by in the end, float64 [channels] each; and after how many rounds."""
    scales = [np.ones(pair.channels) for pair in pairs]
    now = dict(weights)
    for round_ in range(1, _ROUNDS + 1):
        moved = 0.0
        for k, (pair, limit) in enumerate(zip(pairs, limits, strict=True)):
            first, second = graph.ops[pair.first], graph.ops[pair.second]
            made = written_ranges(first, now[first.index])
            read = read_ranges(second, now[second.index], pair.channels)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = (made / made.max()) / (read / read.max())
                wanted = np.maximum(scales[k] * np.sqrt(share), limit.lowest)
            wanted = np.where(limit.free, wanted, 1.0)
            step = wanted / scales[k]
            now[first.index] = scale_written(first, now[first.index], 1 / step)
            now[second.index] = scale_read(now[second.index], step)
            scales[k] = wanted
            moved = max(moved, float(np.abs(np.log(step)).max()))
        if moved < _SETTLED:
            return scales, round_
    return scales, _ROUNDS


def _applied(
    graph: Graph, pairs: Sequence[Pair], weights: Mapping[int, np.ndarray], scales: Sequence[np.ndarray]
) -> dict[int, np.ndarray]:
    """The weights by op, divided and multiplied."""
    found = dict(weights)
    for pair, scale in zip(pairs, scales, strict=True):
        found[pair.first] = scale_written(graph.ops[pair.first], found[pair.first], 1 / scale)
        found[pair.second] = scale_read(found[pair.second], scale)
    return found


def _constants(
    flatbuffer: bytes, graph: Graph, pairs: Sequence[Pair], scales: Sequence[np.ndarray],
    weights: Mapping[int, np.ndarray],
) -> dict[int, np.ndarray]:  # fmt: skip
    """New weights (given by op) and biases by tensor index, float32."""
    found = {_weights_of(graph.ops[op]): values.astype(np.float32) for op, values in weights.items()}
    model = fb.read(flatbuffer)
    for pair, scale in zip(pairs, scales, strict=True):
        bias = graph.ops[pair.first].bias
        if bias is not None:
            values = fb.constant(model, model.subgraphs[0].tensors[bias])
            assert values is not None, "biases of pairs are constants"
            found[bias] = (values / scale).astype(np.float32)
    return found


def _weights(flatbuffer: bytes, graph: Graph, pairs: Sequence[Pair]) -> dict[int, np.ndarray]:
    """Weights of all paired layers by op, float64."""
    model, found = fb.read(flatbuffer), {}
    for op in sorted({op for pair in pairs for op in (pair.first, pair.second)}):
        values = fb.constant(model, model.subgraphs[0].tensors[_weights_of(graph.ops[op])])
        assert values is not None, "weights of pairs are constants"
        found[op] = values.astype(np.float64)
    return found


def _weights_of(op: Op) -> int:
    assert op.weights is not None, "pairs have weights"
    return op.weights


def _largest(
    flatbuffer: bytes, tensors: Sequence[int], samples: SampleSource, workers: int
) -> dict[int, np.ndarray]:  # fmt: skip
    """The largest |value| of each channel of some activations over all samples, float64 [channels]."""
    if not tensors:
        return {}
    whole = Cutter(flatbuffer).whole(tensors).flatbuffer

    def part(worker: int) -> list[np.ndarray]:
        runner = runtime.Runner(whole)
        found: list[np.ndarray] = []
        for position in range(worker, len(samples), workers):
            values = runner.run_reusing([array[0] for array in samples.block(position, position + 1)])
            rows = [np.abs(v).reshape(-1, v.shape[-1]).max(axis=0) for v in values]
            found = rows if not found else [np.maximum(a, b) for a, b in zip(found, rows, strict=True)]
        return found

    with ThreadPoolExecutor(workers) as pool:
        parts = [found for found in pool.map(part, range(workers)) if found]
    return {t: np.max([found[k] for found in parts], axis=0).astype(np.float64) for k, t in enumerate(tensors)}


def _told(
    graph: Graph, pair: Pair, limits: _Limits, scale: np.ndarray, before: Mapping[int, np.ndarray],
    after: Mapping[int, np.ndarray],
) -> EqualizedPair:  # fmt: skip
    first = graph.ops[pair.first]
    changed = np.abs(np.log(scale)) > _SETTLED
    held = changed & (scale <= limits.lowest * (1 + _SETTLED))
    return EqualizedPair(
        first=pair.first,
        second=pair.second,
        channels=pair.channels,
        scaled=int(changed.sum()),
        held=int(held.sum()),
        left_out={why: int(which.sum()) for why, which in limits.why_not.items() if which.any()},
        spread_before=_spread(first, before[pair.first]),
        spread_after=_spread(first, after[pair.first]),
    )


def _spread(op: Op, weights: np.ndarray) -> float:
    ranges = written_ranges(op, weights)
    median = float(np.median(ranges))
    return float(ranges.max()) / median if median > 0 else float("inf")

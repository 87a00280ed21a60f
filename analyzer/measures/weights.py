"""What the weights of a network are like: histograms, ranges of channels, and what rounding leaves of small values."""

from __future__ import annotations

import math

import numpy as np

from ..network import flatbuffer as fb
from ..schema import Graph, Op, WeightProfile
from .quantization import quantize_weights

BINS = 48
MOST_CHANNELS = 256
"""Entries of one layer's channels; where it has more, neighbours are joined."""
ALL_CHANNELS = 16_384
"""The same of a whole network, so that what is said of a thousand layers stays small."""

DEAD = 1e-6
"""Of the widest channel: one that reaches no farther is taken for a channel of zeros, which spans nothing."""


def weight_profiles(flatbuffer: bytes, graph: Graph) -> tuple[WeightProfile, ...]:
    """One for each op with float weights, in execution order.

    Args:
      flatbuffer: The float network.
      graph: Of it.
    """
    model = fb.read(flatbuffer)
    ops = [op for op in graph.ops if op.weights is not None]
    most = min(MOST_CHANNELS, max(8, ALL_CHANNELS // max(1, len(ops))))
    found = []
    for op in ops:
        assert op.weights is not None
        values = fb.constant(model, model.subgraphs[0].tensors[op.weights])
        if values is not None and values.dtype == np.float32 and values.size and np.isfinite(values).all():
            found.append(_profile(op, values, most))
    return tuple(found)


def _profile(op: Op, values: np.ndarray, most: int) -> WeightProfile:
    axis = op.channel_axis
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    low, high = rows.min(axis=1), rows.max(axis=1)
    reach = np.maximum(-low, high)
    joined = math.ceil(len(rows) / most)
    starts = np.arange(0, len(rows), joined)
    minimum, maximum = float(low.min()), float(high.max())
    if minimum < maximum:
        counts, _ = np.histogram(rows.astype(np.float64), bins=BINS, range=(minimum, maximum))
    else:
        counts = np.array([rows.size])
    return WeightProfile(
        op=op.index,
        values=int(rows.size),
        minimum=minimum,
        maximum=maximum,
        counts=tuple(int(count) for count in counts),
        channels=len(rows),
        joined=joined,
        low=tuple(float(value) for value in np.minimum.reduceat(low, starts)),
        high=tuple(float(value) for value in np.maximum.reduceat(high, starts)),
        narrowest=float(reach[reach > DEAD * reach.max()].min(initial=reach.max())),
        widest=float(reach.max()),
        zeroed={bits: _zeroed(values, axis, bits) for bits in (4, 8)},
    )


def _zeroed(values: np.ndarray, axis: int | None, bits: int) -> float:
    integers, _ = quantize_weights(values, axis, bits)
    return float(np.count_nonzero((integers == 0) & (values != 0)) / values.size)

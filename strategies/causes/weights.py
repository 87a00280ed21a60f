"""Causes that lie in weights and biases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...analyzer.measures.quantization import fake_quantize_weights
from ...analyzer.measures.substitution import Ingredients
from ...analyzer.network.kernels import DATA_INPUT
from ...analyzer.schema import Op
from .case import Case, Mend, Proposal, not_testable, ruled_out
from .regrid import bias_steps

_CORRELATED = 0.9
"""From here on two sets of weights are taken to be the same one, up to a factor."""

STRANGE = 0.5
"""Below this median correlation with the float model's weights a file is none of its children."""

_CORRUPTED = 1.25
"""Weights are off where they are more than so many times the float model's, or less than its inverse."""

_SPREAD = 16.0
"""Channels are unlike where one's range is so many times another's: 4 of 8 bits are lost to the smaller one."""

_DEAD = 2.0**-16
"""A channel whose range is this much smaller than the widest one's is switched off: BatchNorm does that."""

_INT32_END = 2.0**31 - 1


def weight_proposals(case: Case) -> list[Proposal]:
    """Mends of weights and biases, and what they rule out."""
    ops = case.weighted()
    if not ops:
        return [ruled_out(name, "no weights of the file are quantized") for name in _NAMES]
    return [
        _corrupted(case, ops),
        _biases(case, ops),
        _per_tensor(case, ops),
        _in_float(case, "depthwise_weights", [op for op in ops if op.opcode == "DEPTHWISE_CONV_2D"]),
        _in_float(case, "weight_rounding", [op for op in ops if op.opcode != "DEPTHWISE_CONV_2D"]),
        _spread(case, ops),
    ]


_NAMES = (
    "scale_corrupted",
    "bias_saturation", "per_tensor_weights", "depthwise_weights", "weight_rounding", "channel_spread_after_bn_fold",
)  # fmt: skip


def parent_likeness(case: Case) -> float | None:
    """Median cosine between the file's weights of a layer and the float model's; None where none could be compared."""
    found = [_correlation(case, op) for op in case.weighted()]
    return float(np.median(found)) if found else None


def another_parent(case: Case) -> Proposal:
    """Whether the file's weights are the float model's at all."""
    ops, likeness = case.weighted(), parent_likeness(case)
    if likeness is None:
        return not_testable("not_the_parent", "no weights of the file could be compared with the float model's")
    said = (
        f"the median correlation of the file's weights with the float model's is {likeness:.3f} over {len(ops)} layers"
    )
    if likeness >= STRANGE:
        return ruled_out("not_the_parent", said)
    lowest = min(ops, key=lambda op: _correlation(case, op))
    numbers = case.with_weights({op.index: _rounded(case, op) for op in ops}).replaced(biases=case.float_biases(ops))
    return Mend("not_the_parent", lowest.layer, len(ops), numbers, said)


def _corrupted(case: Case, ops: Sequence[Op]) -> Proposal:
    factors = {op.index: _channel_factors(case, op) for op in ops}
    suspects = [op for op in ops if (_factor_range(factors[op.index]) > _CORRUPTED)]
    if not suspects:
        largest = max(_factor_range(found) for found in factors.values())
        return ruled_out(
            "scale_corrupted",
            f"no channel's weights are more than {largest:.2f} times the float model's, or less than its inverse",
        )

    def mended(chosen: Sequence[Op]) -> Ingredients:
        weights = {
            op.index: np.asarray(case.numbers.weights[op.index] / factors[op.index], np.float32) for op in chosen
        }  # fmt: skip
        return case.with_weights(weights).replaced(biases=case.float_biases(chosen))

    def say(op: Op) -> str:
        found = factors[op.index].reshape(-1)
        off = found[np.maximum(found, 1 / found) > _CORRUPTED]
        usual = float(np.median(off))
        return (
            f"the weights of {op.layer} are {usual:.2f} times the float model's in {len(off)} of {len(found)} "
            "channels, and otherwise the same"
        )

    return _group(case, "scale_corrupted", suspects, mended, say)


def _channel_factors(case: Case, op: Op) -> np.ndarray:
    """The factor between the file's weights and the float model's for each channel, 1 where they are not alike.

    Returns:
      Least squares through the origin; of the weights' rank, size 1 in every axis but the channels'.
    """
    found, wanted = case.numbers.weights[op.index].astype(np.float64), case.float_weights(op).astype(np.float64)
    others = tuple(axis for axis in range(wanted.ndim) if axis != op.channel_axis)
    power = np.sum(wanted * wanted, axis=others, keepdims=True)
    cross = np.sum(found * wanted, axis=others, keepdims=True)
    own = np.sum(found * found, axis=others, keepdims=True)
    alike = (cross > 0) & (cross * cross >= _CORRELATED**2 * power * own)
    # A channel that is small beside its step is rounded off by as much as any factor.
    grid = case.numbers.weight_grids.get(op.index)
    coarse = np.zeros_like(power, bool)
    if grid is not None:
        coarse = np.sqrt(power / max(1, wanted.size // power.size)) < 4 * grid.scales.reshape(-1).min()
        coarse &= np.abs(found).max(axis=others, keepdims=True) < 16 * np.broadcast_to(grid.scales, power.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(alike & ~coarse, cross / power, 1.0)


def _factor_range(factors: np.ndarray) -> float:
    return float(np.maximum(factors, 1 / factors).max())


def _biases(case: Case, ops: Sequence[Op]) -> Proposal:
    wanted, cut, largest = case.float_biases(ops), [], 0.0
    for op in ops:
        grid, steps = case.grid(op.inputs[DATA_INPUT.get(op.opcode, 0)]), bias_steps(case, op)
        if op.index not in wanted or steps is None or grid is None or grid.bits == 16:  # 16-bit inputs: int64 biases
            continue
        found = np.abs(case.numbers.biases[op.index].astype(np.float64))
        used = found / steps / _INT32_END
        largest = max(largest, float(used.max()))
        if ((used > 0.999) & (np.abs(wanted[op.index]) > 1.001 * found)).any():
            cut.append(op)
    if not cut:
        return ruled_out("bias_saturation", f"the largest bias uses {100 * largest:.2g} % of int32")

    def say(op: Op) -> str:
        return f"biases of {op.layer} lie at the end of int32, below the float model's"

    return _group(
        case, "bias_saturation", cut, lambda chosen: case.numbers.replaced(biases=case.float_biases(chosen)), say
    )  # fmt: skip


def _per_tensor(case: Case, ops: Sequence[Op]) -> Proposal:
    known = [op for op in ops if op.index in case.numbers.weight_grids and op.channel_axis is not None]
    meant = [op for op in known if not case.numbers.weight_grids[op.index].is_per_channel and _channels(case, op) > 1]
    if not meant:
        return ruled_out("per_tensor_weights", f"the weights of all {len(known)} layers have a scale for each channel")

    def mended(chosen: Sequence[Op]) -> Ingredients:
        return case.with_weights({op.index: _rounded(case, op) for op in chosen})

    def say(op: Op) -> str:
        channels, spread = _channels(case, op), _weight_spread(case, op)
        return f"the {channels} channels of {op.layer} share one scale, and their ranges differ {spread:.0f}-fold"

    return _group(case, "per_tensor_weights", meant, mended, say)


def _in_float(case: Case, name: str, ops: Sequence[Op]) -> Proposal:
    if not ops:
        what = "depthwise convolutions" if name == "depthwise_weights" else "other layers"
        return ruled_out(name, f"the file has no quantized weights of {what}")

    def say(op: Op) -> str:
        grid = case.numbers.weight_grids.get(op.index)
        size = case.numbers.weights[op.index].size
        return f"{op.layer} has {size} weights" + (f" in {grid.bits} bits" if grid is not None else "")

    return _group(case, name, ops, lambda chosen: case.numbers.without_weights([op.index for op in chosen]), say)


def _spread(case: Case, ops: Sequence[Op]) -> Proposal:
    name = "channel_spread_after_bn_fold"
    folded = [op for op in ops if "batchnorm folded" in op.kinds and op.channel_axis is not None]
    inner = {op.index: _weight_spread(case, op) for op in folded}
    outer = {op.index: _output_spread(case, op) for op in folded}
    wide = [op for op in folded if max(inner[op.index], outer[op.index]) >= _SPREAD]
    if not wide:
        return ruled_out(name, f"no BatchNorm was folded into channels whose ranges differ {_SPREAD:g}-fold or more")
    one_scale = [op for op in wide if inner[op.index] >= _SPREAD and _has_one_scale(case, op)]
    outputs = {t for op in wide if outer[op.index] >= _SPREAD for t in case.graph.activations_out(op)}
    numbers = case.with_weights({op.index: _rounded(case, op) for op in one_scale})
    numbers = numbers.with_parts(clips=True, rounds=False, tensors=outputs)
    worst = max(wide, key=lambda op: inner[op.index])
    said = (
        f"BatchNorm was folded into {len(folded)} layers; the channels of {worst.layer} differ "
        f"{inner[worst.index]:.0f}-fold in the ranges of their weights, and "
        f"{'share one scale' if worst in one_scale else 'have a scale each'}; outputs of {len(outputs)} such layers "
        f"hold channels of ranges that differ {_SPREAD:g}-fold or more on one scale"
    )
    return Mend(name, worst.layer, len(wide), numbers, said)


def _has_one_scale(case: Case, op: Op) -> bool:
    grid = case.numbers.weight_grids.get(op.index)
    return grid is not None and not grid.is_per_channel


def _weight_spread(case: Case, op: Op) -> float:
    """Largest over smallest range of a channel's weights, of the channels that count for anything."""
    values = case.float_weights(op)
    assert op.channel_axis is not None, "only layers with channels are asked"
    return _ratio(
        np.abs(np.moveaxis(values, op.channel_axis, 0)).reshape(values.shape[op.channel_axis], -1).max(axis=1)
    )


def _output_spread(case: Case, op: Op) -> float:
    outputs = case.graph.activations_out(op)
    return _ratio(case.extremes.channel_spans[outputs[0]]) if outputs else 1.0


def _ratio(spans: np.ndarray) -> float:
    used = spans[spans > _DEAD * spans.max()]
    return float(used.max() / used.min()) if used.size else 1.0


def _group(
    case: Case, name: str, ops: Sequence[Op], mended: Callable[[Sequence[Op]], Ingredients], say: Callable[[Op], str]
) -> Mend:
    """A mend of some layers, and of the worst of them alone."""
    worst = case.worst_op("weights", ops)
    alone = Mend(name, worst.layer, 1, mended([worst]), say(worst))
    if len(ops) == 1:
        return alone
    return Mend(name, worst.layer, len(ops), mended(ops), f"{len(ops)} layers are so; {alone.evidence}", alone)


def _rounded(case: Case, op: Op) -> np.ndarray:
    """The float weights in the file's bits, with a scale for each channel."""
    grid = case.numbers.weight_grids.get(op.index)
    return fake_quantize_weights(case.float_weights(op), op.channel_axis, 8 if grid is None else min(grid.bits, 8))


def _channels(case: Case, op: Op) -> int:
    assert op.channel_axis is not None, "only layers with channels are asked"
    return int(case.float_weights(op).shape[op.channel_axis])


def _correlation(case: Case, op: Op) -> float:
    """Cosine between the file's weights of an op and the float model's; 0 where one of them is all zeros."""
    found, wanted = (
        values.astype(np.float64).reshape(-1) for values in (case.numbers.weights[op.index], case.float_weights(op))
    )
    power = float(np.sqrt((found @ found) * (wanted @ wanted)))
    return float(found @ wanted) / power if power else 0.0

"""What has a rule with gradients and what has not, told from the flatbuffer alone. Loads no TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .nodes import Network, Node, read_network

_FLOAT = frozenset({"float32"})
_NUMBERS = _FLOAT | {"int32", "int64"}
_TRUTH = frozenset({"bool"})
_ANY = _NUMBERS | _TRUTH
_CASTABLE = _ANY | {"int8", "uint8", "int16", "uint16", "uint32", "uint64"}

_FUSED = frozenset({"NONE", "RELU", "RELU6", "RELU_N1_TO_1"})
_MOST_DIMENSIONS = 6  # with the sample axis 7: not all of TensorFlow's kernels go further


@dataclass(frozen=True)
class _Limits:
    """What a rule takes.

    Attributes:
      dtypes: Of the activations that the op reads and writes.
      constant: Positions of inputs that must be constants where they are there.
      options: Whether the rule reads the op's options.
      reason: Says what else of an op the rule does not do, "" where it does all.
    """

    dtypes: frozenset[str]
    constant: tuple[int, ...] = ()
    options: bool = False
    reason: Callable[[Node], str] = lambda _: ""


def uncovered(data: bytes) -> tuple[str, ...]:
    """What of a network has no rule in `DifferentiableGraph`.

    Args:
      data: A float flatbuffer.

    Returns:
      Names of ops, each with the reason in words where it is not the op itself, sorted; empty where all is covered.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """
    return missing_rules(read_network(data))


def missing_rules(network: Network) -> tuple[str, ...]:
    """As `uncovered`, of a network that has been read."""
    reasons = ((node.opcode, _missing(node)) for node in network.nodes)
    return tuple(sorted({f"{opcode} {reason}".strip() for opcode, reason in reasons if reason is not None}))


def covered_ops() -> frozenset[str]:
    """TFLite's names of the ops that have a rule."""
    return frozenset(_LIMITS)


def cut_gradients(data: bytes, outputs: Collection[int] | None = None) -> frozenset[int]:
    """The float activations whose influence on the outputs a gradient does not see, or does not see wholly.

    A value moves on through an op that has a derivative of zero wherever it has one: it writes no floats (comparisons,
    ARG_MAX, CAST to integers, the positions of TOPK_V2), or floats in steps (ROUND, FLOOR and the like). A tensor is
    listed where at least one path from it to an output leads through such an op, whatever other paths there are. What
    such an op writes, and what lies behind it, is not listed on its account. SHAPE and its like read no values and cut
    nothing.

    Args:
      data: A float flatbuffer.
      outputs: Tensor indices that count as outputs; the network's own where it is None.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """
    network = read_network(data)
    leading = set(network.outputs if outputs is None else outputs)
    cut: set[int] = set()
    floats: set[int] = set()
    for node in reversed(network.nodes):
        used = [operand for operand in node.outputs if operand.tensor in leading]
        if not used or node.opcode in _VALUELESS:
            continue
        read = {operand.tensor for operand in node.activations}
        leading |= read
        floats.update(operand.tensor for operand in node.activations if operand.dtype == "float32")
        if node.opcode in _STEPS or any(o.dtype != "float32" or o.tensor in cut for o in used):
            cut |= read
    return frozenset(cut & floats)


_VALUELESS = frozenset({"SHAPE", "RANK", "ZEROS_LIKE"})
_STEPS = frozenset({"FLOOR", "CEIL", "ROUND", "SIGN", "FLOOR_DIV", "FLOOR_MOD"})


def _missing(node: Node) -> str | None:
    """Why an op is not covered: "" where it has no rule at all; None where it is covered."""
    limits = _LIMITS.get(node.opcode)
    if limits is None:
        return ""
    return _general_reason(node, limits) or limits.reason(node) or None


def _general_reason(node: Node, limits: _Limits) -> str:
    operands = [*node.activations, *node.outputs]
    strange = sorted({operand.dtype for operand in operands} - limits.dtypes)
    computed = [k for k in limits.constant if node.has(k) and node.operand(k).constant is None]
    if computed:
        return f"with a computed input {computed[0]}"
    if strange:
        return f"on {strange[0]}"
    if any(size < 0 for operand in operands for size in operand.shape):
        return "of dynamic shape"
    if any(size == 0 for operand in operands for size in operand.shape):
        return "of empty tensors"
    if any(len(operand.shape) > _MOST_DIMENSIONS for operand in operands):
        return f"of more than {_MOST_DIMENSIONS} dimensions"
    if limits.options and node.options is None:
        return "without its options"
    return "" if node.activation in _FUSED else f"with fused {node.activation}"


def _fully_connected(node: Node) -> str:
    if node.options.weightsFormat:
        return "with shuffled weights"
    return "" if len(node.operand(1).shape) == 2 else "with weights that are no matrix"


def _convolution(node: Node) -> str:
    channels = node.operand(1).shape[3]
    in_channels, out_channels = node.operand(0).shape[3], node.operand(1).shape[0]
    divides = in_channels % channels == 0 and out_channels % (in_channels // channels) == 0
    return "" if divides else "whose kernel does not fit its data"


def _transpose_conv(node: Node) -> str:
    """TensorFlow takes only outputs that an ordinary convolution would turn into the input's size."""
    o = node.options
    sizes = zip(
        node.operand(2).shape[1:3], node.outputs[0].shape[1:3], node.operand(1).shape[1:3], (o.strideH, o.strideW),
        strict=True,
    )  # fmt: skip
    for small, large, kernel, stride in sizes:
        reached = -(-large // stride) if o.padding == 0 else -(-(large - kernel + 1) // stride)
        if reached != small:
            return "whose output does not fit its data"
    return ""


def _select(node: Node) -> str:
    condition, chosen = node.operand(0).shape, node.operand(1).shape
    rows = len(condition) == 1 and bool(chosen) and condition[0] == chosen[0]
    return "" if condition == chosen or not condition or rows else "with a condition of another shape"


def _strided_slice(node: Node) -> str:
    o = node.options
    begin, strides = node.numbers(1), node.numbers(3)
    single = [place for place in range(len(begin)) if o.shrinkAxisMask >> place & 1]
    if o.offset:
        return "with ends relative to their beginnings"
    # In these three cases TensorFlow and TFLite differ.
    if o.shrinkAxisMask & (o.beginMask | o.newAxisMask | o.ellipsisMask):
        return "with masks that overlap"
    if any(strides[place] < 0 for place in single):
        return "with a single element taken backwards"
    return "" if _indices_fit(node, {place: begin[place] for place in single}) else "with indices that do not fit"


def _indices_fit(node: Node, single: Mapping[int, int]) -> bool:
    """Whether single elements lie within the data: TFLite takes the nearest one there is, TensorFlow refuses."""
    index: list[Any] = [single.get(place, slice(None)) for place in range(len(node.numbers(1)))]
    for place in range(len(index)):
        if node.options.ellipsisMask >> place & 1:
            index[place] = Ellipsis
        elif node.options.newAxisMask >> place & 1:
            index[place] = None
    try:
        np.broadcast_to(0, node.operand(0).shape)[tuple(index)]
    except IndexError:
        return False
    return True


def _at_most(dimensions: int) -> Callable[[Node], str]:
    """For kernels of TensorFlow, or of the gradient, that take one dimension more, the samples, and no other."""

    def reason(node: Node) -> str:
        return f"of more than {dimensions} dimensions" if len(node.outputs[0].shape) > dimensions else ""

    return reason


def _resize_nearest(node: Node) -> str:
    both = node.options.alignCorners and node.options.halfPixelCenters
    return "with aligned corners and half pixel centers" if both else ""


def _broadcast(node: Node) -> str:
    """TensorFlow broadcasts over 5 dimensions, after it has joined neighbours that behave alike."""
    output = node.outputs[0].shape
    count = 1 if node.opcode == "BROADCAST_TO" else len(node.inputs)  # its second input is the shape
    operands = [operand for operand in node.inputs[:count] if operand]
    behaviours = [tuple(operand.constant is None for operand in operands)]  # of the sample axis
    for axis in range(-len(output), 0):
        if output[axis] > 1:
            behaviours.append(tuple(len(o.shape) >= -axis and o.shape[axis] > 1 for o in operands))
    return _TOO_MANY if _runs(behaviours) > _MOST_BROADCAST else ""


def _reduction(node: Node) -> str:
    """A reduction's gradient is broadcast."""
    shape = node.operand(0).shape
    axes = {axis % len(shape) for axis in node.numbers(1)} if shape else set()
    behaviours: list[tuple[bool, ...]] = [(False,), *((axis in axes,) for axis, size in enumerate(shape) if size > 1)]
    return _TOO_MANY if _runs(behaviours) > _MOST_BROADCAST else ""


def _runs(behaviours: Sequence[tuple[bool, ...]]) -> int:
    return sum(1 for _ in itertools.groupby(behaviours))


_MOST_BROADCAST = 5
_TOO_MANY = "broadcast over too many dimensions"


_ELEMENTWISE: Mapping[str, _Limits] = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV"), _Limits(_NUMBERS, options=True, reason=_broadcast)),
    **dict.fromkeys(
        ("SQUARED_DIFFERENCE", "POW", "MAXIMUM", "MINIMUM", "FLOOR_DIV", "FLOOR_MOD"),
        _Limits(_NUMBERS, reason=_broadcast),
    ),
    **dict.fromkeys(("ADD_N", "ABS", "NEG", "SQUARE", "SIGN"), _Limits(_NUMBERS)),
    **dict.fromkeys(
        ("RSQRT", "SQRT", "EXP", "LOG", "SIN", "COS", "FLOOR", "CEIL", "ROUND"), _Limits(_FLOAT)
    ),
    "ATAN2": _Limits(_FLOAT, reason=_broadcast),
    **dict.fromkeys(
        ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"), _Limits(_ANY, reason=_broadcast)
    ),
    **dict.fromkeys(("LOGICAL_AND", "LOGICAL_OR"), _Limits(_TRUTH, reason=_broadcast)),
    "LOGICAL_NOT": _Limits(_TRUTH),
    "SELECT": _Limits(_ANY, reason=_select),
    "SELECT_V2": _Limits(_ANY),
    "CAST": _Limits(_CASTABLE),
}  # fmt: skip
_NETWORK: Mapping[str, _Limits] = {
    "CONV_2D": _Limits(_FLOAT, (1, 2), True, _convolution),
    "DEPTHWISE_CONV_2D": _Limits(_FLOAT, (1, 2), True),
    "TRANSPOSE_CONV": _Limits(_FLOAT, (1, 3), True, _transpose_conv),
    "FULLY_CONNECTED": _Limits(_FLOAT, (2,), True, _fully_connected),
    "BATCH_MATMUL": _Limits(_FLOAT, options=True),
    **dict.fromkeys(
        (
            "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ELU", "TANH", "LOGISTIC", "HARD_SWISH",
            "LOG_SOFTMAX", "L2_NORMALIZATION",
        ),
        _Limits(_FLOAT),
    ),
    "PRELU": _Limits(_FLOAT, reason=_broadcast),
    "RESIZE_NEAREST_NEIGHBOR": _Limits(_FLOAT, options=True, reason=_resize_nearest),
    **dict.fromkeys(
        (
            "LEAKY_RELU", "GELU", "SOFTMAX", "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D", "RESIZE_BILINEAR",
            "LOCAL_RESPONSE_NORMALIZATION", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE",
        ),
        _Limits(_FLOAT, options=True),
    ),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), _Limits(_FLOAT, (1, 2))),
}  # fmt: skip
_REDUCTIONS: Mapping[str, _Limits] = {
    "MEAN": _Limits(_FLOAT, (1,), True, _reduction),
    **dict.fromkeys(("SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), _Limits(_NUMBERS, (1,), True, _reduction)),
    **dict.fromkeys(("REDUCE_ANY", "REDUCE_ALL"), _Limits(_TRUTH, (1,), True)),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), _Limits(_NUMBERS, (1,))),
    "CUMSUM": _Limits(_NUMBERS, (1,), True),
    "TOPK_V2": _Limits(_NUMBERS),
}
_MOVEMENT: Mapping[str, _Limits] = {
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _Limits(_CASTABLE)),
    **dict.fromkeys(("TRANSPOSE", "TILE", "REVERSE_V2"), _Limits(_ANY, (1,))),
    **dict.fromkeys(("CONCATENATION", "PACK", "UNPACK", "GATHER"), _Limits(_ANY, options=True)),
    **dict.fromkeys(("GATHER_ND", "FILL", "ZEROS_LIKE", "SHAPE", "RANK"), _Limits(_ANY)),
    "SPLIT": _Limits(_ANY, (0,)),
    "SPLIT_V": _Limits(_ANY, (2,)),
    "PAD": _Limits(_ANY, (1,), reason=_at_most(5)),
    "PADV2": _Limits(_ANY, (1, 2), reason=_at_most(5)),
    "SLICE": _Limits(_ANY, (1,), reason=_at_most(5)),
    "MIRROR_PAD": _Limits(_ANY, (1,), True, _at_most(4)),
    "STRIDED_SLICE": _Limits(_ANY, (1, 2, 3), True, _strided_slice),
    "BROADCAST_TO": _Limits(_ANY, reason=_broadcast),
    "EMBEDDING_LOOKUP": _Limits(_NUMBERS, (1,)),
    "RANGE": _Limits(_NUMBERS),
    "ONE_HOT": _Limits(_ANY, (2, 3), True),
}
_LIMITS: Mapping[str, _Limits] = {**_ELEMENTWISE, **_NETWORK, **_REDUCTIONS, **_MOVEMENT}

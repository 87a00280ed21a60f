"""Which schemes an op has on a target, and what they cost there."""

from __future__ import annotations

from ...analyzer.errors import UsageError
from ...analyzer.schema import SCHEMES, Format, Graph, Op, Scheme, Target

_READS_MORE_THAN_IT_WRITES = frozenset({
    "AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM", "REDUCE_MIN", "REDUCE_MAX", "REDUCE_PROD",
    "ARG_MAX", "ARG_MIN",
})  # fmt: skip


def schemes_on(target: Target, op: Op, graph: Graph) -> tuple[str, ...]:
    """Names of the schemes that an op may have on a target, narrowest first.

    An op that neither reads nor writes a float activation (SHAPE, sums of integers) has no precision to choose: it is
    left alone on every target, which is what `float` means for it.

    Args:
      target: The target.
      op: An op of `graph`.
      graph: The float network.

    Returns:
      Never a scheme that `op.schemes` lacks; empty where the target cannot run the op at all.
    """
    if not _handles_float(op, graph):
        return op.schemes
    return tuple(name for name in SCHEMES if name in op.schemes and _exists(target, op.opcode, SCHEMES[name]))


def relative_cost(target: Target, op: Op, graph: Graph, scheme: str) -> float:
    """Time of one op for one sample: milliseconds where the target has measurements, else int8 CONV_2D MACs.

    Without a measurement of this op it is `work(op, graph)` times the cost of its kernel. A split is two 8-bit ops and
    an ADD of their outputs, unless it was measured as one.

    Args:
      target: The target.
      op: An op of `graph`.
      graph: The float network.
      scheme: One of `schemes_on(target, op, graph)`.

    Raises:
      UsageError: The target does not have the scheme for this op, or was measured for another network.
    """
    measured = _measured(target, op, graph, scheme)
    if measured is not None:
        return measured
    offered = schemes_on(target, op, graph)
    if scheme not in offered:
        raise UsageError(
            f"{target.name} has no {scheme} for {op.layer} ({op.key})",
            f"choose one of {', '.join(offered)}" if offered else "choose another target, or leave this op out",
        )
    if not _handles_float(op, graph):
        return 0.0
    return _kernel_cost(target, op, graph, SCHEMES[scheme]) * _unit(target)


def _measured(target: Target, op: Op, graph: Graph, scheme: str) -> float | None:
    """Milliseconds that the target's table has for an op, None where it has none.

    A time that is missing is no fault, for a table may name a few ops alone; but one that names ops which the network
    lacks was measured for another one.
    """
    found = target.measured.get((op.key, scheme))
    known = target.measured_work.get(op.key)
    if known is not None and known != work(op, graph):
        raise _other_network(target, f"{op.key} computes {known} there and {work(op, graph)} here")
    if found is None and target.measured:
        keys = {other.key for other in graph.ops}
        foreign = next((key for key, _ in target.measured if key not in keys), None)
        if foreign is not None:
            raise _other_network(target, f"it has {foreign}, the network {op.key} ({op.layer})")
    return found


def _other_network(target: Target, how: str) -> UsageError:
    return UsageError(
        f"the target {target.name} was measured for another network: {how}",
        f"measure this one: bitplan measure-latency MODEL --out {target.name}.toml; or choose another --target",
    )


def border_cost(target: Target, elements: int, *, read: Format, written: Format) -> float | None:
    """Time of a QUANTIZE or DEQUANTIZE, in the unit of `relative_cost`; None where the target has none.

    Args:
      target: The target.
      elements: Of the tensor, for one sample.
      read: Format of what the border op reads.
      written: Format of what it writes; where equal to `read`, it changes the scale alone.
    """
    kernel = target.border.get((read, written))
    return None if kernel is None else elements * kernel.cost * _unit(target)


def work(op: Op, graph: Graph) -> int:
    """What the cost of a kernel is multiplied with: MACs of one sample, or elements where the op has none.

    Elements are those that it writes, or of its largest input where it reads more than it writes (pooling, MEAN).
    """
    if op.macs:
        return op.macs
    if op.opcode in _READS_MORE_THAN_IT_WRITES:
        tensors = (graph.tensors[t] for t in op.inputs if t >= 0)
        return max((tensor.elements for tensor in tensors if not tensor.is_constant), default=0)
    return sum(graph.tensors[t].elements for t in op.outputs)


def _handles_float(op: Op, graph: Graph) -> bool:
    return bool(graph.activations_in(op) or graph.activations_out(op))


def _exists(target: Target, opcode: str, scheme: Scheme) -> bool:
    if not scheme.is_split:
        return target.kernel(opcode, scheme.name) is not None
    half = _half(scheme)
    return target.kernel(opcode, half) is not None and target.kernel("ADD", half) is not None


def _kernel_cost(target: Target, op: Op, graph: Graph, scheme: Scheme) -> float:
    """Of a scheme that exists."""
    if scheme.is_split:
        added = graph.tensors[op.outputs[0]].elements
        half = _half(scheme)
        return 2 * work(op, graph) * _cost(target, op.opcode, half) + added * _cost(target, "ADD", half)
    return work(op, graph) * _cost(target, op.opcode, scheme.name)


def _cost(target: Target, opcode: str, scheme: str) -> float:
    kernel = target.kernel(opcode, scheme)
    assert kernel is not None
    return kernel.cost


def _half(scheme: Scheme) -> str:
    """The scheme of the three ops that a split consists of."""
    return f"w8a{scheme.format.bits}"


def _unit(target: Target) -> float:
    return 1.0 if target.mac_ms is None else target.mac_ms

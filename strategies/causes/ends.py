"""Causes at the network's ends, in its sums, and in rounding as such."""

from __future__ import annotations

from dataclasses import replace

from ...analyzer.measures.substitution import Ingredients
from .case import Case, Mend, Proposal, ruled_out
from .regrid import regrid
from .yardstick import Yardstick, is_mixed

_MISMATCH = 4.0
"""Operands of a sum are unlike where one's step is so many times the other's: 2 of 8 bits."""

_PASSES_ON = frozenset(
    {"CONCATENATION", "PACK", "RESHAPE", "TRANSPOSE", "STRIDED_SLICE", "SLICE", "SQUEEZE", "EXPAND_DIMS"}
)


def end_proposals(case: Case, yardstick: Yardstick) -> list[Proposal]:
    """Mends of inputs, outputs, sums and of rounding as such."""
    return [_mixed_output(case, yardstick), _input(case), _output(case), _sums(case), _rounding(case)]


def _input(case: Case) -> Proposal:
    inputs = [t for t in case.graph.inputs if case.grid(t) is not None]
    if not inputs:
        return ruled_out("input_quantization", "the file does not quantize its input")
    worst = case.worst_tensor(inputs)
    grid = case.grid(worst)
    assert grid is not None, "only quantized inputs are looked at"
    said = f"the input is held in {grid.bits} bits on {grid.minimum:.4g} to {grid.maximum:.4g}"
    return Mend("input_quantization", case.layer(worst), len(inputs), case.numbers.without_activations(inputs), said)


def _output(case: Case) -> Proposal:
    ends = dict.fromkeys((*case.graph.compared, *case.graph.outputs))
    outputs = [t for t in ends if case.grid(t) is not None]
    if not outputs:
        return ruled_out("output_rounding", "the file does not quantize its output")
    worst = case.worst_tensor(outputs)
    grid = case.grid(worst)
    assert grid is not None, "only quantized outputs are looked at"
    said = f"the output is held in steps of {grid.scale:.4g} on {grid.minimum:.4g} to {grid.maximum:.4g}"
    return Mend("output_rounding", case.layer(worst), len(outputs), case.numbers.without_activations(outputs), said)


def _mixed_output(case: Case, yardstick: Yardstick) -> Proposal:
    name = "mixed_range_output"
    if case.graph.is_classifier:
        return ruled_out(name, "the output scores classes, which are one kind of value")
    for tensor, spans in zip(case.graph.compared, yardstick.spans, strict=True):
        grid = case.grid(tensor)
        if grid is None or not is_mixed(spans):
            continue
        used = spans[spans > 0]
        ratio, codes = used.max() / used.min(), used.min() / grid.scale
        said = (
            f"the {len(spans)} columns of one output differ {ratio:.0f}-fold in range, and all are held in steps of "
            f"{grid.scale:.4g}: the narrowest has {codes:.1f} codes of {grid.high - grid.low + 1}"
        )
        return Mend(name, case.layer(tensor), 1, _apart(case, tensor), said)
    return ruled_out(name, "no quantized output holds columns of unlike ranges")


def _apart(case: Case, output: int) -> Ingredients:
    """The file's numbers with the parts of an output on a grid each.

    Where ops joined them, every part gets a grid over its own range, and the joint rounding goes; an output that one op
    writes as a whole is not rounded, for this network has no parts that could have a scale of their own.
    """
    joint, parts = {output}, set[int]()
    waiting = [output]
    while waiting:
        producer = case.graph.producer(waiting.pop())
        op = None if producer is None else case.graph.ops[producer]
        if op is None or op.opcode not in _PASSES_ON:
            continue
        for tensor in case.graph.activations_in(op):
            if len(case.graph.activations_in(op)) == 1:
                joint.add(tensor)
                waiting.append(tensor)
            else:
                parts.add(tensor)
    numbers = case.numbers.without_activations(joint)
    grid = case.grid(output)
    assert grid is not None, "only quantized outputs are taken apart"
    return replace(
        numbers,
        activations={**numbers.activations, **{t: regrid(grid, *case.extremes.range_of(t)) for t in parts}},
        reads={(t, op): read for (t, op), read in numbers.reads.items() if t not in parts},
    )


def _sums(case: Case) -> Proposal:
    name, largest, coarse = "add_scale_mismatch", 1.0, {}
    for op in case.graph.ops:
        if op.opcode not in ("ADD", "SUB"):
            continue
        steps = {t: grid.scale for t in case.graph.activations_in(op) if (grid := case.grid(t)) is not None}
        if len(steps) != 2:
            continue
        fine, rough = sorted(steps, key=lambda tensor: (steps[tensor], tensor))
        largest = max(largest, steps[rough] / steps[fine])
        if steps[rough] / steps[fine] >= _MISMATCH:
            coarse[rough] = (op, steps[rough] / steps[fine])
    if not coarse:
        return ruled_out(name, f"the operands of no sum differ more than {largest:.1f}-fold in their steps")
    worst = case.worst_tensor(list(coarse))
    op, ratio = coarse[worst]
    said = f"the operands of {len(coarse)} sums differ in their steps, those of {op.layer} {ratio:.0f}-fold"
    numbers = case.numbers.with_parts(clips=True, rounds=False, tensors=set(coarse))
    return Mend(name, case.layer(worst), len(coarse), numbers, said)


def _rounding(case: Case) -> Proposal:
    inner = [t for t in case.numbers.activations if t not in case.graph.inputs]
    if not inner:
        return ruled_out("activation_rounding", "the file keeps its activations in float")
    worst = case.worst_tensor(inner)
    grid = case.numbers.activations[worst]
    numbers = case.numbers.with_parts(clips=True, rounds=False, tensors=set(inner))
    said = f"{len(inner)} activations are rounded, {case.layer(worst)} to steps of {grid.scale:.4g}"
    return Mend("activation_rounding", case.layer(worst), len(inner), numbers, said)

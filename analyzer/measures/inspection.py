"""What one quantized file shows by itself: how it uses its integers, and what in it does not fit together.

Nothing is run. The figures are facts of the file; what they cost in accuracy only a comparison with the float model can
tell, and `FileInspection.unknown` says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from ..network import kernels
from ..schema import FileFinding, FileInspection, Op, WeightCodes
from .grids import INTEGERS, Grid
from .opened_file import OpenedFile, Weights

_WIDE_SPREAD = 16.0
"""Channel ranges this far apart leave the narrowest channel 4 of 8 bits where they share a scale."""

_MANY_AT_ENDS = 0.02
_REACHED = 0.9
_BIAS_LIMIT = 2**31 - 1
_NEAR_LIMIT = 0.99
_FEW_STEPS = 32.0
_FEW_STEPS_OF_ADD = 16.0
_UNUSED_RANGE = 0.1
_SAME_SCALE = 1e-3
_FIXED_SCALES = {"SOFTMAX": 1 / 256, "LOGISTIC": 1 / 256, "TANH": 1 / 128}
_JOINING = frozenset({"CONCATENATION", "PACK"})
_CLAMPS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
_UNKNOWN = (
    "how much accuracy the file has, and what it lost: that takes the float model and evaluation data",
    "whether the ranges of activations fit the data, and how much is clipped: that takes data",
    "whether its weights are those of the float model, and whether inputs are scaled and ordered as it wants them",
)


def inspect_file(data: bytes) -> FileInspection:
    """Looks at a quantized file without its parent and without data.

    Args:
      data: A .tflite from any converter; its first subgraph counts.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """
    file = OpenedFile(data)
    codes = tuple(
        _codes(op, file.layer(op), found) for op in file.computing() if (found := file.weights(op)) is not None
    )
    kind = _kind(file)
    findings = [finding for look in _LOOKS for finding in look(file)]
    findings += [*_of_codes(codes), *(_float_ops(file) if kind in ("integer", "mixed") else ())]
    return FileInspection(
        quantization=kind,
        file_bytes=len(data),
        ops=len(file.graph.ops),
        tensor_types=dict(sorted(Counter(t.dtype for t in file.graph.tensors).items())),
        weights=codes,
        findings=tuple(sorted(findings, key=lambda f: (f.name, -f.amount, f.layer))),
        unknown=_UNKNOWN,
    )


def _kind(file: OpenedFile) -> str:
    """What the file is, of `FILE_KINDS`."""
    weighted = [op for op in file.computing() if file.weights_dtype(op) is not None]
    integers = [op for op in weighted if file.weights_dtype(op) in INTEGERS]
    written = {file.grid_dtype(t) for op in file.computing() for t in op.outputs}
    if written & INTEGERS.keys():
        return "mixed" if "float32" in written else "integer"
    if any(file.reads_integers(op) for op in integers):
        return "dynamic range"
    if integers:
        return "weight only"
    return "float16" if any(file.weights_dtype(op) == "float16" for op in weighted) else "float"


def _codes(op: Op, layer: str, weights: Weights) -> WeightCodes:
    steps, grid = weights.by_channel(), weights.grid
    largest = np.abs(steps).max(axis=1, initial=0)
    ranges = largest * weights.scales()
    used = ranges[ranges > 0]
    symmetric = not grid.zero_points.any()
    top = grid.high if symmetric else max(grid.high - int(grid.zero_points.max()), int(grid.zero_points.max()))
    at_ends = np.abs(steps) >= top if symmetric else (weights.integers <= grid.low) | (weights.integers >= grid.high)
    reached = largest if grid.is_per_channel else largest.max(initial=0, keepdims=True)
    low = -grid.high if symmetric else grid.low
    return WeightCodes(
        op=op.key, layer=layer, opcode=op.opcode, bits=grid.bits, elements=steps.size, channels=len(steps),
        per_channel=grid.is_per_channel, spread=float(used.max() / used.min()) if used.size else 1.0,
        at_ends=float(at_ends.mean()) if steps.size else 0.0,
        used=len(np.unique(weights.integers)) / (grid.high - low + 1),
        unreached=int(((reached < _REACHED * top) & (reached > 0)).sum()), empty=int((largest == 0).sum()),
    )  # fmt: skip


def _of_codes(codes: tuple[WeightCodes, ...]) -> Iterator[FileFinding]:
    for found in codes:
        if not found.per_channel and found.channels > 1:
            evidence = f"one scale for {found.channels} channels whose ranges are up to {found.spread:.3g} times apart"
            yield FileFinding("per_tensor_weights", found.layer, evidence, found.spread)
        elif found.spread > _WIDE_SPREAD:
            evidence = f"channel ranges are up to {found.spread:.3g} times apart, each with a scale of its own"
            yield FileFinding("channel_spread_after_bn_fold", found.layer, evidence, found.spread)
        # A channel has one weight at its end by rights; in small channels that alone is a large share.
        if found.at_ends > _MANY_AT_ENDS and found.bits == 8 and found.channels < _MANY_AT_ENDS * found.elements:
            evidence = f"{found.at_ends:.1%} of the weights lie at the ends of their integers: they were clipped"
            yield FileFinding("weights_saturated", found.layer, evidence, found.at_ends)
        if found.unreached:
            unit = "channels use" if found.per_channel else "tensor uses"
            evidence = f"{found.unreached} {unit} less than {_REACHED:.0%} of the integers on its side"
            yield FileFinding("unused_codes", found.layer, evidence, float(found.unreached))


def _float_ops(file: OpenedFile) -> Iterator[FileFinding]:
    """Ops that compute in float in a file that computes in integers elsewhere."""
    for op in file.computing():
        if any(file.grid_dtype(t) == "float32" for t in op.outputs):
            evidence = f"{op.opcode} computes in float: QUANTIZE and DEQUANTIZE around it, and a float kernel"
            yield FileFinding("float_fallback", file.layer(op), evidence, float(op.macs))


def _buffers(file: OpenedFile) -> Iterator[FileFinding]:
    if file.external_buffers:
        evidence = "buffers lie behind the flatbuffer: TFLite Micro and runtimes of before schema v3c read garbage"
        yield FileFinding("external_buffers", "", evidence, 1.0)


def _biases(file: OpenedFile) -> Iterator[FileFinding]:
    """Biases at the limits of int32, and bias scales that are not those of the sums they are added to."""
    for op in file.computing():
        bias, weights = file.bias(op), file.weights(op)
        data = file.grid(op.inputs[kernels.DATA_INPUT.get(op.opcode, 0)]) if bias is not None else None
        if bias is None or not bias[0].any():
            continue
        integers, scales = bias
        saturated = int((np.abs(integers.astype(np.float64)) >= _NEAR_LIMIT * _BIAS_LIMIT).sum())
        if saturated and integers.dtype.itemsize == 4:
            evidence = f"{saturated} of {integers.size} biases lie at the limit of int32"
            yield FileFinding("bias_saturation", file.layer(op), evidence, float(saturated))
        if scales is not None and weights is not None and data is not None:
            wanted = data.scale * weights.grid.scales.reshape(-1).astype(np.float64)
            ratio = _furthest(np.asarray(scales, np.float64) / wanted) if wanted.size in (1, scales.size) else 1.0
            if abs(ratio - 1) > _SAME_SCALE:
                evidence = f"the bias has {ratio:.4g} times the scale of input x weights: one was changed afterwards"
                yield FileFinding("scale_corrupted", file.layer(op), evidence, max(ratio, 1 / ratio))


def _moved(file: OpenedFile) -> Iterator[FileFinding]:
    """Ops that only move integers, between tensors whose integers mean different values."""
    for op in file.computing():
        if op.opcode not in kernels.MOVEMENT:
            continue
        data = op.inputs[1 if op.opcode == "SPLIT" else 0]
        before = file.grid(data)
        for tensor in op.outputs:
            after = file.grid(tensor)
            if before is not None and after is not None and abs(after.scale / before.scale - 1) > _SAME_SCALE:
                ratio = after.scale / before.scale
                evidence = f"{op.opcode} moves integers, yet its output's scale is {ratio:.4g} times its input's"
                yield FileFinding("scale_corrupted", file.layer(op), evidence, max(ratio, 1 / ratio))


def _joined(file: OpenedFile) -> Iterator[FileFinding]:
    """Tensors of very unlike ranges that share one scale behind a CONCATENATION."""
    for op in file.computing():
        joined = file.grid(op.outputs[0]) if op.outputs else None
        if op.opcode not in _JOINING or joined is None:
            continue
        for tensor in op.inputs:
            own = _own_range(file, tensor)
            steps = np.inf if own is None else own / joined.scale
            if own is not None and steps < _FEW_STEPS:
                evidence = (
                    f"values of a range of {own:.3g} share a scale of {joined.scale:.3g} with others that reach "
                    f"{max(abs(joined.minimum), abs(joined.maximum)):.4g}: {steps:.0f} steps are left to them"
                )
                yield FileFinding("mixed_range_output", file.layer(op), evidence, 1 / max(steps, 1e-9))


def _own_range(file: OpenedFile, tensor: int) -> float | None:
    """Width of the range that a tensor had before it took over another one's scale; None where that cannot be seen."""
    while True:
        source, way = file.wires.behind_borders(tensor)
        grid = file.grid(source)
        writer = file.wires.writers.get(source)
        op = None if writer is None else file.graph.ops[writer]
        if op is not None and op.opcode in ("LOGISTIC", "SOFTMAX"):
            return 1.0
        if op is not None and op.opcode == "TANH":
            return 2.0
        if op is not None and op.opcode in kernels.MOVEMENT:
            tensor = op.inputs[0]
            continue
        return None if grid is None or not way else grid.maximum - grid.minimum


def _added(file: OpenedFile) -> Iterator[FileFinding]:
    """Sums in which one operand has few steps of the other's scale."""
    for op in file.computing():
        if op.opcode != "ADD" or len(op.inputs) != 2:
            continue
        grids = [grid for t in op.inputs if (grid := file.grid(t)) is not None]
        total = file.grid(op.outputs[0])
        if len(grids) != 2 or total is None:
            continue
        widths = [grid.maximum - grid.minimum for grid in grids]
        steps = min(widths) / total.scale
        if steps < _FEW_STEPS_OF_ADD:
            evidence = (
                f"the narrower operand covers {steps:.3g} steps of the sum; ranges {widths[0]:.3g}, {widths[1]:.3g}"
            )
            yield FileFinding("add_scale_mismatch", file.layer(op), evidence, max(widths) / min(widths))


def _unused(file: OpenedFile) -> Iterator[FileFinding]:
    """Activations whose range reaches where their own activation function never does."""
    for op in file.computing():
        grid = file.grid(op.outputs[0]) if op.outputs else None
        clamp = _CLAMPS.get(op.activation if op.opcode not in _CLAMPS else op.opcode)
        if grid is None or clamp is None:
            continue
        share = _beyond(grid, *clamp)
        if share > _UNUSED_RANGE and grid.bits == 8:  # int16 is symmetric by rights
            evidence = f"{share:.0%} of the output's range [{grid.minimum:.3g}, {grid.maximum:.3g}] is never reached"
            yield FileFinding("unused_range", file.layer(op), evidence, share)


def _beyond(grid: Grid, low: float, high: float) -> float:
    """Share of a grid's range that lies outside of a clamp."""
    width = grid.maximum - grid.minimum
    outside = max(low - grid.minimum, 0.0) + (max(grid.maximum - high, 0.0) if np.isfinite(high) else 0.0)
    return outside / width if width > 0 else 0.0


def _zeros(file: OpenedFile) -> Iterator[FileFinding]:
    """Zero points that kernels do not expect, and fixed scales that were not kept."""
    for op in file.computing():
        weights = file.weights(op)
        if weights is not None and weights.grid.zero_points.any() and weights.grid.low < 0:
            evidence = "signed weights with zero points other than 0: integer kernels take them for 0"
            yield FileFinding("zero_point", file.layer(op), evidence, float(np.abs(weights.grid.zero_points).max()))
        for tensor in op.outputs:
            grid = file.grid(tensor)
            if grid is None:
                continue
            if not grid.low <= grid.zero_point <= grid.high or (grid.bits == 16 and grid.zero_point):
                evidence = f"zero point {grid.zero_point} of a {grid.bits}-bit activation"
                yield FileFinding("zero_point", file.layer(op), evidence, float(abs(grid.zero_point)))
            fixed = _FIXED_SCALES.get(op.opcode)
            if fixed is not None and grid.bits == 8 and abs(grid.scale / fixed - 1) > _SAME_SCALE:
                evidence = f"{op.opcode} writes steps of {fixed:.4g}; the file says {grid.scale:.4g}"
                yield FileFinding(
                    "scale_corrupted", file.layer(op), evidence, max(grid.scale / fixed, fixed / grid.scale)
                )


def _furthest(ratios: np.ndarray) -> float:
    """The ratio that is furthest from 1."""
    return float(ratios[np.argmax(np.abs(np.log(np.maximum(ratios, 1e-30))))])


_LOOKS: tuple[Callable[[OpenedFile], Iterator[FileFinding]], ...] = (
    _buffers, _biases, _moved, _joined, _added, _unused, _zeros,
)  # fmt: skip

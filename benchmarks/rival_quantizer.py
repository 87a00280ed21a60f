"""A hand-written loop with litert-quantizer: a file for every op, scheme and direction."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import SCHEMES, Graph, Op
from rival_runs import CORES, Seconds, at_logits, layer_of, mse, rank_of, ranking, run, say

LOOP_SCHEMES = ("w8a8", "w8a16", "w4a8", "w4a16")
ONE_QUANTIZED, ONE_FLOAT = "one op quantized", "one op left in float"
DIRECTIONS = (ONE_QUANTIZED, ONE_FLOAT)

_PILOT_IMAGES = 8
_FEWEST_IMAGES = 4


def litert_quantizer_loop(
    data: bytes,
    ranges: Mapping[str, tuple[float, float]] | None,
    inputs: Sequence[np.ndarray],
    schemes: Sequence[str] = LOOP_SCHEMES,
    *,
    directions: Sequence[str] = DIRECTIONS,
    worst: Mapping[str, str] | None = None,
    budget_s: float = 300.0,
) -> dict[str, Any]:
    """Makes a file for every op, scheme and direction, runs it over the images and compares the logits.

    An op is quantized alone, or left alone in float while every other op has the scheme (or, where it does not have it,
    the one with 8-bit weights and the same activations). The error is that of the op's weights, input and output
    together: files made this way cannot tell them apart.

    Each file runs on two interpreters side by side, half of the images each. One interpreter with two threads, two ops
    at a time in threads, and two processes came within 10 % of that.

    Args:
      data: The float flatbuffer; one output.
      ranges: (minimum, maximum) of every float activation by tensor name; None: taken from the images, and timed.
      inputs: One float32 array [n, ...] for each input.
      schemes: Of `LOOP_SCHEMES`.
      directions: Of `DIRECTIONS`.
      worst: By scheme, the name of the output tensor of the op that truly is the worst: its rank is looked up.
      budget_s: What a direction of a scheme may take. Where more is expected (INT16 runs on slow reference kernels),
        fewer images are measured and the running time is multiplied up; `extrapolated` says so.

    Returns:
      Plain data. `seconds` are for all of the images; `loops` has an entry for each direction and scheme, whose
      `ranking` holds the logit MSE of each op, for `ONE_FLOAT` the MSE that it saves.
    """
    import litert_quantizer.quantizer  # noqa: F401 - imports are left out of the times

    data = at_logits(data)
    began = time.perf_counter()
    hand = _HandLoop(data, ranges if ranges is not None else min_max_ranges(data, inputs))
    calibration_s = time.perf_counter() - began
    reference, float_pass = run(data, inputs)
    loops = []
    for direction in directions:
        for scheme in schemes:
            images = _affordable(hand, direction, scheme, inputs, float_pass, budget_s)
            found = _measure(hand, direction, scheme, [a[:images] for a in inputs], reference[:images])
            entry = _entry(found, hand.graph, images, len(inputs[0]), (worst or {}).get(scheme))
            loops.append({"direction": direction, "scheme": scheme, **entry})
            say(f"{direction}, {scheme}: {entry['ops']} ops, {entry['seconds']:.1f} s, {images} images measured")
    return {
        "tool": f"litert-quantizer {version('litert-quantizer')}",
        "images": len(inputs[0]),
        "calibration_s": calibration_s,
        "float_pass_s": float_pass.total(),
        "seconds": calibration_s + float_pass.total() + sum(entry["seconds"] for entry in loops),
        "extrapolated": any(entry["extrapolated"] for entry in loops),
        "loops": loops,
    }


def min_max_ranges(data: bytes, inputs: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
    """True extremes of every float activation by name; litert-quantizer's own calibrator keeps a moving average."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    graph = build_graph(data)
    interpreter = Interpreter(
        model_content=data,
        num_threads=CORES,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    extremes = dict.fromkeys(_activations(graph), (np.inf, -np.inf))
    for i in range(len(inputs[0])):
        for port, array in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(port["index"], array[i].reshape(port["shape"]))
        interpreter.invoke()
        for t, (low, high) in extremes.items():
            values = interpreter.get_tensor(t)
            extremes[t] = (min(low, float(values.min())), max(high, float(values.max())))
    return {graph.tensors[t].name: bounds for t, bounds in extremes.items()}


class _HandLoop:
    """litert-quantizer with one float model and one calibration result."""

    def __init__(self, data: bytes, ranges: Mapping[str, tuple[float, float]]) -> None:
        from litert_quantizer.quantizer import Quantizer

        self.graph = build_graph(data)
        self._ranges = {name: ranges[name] for name in (self.graph.tensors[t].name for t in _activations(self.graph))}
        # One for all files: a fresh one for each gives the same bytes and takes 1.7 times as long.
        self._quantizer = Quantizer(data)

    def ops(self, direction: str, scheme: str) -> list[Op]:
        """Those that a loop goes through."""
        needed = scheme if direction == ONE_QUANTIZED else _with_8_bit_weights(scheme)
        return [op for op in self.graph.ops if needed in op.schemes]

    def one_quantized(self, op: Op, scheme: str) -> bytes:
        """The file in which this op alone has the scheme."""
        self._quantizer.load_quantization_recipe([])
        self._add(self._scope(op), _kind(op), scheme, per_channel=op.weights is not None)
        return self._quantize()

    def one_float(self, op: Op | None, scheme: str) -> bytes:
        """The file in which this op alone is in float, or for None no op."""
        self._quantizer.load_quantization_recipe([])
        wide = _with_8_bit_weights(scheme)
        self._add(".*", "*", wide, per_channel=False)
        weighted = {o.opcode: o for o in self.graph.ops if o.weights is not None and wide in o.schemes}
        for other in weighted.values():
            self._add(".*", _kind(other), scheme if scheme in other.schemes else wide, per_channel=True)
        # "*" takes in the model's own inputs and outputs.
        floats = [(".*", "INPUT"), (".*", "OUTPUT")] + ([] if op is None else [(self._scope(op), _kind(op))])
        for scope, kind in floats:
            self._quantizer.update_quantization_recipe(scope, kind, algorithm_key="no_quantize")
        return self._quantize()

    def came_out(self, emitted: bytes, direction: str, op: Op, scheme: str) -> bool:
        """Whether the file has the types asked for: the quantizer skips without a word what its policy forbids."""
        types = {fb.text(t.name): fb.dtype_name(t) for t in fb.read(emitted).subgraphs[0].tensors}
        asked = SCHEMES[scheme if direction == ONE_QUANTIZED else "float"]
        wanted = {op.outputs[0]: "float32" if asked.is_float else f"int{asked.format.bits}"}
        if op.weights is not None:
            wanted[op.weights] = "float32" if asked.is_float else f"int{asked.weight_bits}"
        return all(types[self.graph.tensors[t].name] == dtype for t, dtype in wanted.items())

    def _scope(self, op: Op) -> str:
        """Hits this op alone: the quantizer searches without anchors in the outputs' names, each closed by `;`."""
        return "^" + re.escape("".join(f"{self.graph.tensors[t].name};" for t in op.outputs)) + "$"

    def _add(self, scope: str, kind: str, scheme: str, *, per_channel: bool) -> None:
        from litert_quantizer.qtyping import QuantGranularity

        self._quantizer.add_static_config(
            scope, kind, SCHEMES[scheme].format.bits, SCHEMES[scheme].weight_bits,
            QuantGranularity.CHANNELWISE if per_channel else QuantGranularity.TENSORWISE,
        )  # fmt: skip

    def _quantize(self) -> bytes:
        # New arrays each time: the quantizer writes into them.
        ranges = {name: {"min": np.array(low), "max": np.array(high)} for name, (low, high) in self._ranges.items()}
        with _quiet():
            result = self._quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)


@dataclass
class _Found:
    """What one loop found.

    Attributes:
      errors: By op index the logit MSE, or that which leaving the op in float saves.
      everything: Logit MSE with every op quantized; None where the loop does not need it.
      skipped: Ops that the quantizer left as they were.
    """

    seconds: Seconds
    errors: dict[int, float]
    everything: float | None
    skipped: list[int]


def _measure(
    hand: _HandLoop, direction: str, scheme: str, inputs: Sequence[np.ndarray], reference: np.ndarray
) -> _Found:
    found = _Found(Seconds(), {}, None, [])

    def error(emitted: bytes) -> float:
        outputs, spent = run(emitted, inputs)
        found.seconds.load += spent.load
        found.seconds.run += spent.run
        return mse(outputs, reference)

    def made(op: Op | None) -> bytes:
        start = time.perf_counter()
        emitted = hand.one_quantized(op, scheme) if op and direction == ONE_QUANTIZED else hand.one_float(op, scheme)
        found.seconds.quantize += time.perf_counter() - start
        return emitted

    if direction == ONE_FLOAT:
        found.everything = error(made(None))
    for op in hand.ops(direction, scheme):
        emitted = made(op)
        if hand.came_out(emitted, direction, op, scheme):
            alone = error(emitted)
            found.errors[op.index] = alone if found.everything is None else found.everything - alone
        else:
            found.skipped.append(op.index)
    return found


def _affordable(
    hand: _HandLoop, direction: str, scheme: str, inputs: Sequence[np.ndarray], float_pass: Seconds, budget_s: float
) -> int:
    """Images that fit into the budget, from the time of a few on the float network and on one quantized throughout."""
    count = len(inputs[0])
    pilot = [a[:_PILOT_IMAGES] for a in inputs]
    _, spent = run(hand.one_float(None, scheme), pilot)
    quantized, in_float = spent.run / len(pilot[0]), float_pass.run / count
    files = len(hand.ops(direction, scheme))
    # Every op is quantized once in the one direction, and in every file but one in the other.
    per_image = files * in_float + quantized if direction == ONE_QUANTIZED else files * max(quantized, in_float)
    return min(count, max(_FEWEST_IMAGES, int(budget_s / per_image)))


def _entry(found: _Found, graph: Graph, measured: int, images: int, worst: str | None) -> dict[str, Any]:
    seconds = found.seconds
    layers = {graph.ops[i].layer: error for i, error in found.errors.items()}
    return {
        "ops": len(found.errors),
        "seconds": seconds.total(images / measured),
        "extrapolated": measured < images,
        "measured_images": measured,
        "measured_seconds": seconds.total(),
        "quantize_s": seconds.quantize,
        "load_s": seconds.load,
        "run_s": seconds.run,
        "all_quantized_mse": found.everything,
        "worst_rank": rank_of(layers, layer_of(graph, worst)),
        "ranking": ranking(layers),
        "skipped_silently": [graph.ops[i].layer for i in found.skipped],
    }


def _with_8_bit_weights(scheme: str) -> str:
    return f"w8a{SCHEMES[scheme].format.bits}"


def _kind(op: Op) -> str:
    """litert-quantizer's name of an op's kind, which is not always TFLite's."""
    from litert_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_CODE_TO_NAME

    return str(TFL_OP_CODE_TO_NAME[getattr(fb.schema().BuiltinOperator, op.opcode)].value)


def _activations(graph: Graph) -> list[int]:
    return sorted({t for op in graph.ops for t in graph.activations_out(op)} | set(graph.inputs))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the quantizer's progress bars and warnings off the terminal."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)

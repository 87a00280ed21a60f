"""How long a network takes in the real interpreter.

Every time is the best one of several rounds, which says what the machine does when nothing else disturbs it; a round is
the mean over so many calls that they take about a millisecond, so that neither the clock nor a single lucky call
decides. The first call, in which kernels pack their weights, never counts.

With one thread, time is that which this thread had a processor for: on a machine that does other work as well, a call
of some milliseconds rarely gets through without being interrupted. With several it is that of the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..schema import Format
from . import flatbuffer as fb
from .runtime import Port, Runner

_ROUND_SECONDS = 1e-3
_SHORTEST_SECONDS = 1e-7
"""Below any call; a coarse clock may show none at all."""
_SEED = 0
_BORDER_VERSION = 2
"""Of QUANTIZE and DEQUANTIZE: the first that take int8 and int16."""

_TYPES = {Format.FLOAT: "FLOAT32", Format.INT8: "INT8", Format.INT16: "INT16"}


@dataclass(frozen=True)
class Grid:
    """What a tensor can hold: a format with its scale and zero point, which mean nothing in float."""

    format: Format
    scale: float = 0.0
    zero_point: int = 0


def time_model(flatbuffer: bytes, *, threads: int = 1, kernels: str = "xnnpack", seconds: float = 1.0) -> float:
    """Milliseconds of one run of a file on made-up inputs.

    Args:
      flatbuffer: The file, float or quantized.
      threads: That a kernel may use.
      kernels: See `Runner`.
      seconds: To spend on it, at least one run after the first.

    Raises:
      UnsupportedModel: LiteRT cannot load it, or not run it on made-up values.
    """
    return time_runner(Runner(flatbuffer, kernels=kernels, threads=threads), None, seconds)


def time_runner(runner: Runner, values: Mapping[int, np.ndarray] | None, seconds: float) -> float:
    """Milliseconds of one run.

    Args:
      runner: What runs.
      values: Its inputs (see `Runner.give`); None makes some up.
      seconds: To spend on it, at least one run after the first.

    Raises:
      UnsupportedModel: A kernel refuses the values.
    """
    draw = np.random.default_rng(_SEED)
    runner.give({port.index: _made_up(port, draw) for port in runner.inputs} if values is None else values)
    runner.invoke()
    start = time.perf_counter()
    best = _mean_seconds(runner, 1)
    calls = max(1, int(_ROUND_SECONDS / max(best, _SHORTEST_SECONDS)))
    while time.perf_counter() - start < seconds:
        best = min(best, _mean_seconds(runner, calls))
    return best * 1e3


def empty_network() -> bytes:
    """A network without any op: its time is what a call takes beside the ops."""
    return _network((1,), Grid(Format.FLOAT), None)


def border_network(shape: Sequence[int], read: Grid, written: Grid) -> bytes:
    """A network of one QUANTIZE or DEQUANTIZE; its input is tensor 0.

    Args:
      shape: Of the tensor.
      read, written: What its input and output can hold; not both float.
    """
    return _network(shape, read, written)


def _mean_seconds(runner: Runner, calls: int) -> float:
    clock = time.thread_time if runner.threads == 1 else time.perf_counter
    start = clock()
    for _ in range(calls):
        runner.invoke()
    return (clock() - start) / calls


def _made_up(port: Port, draw: np.random.Generator) -> np.ndarray:
    """Normal values for real numbers; zeros for integers that are none, which are valid indices."""
    if port.scale:
        limits = np.iinfo(port.dtype)
        return draw.integers(limits.min, limits.max, port.shape, port.dtype, endpoint=True)
    if np.issubdtype(np.dtype(port.dtype), np.floating):
        return draw.standard_normal(port.shape).astype(port.dtype)
    return np.zeros(port.shape, port.dtype)


def _network(shape: Sequence[int], read: Grid, written: Grid | None) -> bytes:
    """A network of one border op, or, where it writes nothing, of no op."""
    schema = fb.schema()
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [_tensor(shape, read, b"x")], []
    graph.inputs = graph.outputs = [0]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes, model.description = [], b""
    if written is not None:
        code, op, enum = schema.OperatorCodeT(), schema.OperatorT(), schema.BuiltinOperator
        code.builtinCode = enum.DEQUANTIZE if written.format is Format.FLOAT else enum.QUANTIZE
        code.version = _BORDER_VERSION
        op.opcodeIndex, op.inputs, op.outputs = 0, [0], [1]
        graph.tensors.append(_tensor(shape, written, b"y"))
        graph.operators, graph.outputs = [op], [1]
        model.operatorCodes = [code]
    return fb.write(model)


def _tensor(shape: Sequence[int], grid: Grid, name: bytes) -> Any:
    schema = fb.schema()
    tensor = schema.TensorT()
    tensor.shape, tensor.name, tensor.buffer = list(shape), name, 0
    tensor.type = getattr(schema.TensorType, _TYPES[grid.format])
    if grid.format is not Format.FLOAT:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([grid.scale], np.float32)
        tensor.quantization.zeroPoint = np.array([grid.zero_point], np.int64)
    return tensor

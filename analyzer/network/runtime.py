"""The only user of the LiteRT interpreter: runs whole networks and pieces of them, sample by sample on all cores.

A batch is no faster per image than a single one in LiteRT's kernels, so every interpreter runs one sample at a time and
threads run several interpreters; `invoke` gives up Python's lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..silence import silenced
from . import flatbuffer as fb

KERNELS = {"xnnpack": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}
DEFAULT_WORKERS = 2


_spoken = False


def _first_words(kernels: str) -> contextlib.AbstractContextManager[None]:
    """Silence for the first XNNPACK interpreter of a process, which greets on stderr."""
    global _spoken
    if _spoken or kernels != "xnnpack":
        return contextlib.nullcontext()
    _spoken = True
    return silenced(2)


@dataclass(frozen=True)
class Port:
    """An input or output of a network.

    Attributes:
      index: Tensor index in the interpreter.
      scale: 0 for float; per tensor.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


class Runner:
    """One interpreter.

    Args:
      flatbuffer: The network.
      kernels: `xnnpack` (LiteRT's default on a CPU), `builtin` (without delegates) or `reference`.
      threads: That a kernel may use.

    Raises:
      UnsupportedModel: LiteRT cannot load it.
    """

    def __init__(self, flatbuffer: bytes, *, kernels: str = "xnnpack", threads: int = 1) -> None:
        from ai_edge_litert import interpreter

        resolver = getattr(interpreter.OpResolverType, KERNELS[kernels])
        try:
            with _first_words(kernels):
                self._interpreter = interpreter.Interpreter(
                    model_content=flatbuffer, num_threads=threads, experimental_op_resolver_type=resolver
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UnsupportedModel(
                f"LiteRT cannot load the model: {reason}", "export it again, or with a newer converter"
            ) from error
        self.threads = threads
        self._reused: list[np.ndarray] = []
        self._shapes = {
            int(d["index"]): tuple(int(s) for s in d["shape"]) for d in self._interpreter.get_tensor_details()
        }
        self.inputs = tuple(_port(d) for d in self._interpreter.get_input_details())
        self.outputs = tuple(_port(d) for d in self._interpreter.get_output_details())

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs one sample.

        Args:
          arrays: One for each input, of its shape (a leading 1 may be missing) and type.

        Returns:
          One array for each output, copied, in its own type.
        """
        for port, values in zip(self.inputs, arrays, strict=True):
            self._interpreter.set_tensor(port.index, values.reshape(port.shape))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(port.index) for port in self.outputs]

    def run_reusing(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Like `run`, but into the same arrays each time: the next run overwrites them.

        Fresh memory for a network's every activation costs more time than the network.
        """
        if not self._reused:
            self._reused = [np.empty(port.shape, port.dtype) for port in self.outputs]
        for port, values in zip(self.inputs, arrays, strict=True):
            self._interpreter.set_tensor(port.index, values.reshape(port.shape))
        self._interpreter.invoke()
        for port, kept in zip(self.outputs, self._reused, strict=True):
            np.copyto(kept, self._interpreter.tensor(port.index)())
        return self._reused

    def give(self, values: Mapping[int, np.ndarray]) -> None:
        """Sets inputs for `invoke`.

        Args:
          values: By tensor index, of the input's shape; floats are quantized with the file's own scales.
        """
        for port in self.inputs:
            self._interpreter.set_tensor(port.index, to_port(values[port.index], port).reshape(port.shape))

    def invoke(self) -> None:
        """Runs on the inputs that were set, and leaves the results where they are: what is timed.

        Raises:
          UnsupportedModel: A kernel refuses the values.
        """
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UnsupportedModel(f"LiteRT cannot run the network: {reason}", "give it other values") from error

    def static_shape(self, tensor: int) -> tuple[int, ...] | None:
        """Shape of a tensor as it is known before the first run; None where it depends on the data."""
        if tensor not in self._shapes:
            return None
        shape = self._shapes[tensor]
        try:
            # Only a tensor of static shape has memory before the first run; a null one of no elements reads as empty.
            return shape if 0 not in shape and self._interpreter.tensor(tensor)() is not None else None
        except ValueError:
            return None

    def span_bytes(self, tensors: Sequence[int]) -> int:
        """Bytes between the first and the last address of some tensors."""
        starts, ends = [], []
        for index in tensors:
            try:
                view = self._interpreter.tensor(index)()
            except ValueError:
                continue  # LiteRT gives no address for a tensor that no kernel uses
            start = view.__array_interface__["data"][0]
            starts.append(start)
            ends.append(start + view.nbytes)
        return max(ends) - min(starts) if starts else 0


def run_samples(
    flatbuffer: bytes, inputs: Sequence[np.ndarray], *, kernels: str = "xnnpack", workers: int = DEFAULT_WORKERS
) -> list[np.ndarray]:
    """Runs a network over samples, on `workers` cores.

    Integer inputs and outputs are quantized and dequantized here, with the file's own scales, so that floats go in and
    floats come out whatever the file's io is.

    Args:
      flatbuffer: The network.
      inputs: One array [n, ...] for each input.
      kernels: See `Runner`.
      workers: Interpreters that run side by side.

    Returns:
      One float32 (or the output's own integer type where it has no scale) array [n, ...] for each output, a leading 1
      of the output's shape left out.
    """
    count = len(inputs[0])
    bounds = np.linspace(0, count, min(workers, max(count, 1)) + 1).astype(int)

    def part(start: int, stop: int) -> list[list[np.ndarray]]:
        runner = Runner(flatbuffer, kernels=kernels)
        return [run_one(runner, [array[i] for array in inputs]) for i in range(start, stop)]

    with ThreadPoolExecutor(len(bounds) - 1) as pool:
        rows = [row for rows in pool.map(part, bounds[:-1], bounds[1:]) for row in rows]
    return [np.stack([row[k] for row in rows]) for k in range(len(rows[0]))] if rows else []


def run_one(runner: Runner, sample: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Runs one sample, floats in and floats out (see `run_samples`)."""
    given = [to_port(values, port) for values, port in zip(sample, runner.inputs, strict=True)]
    results = zip(runner.run(given), runner.outputs, strict=True)
    return [drop_batch(_from_port(values, port)) for values, port in results]


def drop_batch(values: np.ndarray) -> np.ndarray:
    """The array without a leading dimension of 1."""
    return values.reshape(values.shape[1:]) if values.ndim > 1 and values.shape[0] == 1 else values


def arena_bytes(flatbuffer: bytes) -> int:
    """Bytes that LiteRT's planner allocates for activations on this host, without delegates.

    A kernel's own scratch tensors are not counted.
    """
    model = fb.read(flatbuffer)
    tensors = model.subgraphs[0].tensors
    activations = [i for i, t in enumerate(tensors) if not t.buffer or model.buffers[t.buffer].data is None]
    return Runner(flatbuffer, kernels="builtin").span_bytes(activations)


def _port(detail: dict[str, Any]) -> Port:
    scale, zero_point = detail["quantization"]
    return Port(
        int(detail["index"]), str(detail["name"]), tuple(int(s) for s in detail["shape"]),
        np.dtype(detail["dtype"]).name, float(scale), int(zero_point),
    )  # fmt: skip


def to_port(values: np.ndarray, port: Port) -> np.ndarray:
    """Values as an input takes them: floats are quantized with its scale; what has its type already is left alone."""
    if port.dtype == "float32" or port.scale == 0 or values.dtype.name == port.dtype:
        return values.astype(port.dtype, copy=False)
    limits = np.iinfo(port.dtype)
    steps = np.rint(values / np.float32(port.scale)) + port.zero_point
    return np.asarray(np.clip(steps, limits.min, limits.max), port.dtype)


def _from_port(values: np.ndarray, port: Port) -> np.ndarray:
    if port.dtype == "float32" or port.scale == 0:
        return values
    return np.asarray((values.astype(np.float32) - port.zero_point) * np.float32(port.scale), np.float32)

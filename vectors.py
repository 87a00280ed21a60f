"""`bitplan export-vectors`: golden inputs and outputs of a file, for a board to replay."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .analyzer.errors import DataError, UsageError
from .analyzer.inputs.dataset import InputSpec, Samples, load_samples, parse_preprocessing
from .analyzer.inputs.loader import load_float
from .analyzer.inputs.outputs import INDEX
from .analyzer.network.runtime import KERNELS, Port, Runner, to_port
from .analyzer.runs import RunFolder, content_key
from .analyzer.schema import VectorManifest, VectorTensor
from .session import Reporter, ignore, silent

DEFAULT_VECTORS = 64

_RUNTIME = "ai-edge-litert"


def export_vectors(
    model: Any,
    *,
    evaluation: Any = None,
    samples: int = DEFAULT_VECTORS,
    balanced: bool = False,
    resize: str = "",
    scale: str = "raw",
    preprocess: str = "",
    kernels: str = "xnnpack",
    seed: int = 0,
    out: str | pathlib.Path,
    force: bool = False,
    trust_model: bool = False,
    reporter: Reporter = silent,
    warn: Callable[[str], None] = ignore,
) -> VectorManifest:
    """Runs a file on some evaluation samples and writes what it took and what it answered.

    `inputs.npz` and `outputs.npz` hold `input_0`, `output_0` and so on, [samples, *shape], in the file's own types
    (integers where it takes integers), and `index`, each sample's place in the data. The same arrays lie beside them as
    `.npy`, and as `.bin` without a header: little-endian, in C order, one sample behind the other. `manifest.json` has
    shapes, types, scales, zero points and SHA-256 sums; it is written last, so a folder without it is not whole. Equal
    inputs give equal bytes.

    A board's answers go back as an `.npz` with `output_0` ... and `index`, to `bitplan audit --device`.

    Args:
      model: A `.tflite`, float or quantized, taken as it is; or any other float model that `prepare` takes.
      evaluation: As for `prepare`.
      samples: So many: the first ones.
      balanced: Draw them evenly over the classes instead.
      resize, scale, preprocess: As for the float model: values are quantized behind them where the input is integer.
      kernels: `xnnpack`, `builtin` or `reference`.
      seed: Of the balanced draw.
      out: The folder.
      force: Take a folder that holds something else.
      trust_model: Whether code inside the model file may run.
      reporter, warn: Take progress and warnings.

    Raises:
      DataError: There is no data, or it does not fit.
      UsageError: There are no such kernels.
    """
    if kernels not in KERNELS:
        raise UsageError(f"there are no kernels {kernels!r}", f"choose among {', '.join(KERNELS)}")
    if evaluation is None:
        raise DataError("vectors are made of evaluation data", "give --evaluation FILE.npz:x,y")
    file, name = _file(model, trust_model, warn)
    runner = Runner(file, kernels=kernels)
    brought = _samples(
        runner, evaluation, samples, balanced, seed, parse_preprocessing(resize, scale, preprocess), warn
    )
    folder = RunFolder.create(out, force, key=content_key("vectors", file))
    given, answered = _run(runner, brought, reporter("Running the file"))
    index = brought.positions.astype(np.int64)
    inputs = [_tensor("input", place, port) for place, port in enumerate(runner.inputs)]
    outputs = [_tensor("output", place, port) for place, port in enumerate(runner.outputs)]
    files = {
        **_files("inputs.npz", inputs, given, index), **_files("outputs.npz", outputs, answered, index),
    }  # fmt: skip
    manifest = VectorManifest(
        model=name,
        model_sha256=hashlib.sha256(file).hexdigest(),
        kernels=kernels,
        runtime=f"{_RUNTIME} {importlib.metadata.version(_RUNTIME)}",
        data=brought.source,
        samples=len(brought),
        index=tuple(index.tolist()),
        labels=None if brought.labels is None else tuple(brought.labels.tolist()),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        sha256={path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
    )
    folder.discard("manifest.json")
    for path, data in files.items():
        folder.write_bytes(path, data)
    folder.save("manifest", manifest, "")
    return manifest


def _file(model: Any, trust_model: bool, warn: Callable[[str], None]) -> tuple[bytes, str]:
    """(flatbuffer, name): a `.tflite` as it is, for it is what the board runs; anything else converted."""
    path = pathlib.Path(model) if isinstance(model, str | pathlib.Path) else None
    if path is not None and path.is_file():
        data = path.read_bytes()
        if data[4:8] == b"TFL3":
            return data, path.name
    if isinstance(model, bytes):
        return model, "model"
    loaded = load_float(model, trust_model=trust_model, warn=warn)
    return loaded.flatbuffer, loaded.name


def _samples(
    runner: Runner, evaluation: Any, count: int, balanced: bool, seed: int, preprocessing: Any,
    warn: Callable[[str], None],
) -> Samples:  # fmt: skip
    """In the order of the data. A quantized input takes floats here, which are quantized with its own scale."""
    specs = [InputSpec(p.name, p.shape, "float32" if p.scale else p.dtype) for p in runner.inputs]
    if not balanced:
        return load_samples(evaluation, specs, preprocessing, limit=count, warn=warn)
    return load_samples(evaluation, specs, preprocessing, warn=warn).balanced(count, seed)


def _run(
    runner: Runner, samples: Samples, progress: Callable[[int, int], None]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What goes in and what comes out, one array [samples, *shape] for each port, in the file's own types."""
    given, answered = [], []
    for row, sample in enumerate(samples):
        taken = [to_port(v, port).reshape(port.shape) for v, port in zip(sample, runner.inputs, strict=True)]
        given.append(taken)
        answered.append(runner.run(taken))
        progress(row + 1, len(samples))
    return [np.stack(column) for column in zip(*given, strict=True)], [
        np.stack(column) for column in zip(*answered, strict=True)
    ]


def _tensor(role: str, place: int, port: Port) -> VectorTensor:
    return VectorTensor(
        name=port.name,
        shape=port.shape,
        dtype=port.dtype,
        scale=port.scale,
        zero_point=port.zero_point,
        sample_bytes=int(np.prod(port.shape)) * np.dtype(port.dtype).itemsize,
        raw=f"{role}_{place}.bin",
        array=f"{role}_{place}.npy",
    )


def _files(
    archive: str, tensors: Sequence[VectorTensor], arrays: Sequence[np.ndarray], index: np.ndarray
) -> Mapping[str, bytes]:
    """The bytes of all files for some tensors, by name."""
    files: dict[str, bytes] = {}
    named: dict[str, Any] = {INDEX: index}
    for tensor, values in zip(tensors, arrays, strict=True):
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        named[pathlib.PurePath(tensor.raw).stem] = little
        buffer = io.BytesIO()
        np.save(buffer, little)
        files |= {tensor.raw: little.tobytes(), tensor.array: buffer.getvalue()}
    buffer = io.BytesIO()
    np.savez(buffer, **named)  # no times in it: zipfile dates what it is given by name to 1980
    return {**files, archive: buffer.getvalue()}

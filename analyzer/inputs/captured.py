"""Runs TensorFlow and Keras in silence, and says in one line why they could not take a model."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from typing import IO

from ..errors import BitplanError, UnsupportedModel

_TAIL_LINES = 6
_TYPES: Mapping[str, str] = {"f16": "float16", "bf16": "bfloat16", "f64": "float64"}
TRUST = "add --trust-model (in Python: trust_model=True) if you trust whoever made the file"
_CHATTER = re.compile(
    r"[IWE]\d{4} |20\d\d-|WARNING: All log|To enable the following|TensorSpec\(|.*Warning: | +warnings\.warn"
)


class CapturedOutput:
    """Everything that was written to stdout and stderr since `captured_output` began."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def tail(self) -> str:
        """The last few lines that are not log chatter, indented, each on a line of its own."""
        self._file.flush()
        self._file.seek(0)
        lines = [line.rstrip() for line in self._file.read().splitlines()]
        told = [line for line in lines if line.strip() and not _CHATTER.match(line)]
        self._file.seek(0, os.SEEK_END)
        return "\n".join(f"    {line[:200]}" for line in told[-_TAIL_LINES:])


@contextlib.contextmanager
def captured_output() -> Iterator[CapturedOutput]:
    """Keeps whatever is printed, by Python or by C++, off stdout and stderr of the whole process.

    TensorFlow writes to the file descriptors themselves, so these are redirected into a temporary file; other threads
    that print meanwhile are captured too.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file, contextlib.ExitStack() as undo:
        _flush_c_buffers()
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            if stream is not None:
                stream.flush()
            try:
                saved = os.dup(descriptor)
            except OSError:  # a process without that stream has nothing to protect
                continue
            undo.callback(os.close, saved)
            undo.callback(os.dup2, saved, descriptor)
            os.dup2(file.fileno(), descriptor)
        # Last in, first out: all buffers are flushed before the descriptors are given back.
        undo.callback(_flush_c_buffers)
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        undo.enter_context(contextlib.redirect_stderr(file))
        undo.enter_context(contextlib.redirect_stdout(file))
        undo.callback(file.flush)
        yield CapturedOutput(file)


def _flush_c_buffers() -> None:
    """What C code printed may still lie in its own buffer, which knows nothing of redirected descriptors."""
    with contextlib.suppress(OSError, TypeError, AttributeError):  # where the C library cannot be reached by name
        ctypes.CDLL(None).fflush(None)


@contextlib.contextmanager
def told_by(output: CapturedOutput, what: str) -> Iterator[None]:
    """Turns whatever TensorFlow or Keras raises over a model into an error that says why."""
    try:
        yield
    except BitplanError:
        raise
    except Exception as error:  # both raise every kind of exception over models they cannot take
        problem, remedy = _explain(str(error) or type(error).__name__, what)
        tail = output.tail()
        raise UnsupportedModel(f"{problem}\n{tail}" if tail else problem, remedy) from error


def _explain(text: str, what: str) -> tuple[str, str]:
    missing = re.findall(r"^(?:TF Select|Flex|Custom|Error:) ?ops: (.+)$", text, re.MULTILINE)
    odd = sorted({_TYPES[name] for name in re.findall(r"[x<](f64|f16|bf16)>", text)})
    if missing and odd:
        return (
            f"{what} computes in {' and '.join(odd)}, which TFLite has no kernels for: {', '.join(missing)}",
            "build the network in float32",
        )
    if missing:
        return (
            f"{what} uses ops that TFLite has no kernel for: {', '.join(missing)}",
            "replace these ops, or export the part of the network without them",
        )
    unknown = re.search(r"Could not locate (?:class|function) '([^']+)'|Unknown (?:layer|object): '?([\w>.]+)", text)
    if unknown:
        return (
            f"{what} needs the class {unknown[1] or unknown[2]}, whose code is not in the file",
            "from Python: import that class, load the model and give the keras.Model; or give a SavedModel or .tflite",
        )
    layer = re.search(r"deserializing class '(\w+)'.*Exception encountered: (.+)", text, re.DOTALL)
    if layer:
        return (
            f"Keras 3 cannot build the {layer[1]} layer of {what}: {' '.join(layer[2].split())[:300]}",
            "save a SavedModel or a .tflite with the Keras that wrote the file, and give that",
        )
    if "safe_mode" in text:
        return f"{what} holds code that would be run", TRUST
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    return (
        f"TensorFlow cannot convert {what}: {line[:300]}",
        "check that tf.lite.TFLiteConverter takes the model; a .tflite converted elsewhere is accepted as well",
    )

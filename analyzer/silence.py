"""Keeps libraries written in C++ off a stream of this process, where they print whatever their options say."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

_TURN = threading.Lock()


@contextlib.contextmanager
def silenced(descriptor: int) -> Iterator[None]:
    """Sends what is written to a file descriptor to nowhere; other threads' writing meanwhile too.

    Args:
      descriptor: 1 for stdout, 2 for stderr. A process that has none has nothing to silence.
    """
    with _TURN:
        try:
            (sys.stdout if descriptor == 1 else sys.stderr).flush()
            saved = os.dup(descriptor)
        except (AttributeError, OSError, ValueError):
            yield
            return
        c_library = ctypes.CDLL(None)
        c_library.fflush(None)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        try:
            yield
        finally:
            c_library.fflush(None)  # lines may still wait in C's own buffer
            os.dup2(saved, descriptor)
            os.close(saved)
            os.close(nowhere)


def import_tensorflow() -> Any:
    """The module; what it says of graphics cards and of the processor goes nowhere."""
    with silenced(2):
        import tensorflow

        tensorflow.config.list_logical_devices()  # looks for cards, and says so, when first asked
        # It warns of functions that are traced often, which here they are on purpose; and where it was first asked for
        # while a stream was captured, its handler would write those warnings to a file that is closed.
        tensorflow.get_logger().setLevel("ERROR")
    return tensorflow

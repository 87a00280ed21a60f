"""Finished units of long work, kept so that a killed run goes on where it stopped."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from .errors import RunFolderError
from .files import is_held, lock_file, unlock_file, write_all
from .serialize import to_jsonable

_SYNC_SECONDS = 0.2
_CRC_BYTES = len(',"crc":"00000000"}')


def content_key(*parts: Any) -> str:
    """SHA-256, in hexadecimal, of a sequence of typed values; unlike sequences never have the same text underneath.

    Args:
      *parts: bytes, str, bool, int, float, None, numpy scalars, and tuples or lists of these. 1, 1.0, True and "1" are
        four different parts.

    Raises:
      TypeError: Another type.
    """
    digest = hashlib.sha256()
    _feed(digest, parts)
    return digest.hexdigest()


def _feed(digest: Any, part: Any) -> None:
    if isinstance(part, np.generic):
        part = part.item()
    if isinstance(part, tuple | list):
        digest.update(b"t%d:" % len(part))
        for item in part:
            _feed(digest, item)
        return
    if isinstance(part, bytes):
        tag, data = b"b", part
    elif isinstance(part, str):
        tag, data = b"s", part.encode("utf-8", "surrogatepass")
    elif part is None or isinstance(part, bool):
        tag, data = b"n", repr(part).encode()
    elif isinstance(part, int):
        tag, data = b"i", b"%d" % part
    elif isinstance(part, float):
        tag, data = b"f", struct.pack(">d", part)
    else:
        raise TypeError(f"{type(part).__name__} cannot be part of a key")
    digest.update(tag + b"%d:" % len(data))
    digest.update(data)


def versions_of(*packages: str) -> tuple[str, ...]:
    """What a figure that was computed with some packages depends on: their versions, and the kind of processor.

    Kernels for unlike processors add in unlike orders, so their last digits differ.
    """
    return (platform.machine(), *(f"{name} {importlib.metadata.version(name)}" for name in packages))


class Store(Protocol):
    """Finished units by key."""

    def get(self, key: str) -> dict[str, Any] | None:
        """The value last put under a key; None where there is none."""

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keeps a value that `to_jsonable` takes."""

    def listed(self) -> Iterable[str]:
        """Keys of everything that can be got."""


class MemoryStore:
    """A `Store` that lasts as long as the object."""

    def __init__(self) -> None:
        self._units: dict[str, dict[str, Any]] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        return self._units.get(key)

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        self._units[key] = dict(value)

    def listed(self) -> Iterable[str]:
        return tuple(self._units)


class UnitFile:
    """The finished work units in a file that somebody else may be writing; `UnitStore` says what it looks like.

    Args:
      path: The file.

    Raises:
      RunFolderError: It cannot be read, or this process is writing it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if is_held(pathlib.Path(path)):
            raise RunFolderError(f"{path} is being written by this very process", "read it where it is written")
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise RunFolderError(f"cannot open {path}: {error.strerror}", "check its permissions") from error
        self._start(pathlib.Path(path), descriptor)

    def _start(self, path: pathlib.Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._guard = threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}
        self._end = self._scan()

    def get(self, key: str) -> dict[str, Any] | None:
        """The value last put under `key`, as plain JSON; None where there is none.

        Raises:
          RunFolderError: The file was changed since it was opened.
        """
        with self._guard:
            if key not in self._places:
                return None
            start, size = self._places[key]
            line = os.pread(self._descriptor, size, start)
        unit = _unit(line)
        if unit is None:
            raise RunFolderError(f"{self.path} was changed while it was in use", "run the command again")
        return unit[1]

    def listed(self) -> Iterable[str]:
        """Keys of all units, in the order in which they were first put."""
        with self._guard:
            return tuple(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        """Harmless when repeated."""
        with self._guard:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _scan(self) -> int:
        """Notes where every whole line lies, and answers where the last of them ends."""
        position = end = 0
        # Opened by descriptor: closing a second one of this file would let its lock go.
        with os.fdopen(self._descriptor, "rb", closefd=False) as lines:
            for line in lines:
                if unit := _unit(line):
                    self._places[unit[0]] = (position, len(line))
                    end = position + len(line)
                position += len(line)
        return end


class UnitStore(UnitFile):
    """An append-only file of finished work units, one JSON line each: `{"key": ..., "value": {...}, "crc": ...}`.

    Every `put` hands its line to the system at once, so a killed process loses nothing that it had put; the disk is
    made to keep it at most every 0.2 s and on closing, so a power cut loses little more than that. A last line that was
    cut off in the middle is removed when the store is opened; a damaged one elsewhere is passed over, as if it had not
    been put. Of several values under one key the last counts. Threads may share a store, processes may not.

    Args:
      path: The file; created where it is missing.

    Raises:
      RunFolderError: The file cannot be opened, or another process has it open.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        target = pathlib.Path(path)
        self._synced = time.monotonic()
        self._start(target, lock_file(target, os.O_RDWR | os.O_APPEND, target))
        os.ftruncate(self._descriptor, self._end)

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Adds a unit.

        Args:
          key: Usually a `content_key`.
          value: What `to_jsonable` takes; infinities and NaN are written as it writes them.

        Raises:
          RunFolderError: The file system refuses; the store stays as it was.
        """
        text = json.dumps({"key": key, "value": to_jsonable(value)}, separators=(",", ":"), allow_nan=False)
        body = text.encode("ascii")
        line = body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)
        with self._guard:
            try:
                write_all(self._descriptor, line)
                if time.monotonic() - self._synced >= _SYNC_SECONDS:
                    self._sync()
            except BaseException as error:  # an interrupt too: half a line would spoil the next one
                os.ftruncate(self._descriptor, self._end)
                if isinstance(error, OSError):
                    problem = f"cannot write {self.path}: {error.strerror}"
                    raise RunFolderError(problem, "make room, then go on") from error
                raise
            self._places[key] = (self._end, len(line))
            self._end += len(line)

    def close(self) -> None:
        """Makes the disk keep everything, and lets other processes in; harmless when repeated."""
        with self._guard:
            if self._descriptor >= 0:
                self._sync()
                unlock_file(self.path, self._descriptor)
                self._descriptor = -1

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced = time.monotonic()


def _unit(line: bytes) -> tuple[str, dict[str, Any]] | None:
    """Key and value of a stored line; None where it is not what was written."""
    body = line[: -_CRC_BYTES - 1] + b"}"
    if not line.endswith(b"\n") or line[len(body) - 1 :] != b',"crc":"%08x"}\n' % zlib.crc32(body):
        return None
    try:
        unit = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match unit:
        case {"key": str(key), "value": dict(value)}:
            return key, value
    return None

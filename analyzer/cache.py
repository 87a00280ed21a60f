"""The user's cache: finished results by content, shared by all runs on a machine.

One folder (`$BITPLAN_CACHE`, else `$XDG_CACHE_HOME/bitplan`, else `~/.cache/bitplan`) with files of finished units
(`units.py`), one for each model. A process that finds its model's file in use writes a sibling of it, and reads both.
The files together are held under a limit; those that were not used for longest go first.

Nothing here is fatal: a run whose results cannot be kept goes on without.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .errors import InUse, RunFolderError, UsageError
from .files import is_held, lock_file, unlock_file
from .units import UnitFile, UnitStore

LIMIT_BYTES = 2 * 10**9
"""Of all files together. Sweeps of 350 sources on 1000 images take some 20 MB each."""

_MODEL = "model"  # the unit that says whose results a file holds
_AGES = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True)
class CacheEntry:
    """One file of the cache.

    Attributes:
      path: Of the file.
      model: The model's name when the file was begun.
      digest: SHA-256 of the float network.
      results: Units in it.
      bytes: Its size.
      last_used: UTC, ISO 8601.
    """

    path: str
    model: str
    digest: str
    results: int
    bytes: int
    last_used: str


@dataclass(frozen=True)
class CacheContents:
    """What lies in the cache.

    Attributes:
      folder: Where it is.
      limit_bytes: What it may hold at most.
      entries: Its files, last used first.
      removed: Those that were just removed.
    """

    folder: str
    limit_bytes: int
    entries: tuple[CacheEntry, ...]
    removed: tuple[CacheEntry, ...] = ()


class CachedUnits:
    """A `Store` over one model's files: everything is read, and one of them is written.

    Args:
      own: The file to write.
      others: Siblings that other processes wrote, or are writing.
      warn: Told once where the disk refuses; from then on nothing is kept.
    """

    def __init__(self, own: UnitStore, others: Iterable[UnitFile], warn: Callable[[str], None]) -> None:
        self._own, self._files, self._warn = own, (own, *others), warn
        self._refused = False

    def get(self, key: str) -> dict[str, Any] | None:
        """The value under a key; None where there is none, or where its line was damaged meanwhile."""
        for file in self._files:
            with contextlib.suppress(RunFolderError):
                if (value := file.get(key)) is not None:
                    return value
        return None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keeps a value, as long as the disk takes it."""
        if self._refused:
            return
        try:
            self._own.put(key, value)
        except RunFolderError as error:
            self._refused = True
            self._warn(f"results are no longer kept: {error.problem}")

    def listed(self) -> Iterable[str]:
        return tuple(dict.fromkeys(key for file in self._files for key in file.listed() if key != _MODEL))

    def close(self) -> None:
        for file in self._files:
            file.close()


class Cache:
    """The files of finished units in one folder.

    Args:
      folder: Where; None for the user's own.
      limit_bytes: Of all files together.
    """

    def __init__(self, folder: pathlib.Path | None = None, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = cache_folder() if folder is None else folder
        self._limit = limit_bytes

    @contextlib.contextmanager
    def opened(self, digest: str, model: str, warn: Callable[[str], None]) -> Iterator[CachedUnits | None]:
        """The results of one model; None, after a warning, where the folder cannot be written.

        Args:
          digest: SHA-256 of the float network, in hexadecimal.
          model: Its name, for people.
          warn: Takes the warning.
        """
        try:
            units = self._open(digest, model, warn)
        except (RunFolderError, OSError) as error:
            problem = error.problem if isinstance(error, RunFolderError) else f"{error.filename}: {error.strerror}"
            warn(f"results are not kept, so a stopped run starts again ({problem}); BITPLAN_CACHE names another folder")
            yield None
            return
        try:
            self._trim()
            yield units
        finally:
            units.close()

    def contents(self) -> CacheContents:
        """What lies in the folder."""
        found = (_entry(path) for path in self._files())
        entries = sorted((e for e in found if e is not None), key=lambda e: (e.last_used, e.path), reverse=True)
        return CacheContents(str(self.folder), self._limit, tuple(entries))

    def clear(self, older_than: float = 0.0) -> CacheContents:
        """Removes files that no process uses.

        Args:
          older_than: Only those that were not used for so many seconds.

        Returns:
          What is left, and what was removed.
        """
        now = time.time()
        removed = []
        for entry in self.contents().entries:
            path = pathlib.Path(entry.path)
            if now - _used(path) >= older_than and _remove(path):
                removed.append(entry)
        return replace(self.contents(), removed=tuple(removed))

    def _open(self, digest: str, model: str, warn: Callable[[str], None]) -> CachedUnits:
        self.folder.mkdir(parents=True, exist_ok=True)
        own = self._lock(digest[:32])
        others = []
        for path in self.folder.glob(f"{digest[:32]}*.jsonl"):
            if not is_held(path):
                with contextlib.suppress(RunFolderError):  # just removed, or another user's
                    others.append(UnitFile(path))
                    _touch(path)
        units = CachedUnits(own, others, warn)
        _touch(own.path)
        if _MODEL not in own:
            units.put(_MODEL, {"name": model, "digest": digest})
        return units

    def _lock(self, name: str) -> UnitStore:
        """The first of a model's files that nobody is writing."""
        number = 0
        while True:
            suffix = f".{number}" if number else ""
            try:
                return UnitStore(self.folder / f"{name}{suffix}.jsonl")
            except InUse:
                number += 1

    def _trim(self) -> None:
        """Removes the files that were not used for longest until all fit under the limit; never one in use."""
        with contextlib.suppress(OSError):  # another process may be doing the same
            sizes = {path: path.stat().st_size for path in sorted(self._files(), key=_used)}
            total = sum(sizes.values())
            for path, size in sizes.items():
                if total <= self._limit:
                    break
                total -= size if _remove(path) else 0

    def _files(self) -> list[pathlib.Path]:
        return sorted(self.folder.glob("*.jsonl"))


def cache_folder() -> pathlib.Path:
    """Where the user's results are kept."""
    if chosen := os.environ.get("BITPLAN_CACHE"):
        return pathlib.Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "bitplan"


def parse_age(text: str) -> float:
    """Seconds of an age such as `30d`, `12h`, `90m` or `2w`.

    Raises:
      UsageError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no age", "write it like 30d, 12h or 2w")
    return float(match[1]) * _AGES[match[2]]


def _entry(path: pathlib.Path) -> CacheEntry | None:
    """What a file holds; None for one that cannot be read."""
    try:
        with UnitFile(path) as file:
            about, results = file.get(_MODEL) or {}, len(file) - (_MODEL in file)
        used = datetime.datetime.fromtimestamp(_used(path), datetime.UTC).isoformat(timespec="seconds")
        size = path.stat().st_size
    except (RunFolderError, OSError):
        return None
    return CacheEntry(str(path), str(about.get("name", "")), str(about.get("digest", "")), results, size, used)


def _used(path: pathlib.Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _touch(path: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)


def _remove(path: pathlib.Path) -> bool:
    """Removes a file, unless some process holds it."""
    try:
        descriptor = lock_file(path, os.O_RDWR, path)
    except RunFolderError:
        return False
    try:
        path.unlink(missing_ok=True)
    finally:
        unlock_file(path, descriptor)
    return True

"""The run folder: what each stage found, so that the next one reads it and a killed run goes on where it stopped.

A stage is one JSON file, `<stage>.json`: a header, then the fields of the stage's dataclass. The header's `key` is the
content key of everything that the stage was made from, so a stage that belongs to other inputs is never mistaken for
this run's; its `checksum` tells whether a person has edited the file since.

Finished units of long work do not lie here but in the user's cache (`cache.py`), for every run to find.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from .errors import RunFolderError
from .files import TEMPORARY_SUFFIX, atomic_write, lock_file, unlock_file, write_all
from .schema import SCHEMA_VERSION
from .serialize import from_jsonable, parse, to_jsonable
from .units import content_key

__all__ = ["RunFolder", "atomic_write", "content_key", "read_stage"]

T = TypeVar("T")

_MARKER = "bitplan"  # the stage whose presence says that a folder is a run folder
_HEADER = ("schema_version", "kind", "key", "checksum")
_COMMANDS = {
    "plan": "bitplan plan",
    "recipe": "bitplan convert",
    "conversion": "bitplan convert",
    "verification": "bitplan verify",
    "report": "bitplan report",
}


class RunFolder:
    """A folder with the stages of one run.

    Attributes:
      path: The folder.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: str | os.PathLike[str], force: bool = False, *, key: str = "") -> RunFolder:
        """Makes a run folder, or goes on with the one that is there.

        Nothing is deleted: stages that belong to other inputs are recognised by their keys and written anew.

        Args:
          path: Created with its parents where it is missing.
          force: Take the folder whatever is in it.
          key: Content key of the run's inputs and options; a folder with another key is refused. "" goes on with any.

        Raises:
          RunFolderError: The folder holds files of something else, or another run; or it cannot be made.
        """
        folder = cls(pathlib.Path(path))
        marker = folder._stage_path(_MARKER)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            foreign = not marker.exists() and any(not file.name.startswith(".") for file in folder.path.iterdir())
        except OSError as error:
            problem = f"cannot make the folder {folder.path}: {error.strerror}"
            raise RunFolderError(problem, "choose another --out") from error
        if foreign and not force:
            raise RunFolderError(
                f"{folder.path} holds files that are not Bitplan's",
                "choose another --out, or add --force to write there",
            )
        if marker.exists() and not force:
            found = folder._read(_MARKER)["key"]
            if key in ("", found):
                return folder
            if found:
                raise RunFolderError(
                    f"{folder.path} holds a run of another model, other data or other options",
                    "choose another --out, or add --force to write over it",
                )
        folder._write(_MARKER, key, {})
        return folder

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Opens a run folder for the stages after the first.

        Raises:
          RunFolderError: There is no such folder.
        """
        folder = cls(pathlib.Path(path))
        if not folder.path.is_dir():
            raise RunFolderError(f"there is no folder {folder.path}", f"run `{_command('')}` first")
        return folder

    def save(self, stage: str, value: Any, key: str) -> None:
        """Writes `<stage>.json`: the header, then the fields of `value`.

        Args:
          stage: A name such as `plan`.
          value: An instance of a dataclass of `analyzer.schema`.
          key: Content key of what it was made from.

        Raises:
          RunFolderError: The file system refuses.
          ValueError: The dataclass has a field with the name of one of the header's.
        """
        fields = to_jsonable(value)
        if clash := set(_HEADER) & set(fields):
            raise ValueError(f"{type(value).__name__} has fields named as in the header: {sorted(clash)}")
        self._write(stage, key, fields)

    def load(self, stage: str, cls: type[T], key: str | None = None) -> T | None:
        """Reads a stage; None where there is none, or where it was made from other inputs.

        Args:
          stage: As saved.
          cls: Its dataclass.
          key: What the stage must have been made from; None takes it as it is.

        Raises:
          RunFolderError: The file is damaged, does not fit `cls`, or was written by a newer Bitplan.
        """
        if not self.has(stage):
            return None
        document = self._read(stage)
        if key is not None and document["key"] != key:
            return None
        return _value(document, cls, self._stage_path(stage).name)

    def require(self, stage: str, cls: type[T], key: str | None = None) -> T:
        """Reads a stage that must be there.

        Raises:
          RunFolderError: It is missing, was made from other inputs, or cannot be read; the message names the command.
        """
        value = self.load(stage, cls, key)
        if value is None:
            name = self._stage_path(stage).name
            lacks = (
                f"{name} in {self.path} was made from other inputs" if self.has(stage) else f"{self.path} has no {name}"
            )
            raise RunFolderError(lacks, f"run `{_command(stage)}` first")
        return value

    def has(self, stage: str) -> bool:
        """Whether the stage was saved, from whatever inputs."""
        return self._stage_path(stage).is_file()

    def is_edited(self, stage: str) -> bool:
        """Whether the stage's fields were changed since they were saved; layout and order of fields do not count.

        Raises:
          RunFolderError: There is no such stage, or it cannot be read.
        """
        document = self._read(stage)
        return bool(document.pop("checksum", None) != _checksum(document))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes a file beside the stages, atomically.

        Raises:
          RunFolderError: The file system refuses.
        """
        atomic_write(self._file(name), data)

    def read_bytes(self, name: str) -> bytes:
        """Reads a file beside the stages.

        Raises:
          RunFolderError: It is missing or unreadable.
        """
        try:
            return self._file(name).read_bytes()
        except FileNotFoundError as error:
            command = _command(pathlib.PurePath(name).stem)
            raise RunFolderError(f"{self.path} has no {name}", f"run `{command}` first") from error
        except OSError as error:
            raise RunFolderError(
                f"cannot read {self._file(name)}: {error.strerror}", "check its permissions"
            ) from error

    def discard(self, *names: str) -> None:
        """Removes files that would pass for results of newer inputs; those that are not there are no matter."""
        for name in names:
            self._file(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from writing into this folder; released by the system when the process dies.

        Raises:
          RunFolderError: Another process holds it; the message names its id.
        """
        path = self._file(".lock")
        descriptor = lock_file(path, os.O_RDWR, self.path)
        try:
            os.ftruncate(descriptor, 0)
            write_all(descriptor, f"{os.getpid()}\n".encode())
            for left in self.path.glob(f".*{TEMPORARY_SUFFIX}"):  # of a writer that was killed: only the holder writes
                left.unlink(missing_ok=True)
            yield
        finally:
            unlock_file(path, descriptor)

    def _file(self, name: str) -> pathlib.Path:
        if not re.fullmatch(r"[\w.-]+", name) or name in (".", ".."):
            raise ValueError(f"{name!r} is not a plain file name")
        return self.path / name

    def _stage_path(self, stage: str) -> pathlib.Path:
        return self._file(f"{stage}.json")

    def _write(self, stage: str, key: str, fields: Mapping[str, Any]) -> None:
        document = {"schema_version": SCHEMA_VERSION, "kind": stage, "key": key}
        document["checksum"] = _checksum({**document, **fields})
        text = json.dumps({**document, **fields}, indent=1, separators=(",", ": "), allow_nan=False)
        atomic_write(self._stage_path(stage), text + "\n")

    def _read(self, stage: str) -> dict[str, Any]:
        name = self._stage_path(stage).name
        return _document(self.read_bytes(name), stage, name)


def read_stage(path: str | os.PathLike[str], stage: str, cls: type[T]) -> T:
    """Reads one stage's file wherever it lies, such as a plan that somebody has edited.

    Args:
      path: The file.
      stage: What it must be, e.g. `plan`.
      cls: Its dataclass.

    Raises:
      RunFolderError: The file is missing, damaged, or another stage's.
    """
    file = pathlib.Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise RunFolderError(f"cannot read {file}: {error.strerror}", "check the path") from error
    return _value(_document(data, stage, file.name), cls, file.name)


def _document(data: bytes, stage: str, name: str) -> dict[str, Any]:
    """A stage's file as JSON, its header checked; a key that is missing is "", which fits no inputs."""
    document = parse(data, where=name)
    if not isinstance(document, dict):
        raise RunFolderError(f"{name} is not a Bitplan file", "give a file that a Bitplan run made")
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RunFolderError(
            f"{name} has schema version {version}, this Bitplan knows up to {SCHEMA_VERSION}", "upgrade Bitplan"
        )
    document.setdefault("key", "")
    if version != SCHEMA_VERSION or document.get("kind") != stage or not isinstance(document["key"], str):
        raise RunFolderError(
            f'{name} does not begin as a Bitplan file does: "schema_version": {SCHEMA_VERSION}, "kind": "{stage}"',
            f"put these fields back, or run `{_command(stage)}` again",
        )
    return document


def _value(document: Mapping[str, Any], cls: type[T], name: str) -> T:
    return from_jsonable(cls, {field: data for field, data in document.items() if field not in _HEADER}, where=name)


def _checksum(document: Mapping[str, Any]) -> str:
    """Of a stage's file without its checksum."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _command(stage: str) -> str:
    return _COMMANDS.get(stage, "bitplan analyze")

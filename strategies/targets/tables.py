"""Reads a target's table, which a person may have written: every complaint names the file and the key in it."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...analyzer.errors import UsageError
from ...analyzer.network.kernels import schemes_for
from ...analyzer.schema import ASSUMED, EVERY_OP, RUNTIMES, SCHEMES, Format, Kernel, Target

FOLDER = Path(__file__).parent
ARROW = " -> "
"""Between the two formats of a border's key."""

WORK = "work"
"""Key, beside schemes, of what a measured op computes."""

_ASSUMED_TITLE = "no document gives it; the author of the table chose it"
_KEYS = ("title", "runtime", "integer_only", "per_channel", "io", "mac_ms", "sources", "kernels", "borders", "measured")
_REQUIRED = ("title", "integer_only", "io", "kernels")
_CELL_KEYS = ("cost", "source", "cost_source", "note")


def shipped_targets() -> tuple[str, ...]:
    """Names of the targets that come with Bitplan, in order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_target(name_or_path: str) -> Target:
    """Loads a target.

    Args:
      name_or_path: Name of one that comes with Bitplan, or path of a `.toml` file; such a file's name is its stem.

    Raises:
      UsageError: There is none of that name, or the file cannot be used; it names the file, the key and a remedy.
    """
    shipped = shipped_targets()
    if name_or_path in shipped:
        return _load(FOLDER / f"{name_or_path}.toml")
    if not name_or_path.endswith(".toml"):
        raise UsageError(
            f"there is no target called {name_or_path!r}", _choose(name_or_path, shipped) + ", or pass a .toml file"
        )
    return _load(Path(name_or_path))


def _load(path: Path) -> Target:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "pass a readable .toml file, or the name of a target") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0]
        raise UsageError(f"{path}: no TOML: {problem}", "mend that line; docs/targets.md shows the form") from error
    return _Table(str(path), table).target(path.stem)


@dataclass(frozen=True)
class _Defaults:
    """What the keys of an op's line, or of a single scheme in it, say of all of its kernels."""

    source: str | None = None
    cost_source: str | None = None
    note: str = ""


class _Table:
    """A parsed file; `file` is for the messages."""

    def __init__(self, file: str, table: Mapping[str, Any]) -> None:
        self._file, self._table = file, table
        self._known_ops = _builtin_ops()
        self._sources: Mapping[str, str] = {}

    def target(self, name: str) -> Target:
        self._allow("", self._table, _KEYS)
        for key in _REQUIRED:
            if key not in self._table:
                raise self._error("", f"{key!r} is missing", f"add it; a table needs {', '.join(_REQUIRED)}")
        integer_only = self._flag("integer_only", False)
        self._sources = self._read_sources()
        measured, measured_work = self._measured()
        return Target(
            name=name,
            title=self._text("title", self._table["title"]),
            runtime=self._one_of("runtime", self._table.get("runtime", "other"), RUNTIMES),
            integer_only=integer_only,
            per_channel=self._flag("per_channel", True),
            io=self._io(integer_only),
            kernels=self._kernels(integer_only),
            border=self._borders(),
            sources=self._sources,
            measured=measured,
            measured_work=measured_work,
            mac_ms=self._mac_ms(bool(measured)),
        )

    def _read_sources(self) -> dict[str, str]:
        found = {key: self._text(f"sources.{key}", title) for key, title in self._mapping("sources").items()}
        if ASSUMED in found:
            raise self._error(f"sources.{ASSUMED}", "this key is reserved", "remove it; it may be cited as it is")
        return {**found, ASSUMED: _ASSUMED_TITLE}

    def _io(self, integer_only: bool) -> tuple[Format, ...]:
        names = self._table["io"]
        if not isinstance(names, list) or not names:
            raise self._error("io", "it must list at least one format", f'such as ["{Format.INT8}"]')
        found = tuple(Format(self._one_of("io", name, list(Format))) for name in names)
        if len(set(found)) != len(found):
            raise self._error("io", "a format stands twice", "remove one")
        if integer_only and Format.FLOAT in found:
            raise self._error(
                "io", "an integer-only target takes no float", "remove float, or set integer_only = false"
            )
        return found

    def _kernels(self, integer_only: bool) -> dict[str, dict[str, Kernel]]:
        found = {}
        for opcode, line in self._mapping("kernels").items():
            where = f"kernels.{opcode}"
            if opcode != EVERY_OP and opcode not in self._known_ops:
                raise self._error(where, "TFLite has no op of that name", _choose(opcode, self._known_ops))
            found[opcode] = self._line(where, line, _listable(opcode))
            if not found[opcode]:
                raise self._error(where, "it has no scheme", "give the cost of one, such as w8a8 = 1, or remove it")
            if integer_only and "float" in found[opcode]:
                raise self._error(f"{where}.float", "the target is integer-only", "remove it, or integer_only = true")
        return found

    def _line(self, where: str, line: Any, schemes: Collection[str]) -> dict[str, Kernel]:
        """An op's kernels by scheme name."""
        table = self._as_mapping(where, line)
        defaults = self._defaults(where, table, _Defaults())
        found = {}
        for name, cell in table.items():
            if name not in _CELL_KEYS:
                self._check_scheme(f"{where}.{name}", name, schemes)
                found[name] = self._kernel(f"{where}.{name}", cell, defaults)
        return found

    def _check_scheme(self, where: str, name: str, schemes: Collection[str]) -> None:
        if name in schemes:
            return
        scheme = SCHEMES.get(name)
        if scheme is None:
            raise self._error(where, "there is no scheme or key of that name", _choose(name, (*schemes, *_CELL_KEYS)))
        if scheme.is_split:
            raise self._error(
                where, "a split is never listed", f"remove it; w8a{scheme.format.bits} and ADD make it up"
            )
        raise self._error(
            where, "LiteRT has no such kernel, or a wrong one", f"remove it; there is {', '.join(schemes)}"
        )

    def _kernel(self, where: str, cell: Any, defaults: _Defaults) -> Kernel:
        """A cost, or a table of `cost` and what differs from the rest of its line."""
        own = cell if isinstance(cell, Mapping) else {"cost": cell}
        self._allow(where, own, _CELL_KEYS)
        if "cost" not in own:
            raise self._error(where, "'cost' is missing", "add it: an int8 CONV_2D's multiply-accumulate is 1")
        said = self._defaults(where, own, defaults)
        if said.source is None:
            raise self._error(where, "it has no source", f'name one of [sources], or source = "{ASSUMED}"')
        return Kernel(self._number(where, own["cost"]), said.source, said.cost_source or said.source, said.note)

    def _defaults(self, where: str, table: Mapping[str, Any], above: _Defaults) -> _Defaults:
        for key in ("source", "cost_source"):
            if key in table:
                self._one_of(f"{where}.{key}", table[key], self._sources)
        # A source of its own brings its own cost, unless it says otherwise.
        cost_source = table.get("cost_source", None if "source" in table else above.cost_source)
        note = self._text(f"{where}.note", table["note"]) if "note" in table else above.note
        return _Defaults(table.get("source", above.source), cost_source, note)

    def _borders(self) -> dict[tuple[Format, Format], Kernel]:
        found = {}
        for key, cell in self._mapping("borders").items():
            where = f"borders.{key!r}"
            names = key.split(ARROW)
            if len(names) != 2:
                raise self._error(where, "it must name two formats", f'such as "{Format.INT8}{ARROW}{Format.INT16}"')
            read, written = (Format(self._one_of(where, name, list(Format))) for name in names)
            if read is written is Format.FLOAT:
                raise self._error(where, "float needs no border to float", "remove it")
            found[read, written] = self._kernel(where, cell, _Defaults())
        return found

    def _measured(self) -> tuple[dict[tuple[str, str], float], dict[str, int]]:
        """Milliseconds by op and scheme, and work by op."""
        found, work = {}, {}
        for op, line in self._mapping("measured").items():
            for key, value in self._as_mapping(f"measured.{op!r}", line).items():
                where = f"measured.{op!r}.{key}"
                if key == WORK:
                    work[op] = self._count(where, value)
                else:
                    self._one_of(where, key, (*SCHEMES, WORK))
                    found[op, key] = self._number(where, value)
        return found, work

    def _mac_ms(self, needed: bool) -> float | None:
        if needed and "mac_ms" not in self._table:
            raise self._error(
                "measured", "milliseconds do not add up with relative costs", "add mac_ms: milliseconds of a cost of 1"
            )
        return self._number("mac_ms", self._table["mac_ms"]) if "mac_ms" in self._table else None

    def _mapping(self, key: str) -> Mapping[str, Any]:
        return self._as_mapping(key, self._table.get(key, {}))

    def _as_mapping(self, where: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._error(where, "it must be a table", f"write [{where}], or {{ key = value }}")
        return value

    def _flag(self, key: str, default: bool) -> bool:
        value = self._table.get(key, default)
        if not isinstance(value, bool):
            raise self._error(key, f"{value!r} is neither true nor false", "write true or false")
        return value

    def _text(self, where: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._error(where, "it must be a text", "put it in quotes")
        return value

    def _number(self, where: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise self._error(where, f"{value!r} is no cost or time", "write a number of at least 0")
        return float(value)

    def _count(self, where: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._error(where, f"{value!r} is no count", "write a whole number of at least 0")
        return value

    def _one_of(self, where: str, value: Any, known: Iterable[str]) -> str:
        names = list(known)
        if not isinstance(value, str) or value not in names:
            raise self._error(where, f"{value!r} is unknown", _choose(str(value), names))
        return value

    def _allow(self, where: str, table: Mapping[str, Any], keys: Collection[str]) -> None:
        for key in table:
            if key not in keys:
                raise self._error(where, f"there is no key {key!r}", _choose(key, keys))

    def _error(self, where: str, problem: str, remedy: str) -> UsageError:
        place = f"{self._file}: {where}" if where else self._file
        return UsageError(_one_line(f"{place}: {problem}"), _one_line(remedy))


def _one_line(text: str) -> str:
    """Keys are the user's, and may hold anything."""
    return " ".join(text.splitlines())


def _listable(opcode: str) -> tuple[str, ...]:
    """Schemes that a line may name: what LiteRT has for the op, without those that are made of others."""
    names = SCHEMES if opcode == EVERY_OP else schemes_for(opcode)
    return tuple(name for name in names if not SCHEMES[name].is_split)


def _builtin_ops() -> tuple[str, ...]:
    from ...analyzer.network import flatbuffer as fb  # loads LiteRT's schema, which a list of names does without

    return tuple(name for name in vars(fb.schema().BuiltinOperator) if name.isupper())


def _choose(wrong: str, known: Iterable[str]) -> str:
    """A remedy: the name that was probably meant, or the names that there are, unless they are too many to read."""
    names = list(known)
    near = difflib.get_close_matches(wrong, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"choose one of {', '.join(names)}" if len(names) <= 20 else "look up its name"

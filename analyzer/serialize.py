"""Frozen dataclasses to strict JSON and back, driven by their type hints.

JSON has no infinity, no NaN, no integer keys and no tuples. Infinities and NaN are written as the strings "inf", "-inf"
and "nan", keys as text, tuples as lists; the type hints say what to make of them when they are read. A field typed
`Any` has no such hint: it comes back as the plain JSON that was written.

Files are read as what they are, something that a person may have edited: every complaint names the file and the place
in it, such as `plan.json: assignments[3].scheme`.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import json
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from .errors import RunFolderError

T = TypeVar("T")

_REMEDY = "mend the file, or delete it and run the stage that writes it again"
_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


def to_jsonable(value: Any) -> Any:
    """What strict JSON can hold of `value`: None, bool, int, float, str, list, dict with str keys.

    Fields keep their order; the entries of a mapping are sorted by key, so that equal values become equal text.

    Args:
      value: A dataclass instance, enum member, tuple, list, mapping, numpy scalar or JSON value, to any depth.

    Raises:
      TypeError: Anything else, such as an array, which belongs into a file of its own.
    """
    if isinstance(value, enum.Enum):
        return to_jsonable(value.value)
    if isinstance(value, np.generic):
        return to_jsonable(value.item())
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _non_finite_name(value)
    if isinstance(value, tuple | list):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Mapping):
        texts = {
            _key_text(key): item
            for key, item in sorted(value.items(), key=lambda entry: _key_order(to_jsonable(entry[0])))
        }
        if len(texts) != len(value):
            raise TypeError(f"two keys of a mapping are written alike: {sorted(map(repr, value))}")
        return {text: to_jsonable(item) for text, item in texts.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in a JSON file")


def from_jsonable(cls: type[T], data: Any, *, where: str = "") -> T:
    """Builds a `cls` from what `to_jsonable` made of one.

    Fields with a default may be missing, others may not; none may be unknown.

    Args:
      cls: A dataclass, or any type that a field of one may have.
      data: As `json.loads` gives it.
      where: The file's name, for the messages.

    Raises:
      RunFolderError: The data does not fit; the message names the file and the place.
    """
    return typing.cast(T, _decode(cls, data, _Place(where)))


def dumps(value: Any) -> str:
    """Canonical text of `to_jsonable(value)`: ASCII, one space a level, a newline at the end."""
    return json.dumps(to_jsonable(value), indent=1, separators=(",", ": "), allow_nan=False) + "\n"


def loads(cls: type[T], text: str | bytes, *, where: str = "") -> T:
    """Reads the text of `dumps`.

    Raises:
      RunFolderError: The text is no strict JSON, or does not fit `cls`.
    """
    return from_jsonable(cls, parse(text, where=where), where=where)


def parse(text: str | bytes, *, where: str = "") -> Any:
    """Strict JSON: no NaN or Infinity, no key twice in one object, UTF-8.

    Raises:
      RunFolderError: It is not; the message names the line.
    """
    place = _Place(where)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise place.error(f"{json.dumps(twice)} stands twice in one object")
        return result

    def refuse(name: str) -> NoReturn:
        raise place.error(f'{name} is not strict JSON: write it as a string, "inf", "-inf" or "nan"')

    def finite(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise place.error(f"{digits} is too large for a float")
        return value

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")  # some editors put a byte order mark in front
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse, parse_float=finite)
    except json.JSONDecodeError as error:
        raise place.error(f"line {error.lineno}, column {error.colno} is not JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise place.error(f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise place.error("it is nested too deeply") from error
    except ValueError as error:  # a whole number of more than 4300 digits
        raise place.error("a whole number in it is too long") from error


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where in a file a value stands, such as `plan.json: assignments[3].scheme`.

    Attributes:
      file: Its name, or "".
      steps: Texts such as `.scheme`, and indices; put together only when there is something to complain about.
    """

    file: str
    steps: tuple[str | int, ...] = ()

    def field(self, name: str) -> _Place:
        return _Place(self.file, (*self.steps, f".{name}"))

    def key(self, text: str) -> _Place:
        return _Place(self.file, (*self.steps, f"[{json.dumps(text)}]"))

    def item(self, index: int) -> _Place:
        return _Place(self.file, (*self.steps, index))

    @property
    def path(self) -> str:
        return "".join(step if isinstance(step, str) else f"[{step}]" for step in self.steps).removeprefix(".")

    def error(self, problem: str) -> RunFolderError:
        return RunFolderError(": ".join(part for part in (self.file, self.path, problem) if part), _REMEDY)


def _decode(hint: Any, data: Any, place: _Place) -> Any:
    if hint is Any:
        return data
    if hint is None or hint is types.NoneType:
        return _decode_choice({None: None}, data, place)
    if hint in _NAMES:
        return _decode_scalar(hint, data, place)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](arguments, data, place)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _decode_choice({member.value: member for member in hint}, data, place)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _decode_dataclass(hint, data, place)
    raise TypeError(f"{place.path}: cannot read a {hint} from JSON")


def _decode_scalar(hint: type, data: Any, place: _Place) -> Any:
    if hint is float and isinstance(data, str) and data in _NON_FINITE:
        return _NON_FINITE[data]
    allowed = int | float if hint is float else hint  # a person writes 3 for 3.0
    if not isinstance(data, allowed) or (isinstance(data, bool) and hint is not bool):  # to Python, True is an int
        raise place.error(f"expected {_NAMES[hint]}, found {_show(data)}")
    try:
        return hint(data)
    except OverflowError as error:
        raise place.error(f"{_show(data)} is too large") from error


def _decode_choice(choices: Mapping[Any, Any], data: Any, place: _Place) -> Any:
    for value, member in choices.items():
        if type(value) is type(data) and value == data:
            return member
    raise place.error(f"expected {_list(choices)}, found {_show(data)}")


def _decode_literal(arguments: tuple[Any, ...], data: Any, place: _Place) -> Any:
    return _decode_choice({value: value for value in arguments}, data, place)


def _decode_union(arguments: tuple[Any, ...], data: Any, place: _Place) -> Any:
    if data is None and types.NoneType in arguments:
        return None
    members = [member for member in arguments if member is not types.NoneType]
    if len(members) == 1:
        return _decode(members[0], data, place)  # its own complaint is the most telling
    for member in members:
        try:
            return _decode(member, data, place)
        except RunFolderError:  # the next one may fit
            continue
    raise place.error(f"{_show(data)} is none of {', '.join(str(member) for member in members)}")


def _decode_tuple(arguments: tuple[Any, ...], data: Any, place: _Place) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return _decode_sequence(arguments, data, place)
    if not isinstance(data, list) or len(data) != len(arguments):
        raise place.error(f"expected a list of {len(arguments)}, found {_show(data)}")
    return tuple(_decode(hint, item, place.item(i)) for i, (hint, item) in enumerate(zip(arguments, data, strict=True)))


def _decode_list(arguments: tuple[Any, ...], data: Any, place: _Place) -> list[Any]:
    if not isinstance(data, list):
        raise place.error(f"expected a list, found {_show(data)}")
    return [_decode(arguments[0], item, place.item(i)) for i, item in enumerate(data)]


def _decode_sequence(arguments: tuple[Any, ...], data: Any, place: _Place) -> tuple[Any, ...]:
    return tuple(_decode_list(arguments, data, place))


def _decode_mapping(arguments: tuple[Any, ...], data: Any, place: _Place) -> dict[Any, Any]:
    if not isinstance(data, dict):
        raise place.error(f"expected an object, found {_show(data)}")
    key_hint, value_hint = arguments
    return {
        _decode_key(key_hint, text, place.key(text)): _decode(value_hint, item, place.key(text))
        for text, item in data.items()
    }


_CONTAINERS: Mapping[Any, Callable[[tuple[Any, ...], Any, _Place], Any]] = {
    tuple: _decode_tuple,
    list: _decode_list,
    Sequence: _decode_sequence,
    dict: _decode_mapping,
    Mapping: _decode_mapping,
    types.UnionType: _decode_union,
    typing.Union: _decode_union,
    typing.Literal: _decode_literal,
}


def _decode_dataclass(cls: type, data: Any, place: _Place) -> Any:
    if not isinstance(data, dict):
        raise place.error(f"expected an object, found {_show(data)}")
    hints = _hints(cls)
    for name in data:
        if name not in hints:
            close = difflib.get_close_matches(name, hints, 1)
            raise place.field(name).error("there is no such field" + (f"; is {close[0]} meant?" if close else ""))
    values = {}
    for field in dataclasses.fields(cls):
        if field.name in data:
            values[field.name] = _decode(hints[field.name], data[field.name], place.field(field.name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise place.field(field.name).error("this field is missing")
    return cls(**values)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


# --- keys of mappings: JSON has text only ----------------------------------------------------------------------------


def _key_text(key: Any) -> str:
    plain = to_jsonable(key)
    return plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":"), allow_nan=False)


def _key_order(plain: Any) -> tuple[Any, ...]:
    """Sorts numbers as numbers; and lists with absent entries, which Python cannot compare."""
    if isinstance(plain, list):
        return (3, [_key_order(item) for item in plain])
    if isinstance(plain, str):
        return (2, plain)
    return (0,) if plain is None else (1, plain)


def _decode_key(hint: Any, text: str, place: _Place) -> Any:
    if hint is str or hint is Any:
        return text
    if isinstance(hint, type) and issubclass(hint, str):
        return _decode(hint, text, place)
    try:
        plain = json.loads(text)
    except ValueError:
        plain = text
    return _decode(hint, plain, place)


# --- words -----------------------------------------------------------------------------------------------------------


def _non_finite_name(value: float) -> str:
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def _show(data: Any) -> str:
    if isinstance(data, dict):
        return "an object"
    if isinstance(data, list):
        return f"a list of {len(data)}"
    text = json.dumps(data)
    return text if len(text) <= 60 else text[:57] + "..."


def _list(choices: Mapping[Any, Any]) -> str:
    return " or ".join(json.dumps(value) for value in choices)

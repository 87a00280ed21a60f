"""Whatever a stage can hold comes back from its file as it was."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import json
import math
import types
import typing

import pytest
from bitplan.analyzer import schema
from bitplan.analyzer.errors import RunFolderError
from bitplan.analyzer.measures.metrics import ErrorSums
from bitplan.analyzer.serialize import dumps, loads, to_jsonable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CLASSES = [c for c in vars(schema).values() if isinstance(c, type) and dataclasses.is_dataclass(c)] + [ErrorSums]

# A field typed Any promises plain JSON only.
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SCALARS = {bool: st.booleans(), int: st.integers(), float: st.floats(), str: st.text(), typing.Any: PLAIN}


@functools.cache
def of(hint: typing.Any) -> st.SearchStrategy[typing.Any]:
    """Values of a type hint, found without any code of the serializer."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    if hint in (None, types.NoneType):
        return st.none()
    if origin is types.UnionType:
        return st.one_of(*map(of, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, arguments))
    if origin is collections.abc.Mapping:
        return st.dictionaries(of(arguments[0]), of(arguments[1]), max_size=3)
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    hints = typing.get_type_hints(hint)
    return st.builds(hint, **{field.name: of(hints[field.name]) for field in dataclasses.fields(hint)})


def same(a: typing.Any, b: typing.Any) -> bool:
    """Equal, with equal types all the way down, NaN equal to itself and -0.0 unlike 0.0."""
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


# The larger classes are slow to draw, not to serialize.
relaxed = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
@relaxed
@given(data=st.data())
def test_every_dataclass_comes_back_as_it_was(cls, data):
    value = data.draw(of(cls))
    text = dumps(value)
    back = loads(cls, text)
    assert same(back, value)
    assert dumps(back) == text
    text.encode("ascii")
    json.loads(text, parse_constant=pytest.fail)


@dataclasses.dataclass(frozen=True)
class Keys:
    by_int: collections.abc.Mapping[int, float]
    by_float: collections.abc.Mapping[float, int]
    by_pair: collections.abc.Mapping[tuple[int, int | None, str], int]
    by_format: collections.abc.Mapping[schema.Format, int]
    by_flag: collections.abc.Mapping[bool, str]
    by_run: collections.abc.Mapping[tuple[int, ...], None]


@relaxed
@given(of(Keys).filter(lambda keys: not any(map(math.isnan, keys.by_float))))
def test_keys_that_are_no_text_come_back_as_they_were(keys):
    assert same(loads(Keys, dumps(keys)), keys)


@relaxed
@given(st.dictionaries(st.integers(), st.integers()), st.randoms())
def test_equal_mappings_have_equal_text(mapping, random):
    items = list(mapping.items())
    random.shuffle(items)
    assert dumps(dict(items)) == dumps(mapping)


@relaxed
@given(data=st.data(), junk=PLAIN)
def test_any_json_in_place_of_a_field_is_read_or_refused_with_its_place(data, junk):
    document = to_jsonable(data.draw(of(schema.Plan)))
    name = data.draw(st.sampled_from(sorted(document)))
    try:
        plan = loads(schema.Plan, json.dumps({**document, name: junk}), where="plan.json")
    except RunFolderError as error:
        assert error.problem.startswith(f"plan.json: {name}")
    else:
        assert isinstance(plan, schema.Plan)


@relaxed
@given(st.text())
def test_no_text_is_worse_than_refused(text):
    try:
        loads(schema.Plan, text)
    except RunFolderError as error:
        assert error.problem

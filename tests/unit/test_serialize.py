"""What the JSON looks like, and what is said of JSON that does not fit."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Optional

import numpy as np
import pytest
from bitplan.analyzer.errors import RunFolderError
from bitplan.analyzer.schema import Assignment, Format, OutputError, Plan
from bitplan.analyzer.serialize import dumps, from_jsonable, loads, parse, to_jsonable

PLAN = Plan(
    assignments=tuple(Assignment(f"{i}:CONV_2D", f"layer {i}", "w8a8", 0.5, 100) for i in range(5)),
    strategy="milp",
    io=Format.FLOAT,
    allowed=("w8a8", "float"),
    graph_digest="abc",
    predicted_bytes=500,
    predicted_nmse=2.5,
)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Odd:
    """Every kind of type that a hint may name."""

    by_pair: Mapping[tuple[int, int | None], float]
    by_colour: Mapping[Colour, str]
    by_format: Mapping[Format, str]
    by_number: dict[float, bool]
    pair: tuple[int, str]
    items: list[int]
    things: Sequence[float]
    old: Optional[int]  # noqa: UP045
    either: int | str
    mode: Literal["fast", "slow"]
    nothing: None
    rest: Any = None


ODD = Odd(
    by_pair={(10, None): 1.0, (2, 3): math.nan, (10, 1): -math.inf},
    by_colour={Colour.BLUE: "b", Colour.RED: "r"},
    by_format={Format.INT8: "8"},
    by_number={math.inf: True, 0.5: False},
    pair=(1, "x"),
    items=[3, 4],
    things=(1.5, math.inf),
    old=None,
    either="7",
    mode="slow",
    nothing=None,
    rest={"a": [1, "inf", None]},
)


def edited(change) -> str:
    data = to_jsonable(PLAN)
    change(data)
    return json.dumps(data)


def complaint(cls, text, where="plan.json") -> str:
    with pytest.raises(RunFolderError) as caught:
        loads(cls, text, where=where)
    assert caught.value.remedy
    return caught.value.problem


def test_text_is_canonical_and_ends_with_a_newline():
    assert dumps({"b": 1, "a": (True, None, "é")}) == '{\n "a": [\n  true,\n  null,\n  "\\u00e9"\n ],\n "b": 1\n}\n'


def test_fields_keep_their_order_and_keys_are_sorted_as_what_they_are():
    assert list(to_jsonable(PLAN)) == list(Plan.__dataclass_fields__)
    assert list(to_jsonable({10: "x", 9: "y"})) == ["9", "10"]
    assert list(to_jsonable(ODD)["by_pair"]) == ["[2,3]", "[10,null]", "[10,1]"]


def test_equal_mappings_become_equal_text():
    assert dumps({1: "a", 2: "b"}) == dumps({2: "b", 1: "a"})


def test_infinities_are_strict_json():
    text = dumps(OutputError(math.inf, math.nan, -math.inf, 3))
    document = json.loads(text, parse_constant=pytest.fail)
    assert (document["nmse"], document["standard_error"], document["sqnr_db"]) == ("inf", "nan", "-inf")
    back = loads(OutputError, text)
    assert (back.nmse, back.sqnr_db) == (math.inf, -math.inf)
    assert math.isnan(back.standard_error)


def test_numpy_scalars_are_plain_numbers():
    assert dumps([np.float64(0.1), np.float32(0.5), np.int64(7), np.bool_(True), np.float64("inf")]) == dumps(
        [0.1, 0.5, 7, True, math.inf]
    )


def test_every_kind_of_type_comes_back():
    back = loads(Odd, dumps(ODD))
    assert repr(back.by_pair) == "{(2, 3): nan, (10, None): 1.0, (10, 1): -inf}"
    for name in Odd.__dataclass_fields__:
        if name != "by_pair":
            assert getattr(back, name) == getattr(ODD, name)
            assert type(getattr(back, name)) is type(getattr(ODD, name))
    assert isinstance(next(iter(back.by_format)), Format)


def test_what_json_cannot_hold_is_a_defect():
    for value in (np.zeros(3), {1, 2}, b"bytes", object(), Plan):
        with pytest.raises(TypeError, match="no place"):
            to_jsonable({"x": value})


def test_keys_that_would_collide_are_a_defect():
    with pytest.raises(TypeError, match="written alike"):
        to_jsonable({1: "a", "1": "b"})


def test_a_person_may_write_a_whole_number_for_a_float():
    plan = loads(Plan, edited(lambda d: d.update(predicted_nmse=3)))
    assert plan.predicted_nmse == 3.0
    assert isinstance(plan.predicted_nmse, float)


def test_fields_with_a_default_may_be_left_out():
    text = edited(lambda d: [a.pop("predicted_nmse") for a in d["assignments"]] and d.pop("budget_bytes"))
    assert loads(Plan, text).assignments[0].predicted_nmse == 0.0


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (lambda d: d["assignments"][3].update(scheme=8), "assignments[3].scheme", ["a string", "found 8"]),
        (lambda d: d["assignments"][3].pop("scheme"), "assignments[3].scheme", ["missing"]),
        (lambda d: d["assignments"][1].update(shceme="float"), "assignments[1].shceme", ["no such", "scheme meant"]),
        (lambda d: d["assignments"].append("w8a8"), "assignments[5]", ["an object", '"w8a8"']),
        (lambda d: d.update(assignments={}), "assignments", ["a list", "an object"]),
        (lambda d: d.update(io="int4"), "io", ['"int8" or "int16" or "float"', '"int4"']),
        (lambda d: d.update(predicted_bytes=1.5), "predicted_bytes", ["a whole number", "1.5"]),
        (lambda d: d.update(predicted_bytes=True), "predicted_bytes", ["a whole number", "true"]),
        (lambda d: d.update(predicted_nmse="low"), "predicted_nmse", ["a number", '"low"']),
        (lambda d: d.update(predicted_nmse=10**400), "predicted_nmse", ["too large"]),
        (lambda d: d.update(budget_bytes="2MB"), "budget_bytes", ["a whole number", '"2MB"']),
        (lambda d: d.update(strategy=None), "strategy", ["a string", "null"]),
        (lambda d: d["allowed"].__setitem__(1, 4), "allowed[1]", ["a string", "found 4"]),
    ],
)  # fmt: skip
def test_a_complaint_names_the_file_and_the_place(change, place, words):
    problem = complaint(Plan, edited(change))
    assert problem.startswith(f"plan.json: {place}: ")
    assert all(word in problem for word in words)
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("by_pair", {"[1]": 0.0}, 'by_pair["[1]"]'),
        ("by_pair", {"[1,2]": "x"}, 'by_pair["[1,2]"]'),
        ("by_colour", {"3": ""}, 'by_colour["3"]'),
        ("pair", [1], "pair"),
        ("pair", [1, 2], "pair[1]"),
        ("either", 1.5, "either"),
        ("mode", "medium", "mode"),
        ("nothing", 0, "nothing"),
    ],
)
def test_a_complaint_names_the_place_in_any_container(field, value, place):
    problem = complaint(Odd, json.dumps({**to_jsonable(ODD), field: value}), "")
    assert problem.startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n "b" 2}', "line 2, column 6"),
        ('{"a": NaN}', "NaN is not strict JSON"),
        ('{"a": -Infinity}', "-Infinity is not strict JSON"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', '"c" stands twice'),
        ("", "line 1"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "number in it is too long"),
    ],
)
def test_what_is_no_strict_json_is_refused(text, words):
    with pytest.raises(RunFolderError, match=r"plan\.json: ") as caught:
        parse(text, where="plan.json")
    assert words in caught.value.problem


def test_a_byte_order_mark_does_no_harm():
    assert parse(b"\xef\xbb\xbf[1]") == [1]


def test_a_type_that_no_reader_knows_is_a_defect():
    with pytest.raises(TypeError, match="cannot read"):
        from_jsonable(complex, 1)

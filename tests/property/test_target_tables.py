"""Whatever stands in a target's file: it loads, or one line says what is wrong and one what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bitplan.analyzer.errors import UsageError
from bitplan.analyzer.schema import RUNTIMES, SCHEMES, Format, Target
from bitplan.strategies.targets import load_target, to_toml
from hypothesis import given, settings
from hypothesis import strategies as st

SCALARS = st.one_of(
    st.integers(-3, 3), st.floats(), st.booleans(), st.text(max_size=5), st.sampled_from(["doc", "assumed", *Format]),
    st.lists(st.sampled_from([*Format, "x", 3]), max_size=3), st.sampled_from(RUNTIMES),
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(["title", "runtime", "integer_only", "per_channel", "io", "mac_ms", "cost", "source", "note"]),
    st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "*", "int8 -> int16", "cost_source", "doc", *SCHEMES]),
    st.text(max_size=4),
)
LINES = st.one_of(SCALARS, st.dictionaries(WORDS, st.one_of(SCALARS, st.dictionaries(WORDS, SCALARS, max_size=3))))
TABLES = st.dictionaries(WORDS, LINES, max_size=4)
SECTIONS = st.sampled_from(["sources", "kernels", "borders", "measured"])


def toml(value):
    """A TOML value; sections are written as inline tables."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    return repr(value)


def load(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return load_target(str(path))


def loads_or_says_why(text):
    try:
        target = load(text)
    except UsageError as error:
        assert len(str(error).splitlines()) == 2
        assert "mine.toml" in error.problem and error.remedy
        return
    assert isinstance(target, Target)
    assert load(to_toml(target)) == target
    assert not (target.integer_only and any("float" in line for line in target.kernels.values()))


@settings(deadline=None)
@given(TABLES, st.dictionaries(SECTIONS, LINES, max_size=4))
def test_any_table_loads_or_says_why(keys, sections):
    good = {"title": "t", "integer_only": False, "io": ["int8"], "sources": {"doc": "d"}, "kernels": {}}
    content = {**good, **keys, **sections}
    loads_or_says_why("\n".join(f"{toml(str(key))} = {toml(value)}" for key, value in content.items()))


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_loads_or_says_why(text):
    loads_or_says_why(text)


COSTS = st.floats(0, 1e9)
NOTES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)


@st.composite
def lines(draw):
    schemes = draw(st.sets(st.sampled_from(["w4a8", "w8a8", "w8a16", "float"]), min_size=1))
    cells = {name: draw(st.one_of(COSTS, st.fixed_dictionaries({"cost": COSTS, "note": NOTES}))) for name in schemes}
    return {**cells, "source": draw(st.sampled_from(["doc", "assumed"]))}


@settings(deadline=None)
@given(lines(), NOTES, st.dictionaries(NOTES, st.fixed_dictionaries({"w8a8": COSTS}), max_size=2))
def test_a_good_table_keeps_every_number(line, title, measured):
    content = {
        "title": title, "integer_only": False, "io": ["float"], "mac_ms": 1.0, "sources": {"doc": title},
        "kernels": {"CONV_2D": line}, "measured": measured,
    }  # fmt: skip
    target = load("\n".join(f"{key} = {toml(value)}" for key, value in content.items()))
    for name, cell in line.items():
        if name != "source":
            assert target.kernel("CONV_2D", name).cost == (cell["cost"] if isinstance(cell, dict) else cell)
    assert target.measured == {(op, "w8a8"): times["w8a8"] for op, times in measured.items()}
    assert load(to_toml(target)) == target

"""A unit store survives a cut at any byte."""

from __future__ import annotations

import tempfile

from bitplan.analyzer.units import UnitStore, content_key
from hypothesis import given, settings
from hypothesis import strategies as st

VALUES = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)
UNITS = st.lists(st.tuples(st.text(max_size=3), VALUES), min_size=1, max_size=5)
PARTS = st.recursive(
    st.binary() | st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(UNITS, st.data())
def test_a_cut_at_any_byte_costs_only_what_lies_behind_it(units, data):
    with tempfile.TemporaryDirectory() as folder:
        path, ends = f"{folder}/u.jsonl", [0]
        with UnitStore(path) as store:
            for key, value in units:
                store.put(key, value)
                ends.append(store.path.stat().st_size)
        cut = data.draw(st.integers(0, ends[-1]))
        store.path.write_bytes(store.path.read_bytes()[:cut])
        whole = sum(end <= cut for end in ends) - 1
        with UnitStore(path) as store:
            kept = dict(units[:whole])
            assert {key: store.get(key) for key, _ in units} == {key: kept.get(key) for key, _ in units}
            assert store.path.stat().st_size == ends[whole]
            store.put("after", {"x": 1})
        with UnitStore(path) as store:
            assert store.get("after") == {"x": 1}
            assert len(store) == len({*kept, "after"})


@settings(deadline=None, max_examples=60)
@given(UNITS, st.data())
def test_a_changed_byte_never_gives_a_wrong_value(units, data):
    with tempfile.TemporaryDirectory() as folder:
        with UnitStore(f"{folder}/u.jsonl") as store:
            for i, (_, value) in enumerate(units):
                store.put(str(i), value)
        text = bytearray(store.path.read_bytes())
        text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
        store.path.write_bytes(text)
        with UnitStore(store.path) as again:
            found = [again.get(str(i)) for i in range(len(units))]
        assert all(a is None or a == b for a, (_, b) in zip(found, units, strict=True))
        # A byte that turns a line's end into something else spoils the next line too.
        assert found.count(None) <= 2


@given(st.lists(PARTS, max_size=4), st.lists(PARTS, max_size=4))
def test_unlike_parts_have_unlike_keys(a, b):
    assert (content_key(*a) == content_key(*b)) == (repr(a) == repr(b))

"""The unit store and its keys, with real processes where one process is not enough."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import zlib

import pytest
from bitplan.analyzer import units
from bitplan.analyzer.errors import RunFolderError
from bitplan.analyzer.schema import Format, Graph
from bitplan.analyzer.units import UnitStore, content_key


def in_another_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_unlike_parts_have_unlike_keys():
    parts = [
        (),
        (1,),
        (1.0,),
        (True,),
        ("1",),
        (b"1",),
        (None,),
        ((1,),),
        (1, 2),
        ((1, 2),),
        ("12",),
        ("1", "2"),
        (-0.0,),
        (0.0,),
    ]
    assert len({content_key(*p) for p in parts}) == len(parts)
    assert content_key("a", (1, 2.5)) == content_key("a", [1, 2.5])
    assert content_key(Format.INT8) == content_key("int8")


def test_a_key_is_the_same_tomorrow():
    assert in_another_process(
        "from bitplan.analyzer.runs import content_key; print(content_key('a', 1, 2.5, (b'x', None)))"
    ).stdout.strip() == content_key("a", 1, 2.5, (b"x", None))


def test_types_without_a_meaning_have_no_key():
    for part in ({1: 2}, {1}, object(), Graph):
        with pytest.raises(TypeError, match="part of a key"):
            content_key(part)


# --- UnitStore -------------------------------------------------------------------------------------------------------


def test_units_come_back_and_the_last_counts(tmp_path):
    with UnitStore(tmp_path / "u.jsonl") as store:
        store.put("a", {"x": (1, 2.5), "y": None})
        store.put("b", {"x": float("inf")})
        store.put("a", {"x": "again"})
        for _ in range(2):
            assert store.get("a") == {"x": "again"}
            assert store.get("b") == {"x": "inf"}
            assert store.get("c") is None
            assert len(store) == 2
            assert "a" in store
            store.close()
            store = UnitStore(tmp_path / "u.jsonl")
        store.close()


def test_a_unit_is_a_line_of_json(tmp_path):
    with UnitStore(tmp_path / "u.jsonl") as store:
        store.put("a", {"text": "line\nbreak é"})
    (line,) = (tmp_path / "u.jsonl").read_text().splitlines()
    assert json.loads(line)["value"] == {"text": "line\nbreak é"}


def test_what_json_cannot_hold_leaves_the_store_as_it_was(tmp_path):
    with UnitStore(tmp_path / "u.jsonl") as store:
        with pytest.raises(TypeError):
            store.put("a", {"x": object()})
        store.put("b", {})
    with UnitStore(tmp_path / "u.jsonl") as store:
        assert len(store) == 1


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    with UnitStore(tmp_path / "u.jsonl") as store:
        store.put("a", {"x": 1})

        def full(descriptor, data):
            os.write(descriptor, data[:5])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(units, "write_all", full)
            with pytest.raises(RunFolderError, match="No space left"):
                store.put("b", {"x": 2})
        store.put("c", {"x": 3})
    with UnitStore(tmp_path / "u.jsonl") as store:
        assert [store.get(k) for k in "abc"] == [{"x": 1}, None, {"x": 3}]


def test_a_damaged_line_is_passed_over_and_a_damaged_end_cut_off(tmp_path):
    path = tmp_path / "u.jsonl"
    with UnitStore(path) as store:
        for key in "abcd":
            store.put(key, {"key": key})
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"key":"b"}', b'"key":"B"}')
    lines[3] = lines[3][:-1] + b"\0" * 100
    path.write_bytes(b"".join(lines))
    with UnitStore(path) as store:
        assert [store.get(k) for k in "abcd"] == [{"key": "a"}, None, {"key": "c"}, None]
        assert path.read_bytes() == b"".join(lines[:3])
        store.put("d", {"key": "new"})
    with UnitStore(path) as store:
        assert store.get("d") == {"key": "new"}
        assert store.get("c") == {"key": "c"}


def test_lines_that_nobody_put_are_passed_over(tmp_path):
    path = tmp_path / "u.jsonl"
    for body in (b"[1]}", b'{"key":1,"value":{}}', b'{"key":"a","value":[]}', b"\xff}", b"[" * 100_000 + b"}", b"}"):
        path.write_bytes(body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body))
        with UnitStore(path) as store:
            assert len(store) == 0


def test_threads_share_a_store(tmp_path):
    with UnitStore(tmp_path / "u.jsonl") as store:

        def work(name: int) -> None:
            for i in range(50):
                store.put(f"{name}-{i}", {"n": i})
                assert store.get(f"{name}-{i}") == {"n": i}

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with UnitStore(tmp_path / "u.jsonl") as store:
        assert len(store) == 200


STORE = """
import sys
from bitplan.analyzer.units import UnitStore
store = UnitStore(sys.argv[1])
for i in range(int(sys.argv[2]), 10**9):
    store.put(f"unit {i}", {"i": i, "values": [i / 7] * 2000})
    print(i, flush=True)
"""


def test_processes_do_not_share_a_store(tmp_path):
    with UnitStore(tmp_path / "u.jsonl") as store:
        assert "in use by another process" in in_another_process(STORE, tmp_path / "u.jsonl", 0).stderr
        store.put("a", {})


def test_a_writer_killed_in_the_middle_loses_nothing_that_it_had_put(tmp_path):
    path, told = tmp_path / "u.jsonl", 0
    for puts in (1, 20, 57, 133):
        with subprocess.Popen([sys.executable, "-c", STORE, path, str(told)], stdout=-1, text=True) as writer:
            for line in writer.stdout:
                told = int(line) + 1
                if told >= puts:
                    writer.send_signal(signal.SIGKILL)
                    break
            told = max([told, *(int(line) + 1 for line in writer.stdout if line.endswith("\n"))])
        assert writer.returncode == -signal.SIGKILL
        with UnitStore(path) as store:
            assert told <= len(store) <= told + 1
            for i in range(told):
                assert store.get(f"unit {i}") == {"i": i, "values": [i / 7] * 2000}

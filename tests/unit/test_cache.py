"""The user's cache: found by content, shared by processes, bounded, and never a reason to fail."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import pytest
from bitplan.analyzer import cache as module
from bitplan.analyzer.cache import Cache, cache_folder, parse_age
from bitplan.analyzer.errors import UsageError

DIGEST, OTHER = "ab" * 32, "cd" * 32


def opened(cache, digest=DIGEST, warnings=None):
    return cache.opened(digest, "model.tflite", (warnings if warnings is not None else []).append)


def test_the_folder_is_the_users(monkeypatch):
    monkeypatch.setenv("BITPLAN_CACHE", "/somewhere")
    assert cache_folder() == pathlib.Path("/somewhere")
    monkeypatch.delenv("BITPLAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == pathlib.Path("/caches/bitplan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == pathlib.Path("/home/somebody/.cache/bitplan")


def test_results_are_there_the_next_time_and_belong_to_one_model(tmp_path):
    cache = Cache(tmp_path / "not" / "yet")
    with opened(cache) as units:
        units.put("a", {"x": 1.5})
        assert list(units.listed()) == ["a"]
    with opened(cache) as units:
        assert units.get("a") == {"x": 1.5}
        assert units.get("b") is None
    with opened(cache, OTHER) as units:
        assert units.get("a") is None


def test_two_at_once_write_two_files_and_the_next_one_reads_both(tmp_path):
    cache = Cache(tmp_path)
    with opened(cache) as one, opened(cache) as two:
        one.put("a", {"from": 1})
        two.put("b", {"from": 2})
    assert len(list(tmp_path.iterdir())) == 2
    with opened(cache) as units:
        assert [units.get(key) for key in "ab"] == [{"from": 1}, {"from": 2}]
        assert set(units.listed()) == {"a", "b"}


WRITER = """
import sys
from bitplan.analyzer.cache import Cache
with Cache().opened(sys.argv[1], "model.tflite", print) as units:
    units.put(sys.argv[2], {"by": sys.argv[2]})
    print("put", flush=True)
    sys.stdin.read()
"""


def writer(folder, key):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, DIGEST, key], env={**os.environ, "BITPLAN_CACHE": str(folder)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "put\n"
    return process


def test_what_another_process_has_put_is_found_while_it_goes_on(tmp_path):
    process = writer(tmp_path, "theirs")
    try:
        with opened(Cache(tmp_path)) as units:
            assert units.get("theirs") == {"by": "theirs"}
            units.put("ours", {})
        assert Cache(tmp_path).clear().removed[0].results == 1  # ours alone: the other file is in use
        (left,) = Cache(tmp_path).contents().entries
        assert left.results == 1
    finally:
        process.communicate("")
    assert process.returncode == 0
    with opened(Cache(tmp_path)) as units:
        assert list(units.listed()) == ["theirs"]


def test_a_killed_process_leaves_what_it_had_put(tmp_path):
    process = writer(tmp_path, "theirs")
    process.kill()
    process.communicate()
    with opened(Cache(tmp_path)) as units:
        assert units.get("theirs") == {"by": "theirs"}
    assert len(list(tmp_path.iterdir())) == 1


def test_damaged_lines_are_passed_over(tmp_path):
    with opened(Cache(tmp_path)) as units:
        for key in "abc":
            units.put(key, {"key": key})
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes().replace(b'{"key":"b"}', b'{"key":"B"}'))
    with opened(Cache(tmp_path)) as units:
        assert [units.get(key) for key in "abc"] == [{"key": "a"}, None, {"key": "c"}]


def test_a_folder_that_cannot_be_made_is_warned_of_once(tmp_path):
    (tmp_path / "file").write_text("in the way")
    warnings = []
    with opened(Cache(tmp_path / "file" / "cache"), warnings=warnings) as units:
        assert units is None
    (warning,) = warnings
    assert "BITPLAN_CACHE" in warning


def test_a_full_disk_is_warned_of_once_and_work_goes_on(tmp_path, monkeypatch):
    from bitplan.analyzer import units as files

    warnings = []
    with opened(Cache(tmp_path), warnings=warnings) as units:
        units.put("a", {})

        def full(descriptor, data):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(files, "write_all", full)
        units.put("b", {})
        units.put("c", {})
        assert units.get("a") == {}
        assert units.get("b") is None
    (warning,) = warnings
    assert "No space left" in warning


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    small = Cache(tmp_path, limit_bytes=3000)
    for age, digest in ((30, "a" * 64), (20, "b" * 64), (10, "c" * 64)):
        with Cache(tmp_path).opened(digest, digest[0], print) as units:
            units.put("k", {"text": "x" * 1000})
        path = tmp_path / f"{digest[:32]}.jsonl"
        os.utime(path, (time.time() - age, time.time() - age))
    with small.opened("a" * 64, "a", print) as units:  # using it makes it the youngest
        assert units.get("k") is not None
    assert {e.model for e in small.contents().entries} == {"a", "c"}


def test_a_file_in_use_is_never_removed(tmp_path):
    with opened(Cache(tmp_path, limit_bytes=0)) as units:
        units.put("a", {})
        with opened(Cache(tmp_path, limit_bytes=0), OTHER) as other:
            assert Cache(tmp_path).clear().removed == ()
            assert other.get("a") is None
        assert units.get("a") == {}
    with opened(Cache(tmp_path, limit_bytes=0), OTHER):
        pass
    assert [e.digest for e in Cache(tmp_path).contents().entries] == [OTHER]


def test_contents_name_models_and_count_results(tmp_path):
    with opened(Cache(tmp_path)) as units:
        units.put("a", {})
        units.put("b", {})
    found = Cache(tmp_path).contents()
    (entry,) = found.entries
    assert (entry.model, entry.digest, entry.results) == ("model.tflite", DIGEST, 2)
    assert entry.bytes == pathlib.Path(entry.path).stat().st_size
    assert found.folder == str(tmp_path) and found.removed == ()


def test_clearing_may_spare_what_was_used_lately(tmp_path):
    for digest, age in ((DIGEST, 40), (OTHER, 1)):
        with opened(Cache(tmp_path), digest) as units:
            units.put("a", {})
        path = tmp_path / f"{digest[:32]}.jsonl"
        os.utime(path, (time.time() - age * 86_400,) * 2)
    found = Cache(tmp_path).clear(parse_age("30d"))
    assert [e.digest for e in found.removed] == [DIGEST]
    assert [e.digest for e in found.entries] == [OTHER]
    assert Cache(tmp_path).clear().entries == ()


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    Cache(tmp_path).clear()
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("1.5w", 907_200), ("5m", 300)])
def test_ages(text, seconds):
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 years"])
def test_what_is_no_age(text):
    with pytest.raises(UsageError, match="no age"):
        parse_age(text)


def test_the_limit_is_the_documented_one():
    from bitplan.cli import cache

    assert module.LIMIT_BYTES == 2 * 10**9
    assert "2 GB" in cache.__doc__

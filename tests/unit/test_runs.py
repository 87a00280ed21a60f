"""The run folder, with real processes where one process is not enough."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import typing

import pytest
from bitplan.analyzer import files, schema
from bitplan.analyzer.errors import RunFolderError
from bitplan.analyzer.runs import RunFolder, atomic_write, read_stage
from bitplan.analyzer.schema import Assignment, Calibration, Format, Histogram, Plan, Range

PLAN = Plan(
    assignments=(Assignment("0:CONV_2D", "conv", "w8a8"), Assignment("1:ADD", "add", "float")),
    strategy="milp",
    io=Format.FLOAT,
    allowed=("w8a8", "float"),
    graph_digest="abc",
    predicted_bytes=500,
    predicted_nmse=2.5,
)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path / "out")


def edit(path: pathlib.Path, **changes) -> None:
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not ...}, indent=4))


def in_another_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


# --- atomic_write ----------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.json"
    for data in (b"old", "new ä\n", b""):
        atomic_write(path, data)
        assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    atomic_write(path, "old")

    def full(descriptor, data):
        os.write(descriptor, data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_all", full)
    with pytest.raises(RunFolderError, match="No space left"):
        atomic_write(path, "new and longer")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="missing"):
        atomic_write(tmp_path / "missing" / "a.json", "text")


def test_files_have_the_usual_permissions(tmp_path):
    atomic_write(tmp_path / "a", "")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


# --- creating and opening --------------------------------------------------------------------------------------------


def test_a_run_folder_is_made_with_its_parents_and_taken_again(tmp_path):
    RunFolder.create(tmp_path / "a" / "b").save("plan", PLAN, "k")
    assert RunFolder.create(tmp_path / "a" / "b").load("plan", Plan) == PLAN
    assert RunFolder.open(tmp_path / "a" / "b").load("plan", Plan) == PLAN


def test_files_of_something_else_are_not_written_between(tmp_path):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(RunFolderError, match="not Bitplan's"):
        RunFolder.create(tmp_path)
    RunFolder.create(tmp_path, force=True).save("plan", PLAN, "k")
    assert (tmp_path / "thesis.doc").exists()
    RunFolder.create(tmp_path)


def test_hidden_files_do_not_count_as_something_else(tmp_path):
    (tmp_path / ".bitplan.json.0123.bitplan-tmp").touch()
    RunFolder.create(tmp_path)


def test_another_run_is_not_written_over(tmp_path):
    RunFolder.create(tmp_path, key="first")
    RunFolder.create(tmp_path, key="first")
    RunFolder.create(tmp_path)
    with pytest.raises(RunFolderError, match="another model"):
        RunFolder.create(tmp_path, key="second")
    RunFolder.create(tmp_path, force=True, key="second")
    with pytest.raises(RunFolderError, match="another model"):
        RunFolder.create(tmp_path, key="first")


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot make"):
        RunFolder.create(tmp_path / "file")
    for path in (tmp_path / "file", tmp_path / "absent"):
        with pytest.raises(RunFolderError, match="no folder") as caught:
            RunFolder.open(path)
        assert "bitplan analyze" in caught.value.remedy


# --- stages ----------------------------------------------------------------------------------------------------------


def test_a_stage_comes_back_as_it_was_saved(folder):
    seen = Range(tensor=7, minimum=-1.0, maximum=1.0, histogram=Histogram(-1, 1.0, (3, 4)), mean=0.1, variance=0.2)
    sums = {2: ((-1.0, 2.0), (-0.5, 0.5))}
    calibration = Calibration(ranges={7: seen}, partial_sums=sums, samples=7, data_digest="digest")
    folder.save("calibration", calibration, "k")
    assert folder.load("calibration", Calibration, "k") == calibration
    assert folder.require("calibration", Calibration) == calibration


def test_a_stage_of_other_inputs_is_stale(folder):
    folder.save("plan", PLAN, "old")
    assert folder.load("plan", Plan, "new") is None
    assert folder.load("plan", Plan) == PLAN
    with pytest.raises(RunFolderError, match="other inputs"):
        folder.require("plan", Plan, "new")


@pytest.mark.parametrize(
    ("stage", "command"),
    [("plan", "bitplan plan"), ("sensitivity", "bitplan analyze"), ("verification", "bitplan verify")],
)
def test_a_missing_stage_names_the_command_that_makes_it(folder, stage, command):
    assert folder.load(stage, Plan) is None
    assert not folder.has(stage)
    with pytest.raises(RunFolderError, match=f"has no {stage}.json") as caught:
        folder.require(stage, Plan)
    assert f"`{command}` first" in caught.value.remedy


def test_a_plan_can_be_read_and_edited_by_a_person(folder):
    folder.save("plan", PLAN, "k")
    path = folder.path / "plan.json"
    lines = path.read_text().splitlines()
    assert lines[1:4] == [' "schema_version": 1,', ' "kind": "plan",', ' "key": "k",']
    assert not folder.is_edited("plan")
    path.write_text(path.read_text().replace('"w8a8"', '"w16a16"', 1))
    assert folder.is_edited("plan")
    assert folder.load("plan", Plan, "k").assignments[0].scheme == "w16a16"
    assert read_stage(path, "plan", Plan).assignments[0].scheme == "w16a16"


def test_a_file_that_was_only_laid_out_anew_is_not_edited(folder):
    folder.save("plan", PLAN, "k")
    edit(folder.path / "plan.json")
    assert not folder.is_edited("plan")


def test_a_plan_written_by_hand_needs_no_key(folder):
    folder.save("plan", PLAN, "k")
    edit(folder.path / "plan.json", key=..., checksum=...)
    assert folder.load("plan", Plan) == PLAN
    assert folder.load("plan", Plan, "k") is None
    assert folder.is_edited("plan")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 2}, "schema version 2, this Bitplan knows up to 1"),
        ({"schema_version": ...}, "does not begin as a Bitplan file"),
        ({"schema_version": "1"}, "does not begin as a Bitplan file"),
        ({"kind": "graph"}, "does not begin as a Bitplan file"),
        ({"key": 5}, "does not begin as a Bitplan file"),
        ({"strategy": 5}, "plan.json: strategy: expected a string, found 5"),
        ({"stratgey": "milp"}, "plan.json: stratgey: there is no such field"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(folder, changes, words):
    folder.save("plan", PLAN, "k")
    edit(folder.path / "plan.json", **changes)
    for read in (lambda: folder.load("plan", Plan), lambda: read_stage(folder.path / "plan.json", "plan", Plan)):
        with pytest.raises(RunFolderError) as caught:
            read()
        assert words in caught.value.problem
        assert "plan.json" in caught.value.problem


@pytest.mark.parametrize("text", ["[]", "", "{", '"plan"', "\0"])
def test_a_damaged_file_is_refused_by_name(folder, text):
    (folder.path / "plan.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"plan\.json"):
        folder.load("plan", Plan)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(RunFolderError, match=r"mine\.json.*No such file"):
        read_stage(tmp_path / "mine.json", "plan", Plan)


def test_the_same_value_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        RunFolder.create(tmp_path / name).save("plan", PLAN, "k")
    assert (tmp_path / "a" / "plan.json").read_bytes() == (tmp_path / "b" / "plan.json").read_bytes()


def test_no_stage_has_a_field_named_as_in_the_header(folder):
    parts = (schema.Op, schema.KindShare, schema.LayerShare)  # no stages of their own
    for cls in vars(schema).values():
        if dataclasses.is_dataclass(cls) and cls not in parts:
            assert not {"schema_version", "kind", "key", "checksum"} & set(typing.get_type_hints(cls))
    op = schema.Op(0, "0:ADD", "ADD", "add", (), ())
    kind = schema.KindShare("weights", 0.1, 0.01, 1.0, None, None)
    layer = schema.LayerShare("add", "0:ADD", "ADD", "weights", 0.1, 0.01, 1.0)
    for part, field in ((op, "key"), (kind, "kind"), (layer, "kind")):  # the folder itself would refuse them
        with pytest.raises(ValueError, match=field):
            folder.save("part", part, "k")


def test_bytes_are_kept_beside_the_stages(folder):
    folder.write_bytes("model.tflite", b"\0TFL3")
    assert folder.read_bytes("model.tflite") == b"\0TFL3"
    with pytest.raises(RunFolderError, match=r"has no recipe\.json") as caught:
        folder.read_bytes("recipe.json")
    assert "bitplan convert" in caught.value.remedy


@pytest.mark.parametrize("name", ["../escape", "a/b", "..", "", "/etc/passwd", "a\nb"])
def test_names_stay_inside_the_folder(folder, name):
    with pytest.raises(ValueError, match="plain file name"):
        folder.write_bytes(name, b"")


# --- lock ------------------------------------------------------------------------------------------------------------

LOCK = """
import sys
from bitplan.analyzer.runs import RunFolder
try:
    with RunFolder.open(sys.argv[1]).lock():
        print("locked", flush=True)
        sys.stdin.read()
except Exception as error:
    print(error, flush=True)
"""


def test_two_processes_cannot_write_into_one_folder(folder):
    with folder.lock():
        answer = in_another_process(LOCK, folder.path).stdout
    assert f"{folder.path} is in use by process {os.getpid()}" in answer
    assert in_another_process(LOCK, folder.path).stdout == "locked\n"


def test_one_process_cannot_lock_twice_and_keeps_what_it_has(folder):
    with folder.lock():
        with pytest.raises(RunFolderError, match=f"process {os.getpid()}"), folder.lock():
            pass
        assert "in use" in in_another_process(LOCK, folder.path).stdout
    with folder.lock():
        pass


def test_a_killed_process_holds_no_lock_and_its_leftovers_are_removed(folder):
    with subprocess.Popen([sys.executable, "-c", LOCK, folder.path], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        (folder.path / ".plan.json.0a1b2c3d.bitplan-tmp").touch()
        with pytest.raises(RunFolderError, match=f"process {other.pid}"), folder.lock():
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with folder.lock():
        assert not list(folder.path.glob("*.bitplan-tmp")) + list(folder.path.glob(".*.bitplan-tmp"))

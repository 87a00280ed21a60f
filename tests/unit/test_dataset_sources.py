"""DATA as typed, `.npz` and `.npy` files, and functions named `module:function`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bitplan.analyzer.errors import DataError, UsageError
from bitplan.analyzer.inputs.dataset import (
    InputSpec,
    Preprocessing,
    load_samples,
    parse_data,
    parse_preprocessing,
    parse_resize,
)
from bitplan.analyzer.inputs.functions import import_function
from bitplan.analyzer.inputs.sources import ArrayFile, FunctionName, ImageFolder, TfdsName

IMAGE = InputSpec("serving_default_image:0", (1, 4, 4, 3), "float32")
RAW = Preprocessing()


def silent(message: str) -> None:
    """A `warn` for tests about something else."""


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), np.uint8)


@pytest.fixture
def archive(tmp_path: Path, images: np.ndarray) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, x_eval=images, y_eval=np.arange(10, dtype=np.uint8), other=np.zeros(3))
    return path


def test_archive_with_named_arrays_is_told_apart(archive: Path) -> None:
    assert parse_data(f"{archive}:x_eval,y_eval") == ArrayFile(archive, ("x_eval",), "y_eval")
    assert parse_data(f"{archive}:x_eval") == ArrayFile(archive, ("x_eval",), "")
    assert parse_data(f"{archive}:a+b,c") == ArrayFile(archive, ("a", "b"), "c")
    assert parse_data(f"{archive}:,c") == ArrayFile(archive, (), "c")
    assert parse_data(str(archive)) == ArrayFile(archive)


def test_drive_letters_and_colons_in_paths_are_part_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: np.ndarray
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("C:").mkdir()
    np.savez("C:/set.npz", x=images)
    assert parse_data("C:/set.npz:x,y") == ArrayFile(Path("C:/set.npz"), ("x",), "y")
    np.savez("C:back\\slash.NPZ", x=images)
    Path("C:back\\slash.NPZ.npz").rename("C:back\\slash.NPZ")
    assert parse_data("C:back\\slash.NPZ:x") == ArrayFile(Path("C:back\\slash.NPZ"), ("x",))
    Path("a:b").mkdir()
    assert parse_data("a:b") == ImageFolder(Path("a:b"))


def test_functions_and_tfds_names_are_told_apart() -> None:
    assert parse_data("my.package:make_data") == FunctionName("my.package:make_data")
    assert parse_data("tfds:cifar10/test[:100]") == TfdsName("cifar10", "test[:100]")
    assert parse_data("tfds:glue/mrpc:2.0.0/validation") == TfdsName("glue/mrpc:2.0.0", "validation")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tfds:cifar10", "names no split"),
        ("missing.npz:x,y", "no file missing.npz"),
        ("nowhere", "there is no nowhere"),
        ("folder/prep.py:load", "is a path, not a module"),
    ],
)
def test_what_cannot_be_data_is_refused_before_anything_is_loaded(text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        parse_data(text)
    assert caught.value.remedy


@pytest.mark.parametrize("arrays", ["", "x,", "x,y,z", "+x", ","])
def test_malformed_array_names_are_refused(archive: Path, arrays: str) -> None:
    with pytest.raises(DataError, match="names no arrays"):
        parse_data(f"{archive}:{arrays}")


def test_files_that_are_no_samples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_bytes(b"x")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot read samples"):
        parse_data(str(tmp_path / "a.tfrecord"))
    with pytest.raises(DataError, match="single image"):
        parse_data(str(tmp_path / "a.png"))


def test_named_arrays_are_loaded_in_order_with_their_labels(archive: Path, images: np.ndarray) -> None:
    samples = load_samples(f"{archive}:x_eval,y_eval", [IMAGE], RAW, warn=silent)
    np.testing.assert_array_equal(samples.block(0, 10)[0], images.astype(np.float32))
    assert samples.block(0, 10)[0].dtype == np.float32
    assert samples.labels is not None
    assert samples.labels.dtype == np.int64
    np.testing.assert_array_equal(samples.labels, np.arange(10))
    assert samples.describe()["source"] == f"{archive}:x_eval,y_eval"


def test_limit_takes_the_first_ones(archive: Path, images: np.ndarray) -> None:
    samples = load_samples(f"{archive}:x_eval,y_eval", [IMAGE], RAW, limit=4, warn=silent)
    np.testing.assert_array_equal(samples.block(0, 99)[0], images[:4].astype(np.float32))


def test_fewer_samples_than_asked_for_is_a_warning(archive: Path) -> None:
    warnings: list[str] = []
    samples = load_samples(f"{archive}:x_eval", [IMAGE], RAW, limit=256, warn=warnings.append)
    assert len(samples) == 10
    assert any("holds 10 samples, 256 were asked for" in w for w in warnings)


def test_missing_array_lists_those_there(archive: Path) -> None:
    with pytest.raises(DataError, match=r"no array x_test; it has x_eval, y_eval, other"):
        load_samples(f"{archive}:x_test,y_eval", [IMAGE], RAW, warn=silent)


def test_arrays_named_after_the_inputs_are_found_without_names(tmp_path: Path) -> None:
    inputs = [InputSpec("serving_default_b:0", (1, 2), "float32"), InputSpec("serving_default_a:0", (1, 3), "int32")]
    np.savez(tmp_path / "two.npz", a=np.ones((4, 3), np.int64), b=np.zeros((4, 2)), labels=np.arange(4))
    samples = load_samples(str(tmp_path / "two.npz"), inputs, RAW, warn=silent)
    b, a = samples.block(0, 4)
    assert (b.shape, a.shape, a.dtype) == ((4, 2), (4, 3), np.int32)
    np.testing.assert_array_equal(samples.labels, np.arange(4))


def test_only_array_beside_the_labels_feeds_the_only_input(tmp_path: Path, images: np.ndarray) -> None:
    np.savez(tmp_path / "one.npz", x_train=images, y=np.arange(10))
    samples = load_samples(tmp_path / "one.npz", [IMAGE], RAW, warn=silent)
    np.testing.assert_array_equal(samples.labels, np.arange(10))


def test_ambiguous_archive_lists_its_arrays(archive: Path) -> None:
    with pytest.raises(DataError, match="no array named serving_default_image:0; it has x_eval, y_eval, other"):
        load_samples(str(archive), [IMAGE], RAW, warn=silent)


def test_several_inputs_are_joined_by_plus(tmp_path: Path) -> None:
    inputs = [InputSpec("p", (1, 2), "float32"), InputSpec("q", (1, 3), "float32")]
    np.savez(tmp_path / "two.npz", first=np.ones((4, 2)), second=np.zeros((4, 3)))
    samples = load_samples(f"{tmp_path / 'two.npz'}:first+second", inputs, RAW, warn=silent)
    assert [array.shape for array in samples.block(0, 4)] == [(4, 2), (4, 3)]
    with pytest.raises(DataError, match="1 arrays were named, the model has 2 inputs: p, q"):
        load_samples(f"{tmp_path / 'two.npz'}:first", inputs, RAW, warn=silent)


def test_single_array_file_feeds_the_only_input(tmp_path: Path, images: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", images)
    assert len(load_samples(str(tmp_path / "x.npy"), [IMAGE], RAW, warn=silent)) == 10
    with pytest.raises(DataError, match="one array, the model has 2 inputs"):
        load_samples(str(tmp_path / "x.npy"), [IMAGE, IMAGE], RAW, warn=silent)


def test_python_objects_in_files_are_never_loaded(tmp_path: Path) -> None:
    ragged = np.array([np.zeros(1), np.zeros(2)], object)
    np.savez(tmp_path / "o.npz", x=ragged)
    np.save(tmp_path / "o.npy", ragged)
    for data in (f"{tmp_path / 'o.npz'}:x", str(tmp_path / "o.npy")):
        with pytest.raises(DataError, match="Python objects, which are never loaded"):
            load_samples(data, [IMAGE], RAW, warn=silent)


def test_damaged_files_are_named(tmp_path: Path, archive: Path) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.npz").write_bytes(b"this is no archive")
    (tmp_path / "no.npy").write_bytes(b"")
    for path in (f"{archive}:x_eval", str(tmp_path / "no.npz"), str(tmp_path / "no.npy")):
        with pytest.raises(DataError, match=r"cannot be read|never loaded|neither an"):
            load_samples(path, [IMAGE], RAW, warn=silent)


def test_function_in_the_working_folder_gives_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bp_data_module.py").write_text(
        "import numpy as np\n"
        "def pair(): return np.ones((5, 4, 4, 3)) * np.arange(5)[:, None, None, None], np.arange(5)\n"
        "def representative():\n"
        "    for i in range(3): yield [np.full((1, 4, 4, 3), i, np.float32)]\n"
        "def broken():\n"
        "    yield [np.zeros((1, 4, 4, 3))]\n"
        "    raise KeyError('lost')\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    pair = load_samples("bp_data_module:pair", [IMAGE], RAW, warn=silent)
    np.testing.assert_array_equal(pair.labels, np.arange(5))
    generated = load_samples("bp_data_module:representative", [IMAGE], RAW, warn=silent)
    assert (len(generated), generated.labels) == (3, None)
    with pytest.raises(DataError, match=r"fails after 1 items: KeyError: 'lost' \(bp_data_module.py, line 7\)"):
        load_samples("bp_data_module:broken", [IMAGE], RAW, warn=silent)
    with pytest.raises(DataError, match="cannot be called"):
        import_function("bp_data_module:number")
    with pytest.raises(DataError, match="has no pare") as caught:
        import_function("bp_data_module:pare")
    assert "pair" in caught.value.remedy
    with pytest.raises(DataError, match="no module bp_absent_module"):
        import_function("bp_absent_module:pair")
    (tmp_path / "bp_bad_module.py").write_text("import bp_absent_dependency\n")
    with pytest.raises(DataError, match=r"importing bp_bad_module fails: .*bp_absent_dependency.*line 1"):
        import_function("bp_bad_module:pair")
    (tmp_path / "bp_syntax_module.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(DataError, match=r"SyntaxError: .*bp_syntax_module.py, line 2"):
        import_function("bp_syntax_module:f")
    with pytest.raises(UsageError, match="form module:function"):
        import_function("bp_data_module.pair")


def test_missing_tensorflow_datasets_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match="needs tensorflow-datasets") as caught:
        load_samples("tfds:cifar10/test", [IMAGE], RAW, warn=silent)
    assert caught.value.remedy == "pip install tensorflow-datasets"


def test_sizes_are_read_as_side_or_height_by_width() -> None:
    assert parse_resize("96") == 96
    assert parse_resize("96x128") == (96, 128)
    for text in ("", "96x", "x96", "big", "-1", "9.5"):
        with pytest.raises(UsageError, match="no image size"):
            parse_resize(text)


def test_unreadable_preprocessing_is_refused() -> None:
    with pytest.raises(UsageError, match="no scale 'tensorflow'"):
        parse_preprocessing(scale="tensorflow")
    with pytest.raises(UsageError, match="cannot be resized to 0"):
        parse_preprocessing(resize="0")
    with pytest.raises(UsageError, match="module:function"):
        parse_preprocessing(function="prep.py")
    assert parse_preprocessing("8x9", "tf", "prep:crop") == Preprocessing((8, 9), "tf", "prep:crop")

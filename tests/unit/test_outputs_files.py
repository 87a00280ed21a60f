"""Outputs and targets that others saved, class names, and pictures of samples."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pytest
from bitplan.analyzer.errors import DataError
from bitplan.analyzer.inputs.class_names import class_names, read_class_names
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.inputs.outputs import OutputSpec, read_outputs, read_targets
from bitplan.analyzer.inputs.thumbnails import thumbnail
from PIL import Image

from .. import results_factory

BOXES, SCORES = OutputSpec("boxes:0", (5, 4)), OutputSpec("scores", (5,))
CLASSES = OutputSpec("Identity", (10,), "int8", 0.5, -3)


def saved(tmp_path, **arrays):
    path = tmp_path / "outputs.npz"
    np.savez(path, **arrays)
    return path


def test_outputs_are_found_by_name_by_number_or_as_the_only_one(tmp_path):
    boxes, scores = np.random.rand(3, 5, 4), np.random.rand(3, 5, 1)
    for names in (("boxes", "scores"), ("output_0", "output_1")):
        path = saved(tmp_path, **dict(zip(reversed(names), (scores, boxes), strict=True)))
        found = read_outputs(path, [BOXES, SCORES], 3, "the framework")
        np.testing.assert_array_equal(found.arrays[0], boxes.astype(np.float32))
        np.testing.assert_array_equal(found.arrays[1], scores[..., 0].astype(np.float32))
    only = np.random.rand(2, 1, 10).astype(np.float32)
    found = read_outputs(saved(tmp_path, whatever=only), [CLASSES], 9, "the device")
    np.testing.assert_array_equal(found.arrays[0], only[:, 0])
    assert found.places.tolist() == [0, 1]
    np.save(tmp_path / "outputs.npy", only)
    np.testing.assert_array_equal(read_outputs(tmp_path / "outputs.npy", [CLASSES], 9, "x").arrays[0], only[:, 0])


def test_integers_are_dequantized_with_the_files_scale(tmp_path):
    raw = np.array([[-128, 127, -3, -1, 0, 0, 0, 0, 0, 0]], np.int8)
    found = read_outputs(saved(tmp_path, output_0=raw, index=np.array([7])), [CLASSES], 9, "the device")
    np.testing.assert_array_equal(found.arrays[0][0, :4], np.float32([-62.5, 65.0, 0.0, 1.0]))
    assert found.places.tolist() == [7]


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"output_0": np.zeros((3, 10), np.uint8)}, "which is int8"),
        ({"output_0": np.zeros((3, 11), np.int8)}, "gives 11 for output Identity"),
        ({"output_0": np.zeros((20, 10), np.int8)}, "the data has 9"),
        ({"output_0": np.zeros((0, 10), np.int8)}, "samples"),
        ({"output_0": np.zeros((2, 10), np.int8), "index": np.array([3, 3])}, "does not name 2 of the 9"),
        ({"output_0": np.zeros((2, 10), np.int8), "index": np.array([0, 9])}, "does not name 2 of the 9"),
        ({"output_0": np.zeros((2, 10), np.int8), "index": np.array([0.0, 1.0])}, "does not name 2 of the 9"),
        ({"a": np.zeros((3, 10)), "b": np.zeros((3, 10))}, "no array for output Identity; it has a, b"),
        ({"output_0": np.array(["x"] * 3)}, "holds text"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, arrays, word):
    with pytest.raises(DataError, match=word):
        read_outputs(saved(tmp_path, **arrays), [CLASSES], 9, "the device")


def test_pickles_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, x=np.array([{}], object))
    with pytest.raises(DataError, match="Python objects, which are never loaded"):
        read_outputs(path, [CLASSES], 9, "the device")
    path.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(DataError, match="cannot be read"):
        read_outputs(path, [CLASSES], 9, "the device")
    path.write_text("0.1,0.9")
    with pytest.raises(DataError, match=r"neither an \.npz nor an \.npy"):
        read_outputs(path, [CLASSES], 9, "the device")
    with pytest.raises(DataError, match="there is no file"):
        read_outputs(tmp_path / "none.npz", [CLASSES], 9, "the device")


def test_targets_are_a_row_for_each_sample(tmp_path):
    path = saved(tmp_path, boxes=np.arange(24).reshape(3, 2, 4), y=np.zeros(3))
    assert read_targets(f"{path}:boxes", 3).shape == (3, 2, 4)
    for text, word in ((f"{path}:b", "no array b"), (str(path), "boxes, y"), (f"{path}:boxes ", "no array")):
        with pytest.raises(DataError, match=word):
            read_targets(text, 3)
    with pytest.raises(DataError, match="there are 4 evaluation samples"):
        read_targets(f"{path}:boxes", 4)


def test_class_names_stand_a_line_each(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\N{ZERO WIDTH NO-BREAK SPACE}cat\n dog \n\n", encoding="utf-8")
    assert read_class_names(path) == ("cat", "dog")


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def samples_of(raw, shape, **preprocessing):
    spec = InputSpec("image", (1, *shape), "float32")
    return load_samples(raw, (spec,), Preprocessing(**preprocessing), warn=lambda _: None)


def test_a_small_picture_shows_the_raw_pixels_exactly():
    raw = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), np.uint8)
    samples = samples_of(raw, (20, 30, 3), scale="tf").in_content_order()
    for index in range(4):
        uri = thumbnail(samples, index)
        assert uri.startswith("data:image/png;base64,")
        np.testing.assert_array_equal(decoded(uri), raw[samples.places[index]])


def test_a_large_picture_is_made_small_and_resized_ones_show_the_original():
    raw = np.full((1, 300, 400, 3), 200, np.uint8)
    uri = thumbnail(samples_of(raw, (48, 48, 3), resize=(48, 48), scale="0-1"), 0)
    assert uri.startswith("data:image/jpeg;base64,") and len(uri) < 3000
    picture = decoded(uri)
    assert picture.shape == (48, 64, 3) and abs(picture.astype(int) - 200).max() <= 2


def test_floats_and_channels_first_are_pictures_too():
    raw = np.zeros((1, 1, 8, 6), np.float32)
    raw[0, 0, 0, 0], raw[0, 0, 7, 5] = -1.0, 1.0
    picture = decoded(thumbnail(samples_of(raw, (1, 8, 6)), 0))
    assert picture.shape == (8, 6)
    assert (picture[0, 0], picture[7, 5], picture[3, 3]) == (0, 255, 128)


def test_what_is_no_image_has_no_picture():
    assert thumbnail(samples_of(np.random.rand(2, 40).astype(np.float32), (40,)), 0) == ""


@pytest.mark.parametrize("written", [b"cat\ndog\n", "Käse\n".encode("latin-1"), None])
def test_names_beside_a_model_that_do_not_fit_are_left_out_with_a_warning(tmp_path, written):
    graph = results_factory.mobilenet().graph
    if written is not None:
        (tmp_path / "labels.txt").write_bytes(written)
    warnings = []
    assert class_names((), graph, None, [tmp_path / "net.tflite"], warnings.append) == ()
    assert ["classes are called by their numbers" in warning for warning in warnings] == [True] * (written is not None)
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghij"))
    assert class_names((), graph, None, [tmp_path / "net.tflite"], warnings.append) == tuple("abcdefghij")
    assert class_names((), dataclasses.replace(graph, is_classifier=False), None, [tmp_path / "n"], print) == ()

"""Folders of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bitplan.analyzer.errors import DataError
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from PIL import Image

RGB = InputSpec("image", (1, 8, 8, 3), "float32")
GRAY = InputSpec("image", (1, 8, 8, 1), "float32")
RAW = Preprocessing()


def silent(message: str) -> None:
    """A `warn` for tests about something else."""


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def pixels(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for index, name in enumerate(["zebra", "ant", "cat"]):
        for number in range(4):
            save(tmp_path / "set" / name / f"{number}.png", pixels(10 * index + number))
    return tmp_path / "set"


def test_subfolders_are_classes_in_sorted_order(classes: Path) -> None:
    samples = load_samples(classes, [RGB], RAW, warn=silent)
    assert samples.class_names == ("ant", "cat", "zebra")
    np.testing.assert_array_equal(samples.labels, [0] * 4 + [1] * 4 + [2] * 4)
    np.testing.assert_array_equal(samples.block(8, 9)[0][0], pixels(0).astype(np.float32))
    assert samples.describe()["class_counts"] == {"0": 4, "1": 4, "2": 4}


def test_taking_the_first_of_a_sorted_folder_warns_of_missing_classes(classes: Path) -> None:
    warnings: list[str] = []
    load_samples(classes, [RGB], RAW, limit=4, warn=warnings.append)
    assert any("hold 1 of 3 classes: --balanced" in w for w in warnings)
    warnings.clear()
    drawn = load_samples(classes, [RGB], RAW, limit=6, balanced=True, warn=warnings.append)
    assert not any("classes" in w for w in warnings)
    assert drawn.describe()["class_counts"] == {"0": 2, "1": 2, "2": 2}


def test_flat_folder_is_unlabelled(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png", pixels(number))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    samples = load_samples(str(tmp_path), [RGB], RAW, warn=silent)
    assert (len(samples), samples.labels, samples.class_names) == (3, None, ())
    assert samples.notes == ("1 files that are no images were left out",)


def test_images_of_other_sizes_are_resized_and_that_is_recorded(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.full((16, 12, 3), 7, np.uint8))
    save(tmp_path / "b.png", np.full((5, 9, 3), 9, np.uint8))
    warnings: list[str] = []
    samples = load_samples(tmp_path, [RGB], RAW, warn=warnings.append)
    np.testing.assert_array_equal(samples.block(0, 2)[0][:, 0, 0, 0], [7, 9])
    assert any("resized to the model's 8x8" in w for w in warnings)
    described = samples.describe()
    assert described["preprocessing"]["resize"] == [8, 8]
    assert described["preprocessing"]["resize_automatic"] is True
    declared = load_samples(tmp_path, [RGB], Preprocessing(resize=8), warn=silent)
    assert "resize_automatic" not in declared.describe()["preprocessing"]
    assert declared.digest == samples.digest


def test_images_are_decoded_to_the_channels_the_model_takes(tmp_path: Path) -> None:
    values = pixels(1)
    save(tmp_path / "rgb.png", values)
    luma = np.asarray(Image.fromarray(values).convert("L"), np.float32)
    gray = load_samples(tmp_path, [GRAY], RAW, warn=silent).block(0, 1)[0]
    np.testing.assert_array_equal(gray[0, :, :, 0], luma)
    flat = InputSpec("image", (1, 8, 8), "float32")
    np.testing.assert_array_equal(load_samples(tmp_path, [flat], RAW, warn=silent).block(0, 1)[0][0], luma)
    first = InputSpec("image", (1, 3, 8, 8), "float32")
    np.testing.assert_array_equal(
        load_samples(tmp_path, [first], RAW, warn=silent).block(0, 1)[0][0], values.transpose(2, 0, 1)
    )


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    values = np.zeros((8, 8, 3), np.uint8)
    values[0, :, :] = 255  # the top row is white; orientation 6 turns it to the right-hand side
    image = Image.fromarray(values)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    turned = load_samples(tmp_path, [RGB], RAW, warn=silent).block(0, 1)[0][0, :, :, 0]
    np.testing.assert_array_equal(turned, np.rot90(values[:, :, 0], -1))


def test_sizes_are_those_after_the_orientation(tmp_path: Path) -> None:
    image = Image.fromarray(pixels(1, 12, 6))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    warnings: list[str] = []
    wide = InputSpec("image", (1, 6, 12, 3), "float32")
    samples = load_samples(tmp_path, [wide], RAW, warn=warnings.append)
    assert samples.block(0, 1)[0].shape == (1, 6, 12, 3)
    assert not any("resized" in w for w in warnings)
    load_samples(tmp_path, [InputSpec("image", (1, 12, 6, 3), "float32")], RAW, warn=warnings.append)
    assert any("resized to the model's 12x6" in w for w in warnings)


def test_pixel_inputs_get_resized_images_rounded(tmp_path: Path) -> None:
    save(tmp_path / "a.png", pixels(3, 13, 11))
    bytes_input = InputSpec("image", (1, 8, 8, 3), "uint8")
    block = load_samples(tmp_path, [bytes_input], RAW, warn=silent).block(0, 1)[0]
    real = load_samples(tmp_path, [RGB], RAW, warn=silent).block(0, 1)[0]
    assert block.dtype == np.uint8
    np.testing.assert_array_equal(block, np.rint(real).astype(np.uint8))


def test_damaged_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "good.png", pixels(1))
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"torn\.png cannot be decoded"):
        load_samples(tmp_path, [RGB], RAW, warn=silent)


def test_images_of_sixteen_bits_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    save(tmp_path / "deep.png", np.full((8, 8), 40_000, np.uint16))
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits a channel"):
        load_samples(tmp_path, [GRAY], RAW, warn=silent)


def test_unclear_folders_are_refused(tmp_path: Path, classes: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        load_samples(tmp_path / "empty", [RGB], RAW, warn=silent)
    save(classes / "loose.png", pixels(1))
    with pytest.raises(DataError, match="1 images beside 3 subfolders"):
        load_samples(classes, [RGB], RAW, warn=silent)


def test_model_without_an_image_input_is_told(classes: Path) -> None:
    with pytest.raises(DataError, match="takes 192, which is no image"):
        load_samples(classes, [InputSpec("x", (1, 192), "float32")], RAW, warn=silent)
    with pytest.raises(DataError, match="feeds one input, the model has 2"):
        load_samples(classes, [RGB, GRAY], RAW, warn=silent)


def test_numbered_folders_in_text_order_are_noted(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        save(tmp_path / str(number) / "a.png", pixels(number))
    samples = load_samples(tmp_path, [RGB], RAW, warn=silent)
    assert samples.class_names == ("0", "10", "2")
    assert any("text order" in note for note in samples.notes)


def test_files_are_decoded_only_when_they_are_taken(classes: Path) -> None:
    (classes / "zebra" / "3.png").write_bytes(b"damaged, and never opened")
    assert len(load_samples(classes, [RGB], RAW, limit=11, warn=silent)) == 11

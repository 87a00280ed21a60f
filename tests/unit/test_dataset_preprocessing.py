"""Declared preprocessing: resize, scale and the user's function, in that arithmetic and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bitplan.analyzer.errors import DataError, UsageError
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, Samples, load_samples
from bitplan.analyzer.inputs.preprocessing import resize_bilinear, scale_values

IMAGE = InputSpec("image", (1, 4, 4, 3), "float32")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)


def load(data: Any, preprocessing: Preprocessing, inputs: Any = (IMAGE,)) -> Samples:
    return load_samples(data, inputs, preprocessing, warn=lambda message: None)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "bp_prep_module.py").write_text(
        "import numpy as np\n"
        "def half(x):\n"
        "    x = x.astype(np.float32); x /= 2; return x\n"
        "def in_place(x):\n"
        "    x[...] = 0; return x.astype(np.float32)\n"
        "def crop(x): return x[1:5, 2:6] / 255.0\n"
        "def both(sample): return {'b': sample['b'] + 1.0, 'a': sample['a'] * 2.0}\n"
        "def pair(sample): return [sample['u'] * 2.0, sample['v'] + 1.0]\n"
        "def split(x): return [x[:4], x[4:].reshape(2, 3)]\n"
        "def noisy(x): return x + np.random.random()\n"
        "def fails(x):\n"
        "    return np.linalg.inv(np.zeros((2, 2)))\n"
        "def text(x): return 'text'\n"
        "def two(x): return [x, x]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "bp_prep_module"


def reference_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation at half-pixel centres, straight from its definition, one pixel at a time, float64."""
    rows, columns = image.shape[:2]
    result = np.empty((height, width, image.shape[2]))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            u, v = y - top, x - left
            upper = image[top, left] * (1 - v) + image[top, right] * v
            lower = image[below, left] * (1 - v) + image[below, right] * v
            result[i, j] = upper * (1 - u) + lower * u
    return result


@pytest.mark.parametrize("size", [(4, 4), (9, 7), (3, 2), (1, 1), (12, 4), (5, 31)])
def test_resize_follows_the_definition_of_half_pixel_bilinear(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    resized = resize_bilinear(image, size)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, reference_resize(image.astype(np.float64), *size), atol=1e-4)


def test_scales_are_those_of_keras() -> None:
    values = np.array([[[0, 127.5, 255]]])
    np.testing.assert_array_equal(scale_values(values, "raw"), values)
    np.testing.assert_array_equal(scale_values(values, "tf"), [[[-1, 0, 1]]])
    np.testing.assert_array_equal(scale_values(values, "0-1"), [[[0, 0.5, 1]]])
    torch = [-0.485 / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(scale_values(values, "torch"), [[torch]], rtol=1e-6)
    first = scale_values(values.transpose(2, 0, 1), "torch", channel_axis=-3)
    np.testing.assert_allclose(first[:, 0, 0], torch, rtol=1e-6)


def test_channels_first_models_are_resized_and_scaled_along_their_channels() -> None:
    last = InputSpec("image", (1, 9, 9, 3), "float32")
    first = InputSpec("image", (1, 3, 9, 9), "float32")
    declared = Preprocessing(resize=9, scale="torch")
    expected = load(PIXELS, declared, (last,)).block(0, 5)[0]
    found = load(PIXELS.transpose(0, 3, 1, 2), declared, (first,)).block(0, 5)[0]
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), expected)


def test_grayscale_images_are_resized_with_or_without_a_channel_dimension() -> None:
    gray = InputSpec("image", (1, 9, 9, 1), "float32")
    flat = InputSpec("image", (1, 9, 9), "float32")
    expected = resize_bilinear(PIXELS[..., :1], (9, 9))
    for data in (PIXELS[..., :1], PIXELS[..., 0], PIXELS[:, None, :, :, 0]):
        np.testing.assert_array_equal(load(data, Preprocessing(resize=9), (gray,)).block(0, 5)[0], expected)
        np.testing.assert_array_equal(load(data, Preprocessing(resize=9), (flat,)).block(0, 5)[0], expected[..., 0])


def test_images_of_unequal_sizes_are_brought_to_one() -> None:
    images = [PIXELS[0], np.full((7, 3, 3), 9, np.uint8)]
    samples = load(images, Preprocessing(resize=4))
    np.testing.assert_array_equal(samples.block(0, 2)[0][1], np.full((4, 4, 3), 9))
    with pytest.raises(DataError, match="sample 1 has the shape 7x3x3"):
        load(images, Preprocessing())


def test_resize_to_another_size_than_the_models_is_refused() -> None:
    with pytest.raises(DataError, match=r"--resize gives 8x8, .* takes 4x4x3") as caught:
        load(PIXELS, Preprocessing(resize=8))
    assert "--resize 4" in caught.value.remedy


def test_preprocessing_that_means_no_input_is_refused() -> None:
    vector = InputSpec("x", (1, 8), "float32")
    tokens = InputSpec("x", (1, 8), "int32")
    with pytest.raises(UsageError, match="--resize is for images"):
        load(np.zeros((2, 8)), Preprocessing(resize=8), (vector,))
    with pytest.raises(UsageError, match="--scale tf is for images"):
        load(np.zeros((2, 8)), Preprocessing(scale="tf"), (tokens,))
    with pytest.raises(UsageError, match="three channels"):
        load(np.zeros((2, 8)), Preprocessing(scale="torch"), (vector,))


def test_with_several_inputs_only_images_are_scaled() -> None:
    inputs = (IMAGE, InputSpec("age", (1, 1), "float32"), InputSpec("mask", (1, 4, 4, 1), "uint8"))
    data = {"image": PIXELS, "age": np.arange(5.0), "mask": PIXELS[..., :1]}
    image, age, mask = load(data, Preprocessing(scale="0-1"), inputs).block(0, 5)
    np.testing.assert_array_equal(image, PIXELS.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(age[:, 0], np.arange(5))
    np.testing.assert_array_equal(mask, PIXELS[..., :1])


def test_function_is_called_on_each_sample_before_resize_and_scale(module: str) -> None:
    halved = load(PIXELS, Preprocessing(function=f"{module}:half")).block(0, 5)[0]
    np.testing.assert_array_equal(halved, PIXELS / np.float32(2))
    large = np.random.default_rng(2).integers(0, 256, (3, 9, 9, 3), np.uint8)
    cropped = load(large, Preprocessing(function=f"{module}:crop")).block(0, 3)[0]
    np.testing.assert_allclose(cropped, large[:, 1:5, 2:6] / 255, rtol=1e-6)
    spec = InputSpec("image", (1, 8, 8, 3), "float32")
    declared = Preprocessing(resize=8, scale="tf", function=f"{module}:half")
    expected = scale_values(resize_bilinear(PIXELS / np.float32(2), (8, 8)), "tf")
    np.testing.assert_array_equal(load(PIXELS, declared, (spec,)).block(0, 5)[0], expected)


def test_function_that_writes_in_place_does_not_spoil_the_data(module: str) -> None:
    pixels = PIXELS.copy()
    load(pixels, Preprocessing(function=f"{module}:in_place")).block(0, 5)
    np.testing.assert_array_equal(pixels, PIXELS)


def test_function_may_make_several_inputs(module: str) -> None:
    inputs = (InputSpec("a", (1, 4), "float32"), InputSpec("b", (1, 2, 3), "float32"))
    a, b = np.ones((2, 4)), np.arange(12.0).reshape(2, 2, 3)
    for data, name in (({"a": a, "b": b}, "both"), ({"u": a, "v": b}, "pair")):
        one, other = load(data, Preprocessing(function=f"{module}:{name}"), inputs).block(0, 2)
        np.testing.assert_array_equal(one, a * 2)
        np.testing.assert_array_equal(other, b + 1)
    joined = np.arange(20.0).reshape(2, 10)
    one, other = load(joined, Preprocessing(function=f"{module}:split"), inputs).block(0, 2)
    np.testing.assert_array_equal(one, joined[:, :4])
    np.testing.assert_array_equal(other.reshape(2, 6), joined[:, 4:])


def test_errors_in_the_function_come_with_the_last_line_of_the_traceback(module: str) -> None:
    problem = r"bp_prep_module:fails on sample 0 fails: .*LinAlgError: Singular matrix \(bp_prep_module.py, line 12\)"
    with pytest.raises(DataError, match=problem):
        load(PIXELS, Preprocessing(function=f"{module}:fails"))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("noisy", "gives two answers for one sample"),
        ("text", "returns holds text"),
        ("two", "returns 2 arrays, the model has 1 inputs"),
        ("absent", "has no absent"),
    ],
)
def test_functions_that_cannot_be_used_are_refused(module: str, name: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        load(PIXELS, Preprocessing(function=f"{module}:{name}"))


def test_function_that_returns_another_shape_is_told(module: str) -> None:
    with pytest.raises(DataError, match=r"sample 0 has the shape 3x2x3, .* takes 4x4x3") as caught:
        load(PIXELS, Preprocessing(function=f"{module}:crop"))
    assert "bp_prep_module:crop" in caught.value.remedy

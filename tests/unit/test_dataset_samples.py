"""What samples know of themselves, and the checks on their values."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bitplan.analyzer import schema
from bitplan.analyzer.errors import DataError, UnsupportedModel, UsageError
from bitplan.analyzer.inputs.dataset import (
    InputSpec,
    Preprocessing,
    Samples,
    check_labels,
    input_specs,
    load_samples,
    overlap_warnings,
    random_samples,
    range_warnings,
)

IMAGE = InputSpec("image", (1, 4, 4, 3), "float32")
RAW = Preprocessing()
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), np.uint8)
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2])


def load(data: Any, inputs: Any = (IMAGE,), preprocessing: Preprocessing = RAW, **options: Any) -> Samples:
    options.setdefault("warn", lambda message: None)
    return load_samples(data, inputs, preprocessing, **options)


def test_input_specs_are_those_of_the_graph() -> None:
    tensors = (schema.Tensor(0, "a", (1, 2), "float32"), schema.Tensor(1, "b", (1, -1), "int32"))
    graph = schema.Graph(tensors, (), (1, 0), (), (), False, "", 0)
    assert input_specs(graph) == (InputSpec("b", (1, -1), "int32"), InputSpec("a", (1, 2), "float32"))
    text = schema.Graph((schema.Tensor(0, "a", (1,), "string"),), (), (0,), (), (), False, "", 0)
    with pytest.raises(UnsupportedModel, match="of type string"):
        input_specs(text)


def test_sample_shape_leaves_a_leading_one_out() -> None:
    assert InputSpec("x", (1, 8), "float32").sample_shape == (8,)
    assert InputSpec("x", (-1, 8), "float32").sample_shape == (8,)
    assert InputSpec("x", (2, 8), "float32").sample_shape == (2, 8)
    assert InputSpec("x", (), "float32").sample_shape == ()


def test_digest_is_the_hash_of_sorted_hashes_of_prepared_samples() -> None:
    samples = load(PIXELS)
    hashes = sorted(hashlib.sha256(b"float32(4, 4, 3)" + x.astype("<f4").tobytes()).digest() for x in PIXELS)
    assert samples.digest == hashlib.sha256(b"".join(hashes)).hexdigest()
    assert samples.digest == load(PIXELS[::-1]).digest
    assert samples.digest != load(PIXELS[:-1]).digest
    assert samples.digest != load(PIXELS, preprocessing=Preprocessing(scale="tf")).digest


def test_content_order_does_not_depend_on_the_order_given() -> None:
    shuffled = np.random.default_rng(3).permutation(12)
    one, other = load((PIXELS, LABELS)), load((PIXELS[shuffled], LABELS[shuffled]))
    np.testing.assert_array_equal(one.in_content_order().block(0, 12)[0], other.in_content_order().block(0, 12)[0])
    np.testing.assert_array_equal(one.in_content_order().labels, other.in_content_order().labels)
    assert {**one.describe(), "source": ""} == {**other.describe(), "source": ""}


def test_labels_have_a_digest_of_their_own() -> None:
    one, other = load((PIXELS, LABELS)), load((PIXELS, LABELS[::-1]))
    assert one.digest == other.digest
    assert one.labels_digest != other.labels_digest
    assert load(PIXELS).labels_digest is None


def test_equal_samples_with_unequal_labels_have_one_order() -> None:
    same = np.repeat(PIXELS[:1], 3, axis=0)
    for labels in ([2, 0, 1], [1, 2, 0]):
        np.testing.assert_array_equal(load((same, np.array(labels))).in_content_order().labels, [0, 1, 2])


def test_description_is_json_with_the_range_of_each_input() -> None:
    described = json.loads(json.dumps(load((PIXELS, LABELS), preprocessing=Preprocessing(scale="tf")).describe()))
    values = PIXELS.astype(np.float64) / 127.5 - 1
    (image,) = described["inputs"]
    assert image["minimum"] == pytest.approx(values.min())
    assert image["maximum"] == pytest.approx(values.max())
    assert image["mean"] == pytest.approx(values.mean(), abs=1e-7)
    assert image["standard_deviation"] == pytest.approx(values.std(), rel=1e-6)
    assert described["class_counts"] == {"0": 6, "1": 4, "2": 2}
    assert (described["count"], described["labelled"], described["random"]) == (12, True, False)
    assert described["preprocessing"] == {"resize": None, "scale": "tf", "function": ""}


def test_samples_are_a_sequence() -> None:
    samples = load(PIXELS)
    assert len(samples) == 12
    np.testing.assert_array_equal(samples[-1][0], PIXELS[11])
    np.testing.assert_array_equal(np.stack([arrays[0] for arrays in samples]), PIXELS)
    for index in (12, -13):
        with pytest.raises(IndexError):
            samples[index]
    for start, stop in ((12, 13), (-1, 2), (3, 3)):
        with pytest.raises(IndexError):
            samples.block(start, stop)


def test_views_keep_samples_labels_and_facts_together() -> None:
    samples = load((PIXELS, LABELS))
    part = samples.subset([11, 0])
    np.testing.assert_array_equal(part.block(0, 2)[0], PIXELS[[11, 0]])
    np.testing.assert_array_equal(part.labels, [2, 0])
    assert part.digest == load(PIXELS[[0, 11]]).digest
    assert part.describe()["inputs"] == load(PIXELS[[0, 11]]).describe()["inputs"]
    assert len(samples.take(3)) == 3
    assert len(samples.take(99)) == 12
    for indices in ([], [12], [-1]):
        with pytest.raises(DataError):
            samples.subset(indices)


def test_balanced_draw_is_even_and_independent_of_order() -> None:
    samples = load((PIXELS, LABELS))
    assert samples.balanced(6, seed=0).describe()["class_counts"] == {"0": 2, "1": 2, "2": 2}
    assert samples.balanced(9, seed=0).describe()["class_counts"] in (
        {"0": 4, "1": 3, "2": 2},
        {"0": 3, "1": 4, "2": 2},
    )
    shuffled = np.random.default_rng(5).permutation(12)
    other = load((PIXELS[shuffled], LABELS[shuffled]))
    assert samples.balanced(5, seed=1).digest == other.balanced(5, seed=1).digest
    drawn = load((PIXELS, LABELS), limit=5, balanced=True, seed=1)
    assert drawn.digest == load((PIXELS[shuffled], LABELS[shuffled]), limit=5, balanced=True, seed=1).digest
    assert len({samples.balanced(5, seed=seed).digest for seed in range(8)}) > 1


def test_balanced_draw_needs_labels_and_a_number() -> None:
    with pytest.raises(DataError, match="no labels to draw evenly over"):
        load(PIXELS).balanced(4, seed=0)
    with pytest.raises(DataError, match="no labels to draw evenly over"):
        load(PIXELS, limit=4, balanced=True)
    with pytest.raises(UsageError, match="needs a number"):
        load((PIXELS, LABELS), balanced=True)
    with pytest.raises(UsageError, match="0 samples cannot be taken"):
        load(PIXELS, limit=0)


def test_raw_pixels_stay_bytes_in_memory() -> None:
    samples = load(PIXELS, preprocessing=Preprocessing(scale="tf"))
    (column,) = samples.columns
    assert column.rows(np.arange(2)).dtype == np.uint8


def test_large_array_is_let_go_where_few_samples_are_taken() -> None:
    many = np.repeat(PIXELS, 10, axis=0)
    assert load(many, limit=30).columns[0].rows(np.arange(1)).base is None
    assert len(load(many, limit=30).columns[0]) == 30
    drawn = load((many, np.repeat(LABELS, 10)), limit=30, balanced=True)
    assert len(drawn.columns[0]) == 30
    assert drawn.digest == load(drawn.block(0, 30)[0]).digest


def test_values_that_are_not_finite_are_found_by_sample() -> None:
    values = PIXELS.astype(np.float32)
    for bad in (np.nan, np.inf, -np.inf):
        values[7, 1, 2, 0] = bad
        with pytest.raises(DataError, match=f"sample 7 of input image holds {bad}"):
            load(values)
    huge = np.zeros((2, 4, 4, 3))
    huge[1] = 1e300
    with pytest.raises(DataError, match="sample 1 of input image holds inf"):
        load(huge)


@pytest.mark.parametrize(
    ("shape", "problem", "remedy"),
    [
        ((2, 3, 4, 4), "has the shape 3x4x4, .* takes 4x4x3: it looks like channels first", "transpose(0, 2, 3, 1)"),
        ((2, 8, 6, 3), "has the shape 8x6x3, .* takes 4x4x3", "--resize 4"),
        ((2, 4, 4), "grayscale images for a model of colour", "repeat"),
        ((2, 4, 4, 1), "grayscale images for a model of colour", "repeat"),
        ((2, 4, 4, 5), "has the shape 4x4x5", "reshape"),
        ((2, 48), "has the shape 48", "reshape"),
        ((4, 4, 3), "has the shape 4x3", "x[None]"),
    ],
)
def test_wrong_shapes_are_named_with_what_to_do(shape: tuple[int, ...], problem: str, remedy: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        load(np.zeros(shape))
    assert remedy in caught.value.remedy


def test_colour_for_a_grayscale_model_and_channels_first_models_are_recognised() -> None:
    with pytest.raises(DataError, match="colour images for a model of grayscale"):
        load(PIXELS, (InputSpec("image", (1, 4, 4, 1), "float32"),))
    with pytest.raises(DataError, match="the model takes channels first") as caught:
        load(np.zeros((2, 6, 5, 3)), (InputSpec("image", (1, 3, 6, 5), "float32"),))
    assert "transpose(0, 3, 1, 2)" in caught.value.remedy


def test_integer_inputs_take_whole_numbers_in_range_only() -> None:
    tokens = InputSpec("tokens", (1, 3), "int32")
    assert load(np.arange(6.0).reshape(2, 3), (tokens,)).block(0, 2)[0].dtype == np.int32
    for bad in (0.5, 2.0**40, np.nan):
        with pytest.raises(DataError, match="sample 1 of input tokens holds"):
            load(np.array([[0, 1, 2], [0, bad, 1]]), (tokens,))
    with pytest.raises(DataError, match="which bool does not"):
        load(np.array([[2, 0, 1]]), (InputSpec("mask", (1, 3), "bool"),))


def test_raw_pixels_for_a_float_model_are_a_warning_that_names_scale() -> None:
    warnings: list[str] = []
    load(PIXELS, warn=warnings.append)
    assert any("raw values from 0 to 255" in w and "--scale" in w for w in warnings)
    warnings.clear()
    load(PIXELS, preprocessing=Preprocessing(scale="tf"), warn=warnings.append)
    load(PIXELS // 20, warn=warnings.append)
    load(PIXELS.astype(np.float32), warn=warnings.append)
    assert warnings == []


def test_scaling_twice_is_a_warning() -> None:
    warnings: list[str] = []
    load(PIXELS / 255.0, preprocessing=Preprocessing(scale="tf"), warn=warnings.append)
    assert any("scaled already" in w for w in warnings)


def test_constant_input_is_a_warning() -> None:
    inputs = (InputSpec("a", (1, 2), "float32"), InputSpec("b", (1,), "float32"))
    warnings: list[str] = []
    load({"a": np.random.default_rng(0).random((4, 2)), "b": np.full(4, 7.0)}, inputs, warn=warnings.append)
    assert warnings == ["input b is 7 everywhere: nothing can be calibrated on it"]


def test_unlike_ranges_are_warned_of() -> None:
    raw = load(PIXELS).describe()
    scaled = load(PIXELS, preprocessing=Preprocessing(scale="tf")).describe()
    unit = load(PIXELS, preprocessing=Preprocessing(scale="0-1")).describe()
    shifted = load(PIXELS.astype(np.float32) + 300).describe()
    assert range_warnings(raw, raw) == ()
    assert range_warnings(scaled, unit) == ()  # a spread of 2 against 1: within what data may differ by
    (warning,) = range_warnings(scaled, raw)
    assert "spread very unequally" in warning
    assert range_warnings(raw, scaled) != ()
    (warning,) = range_warnings(raw, shifted)
    assert "do not even overlap" in warning


def test_evaluation_samples_among_calibration_samples_are_warned_of() -> None:
    (warning,) = overlap_warnings(load(PIXELS[:8]), load(PIXELS[5:]))
    assert warning.startswith("3 of 7 evaluation samples are calibration samples too")
    assert overlap_warnings(load(PIXELS[:8]), load(PIXELS[8:])) == ()


def test_labels_beyond_the_models_classes_are_refused() -> None:
    samples = load((PIXELS, LABELS))
    check_labels(samples, 3)
    check_labels(load(PIXELS), 1)
    with pytest.raises(DataError, match="label of sample 10 is 2, the model has 2 classes"):
        check_labels(samples, 2)


def test_random_samples_say_so_and_do_not_depend_on_their_number() -> None:
    inputs = (IMAGE, InputSpec("ids", (1, 5), "int32"), InputSpec("pixels", (1, 64), "uint8"))
    samples = random_samples(inputs, 20, seed=3)
    assert samples.random
    assert samples.describe()["random"] is True
    image, ids, pixels = samples.block(0, 20)
    assert (image.dtype, ids.dtype, pixels.dtype) == (np.float32, np.int32, np.uint8)
    assert abs(float(image.mean())) < 5 / math.sqrt(image.size)
    assert set(np.unique(ids)) == {0, 1}
    assert pixels.max() > 200
    np.testing.assert_array_equal(random_samples(inputs, 3, seed=3).block(0, 3)[0], image[:3])
    assert random_samples(inputs, 20, seed=4).digest != samples.digest
    assert not np.array_equal(samples[0][0], samples[1][0])


def test_samples_pass_through_for_the_same_model_only() -> None:
    samples = load((PIXELS, LABELS))
    assert load(samples) is samples
    assert len(load(samples, limit=4)) == 4
    assert load(samples, limit=6, balanced=True).describe()["class_counts"] == {"0": 2, "1": 2, "2": 2}
    with pytest.raises(DataError, match="another model"):
        load(samples, (InputSpec("image", (1, 5, 5, 3), "float32"),))


def test_module_loads_neither_tensorflow_nor_pillow() -> None:
    code = (
        "import sys, bitplan.analyzer.inputs.dataset\n"
        "print([m for m in ('tensorflow', 'keras', 'PIL', 'ai_edge_litert') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cifar_images_load_as_declared(shared: Path) -> None:
    archive = shared / "data" / "cifar10.npz"
    spec = InputSpec("serving_default_input:0", (1, 96, 96, 3), "float32")
    declared = Preprocessing(resize=96, scale="tf")
    samples = load(f"{archive}:x_eval,y_eval", (spec,), declared, limit=300)
    with np.load(archive) as arrays:
        images, labels = arrays["x_eval"][:300], arrays["y_eval"][:300]
    block = samples.block(0, 300)[0]
    assert (block.shape, block.dtype) == ((300, 96, 96, 3), np.float32)
    # At 3x every third pixel falls on a pixel of the original.
    np.testing.assert_allclose(block[:, 1::3, 1::3], images / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(samples.labels, labels)

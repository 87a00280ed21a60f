"""`tf.data` pipelines, TensorFlow's own arithmetic, and data sets of tensorflow-datasets."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

import numpy as np
import pytest
from bitplan.analyzer.errors import DataError
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, Samples, load_samples
from bitplan.analyzer.inputs.preprocessing import resize_bilinear, scale_values

IMAGE = InputSpec("serving_default_image:0", (1, 6, 6, 3), "float32")
RAW = Preprocessing()
X = np.random.default_rng(0).integers(0, 256, (10, 6, 6, 3), np.uint8)
Y = np.arange(10) % 3


@pytest.fixture(scope="module")
def tf() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    return tensorflow


def load(data: Any, preprocessing: Preprocessing = RAW, **options: Any) -> Samples:
    return load_samples(data, [IMAGE], preprocessing, warn=lambda message: None, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target"),
    [((32, 32), (96, 96)), ((32, 32), (224, 224)), ((96, 96), (32, 32)), ((61, 47), (96, 96)), ((500, 333), (96, 96)),
     ((28, 28), (28, 28)), ((96, 96), (1, 5)), ((1, 3), (7, 7)), ((33, 32), (32, 33))],
)  # fmt: skip
def test_resize_is_that_of_tensorflow(tf: Any, source: tuple[int, int], target: tuple[int, int]) -> None:
    images = np.random.default_rng(5).integers(0, 256, (3, *source, 3), np.uint8)
    expected = tf.image.resize(images, target).numpy()
    np.testing.assert_allclose(resize_bilinear(images, target), expected, rtol=0, atol=1e-4)
    real = images.astype(np.float32) / 7
    np.testing.assert_allclose(resize_bilinear(real, target), tf.image.resize(real, target).numpy(), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["tf", "torch"])
def test_scales_are_those_of_keras(tf: Any, mode: str) -> None:
    expected = tf.keras.applications.imagenet_utils.preprocess_input(X.astype(np.float32), mode=mode)
    np.testing.assert_allclose(scale_values(X, mode), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_pipelines_in_every_form_give_the_same_samples(tf: Any) -> None:
    plain = tf.data.Dataset.from_tensor_slices(X)
    pairs = tf.data.Dataset.from_tensor_slices((X, Y))
    hot = tf.data.Dataset.from_tensor_slices((X, np.eye(3, dtype=np.float32)[Y]))
    named = tf.data.Dataset.from_tensor_slices({"image": X, "label": Y})
    weighted = tf.data.Dataset.from_tensor_slices((X, Y, np.ones(10)))
    unlabelled = [plain, plain.batch(4), plain.batch(1)]
    labelled_ones = [pairs, pairs.batch(4), hot, hot.batch(3), named, named.batch(4), weighted.batch(4)]
    for dataset, labelled in [(d, False) for d in unlabelled] + [(d, True) for d in labelled_ones]:
        samples = load(dataset)
        np.testing.assert_array_equal(samples.block(0, 10)[0], X)
        assert samples.columns[0].rows(np.arange(1)).dtype == np.uint8
        if labelled:
            np.testing.assert_array_equal(samples.labels, Y)
        else:
            assert samples.labels is None


@pytest.mark.slow
def test_endless_pipeline_needs_a_number(tf: Any) -> None:
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).repeat().batch(4)
    assert len(load(endless, limit=25)) == 25
    with pytest.raises(DataError, match="never ends"):
        load(endless)


@pytest.mark.slow
def test_pipeline_that_fails_is_reported(tf: Any) -> None:
    failing = tf.data.Dataset.from_tensor_slices(X).map(lambda x: tf.debugging.check_numerics(1 / (x[0, 0, 0] * 0), ""))
    with pytest.raises(DataError, match=r"tf\.data\.Dataset fails after 0 items"):
        load(failing)
    with pytest.raises(DataError, match="holds text, not numbers"):
        load(tf.data.Dataset.from_tensor_slices(["text"] * 3))


@pytest.mark.slow
def test_images_of_unequal_sizes_stream_through_resize(tf: Any) -> None:
    images = [X[0], np.full((9, 4, 3), 8, np.uint8)]
    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64))
    dataset = tf.data.Dataset.from_generator(lambda: iter(zip(images, (0, 1), strict=True)), output_signature=signature)
    samples = load(dataset, Preprocessing(resize=6, scale="tf"))
    np.testing.assert_array_equal(samples.block(0, 2)[0][0], X[0] / np.float32(127.5) - 1)
    np.testing.assert_array_equal(samples.labels, [0, 1])


@pytest.mark.slow
def test_representative_dataset_of_tensors_is_taken(tf: Any) -> None:
    def representative_dataset() -> Any:
        for image in tf.data.Dataset.from_tensor_slices(X).batch(1).take(10):
            yield [tf.cast(image, tf.float32)]

    samples = load(representative_dataset)
    np.testing.assert_array_equal(samples.block(0, 10)[0], X)
    np.testing.assert_array_equal(load((tf.constant(X), tf.constant(Y))).labels, Y)


@pytest.mark.slow
def test_tfds_split_is_opened_as_prepared_and_never_downloaded(tf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for tensorflow-datasets that has the builder's interface and its errors."""
    opened: list[dict[str, Any]] = []

    class Builder:
        def __init__(self, name: str) -> None:
            self.prepared = name == "tiny/plain"
            self.info = types.SimpleNamespace(
                supervised_keys=("picture", "label"), splits={"train": None} if self.prepared else {}
            )

        def as_dataset(self, **options: Any) -> Any:
            opened.append(options)
            if not self.prepared:
                raise AssertionError("Dataset x: could not find data in /somewhere. Please make sure to call ...")
            if options["split"] != "train":
                raise ValueError("Unknown split 'test'. Should be one of ['train'].")
            return tf.data.Dataset.from_tensor_slices({"picture": X, "id": Y + 100, "label": Y})

    module = types.ModuleType("tensorflow_datasets")
    module.builder = Builder
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    samples = load("tfds:tiny/plain/train")
    np.testing.assert_array_equal(samples.block(0, 10)[0], X)
    np.testing.assert_array_equal(samples.labels, Y)
    assert opened == [{"split": "train", "shuffle_files": False}]
    with pytest.raises(DataError, match="Unknown split 'test'") as caught:
        load("tfds:tiny/plain/test")
    assert caught.value.remedy == "take one of its splits: train"
    with pytest.raises(DataError, match="could not find data") as caught:
        load("tfds:absent/train")
    assert "download_and_prepare" in caught.value.remedy

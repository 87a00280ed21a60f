"""What holds for any samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, Samples, load_samples
from bitplan.analyzer.inputs.labels import draw_evenly
from bitplan.analyzer.inputs.preprocessing import resize_bilinear
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SPEC = InputSpec("image", (1, 3, 5, 3), "float32")
arrays = st.integers(1, 12).flatmap(lambda n: hnp.arrays(np.uint8, (n, 3, 5, 3), elements=st.integers(0, 255)))


def load(data: Any, preprocessing: Preprocessing = Preprocessing()) -> Samples:  # noqa: B008 (frozen)
    return load_samples(data, [SPEC], preprocessing, warn=lambda message: None)


@given(arrays, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_digest_and_content_order_do_not_depend_on_the_order_given(values: np.ndarray, random: Any) -> None:
    order = list(range(len(values)))
    random.shuffle(order)
    one, other = load(values), load(values[order])
    assert one.digest == other.digest
    np.testing.assert_array_equal(
        one.in_content_order().block(0, len(one))[0], other.in_content_order().block(0, len(one))[0]
    )
    assert one.describe()["inputs"] == other.describe()["inputs"]


@given(arrays)
@settings(max_examples=40, deadline=None)
def test_content_order_is_sorted_by_hash_and_complete(values: np.ndarray) -> None:
    samples = load(values)
    assert sorted(samples.order.tolist()) == list(range(len(values)))
    hashes = samples.in_content_order().facts.hashes
    assert list(hashes) == sorted(hashes)
    assert samples.in_content_order().order.tolist() == list(range(len(values)))


@given(arrays, st.integers(1, 13), st.sampled_from(["raw", "tf", "torch", "0-1"]))
@settings(max_examples=40, deadline=None)
def test_blocks_joined_are_the_whole(values: np.ndarray, size: int, scale: str) -> None:
    samples = load(values, Preprocessing(scale=scale))
    joined = np.concatenate([block[0] for block in samples.blocks(size)])
    np.testing.assert_array_equal(joined, samples.block(0, len(samples))[0])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 9))
@settings(deadline=None)
def test_balanced_counts_differ_by_at_most_one_where_classes_suffice(classes: list[int], count: int, seed: int) -> None:
    labels = np.array(classes, np.int64)
    chosen = draw_evenly(labels, count, seed, lambda position: position.to_bytes(4, "little"))
    assert len(chosen) == min(count, len(labels))
    assert sorted(set(chosen.tolist())) == chosen.tolist()
    there = np.bincount(labels, minlength=6)
    drawn = np.bincount(labels[chosen], minlength=6)
    assert (drawn <= there).all()
    # A class that still had samples to give may be at most one behind the largest.
    willing = drawn < there
    if willing.any():
        assert drawn.max() - drawn[willing].min() <= 1


@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 20), st.integers(1, 20)), st.data())
@settings(max_examples=60, deadline=None)
def test_resizing_stays_within_the_image_and_ignores_what_is_beside_it(
    source: tuple[int, int], target: tuple[int, int], data: Any
) -> None:
    images = data.draw(hnp.arrays(np.uint8, (2, *source, 2), elements=st.integers(0, 255)))
    resized = resize_bilinear(images, target)
    assert resized.shape == (2, *target, 2)
    assert (resized >= images.min(axis=(1, 2), keepdims=True) - 1e-3).all()
    assert (resized <= images.max(axis=(1, 2), keepdims=True) + 1e-3).all()
    np.testing.assert_array_equal(resized[1], resize_bilinear(images[1], target))
    if source == target:
        np.testing.assert_array_equal(resized, images)

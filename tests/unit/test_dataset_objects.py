"""Samples from Python objects, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bitplan.analyzer.errors import DataError
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, Samples, load_samples

IMAGE = InputSpec("serving_default_image:0", (1, 4, 4, 3), "float32")
TWO = (InputSpec("serving_default_a:0", (1, 4), "float32"), InputSpec("serving_default_b:0", (1, 2, 3), "float32"))
RAW = Preprocessing()
X = np.random.default_rng(0).standard_normal((6, 4, 4, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])
A = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
B = np.random.default_rng(2).standard_normal((6, 2, 3)).astype(np.float32)


def load(data: Any, inputs: Any = (IMAGE,), **options: Any) -> Samples:
    return load_samples(data, inputs, RAW, warn=lambda message: None, **options)


def batches(size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, 6, size):
        yield X[start : start + size], Y[start : start + size]


class Batches:
    """Has a length and items but no iterator, and answers beyond its end: like a Keras data set."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        (X, False),
        ((X, Y), True),
        ((X, None), False),
        (([X], Y), True),
        ((list(X), Y), True),
        ({"image": X}, False),
        ({"image": X, "label": Y}, True),
        (({"image": X}, Y), True),
        ({"anything": X, "y": Y}, True),
        (list(X), False),
        ([[x[None]] for x in X], False),
        ([{"image": x[None], "label": y} for x, y in zip(X, Y, strict=True)], True),
        ([(x, y) for x, y in zip(X, Y, strict=True)], True),
        ([(x, y, 1.0) for x, y in zip(X, Y, strict=True)], True),
        (lambda: ([x[None]] for x in X), False),
        (lambda: ({"serving_default_image:0": x[None]} for x in X), False),
        (lambda: (("serving_default", {"image": x[None]}) for x in X), False),
        (lambda: (X, Y), True),
        (lambda: X, False),
        (lambda: batches(4), True),
        (Batches(), True),
        ((X.tolist(), Y.tolist()), True),
        ((X, np.eye(3)[Y]), True),
        ((X, Y[:, None].astype(np.float64)), True),
        (X[:, None], False),
    ],
)
def test_every_form_gives_the_same_samples(data: Any, labelled: bool) -> None:
    samples = load(data)
    np.testing.assert_array_equal(samples.block(0, 6)[0], X)
    if labelled:
        np.testing.assert_array_equal(samples.labels, Y)
    else:
        assert samples.labels is None
    assert samples.digest == load(X).digest


@pytest.mark.parametrize(
    "data",
    [
        {"a": A, "b": B},
        {"serving_default_b:0": B, "serving_default_a:0": A},
        [A, B],
        ([A, B], Y),
        lambda: ([a[None], b[None]] for a, b in zip(A, B, strict=True)),
        lambda: ({"b": b[None], "a": a[None]} for a, b in zip(A, B, strict=True)),
        lambda: ((a, b) for a, b in zip(A, B, strict=True)),
        lambda: (((a, b), y) for a, b, y in zip(A, B, Y, strict=True)),
        lambda: iter([({"a": A[:4], "b": B[:4]}, Y[:4]), ({"a": A[4:], "b": B[4:]}, Y[4:])]),
    ],
)
def test_several_inputs_find_their_places(data: Any) -> None:
    a, b = load(data, TWO).block(0, 6)
    np.testing.assert_array_equal(a, A)
    np.testing.assert_array_equal(b, B)


def test_generators_are_read_no_further_than_the_limit() -> None:
    def endless() -> Iterator[list[np.ndarray]]:
        index = 0
        while True:
            yield [X[index % 6][None]]
            index += 1

    assert len(load(endless, limit=9)) == 9
    np.testing.assert_array_equal(load(lambda: batches(4), limit=5).labels, Y[:5])


def test_generator_that_reuses_its_buffer_still_gives_its_samples() -> None:
    def reuse() -> Iterator[list[np.ndarray]]:
        buffer = np.empty((1, 4, 4, 3), np.float32)
        for x in X:
            buffer[0] = x
            yield [buffer]

    np.testing.assert_array_equal(load(reuse).block(0, 6)[0], X)


def test_equal_samples_are_warned_of() -> None:
    warnings: list[str] = []
    load_samples(np.repeat(X[:1], 5, axis=0), [IMAGE], RAW, warn=warnings.append)
    assert any("all 5 samples" in w and "are equal" in w for w in warnings)


def test_grayscale_batches_without_a_channel_dimension_are_batches() -> None:
    gray = InputSpec("image", (1, 4, 4, 1), "float32")
    values = np.random.default_rng(0).random((6, 4, 4), np.float32)
    for data in (values, [values[:4], values[4:]], list(values), values[..., None], values[:, None]):
        np.testing.assert_array_equal(load(data, (gray,)).block(0, 6)[0][..., 0], values)


def test_whole_shape_is_the_sample_where_the_leading_dimension_is_not_one() -> None:
    spec = InputSpec("x", (2, 3), "float32")
    assert load(B, (spec,)).block(0, 6)[0].shape == (6, 2, 3)
    assert load(lambda: ([b] for b in B), (spec,)).block(0, 6)[0].shape == (6, 2, 3)


def test_dynamic_dimensions_take_any_size() -> None:
    spec = InputSpec("x", (1, -1, 3), "float32")
    assert load(B, (spec,)).block(0, 6)[0].shape == (6, 2, 3)
    with pytest.raises(DataError, match="unequal shapes"):
        load([B[0], np.zeros((5, 3), np.float32)], (spec,))


@pytest.mark.parametrize(
    ("data", "inputs", "problem"),
    [
        (np.zeros((0, 4, 4, 3)), (IMAGE,), "holds no samples"),
        ([], (IMAGE,), "gives no samples"),
        (iter(()), (IMAGE,), "gives no samples"),
        (3, (IMAGE,), "cannot be read out of a int"),
        (np.float32(3), (IMAGE,), "a single value"),
        (X[0], (IMAGE,), "sample 0 has the shape 4x3, .* takes 4x4x3"),
        (np.array([["a"]]), (IMAGE,), "holds text, not numbers"),
        (X.astype(complex), (IMAGE,), "holds complex numbers"),
        ((X, Y, Y), (IMAGE,), "tuple of 3"),
        (lambda: load, (IMAGE,), "returns a function"),
        (A, TWO, "one array was given, the model has 2 inputs"),
        ({"a": A}, TWO, "no array named serving_default_b:0; it has a"),
        ({"a": A, "b": B[:5]}, TWO, "unequal numbers of samples: serving_default_a:0 6, serving_default_b:0 5"),
        (lambda: ([a[None]] for a in A), TWO, "has 1 arrays, the model has 2 inputs"),
        ([[X[:2], X[:2]]], (IMAGE,), "has 2 arrays, the model has 1 inputs"),
        ([(X[0], 1), X[1]], (IMAGE,), "1 of 2 samples"),
        ([(X[:4], Y[:3])], (IMAGE,), "has 4 samples and labels 3"),
        ([(X[0], 1), (X[1], [0, 1])], (IMAGE,), "labels have unequal shapes"),
        (lambda: 1 / 0, (IMAGE,), "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_not_samples_is_refused_with_a_remedy(data: Any, inputs: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        load(data, inputs)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (Y[:5], "6 samples and 5 labels"),
        (3, "6 samples and one label"),
        (Y - 1, "label 0 is -1"),
        (Y + 0.5, "label 0 is 0.5, not an integer"),
        (np.where(Y == 2, np.nan, Y), "label 2 is nan, not an integer"),
        (np.full((6, 3), 1 / 3), "3 values a sample and are not one-hot"),
        (np.array(list("abcdef")), "not class indices"),
    ],
)
def test_labels_that_are_no_class_indices_are_refused(labels: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        load((X, labels))

"""Samples that are changed before they are learned from."""

from __future__ import annotations

import numpy as np
from bitplan.strategies.repair.augmentation import NO_AUGMENTATION, Augmentation

IMAGES = np.random.default_rng(0).normal(size=(64, 1, 16, 24, 3)).astype(np.float32)


def changed(augmentation, images=IMAGES, seed=0):
    return augmentation.apply(images, np.random.default_rng(seed))


def test_half_of_the_images_are_mirrored():
    found = changed(Augmentation(flips=True, shift=0.0))
    same = [np.array_equal(a, b) for a, b in zip(found, IMAGES, strict=True)]
    mirrored = [np.array_equal(a, b[..., ::-1, :]) for a, b in zip(found, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 20 < sum(mirrored) < 44


def test_images_are_moved_by_whole_pixels_and_their_border_repeated():
    found = changed(Augmentation(flips=False, shift=0.125))
    moves = set()
    for after, before in zip(found[:, 0], IMAGES[:, 0], strict=True):
        padded = np.pad(before, ((2, 2), (3, 3), (0, 0)), "edge")
        places = [
            (down, right) for down in range(5) for right in range(7)
            if np.array_equal(after, padded[down : down + 16, right : right + 24])
        ]  # fmt: skip
        assert len(places) == 1
        moves.add(places[0])
    assert {down for down, _ in moves} == set(range(5)), "up to an eighth of 16 pixels, both ways"
    assert {right for _, right in moves} == set(range(7))


def test_only_colour_images_are_changed():
    whole = Augmentation()
    assert whole.fitting([(1, 16, 16, 3)], ["float32"]) == whole
    for shapes in ([(1, 16, 16, 1)], [(1, 40)], [(1, 16, 16, 3), (1, 4)], []):
        assert whole.fitting(shapes, ["float32"] * len(shapes)) == NO_AUGMENTATION
    assert whole.fitting([(1, 16, 16, 3)], ["int32"]) == NO_AUGMENTATION
    assert not NO_AUGMENTATION.changes_anything


def test_the_same_chance_gives_the_same_samples_and_leaves_the_originals_alone():
    before = IMAGES.copy()
    np.testing.assert_array_equal(changed(Augmentation()), changed(Augmentation()))
    assert not np.array_equal(changed(Augmentation()), changed(Augmentation(), seed=1))
    np.testing.assert_array_equal(IMAGES, before)

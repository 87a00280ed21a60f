"""Float networks for timing: MobileNetV2-like ones of 50, 100 and 200 equal ops, and MobileNetV2 itself at 224 pixels.

Their weights are random, their answers mean nothing; but BatchNorm has the statistics of the values that it sees, so
that no activation dies or explodes on the way through 200 ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.silence import silenced

SIZE = 32
"""Height and width of the images that `mobilenet_like` takes."""

_ENDS = 4
"""Ops outside the blocks: stem, mean, dense, softmax."""
_CALIBRATION_IMAGES = 16


def mobilenet_like(ops: int, *, width: int = 24, expansion: int = 4, classes: int = 10, seed: int = 0) -> bytes:
    """A float `.tflite` of exactly `ops` TFLite ops: see `mobilenet_like_keras`.

    Returns:
      The same bytes for the same arguments and versions.
    """
    model = mobilenet_like_keras(ops, width=width, expansion=expansion, classes=classes, seed=seed)
    return load_float(model).flatbuffer


def mobilenet_like_keras(ops: int, *, width: int = 24, expansion: int = 4, classes: int = 10, seed: int = 0) -> Any:
    """A stem and inverted residual blocks that all have the same shape, so that a network's cost goes with its ops.

    A block with its residual add is four ops. Where that does not come out, up to three of the first blocks have no
    add and are three ops, like the first block of MobileNetV2 (Sandler et al. 2018).

    Args:
      ops: TFLite ops after conversion, softmax included; at least 13, or 7, 8, 10, 11 or 12.
      width: Channels between blocks; the images are `[32, 32, 3]`, the blocks work on 16 x 16 pixels.
      expansion: Channels inside a block, in widths.
      classes: Of the softmax.
      seed: Of weights and BatchNorm parameters.

    Returns:
      A `keras.Model`, BatchNorm not folded.

    Raises:
      ValueError: No such network has that number of ops.
    """
    without_add = -(ops - _ENDS) % 4
    with_add = (ops - _ENDS - 3 * without_add) // 4
    if with_add < 0 or with_add + without_add < 1:
        raise ValueError(f"no network of whole blocks has {ops} ops")
    with silenced(2):
        model = _assembled([False] * without_add + [True] * with_add, width, expansion, classes)
        _initialise(model, random_images(_CALIBRATION_IMAGES, SIZE, seed=seed), seed)
    return model


def mobilenetv2_224(*, seed: int = 0) -> bytes:
    """A float `.tflite` of `keras.applications.MobileNetV2` with random weights; takes `[1, 224, 224, 3]` in [-1, 1].

    Returns:
      The same bytes for the same seed and versions.
    """
    with silenced(2):
        import keras

        keras.utils.clear_session()  # one layer gets its name from a counter of the process
        image = keras.Input((224, 224, 3), name="image")
        model = keras.applications.MobileNetV2(weights=None, input_tensor=image, name="mobilenetv2_224")
        _initialise(model, random_images(_CALIBRATION_IMAGES, 224, seed=seed), seed)
    return load_float(model).flatbuffer


def random_images(count: int, size: int, *, seed: int = 0) -> np.ndarray:
    """Noise in several octaves, so that neighbouring pixels are alike as in photographs.

    Args:
      size: Height and width in pixels; a multiple of 16.

    Returns:
      float32 `[count, size, size, 3]` in [-1, 1].
    """
    rng = np.random.default_rng(seed)
    images = np.zeros((count, size, size, 3), np.float32)
    for cell in (16, 8, 4, 2, 1):
        coarse = rng.standard_normal((count, size // cell, size // cell, 3), np.float32)
        images += coarse.repeat(cell, 1).repeat(cell, 2) * np.float32(cell / 16)
    return np.tanh(images)


def _assembled(adds: Sequence[bool], width: int, expansion: int, classes: int) -> Any:
    """The network with one block for each of `adds`, which says whether the block has a residual add."""
    import keras
    from keras import layers

    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Conv2D(width, 3, 2, "same", use_bias=False, name="stem")(image)
    x = _normalised(x, "stem")
    for block, has_add in enumerate(adds):
        name = f"block_{block}"
        y = layers.Conv2D(width * expansion, 1, use_bias=False, name=f"{name}_expand")(x)
        y = _normalised(y, f"{name}_expand")
        y = layers.DepthwiseConv2D(3, 1, "same", use_bias=False, name=f"{name}_depthwise")(y)
        y = _normalised(y, f"{name}_depthwise")
        y = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(y)
        y = layers.BatchNormalization(name=f"{name}_project_bn")(y)
        x = layers.Add(name=f"{name}_add")([x, y]) if has_add else y
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, activation="softmax", name="classes")(x)
    return keras.Model(image, x, name="mobilenet_like")


def _normalised(x: Any, name: str) -> Any:
    from keras import layers

    return layers.ReLU(6.0, name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))


def _initialise(model: Any, images: np.ndarray, seed: int) -> None:
    """He-normal kernels (He et al. 2015), unequal BatchNorm channels, and the statistics of one batch of images.

    BatchNorm is trained for one step without momentum: each layer then holds the mean and variance of what it sees
    behind layers that are normalised likewise.
    """
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in ("Conv2D", "DepthwiseConv2D", "Dense"):
            kernel, *bias = layer.get_weights()
            readers = 1 if kind == "DepthwiseConv2D" else kernel.shape[-2]
            fan_in = readers * int(np.prod(kernel.shape[:-2]))
            layer.set_weights([rng.normal(0.0, np.sqrt(2.0 / fan_in), kernel.shape), *bias])
        elif kind == "BatchNormalization":
            layer.momentum = 0.0
            _, _, *statistics = layer.get_weights()
            gamma = rng.lognormal(0.0, 0.5, statistics[0].shape)
            layer.set_weights([gamma, rng.normal(0.0, 0.5, gamma.shape), *statistics])
    model(tf.constant(images), training=True)

"""Trains a network that is no classifier: an autoencoder for small colour images, as a float `.tflite`.

    python benchmarks/autoencoder.py cifar10.npz:x_unlabelled autoencoder.tflite [--epochs 12]
    bitplan analyze autoencoder.tflite --calibration cifar10.npz:x_unlabelled --evaluation cifar10.npz:x_eval \\
        --scale tf --out analyzed
    python benchmarks/ladder.py analyzed --json ladder.json --plans w8a8,w4a8

Images come in as `--scale tf` makes them, -1 to 1, and leave so. Blocks of depthwise and pointwise convolutions with
BatchNorm and ReLU6, as in the networks that quantization hurts. The same arguments and versions give the same file.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.silence import import_tensorflow

_BATCH = 64
_CODE_CHANNELS = 12
"""Of the code, 8 x 8 pixels: a quarter of what comes in."""


def autoencoder(seed: int) -> Any:
    """An untrained `keras.Model` from images [32, 32, 3] to images of the same shape."""
    import_tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)

    def block(x: Any, channels: int, stride: int) -> Any:
        y = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(x)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        y = layers.Conv2D(channels, 1, use_bias=False)(y)
        return layers.ReLU(6.0)(layers.BatchNormalization()(y))

    images = x = layers.Input((32, 32, 3))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(32, 3, 1, "same", use_bias=False)(x)))
    x = block(block(x, 64, 2), 96, 2)
    x = layers.Conv2D(_CODE_CHANNELS, 1, name="code")(x)
    x = block(layers.UpSampling2D(2)(block(x, 96, 1)), 64, 1)
    x = block(layers.UpSampling2D(2)(x), 32, 1)
    return keras.Model(images, layers.Conv2D(3, 3, 1, "same", name="image")(x))


def trained(images: np.ndarray, epochs: int, seed: int) -> Any:
    """An autoencoder that has learned from images, float32 [N, 32, 32, 3], -1 to 1."""
    tf = import_tensorflow()
    import keras

    tf.config.experimental.enable_op_determinism()
    model = autoencoder(seed)
    steps = epochs * (len(images) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.fit(images, images, _BATCH, epochs, verbose=2)
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="FILE.npz:ARRAY, uint8 [N, 32, 32, 3]")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    path, _, name = given.data.rpartition(":")
    with np.load(path) as archive:
        images = archive[name].astype(np.float32) / 127.5 - 1
    given.out.write_bytes(load_float(trained(images, given.epochs, given.seed)).flatbuffer)


if __name__ == "__main__":
    main()

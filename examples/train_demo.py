"""Trains the network that `bitplan demo` analyses, and packs it with its data.

A MobileNetV2-style classifier (inverted residuals, depthwise convolutions, ReLU6) for Fashion-MNIST, trained from
scratch on the CPU. Writes `fashion_mobilenet.tflite` and `data.npz` into `analyzer/demo/`.

    apt-get install dataset-fashion-mnist
    python examples/train_demo.py --minutes 20

`--minutes` is CPU time of the training loop, all cores together. The last 2000 training images are never trained on:
the 256 calibration images come from them. The evaluation images are the first 2000 of the test set, which nothing here
looks at before the closing line.
"""

from __future__ import annotations

import argparse
import gzip
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATASET = pathlib.Path("/usr/share/datasets/fashion-mnist")
HELD_BACK = 2000
CALIBRATION = 256
EVALUATION = 2000
BATCH = 128
PEAK_RATE = 6e-3


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Reads a gzipped IDX file of unsigned bytes (LeCun's MNIST format)."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def inverted_residual(x: keras.KerasTensor, out: int, stride: int, name: str, expansion: int = 4) -> keras.KerasTensor:
    """MobileNetV2's block (Sandler et al. 2018): expand, depthwise, project, add where the shapes allow."""
    channels = x.shape[-1]
    y = layers.Conv2D(channels * expansion, 1, use_bias=False, name=f"{name}_expand")(x)
    y = layers.BatchNormalization(name=f"{name}_expand_bn")(y)
    y = layers.ReLU(6.0, name=f"{name}_expand_relu")(y)
    y = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"{name}_depthwise")(y)
    y = layers.BatchNormalization(name=f"{name}_depthwise_bn")(y)
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = layers.Conv2D(out, 1, use_bias=False, name=f"{name}_project")(y)
    y = layers.BatchNormalization(name=f"{name}_project_bn")(y)
    if stride == 1 and channels == out:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def build() -> keras.Model:
    """28x28x1 in [-1, 1] to 10 logits behind a softmax."""
    inputs = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    plan = [(16, 1), (24, 1), (24, 1), (40, 2), (40, 1), (40, 1), (64, 1), (64, 1), (96, 2), (96, 1)]
    for index, (out, stride) in enumerate(plan):
        x = inverted_residual(x, out, stride, f"block_{index}")
    x = layers.Conv2D(192, 1, use_bias=False, name="head")(x)
    x = layers.BatchNormalization(name="head_bn")(x)
    x = layers.ReLU(6.0, name="head_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="fashion")


def prepare(images: np.ndarray) -> np.ndarray:
    """uint8 [n, 28, 28] to float32 [n, 28, 28, 1] in [-1, 1]: `--scale tf`."""
    return (images[..., None].astype(np.float32) / 127.5 - 1.0).astype(np.float32)


def augment(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.image.random_flip_left_right(image)
    image = tf.pad(image, [[2, 2], [2, 2], [0, 0]], constant_values=-1.0)
    return tf.image.random_crop(image, [28, 28, 1]), label


class CpuMinutes(keras.callbacks.Callback):
    """Cosine decay over a budget of CPU time, and a stop at its end."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self.seconds = minutes * 60
        self.start = time.process_time()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        share = min((time.process_time() - self.start) / self.seconds, 1.0)
        warm = min(share / 0.03, 1.0)
        self.model.optimizer.learning_rate = PEAK_RATE * warm * (0.5 + 0.5 * np.cos(np.pi * share)) + 1e-6
        if share >= 1.0:
            self.model.stop_training = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "analyzer" / "demo")
    args = parser.parse_args()
    keras.utils.set_random_seed(args.seed)

    train_x = read_idx(DATASET / "train-images-idx3-ubyte.gz")
    train_y = read_idx(DATASET / "train-labels-idx1-ubyte.gz")
    test_x = read_idx(DATASET / "t10k-images-idx3-ubyte.gz")
    test_y = read_idx(DATASET / "t10k-labels-idx1-ubyte.gz")
    held_x, held_y = train_x[-HELD_BACK:], train_y[-HELD_BACK:]
    train_x, train_y = train_x[:-HELD_BACK], train_y[:-HELD_BACK]

    data = tf.data.Dataset.from_tensor_slices((prepare(train_x), train_y.astype(np.int32)))
    data = data.shuffle(len(train_x), seed=args.seed).map(augment, num_parallel_calls=2).batch(BATCH, True).prefetch(2)
    model = build()
    optimizer = keras.optimizers.AdamW(PEAK_RATE, weight_decay=2e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data, epochs=10_000, verbose=2, callbacks=[CpuMinutes(args.minutes)])
    print("held back:", model.evaluate(prepare(held_x), held_y, verbose=0)[1])

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "fashion_mobilenet.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    np.savez_compressed(
        args.out / "data.npz",
        x_calibration=held_x[:CALIBRATION, ..., None],
        y_calibration=held_y[:CALIBRATION],
        x_eval=test_x[:EVALUATION, ..., None],
        y_eval=test_y[:EVALUATION],
    )
    print("all 10000 test images:", model.evaluate(prepare(test_x), test_y, verbose=0)[1])
    print({path.name: path.stat().st_size for path in args.out.iterdir()})


if __name__ == "__main__":
    main()

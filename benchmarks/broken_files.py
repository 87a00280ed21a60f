"""Six files broken on purpose, audited: is the mistake that was planted the first cause that the audit names?

    python benchmarks/broken_files.py MODELS cifar10.npz [--samples 128] [--images 1000] [--others] [--json FILE]

MODELS is a folder with `mobilenetv2_cifar10_96.tflite` and `.keras`, and `public/` with ResNet8 and the MNIST network.
Calibration images are `x_unlabelled`, evaluation images the first of `x_eval`. With `--others` it audits files that
people really have, too: TensorFlow's own int8 conversion and the quantized companions in `public/`. Prints a Markdown
table; exits 1 where a planted cause does not come first.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import bitplan as bp
import numpy as np
from bitplan.analyzer.schema import Audit, Interval
from bitplan.analyzer.serialize import to_jsonable
from bitplan.analyzer.silence import import_tensorflow, silenced

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from broken_networks import RESIZE, SCALE, Broken, Maker  # beside this file, not in the package

_COMPANIONS = (
    ("ResNet8, somebody's int8", "resnet8_cifar10_float.tflite", "resnet8_cifar10_int8.tflite"),
    ("MNIST, int8", "conv_fc_mnist.tflite", "conv_fc_mnist_srq_a8w8.tflite"),
    ("MNIST, partly quantized", "conv_fc_mnist.tflite", "partly_quantized_mnist.tflite"),
)


@dataclass(frozen=True)
class Audited:
    """One file with what its audit found.

    Attributes:
      planted: The cause that was planted; "" where nobody planted any.
      right: Whether it was named first; None where nothing was planted.
      seconds: That the audit took.
    """

    name: str
    planted: str
    right: bool | None
    audit: Audit
    seconds: float


class Bench:
    """The models, the data and how many images to take.

    Args:
      models: Folder of the models.
      data: CIFAR-10 as `.npz`.
      samples: Calibration images that causes are measured on.
      images: Evaluation images.
    """

    def __init__(self, models: pathlib.Path, data: pathlib.Path, samples: int, images: int) -> None:
        with np.load(data) as arrays:
            self._x, self._y = arrays["x_eval"][:images], arrays["y_eval"][:images]
            self._unlabelled = arrays["x_unlabelled"]
        self._models, self._samples = models, samples
        self._float = models / "mobilenetv2_cifar10_96.tflite"

    def broken(self) -> Iterator[Audited]:
        """The six files."""
        keras, small = self._models / "mobilenetv2_cifar10_96.keras", self._models / "public" / _COMPANIONS[0][1]
        maker = Maker(self._float.read_bytes(), str(keras), str(small), self._unlabelled[:256])
        for make in maker.files().values():
            yield self._audit_broken(make())

    def others(self) -> Iterator[Audited]:
        """Files that nobody broke."""
        options = {"resize": str(RESIZE), "scale": SCALE}
        converted = tensorflow_int8(self._models / "mobilenetv2_cifar10_96.keras", self._unlabelled[:256])
        yield self._audit("TensorFlow's int8", str(self._float), converted, **options)
        for name, parent, child in _COMPANIONS:
            public = self._models / "public"
            images = self._cifar() if "cifar10" in parent else _made_up(self._samples)
            yield self._audit(name, str(public / parent), (public / child).read_bytes(), images)

    def _audit_broken(self, broken: Broken) -> Audited:
        options = {} if broken.small else {"resize": str(RESIZE), "scale": SCALE}
        images = self._cifar() if broken.has_classes else {**self._cifar(), "evaluation": self._x}
        return self._audit(
            broken.name, broken.float_model, broken.quantized, images, planted=broken.planted, layer=broken.layer,
            **options,
        )  # fmt: skip

    def _cifar(self) -> dict[str, Any]:
        return {"evaluation": (self._x, self._y), "calibration": self._unlabelled}

    def _audit(
        self, name: str, parent: str | bytes, child: bytes, images: dict[str, Any] | None = None, *,
        planted: str = "", layer: str = "", **options: Any,
    ) -> Audited:  # fmt: skip
        start = time.perf_counter()
        found = bp.audit(parent, child, samples=self._samples, what_to_do=False, **(images or self._cifar()), **options)
        seconds = time.perf_counter() - start
        first = found.causes[0] if found.causes else None
        right = first is not None and first.name == planted and (not layer or first.layer == layer) if planted else None
        return Audited(name, planted, right, found, seconds)


def tensorflow_int8(path: pathlib.Path, images: np.ndarray) -> bytes:
    """TensorFlow's own int8 conversion of the benchmark network, float input and output.

    Args:
      path: The network as Keras has it.
      images: uint8, calibration images.
    """
    tf = import_tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.models.load_model(path, compile=False))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]

    def representative() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [tf.image.resize(image[None].astype(np.float32), (RESIZE, RESIZE)).numpy() / 127.5 - 1]

    converter.representative_dataset = representative
    with silenced(1):  # the names of all tensors, hundreds of lines
        return bytes(converter.convert())


def _made_up(count: int) -> dict[str, Any]:
    """Images of the MNIST network's shape that nobody labelled: what is known of it without its data."""
    rng = np.random.default_rng(0)
    strokes = rng.random((2 * count, 28, 28, 1), np.float32) * (rng.random((2 * count, 28, 28, 1)) < 0.2)
    return {"evaluation": strokes[:count].astype(np.float32), "calibration": strokes[count:].astype(np.float32)}


def table(audited: Sequence[Audited]) -> str:
    """Markdown: a row for each file and each of its first three causes."""
    lines = [
        "| file | drop, points | planted | named | layer | share of error | accuracy recovered | |",
        "|" + "---|" * 8,
    ]
    for one in audited:
        drop = _interval(one.audit.evaluation.drop_points)
        for place, cause in enumerate(one.audit.causes[:3] or ()):
            head = (one.name, drop, one.planted) if place == 0 else ("", "", "")
            mark = {None: "", True: "right", False: "WRONG"}[one.right] if place == 0 else ""
            share = "" if cause.share_of_error is None else f"{100 * cause.share_of_error:.1f} %"
            gain = _interval(cause.accuracy_recovered) + (
                f" (n = {cause.accuracy_samples})" if cause.accuracy_samples else ""
            )
            lines.append(f"| {' | '.join((*head, cause.name, cause.layer, share, gain, mark))} |")
        if not one.audit.causes:
            lines.append(f"| {one.name} | {drop} | {one.planted} | none | | | | {'WRONG' if one.planted else ''} |")
    return "\n".join(lines)


def _interval(figure: Interval | None) -> str:
    return "" if figure is None else f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--others", action="store_true", help="audit files that nobody broke, too")
    parser.add_argument("--json", type=pathlib.Path, help="write everything that was found here")
    given = parser.parse_args(arguments)

    bench, audited = Bench(given.models, given.data, given.samples, given.images), list[Audited]()
    for files in (bench.broken(), bench.others() if given.others else ()):
        for one in files:
            audited.append(one)
            print(f"{one.name}: {one.seconds:.0f} s", file=sys.stderr)
    print(table(audited))
    if given.json:
        with tempfile.NamedTemporaryFile("w", dir=given.json.parent, delete=False, encoding="utf-8") as file:
            json.dump({one.name: to_jsonable(one) for one in audited}, file, indent=2)
        pathlib.Path(file.name).replace(given.json)
    sys.exit(1 if any(one.right is False for one in audited) else 0)


if __name__ == "__main__":
    main()

"""Quantized files with one thing wrong on purpose, made of a float network: what an audit has to find.

Each is what somebody's mistake gives: the float network is the one that is audited, the file has the mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.inputs.dataset import Preprocessing, Samples, input_specs, load_samples
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.network import flatbuffer as fb
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import Calibration, Graph, Plan
from bitplan.analyzer.silence import import_tensorflow
from bitplan.strategies.assignment.choices import uniform_schemes

RESIZE, SCALE = 96, "tf"
"""What the benchmark network was trained with."""

SPOILED_LAYER = "block_6_expand"
"""A layer in the middle of MobileNetV2 whose scale is multiplied."""

_BOX_SIDE = 640.0


@dataclass(frozen=True, eq=False)
class Broken:
    """A float model and a quantized file of it with one mistake.

    Attributes:
      planted: The cause, as the audit names it.
      layer: Where it was planted; "" for the whole network.
      has_classes: Whether the output scores classes, so that labels can judge it.
      small: Whether it is the small network, which takes images as they are.
    """

    name: str
    planted: str
    float_model: bytes
    quantized: bytes
    layer: str = ""
    has_classes: bool = True
    small: bool = False


class Maker:
    """Makes the files.

    Args:
      data: The float flatbuffer: MobileNetV2 on images of 96 x 96.
      keras_path: The same network as Keras has it.
      small_path: A small float network that takes the same images as they are: ResNet8.
      images: uint8 [n, height, width, 3], at least 256: what calibration images are taken from.
    """

    def __init__(self, data: bytes, keras_path: str, small_path: str, images: np.ndarray) -> None:
        self._data, self._graph = data, build_graph(data)
        self._keras_path, self._small_path, self._images = keras_path, small_path, images
        self._calibration = calibrate(data, self._graph, self._samples(SCALE))

    def files(self) -> Mapping[str, Callable[[], Broken]]:
        """What makes each file, by the file's name."""
        return {
            "wrong range": self.wrong_range,
            "one image": self.one_image,
            "per-tensor weights": self.per_tensor,
            "swapped channels": self.swapped_channels,
            "scale times 4": self.scale_times_4,
            "boxes and scores": self.boxes_and_scores,
        }

    def wrong_range(self) -> Broken:
        """Calibrated on pixels of 0..255 where the network takes -1..1: the scaling was forgotten."""
        calibration = calibrate(self._data, self._graph, self._samples("raw"))
        return self._broken("wrong range", "calibration_unlike_evaluation", self._int8(calibration))

    def half_range(self) -> Broken:
        """Calibrated on pixels of 0..1 where the network takes -1..1."""
        calibration = calibrate(self._data, self._graph, self._samples("0-1"))
        return self._broken("half the range", "calibration_unlike_evaluation", self._int8(calibration))

    def one_image(self) -> Broken:
        """Calibrated on a single image.

        Of another network: in MobileNetV2 ReLU6 bounds most ranges, and one image does almost as well as many.
        """
        data = load_float(self._small_path, warn=lambda _: None).flatbuffer
        graph = build_graph(data)
        samples = self._samples("raw", 1, graph, resize=None)
        return Broken(
            "one image", "too_few_samples", data, _int8(data, graph, calibrate(data, graph, samples)), small=True
        )

    def per_tensor(self) -> Broken:
        """One scale for all channels of every layer's weights."""
        schemes = [scheme.name for scheme in uniform_schemes(self._graph, "w8a8")]
        plan = Plan.bare(self._graph, schemes, per_channel=False)
        file = convert(self._data, self._graph, self._calibration, plan).model
        return self._broken("per-tensor weights", "per_tensor_weights", file)

    def swapped_channels(self) -> Broken:
        """A good conversion of a network that takes blue, green, red; the float network takes red, green, blue.

        On swapped images all of its activations are those of the float network, so they have the same ranges.
        """
        model = fb.read(self._data)
        first = next(op for op in self._graph.ops if op.weights is not None)
        tensor = model.subgraphs[0].tensors[first.weights]
        fb.set_constant(model, tensor, np.ascontiguousarray(fb.constant(model, tensor)[..., ::-1]))
        swapped = fb.write(model)
        return self._broken(
            "swapped channels", "channel_order", _int8(swapped, build_graph(swapped), self._calibration)
        )

    def scale_times_4(self) -> Broken:
        """The scales of one layer's weights multiplied by 4."""
        model = fb.read(self._int8(self._calibration))
        layer = next(op for op in self._graph.ops if op.layer == SPOILED_LAYER)
        name = self._graph.tensors[layer.weights].name
        tensor = next(t for t in model.subgraphs[0].tensors if fb.text(t.name) == name)
        tensor.quantization.scale = np.asarray(tensor.quantization.scale, np.float32) * np.float32(4)
        return self._broken("scale times 4", "scale_corrupted", fb.write(model), SPOILED_LAYER)

    def boxes_and_scores(self) -> Broken:
        """A head of a detector: four coordinates in pixels and the scores of all classes in one output tensor."""
        data = detection_head(self._keras_path)
        graph = build_graph(data)
        file = _int8(data, graph, calibrate(data, graph, self._samples(SCALE)))
        return Broken("boxes and scores", "mixed_range_output", data, file, has_classes=False)

    def sound(self) -> bytes:
        """The file without a mistake."""
        return self._int8(self._calibration)

    def _int8(self, calibration: Calibration) -> bytes:
        return _int8(self._data, self._graph, calibration)

    def _broken(self, name: str, planted: str, file: bytes, layer: str = "") -> Broken:
        return Broken(name, planted, self._data, file, layer)

    def _samples(
        self, scale: str, count: int = 256, graph: Graph | None = None, resize: int | None = RESIZE
    ) -> Samples:  # fmt: skip
        preprocessing = Preprocessing(resize=resize, scale=scale)
        specs = input_specs(graph or self._graph)
        return load_samples(self._images, specs, preprocessing, limit=count, warn=lambda _: None).in_content_order()


def detection_head(keras_path: str) -> bytes:
    """The network's scores, and four coordinates that its features are projected on, in one output [1, 4 + classes].

    Coordinates run from 0 to 640 (pixels of an image of that side), scores from 0 to 1.
    """
    tf = import_tensorflow()
    network = tf.keras.models.load_model(keras_path, compile=False)
    scores = network.output
    features = network.layers[-1].input
    projection = np.random.default_rng(0).normal(0, 1 / np.sqrt(features.shape[-1]), (features.shape[-1], 4))
    dense = tf.keras.layers.Dense(4, activation="sigmoid", name="box_logits")
    places = tf.keras.layers.Rescaling(_BOX_SIDE, name="boxes")(dense(features))
    dense.set_weights([projection, np.zeros(4)])
    joined = tf.keras.layers.Concatenate(name="detections")([places, scores])
    return load_float(tf.keras.Model(network.input, joined), warn=lambda _: None).flatbuffer


def _int8(data: bytes, graph: Graph, calibration: Calibration) -> bytes:
    schemes = [scheme.name for scheme in uniform_schemes(graph, "w8a8")]
    return convert(data, graph, calibration, Plan.bare(graph, schemes)).model

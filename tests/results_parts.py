"""What made-up results start from: a network of MobileNetV2's shape without any weights, and where a run came from."""

from __future__ import annotations

import dataclasses
import math

from bitplan.analyzer.schema import Graph, Op, Provenance, Tensor

FLOAT_BYTES = 8_927_672


class Builder:
    """Collects tensors and ops of a chain with residual adds."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []

    def tensor(self, name: str, shape: tuple[int, ...], constant: bool = False) -> int:
        index = len(self.tensors)
        self.tensors.append(Tensor(index, name, shape, "float32", index if constant else None))
        return index

    def op(self, opcode: str, layer: str, inputs: list[int], shape: tuple[int, ...], **more: object) -> int:
        """Adds an op with one output and gives that output."""
        index = len(self.ops)
        out = self.tensor(f"{layer}/out", shape)
        self.ops.append(
            Op(index, f"{index}:{opcode}:{'x'.join(map(str, shape))}", opcode, layer, tuple(inputs), (out,), **more)
        )
        return out

    def conv(
        self,
        layer: str,
        source: int,
        channels: int,
        size: int,
        kernel: int = 1,
        relu6: bool = False,
        last: tuple[str, ...] = (),
    ) -> int:
        depth = self.tensors[source].shape[-1]
        weights = self.tensor(f"{layer}/kernel", (channels, kernel, kernel, depth), True)
        bias = self.tensor(f"{layer}/bias", (channels,), True)
        kinds = (
            "pointwise" if kernel == 1 else "convolution",
            *last,
            *(("relu6",) if relu6 else ()),
            "batchnorm folded",
        )
        return self.op(
            "CONV_2D", layer, [source, weights, bias], (1, size, size, channels),
            weights=weights, bias=bias, channel_axis=0,
            activation="RELU6" if relu6 else "NONE", kinds=kinds, macs=size * size * channels * depth * kernel * kernel,
            schemes=("w4a8", "w4a16", "w8a8", "w8a16", "w16a8", "w16a16", "float"),
        )  # fmt: skip

    def depthwise(self, layer: str, source: int, size: int) -> int:
        depth = self.tensors[source].shape[-1]
        weights = self.tensor(f"{layer}/kernel", (1, 3, 3, depth), True)
        bias = self.tensor(f"{layer}/bias", (depth,), True)
        return self.op(
            "DEPTHWISE_CONV_2D", layer, [source, weights, bias], (1, size, size, depth),
            weights=weights, bias=bias, channel_axis=3,
            activation="RELU6", kinds=("depthwise", "relu6", "batchnorm folded"), macs=size * size * depth * 9,
            schemes=("w8a8", "w8a16", "w16a8", "w16a16", "float"),
        )  # fmt: skip


def mobilenet_graph() -> Graph:
    """65 ops: 35 CONV_2D, 17 DEPTHWISE_CONV_2D, 10 ADD, MEAN, FULLY_CONNECTED, SOFTMAX."""
    b = Builder()
    plain = ("w8a8", "w8a16", "float")
    source = b.tensor("serving_default_image:0", (1, 96, 96, 3))
    x = b.conv("Conv1", source, 32, 48, 3, relu6=True, last=("first",))
    size, block = 48, 0
    for expansion, channels, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            name, before = f"block_{block}" if block else "expanded_conv", x
            step = stride if repeat == 0 else 1
            if expansion != 1:
                x = b.conv(f"{name}_expand", x, b.tensors[x].shape[-1] * expansion, size, relu6=True)
            size = math.ceil(size / step)
            x = b.depthwise(f"{name}_depthwise", x, size)
            x = b.conv(f"{name}_project", x, channels, size)
            if repeat:
                x = b.op(
                    "ADD", f"{name}_add", [before, x], (1, size, size, channels), kinds=("residual add",), schemes=plain
                )
            block += 1
    x = b.conv("Conv_1", x, 1280, size, relu6=True)
    x = b.op("MEAN", "global_average_pooling2d", [x], (1, 1280), kinds=("pooling",), schemes=plain)
    weights, bias = b.tensor("predictions/kernel", (10, 1280), True), b.tensor("predictions/bias", (10,), True)
    logits = b.op(
        "FULLY_CONNECTED", "predictions", [x, weights, bias], (1, 10), weights=weights, bias=bias, channel_axis=0,
        kinds=("fully connected", "last"), macs=12_800,
        schemes=("w4a8", "w4a16", "w8a8", "w8a16", "w16a8", "w16a16", "float"),
    )  # fmt: skip
    out = b.op("SOFTMAX", "softmax", [logits], (1, 10), kinds=("activation",), schemes=plain)
    return Graph(tuple(b.tensors), tuple(b.ops), (source,), (out,), (logits,), True, "f1" * 32, FLOAT_BYTES)


def described(source: str, samples: int, digest: str) -> dict[str, object]:
    """Data as a run records it."""
    entry = {
        "name": "image",
        "shape": [96, 96, 3],
        "dtype": "float32",
        "minimum": -1.0,
        "maximum": 1.0,
        "mean": -0.052,
        "standard_deviation": 0.497,
    }
    return {
        "source": source, "random": False, "preprocessing": {"resize": [96, 96], "scale": "tf", "function": ""},
        "count": samples, "labelled": False, "digest": digest * 32, "labels_digest": "", "inputs": [entry],
        "class_counts": {}, "class_names": [], "notes": [],
    }  # fmt: skip


def provenance(**more: object) -> Provenance:
    """Of the benchmark run."""
    base = Provenance(
        "bitplan run mobilenetv2_cifar10_96.keras --calibration cifar10.npz:x_unlabelled"
        " --evaluation cifar10.npz:x_eval,y_eval --resize 96 --scale tf --size-budget 2.80MB --out out",
        0,
        {"bitplan": "0.1.0", "tensorflow": "2.21.0", "ai-edge-litert": "2.3.0", "litert-quantizer": "0.11.0"},
        "mobilenetv2_cifar10_96.keras",
        "b2" * 32,
        described("cifar10.npz:x_unlabelled", 256, "c3"),
        {
            **described("cifar10.npz:x_eval,y_eval", 5000, "a1"),
            "labelled": True, "class_counts": {str(c): 488 + c for c in range(10)},
        },
        (),
        {
            "calibration_s": 2.41, "sensitivity_s": 58.2, "plan_s": 0.62, "verify_s": 31.4, "peak_rss_bytes": 1.412e9,
            "latency_float_ms": 5.31, "latency_int8_ms": 2.04, "latency_plan_ms": 2.37,
        },
    )  # fmt: skip
    return dataclasses.replace(base, **more)

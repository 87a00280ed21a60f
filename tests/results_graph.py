"""A made-up network for the tests of reports: the shape of MobileNetV2 on CIFAR-10, without any weights."""

from __future__ import annotations

import math

from bitplan.analyzer.schema import Graph, Op, Tensor

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

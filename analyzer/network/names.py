"""Layer names for people, parsed from the tensor names that TensorFlow's converter leaves behind.

A fused op's tensor is named after all it was made of, joined by `;`, each part a path:
`net_1/relu_1/Relu6;net_1/bn_1/batchnorm/add_1;net_1/conv_1/convolution`. Keras 3 appends `_1` to every scope.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_OWN_PART = {
    "CONV_2D": ("convolution", "Conv2D"),
    "DEPTHWISE_CONV_2D": ("depthwise", "convolution"),
    "FULLY_CONNECTED": ("MatMul", "Tensordot"),
    "TRANSPOSE_CONV": ("conv_transpose", "conv2d_transpose"),
    "ADD": ("add", "Add", "AddV2"),
}
_BATCHNORM = re.compile(r"batch_?norm|FusedBatchNorm|(^|[/_])bn([/_0-9]|$)|_BN(_|/|$)", re.IGNORECASE)


def parts(name: str) -> list[list[str]]:
    """A joined tensor name as its parts, each a list of path components."""
    return [part.split("/") for part in name.split(";") if part]


def keras3_scopes(names: Sequence[str]) -> bool:
    """Whether every layer's scope ends in `_1`, which is Keras 3's doing and not part of the layers' names."""
    scopes = [path[1] for name in names for path in parts(name) if len(path) >= 3]
    return bool(scopes) and all(scope.endswith("_1") for scope in scopes)


def layer_name(opcode: str, output: str, weights: str | None, *, strip: bool) -> str:
    """The Keras layer behind an op; the output tensor's own name where no path can be parsed.

    Args:
      opcode: TFLite's name of the op.
      output: Name of its first output tensor.
      weights: Name of its weights tensor; more telling than the output's where there is one.
      strip: Whether to drop Keras 3's `_1` (see `keras3_scopes`).
    """
    endings = _OWN_PART.get(opcode, ())
    for name in (weights, output):
        for path in parts(name or ""):
            if len(path) >= 2 and path[-1] in endings:
                return _clean(path[-2], strip)
    if output.startswith(("StatefulPartitionedCall", "Identity", "PartitionedCall")):
        return opcode.lower()  # the converter names outputs after its own plumbing
    first = next(iter(parts(output)), [output])
    if len(first) >= 3:
        return _clean(first[1], strip)
    return _clean(first[-2], strip) if len(first) == 2 else output


def batchnorm_folded(*names: str) -> bool:
    """Whether a BatchNorm layer's name is among the parts."""
    return any(_BATCHNORM.search(name) for name in names)


def _clean(scope: str, strip: bool) -> str:
    return scope.removesuffix("_1") if strip else scope

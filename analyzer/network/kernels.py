"""Which schemes LiteRT and litert-quantizer have for which op.

The lists follow litert-quantizer 0.11's default policy; a test holds them against the installed one. Ops are missing on
purpose where a kernel does not exist or is known to be wrong (`tests/integration/test_conversion_fuzz.py` runs others):

- int16: no kernel for SQUARED_DIFFERENCE, HARD_SWISH; none is offered.
- Depthwise with 4-bit weights and 16-bit activations runs and returns garbage; the quantizer's policy forbids depthwise
  w4a8 too, so depthwise has no 4-bit scheme at all.
- RELU6, LEAKY_RELU, PRELU, MINIMUM and others that the quantizer does not know stay float.
"""

from __future__ import annotations

WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})

CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""Axis of the weights along which int8 weights have a scale each (TFLite's quantization specification)."""

WEIGHTS_INPUT = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
BIAS_INPUT = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
DATA_INPUT = {"TRANSPOSE_CONV": 2}
"""Position of the activation among an op's inputs, where it is not 0."""

MOVEMENT = frozenset({
    "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "PAD", "MAX_POOL_2D", "RESIZE_NEAREST_NEIGHBOR",
    "UNPACK", "BROADCAST_TO", "GATHER", "MIRROR_PAD", "SPACE_TO_DEPTH",
})  # fmt: skip
"""Ops that move values and compute none: their quantized output has its input's scale, so they add no error."""

KEEPS_SCALE = MOVEMENT | {"AVERAGE_POOL_2D", "RESIZE_BILINEAR", "REDUCE_MIN"}
"""Ops whose quantized output has its input's scale, whatever its own range is; those that compute do add an error."""

_INT8 = WEIGHTED | MOVEMENT | {
    "ADD", "SUB", "MUL", "DIV", "AVERAGE_POOL_2D", "MEAN", "SUM", "REDUCE_MIN", "SOFTMAX", "LOGISTIC", "TANH", "GELU",
    "HARD_SWISH", "RSQRT", "SQRT", "SQUARED_DIFFERENCE", "MAXIMUM", "CONCATENATION", "PACK", "PADV2",
    "RESIZE_BILINEAR", "BATCH_MATMUL", "RELU",
}  # fmt: skip
_NO_INT16 = frozenset({"SQUARED_DIFFERENCE", "HARD_SWISH", "SPACE_TO_DEPTH"})
_INT4_WEIGHTS = frozenset({"CONV_2D", "FULLY_CONNECTED"})
SPLIT = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_FUSED = frozenset({"NONE", "RELU", "RELU6", "RELU_N1_TO_1"})


def schemes_for(opcode: str, *, fused_activation: str = "NONE", constant_weights: bool = True) -> tuple[str, ...]:
    """Names of the schemes that exist for an op, narrowest first, `float` last.

    Args:
      opcode: TFLite's name.
      fused_activation: TFLite's name; integer kernels know only clamps.
      constant_weights: Whether the weights of a conv-like op are constants; computed weights have no per-channel scale.
    """
    if opcode not in _INT8 or fused_activation not in _FUSED:
        return ("float",)
    if opcode not in WEIGHTED:
        return ("w8a8", "float") if opcode in _NO_INT16 else ("w8a8", "w8a16", "float")
    if not constant_weights:
        return ("float",)
    names = ["w4a8", "w4a16"] if opcode in _INT4_WEIGHTS else []
    names += ["w8a8", "w8a16"]
    names += ["w16a8", "w16a16"] if opcode in SPLIT else []
    return (*names, "float")


def refusal(opcode: str, *, fused_activation: str = "NONE", constant_weights: bool = True) -> str:
    """Why an op has no integer scheme; "" where it has one."""
    if schemes_for(opcode, fused_activation=fused_activation, constant_weights=constant_weights) != ("float",):
        return ""
    if opcode not in _INT8:
        return f"litert-quantizer has no integer {opcode}"
    if fused_activation not in _FUSED:
        return f"no integer kernel fuses {fused_activation}"
    return "its weights are computed, not constant"

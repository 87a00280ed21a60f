"""Reading and writing TFLite flatbuffers as mutable objects (`ModelT` of the generated schema).

The only place that knows where a buffer's bytes lie: since schema v3c they may stand *behind* the flatbuffer, which old
runtimes and TFLite Micro read as garbage without an error. `read` takes both, `write` always puts them inside.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np

from ..errors import UnsupportedModel

_DTYPES = {
    "FLOAT32": "float32", "FLOAT16": "float16", "FLOAT64": "float64", "INT8": "int8", "UINT8": "uint8",
    "INT16": "int16", "UINT16": "uint16", "INT32": "int32", "UINT32": "uint32", "INT64": "int64", "UINT64": "uint64",
    "BOOL": "bool", "STRING": "string", "COMPLEX64": "complex64", "COMPLEX128": "complex128", "RESOURCE": "resource",
    "VARIANT": "variant", "INT4": "int4", "INT2": "int2", "BFLOAT16": "bfloat16",
}  # fmt: skip


_BUFFER_ALIGNMENT = 16

_PLACEHOLDER_CODE = 127
"""`deprecatedBuiltinCode` of operators that its 8 bits cannot hold (TFLite's schema)."""


def schema() -> Any:
    """The generated schema module (`OperatorT`, `TensorT`, `BuiltinOperator` ...)."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def read(data: bytes) -> Any:
    """Parses a flatbuffer into a `ModelT` whose buffers all hold their own uint8 arrays.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    if len(data) < 8 or data[4:8] != b"TFL3":
        raise UnsupportedModel("this is not a TFLite model: the identifier TFL3 is missing", "give a .tflite file")
    try:
        model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    except Exception as error:  # the generated reader raises whatever a damaged offset leads to
        raise UnsupportedModel(f"the .tflite file is damaged: {error}", "export the model again") from error
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return model


def has_external_buffers(data: bytes) -> bool:
    """Whether buffers lie behind the flatbuffer."""
    packed = schema().Model.GetRootAs(bytearray(data), 0)
    return any(packed.Buffers(i).Offset() > 1 for i in range(packed.BuffersLength()))


def write(model: Any) -> bytes:
    """Serializes a `ModelT`, every buffer inside the flatbuffer; the same model gives the same bytes.

    What litert-quantizer emits is put in order on the way: readers older than schema v3a find every operator code, of
    which they know no field but `deprecatedBuiltinCode`; and border tensors get short names. It calls what QUANTIZE or
    DEQUANTIZE writes `<whole name of what they read>_quantized` or `_dequant`, up to 400 bytes each. They become `b0`,
    `b1` ..., and an output behind a border op takes back the name of the float model's output.

    Args:
      model: Its names and codes are changed in place.
    """
    for code in model.operatorCodes:
        code.deprecatedBuiltinCode = min(max(code.builtinCode, code.deprecatedBuiltinCode), _PLACEHOLDER_CODE)
    for subgraph in model.subgraphs:
        _shorten_names(model, subgraph)
    made = builder()
    made.Finish(model.Pack(made), file_identifier=b"TFL3")
    return bytes(made.Output())


def _shorten_names(model: Any, subgraph: Any) -> None:
    tensors, enum = subgraph.tensors, schema().BuiltinOperator
    made_by = {enum.QUANTIZE: "_quantized", enum.DEQUANTIZE: "_dequant"}
    suffixes = {k: made_by[c.builtinCode] for k, c in enumerate(model.operatorCodes) if c.builtinCode in made_by}
    read_by_border: dict[int, int] = {}
    for op in subgraph.operators or ():
        suffix = suffixes.get(op.opcodeIndex)
        if suffix is not None:
            source, made = int(op.inputs[0]), int(op.outputs[0])
            if text(tensors[made].name) == text(tensors[source].name) + suffix:
                read_by_border[made] = source
    names = {text(tensor.name) for k, tensor in enumerate(tensors or ()) if k not in read_by_border}
    fresh = (name for k in itertools.count() if (name := f"b{k}") not in names)
    for made in sorted(read_by_border):
        tensors[made].name = next(fresh).encode()
    for made in dict.fromkeys(int(t) for t in subgraph.outputs or ()):
        if made in read_by_border:
            inner, outer = tensors[read_by_border[made]], tensors[made]
            inner.name, outer.name = outer.name, inner.name


def builder() -> Any:
    """A flatbuffer builder that aligns the values of buffers to 16 bytes and stores equal zero points once.

    The schema demands the alignment (`force_align: 16`), the generated Python code does not do it, and a
    microcontroller may stop at an int64 that lies anywhere else.

    Weights and biases have an int64 zero point of 0 for every channel, some 9 % of an int8 MobileNetV2. A flatbuffer
    may point at one vector from many tables, and a reader cannot tell.
    """
    import flatbuffers

    zeros: dict[int, int] = {}

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]  # the package has no types
        def CreateNumpyVector(self, x: np.ndarray) -> int:
            if x.dtype == np.int64 and x.size > 1 and not x.any():
                if x.size not in zeros:
                    zeros[x.size] = int(super().CreateNumpyVector(x))
                return zeros[x.size]
            if x.dtype != np.uint8 or x.ndim != 1:
                return int(super().CreateNumpyVector(x))
            self.StartVector(1, x.size, _BUFFER_ALIGNMENT)
            self.head -= x.size
            self.Bytes[self.head : self.head + x.size] = x.tobytes()
            return int(self.EndVector())

    return Aligned(1024)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def text(name: bytes | str | None) -> str:
    """A flatbuffer string as `str`; undecodable bytes become U+FFFD."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else (name or "")


def opcode_name(model: Any, op: Any) -> str:
    """TFLite's name of an operator, e.g. `CONV_2D`; `CUSTOM:name` for a custom one."""
    code = model.operatorCodes[op.opcodeIndex]
    value = max(code.builtinCode, code.deprecatedBuiltinCode)
    if value == schema().BuiltinOperator.CUSTOM:
        return f"CUSTOM:{text(code.customCode)}"
    return _name(schema().BuiltinOperator, value)


def dtype_name(tensor: Any) -> str:
    """numpy's name of a tensor's type, e.g. `float32`; `int4` and the like stay TFLite's."""
    upper = _name(schema().TensorType, tensor.type)
    return _DTYPES.get(upper, upper.lower())


def constant(model: Any, tensor: Any) -> np.ndarray | None:
    """The values of a constant tensor in its own shape and dtype, None for an activation.

    Read-only. int4 tensors come as int8, one element a value.
    """
    raw = model.buffers[tensor.buffer].data if tensor.buffer else None
    if raw is None:
        return None
    dtype = dtype_name(tensor)
    shape = tuple(tensor.shape) if tensor.shape is not None else ()
    if dtype == "int4":
        low = (raw.astype(np.int8) << 4) >> 4
        high = raw.astype(np.int8) >> 4
        count = int(np.prod(shape, dtype=np.int64))
        return np.stack([low, high], -1).reshape(-1)[:count].reshape(shape)
    return np.frombuffer(raw.tobytes(), dtype).reshape(shape)


def set_constant(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Gives `tensor` a new buffer of its own that holds `values`, little-endian, in their own dtype."""
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1


def _name(enum: Any, value: int) -> str:
    return next((name for name, number in vars(enum).items() if number == value), f"UNKNOWN_{value}")

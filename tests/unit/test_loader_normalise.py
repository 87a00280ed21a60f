"""What is mended in a float .tflite, each trap in a flatbuffer of its own; values are checked on the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.inputs.normalise import normalise
from bitplan.analyzer.network import flatbuffer as fb

X = np.array([[0.5, -1.25, 3.0, -0.125]], np.float32)
WEIGHTS = np.array([[1.0, 2.0, -0.5, 0.25], [0.1, -3.0, 0.7, 1.5]], np.float32)


def names_of(data: bytes) -> list[str]:
    return [fb.text(tensor.name) for tensor in fb.read(data).subgraphs[0].tensors]


def opcodes(data: bytes) -> list[str]:
    model = fb.read(data)
    return [fb.opcode_name(model, op) for op in model.subgraphs[0].operators]


def shapes_of(data: bytes) -> dict[str, tuple[list[int], object]]:
    return {fb.text(t.name): (t.shape, t.shapeSignature) for t in fb.read(data).subgraphs[0].tensors}


def relu(tiny, source: str = "x", target: str = "y") -> bytes:
    x, y = tiny.input(source, [1, 4]), tiny.tensor(target, [1, 4])
    return tiny.data(tiny.op("RELU", [x], [y]))


def test_operator_codes_of_old_files_move_to_the_new_field(tiny, run_tiny):
    relu(tiny)
    tiny.model.operatorCodes[0].builtinCode = 0  # what a reader of the new field takes for ADD
    mended = normalise(tiny.data())
    code = fb.read(mended.flatbuffer).operatorCodes[0]
    assert (code.builtinCode, code.deprecatedBuiltinCode) == (tiny.schema.BuiltinOperator.RELU,) * 2
    assert "operator codes of 1 kind of op" in mended.notes[0]
    np.testing.assert_array_equal(run_tiny(mended.flatbuffer, X)[0], np.maximum(X, 0))


def test_operator_codes_above_127_keep_their_value(tiny, run_tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4])
    tiny.op("SIGN", [x], [y])
    tiny.model.operatorCodes[0].deprecatedBuiltinCode = 0
    mended = normalise(tiny.data(y))
    code = fb.read(mended.flatbuffer).operatorCodes[0]
    assert (code.builtinCode, code.deprecatedBuiltinCode) == (tiny.schema.BuiltinOperator.SIGN, 127)
    np.testing.assert_array_equal(run_tiny(mended.flatbuffer, X)[0], np.sign(X))


def test_a_missing_signature_is_added_with_the_tensors_plain_names(tiny):
    mended = normalise(relu(tiny, "serving_default_image:0", "model/relu/Relu;model/relu/more"))
    signature = fb.read(mended.flatbuffer).signatureDefs[0]
    assert signature.signatureKey == b"serving_default"
    assert [(e.name, e.tensorIndex) for e in signature.inputs] == [(b"image", 0)]
    assert [(e.name, e.tensorIndex) for e in signature.outputs] == [(b"model/relu/Relu", 1)]
    assert "signature added: image, model/relu/Relu" in mended.notes


def test_a_signature_that_leaves_an_input_out_is_replaced(tiny):
    a, b, y = tiny.input("a:0", [1, 4]), tiny.input("a:1", [1, 4]), tiny.tensor("y", [1, 4])
    tiny.op("ADD", [a, b], [y])
    tiny.signature("serving_default", {"a": a}, {"y": y})
    signature = fb.read(normalise(tiny.data(y)).flatbuffer).signatureDefs[0]
    assert [e.name for e in signature.inputs] == [b"a", b"a_1"]


def test_two_signatures_of_the_same_function_become_one(tiny):
    data = relu(tiny)
    for key in ("serve", "serving_default"):
        tiny.signature(key, {"x": 0}, {"y": 1})
    mended = normalise(tiny.data())
    assert [s.signatureKey for s in fb.read(mended.flatbuffer).signatureDefs] == [b"serving_default"]
    assert data != tiny.data() and any("serve is the same function" in note for note in mended.notes)


def test_tensor_names_become_unique_and_the_first_bearer_keeps_its_own(tiny):
    x, a, b = tiny.input("same", [1, 4]), tiny.tensor("same", [1, 4]), tiny.tensor("same_1", [1, 4])
    c, d = tiny.tensor("", [1, 4]), tiny.tensor("same", [1, 4])
    for source, target in ((x, a), (a, b), (b, c), (c, d)):
        tiny.op("RELU", [source], [target])
    assert names_of(normalise(tiny.data(d)).flatbuffer) == ["same", "same_2", "same_1", "tensor_3", "same_3"]


def test_float16_weights_are_folded_to_float32_and_stay_shared(tiny, run_tiny):
    half = WEIGHTS.astype(np.float16)
    x, w = tiny.input("x", [1, 4]), tiny.constant("w", half)
    twin = tiny.tensor("w_again", half.shape, "float16")
    tiny.graph.tensors[twin].buffer = tiny.graph.tensors[w].buffer
    single = [tiny.tensor(f"w32_{k}", half.shape) for k in range(2)]
    y, z = tiny.tensor("y", [1, 2]), tiny.tensor("z", [1, 2])
    for k, source in enumerate((w, twin)):
        tiny.op("DEQUANTIZE", [source], [single[k]])
    tiny.op("FULLY_CONNECTED", [x, single[0], -1], [y])
    tiny.op("FULLY_CONNECTED", [x, single[1], -1], [z])
    mended = normalise(tiny.data(y, z))
    model = fb.read(mended.flatbuffer)
    assert opcodes(mended.flatbuffer) == ["FULLY_CONNECTED"] * 2
    assert "2 float16 weights folded to float32" in mended.notes
    constants = [t for t in model.subgraphs[0].tensors if t.buffer]
    assert len(constants) == 2 and len({t.buffer for t in constants}) == 1
    np.testing.assert_array_equal(fb.constant(model, constants[0]), half.astype(np.float32))
    for output in run_tiny(mended.flatbuffer, X):
        np.testing.assert_allclose(output, X @ half.astype(np.float32).T, rtol=1e-6)


def test_float16_arithmetic_becomes_float32(tiny, run_tiny):
    half, single = tiny.schema.TensorType.FLOAT16, tiny.schema.TensorType.FLOAT32
    x, low, one = tiny.input("x", [1, 4]), tiny.tensor("low", [1, 4], "float16"), np.ones(4, np.float16)
    total, y = tiny.tensor("total", [1, 4], "float16"), tiny.tensor("y", [1, 4])
    tiny.op("CAST", [x], [low], inDataType=single, outDataType=half)
    tiny.op("ADD", [low, tiny.constant("one", one)], [total])
    tiny.op("CAST", [total], [y], inDataType=half, outDataType=single)
    mended = normalise(tiny.data(y))
    assert opcodes(mended.flatbuffer) == ["ADD"]
    assert "2 float16 activations made float32" in mended.notes
    np.testing.assert_array_equal(run_tiny(mended.flatbuffer, X)[0], X + 1)


def test_scales_on_float_tensors_are_dropped(tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [1, 4], scale=[0.5])
    mended = normalise(tiny.data(tiny.op("RELU", [x], [y])))
    assert fb.read(mended.flatbuffer).subgraphs[0].tensors[1].quantization is None
    assert "meaningless scales of 1 float32 tensor dropped" in mended.notes


def test_squeeze_and_expand_dims_become_reshape_with_the_same_values(tiny, run_tiny):
    x, axis = tiny.input("x", [1, 4]), tiny.constant("axis", np.array(1, np.int32))
    wide, narrow = tiny.tensor("wide", [1, 1, 4]), tiny.tensor("narrow", [4])
    tiny.op("EXPAND_DIMS", [x, axis], [wide])
    tiny.op("SQUEEZE", [wide], [narrow], squeezeDims=[0, 1])
    mended = normalise(tiny.data(narrow))
    assert opcodes(mended.flatbuffer) == ["RESHAPE", "RESHAPE"]
    np.testing.assert_array_equal(run_tiny(mended.flatbuffer, X)[0], X[0])
    assert len(set(names_of(mended.flatbuffer))) == len(names_of(mended.flatbuffer))


def test_a_squeeze_to_a_scalar_stays_what_it_is(tiny, run_tiny):
    x, y = tiny.input("x", [1, 1]), tiny.tensor("y", [])
    mended = normalise(tiny.data(tiny.op("SQUEEZE", [x], [y])))
    assert opcodes(mended.flatbuffer) == ["SQUEEZE"]
    assert run_tiny(mended.flatbuffer, np.full((1, 1), 7, np.float32))[0] == 7


def open_batch(tiny) -> int:
    """x [-1, 2, 3] -> SHAPE -> STRIDED_SLICE -> PACK with 6 -> RESHAPE to [batch, 6]."""
    x = tiny.input("x", [1, 2, 3], signature=[-1, 2, 3])
    ends = [tiny.constant(name, np.array([value], np.int32)) for name, value in (("b", 0), ("e", 1), ("s", 1))]
    shape, batch = tiny.tensor("shape", [3], "int32"), tiny.tensor("batch", [], "int32")
    packed, y = tiny.tensor("packed", [2], "int32"), tiny.tensor("y", [1, 1], signature=[-1, -1])
    tiny.op("SHAPE", [x], [shape], outType=tiny.schema.TensorType.INT32)
    tiny.op("STRIDED_SLICE", [shape, *ends], [batch], shrinkAxisMask=1)
    tiny.op("PACK", [batch, tiny.constant("six", np.array(6, np.int32))], [packed], valuesCount=2)
    return tiny.op("RESHAPE", [x, packed], [y])


def test_an_open_batch_is_pinned_and_the_shapes_computed_from_it_are_folded(tiny, run_tiny):
    mended = normalise(tiny.data(open_batch(tiny)))
    assert opcodes(mended.flatbuffer) == ["RESHAPE"]
    assert "open batch dimension set to 1" in mended.notes
    assert "3 shape computations folded to constants" in mended.notes
    shapes = shapes_of(mended.flatbuffer)
    assert shapes["x"] == ([1, 2, 3], None) and shapes["y"] == ([1, 6], None)
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(run_tiny(mended.flatbuffer, values)[0], values.reshape(1, 6))


def test_a_batch_recorded_as_larger_is_pinned_to_one_through_the_whole_graph(tiny):
    x, y = tiny.input("x", [8, 4], signature=[-1, 4]), tiny.tensor("y", [8, 4], signature=[-1, 4])
    shapes = shapes_of(normalise(tiny.data(tiny.op("RELU", [x], [y]))).flatbuffer)
    assert shapes == {"x": ([1, 4], None), "y": ([1, 4], None)}


def test_a_static_batch_stays(tiny):
    x, y = tiny.input("x", [3, 4]), tiny.tensor("y", [3, 4])
    mended = normalise(tiny.data(tiny.op("RELU", [x], [y])))
    assert shapes_of(mended.flatbuffer)["y"] == ([3, 4], None)


def test_wrongly_recorded_shapes_are_replaced_by_the_interpreters(tiny):
    x, y = tiny.input("x", [1, 4]), tiny.tensor("y", [])
    assert shapes_of(normalise(tiny.data(tiny.op("RELU", [x], [y]))).flatbuffer)["y"] == ([1, 4], None)


def test_another_open_dimension_is_refused_with_its_tensor_and_signature(tiny):
    x, y = tiny.input("image", [1, 1, 3], signature=[-1, -1, 3]), tiny.tensor("y", [1, 1, 3])
    with pytest.raises(UnsupportedModel, match=r"tensor image .* shape_signature \[-1, -1, 3\]"):
        normalise(tiny.data(tiny.op("RELU", [x], [y])))


def test_a_shape_that_depends_on_the_data_is_refused_by_name(tiny):
    x, y = tiny.input("x", [1, 4], "bool"), tiny.tensor("hits", [0, 2], "int64", signature=[-1, 2])
    with pytest.raises(UnsupportedModel, match=r"tensor hits .* shape_signature \[-1, 2\]"):
        normalise(tiny.data(tiny.op("WHERE", [x], [y])))


def test_buffers_behind_the_flatbuffer_move_inside(tiny, run_tiny):
    x, w, y = tiny.input("x", [1, 4]), tiny.constant("w", WEIGHTS), tiny.tensor("y", [1, 2])
    tiny.op("FULLY_CONNECTED", [x, w, -1], [y])
    inside = normalise(tiny.data(y)).flatbuffer
    buffer = tiny.model.buffers[tiny.graph.tensors[w].buffer]
    buffer.data, buffer.offset, buffer.size = None, 2**20, WEIGHTS.nbytes
    buffer.offset = len(tiny.data())  # the length does not depend on the number that is written
    behind = tiny.data() + WEIGHTS.tobytes()
    mended = normalise(behind).flatbuffer
    assert mended == inside and WEIGHTS.tobytes() in mended
    np.testing.assert_allclose(run_tiny(mended, X)[0], X @ WEIGHTS.T, rtol=1e-6)


def test_metadata_stays_and_unused_constants_go(tiny):
    tiny.constant("unused", np.full(1000, 7, np.float32))
    relu(tiny)
    entry, buffer = tiny.schema.MetadataT(), tiny.schema.BufferT()
    buffer.data = np.frombuffer(b"1.14.0", np.uint8)
    tiny.model.buffers.append(buffer)
    entry.name, entry.buffer = b"min_runtime_version", len(tiny.model.buffers) - 1
    tiny.model.metadata = [entry]
    mended = normalise(tiny.data()).flatbuffer
    model = fb.read(mended)
    assert model.buffers[model.metadata[0].buffer].data.tobytes() == b"1.14.0"
    assert names_of(mended) == ["x", "y"] and len(mended) < 1000


def test_normalising_again_changes_nothing(tiny):
    first = normalise(tiny.data(open_batch(tiny)))
    again = normalise(first.flatbuffer)
    assert again.flatbuffer == first.flatbuffer and again.notes == ()
    assert normalise(tiny.data()) == first

"""Reading and writing flatbuffers."""

from __future__ import annotations

import numpy as np
import pytest
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.network import flatbuffer as fb


def test_every_buffer_lies_on_16_bytes(demo_model):
    """The schema demands it; a microcontroller may stop at an int64 that does not."""
    written = fb.write(fb.read(demo_model))
    packed = fb.schema().Model.GetRootAs(bytearray(written), 0)
    starts = []
    for index in range(packed.BuffersLength()):
        table = packed.Buffers(index)._tab
        field = table.Offset(4)
        if field:
            starts.append(table.Vector(field))
    assert len(starts) > 50
    assert {start % 16 for start in starts} == {0}


def test_writing_keeps_every_value(demo_model):
    before, after = fb.read(demo_model), fb.read(fb.write(fb.read(demo_model)))
    for one, other in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True):
        a, b = fb.constant(before, one), fb.constant(after, other)
        assert (a is None) == (b is None)
        if a is not None:
            assert np.array_equal(a, b)


def test_writing_twice_gives_the_same_bytes(demo_model):
    once = fb.write(fb.read(demo_model))
    assert fb.write(fb.read(once)) == once


@pytest.mark.parametrize("data", [b"", b"hello", b"\0\0\0\0TFL3" + b"\xff" * 40])
def test_other_files_are_refused(data):
    with pytest.raises(UnsupportedModel):
        fb.read(data)


def test_int4_constants_are_unpacked_low_half_first():
    schema = fb.schema()
    model, tensor, buffer = schema.ModelT(), schema.TensorT(), schema.BufferT()
    buffer.data = np.array([0x7F, 0x08], np.uint8)
    model.buffers = [schema.BufferT(), buffer]
    tensor.buffer, tensor.shape, tensor.type = 1, [3], schema.TensorType.INT4
    assert fb.constant(model, tensor).tolist() == [-1, 7, -8]


def test_equal_zero_points_are_stored_once():
    schema = fb.schema()

    def model_with(tensors):
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
        graph.tensors, graph.operators = [], []
        for index in range(tensors):
            tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
            quantization.scale = np.full(100, 0.5 + index, np.float32)
            quantization.zeroPoint = np.zeros(100, np.int64)
            tensor.name, tensor.shape, tensor.quantization = b"t", [100], quantization
            graph.tensors.append(tensor)
        model.subgraphs = [graph]
        return fb.write(model)

    once, often = model_with(1), model_with(11)
    assert len(often) - len(once) < 10 * (400 + 100)
    read = fb.read(often).subgraphs[0].tensors
    assert all(len(t.quantization.zeroPoint) == 100 and not any(t.quantization.zeroPoint) for t in read)
    assert [t.quantization.scale[0] for t in read] == [0.5 + i for i in range(11)]

"""Every model that people really have is loaded with unchanged values, or refused for the right reason."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from bitplan.analyzer.errors import AlreadyQuantized, BitplanError, UnsupportedModel
from bitplan.analyzer.inputs.loader import load_float
from bitplan.analyzer.network import flatbuffer as fb

REFUSED = {
    "conv_fc_mnist_srq_a8w8": (AlreadyQuantized, "3 of 3 weight tensors and 7 of 7 activations"),
    "kws_dscnn_called_float32": (AlreadyQuantized, "5 of 10 weight tensors and 0 of 14 activations"),
    "partly_quantized_mnist": (AlreadyQuantized, "2 of 3 weight tensors and 2 of 9 activations"),
    "resnet8_cifar10_int8": (AlreadyQuantized, "10 of 10 weight tensors and 17 of 17 activations"),
    "two_signatures": (UnsupportedModel, "several signatures that do different things: add, multiply"),
    "weight_sharing_fcs": (UnsupportedModel, "several signatures that do different things: sig1, sig2"),
}
NOTED = {
    "conv_fc_mnist": "open batch dimension set to 1",
    "duplicated_tensor_names": "1 duplicate or empty tensor name made unique",
    "hand_landmark_fp16_no_signature": "102 float16 weights folded to float32",
    "iris_landmark_prelu_no_signature": "operator codes of 6 kinds of op moved to the new field",
    "resnet8_cifar10_float": "signature added: input_1, Identity",
}


def run(data: bytes, seed: int = 0) -> list[np.ndarray]:
    """Outputs for random inputs, which depend on the seed and the inputs' shapes alone; XNNPACK kernels."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(seed)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], rng.normal(size=detail["shape"]).astype(np.float32))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()]


def assert_keeps_the_promises(data: bytes) -> None:
    """What later stages take for granted."""
    model = fb.read(data)
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    assert {e.tensorIndex for e in signature.inputs} == set(graph.inputs)
    assert {e.tensorIndex for e in signature.outputs} == set(graph.outputs)
    names = [tensor.name for tensor in graph.tensors]
    assert len(set(names)) == len(names) and b"" not in names
    assert all(tensor.shapeSignature is None for tensor in graph.tensors)
    assert {fb.dtype_name(tensor) for tensor in graph.tensors} <= {"float32", "int32", "int64", "bool"}
    assert all(c.builtinCode >= c.deprecatedBuiltinCode for c in model.operatorCodes)
    opcodes = {fb.opcode_name(model, op) for op in graph.operators}
    assert not opcodes & {"FAKE_QUANT", "DEQUANTIZE", "QUANTIZE", "SHAPE"}


def test_every_shared_tflite_file_is_loaded_unchanged_or_refused_rightly(shared):
    files = sorted((shared / "models").rglob("*.tflite"))
    assert len(files) >= 17
    for path in files:
        if path.stem in REFUSED:
            kind, reason = REFUSED[path.stem]
            with pytest.raises(kind) as caught:
                load_float(path)
            assert reason in caught.value.problem, path.stem
            continue
        model = load_float(path)
        assert_keeps_the_promises(model.flatbuffer)
        assert NOTED.get(path.stem, "") in "\n".join(model.notes), path.stem
        original = run(path.read_bytes())
        for given, normalised in zip(original, run(model.flatbuffer), strict=True):
            np.testing.assert_allclose(normalised, given, atol=1e-6, rtol=0, err_msg=path.stem)


def test_the_packaged_demo_needs_no_mending_beyond_the_batch(demo_model):
    model = load_float(demo_model)
    assert set(model.notes) <= {"open batch dimension set to 1"}
    assert_keeps_the_promises(model.flatbuffer)


def test_the_audits_remedy_is_given_for_a_quantized_file(shared):
    with pytest.raises(AlreadyQuantized) as caught:
        load_float(shared / "models" / "public" / "kws_dscnn_called_float32.tflite")
    assert "functional_1/conv2d/Conv2D (int8)" in caught.value.problem
    assert "bitplan audit FLOAT QUANTIZED" in caught.value.remedy


def test_truncated_real_files_are_refused(shared):
    data = (shared / "models" / "public" / "conv_fc_mnist.tflite").read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        with pytest.raises(BitplanError):
            load_float(data[: int(len(data) * share)])


@pytest.mark.slow
def test_keras_files_give_the_function_of_their_tflite(shared, capfd):
    models: pathlib.Path = shared / "models"
    pairs = [
        (models / "mobilenetv2_cifar10_96.keras", models / "mobilenetv2_cifar10_96.tflite"),
        (models / "public" / "resnet8_cifar10_keras2.h5", models / "public" / "resnet8_cifar10_float.tflite"),
    ]
    for keras_path, tflite_path in pairs:
        capfd.readouterr()
        model = load_float(keras_path)
        assert capfd.readouterr().out == ""
        assert model.name == keras_path.stem
        assert_keeps_the_promises(model.flatbuffer)
        for ours, given in zip(run(model.flatbuffer), run(tflite_path.read_bytes()), strict=True):
            np.testing.assert_allclose(ours, given, atol=1e-5)
    assert any("expanded_conv_depthwise" in fb.text(t.name) for t in _tensors(load_float(pairs[0][0]).flatbuffer))


def _tensors(data: bytes) -> list:
    return fb.read(data).subgraphs[0].tensors

"""The inventory: layer names, kinds, costs and schemes."""

from __future__ import annotations

import pytest
from bitplan.analyzer.network import kernels, names
from bitplan.analyzer.network.graph import build_graph


@pytest.mark.parametrize(
    ("opcode", "output", "weights", "strip", "expected"),
    [
        ("CONV_2D", "net_1/relu_1/Relu6;net_1/bn_1/add;net_1/conv_1/convolution", None, True, "conv"),
        ("CONV_2D", "model/activation/Relu;model/conv2d_2/Conv2D", "model/conv2d/Conv2D", False, "conv2d"),
        ("DEPTHWISE_CONV_2D", "net_1/relu_1/Relu6", "net_1/bn_1/mul_1;net_1/dw_1/depthwise", True, "dw"),
        ("FULLY_CONNECTED", "net_1/dense_1/MatMul;net_1/dense_1/BiasAdd", None, True, "dense"),
        ("SOFTMAX", "StatefulPartitionedCall_1:0", None, False, "softmax"),
        ("PRELU", "p_re_lu_3", None, False, "p_re_lu_3"),
        ("MEAN", "net_1/pool_1/Mean", None, True, "pool"),
    ],
)
def test_layer_names_are_the_keras_layers(opcode, output, weights, strip, expected):
    assert names.layer_name(opcode, output, weights, strip=strip) == expected


def test_a_trailing_1_is_kerass_only_where_every_scope_has_it():
    assert names.keras3_scopes(["net_1/conv_1/convolution", "net_1/dense_1/MatMul"])
    assert not names.keras3_scopes(["functional_1/conv2d/Conv2D", "functional_1/conv2d_1/Conv2D"])


def test_kinds_of_the_demo_network(demo_model):
    graph = build_graph(demo_model)
    by_layer = {op.layer: op for op in graph.ops}
    assert by_layer["stem"].kinds == ("convolution", "relu6", "batchnorm folded", "first")
    assert by_layer["block_0_depthwise"].kinds[0] == "depthwise"
    assert by_layer["block_0_expand"].kinds[0] == "pointwise"
    assert by_layer["block_0_add"].kinds == ("residual add",)
    assert by_layer["classes"].kinds == ("fully connected", "last")
    assert graph.is_classifier
    assert graph.tensors[graph.compared[0]].name == graph.tensors[by_layer["softmax"].inputs[0]].name


def test_multiply_accumulates_follow_their_definition(demo_model):
    by_layer = {op.layer: op for op in build_graph(demo_model).ops}
    assert by_layer["stem"].macs == 14 * 14 * 16 * 3 * 3 * 1
    assert by_layer["block_0_expand"].macs == 14 * 14 * 64 * 16
    assert by_layer["block_0_depthwise"].macs == 14 * 14 * 64 * 3 * 3
    assert by_layer["classes"].macs == 192 * 10


def test_layers_are_told_apart(demo_model):
    layers = [op.layer for op in build_graph(demo_model).ops]
    assert len(set(layers)) == len(layers)


def test_keys_do_not_depend_on_names(demo_model):
    from bitplan.analyzer.network import flatbuffer as fb

    model = fb.read(demo_model)
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"renamed {index}".encode()
    renamed = build_graph(fb.write(model))
    assert [op.key for op in renamed.ops] == [op.key for op in build_graph(demo_model).ops]


def test_a_depthwise_op_never_gets_4_bit_weights():
    assert not [s for s in kernels.schemes_for("DEPTHWISE_CONV_2D") if s.startswith("w4")]


def test_what_the_quantizer_does_not_know_is_refused_with_a_reason():
    assert kernels.schemes_for("PRELU") == ("float",)
    assert "PRELU" in kernels.refusal("PRELU")
    assert kernels.schemes_for("CONV_2D", fused_activation="TANH") == ("float",)
    assert "TANH" in kernels.refusal("CONV_2D", fused_activation="TANH")
    assert kernels.refusal("CONV_2D") == ""


def test_the_lists_follow_the_installed_quantizers_policy():
    """An op that we offer and the quantizer skips would silently stay float."""
    policy = pytest.importorskip("litert_quantizer.default_policy")
    import json

    allowed = json.loads(policy.DEFAULT_JSON_POLICY)["ops_per_config"]
    theirs = {
        "w8a8": "static_wi8_ai8",
        "w8a16": "static_wi8_ai16",
        "w4a8": "static_wi4_ai8",
        "w4a16": "static_wi4_ai16",
    }
    for opcode in kernels._INT8:
        name = "CONV_2D_TRANSPOSE" if opcode == "TRANSPOSE_CONV" else opcode
        for scheme in set(kernels.schemes_for(opcode)) & set(theirs):
            assert name in allowed[theirs[scheme]], f"{opcode} {scheme}"

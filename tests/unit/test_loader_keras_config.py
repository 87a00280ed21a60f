"""Keras 2 configurations written as Keras 3, as plain dictionaries."""

from __future__ import annotations

import copy

import pytest
from bitplan.analyzer.errors import UnsupportedModel
from bitplan.analyzer.inputs.keras_config import KERAS2_HARD_SIGMOID, code_layers, upgrade


def layer(kind, name, inbound=(), **config):
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": list(inbound)}


def network(*layers, outputs=()):
    config = {"name": "net", "layers": list(layers), "input_layers": [["x", 0, 0]], "output_layers": list(outputs)}
    return {"class_name": "Functional", "config": config}


def upgraded_layer(entry, *more):
    return upgrade(network(layer("InputLayer", "x"), entry, *more))[0]["config"]["layers"][1]


def test_groups_of_a_depthwise_convolution_are_dropped():
    entry = layer("DepthwiseConv2D", "dw", [[["x", 0, 0, {}]]], groups=1, kernel_size=[3, 3])
    config, notes = upgrade(network(layer("InputLayer", "x"), entry))
    assert config["config"]["layers"][1]["config"] == {"name": "dw", "kernel_size": [3, 3]}
    assert notes == ["Keras 2: DepthwiseConv2D.groups dropped (1x)"]


def test_groups_of_a_plain_convolution_stay():
    assert upgraded_layer(layer("Conv2D", "c", groups=4))["config"]["groups"] == 4


def test_a_grouped_transposed_convolution_is_refused():
    with pytest.raises(UnsupportedModel, match=r"layer up \(Conv2DTranspose\) .* groups=2"):
        upgraded_layer(layer("Conv2DTranspose", "up", groups=2))


def test_layers_in_nested_models_and_wrappers_are_upgraded_too():
    inner = layer("DepthwiseConv2D", "dw", groups=1)
    wrapped = layer("TimeDistributed", "td", layer=layer("DepthwiseConv2D", "dw2", groups=1))
    nested = {"class_name": "Functional", "name": "body", "config": {"name": "body", "layers": [inner]}}
    config, notes = upgrade(network(layer("InputLayer", "x"), nested, wrapped))
    assert "groups" not in str(config)
    assert notes == ["Keras 2: DepthwiseConv2D.groups dropped (2x)"]


def test_hard_sigmoid_keeps_the_meaning_it_had_in_keras_2():
    entry = upgraded_layer(layer("LSTM", "l", activation="tanh", recurrent_activation="hard_sigmoid", time_major=False))
    assert entry["config"]["recurrent_activation"] == KERAS2_HARD_SIGMOID
    assert entry["config"]["activation"] == "tanh" and "time_major" not in entry["config"]


def test_several_axes_are_refused_because_keras_3_would_forget_them():
    with pytest.raises(UnsupportedModel, match=r"layer ln .* several axes, \[1, 2\]"):
        upgraded_layer(layer("LayerNormalization", "ln", axis=[1, 2]))
    assert upgraded_layer(layer("BatchNormalization", "bn", axis=[3]))["config"]["axis"] == [3]


def test_a_thresholded_relu_becomes_a_relu():
    entry = upgraded_layer(layer("ThresholdedReLU", "t", theta=0.5, dtype="float32"))
    assert (entry["class_name"], entry["config"]) == ("ReLU", {"name": "t", "dtype": "float32", "threshold": 0.5})


@pytest.mark.parametrize(("function", "node", "kind", "config"), [
    ("__operators__.add", ["x", 0, 0, {"y": 3.0, "name": None}], "Rescaling", {"scale": 1.0, "offset": 3.0}),
    ("math.multiply", ["x", 0, 0, {"y": 0.5, "name": None}], "Rescaling", {"scale": 0.5, "offset": 0.0}),
    ("math.subtract", ["x", 0, 0, {"y": 2}], "Rescaling", {"scale": 1.0, "offset": -2.0}),
    ("math.subtract", ["_CONSTANT_VALUE", -1, 2.0, {"y": ["x", 0, 0]}], "Rescaling", {"scale": -1.0, "offset": 2.0}),
    ("math.truediv", ["x", 0, 0, {"y": 4.0}], "Rescaling", {"scale": 0.25, "offset": 0.0}),
    ("nn.relu6", ["x", 0, 0, {"name": None}], "ReLU", {"max_value": 6.0}),
])  # fmt: skip
def test_tensorflow_functions_become_layers(function, node, kind, config):
    entry = upgraded_layer(layer("TFOpLambda", "f", [node], function=function))
    assert entry["class_name"] == kind and entry["config"] == {"name": "f", **config}
    assert entry["inbound_nodes"] == [[["x", 0, 0, {}]]]


def test_a_sum_of_two_tensors_becomes_an_add_layer():
    node = ["x", 0, 0, {"y": ["z", 0, 1], "name": None}]
    entry = upgraded_layer(layer("TFOpLambda", "f", [node], function="math.add"))
    assert (entry["class_name"], entry["inbound_nodes"]) == ("Add", [[["x", 0, 0, {}], ["z", 0, 1, {}]]])


@pytest.mark.parametrize(("function", "node"), [
    ("image.resize", ["x", 0, 0, {"size": [4, 4]}]),
    ("math.truediv", ["_CONSTANT_VALUE", -1, 1.0, {"y": ["x", 0, 0]}]),
    ("math.add", ["x", 0, 0, {"y": [1.0, 2.0]}]),
    ("nn.relu", ["x", 0, 0, {"threshold": 2.0}]),
])  # fmt: skip
def test_a_function_without_a_layer_is_refused_by_name(function, node):
    with pytest.raises(UnsupportedModel, match=r"layer f \(TFOpLambda\)"):
        upgraded_layer(layer("TFOpLambda", "f", [node], function=function))


def test_slashes_in_names_are_replaced_wherever_the_layer_is_meant():
    config, _ = upgrade(network(
        layer("InputLayer", "x"), layer("ReLU", "a/b", [[["x", 0, 0, {}]]]),
        layer("ReLU", "a_b", [[["a/b", 0, 0, {}]]]),
        layer("Add", "sum", [[["a/b", 0, 0, {}], ["a_b", 0, 0, {}]]]), outputs=[["a/b", 0, 0]],
    ))  # fmt: skip
    layers = config["config"]["layers"]
    assert [entry["name"] for entry in layers] == ["x", "a_b_1", "a_b", "sum"]
    assert [entry["config"]["name"] for entry in layers] == ["x", "a_b_1", "a_b", "sum"]
    assert layers[3]["inbound_nodes"] == [[["a_b_1", 0, 0, {}], ["a_b", 0, 0, {}]]]
    assert config["config"]["output_layers"] == [["a_b_1", 0, 0]]


def test_the_given_configuration_is_not_changed():
    before = network(layer("InputLayer", "x"), layer("DepthwiseConv2D", "a/b", groups=1))
    kept = copy.deepcopy(before)
    upgrade(before)
    assert before == kept


def test_layers_with_code_are_found_at_any_depth():
    inner = {"class_name": "Sequential", "config": {"layers": [layer("Lambda", "deep")]}}
    assert code_layers(network(inner, layer("TFSMLayer", "saved"), layer("ReLU", "r"))) == [
        "deep (Lambda)", "saved (TFSMLayer)",
    ]  # fmt: skip
    assert code_layers({"activation": {"class_name": "__lambda__", "config": {"code": "..."}}}) == ["__lambda__"]
    assert code_layers(network(layer("ReLU", "r"))) == []

"""The configuration inside a Keras file, as dictionaries: what code it wants to run, and Keras 2 written as Keras 3.

Keras 3 reads Keras 2 files only in part, and two of the gaps are silent: `hard_sigmoid` became another function, and a
list of several axes is dropped. Everything here is data; no layer is built and no code of the file is run.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import UnsupportedModel

KERAS2_HARD_SIGMOID = "bitplan_keras2_hard_sigmoid"
"""Name under which the loader registers `clip(0.2 x + 0.5, 0, 1)`, which Keras 2 called `hard_sigmoid`."""

_CODE = ("Lambda", "__lambda__", "TFSMLayer")
_GROUPLESS = (
    "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "Conv1DTranspose", "Conv2DTranspose",
    "Conv3DTranspose",
)  # fmt: skip
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN")
_ACTIVATIONS: Mapping[str, Mapping[str, Any]] = {
    "nn.relu": {"class_name": "ReLU", "config": {}},
    "nn.relu6": {"class_name": "ReLU", "config": {"max_value": 6.0}},
    "nn.sigmoid": {"class_name": "Activation", "config": {"activation": "sigmoid"}},
    "math.sigmoid": {"class_name": "Activation", "config": {"activation": "sigmoid"}},
    "nn.tanh": {"class_name": "Activation", "config": {"activation": "tanh"}},
    "math.tanh": {"class_name": "Activation", "config": {"activation": "tanh"}},
    "nn.silu": {"class_name": "Activation", "config": {"activation": "silu"}},
    "nn.swish": {"class_name": "Activation", "config": {"activation": "silu"}},
}
_BINARY: Mapping[str, str] = {
    "__operators__.add": "Add", "math.add": "Add", "math.subtract": "Subtract", "math.multiply": "Multiply",
    "math.truediv": "Divide", "math.divide": "Divide",
}  # fmt: skip


def code_layers(config: Any) -> list[str]:
    """Names of the layers that hold code of their own: Lambda, TFSMLayer, pickled functions; each once."""
    found = []
    for entry in _dictionaries(config):
        if entry.get("class_name") in _CODE:
            inner = entry.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            found.append(f"{name} ({entry['class_name']})" if name else str(entry["class_name"]))
    named = [name for name in found if "(" in name]
    return list(dict.fromkeys(named or found))


def upgrade(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Rewrites the model configuration of a Keras 2 file so that Keras 3 builds the same function.

    Args:
      config: `{"class_name": "Functional", "config": {...}}`, as `model_config` of an `.h5` file holds it. Unchanged.

    Returns:
      The new configuration, and what was rewritten, one line each.

    Raises:
      UnsupportedModel: A layer has no counterpart in Keras 3; the message names it.
    """
    upgraded = copy.deepcopy(dict(config))
    changes: Counter[str] = Counter()
    for entry in list(_dictionaries(upgraded)):
        if isinstance(entry.get("class_name"), str) and isinstance(entry.get("config"), dict):
            _upgrade_layer(entry, changes)
    for entry in list(_dictionaries(upgraded)):
        if isinstance(entry.get("layers"), list):
            _rename_slashes(entry, changes)
    return upgraded, [f"Keras 2: {change} ({count}x)" for change, count in sorted(changes.items()) if count]


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _dictionaries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _dictionaries(inner)


def _upgrade_layer(layer: dict[str, Any], changes: Counter[str]) -> None:
    kind, config = layer["class_name"], layer["config"]
    if kind in _GROUPLESS and "groups" in config:
        groups = config.pop("groups")
        # A depthwise kernel never reads it; the others only ever knew 1.
        if groups not in (None, 1) and not kind.startswith("Depthwise"):
            raise _unsupported(layer, f"has groups={groups}")
        changes[f"{kind}.groups dropped"] += 1
    if kind.startswith("SeparableConv"):
        # Inherited from the plain convolution and never used: its two kernels have settings of their own.
        unused = [key for key in ("kernel_initializer", "kernel_regularizer", "kernel_constraint") if key in config]
        for key in unused:
            del config[key]
        changes[f"unused settings of {kind} dropped"] += bool(unused)
    if kind in _RECURRENT and "time_major" in config:
        if config.pop("time_major"):
            raise _unsupported(layer, "is time-major")
        changes[f"{kind}.time_major dropped"] += 1
    if isinstance(config.get("axis"), list) and len(config["axis"]) > 1:
        raise _unsupported(layer, f"normalises over several axes, {config['axis']}")
    for key in ("activation", "recurrent_activation"):
        if config.get(key) == "hard_sigmoid":
            config[key] = KERAS2_HARD_SIGMOID
            changes["hard_sigmoid kept as clip(0.2 x + 0.5, 0, 1)"] += 1
    if kind == "ThresholdedReLU":
        _replace(layer, "ReLU", {"threshold": config.pop("theta", 1.0)})
        changes["ThresholdedReLU written as ReLU(threshold)"] += 1
    if kind == "TFOpLambda":
        _upgrade_function(layer)
        changes["TensorFlow functions written as layers"] += 1
    elif kind in ("SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty"):
        raise _unsupported(layer, "is a TensorFlow function")


def _upgrade_function(layer: dict[str, Any]) -> None:
    """Writes a TFOpLambda layer as the Keras layer that computes the same."""
    function = layer["config"].get("function")
    nodes = layer.get("inbound_nodes")
    if not isinstance(nodes, list) or len(nodes) != 1:
        raise _unsupported(layer, f"is the TensorFlow function {function}, called several times")
    node = nodes[0][0] if nodes[0] and isinstance(nodes[0][0], list) else nodes[0]
    operands, settings = _operands(layer, node)
    references = [operand for operand in operands if isinstance(operand, list)]
    if function in _ACTIVATIONS and len(operands) == 1 and not settings:
        known = _ACTIVATIONS[function]
        _replace(layer, known["class_name"], known["config"])
    elif function in _BINARY and len(operands) == 2 and not settings:
        if len(references) == 2 and _BINARY[function] != "Divide":
            _replace(layer, _BINARY[function], {})
        elif len(references) == 1:
            _replace(layer, "Rescaling", _affine(layer, _BINARY[function], operands))
        else:
            raise _unsupported(layer, f"is the TensorFlow function {function}")
    else:
        raise _unsupported(layer, f"is the TensorFlow function {function}")
    layer["inbound_nodes"] = [[[*reference[:3], {}] for reference in references]]


def _operands(layer: Mapping[str, Any], node: Any) -> tuple[list[Any], dict[str, Any]]:
    """(operands, other arguments) of one call; an operand is a number or `[layer, node, tensor]`."""
    if not isinstance(node, list) or len(node) != 4 or not isinstance(node[3], dict):
        raise _unsupported(layer, "is a TensorFlow function called in an unknown way")
    settings = {key: value for key, value in node[3].items() if value is not None}
    operands = [node[2] if node[0] == "_CONSTANT_VALUE" else node[:3]]
    if "y" in settings:
        operands.append(settings.pop("y"))
    for operand in operands:
        is_reference = isinstance(operand, list) and len(operand) == 3 and isinstance(operand[0], str)
        if not is_reference and not isinstance(operand, int | float):
            raise _unsupported(layer, "is a TensorFlow function with an array operand")
    return operands, settings


def _affine(layer: Mapping[str, Any], kind: str, operands: list[Any]) -> dict[str, float]:
    """`scale` and `offset` of an operation between a tensor and a number."""
    number_first = not isinstance(operands[0], list)
    number = float(operands[0] if number_first else operands[1])
    if kind == "Add":
        return {"scale": 1.0, "offset": number}
    if kind == "Subtract":
        return {"scale": -1.0, "offset": number} if number_first else {"scale": 1.0, "offset": -number}
    if kind == "Multiply":
        return {"scale": number, "offset": 0.0}
    if number_first or number == 0:
        raise _unsupported(layer, "divides a number by a tensor, or by zero")
    return {"scale": 1.0 / number, "offset": 0.0}


def _replace(layer: dict[str, Any], kind: str, settings: Mapping[str, Any]) -> None:
    kept = {key: layer["config"][key] for key in ("name", "trainable", "dtype") if key in layer["config"]}
    layer["class_name"], layer["config"] = kind, {**kept, **settings}


def _rename_slashes(network: dict[str, Any], changes: Counter[str]) -> None:
    """Keras 3 takes no `/` in a layer's name; renames layers and what refers to them."""
    names = [layer["config"].get("name") for layer in network["layers"] if isinstance(layer.get("config"), dict)]
    taken = {name for name in names if isinstance(name, str)}
    renamed: dict[str, str] = {}
    for name in names:
        if isinstance(name, str) and "/" in name and name not in renamed:
            candidate, count = name.replace("/", "_"), 0
            while candidate in taken:
                count += 1
                candidate = f"{name.replace('/', '_')}_{count}"
            taken.add(candidate)
            renamed[name] = candidate
    if not renamed:
        return
    for layer in network["layers"]:
        for holder in (layer, layer.get("config")):
            if isinstance(holder, dict) and holder.get("name") in renamed:
                holder["name"] = renamed[holder["name"]]
        layer["inbound_nodes"] = _references(layer.get("inbound_nodes", []), renamed)
    for key in ("input_layers", "output_layers"):
        if key in network:
            network[key] = _references(network[key], renamed)
    changes["/ in layer names written as _"] += len(renamed)


def _references(value: Any, renamed: Mapping[str, str]) -> Any:
    """The same nested structure with the layer names in `[name, node, tensor, ...]` replaced."""
    if isinstance(value, dict):
        return {key: _references(inner, renamed) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int) and isinstance(value[2], int):
        return [renamed.get(value[0], value[0]), *(_references(inner, renamed) for inner in value[1:])]
    return [_references(inner, renamed) for inner in value]


def _unsupported(layer: Mapping[str, Any], what: str) -> UnsupportedModel:
    name = layer["config"].get("name") if isinstance(layer.get("config"), dict) else None
    return UnsupportedModel(
        f"layer {name or '(no name)'} ({layer['class_name']}) of this Keras 2 file {what}: Keras 3 cannot rebuild it",
        "save a SavedModel or a .tflite with the Keras 2 that wrote the file, and give that",
    )

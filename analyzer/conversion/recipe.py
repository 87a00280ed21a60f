"""litert-quantizer recipes in which every entry hits exactly one op.

A recipe is an ordered list of {regex, operation, algorithm_key, op_config}. The quantizer searches each regex,
unanchored, in an op's *scope*: the names of its output tensors, each followed by `;`. Names hold regex metacharacters,
and `block_1` is found in `block_16` too, so entries are escaped, anchored, and replayed over all ops before use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UnsupportedModel
from ..network import flatbuffer as fb
from ..network.kernels import WEIGHTED
from ..schema import Format

NO_QUANTIZE = "no_quantize"
MIN_MAX = "min_max_uniform_quantize"
_LONGEST_SCOPE = 10_000


@dataclass(frozen=True)
class Precision:
    """What one op, or the model's inputs or outputs, shall run in.

    Attributes:
      format: Of the activations it reads and writes.
      weight_bits: 4 or 8; of no consequence where `format` is float.
    """

    format: Format
    weight_bits: int = 8


@dataclass(frozen=True)
class Target:
    """Something that a recipe entry is for: an op, or the quantizer's virtual INPUT or OUTPUT.

    Attributes:
      operation: The quantizer's name of its kind; None where it does not know the opcode.
      scope: What the quantizer matches regexes against.
      has_channels: Whether it has weights that can have a scale per channel.
    """

    operation: str | None
    scope: str
    has_channels: bool


def targets(model: Any) -> tuple[Target, ...]:
    """All targets of a parsed model: one for each op in order, then INPUT, then OUTPUT."""
    from litert_quantizer.utils import tfl_flatbuffer_utils as utils

    subgraph = model.subgraphs[0]
    found = []
    for op in subgraph.operators:
        code = model.operatorCodes[op.opcodeIndex].builtinCode
        name = utils.TFL_OP_CODE_TO_NAME.get(code)
        has_channels = fb.opcode_name(model, op) in WEIGHTED
        found.append(Target(None if name is None else str(name.value), _scope(op, subgraph), has_channels))
    for virtual in utils.get_subgraph_input_output_operators(subgraph):
        found.append(Target(str(virtual.op_key.value), _scope(virtual, subgraph), False))
    return tuple(found)


def build_recipe(
    model: Any, precisions: Sequence[Precision], io: Format, *, per_channel: bool = True
) -> tuple[dict[str, Any], ...]:
    """The recipe that gives each op its precision, and the model's inputs and outputs theirs.

    Ops that stay float have a `no_quantize` entry of their own; ops that the quantizer does not know have none.

    Args:
      model: Parsed float flatbuffer.
      precisions: One for each op, in order.
      io: Format of the model's float inputs and outputs.
      per_channel: Whether weights get a scale per channel, or one for the tensor.

    Returns:
      JSON-able entries, in op order, INPUT and OUTPUT last.

    Raises:
      UnsupportedModel: Two ops cannot be told apart by the quantizer.
    """
    everything = targets(model)
    wanted = [*precisions, Precision(io), Precision(io)]
    pairs = [(t, p) for t, p in zip(everything, wanted, strict=True) if t.operation is not None and t.scope]
    entries = tuple(_entry(target, precision, per_channel) for target, precision in pairs)
    _replay(entries, [target for target, _ in pairs], everything)
    return entries


def compiled(recipe: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The recipe with compiled patterns, which the quantizer takes as well.

    It searches every regex in every scope, and `re` keeps no more than 512 compiled ones: with strings, a network of
    600 ops compiles 360 000 patterns.
    """
    return [{**entry, "regex": re.compile(entry["regex"])} for entry in recipe]


def output_format(recipe: Sequence[dict[str, Any]]) -> Format:
    """The format that a recipe gives the model's float outputs."""
    entry = next((e for e in recipe if e["operation"] == "OUTPUT"), None)
    if entry is None or entry["algorithm_key"] == NO_QUANTIZE:
        return Format.FLOAT
    bits = entry["op_config"]["activation_tensor_config"]["num_bits"]
    return Format.INT8 if bits == 8 else Format.INT16


def label(entry: dict[str, Any]) -> str:
    """An entry for people: the kind of its op and the name of its output."""
    kinds = {"INPUT": "the model's input", "OUTPUT": "the model's output"}
    scope = re.sub(r"\\(.)", r"\1", entry["regex"][1:-1], flags=re.DOTALL)
    return f"{kinds.get(entry['operation'], entry['operation'])} {scope.rstrip(';')}"


def _scope(op: Any, subgraph: Any) -> str:
    """What the quantizer's `get_op_scope` gives, without its warning about long names."""
    names = _names(op.outputs, subgraph) or _names(op.inputs, subgraph)
    return "".join(f"{name};" for name in names)[:_LONGEST_SCOPE]


def _names(tensors: Sequence[int], subgraph: Any) -> list[str]:
    names = [fb.text(subgraph.tensors[t].name) for t in tensors if t != -1]
    return [name for name in names if name]


def _entry(target: Target, precision: Precision, per_channel: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"regex": f"^{re.escape(target.scope)}$", "operation": target.operation}
    if precision.format is Format.FLOAT:
        return {**entry, "algorithm_key": NO_QUANTIZE}
    granularity = "CHANNELWISE" if target.has_channels and per_channel else "TENSORWISE"
    config = {
        "activation_tensor_config": {
            "num_bits": precision.format.bits,
            "symmetric": precision.format is Format.INT16,  # INT16 kernels need zero point 0
            "granularity": "TENSORWISE",
            "dtype": "INT",
        },
        "weight_tensor_config": {
            "num_bits": precision.weight_bits,
            "symmetric": True,
            "granularity": granularity,
            "dtype": "INT",
        },
        "compute_precision": "INTEGER",
        "explicit_dequantize": False,
    }
    return {**entry, "algorithm_key": MIN_MAX, "op_config": config}


def _replay(entries: Sequence[dict[str, Any]], meant: Sequence[Target], everything: Sequence[Target]) -> None:
    for entry, target in zip(entries, meant, strict=True):
        pattern = re.compile(entry["regex"])
        hits = sum(t.operation == entry["operation"] and bool(pattern.search(t.scope)) for t in everything)
        if hits != 1:
            raise UnsupportedModel(
                f"{hits} ops of kind {target.operation} match the output tensor name {target.scope.rstrip(';')!r}",
                "give every tensor of the model a name of its own",
            )

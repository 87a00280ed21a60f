"""Runs litert-quantizer and mends what it emits; the only module that calls it."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..network import flatbuffer as fb
from .recipe import MIN_MAX, NO_QUANTIZE, compiled, label

_QUANTIZER = threading.Lock()
"""litert-quantizer replaces its own functions while it works, and output is redirected around it."""

_PLACEHOLDER_CODE = 127
"""`deprecatedBuiltinCode` of operators that its 8 bits cannot hold (TFLite's schema)."""


def emit(
    prepared: bytes,
    recipe: Sequence[dict[str, Any]],
    ranges: Mapping[str, tuple[float, float]],
    weight_bounds: Mapping[str, np.ndarray],
) -> bytes:
    """Quantizes a float model by a recipe.

    Args:
      prepared: The float flatbuffer.
      recipe: See `recipe.build_recipe`.
      ranges: (minimum, maximum) by tensor name, of every float activation.
      weight_bounds: By tensor name, for weights whose own extremes are not to be used: the largest magnitude, of the
        weights' rank and size 1 but for the channel axis.

    Returns:
      The file: buffers inside, short names for the tensors of border ops, outputs and signature as in `prepared`.

    Raises:
      UnsupportedModel: litert-quantizer cannot convert one of the ops, which are named.
    """
    try:
        raw = quantize(prepared, recipe, ranges, weight_bounds)
    except _QuantizerError as error:
        culprits = _culprits(prepared, recipe, ranges, weight_bounds)
        raise UnsupportedModel(
            f"litert-quantizer fails on {culprits}: {error}", "set these ops to float in the plan"
        ) from error
    return mend(raw, fb.read(prepared))


class _QuantizerError(Exception):
    """Whatever litert-quantizer raised, as one line."""


def quantize(
    prepared: bytes,
    recipe: Sequence[dict[str, Any]],
    ranges: Mapping[str, tuple[float, float]],
    weight_bounds: Mapping[str, np.ndarray],
) -> bytes:
    """What litert-quantizer makes of it, unmended; arguments as for `emit`."""
    from litert_quantizer import model_modifier, params_generator, recipe_manager

    # New arrays for every call: the quantizer writes into what it gets. Without a rank they fit any tensor.
    statistics = {name: {"min": np.array(low), "max": np.array(high)} for name, (low, high) in ranges.items()}
    statistics |= {name: {"min": -bound, "max": bound.copy()} for name, bound in weight_bounds.items()}
    model = fb.read(prepared)
    model.subgraphs[0].operators.append(_bare_op())
    manager = recipe_manager.RecipeManager()
    try:
        with _QUANTIZER, _quiet():
            # What `Quantizer.quantize` does, less an interpreter for the float model, which nothing here needs.
            manager.load_quantization_recipe(compiled(recipe))
            generator = params_generator.ParamsGenerator(model)
            params = generator.generate_quantization_parameters(manager, statistics, enable_progress_bar=False)
            return bytes(model_modifier.ModelModifier(model).modify_model(params, enable_progress_bar=False))
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise _QuantizerError(lines[0] if lines else type(error).__name__) from error


def _bare_op() -> Any:
    """A last op without inputs and outputs, which `mend` takes out again.

    The quantizer takes -1, its mark for "the model's output reads this", for an index into the op list: a border op in
    front of an output then becomes the input of the last op as well, if that one reads the same tensor.
    """
    op = fb.schema().OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = 0, [], []
    return op


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the quantizer's reports, progress bars, warnings and logs off the terminal, and its log handler too."""
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers  # logging.info() installs one that writes into the stream of the moment


def _culprits(
    prepared: bytes,
    recipe: Sequence[dict[str, Any]],
    ranges: Mapping[str, tuple[float, float]],
    weight_bounds: Mapping[str, np.ndarray],
) -> str:
    """The entries that the quantizer cannot carry out even alone."""
    found = []
    for entry in recipe:
        if entry["algorithm_key"] != MIN_MAX:
            continue
        alone = [e if e is entry else {**e, "algorithm_key": NO_QUANTIZE} for e in recipe]
        try:
            quantize(prepared, alone, ranges, weight_bounds)
        except _QuantizerError:
            found.append(label(entry))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return "; ".join(found[:5]) + more if found else "the ops together, on none of them alone"


def mend(emitted: bytes, prepared: Any) -> bytes:
    """The emitted file with its buffers inside and its names and signature in order.

    Border ops write tensors named `<whole name of what they read>_quantized`, up to 400 bytes each: they become `b0`,
    `b1` ... An output behind a border op takes back the name that the float model's output has.
    """
    model = fb.read(emitted)
    subgraph, before = model.subgraphs[0], prepared.subgraphs[0]
    subgraph.operators = [op for op in subgraph.operators if len(op.inputs) or len(op.outputs)]
    names = {fb.text(tensor.name) for tensor in before.tensors}
    fresh = (name for k in itertools.count() if (name := f"b{k}") not in names)
    for tensor in subgraph.tensors[len(before.tensors) :]:
        tensor.name = next(fresh).encode()
    places = dict(zip(map(int, before.outputs), map(int, subgraph.outputs), strict=True))
    for old, new in places.items():
        inner, outer = subgraph.tensors[old], subgraph.tensors[new]
        if old != new:
            inner.name, outer.name = outer.name, inner.name
    for signature, original in zip(model.signatureDefs or [], prepared.signatureDefs or [], strict=True):
        for item, was in zip(signature.outputs or [], original.outputs or [], strict=True):
            # The quantizer forgets an output that other ops read too.
            item.tensorIndex = places.get(int(was.tensorIndex), int(was.tensorIndex))
    for code in model.operatorCodes:
        # Readers older than schema v3a know no other field; the quantizer leaves it 0, which is ADD.
        code.deprecatedBuiltinCode = min(code.builtinCode, _PLACEHOLDER_CODE)
    return fb.write(model)

"""Runs litert-quantizer; the only module that calls it."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from ..network import flatbuffer as fb
from .mending import avoid_old_kernels, guard, mend, needs_guard
from .recipe import MIN_MAX, NO_QUANTIZE, compiled, label, output_format

Ranges = Mapping[str, tuple[Any, Any]]
"""(minimum, maximum) by tensor name: numbers, or nested lists for weights, of their rank."""

_QUANTIZER = threading.Lock()
"""litert-quantizer replaces its own functions while it works, and output is redirected around it."""


def emit(prepared: bytes, recipe: Sequence[dict[str, Any]], ranges: Ranges) -> bytes:
    """Quantizes a float model by a recipe.

    What litert-quantizer's own `Quantizer` makes of the same arguments, written again (`flatbuffer.write`); but for the
    few networks and plans that `mending.py` has to help it with.

    Args:
      prepared: The float flatbuffer.
      recipe: See `recipe.build_recipe`.
      ranges: Of every float activation, and of weights whose own extremes are not to be used.

    Returns:
      The file: buffers inside, outputs and signature as in `prepared`.

    Raises:
      UnsupportedModel: litert-quantizer cannot convert one of the ops, which are named.
    """
    model = fb.read(prepared)
    guarded = needs_guard(model)
    if guarded:
        guard(model)
    try:
        raw = _quantize(model, recipe, ranges)
    except _QuantizerError as error:
        culprits = _culprits(model, recipe, ranges)
        raise UnsupportedModel(
            f"litert-quantizer fails on {culprits}: {error}", "set these ops to float in the plan"
        ) from error
    emitted = fb.read(raw)
    if guarded:
        mend(emitted, model, output_format(recipe))
    avoid_old_kernels(emitted)
    return fb.write(emitted)


class _QuantizerError(Exception):
    """Whatever litert-quantizer raised, as one line."""


def _quantize(model: Any, recipe: Sequence[dict[str, Any]], ranges: Ranges) -> bytes:
    """What litert-quantizer makes of a parsed model, which it leaves as it is; otherwise as `emit`."""
    from litert_quantizer import model_modifier, params_generator, recipe_manager

    # New arrays for every call: the quantizer writes into what it gets. Without a rank they fit any tensor.
    statistics = {name: {"min": np.array(low), "max": np.array(high)} for name, (low, high) in ranges.items()}
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


def _culprits(model: Any, recipe: Sequence[dict[str, Any]], ranges: Ranges) -> str:
    """The entries that the quantizer cannot carry out even alone."""
    found = []
    for entry in recipe:
        if entry["algorithm_key"] != MIN_MAX:
            continue
        alone = [e if e is entry else {**e, "algorithm_key": NO_QUANTIZE} for e in recipe]
        try:
            _quantize(model, alone, ranges)
        except _QuantizerError:
            found.append(label(entry))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return "; ".join(found[:5]) + more if found else "the ops together, on none of them alone"

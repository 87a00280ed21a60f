"""Which of a file's numbers belong to which kind of error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from ..schema import Graph
from .path_shares import Change
from .substitution import Ingredients
from .sweep import LabelledSource

PLAYERS = ("input rounding", "input clipping", "weights", "bias", "activation rounding", "activation clipping")
"""The kinds that numbers of a file can be put in by; `kernels` is what is left."""


def kind_of(change: Change, inputs: Collection[int]) -> str:
    """The kind of one change.

    Args:
      change: What is changed.
      inputs: The network's inputs.
    """
    if change.kind in ("rounding", "clipping"):
        return f"{'input' if change.place in inputs else 'activation'} {change.kind}"
    return "bias" if change.kind == "bias" else "weights"


def of_kinds(ingredients: Ingredients, kinds: Collection[str], inputs: Collection[int]) -> Ingredients:
    """Those ingredients that belong to some kinds.

    Args:
      ingredients: All of a file's.
      kinds: Of `PLAYERS`.
      inputs: The network's inputs.
    """
    parts = ingredients
    tensors = {*parts.activations, *(tensor for tensor, _ in parts.reads)}
    for name, places in (("input", tensors & set(inputs)), ("activation", tensors - set(inputs))):
        clips, rounds = f"{name} clipping" in kinds, f"{name} rounding" in kinds
        parts = (
            parts.with_parts(clips=clips, rounds=rounds, tensors=places)
            if clips or rounds else parts.without_activations(places)
        )  # fmt: skip
    clips, rounds = "activation clipping" in kinds, "activation rounding" in kinds
    partly = ingredients.with_parts(clips=clips, rounds=rounds)
    has_weights, does = "weights" in kinds, clips or rounds
    return replace(
        parts,
        before=partly.before if does else {},
        sums=partly.sums if does else {},
        weights=parts.weights if has_weights else {},
        constants=parts.constants if has_weights else {},
        biases=parts.biases if "bias" in kinds else {},
    )


def of_changes(
    graph: Graph, ingredients: Ingredients, changes: Iterable[Change], *, inverse: bool = False
) -> Ingredients:  # fmt: skip
    """Some single changes of a file.

    Args:
      graph: The float network.
      ingredients: All of the file's.
      changes: Those that are wanted.
      inverse: All others instead.
    """
    wanted = set(changes)

    def has(kind: str, place: int) -> bool:
        return (Change(kind, place) in wanted) != inverse

    def parts(tensor: int) -> dict[str, bool]:
        return {"clips": has("clipping", tensor), "rounds": has("rounding", tensor)}

    written = {op.index: op.outputs[0] for op in graph.ops}
    return replace(
        ingredients,
        activations={
            t: grid.with_parts(**parts(t)) for t, grid in ingredients.activations.items() if any(parts(t).values())
        },
        reads={
            (t, op): grid.with_parts(**parts(t))
            for (t, op), grid in ingredients.reads.items() if any(parts(t).values())
        },
        before={
            op: grid.with_parts(**parts(written[op]))
            for op, grid in ingredients.before.items() if any(parts(written[op]).values())
        },
        sums={
            op: split.with_parts(**parts(written[op]))
            for op, split in ingredients.sums.items() if any(parts(written[op]).values())
        },
        weights={op: values for op, values in ingredients.weights.items() if has("weights", op)},
        biases={op: values for op, values in ingredients.biases.items() if has("bias", op)},
        constants={t: values for t, values in ingredients.constants.items() if has("constants", t)},
    )  # fmt: skip


def players(ingredients: Ingredients, graph: Graph, samples: LabelledSource) -> tuple[str, ...]:
    """The kinds of which a file changes anything.

    Input clipping is one only where some sample lies outside of the file's range: that can be told without a run.
    """
    inputs = set(graph.inputs)
    tensors = {*ingredients.activations, *(tensor for tensor, _ in ingredients.reads)}
    found = []
    if tensors & inputs:
        found.append("input rounding")
        if _clips_input(ingredients, graph.inputs, samples):
            found.append("input clipping")
    if ingredients.weights or ingredients.constants:
        found.append("weights")
    if ingredients.biases:
        found.append("bias")
    if tensors - inputs or ingredients.before or ingredients.sums:
        found += ["activation rounding", "activation clipping"]
    return tuple(found)


def _clips_input(ingredients: Ingredients, inputs: Sequence[int], samples: LabelledSource) -> bool:
    """Whether an input of some sample lies more than half a step outside of a grid that it is put on."""
    for place, tensor in enumerate(inputs):
        grids = [ingredients.activations.get(tensor), *(g for (t, _), g in ingredients.reads.items() if t == tensor)]
        for grid in (g for g in grids if g is not None):
            low, high = grid.minimum - grid.scale / 2, grid.maximum + grid.scale / 2
            for start in range(0, len(samples), 64):
                values = samples.block(start, min(start + 64, len(samples)))[place]
                if np.any(values < low) or np.any(values > high):
                    return True
    return False

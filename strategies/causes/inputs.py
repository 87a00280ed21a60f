"""Whether the file takes other inputs than the float model: it is run itself, on inputs changed in every common way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...analyzer.inputs.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from ...analyzer.measures.grids import Grid
from .case import Case

Change = Callable[[list[np.ndarray]], list[np.ndarray]]
"""Other inputs [samples, ...] for the same samples."""

_MOST_CHANNELS = 4
_TOLERANCE = 0.02
_ELSEWHERE = 0.1

_MEAN, _STD = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)

_Domain = tuple[np.ndarray, np.ndarray]
"""(what black becomes, what white becomes), float32 [1] or [3]."""


def _domain(black: float, white: float) -> _Domain:
    return np.array([black], np.float32), np.array([white], np.float32)


_DOMAINS: Mapping[str, _Domain] = {
    "0..1": _domain(0, 1),
    "-1..1": _domain(-1, 1),
    "0..255": _domain(0, 255),
    "-128..127": _domain(-128, 127),
    "ImageNet's mean and deviation": (-_MEAN / _STD, (1 - _MEAN) / _STD),
}


@dataclass(frozen=True, eq=False)
class OtherInput:
    """One way in which the file could take its inputs.

    Attributes:
      name: `channel_order` or `input_scaling`.
      said: What the way is, in words.
      layer: Label of the input.
    """

    name: str
    said: str
    layer: str
    change: Change


def other_inputs(case: Case) -> list[OtherInput]:
    """Every order of the channels and every common normalisation of each input that looks like an image or a signal."""
    found: list[OtherInput] = []
    for place, tensor in enumerate(case.graph.inputs):
        details = case.graph.tensors[tensor]
        if details.dtype != "float32":
            continue
        channels = details.shape[-1] if len(details.shape) >= 3 else 1
        if 2 <= channels <= _MOST_CHANNELS:
            for order in list(itertools.permutations(range(channels)))[1:]:
                said = f"channels in the order {', '.join(map(str, order))}"
                found.append(OtherInput("channel_order", said, details.name, _changed(place, _permuted(order))))
        low, high = case.extremes.range_of(tensor)
        for source, target, scaled in _scalings(low, high, channels):
            said = f"values of {target} instead of {source}"
            found.append(OtherInput("input_scaling", said, details.name, _changed(place, scaled)))
        grid = case.grid(tensor)
        if grid is not None and _is_elsewhere(grid, low, high):
            said = f"values stretched to {grid.minimum:.4g}..{grid.maximum:.4g}, the range of the file's input"
            moved = _mapped(_domain(low, high), _domain(grid.minimum, grid.maximum))
            found.append(OtherInput("input_scaling", said, details.name, _changed(place, moved)))
    return found


def _is_elsewhere(grid: Grid, low: float, high: float) -> bool:
    """Whether a grid covers another range than the data; a smaller shift only moves values onto the grid's steps."""
    return max(abs(grid.minimum - low), abs(grid.maximum - high)) > _ELSEWHERE * (high - low) > 0


def _scalings(low: float, high: float, channels: int) -> Iterator[tuple[str, str, Callable[[np.ndarray], np.ndarray]]]:
    """From the narrowest common range that holds the data to all others."""
    domains = {name: d for name, d in _DOMAINS.items() if d[0].size == 1 or channels == d[0].size}
    holding = [
        name for name, (black, white) in domains.items()
        if black.min() - _TOLERANCE <= low and high <= white.max() + _TOLERANCE * abs(white.max())
    ]  # fmt: skip
    if not holding:
        return
    source = min(holding, key=lambda name: float((domains[name][1] - domains[name][0]).max()))
    for target in domains:
        if target != source:
            yield source, target, _mapped(domains[source], domains[target])


def _mapped(source: _Domain, target: _Domain) -> Callable[[np.ndarray], np.ndarray]:
    factor = (target[1] - target[0]) / (source[1] - source[0])
    return lambda values: np.asarray((values - source[0]) * factor + target[0], np.float32)


def _permuted(order: Sequence[int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: np.ascontiguousarray(values[..., list(order)])


def _changed(place: int, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda inputs: [change(values) if k == place else values for k, values in enumerate(inputs)]

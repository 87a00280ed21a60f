"""Sentences about where the error comes from, and about what they stand on."""

from __future__ import annotations

import math
from collections.abc import Set

from ..analyzer.schema import Scheme, SensitivityTable
from . import numbers
from .sources import PARTS, Contribution, all_exact, contributions, layer_errors, total

# Names of what keeps estimates from being made, as many as a sentence bears.
_NAMED = 5


def findings(table: SensitivityTable, scheme: Scheme) -> tuple[str, ...]:
    """What the sources of one scheme show: by part, against all at once, the input, and what the figures stand on."""
    parts = contributions(table, scheme)
    sentences = (
        _shares(parts, scheme),
        _joint(table, parts) if scheme.name == "w8a8" else "",
        _input_rank(table, scheme),
        method_sentence(table, scheme),
        samples_sentence(table),
    )
    return tuple(sentence for sentence in sentences if sentence)


def _shares(parts: tuple[Contribution, ...], scheme: Scheme) -> str:
    together = total(parts)
    if together <= 0:
        return ""
    sums = {name: math.fsum(part.nmse for part in parts if part.part == name) for name in PARTS}
    exact = all_exact(parts)
    shares = ", ".join(
        f"{PARTS[name]} {numbers.marked(numbers.percent(value / together), exact)}"
        for name, value in sums.items()
        if value
    )
    return f"Of the summed {scheme.name} error: {shares}."


def _joint(table: SensitivityTable, parts: tuple[Contribution, ...]) -> str:
    """The sum of the sources beside the error of int8 everywhere."""
    together, exact = total(parts), all_exact(parts)
    if table.int8 is None or together <= 0:
        return ""
    ratio = together / table.int8.nmse if table.int8.nmse else math.inf
    if 0.8 <= ratio <= 1.25:
        meaning = "they nearly add up"
    elif ratio > 1:
        meaning = "they cancel in part" + ("" if exact else ", or the estimates are too large")
    else:
        meaning = "together they do more harm" + ("" if exact else ", or the estimates are too small")
    return (
        f"One at a time the sources sum to {numbers.marked(numbers.significant(together), exact)}; all at once they"
        f" give {numbers.significant(table.int8.nmse)}: {meaning}."
    )


def _input_rank(table: SensitivityTable, scheme: Scheme) -> str:
    errors = layer_errors(table, scheme)
    found = next(((rank, error) for rank, error in enumerate(errors, 1) if error.op is None), None)
    if found is None:
        return ""
    rank, error = found
    basis = "" if error.exact else ", by estimate"
    return f"The model input ranks {numbers.ordinal(rank)} of {len(errors)}{basis}."


def method_sentence(table: SensitivityTable, scheme: Scheme) -> str:
    """How the figures were made: which sources of a scheme were measured, and which estimated."""
    if all(m.method == "exact" for m in table.measurements):
        if not table.not_differentiable:
            return "Every source was measured exactly, one at a time."
        return (
            f"No estimates could be made because of {_listed(table.not_differentiable)}: every source was measured"
            " exactly instead, one at a time."
        )
    parts = contributions(table, scheme)
    sources = f"{numbers.count(len(parts))} {scheme.name} sources"
    estimated = f"estimated to first order (marked {numbers.ALMOST_EQUAL})"
    others = _estimated_elsewhere(table, parts)
    too = f", as were {others}" if others else ""
    measured = sum(part.exact for part in parts)
    if measured == 0:
        return f"All {sources} were {estimated}{too}."
    if measured == len(parts):
        return f"All {sources} were measured exactly, one at a time; {others} were {estimated}."
    subject = _measured_ones(parts, sources, table.mode)
    return f"{subject} measured exactly, one at a time; the others were {estimated}{too}."


def _measured_ones(parts: tuple[Contribution, ...], sources: str, mode: str) -> str:
    """The subject of a sentence about those that were measured: no more of the worst than really were."""
    measured = sum(part.exact for part in parts)
    count, verb = numbers.count(measured), "was" if measured == 1 else "were"
    if mode == "linear":
        return f"{count} of {sources}, which cannot be estimated, {verb}"
    worst = next(place for place, part in enumerate(parts) if not part.exact)
    if worst == measured:
        return f"The {'' if worst == 1 else f'{count} '}worst of {sources} {verb}"
    if worst == 0:
        return f"{count} of {sources} {verb}"
    return f"{count} of {sources}, the {'' if worst == 1 else f'{numbers.count(worst)} '}worst among them, {verb}"


def _estimated_elsewhere(table: SensitivityTable, parts: tuple[Contribution, ...]) -> str:
    """How many of the sources that this scheme does not have were estimated; "" where none was."""
    rest = len(table.measurements) - len(parts)
    found = sum(m.method != "exact" for m in table.measurements) - sum(not part.exact for part in parts)
    if found == 0:
        return ""
    how_many = f"all {numbers.count(rest)}" if found == rest else f"{numbers.count(found)} of the {numbers.count(rest)}"
    return f"{how_many} that other schemes and mixed networks add"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(numbers.name(name) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def samples_sentence(table: SensitivityTable) -> str:
    """How many samples the figures stand on: estimates need not take as many as measurements."""
    exact = {m.error.samples for m in table.measurements if m.method == "exact"}
    exact |= {left.error.samples for left in table.left_float} | ({table.int8.samples} if table.int8 else set())
    linear = {m.error.samples for m in table.measurements if m.method != "exact"}
    if exact and linear and exact != linear:
        return f"Each measured figure stands on {_samples(exact)}, each estimate on {_extent(linear)}."
    return f"Each figure stands on {_samples(exact | linear or {table.samples})}."


def _samples(counts: Set[int]) -> str:
    return f"{_extent(counts)} calibration sample{'' if counts == {1} else 's'}"


def _extent(counts: Set[int]) -> str:
    low, high = min(counts), max(counts)
    return numbers.count(low) if low == high else f"{numbers.count(low)} to {numbers.count(high)}"

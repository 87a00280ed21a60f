"""Made-up `Results` of sweeps that estimate: the figures of `results_factory`, most of them estimated."""

from __future__ import annotations

import dataclasses
import math
import random

from bitplan.analyzer.schema import Measurement, OutputError, Results, SensitivityTable

from .results_factory import mobilenet

TOP = 8
ESTIMATED_ON = 128


def refined() -> Results:
    """All sources estimated, those that no gradient reaches and the worst 8-bit ones measured until these stay so."""
    exact = _unreached(_table())
    while True:
        results = _mixed(exact, "refined")
        ranked = sorted(
            (m for m in results.sensitivity.measurements if m.source.is_ranked), key=lambda m: -m.error.nmse
        )
        worst = {m.source.id for m in ranked[:TOP]}
        if worst <= exact:
            return results
        exact |= worst


def linear() -> Results:
    """All sources estimated that can be."""
    return _mixed(_unreached(_table()), "linear")


def estimated() -> Results:
    """Every source estimated."""
    return _mixed(set(), "linear")


def not_differentiable() -> Results:
    """Estimates were asked for, and could not be made."""
    base = mobilenet()
    table = dataclasses.replace(_table(), mode="refined", not_differentiable=("WHILE", "CUSTOM <b>Fft</b>"))
    return dataclasses.replace(base, sensitivity=table)


def _table() -> SensitivityTable:
    table = mobilenet().sensitivity
    assert table is not None
    return table


def _unreached(table: SensitivityTable) -> set[str]:
    """Ids of the sources behind the compared logits."""
    last = max(m.source.tensor for m in table.measurements)
    return {m.source.id for m in table.measurements if m.source.tensor == last}


def _mixed(exact: set[str], mode: str) -> Results:
    base, table, rng = mobilenet(), _table(), random.Random(11)
    estimates = [_estimate(m, rng) for m in table.measurements]
    measurements = tuple(
        m if m.source.id in exact else estimate for m, estimate in zip(table.measurements, estimates, strict=True)
    )
    ops = {m.source.op for m in measurements if m.method == "exact" and m.source.is_ranked}
    left = tuple(one for one in table.left_float if one.op in ops)
    return dataclasses.replace(
        base, sensitivity=dataclasses.replace(table, measurements=measurements, left_float=left, mode=mode)
    )


def _estimate(measurement: Measurement, rng: random.Random) -> Measurement:
    """Near the measured error, with a wider interval on fewer samples."""
    nmse = measurement.error.nmse * 10 ** rng.gauss(0, 0.04)
    error = OutputError(nmse, nmse * 0.11, -10 * math.log10(nmse), ESTIMATED_ON)
    return Measurement(measurement.source, error, None, "linear")

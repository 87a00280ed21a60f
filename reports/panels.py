"""The panel of each layer: its weights, its output with the range drawn in, its schemes, and why it has its own."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..analyzer.schema import SCHEMES, Alternative, Histogram, Op, Plan, Range, Reason, Results, WeightProfile
from . import amounts, numbers
from .panel_cells import ActivationDrawing, Bins, Choice, Panel, PanelsPart, WeightDrawing
from .ranges import inner_range
from .sources import LayerError, base_scheme, labels, layer_errors, swept_schemes

COLUMNS = 48

Errors = Mapping[str, Mapping[int, LayerError]]
"""Of every layer, by scheme and op index."""


def panels_part(results: Results) -> PanelsPart | None:
    """One panel an op; None where nothing is known of any but its place in the graph."""
    graph = results.graph
    if not (results.weights or results.calibration or results.sensitivity):
        return None
    layer, errors = labels(graph), _errors(results)
    weights = {profile.op: profile for profile in results.weights}
    reasons = {reason.op: reason for reason in (results.planning.reasons if results.planning else ())}
    assigned = {a.op: a.scheme for a in results.plan.assignments} if results.plan else {}
    drawings = _activations(results)
    columns = _columns(results, bool(reasons))
    panels = tuple(
        Panel(
            op.index,
            layer[op.index],
            _why(op, reasons.get(op.key), results.plan),
            _weights(weights[op.index]) if op.index in weights else None,
            tuple(drawings[t] for t in graph.activations_out(op) if t in drawings),
            _choices(op, assigned.get(op.key), reasons.get(op.key), errors, results.plan),
        )
        for op in graph.ops
    )
    return PanelsPart(panels, columns, _first(results, errors))


def _errors(results: Results) -> Errors:
    table = results.sensitivity
    if table is None:
        return {}
    return {
        name: {error.op: error for error in layer_errors(table, SCHEMES[name]) if error.op is not None}
        for name in swept_schemes(table)
    }


def _first(results: Results, errors: Errors) -> int:
    scheme = base_scheme(results)
    worst = errors.get(scheme.name, {}) if scheme else {}
    return max(worst, key=lambda op: (worst[op].nmse, -op), default=results.graph.ops[0].index)


# --- weights ---------------------------------------------------------------------------------------------------------


def _weights(profile: WeightProfile) -> WeightDrawing:
    columns = len(profile.counts)
    width = (profile.maximum - profile.minimum) / columns
    return WeightDrawing(Bins(profile.minimum, width, profile.counts), profile.joined, profile.low, profile.high)


# --- activations -----------------------------------------------------------------------------------------------------


def _activations(results: Results) -> dict[int, ActivationDrawing]:
    calibration, emitted = results.calibration, results.emitted_ranges
    if calibration is None:
        return {}
    used = dict(calibration.ranges) | (dict(emitted.ranges) if emitted else {})
    return {t: _activation(seen, calibration.ranges.get(t, seen)) for t, seen in used.items() if any(_counts(seen))}


def _counts(seen: Range) -> tuple[int, ...]:
    return seen.histogram.counts


def _activation(used: Range, seen: Range) -> ActivationDrawing:
    share, _ = clipped(used, seen)
    note = _activation_note(used, seen)
    return ActivationDrawing(_columns_of(used.histogram), used.minimum, used.maximum, share > 0, note)


def _columns_of(histogram: Histogram) -> Bins:
    """Neighbouring bins joined until no more than `COLUMNS` are left: counts stay exact."""
    filled = [place for place, count in enumerate(histogram.counts) if count]
    first, last = filled[0], filled[-1]
    joined = math.ceil((last - first + 1) / COLUMNS)
    counts = [sum(histogram.counts[place : min(place + joined, last + 1)]) for place in range(first, last + 1, joined)]
    return Bins((histogram.start + first) * histogram.width, joined * histogram.width, tuple(counts))


def _activation_note(used: Range, seen: Range) -> str:
    extent = f"Range {numbers.significant(used.minimum)} to {numbers.significant(used.maximum)}"
    share, exact = clipped(used, seen)
    if used.declared:
        extent += ", declared by the model"
    elif (used.minimum, used.maximum) != (seen.minimum, seen.maximum):
        extent += ", chosen by a repair"
    what = "nothing that calibration saw is clipped" if share == 0 else (
        f"{numbers.marked(numbers.percent(share, 3), exact)} of the values that calibration saw lie outside and are"
        " clipped"
    )  # fmt: skip
    low, high = inner_range(used)
    width = used.maximum - used.minimum
    if share > 0 or width <= 0:
        return f"{extent}: {what}."
    return f"{extent}: {what}. The middle 99.8 % of the values take {numbers.percent((high - low) / width)} of it."


def clipped(used: Range, seen: Range) -> tuple[float, bool]:
    """Share of the values outside of a range, and whether it is exact: a bin that an end cuts is taken in part.

    Args:
      used: The range, with the histogram of what it is for.
      seen: What calibration saw; its extremes count only where it has the same histogram.
    """
    histogram, every = used.histogram, sum(used.histogram.counts)
    first, last = _extremes(used, seen)
    outside, exact = 0.0, True
    for place, count in enumerate(histogram.counts):
        if count:
            low = max((histogram.start + place) * histogram.width, first)
            high = min((histogram.start + place + 1) * histogram.width, last)
            share = _outside(low, max(low, high), used)
            exact = exact and share in (0.0, 1.0)
            outside += count * share
    return (outside / every if every else 0.0), exact


def _extremes(used: Range, seen: Range) -> tuple[float, float]:
    """Between which the values lie. Unknown ones are taken to lie in the range wherever they can."""
    if not seen.declared and seen.histogram == used.histogram:
        return seen.minimum, seen.maximum
    histogram = used.histogram
    filled = [place for place, count in enumerate(histogram.counts) if count]
    low, high = ((histogram.start + place) * histogram.width for place in (filled[0], filled[-1]))
    first = used.minimum if low <= used.minimum <= low + histogram.width else low
    last = used.maximum if high <= used.maximum <= high + histogram.width else high + histogram.width
    return first, last


def _outside(low: float, high: float, used: Range) -> float:
    if low == high:
        return float(not used.minimum <= low <= used.maximum)
    beyond = max(0.0, min(high, used.minimum) - low) + max(0.0, high - max(low, used.maximum))
    return min(1.0, beyond / (high - low))


# --- schemes ---------------------------------------------------------------------------------------------------------


def _columns(results: Results, reasoned: bool) -> tuple[tuple[str, str], ...]:
    columns = []
    if results.sensitivity:
        columns.append(("Error alone", "Output error (nmse) with only this op's weights and output in the scheme"))
    if reasoned and results.plan:
        columns += [
            ("File", "Change of the file, movement ops and conversions at the borders included"),
            ("Predicted error", "Change of the plan's predicted output error (nmse)"),
            (amounts.latency_title(results.plan), f"Change. {amounts.latency_note(results.plan)}"),
            ("Fits", "Whether the plan would keep its limits"),
        ]
    return tuple(columns)


def _choices(
    op: Op, scheme: str | None, reason: Reason | None, errors: Errors, plan: Plan | None
) -> tuple[Choice, ...]:  # fmt: skip
    others = {other.scheme: other for other in reason.alternatives} if reason else {}
    weighted = any(found.get(op.index) and found[op.index].weights for found in errors.values())
    found = []
    for name in SCHEMES:
        if name not in op.schemes and name != scheme:
            continue
        cells = []
        if errors:
            cells.append(_alone(name, errors.get(name, {}).get(op.index), weighted))
        if reason and plan:
            cells += _steps(others.get(name)) if name != scheme else ["", "", "", ""]
        found.append(Choice(name, tuple(cells), name == scheme))
    return tuple(found)


def _alone(name: str, error: LayerError | None, weighted: bool) -> str:
    if name == "float":
        return "0"
    # A scheme whose weights were not measured here would show its activations alone and look better than it is.
    if error is None or (weighted and error.weights is None):
        return ""
    return numbers.marked(numbers.significant(error.nmse), error.exact)


def _steps(other: Alternative | None) -> list[str]:
    if other is None:
        return ["", "", "", "not allowed"]
    latency = "0" if not other.latency_change else numbers.signed(other.latency_change)
    size = "0 bytes" if not other.bytes_change else numbers.signed_bytes(other.bytes_change)
    return [size, numbers.signed(other.noise_change), latency, "yes" if other.fits else "no"]


def _why(op: Op, reason: Reason | None, plan: Plan | None) -> tuple[str, ...]:
    if op.refusal:
        return (op.refusal,)
    if reason is None or plan is None:
        return ()
    sentences = []
    if reason.cheaper is not None:
        cheaper = reason.cheaper
        more = numbers.plural(-cheaper.bytes_change, "byte")
        change = cheaper.noise_change
        gain = (
            f"predicts {numbers.significant(change)} less output error"
            if change > 0
            else f"predicts {numbers.significant(-change)} more output error"
            if change < 0
            else "predicts the same output error"
        )
        sentences.append(f"{reason.scheme} {gain} than the next smaller {cheaper.scheme}, for {more} more.")
    else:
        sentences.append(f"No scheme of it is smaller than {reason.scheme}.")
    best = reason.next_best
    if best is not None:
        size = numbers.signed_bytes(best.bytes_change) if best.bytes_change else "no change of the file"
        limits = "within the limits" if best.fits else "over the limits"
        sentences.append(
            f"Next best would be {best.scheme}: predicted error {numbers.signed(best.noise_change)}, {size}, {limits}."
        )
    return tuple(sentences)


def block(part: PanelsPart) -> dict[str, object]:
    """The panels as the page carries them: short keys, figures with as many digits as a drawing can show."""
    return {
        "columns": [list(column) for column in part.columns],
        "first": part.first,
        "layers": [_entry(panel) for panel in part.panels],
    }


def _entry(panel: Panel) -> dict[str, object]:
    entry: dict[str, object] = {"op": panel.op, "name": panel.label}
    if panel.why:
        entry["why"] = list(panel.why)
    if panel.weights:
        drawn = panel.weights
        entry["w"] = [*_bins(drawn.bins), drawn.joined, _short(drawn.low, 3), _short(drawn.high, 3)]
    if panel.activations:
        entry["a"] = [
            [*_bins(a.bins), *_short((a.minimum, a.maximum)), int(a.clips), a.note] for a in panel.activations
        ]
    if panel.choices:
        entry["s"] = [[choice.scheme, int(choice.chosen), *choice.cells] for choice in panel.choices]
    return entry


def _bins(bins: Bins) -> list[object]:
    return [*_short((bins.start, bins.width), 6), list(bins.counts)]


def _short(values: tuple[float, ...], digits: int = 4) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values]

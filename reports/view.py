"""Results -> everything a page shows, as data: text, sort values, sentences. Draws nothing."""

from __future__ import annotations

from ..analyzer.schema import Results
from . import numbers
from .budget import budget_part
from .card import card
from .comparison import comparison_table, drop_bars, mismatch_table
from .device import opinion_part, times_table
from .flips import Gallery, gallery
from .network import layer_table, refused_table, strip
from .panels import panels_part
from .parts import View
from .plan import plan_part
from .provenance import run_part
from .ranges import ranges_part
from .repairs import repair_part
from .sensitivity import kind_table, sensitivity_part
from .study import study_part
from .verdict import build_verdict
from .weights import weights_part

RANDOM_BANNER = "Random calibration data: every figure here is about noise, not about your model's data"


def build_view(results: Results) -> View:
    """Computes the page.

    Pure: equal results give an equal view. Parts that were not computed are None, never empty.

    Args:
      results: Of any stage; only `provenance` and `graph` are needed.
    """
    graph = results.graph
    bars, drop_of = drop_bars(results)
    name = numbers.name(results.provenance.model_name) or "model"
    return View(
        title=name,
        subtitle=f"{numbers.plural(len(graph.ops), 'op')}, {numbers.megabytes(graph.file_bytes)} as a float .tflite",
        banner=RANDOM_BANNER if results.calibration and results.calibration.random else "",
        verdict=build_verdict(results),
        notes=tuple(numbers.name(note, 400) for note in results.notes),
        comparison=comparison_table(results),
        drops=bars,
        drop_of=drop_of,
        times=times_table(results),
        opinion=opinion_part(results),
        mismatches=mismatch_table(results),
        sensitivity=sensitivity_part(results),
        strip=strip(results),
        plan=plan_part(results),
        repairs=repair_part(results),
        layers=layer_table(results),
        kinds=kind_table(results),
        refused=refused_table(results),
        ranges=ranges_part(results),
        run=run_part(results),
        card=card(results),
        budget=budget_part(results),
        panels=panels_part(results),
        weights=weights_part(results),
        flips=_flips(results),
        study=study_part(results),
    )


def _flips(results: Results) -> Gallery | None:
    found = results.verification
    if found is None or found.flips is None or not found.flips.total:
        return None
    return gallery(found.flips, found.class_names, "report.json")

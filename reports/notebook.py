"""What a notebook shows of a result: its answer and one table, as a piece of HTML in which nothing needs a script."""

from __future__ import annotations

from collections.abc import Sequence

from ..analyzer.schema import Results
from .cells import Span, Table
from .html import environment
from .side_by_side import SideBySide
from .view import build_view

_WORST = 10


def run_html(results: Results) -> str:
    """A run's verdict, and what it has so far: before and after, else the worst layers, else the ops."""
    view = build_view(results)
    table = view.comparison
    if table is None and view.sensitivity is not None:
        table = view.sensitivity.by_scheme
    table = table or view.layers
    return _piece(view.title, view.verdict.label, view.verdict.sentences, table)


def comparison_html(view: SideBySide) -> str:
    """Runs side by side."""
    return _piece(view.title, "", [(Span(finding),) for finding in view.findings], view.table)


def table_html(title: str, table: Table) -> str:
    """A table below a title."""
    return _piece(title, "", (), table)


def _piece(title: str, label: str, sentences: Sequence[Sequence[Span]], table: Table) -> str:
    template = environment().get_template("notebook.html")
    return template.render(title=title, label=label, sentences=sentences, table=table, most=_WORST)

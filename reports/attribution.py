"""The divided error of an audit as tables: kinds, layers, interactions, coverage."""

from __future__ import annotations

from ..analyzer.schema import ERROR_KINDS, Attribution, ErrorInteraction
from . import numbers
from .cells import Cell, Column, Row, Table

_MOST_LAYERS = 40


def attribution_tables(found: Attribution) -> tuple[Table, ...]:
    """All tables of a divided error, the empty ones left out."""
    tables = (kinds_table(found), layers_table(found), interactions_table(found), coverage_table(found))
    return tuple(table for table in tables if table.rows)


def kinds_table(found: Attribution) -> Table:
    """Shares of kinds; they sum to what was measured."""
    columns = (
        Column("What", "of the file's numbers"),
        Column("Share of the error", "Shapley value, by the measured error", numeric=True),
        Column("Output error", "nmse, with two standard errors", numeric=True),
        Column("Alone", "nmse with this kind alone in the float network", numeric=True),
        Column("Told by layer", "what the layers of this kind add up to", numeric=True),
    )
    rows = tuple(
        Row(
            (
                Cell(share.kind, share.kind, ERROR_KINDS[share.kind]),
                _share(share.share_of_error),
                _error(share.nmse, share.standard_error),
                _figure(share.alone),
                _figure(share.by_layer),
            )
        )
        for share in found.kinds
    )
    notes = (
        f"They sum to {numbers.significant(found.measured_nmse)}, which the file has in the interpreter on "
        f"{numbers.plural(found.samples, 'sample')}. The float network with all of the file's numbers has "
        f"{numbers.significant(found.substituted_nmse)}; the rest is the kernels' own. A share below 0 undoes what "
        "others do.",
    )
    return Table("error-kinds", "What makes the error", columns, rows, notes)


def layers_table(found: Attribution) -> Table:
    """Shares of layers, largest first."""
    columns = (
        Column("Layer", "as the float network names it"),
        Column("Op"),
        Column("What"),
        Column("Share of the error", "Aumann-Shapley share, by the measured error", numeric=True),
        Column("Output error", "nmse, with two standard errors", numeric=True),
        Column("Alone", "nmse with this change alone in the float network", numeric=True),
        Column("Goes away without it", "nmse, all other changes left in", numeric=True),
    )
    shown = found.layers[:_MOST_LAYERS]
    rows = tuple(
        Row(
            (
                Cell(numbers.name(share.layer), share.layer, is_name=True),
                Cell(share.opcode, share.opcode),
                Cell(share.kind, share.kind),
                _share(share.share_of_error),
                _error(share.nmse, share.standard_error),
                _figure(share.alone),
                _figure(share.removed),
            )
        )
        for share in shown
    )
    rest = sum(share.nmse for share in found.layers[_MOST_LAYERS:])
    left = len(found.layers) - len(shown)
    notes = (f"{numbers.plural(left, 'more change')} sum to {numbers.significant(rest)}.",) if left else ()
    return Table("error-layers", "Which layers it comes from", columns, rows, notes)


def interactions_table(found: Attribution) -> Table:
    """Pairs that cancel or amplify each other, as far as the samples show it."""
    columns = (Column("First"), Column("Second"), Column("Effect"), Column("Output error", "nmse", numeric=True))
    pairs = [pair for pair in (*found.interactions, *found.layer_interactions) if pair.effect != "none"]
    notes = ("What two have together beyond what they have apart; only those beyond two standard errors are shown.",)
    return Table("error-pairs", "What cancels or amplifies", columns, tuple(map(_pair, pairs)), notes)


def coverage_table(found: Attribution) -> Table:
    """Ops of one file that have no counterpart in the other."""
    columns = (Column("Op"), Column("Which file has it"), Column("Why it has no counterpart"))
    covered = found.coverage
    rows = tuple(
        Row(
            (
                Cell(numbers.name(item.layer), item.layer, item.op, is_name=True),
                Cell(item.file, item.file),
                Cell(item.reason, item.reason),
            )
        )
        for item in covered.not_aligned
    )
    share = covered.matched_macs / covered.total_macs if covered.total_macs else 1.0
    notes = (
        f"{covered.matched_ops} of {numbers.plural(covered.total_ops, 'op')} of the float network were found in the "
        f"file, {numbers.percent(share)} of its multiply-accumulates.",
    )
    return Table("not-aligned", "What could not be aligned", columns, rows, notes)


def _pair(pair: ErrorInteraction) -> Row:
    return Row(
        (
            Cell(numbers.name(pair.first), pair.first),
            Cell(numbers.name(pair.second), pair.second),
            Cell("amplify each other" if pair.effect == "amplify" else "cancel", pair.effect),
            _error(pair.nmse, pair.standard_error),
        )
    )


def _share(value: float) -> Cell:
    return Cell(numbers.percent(value, 1), value)


def _figure(value: float | None) -> Cell:
    return Cell("" if value is None else numbers.significant(value), value)


def _error(value: float, standard_error: float) -> Cell:
    return Cell(f"{numbers.significant(value)} \u00b1 {numbers.significant(2 * standard_error, 2)}", value)

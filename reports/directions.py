"""One layer quantized alone against one layer left in float, and whether the two orders agree at the top."""

from __future__ import annotations

from collections.abc import Mapping

from ..analyzer.schema import LeftFloat, SensitivityTable
from . import numbers
from .cells import Cell, Column, Row, Table
from .sources import ESTIMATE_NOTE, LayerError, op_anchor

TOP = 5


def directions(
    table: SensitivityTable, layer: Mapping[int, str], layers: tuple[LayerError, ...]
) -> tuple[Table | None, str]:
    """The table, and what it shows in a sentence; (None, "") where no op was left in float.

    Only some ops may have been left in float. Both ranks count these alone, so that they can be compared.

    Args:
      layer: Names by op index.
      layers: Worst first.
    """
    if not table.left_float:
        return None, ""
    alone = {error.op: error for error in layers if error.op is not None}
    left = {one.op: one for one in sorted(table.left_float, key=lambda one: (-one.gain, one.op))}
    rank_alone = {op: rank for rank, op in enumerate((op for op in alone if op in left), 1)}
    rank_left = {op: rank for rank, op in enumerate((op for op in left if op in alone), 1)}
    chosen = dict.fromkeys([*list(left)[: 2 * TOP], *list(alone)[:TOP]])
    rows = tuple(
        _row(op, layer[op], alone.get(op), left.get(op), rank_alone.get(op), rank_left.get(op)) for op in chosen
    )
    among = "" if len(rank_alone) == len(alone) else f", among the {len(rank_alone)} that were left in float"
    columns = (
        Column("Layer"),
        Column("Error quantized alone", "nmse with only this layer in int8", True),
        Column("Rank", f"By the error of this layer alone{among}", True),
        Column("Gain left in float", "nmse of int8 everywhere minus nmse with this op in float", True),
        Column("Rank", "By the gain", True),
        Column("Error then left", "nmse of the file with this op in float and the rest int8", True),
    )
    notes = () if all(alone[op].exact for op in chosen if op in alone) else (ESTIMATE_NOTE,)
    covered = _coverage(len(rank_alone), len(alone))
    shown = _disagreement(layer, rank_alone, rank_left, {op for op in rank_alone if not alone[op].exact})
    title = "Quantized alone, or left in float"
    return Table("directions", title, columns, rows, notes), " ".join(filter(None, (covered, shown)))


def _row(
    op: int, name: str, error: LayerError | None, left: LeftFloat | None, rank_alone: int | None, rank_left: int | None
) -> Row:
    blank = Cell("", None)
    return Row((
        Cell(name, name, is_name=True, href=f"#{op_anchor(op)}"),
        Cell(numbers.marked(numbers.significant(error.nmse), error.exact), error.nmse) if error else blank,
        Cell(str(rank_alone), rank_alone) if rank_alone else blank,
        Cell(numbers.significant(left.gain), left.gain) if left else Cell("not measured", None),
        Cell(str(rank_left), rank_left) if rank_left else blank,
        Cell(numbers.significant(left.error.nmse), left.error.nmse) if left else blank,
    ))  # fmt: skip


def _coverage(measured: int, ops: int) -> str:
    if measured == ops:
        return ""
    return (
        f"Leaving an op in float was measured for {measured} of {numbers.plural(ops, 'op')}; ranks count these alone."
    )


def _disagreement(
    layer: Mapping[int, str], alone: Mapping[int, int], left: Mapping[int, int], estimated: set[int]
) -> str:
    """Whether both orders, of the same ops, start alike."""
    top = min(TOP, len(left))
    if top < 2:
        return ""
    leading = [*(op for op, rank in alone.items() if rank <= top), *(op for op, rank in left.items() if rank <= top)]
    differ = [op for op in dict.fromkeys(leading) if alone[op] != left[op]]
    if not differ:
        if top == len(left):
            return "Both directions give the same order."
        return f"Both directions give the same first {top}."
    told = "; ".join(
        f"{layer[op]} is {numbers.ordinal(alone[op])} quantized alone and {numbers.ordinal(left[op])} left in float"
        for op in differ[:TOP]
    )
    more = f"; and {len(differ) - TOP} more" if len(differ) > TOP else ""
    reasons = "interact, or lie within the noise"
    if estimated & set(differ):
        reasons = "interact, lie within the noise, or are estimates"
    return f"The two orders differ among the first {top}: {told}{more}. Where they differ, errors {reasons}."

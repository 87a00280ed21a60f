"""A table of the view as Markdown: readable in a terminal, pasted into a pull request as it is."""

from __future__ import annotations

import re
import unicodedata

from .cells import Cell, Table


def as_markdown(table: Table, most: int | None = None) -> str:
    """The table with padded columns; numbers to the right.

    Args:
      table: Of the view.
      most: Only the first rows, at most so many; a closing line says how many are left out.
    """
    rows = table.rows if most is None else table.rows[:most]
    head = [_escape(column.label) for column in table.columns]
    body = [[_escape(_text(cell)) for cell in row.cells] for row in rows]
    widths = [max(3, *(_width(line[k]) for line in [head, *body])) for k in range(len(head))]
    rule = ["-" * (w - 1) + (":" if c.numeric else "-") for w, c in zip(widths, table.columns, strict=True)]
    lines = [_line(line, widths, table) for line in (head, rule, *body)]
    if len(rows) < len(table.rows):
        lines.append(f"\n... and {len(table.rows) - len(rows)} more")
    return "\n".join(lines) + "\n"


def _line(cells: list[str], widths: list[int], table: Table) -> str:
    padded = []
    for text, width, column in zip(cells, widths, table.columns, strict=True):
        space = " " * (width - _width(text))
        padded.append(space + text if column.numeric else text + space)
    return "| " + " | ".join(padded) + " |"


def _text(cell: Cell) -> str:
    return f"{cell.text} ({cell.detail})" if cell.detail else cell.text


def _escape(text: str) -> str:
    """Text that ends no cell, and that no name in it turns into an element where the table is pasted."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text.replace("|", "\\|").replace("\n", " "))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

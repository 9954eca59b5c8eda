"""Tables of text and of Markdown, all in one style, whose columns tabulate aligns; and tables as CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Iterable, List, Mapping, Optional, Sequence

#: Stands for a space at the start of a cell, where tabulate removes spaces. It is no character of any text.
_INDENT = "\ue000"


def text_table(
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: int = 1,
    totals: Optional[Sequence[str]] = None,
    gap: int = 2,
) -> str:
    """A table as text: a heading with a line below it, then the rows.

    Parameters
    ----------
    heading : sequence of str
        The names of the columns.
    rows : sequence of sequence of str
        A cell for each column. Spaces at the start of a cell are kept.
    left : int
        The number of columns, from the first on, that are aligned at the left; the others are aligned at the right.
    totals : sequence of str, optional
        A last row, with a line above it.
    gap : int
        Spaces between two columns.
    """
    lines = _aligned([heading, *rows] if totals is None else [heading, *rows, totals], left, gap)
    rule = "-" * max(map(len, lines))
    lines.insert(1, rule)
    if totals is not None:
        lines.insert(-1, rule)
    return "\n".join(lines)


def text_columns(rows: Sequence[Sequence[str]], indent: int = 2, left: Optional[int] = None) -> str:
    """Rows of cells as text, without lines.

    Parameters
    ----------
    rows : sequence of sequence of str
        At least one.
    indent : int
        Spaces before each row.
    left : int, optional
        As in `text_table`; all columns unless given.
    """
    return "\n".join(" " * indent + line for line in _aligned(rows, len(rows[0]) if left is None else left, 2))


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown; the parameters are those of `text_table`."""
    from tabulate import tabulate

    sides = _sides(len(heading), left) if rows else None  # without a row there is no column to align
    return tabulate(rows, headers=heading, tablefmt="pipe", colalign=sides, disable_numparse=True)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table as CSV.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        Their names, which the first line has.
    rows : iterable of mapping
        The cells by column. A missing one, or None, is empty.

    Raises
    ------
    ValueError
        If a row has a cell that is in none of the columns.
    """
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def _aligned(rows: Sequence[Sequence[str]], left: int, gap: int) -> List[str]:
    """The rows as lines. The heading is one of them: tabulate makes a column wider than a heading of its own."""
    from tabulate import DataRow, TableFormat, tabulate

    between = DataRow("", " " * gap, "")
    style: Any = TableFormat(
        None, None, None, None, headerrow=between, datarow=between, padding=0, with_header_hide=None
    )
    cells = [[_with_indent(cell) for cell in row] for row in rows]
    text = tabulate(cells, tablefmt=style, colalign=_sides(len(rows[0]), left), disable_numparse=True)
    return text.replace(_INDENT, " ").splitlines()


def _sides(columns: int, left: int) -> List[str]:
    return ["left" if column < left else "right" for column in range(columns)]


def _with_indent(cell: str) -> str:
    text = cell.lstrip(" ")
    return _INDENT * (len(cell) - len(text)) + text

"""Tables of text and of Markdown, all in one style; tabulate aligns their columns."""

from __future__ import annotations

from typing import Any, Optional, Sequence

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
    from tabulate import DataRow, Line, TableFormat

    cells = [*rows, totals] if totals is not None else list(rows)
    between, dashes = " " * gap, "-" * gap
    style = TableFormat(
        lineabove=None,
        linebelowheader=Line("", "-", dashes, ""),
        linebetweenrows=None,
        linebelow=None,
        headerrow=DataRow("", between, ""),
        datarow=DataRow("", between, ""),
        padding=0,
        with_header_hide=None,
    )
    lines = _tabulated(heading, cells, left, style).splitlines()
    if totals is not None:
        lines.insert(-1, lines[1])
    return "\n".join(lines)


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown; the parameters are those of `text_table`."""
    return _tabulated(heading, rows, left, "pipe")


def _tabulated(heading: Sequence[str], rows: Sequence[Sequence[str]], left: int, style: Any) -> str:
    from tabulate import tabulate

    sides = ["left" if column < left else "right" for column in range(len(heading))]
    text = tabulate(
        [[_with_indent(cell) for cell in row] for row in rows],
        headers=heading,
        tablefmt=style,
        colalign=sides if rows else None,  # without a row there is no column to align
        disable_numparse=True,
    )
    return text.replace(_INDENT, " ")


def _with_indent(cell: str) -> str:
    text = cell.lstrip(" ")
    return _INDENT * (len(cell) - len(text)) + text

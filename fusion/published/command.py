"""python -m fusion reproduce: lists the published rows, or compares a run with one of them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..command import log_to_terminal
from ..errors import ConfigError
from ..outputs import check_picture, written_picture
from ..tables import text_table
from .compare import Comparison, OwnRun, best_run, compare, find_runs, read_run, unlike_settings
from .curves import read_curve
from .rows import ROWS, Row, find_row

#: Columns of the list of rows and their widths in characters.
_COLUMNS = {"row": 39, "published": 18, "measured on": 34, "own best": 28}
_GAP = 2
_RULE = "-" * (sum(_COLUMNS.values()) + _GAP * (len(_COLUMNS) - 1))
_WIDTH = 118
_INDENT = "    "

#: The line above the differences between a run and a row.
_UNLIKE = "First of all, the run and the row may not be comparable, for these reasons:"

#: Spaces between the columns of a comparison.
_WIDE_GAP = 3


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `reproduce`."""
    parser = commands.add_parser("reproduce")
    parser.add_argument("row", nargs="?", metavar="ROW", help="one row; all of them unless given")
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run to compare with ROW, finished or not")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="a folder of runs: shows the best one for each row")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the picture (default: reproduce_ROW.png in --run)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=reproduce)


def reproduce(arguments: argparse.Namespace) -> None:
    """List the rows, or compare a run with one of them, as the command line says."""
    log_to_terminal("stderr")
    if arguments.row is None and (arguments.run or arguments.output):
        raise ConfigError("say which row to compare the run with: python -m fusion reproduce ROW --run DIR")
    if arguments.output and not arguments.run:
        raise ConfigError("--output names the picture of a run and a row: add --run DIR")
    if arguments.run:
        _show_comparison(arguments)
        return
    rows = ROWS if arguments.row is None else (find_row(arguments.row),)
    runs = list(find_runs(arguments.runs)) if arguments.runs else []
    own = {row.id: best_run(row, runs) for row in rows}
    if arguments.json:
        print(json.dumps({"rows": [describe_row(row, own[row.id]) for row in rows]}))
    else:
        print(format_rows(rows, own))


# --- The rows --------------------------------------------------------------------------------------------------------


def describe_row(row: Row, own: Optional[OwnRun]) -> Dict[str, Any]:
    """A row with its commands and the best run of this package, in plain types for JSON."""
    fields = dataclasses.asdict(row)
    found = None
    if own is not None:
        figure = _in_its_unit(row, own.curve.best)
        found = {
            "run": str(own.path),
            "epochs": own.curve.epochs,
            "finished": own.finished,
            "best_error": own.curve.best,
            "figure": figure,
            "difference": figure - _in_its_unit(row, row.error),
            "unlike": unlike_settings(own, row),
        }
    logged = read_curve(row.id) if row.curve else None
    curve = {"epochs": logged.epochs, "best": logged.best, "last": logged.last} if logged else None
    return {**fields, "commands": row.commands, "published_curve": curve, "own": found}


def format_rows(rows: Sequence[Row], own: Dict[str, Optional[OwnRun]]) -> str:
    """The rows as text, under the headings of their tables: figures, what produced them, and the commands to run.

    Parameters
    ----------
    rows : sequence of Row
        The rows to show.
    own : dict
        For the id of each row, the best run of this package, or None.
    """
    lines = [*_cells(list(_COLUMNS)), _RULE, ""]
    table = note = ""
    for row in rows:
        if row.table != table:
            table, note = row.table, ""
            lines += [table, ""]
        lines += _cells([f"{row.id}\n{row.title}", _published(row), _measured(row), _own_words(row, own[row.id])])
        if row.produced != note:  # one note holds for all rows that follow with the same
            note = row.produced
            lines += _wrap(note, _WIDTH - len(_INDENT), _INDENT)
        lines += [f"{_INDENT}{command}" for command in row.commands]
        if row.as_described:
            lines.append(f"{_INDENT}as described: --config {Path(row.as_described).stem}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _published(row: Row) -> str:
    unit = (" accuracy" if row.is_accuracy else " error") if row.figure.endswith("%") else ""
    size = f"\n{row.size_published} parameters" if row.size_published else ""
    return f"{row.figure}{unit}{size}"


def _measured(row: Row) -> str:
    """What the figure was measured on, and the figure of the last epoch: the tables print that of the best epoch."""
    words = f"{row.test_set.title}\n{row.measured}"
    if not row.curve:
        return words
    curve = read_curve(row.id)
    return f"{words}: {curve.best_epoch} of {curve.epochs}; the last has {_in_its_unit(row, curve.last):.2f} %"


def _own_words(row: Row, own: Optional[OwnRun]) -> str:
    if own is None:
        return "-" if row.configs else ""
    figure = _in_its_unit(row, own.curve.best)
    progress = "" if own.finished else f"\n{own.progress}"
    difference = figure - _in_its_unit(row, row.error)
    return f"{figure:.2f} % ({difference:+.2f})\n{own.path}{progress}{_recipe_words(unlike_settings(own, row))}"


def _recipe_words(unlike: Optional[List[str]]) -> str:
    """A line about a run's settings; nothing if they are those of its row."""
    if unlike is None:
        return "\nsettings not checked"
    return "\nother settings" if unlike else ""


def _in_its_unit(row: Row, error: float) -> float:
    """An error in percent as the row's table prints it."""
    return 100 - error if row.is_accuracy else error


def _cells(cells: Sequence[str]) -> List[str]:
    """The cells of a row side by side, in as many lines as the longest of them needs.

    Written here and not by tabulate: between two rows there are paragraphs as wide as the page, so that each row would
    be a table of its own, whose columns tabulate makes as wide as that row's cells.
    """
    widths = list(_COLUMNS.values())
    wrapped = [_wrap(cell, width) for cell, width in zip(cells, widths)]
    height = max(map(len, wrapped))
    padded = [lines + [""] * (height - len(lines)) for lines in wrapped]
    gap = " " * _GAP
    return [gap.join(part.ljust(width) for part, width in zip(parts, widths)).rstrip() for parts in zip(*padded)]


def _wrap(text: str, width: int, indent: str = "", hanging: str = "") -> List[str]:
    """The lines of a text, broken at spaces, but not between a number and its %; the width is without the indent."""
    lines: List[str] = []
    for paragraph in text.replace(" %", "\u00a0%").split("\n"):
        lines += textwrap.wrap(paragraph, width, subsequent_indent=hanging, break_on_hyphens=False) or [""]
    return [(indent + line).replace("\u00a0", " ") for line in lines]


# --- One run ---------------------------------------------------------------------------------------------------------


def _show_comparison(arguments: argparse.Namespace) -> None:
    from .picture import draw_comparison

    row = find_row(arguments.row)
    picture = arguments.output or arguments.run / f"reproduce_{row.id}.png"
    check_picture(picture, force=True)
    comparison = compare(row, read_run(arguments.run))
    with written_picture(picture, force=True) as aside:
        draw_comparison(comparison, aside)
    if arguments.json:
        print(json.dumps({**comparison.as_dict(), "picture": str(picture)}))
    else:
        print(f"{format_comparison(comparison)}\n\npicture: {picture}")


def format_comparison(comparison: Comparison) -> str:
    """A comparison as text: first the differences, then the verdict, then the errors of both in one table."""
    row, run, own = comparison.row, comparison.run, comparison.run.curve
    published = comparison.published
    best, epochs = row.error, f"epoch {own.best_epoch} of {own.epochs}, the row's figure"
    if published is not None:
        best = published.best
        epochs = f"epoch {own.best_epoch} of {own.epochs}, epoch {published.best_epoch} of {published.epochs}"
    state = "finished" if run.finished else "so far"
    unlike = [line for words in comparison.differences for line in _wrap(f"- {words}", _WIDTH, hanging="  ")]
    lines = [
        f"{run.path}: {run.facts['model']} on {run.facts['data']}, {run.progress} ({state})",
        f"{row.id}: {row.title} on {row.test_set.title}, {row.table}",
        "",
        *([_UNLIKE, *unlike, ""] if unlike else []),
        *_wrap(f"Verdict: {comparison.conclusion}.", _WIDTH),
        "",
    ]
    cells = [(str(epoch), *_errors(error, reference)) for epoch, error, reference in comparison.lines_at()]
    heading = ("epoch", "own error", "published", "difference")
    table = text_table(heading, cells, left=0, totals=("best", *_errors(own.best, best)), gap=_WIDE_GAP)
    return "\n".join([*lines, f"{table}   ({epochs})"])


def _errors(own: Optional[float], published: Optional[float]) -> Tuple[str, ...]:
    """The cells of an epoch; None stands for an error that is not known."""
    difference = "-" if own is None or published is None else f"{own - published:+.2f}"
    return (*("-" if error is None else f"{error:.2f} %" for error in (own, published)), difference)

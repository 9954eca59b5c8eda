"""python -m fusion curves: the test error and loss of several runs, epoch by epoch, on one axis."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, List

from ..outputs import written_picture
from ..training.logbook import RunDirectory, read_evaluations, read_result
from ..words import counted
from .curves_picture import RunCurve, draw_run_curves
from .output import add_output_file


def read_run_curve(path: Path) -> RunCurve:
    """The evaluations that a run has left behind so far.

    Raises
    ------
    ConfigError
        If the folder is not a run's, or no epoch is finished.
    """
    run = RunDirectory.existing(path)
    return RunCurve(path, read_result(run), read_evaluations(run))


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `curves`."""
    parser = commands.add_parser("curves")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, finished or not")
    add_output_file(parser, "curves.png here")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    output = arguments.output or Path("curves.png")
    with written_picture(output, arguments.force) as aside:
        curves: List[RunCurve] = [read_run_curve(path) for path in dict.fromkeys(arguments.runs)]
        draw_run_curves(curves, aside)
    print(f"{output}: {counted(len(curves), 'run')}")

"""python -m fusion ablate: trains a grid of runs over fusions, blocks, other settings and seeds, with one table."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any, List, Optional, Sequence, Union

from ..command import log_to_terminal
from ..errors import ConfigError
from ..training.configs import WHAT_IT_TAKES
from .axes import read_axes
from .grid import collect, plan_grid
from .report import describe, format_table
from .running import AblationError, run_grid


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `ablate`."""
    parser = commands.add_parser("ablate")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=f"the experiment: {WHAT_IT_TAKES}")
    parser.add_argument("--fusions", metavar="NAMES", help="fusion blocks such as add,aff,iaff, or all for every one")
    parser.add_argument(
        "--blocks", metavar="NUMBERS", help="residual blocks per stage, such as 1,2 (default: the config's own)"
    )
    parser.add_argument(
        "--vary",
        nargs="+",
        action="append",
        default=[],
        metavar="section.key=VALUES",
        help="any settings, such as optimizer.name=nag,adam 'schedule.steps=[3],[2,4]'; every combination is trained",
    )
    parser.add_argument(
        "--seeds",
        default="1",
        metavar="N",
        help="runs per cell of the grid, from seed 0 on (default: 1); or the seeds themselves, such as 0,3,7",
    )
    parser.add_argument(
        "--parallel",
        type=int,
        default=1,
        metavar="N",
        help="runs at once, each with its share of the processors (default: 1)",
    )
    parser.add_argument(
        "--runs", type=Path, required=True, metavar="DIR", help="holds the folder of each run, and the table"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output at the end")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="settings over the config's")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    axes, single = read_axes(list(itertools.chain.from_iterable(arguments.vary)))
    cells = plan_grid(
        arguments.config,
        None if arguments.fusions is None else [name for name in arguments.fusions.split(",") if name],
        _numbers(arguments.blocks),
        _seeds(arguments.seeds),
        arguments.runs,
        [*arguments.settings, *single],
        axes,
    )
    output = sys.stderr if arguments.json else sys.stdout
    log_to_terminal("stderr" if arguments.json else "stdout")
    failure = None
    try:
        run_grid(cells, arguments.runs, output, arguments.parallel)
    except AblationError as error:
        failure = error
    results = collect(cells)
    if arguments.json:
        print(json.dumps(describe(results)))
    else:
        print(f"\n{format_table(results)}\n\ntable and picture: {arguments.runs}/ablation.json, .csv, .md, .png")
    if failure is not None:
        raise failure


def _numbers(text: Optional[str]) -> Sequence[Optional[int]]:
    if text is None:
        return [None]
    numbers = _whole(text)
    if not numbers or min(numbers) < 1:
        raise ConfigError(f"--blocks {text}: expected whole numbers of at least 1, such as 1,2")
    return numbers


def _seeds(text: str) -> Union[int, List[int]]:
    """How many seeds, or with a comma the seeds themselves."""
    numbers = _whole(text.rstrip(","))
    if not numbers or min(numbers) < 0:
        raise ConfigError(
            f"--seeds {text}: expected a number of seeds, such as 3, or the seeds themselves, such as 0,3,7"
        )
    return numbers if "," in text else numbers[0]


def _whole(text: str) -> List[int]:
    """Whole numbers with commas between them; none at all if one is something else."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        return []

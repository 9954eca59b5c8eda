"""python -m fusion ablate: trains a grid of runs over fusions, blocks and seeds, and writes one table of them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, List, Optional

from ..command import log_to_terminal
from ..errors import ConfigError
from ..training.configs import WHAT_IT_TAKES
from .grid import collect, plan_grid, run_grid
from .report import describe, format_table


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `ablate`."""
    parser = commands.add_parser("ablate")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=f"the experiment: {WHAT_IT_TAKES}")
    parser.add_argument(
        "--fusions", required=True, metavar="NAMES", help="fusion blocks such as add,aff,iaff, or all for every one"
    )
    parser.add_argument(
        "--blocks", metavar="NUMBERS", help="residual blocks per stage, such as 1,2 (default: the config's own)"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="runs per cell of the grid, from seed 0 on (default: 1)"
    )
    parser.add_argument(
        "--runs", type=Path, required=True, metavar="DIR", help="holds the folder of each run, and the table"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output at the end")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="settings over the config's")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    cells = plan_grid(
        arguments.config,
        [name for name in arguments.fusions.split(",") if name],
        _numbers(arguments.blocks),
        arguments.seeds,
        arguments.runs,
        arguments.settings,
    )
    output = sys.stderr if arguments.json else sys.stdout
    log_to_terminal("stderr" if arguments.json else "stdout")
    run_grid(cells, arguments.runs, output)
    results = collect(cells)
    if arguments.json:
        print(json.dumps(describe(results)))
    else:
        print(f"\n{format_table(results)}\n\ntable and picture: {arguments.runs}/ablation.json, .csv, .md, .png")


def _numbers(text: Optional[str]) -> List[Optional[int]]:
    if text is None:
        return [None]
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise ConfigError(f"--blocks {text}: expected whole numbers of at least 1, such as 1,2")
    return list(numbers)

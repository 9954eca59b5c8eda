"""python -m fusion summary: the layers of a model with their output shapes, parameters and multiply-adds."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from ..compat import mx
from ..errors import ConfigError
from ..models.zoo import get_model
from ..training.keywords import keyword_values
from .summary import format_table, summarise


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `summary`."""
    parser = commands.add_parser("summary")
    parser.add_argument("model", metavar="MODEL", help="a family or a named model")
    parser.add_argument("--depth", type=int, default=2, help="levels of blocks to show (default: 2)")
    parser.add_argument("--input-size", type=int, metavar="PIXELS", help="height and width of the image")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="of the model, such as classes=10")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    try:
        net = get_model(arguments.model, **keyword_values(arguments.arguments))
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if arguments.input_size is not None and arguments.input_size < 1:
        raise ConfigError(f"--input-size {arguments.input_size}: expected pixels, at least 1")
    try:
        rows = summarise(net, arguments.input_size)
    except mx.MXNetError:
        if arguments.input_size is None:
            raise
        raise ConfigError(
            f"--input-size {arguments.input_size}: too small or too large for {arguments.model}"
        ) from None
    if arguments.json:
        total = rows[0]
        counts = {"parameters": total.parameters, "multiply_adds": total.multiply_adds}
        print(json.dumps({"model": arguments.model, **counts, "layers": [asdict(row) for row in rows[1:]]}))
    else:
        print(format_table(rows, max(1, arguments.depth)))

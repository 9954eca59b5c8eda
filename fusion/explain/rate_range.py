"""python -m fusion lr-range: at which learning rates the loss of a config's first batches falls, and where it grows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Iterator

from ..command import log_to_terminal
from ..outputs import written_file, written_picture
from ..tables import text_columns, write_csv
from ..training.config import read_config
from ..training.configs import WHAT_IT_TAKES, find_config
from ..training.rate_range import TIMES_BEST, RateRange, find_range
from .output import add_output_file
from .rate_range_picture import draw_rate_range

#: Unless they are given: rates from far below to far above what networks are trained with.
LOWEST, HIGHEST, STEPS = 1e-5, 10.0, 200

COLUMNS = ("step", "learning_rate", "loss", "smoothed_loss")


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `lr-range`."""
    parser = commands.add_parser("lr-range")
    words = f"the experiment: {WHAT_IT_TAKES}, or the config.yaml of a run"
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=words)
    for option, name, rate, which in (("--from", "lowest", LOWEST, "first"), ("--to", "highest", HIGHEST, "last")):
        words = f"the rate of the {which} batch (default: {rate:g})"
        parser.add_argument(option, type=float, default=rate, dest=name, metavar="RATE", help=words)
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"batches at most (default: {STEPS})")
    add_output_file(parser, "lr_range.png here; a table with the same name that ends in .csv is written beside it")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="settings over the config's")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    settings = read_config(find_config(arguments.config), arguments.settings)
    picture = arguments.output or Path("lr_range.png")
    table = picture.with_suffix(".csv")
    with written_picture(picture, arguments.force) as drawn, written_file(table, arguments.force) as written:
        found = find_range(settings, arguments.lowest, arguments.highest, arguments.steps)
        draw_rate_range(found, settings.schedule.lr, drawn)
        _write_table(found, written)
    print("\n".join([*_words(found, settings.schedule.lr), f"{picture}, {table}"]))


def _write_table(found: RateRange, path: Path) -> None:
    rows = enumerate(zip(found.rates, found.losses, found.smoothed), start=1)
    write_csv(path, COLUMNS, [dict(zip(COLUMNS, (step, *map(float, row)))) for step, row in rows])


def _words(found: RateRange, own_rate: float) -> Iterator[str]:
    """What the test says, and what it does not."""
    ended = ""
    if found.blown_up:
        ended = (
            f"; it ended there, for the smoothed loss was above {TIMES_BEST:g} times its lowest, or the loss no number"
        )
    rates = f"from a rate of {found.rates[0]:.2g} to {found.rates[-1]:.2g}"
    yield f"{found.title}: {len(found.rates):,} of {found.steps:,} steps, {rates}{ended}"
    if found.steepest is None:
        yield (
            "The loss did not fall by more than chance: there is no rate to suggest. Give it more --steps, a larger "
            "data.batch_size, or other rates"
        )
        return
    rows = [("the loss falls fastest at", f"{found.steepest:.2g}", "a rate to try as schedule.lr")]
    if found.growing_from is None:
        rows.append(("the loss grows from", "-", f"it still fell at {found.rates[-1]:.2g}: try a higher --to"))
    else:
        rows.append(("the loss grows from", f"{found.growing_from:.2g}", "too high to begin a run with"))
    rows.append(("schedule.lr of the config", f"{own_rate:.2g}", ""))
    yield text_columns(rows).rstrip()
    yield (
        "These are the first steps from the initial weights, and each rate had a single step. They say which power of "
        "ten to begin\nwith, and not which rate gives the best network in the end: a rate that falls over a run, as a "
        "cosine does, may begin higher,\nand a factor of 2 or 3 either way is within the noise. Another batch size, "
        "optimizer or augmentation needs another test."
    )

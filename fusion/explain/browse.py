"""python -m fusion browse: the augmented images that a config's network is fed, as a sheet of pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..command import log_to_terminal
from ..errors import ConfigError
from ..inference.shown_names import add_class_names
from ..outputs import written_picture
from ..training.config import read_config
from ..training.configs import WHAT_IT_TAKES, find_config
from ..words import counted
from .browse_picture import IMAGES, draw_fed_images
from .output import add_output_file

#: Images of a sheet at the most.
_MOST = 200


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `browse`."""
    parser = commands.add_parser("browse")
    words = f"the experiment: {WHAT_IT_TAKES}, or the config.yaml of a run"
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=words)
    parser.add_argument(
        "--images", type=int, default=IMAGES, metavar="N", help=f"how many images to show (default: {IMAGES})"
    )
    parser.add_argument("--epoch", type=int, default=1, metavar="N", help="the epoch that they are fed in (default: 1)")
    add_class_names(parser)
    add_output_file(parser, "browse.png here")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="settings over the config's")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    settings = read_config(find_config(arguments.config), arguments.settings)
    if not 1 <= arguments.images <= _MOST:
        raise ConfigError(f"--images {arguments.images}: expected from 1 to {_MOST}")
    if not 1 <= arguments.epoch <= settings.train.epochs:
        raise ConfigError(f"--epoch {arguments.epoch}: expected from 1 to the {settings.train.epochs} of the config")
    output = arguments.output or Path("browse.png")
    with written_picture(output, arguments.force) as aside:
        count = draw_fed_images(settings, aside, arguments.images, arguments.epoch - 1, arguments.class_names)
    print(f"{output}: {counted(count, 'image')}")

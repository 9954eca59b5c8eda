"""The options of a command that say which trained network it is about."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from ..models import list_pretrained
from ..models.zoo import family_of
from .shown_names import as_shown
from .trained import Trained, load_model, load_pretrained, load_run


def add_source(parser: argparse.ArgumentParser) -> Any:
    """Add the options that say which network a command is about.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command.

    Returns
    -------
    argument group
        The options of which one is given, for commands that take networks from elsewhere too.
    """
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="DIR", help="the folder of a run")
    words = "a family or a named model, with --checkpoint unless its weights come with the package"
    source.add_argument("--model", metavar="NAME", help=words)
    parser.add_argument("--checkpoint", metavar="best|last|average|EPOCH|FILE", help="(default: best of the run)")
    parser.add_argument("--device", default="cpu", help="cpu, gpu, or a GPU's number")
    return source


def from_arguments(arguments: argparse.Namespace) -> Trained:
    """The network that the options of `add_source` name, and of `add_class_names` where a command has that.

    Raises
    ------
    FusionError
        If there is no such network.
    """
    return as_shown(_from_arguments(arguments), arguments)


def _from_arguments(arguments: argparse.Namespace) -> Trained:
    if arguments.run is not None:
        return load_run(arguments.run, arguments.checkpoint or "best", arguments.device)
    if arguments.checkpoint is None:
        if arguments.model in list_pretrained():
            return load_pretrained(arguments.model, arguments.device)
        try:
            family_of(arguments.model)
        except ValueError as error:
            raise ConfigError(f"--model: {error}") from None
        raise CheckpointError(
            f"--model {arguments.model}: say which weights with --checkpoint FILE; with the package come those of "
            f"{', '.join(list_pretrained())}"
        )
    file = Path(arguments.checkpoint)
    if arguments.checkpoint in ("best", "last", "average") and not file.exists():
        raise ConfigError(f"--checkpoint {file}: this is for --run DIR; with --model, name a file of weights")
    return load_model(arguments.model, file, arguments.device)

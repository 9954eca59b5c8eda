"""Folders and files that a command writes: whole or not at all, and in place of others only with --force."""

from __future__ import annotations

import argparse
import re
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from ..drawing import picture_format, whole_picture
from ..errors import ConfigError
from ..files import whole_file

#: Letters of an image's name in the name of its picture.
_LETTERS = 60


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where pictures go."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a folder for the pictures")
    parser.add_argument("--force", action="store_true", help="write into DIR even if it holds files")


def add_output_file(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that say where a single file goes.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command.
    default : str
        For the help: where it goes unless the option is given.
    """
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default: {default}")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


@contextmanager
def written_file(path: Path, force: bool) -> Iterator[Path]:
    """A path to write to. The file takes the final name at the end; after an error nothing is left of it.

    Parameters
    ----------
    path : Path
        The final file.
    force : bool
        Whether it may exist already.

    Raises
    ------
    ConfigError
        If it exists and `force` is not given, or if it cannot be written.
    """
    with _checked(path, force), whole_file(path) as aside:
        yield aside


@contextmanager
def written_picture(path: Path, force: bool) -> Iterator[Path]:
    """As `written_file`, for a picture: the path to draw to has the ending of the final file.

    Raises
    ------
    ConfigError
        In the same cases, and if no picture can be written under such a name.
    """
    if not path.is_dir():
        picture_format(path)
    with _checked(path, force), whole_picture(path) as drawn:
        yield drawn


@contextmanager
def _checked(path: Path, force: bool) -> Iterator[None]:
    """Refuse a file that cannot be written before any work is done, and turn what goes wrong later into one message."""
    if path.is_dir():
        raise ConfigError(f"--output {path}: is a folder; expected a file")
    if path.exists() and not force:
        raise ConfigError(f"--output {path}: is there already; write over it with --force, or name another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror or error})") from None


def picture_name(number: int, file: Path, *about: str) -> str:
    """The name of the file with the picture of an image, by the image's number, from 1, and its own name."""
    return slug("_".join([f"{number:03}", file.stem[:_LETTERS], *about])) + ".png"


def slug(text: str) -> str:
    """A text as a file name: of letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")

"""Where commands that draw put their pictures: the options, and the names of the files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

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


def picture_name(number: int, file: Path, *about: str) -> str:
    """The name of the file with the picture of an image, by the image's number, from 1, and its own name."""
    return slug("_".join([f"{number:03}", file.stem[:_LETTERS], *about])) + ".png"


def slug(text: str) -> str:
    """A text as a file name: of letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")

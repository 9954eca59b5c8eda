"""Folders and files that a command writes: whole or not at all, and over others only with --force."""

from __future__ import annotations

import argparse
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from ..errors import ConfigError
from ..files import whole_file


def add_output(parser: argparse.ArgumentParser) -> None:
    """The options that say where pictures go."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a folder for the pictures")
    parser.add_argument("--force", action="store_true", help="write into DIR though it is there, over files of a name")


@contextmanager
def written_folder(path: Path, force: bool) -> Iterator[Path]:
    """A folder to write aside; on success its files go to the final one, on failure nothing does.

    Parameters
    ----------
    path : Path
        The final folder.
    force : bool
        Whether it may hold files already: those of the same names are replaced, others stay.

    Raises
    ------
    ConfigError
        If it holds files and `force` is not given, or cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--output {path}: is a file; expected a folder")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise ConfigError(f"--output {path}: holds files already; write over them with --force, or name another folder")
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.mkdir(parents=True)
        yield aside
        path.mkdir(exist_ok=True)
        for file in sorted(aside.iterdir()):
            file.replace(path / file.name)
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def add_output_file(parser: argparse.ArgumentParser, default: str) -> None:
    """The options that say where a single file goes.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command.
    default : str
        The file's name unless given, in words where it depends on something.
    """
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default: {default}")
    parser.add_argument("--force", action="store_true", help="write over FILE if it is there")


@contextmanager
def written_file(path: Path, force: bool) -> Iterator[Path]:
    """A file to write aside; on success it takes the final name, on failure there is none.

    Parameters
    ----------
    path : Path
        The final file.
    force : bool
        Whether it may be there already.

    Raises
    ------
    ConfigError
        If it is there and `force` is not given, or it cannot be written.
    """
    if path.is_dir():
        raise ConfigError(f"--output {path}: is a folder; expected a file")
    if path.exists() and not force:
        raise ConfigError(f"--output {path}: is there already; write over it with --force, or name another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as aside:
            yield aside
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror or error})") from None

"""Files and folders that commands write: places that are checked before the work, and written whole after it."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from .drawing import picture_format
from .errors import ConfigError
from .files import filled_folder, whole_file, whole_file_by_ending

#: What a name gets while it is written: a dot, and the number of a process with an ending.
_LONGEST_ADDITION = "..4194304.part"

OUTPUT = "--output"


# --- Before the work -------------------------------------------------------------------------------------------------


def check_place(path: Path, option: str = OUTPUT) -> None:
    """Refuse a place where no file or folder can be made, before the work that fills it.

    Parameters
    ----------
    path : Path
        Of a file or folder, which may be there already.
    option : str
        Of the command line, for the message.

    Raises
    ------
    ConfigError
        If it lies below a file or behind a link that leads nowhere, or cannot be written to.
    """
    try:
        _try(path, option)
    except (OSError, ValueError) as error:  # a ValueError for a null character
        if isinstance(error, ConfigError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{option} {path}: cannot be written ({reason}); name another place") from None


def check_folder(path: Path, force: bool, option: str = OUTPUT) -> None:
    """As `check_place`, for a folder that is filled: refuse one that holds files, unless `force` allows it, and a file.

    Raises
    ------
    ConfigError
        In these cases.
    """
    check_place(path, option)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{option} {path}: is a file; expected a folder")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise ConfigError(f"{option} {path}: holds files already; write over them with --force, or name another folder")


def check_file(path: Path, force: bool, option: str = OUTPUT) -> None:
    """As `check_place`, for a file: refuse one that exists, unless `force` allows it, and what is no file.

    Raises
    ------
    ConfigError
        In these cases.
    """
    check_place(path, option)
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a folder; expected a file")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{option} {path}: is neither a file nor a folder, but a device or a pipe; expected a file")
    if path.exists() and not force:
        raise ConfigError(f"{option} {path}: is there already; write over it with --force, or name another file")


def check_picture(path: Path, force: bool, option: str = OUTPUT) -> None:
    """As `check_file`, for a picture: refuse a name that no picture can be written under as well.

    Raises
    ------
    ConfigError
        In these cases.
    """
    check_place(path, option)
    if not path.is_dir():
        picture_format(path, option)
    check_file(path, force, option)


def _try(path: Path, option: str) -> None:
    place = path.absolute()
    for each in (place, *place.parents):
        if each.exists():
            break
        if each.is_symlink():
            raise ConfigError(
                f"{option} {path}: {each} is a link to {os.readlink(each)}, which is not there; remove the link, or "
                "name another place"
            )
    if not each.is_dir() and each != place:
        raise ConfigError(f"{option} {path}: {each} is a file; expected a folder")
    with tempfile.TemporaryFile(dir=each if each.is_dir() else each.parent):  # it has no name
        pass
    if each != place or not each.is_dir():
        with suppress(FileNotFoundError):
            os.lstat(place.with_name(place.name + _LONGEST_ADDITION))  # an error for a name that no file can have


# --- After it --------------------------------------------------------------------------------------------------------


@contextmanager
def written_folder(path: Path, force: bool) -> Iterator[Path]:
    """A folder to write to. Its files go to the final folder at the end; after an error nothing goes there.

    Parameters
    ----------
    path : Path
        The final folder.
    force : bool
        Whether it may hold files already: those with the same names are replaced, others stay.

    Raises
    ------
    ConfigError
        If it holds files and `force` is not given, or if it cannot be made.
    """
    check_folder(path, force)
    with _explained(path), filled_folder(path) as aside:
        yield aside


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
    check_file(path, force)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as aside:
            yield aside


@contextmanager
def written_picture(path: Path, force: bool) -> Iterator[Path]:
    """As `written_file`, for a picture: the path to draw to has the ending of the final file.

    Raises
    ------
    ConfigError
        In the same cases, and if no picture can be written under such a name.
    """
    check_picture(path, force)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file_by_ending(path) as drawn:
            yield drawn


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong with what is written into one message; an error about another file stays what it is."""
    try:
        yield
    except OSError as error:
        place = path.absolute()
        if error.filename is not None and Path(os.fsdecode(error.filename)).absolute() not in (place, *place.parents):
            raise
        raise ConfigError(f"{OUTPUT} {path}: cannot be written ({error.strerror or error})") from None

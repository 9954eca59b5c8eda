"""Files and folders that are written whole: a reader sees the old content or the new one, never a part of it.

What is written goes into a file beside the final one, whose name starts with a dot and ends with `.part`. It is written
to the disk (`fsync`) before it takes the final name, so that a power failure leaves one of the two as well. A process
that was killed leaves its `.part` file behind; the next one that writes the same file removes it.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

_PART, _OLD = ".part", ".old"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, in place of a file that appears at the end.

    Parameters
    ----------
    path : Path
        The final file. It is replaced if it exists; its folder has to exist.

    Yields
    ------
    Path
        Where to write. Without an error the file there takes the final name; with one it is removed.
    """
    remove_leftovers(path)
    aside = _aside(path, _PART)
    try:
        yield aside
        _to_disk(aside)
        aside.replace(path)
        _to_disk(path.parent)
    finally:
        _remove(aside)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write to, in place of one that appears at the end.

    Parameters
    ----------
    path : Path
        The final folder. If it exists, all that it holds is replaced.

    Yields
    ------
    Path
        A new folder. Without an error it takes the final name; with one it is removed.
    """
    aside, old = _aside(path, _PART), _aside(path, _OLD)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    aside.mkdir()
    try:
        yield aside
        for file in aside.rglob("*"):
            _to_disk(file)
        _to_disk(aside)
        if path.exists():
            path.rename(old)
        aside.rename(path)
        _to_disk(path.parent)
    finally:
        _remove(aside)
        _remove(old)


@contextmanager
def filled_folder(path: Path) -> Iterator[Path]:
    """A folder to write files to, which are moved into the final folder at the end.

    Parameters
    ----------
    path : Path
        The final folder. Files in it with the names of new ones are replaced, the others stay.

    Yields
    ------
    Path
        A new folder. Without an error its files go to the final one; with an error nothing does.
    """
    aside = _aside(path, _PART)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    aside.mkdir()
    try:
        yield aside
        path.mkdir(exist_ok=True)
        for file in sorted(aside.iterdir()):
            _to_disk(file)
            file.replace(path / file.name)
        _to_disk(path)
    finally:
        _remove(aside)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file in UTF-8."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file, indented by two spaces."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def remove_leftovers(path: Path) -> None:
    """Remove what processes that no longer run have left of unfinished writing.

    Parameters
    ----------
    path : Path
        The final file or folder.
    """
    for ending in (_PART, _OLD):
        beginning = f".{path.name}."
        for left in path.parent.glob(f".*{ending}"):
            number = left.name[len(beginning) : -len(ending)]
            if left.name.startswith(beginning) and number.isdecimal() and not _runs(int(number)):
                _remove(left)


def _aside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{ending}")


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and belongs to another user
        return True
    return True


def _to_disk(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists() or path.is_symlink():
        path.unlink()

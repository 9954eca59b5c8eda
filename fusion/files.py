"""Files and folders that are written whole: a reader sees the old content or the new one, never a part of it.

What is written goes into a file beside the final one, whose name starts with a dot and ends with `.part`. It is written
to the disk (`fsync`) before it takes the final name, so that a power failure leaves one of the two as well. A process
that was killed leaves its `.part` file behind; the next one that writes the same file removes it, and a run that starts
or goes on removes all of its own (`sweep`). An `OSError` names the final file, whichever step it comes from.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Iterator, List, Tuple

_PART, _OLD = ".part", ".old"

#: The name of something unfinished: the final name, the number of the process that writes it, and which of the two.
_ASIDE = re.compile(rf"\.(.+)\.([0-9]+)({re.escape(_PART)}|{re.escape(_OLD)})", re.DOTALL)


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
    aside = _aside(path, _PART)
    with _cleared(path, aside):
        yield aside
        _give_name(aside, path)


@contextmanager
def whole_file_by_ending(path: Path) -> Iterator[Path]:
    """As `whole_file`, for writers that look at the ending of a name: what is written to has the final name's."""
    aside = _aside(path, _PART)
    with _cleared(path, aside):
        aside.mkdir()
        yield aside / path.name
        _give_name(aside / path.name, path)


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
    with _cleared(path, aside):
        aside.mkdir()
        yield aside
        for file in aside.rglob("*"):
            _to_disk(file)
        _to_disk(aside)
        if path.exists():
            path.rename(old)
        try:
            aside.rename(path)
            _to_disk(path.parent)
        finally:
            _settle(old)


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
    path = path.absolute()  # "." has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    # Within a folder that is there: its parent may be on another disk, or not ours to write to.
    aside = _aside(path / path.name if path.is_dir() else path, _PART)
    with _cleared(path, aside):
        sweep(aside.parent)
        aside.mkdir()
        yield aside
        path.mkdir(exist_ok=True)
        for file in sorted(aside.iterdir()):
            _to_disk(file)
            file.replace(path / file.name)
        _to_disk(path)


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
        The final file or folder. A folder that was about to be replaced when its process was killed is put back.
    """
    for left in unfinished(path.parent):
        name, process = _parts(left)
        if name == path.name and not _runs(process):
            _settle(left)


def sweep(folder: Path, alone: bool = False) -> None:
    """Remove from a folder what processes that no longer run have left of unfinished writing, whatever its name.

    Parameters
    ----------
    folder : Path
        It may be missing. Folders in it are not looked into.
    alone : bool
        Whether the caller knows that no other process writes here. Then what bears the number of a process that runs
        is left over as well, for numbers are used again: in containers, often by each start.
    """
    for left in unfinished(folder) if folder.is_dir() else ():
        process = _parts(left)[1]
        if alone or process == os.getpid() or not _runs(process):
            _settle(left)


def unfinished(folder: Path) -> List[Path]:
    """What a folder holds of unfinished writing, by processes that run and by those that were killed."""
    return sorted(path for path in folder.iterdir() if _ASIDE.fullmatch(path.name))


@contextmanager
def _cleared(path: Path, aside: Path) -> Iterator[None]:
    """Remove what is left over before and after, and have an `OSError` name the final file."""
    try:
        remove_leftovers(path)
        yield
    except OSError as error:
        # A full disk names no file, and what is aside says nothing to whoever reads the message.
        if error.errno is not None and (error.filename is None or str(error.filename).startswith(str(aside))):
            error.filename = str(path)
        raise
    finally:
        _remove(aside)


def _give_name(aside: Path, path: Path) -> None:
    _to_disk(aside)
    aside.replace(path)
    _to_disk(path.parent)


def _settle(left: Path) -> None:
    """Remove something left over, or put back an old folder whose place is empty."""
    name, _ = _parts(left)
    final = left.with_name(name)
    if left.suffix == _OLD and left.is_dir() and not final.exists():
        left.rename(final)
    else:
        _remove(left)


def _aside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{ending}")


def _parts(left: Path) -> Tuple[str, int]:
    """The final name and the process in the name of something unfinished."""
    found = _ASIDE.fullmatch(left.name)
    assert found is not None
    return found[1], int(found[2])


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # no process has such a number
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
    """Remove a file or a folder, as far as possible: an error here would take the place of the one before it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()

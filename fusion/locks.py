"""A file that one process holds at a time, and that no crash leaves held: the system lets go of it."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Optional

logger = logging.getLogger("fusion")

#: Bytes of a file that are read for the number of the process that holds it.
_MOST = 20

#: How often a file that is held is tried again, and the seconds between.
_LOOKS, _PAUSE = 3, 0.05


class HeldError(Exception):
    """Another process holds the file.

    Parameters
    ----------
    process : str
        Its number; "another" if the file does not say.
    """

    def __init__(self, process: str) -> None:
        super().__init__(process)
        self.process = process


class Lock:
    """A lock on a file, which is made for it and removed after it.

    Parameters
    ----------
    path : Path
        The file. Its folder has to exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Optional[BinaryIO] = None

    def take(self) -> None:
        """Hold the file until `release`, or until this process ends, however that happens.

        Raises
        ------
        HeldError
            If another process holds it, or this one already.
        OSError
            If the file cannot be made.
        """
        looks = _LOOKS
        while self._file is None:
            file = self._path.open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                process = _said(file)
                file.close()
                if not looks:
                    raise HeldError(process) from None
                looks -= 1  # it may be `holder` that looks at the file, which takes an instant
                time.sleep(_PAUSE)
                continue
            except OSError as error:  # some network disks know no locks
                logger.warning("%s: other processes are not kept off (%s)", self._path, error.strerror or error)
            if _names(self._path, file):
                self._file = file
            else:  # whoever held it before has removed it in the meantime
                file.close()
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())
        self._file.flush()

    def release(self) -> None:
        """Let go of the file, if it is held, and remove it."""
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink()  # while it is held: afterwards it could be another's
            with suppress(OSError):
                self._file.close()
            self._file = None


def holder(path: Path) -> Optional[str]:
    """The number of the process that holds a file, "another" if it does not say, or None if no process does.

    On a disk that knows no locks, a file that is there counts as held.

    Raises
    ------
    OSError
        If the file is there and cannot be read.
    """
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return _said(file)
            return None
    except FileNotFoundError:
        return None


def _said(file: BinaryIO) -> str:
    """The number of the process in a file that one holds."""
    file.seek(0)
    said = file.read(_MOST).decode("ascii", "replace").strip()
    return said if said.isdecimal() else "another"


def _names(path: Path, file: BinaryIO) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False

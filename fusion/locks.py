"""A file that one process holds at a time, and that no crash leaves held: the system lets go of it."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Optional

logger = logging.getLogger("fusion")

#: Bytes of a file that are read for the number of the process that holds it.
_MOST = 20


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
        while self._file is None:
            file = self._path.open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                said = file.read(_MOST).decode("ascii", "replace").strip()
                file.close()
                raise HeldError(said if said.isdecimal() else "another") from None
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


def _names(path: Path, file: BinaryIO) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False

"""What a system refuses, such as room on a disk, memory or a file, in words for whoever started the command."""

from __future__ import annotations

import errno
import os
import re
from typing import Optional

#: What to do, by the number of the system's error.
_ADVICE = {
    errno.ENOSPC: "free some room on this disk, or write to another",
    errno.EDQUOT: "free some room, or have your share of this disk enlarged",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or write to another disk",
    errno.EROFS: "write to another disk, or have this one mounted for writing",
    errno.EACCES: "name a place that you may use, or change its permissions",
    errno.EPERM: "name a place that you may use, or change its permissions",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENAMETOOLONG: "give it a shorter name",
}

#: How MXNet and Python say in other errors that there is no more memory.
_NO_MEMORY = re.compile(
    r"bad_alloc|out of memory|(failed to|cannot|unable to) allocate|allocation failed", re.IGNORECASE
)
_NO_THREAD = re.compile(r"can't start new thread")

#: How Python says that a path has a character that no path has.
_NULL_IN_PATH = re.compile(r"embedded null")

#: Letters of a text that are shown.
_LETTERS = 80


def in_words(error: BaseException) -> Optional[str]:
    """An error of the system as one line: what it is about, what is wrong, and what to do.

    Parameters
    ----------
    error : BaseException
        Any error.

    Returns
    -------
    str or None
        None for an error that says nothing about the system, and so is a mistake in the program.
    """
    if isinstance(error, MemoryError) or _is_of(error, "MXNetError", _NO_MEMORY):
        detail = str(error).strip().splitlines()
        what = f" ({detail[-1][: 2 * _LETTERS]})" if detail else ""
        return (
            f"there is not enough memory{what}: use a smaller data.batch_size or smaller images, or end other programs"
        )
    if _is_of(error, "RuntimeError", _NO_THREAD):
        return (
            "no further thread can be started: raise the limit (ulimit -u), end other programs, or set data.workers=1"
        )
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, UnicodeError):
        text = getattr(error, "object", "")
        return f"{text!r:.{_LETTERS}} is not text in UTF-8, which names and text files have to be: rename or convert it"
    if isinstance(error, ValueError) and _NULL_IN_PATH.search(str(error)):
        return "a path has a null character in it, which no file's name can have: write the path again"
    return None


def _of_system(error: OSError) -> str:
    about = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{about}{error.strerror or error}" + (f"; {advice}" if advice else "")


def _is_of(error: BaseException, kind: str, pattern: re.Pattern[str]) -> bool:
    """Whether an error is of a class of this name, which may not be imported, and says so."""
    return type(error).__name__ == kind and pattern.search(str(error)) is not None

"""Has the C library keep the memory that MXNet frees, so that the next layer does not ask the system for it again.

MXNet's CPU operators copy arrays between layouts of memory, into buffers of several megabytes that live for one
operation. glibc returns such a buffer to the system as soon as it is freed, and the system clears every page of the
next one before it is first used. If glibc keeps the memory, the whole training step uses it again and again.
benchmarks/memory.py measures both.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, List, Mapping, Optional, Tuple

#: Options of mallopt(3): the name, its number in malloc.h, and the value that it gets here.
_OPTIONS: Tuple[Tuple[str, int, int], ...] = (
    ("M_MMAP_THRESHOLD", -3, 1 << 30),  # from this size on, a buffer returns to the system when it is freed
    ("M_TRIM_THRESHOLD", -1, (1 << 31) - 1),  # how many bytes may stay free at the end of the heap
    ("M_ARENA_MAX", -8, 1),  # one heap for all threads: memory that one frees can be used by another
)


def keep_freed_memory(environment: Mapping[str, str] = os.environ, library: Optional[Any] = None) -> List[str]:
    """Have the C library keep freed memory for later buffers of this process.

    Parameters
    ----------
    environment : mapping of str to str
        Nothing is set if the user has set one of glibc's own variables (`MALLOC_...` or `GLIBC_TUNABLES`).
    library : object, optional
        A library with the function `mallopt`; by default, the C library of this process.

    Returns
    -------
    list of str
        The names of the options that were set; empty if the C library is not glibc.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environment):
        return []
    if library is None:
        if sys.platform != "linux":
            return []
        library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        return []
    return [name for name, number, value in _OPTIONS if mallopt(number, value) == 1]

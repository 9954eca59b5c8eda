"""How the C library keeps memory that MXNet has freed, so that the next layer need not ask the system for it again.

MXNet's CPU operators copy arrays between layouts of memory into buffers that live for one operation. glibc hands such
a buffer, megabytes large, back to the system as soon as it is freed, and the system clears every page of the next one
when it is first written. Kept, the same memory serves the whole training step; benchmarks/memory.py measures both.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, List, Mapping, Optional, Tuple

#: Names of mallopt(3), their numbers in malloc.h, and what each is set to here.
_OPTIONS: Tuple[Tuple[str, int, int], ...] = (
    ("M_MMAP_THRESHOLD", -3, 1 << 30),  # bytes from which a buffer is a mapping of its own, which goes when it is freed
    ("M_TRIM_THRESHOLD", -1, (1 << 31) - 1),  # bytes that may lie free at the heap's end
    ("M_ARENA_MAX", -8, 1),  # one heap for all threads: what one has freed serves another
)


def keep_freed_memory(environment: Mapping[str, str] = os.environ, library: Optional[Any] = None) -> List[str]:
    """Have the C library keep freed memory for the next buffers of this process.

    Parameters
    ----------
    environment : mapping of str to str
        Nothing is set where the user has set a variable of glibc's for it (MALLOC_... or GLIBC_TUNABLES).
    library : object, optional
        With a function `mallopt`; the process's own C library unless given.

    Returns
    -------
    list of str
        The options that were set; none with another C library than glibc.
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

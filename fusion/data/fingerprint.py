"""A short text that tells two sets of files apart by their names and sizes, without reading them.

All names count, in the order of the data set, and the sizes of some thousand files at most, evenly spaced: on a
network's disk each size takes as long as an answer, which for a million photos would be an hour.
"""

from __future__ import annotations

import hashlib
import os
from typing import Callable, Sequence, Union

#: How many sizes count at most.
SIZES = 4096

#: Characters of a fingerprint: chance gives two sets the same one in 2⁻⁸⁰.
_LENGTH = 20

#: Names that are hashed at a time.
_CHUNK = 10_000


def fingerprint_of_files(names: Sequence[str], path_of: Callable[[int], Union[str, os.PathLike[str]]]) -> str:
    """The fingerprint of files.

    Parameters
    ----------
    names : sequence of str
        Of the files, relative to the folder of the data, in the order of the data set.
    path_of : callable
        From the number of a name to the file.
    """
    digest = hashlib.sha256(f"{len(names)}\n".encode())
    for start in range(0, len(names), _CHUNK):
        digest.update("\n".join(names[start : start + _CHUNK]).encode("utf-8", "surrogateescape") + b"\n")
    step = max(1, -(-len(names) // SIZES))
    sizes = [str(_size(path_of(number))) for number in range(0, len(names), step)]
    digest.update("\n".join(sizes).encode())
    return digest.hexdigest()[:_LENGTH]


def fingerprint_of_bytes(*parts: bytes) -> str:
    """The fingerprint of something small that is in memory, such as an index."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}\n".encode() + part)
    return digest.hexdigest()[:_LENGTH]


def _size(path: Union[str, os.PathLike[str]]) -> int:
    """In bytes; of a file that has gone it is -1, and whoever reads it says so."""
    try:
        return os.stat(path).st_size  # noqa: PTH116  thousands of them
    except OSError:
        return -1

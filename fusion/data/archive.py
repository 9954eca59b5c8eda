"""Tar archives of strangers: what their headers say is compared with what there is, before anything is read.

Python's `tarfile` takes a header at its word. It makes room for as many bytes as a header of a long name asks for, goes
back in the file without end where a size is negative, on without end where it is absurd, and unpacks whatever a
compressed archive unpacks to.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple

#: What the functions here raise for an archive that is damaged.
DAMAGED = (tarfile.TarError, zlib.error, EOFError, OSError)

#: Bytes that are unpacked at a time.
_CHUNK = 1 << 20


class _Bounded(io.BufferedReader):
    """A file that makes room for no more bytes than it has left."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(str(path)))
        self._bytes = path.stat().st_size

    def read(self, size: Optional[int] = -1) -> bytes:
        left = max(0, self._bytes - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


class _Unpacked:
    """A compressed file that unpacks to no more than so many bytes."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream = stream
        self._most = self._left = most

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError(f"it unpacks to more than {self._most:,} bytes")
        return data


def list_archive(path: Path, start: int = 0) -> List[tarfile.TarInfo]:
    """The files in an archive that is not compressed, sorted by name; each ends within the file that holds it.

    Parameters
    ----------
    path : Path
        That file.
    start : int
        The byte of the file at which the archive begins.

    Raises
    ------
    Exception
        One of `DAMAGED`, if it is not whole.
    """
    end = path.stat().st_size
    with _as_damage(), _Bounded(path) as file:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            members = [member for member in _sound(tar, end) if member.isfile()]
    for member in members:
        if member.offset_data + member.size > end:
            raise tarfile.ReadError(f"{member.name!r} would end after the file")
    return sorted(members, key=lambda member: member.name)


def unpack(path: Path, most: int) -> Iterator[Tuple[tarfile.TarInfo, Callable[[], bytes]]]:
    """The files in a `.tar.gz`, in their order.

    Parameters
    ----------
    path : Path
        The archive.
    most : int
        The most bytes that it may unpack to.

    Yields
    ------
    member : TarInfo
        The header of a file.
    read : callable
        Gives what it holds, until the next one is asked for.

    Raises
    ------
    Exception
        One of `DAMAGED`, if it is not whole or unpacks to more.
    """
    with _as_damage(), gzip.open(str(path), "rb") as stream:
        bounded: Any = _Unpacked(stream, most)
        with tarfile.open(fileobj=bounded, mode="r|", bufsize=_CHUNK) as tar:
            for member in _sound(tar, most):
                yield member, partial(_content, tar, member)


def _sound(tar: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, each before `tarfile` looks for the one that follows it, as far away as it may be."""
    for member in tar:
        if not 0 <= member.size <= most:
            raise tarfile.ReadError(f"{member.name!r} would have {member.size:,} bytes")
        yield member


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    return b"" if stream is None else stream.read()


@contextmanager
def _as_damage() -> Iterator[None]:
    """Tell numbers that Python cannot use, and a long chain of headers for other headers, as `tarfile` tells damage."""
    try:
        yield
    except (ValueError, OverflowError, RecursionError) as error:
        raise tarfile.ReadError(str(error)) from None

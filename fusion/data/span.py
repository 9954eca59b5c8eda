"""Where the bytes of an image are, so that images can be compared without decoding them."""

from __future__ import annotations

import os
from typing import NamedTuple


class Span(NamedTuple):
    """A part of a file.

    Attributes
    ----------
    path : str
        The file.
    start, length : int
        In bytes.
    """

    path: str
    start: int
    length: int

    def read_end(self, count: int) -> bytes:
        """The last `count` bytes of it, or all if it has fewer."""
        count = min(count, self.length)
        with open(self.path, "rb") as file:  # noqa: PTH123  a million of them
            file.seek(self.start + self.length - count)
            return file.read(count)


def file_span(path: str) -> Span:
    """All bytes of a file; none if it cannot be read, as whoever needs the image will say."""
    try:
        return Span(path, 0, os.stat(path).st_size)  # noqa: PTH116  a million of them
    except OSError:
        return Span(path, 0, 0)

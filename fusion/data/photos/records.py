"""Reads MXNet's RecordIO files (.rec with .idx) at any record from any thread, without a lock.

The format is dmlc-core's: each part of a record has a magic number, its length with two flag bits for the first,
middle and last part, and the bytes, filled up to a multiple of four. A record whose content holds the magic number is
split there. An image record begins with a `mxnet.recordio.IRHeader`. MXNet's own reader has a position in the file, so
that threads cannot share it.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import List, Tuple

import numpy as np

from ...errors import DataError
from ..fingerprint import fingerprint_of_bytes
from ..span import Span
from .header import MOST_BYTES


class BadRecordError(DataError):
    """There is no whole image record at a place where the index says that there is one."""


MAGIC = 0xCED7230A
FRAME = struct.Struct("<II")
LENGTH_BITS = 29
WHOLE, FIRST, LAST = 0, 1, 3  # what the flag bits say
IMAGE_HEADER = struct.Struct("<IfQQ")
_FLOAT = 4

#: The most bytes that are read for a record: far more may lie between two places that an index has.
_MOST_SPAN = MOST_BYTES + 2**20


#: A line of an index. MXNet's iterator reads no further at any other, and may end the process by what it has.
_INDEX_LINE = re.compile(r"[0-9]{1,18}\t([0-9]{1,18})")


class RecordFile:
    """The records of a .rec file, in the order of its .idx file.

    Parameters
    ----------
    path : Path
        The .rec file; the index is beside it, named .idx.

    Raises
    ------
    DataError
        If one of the two is missing or empty, or the index does not belong to the records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index_path = path.with_suffix(".idx")
        for wanted, other in ((path, self.index_path), (self.index_path, path)):
            if not wanted.is_file():
                raise DataError(
                    f"{wanted}: no such file, and {other.name} is of no use without it; "
                    "python -m fusion prepare imagenet writes both (MXNet's tools/rec2idx.py makes an index)"
                )
        #: Where records begin, in the order of the index.
        self.offsets = _read_index(self.index_path)
        self._size = path.stat().st_size
        if self.offsets.max() + FRAME.size > self._size:
            raise DataError(
                f"{self.index_path} points to byte {self.offsets.max():,}, beyond the end of {path.name} "
                f"({self._size:,} bytes): one of them is cut short or of another data set"
            )
        #: The end of each record, or a later byte where records follow that are not in the index.
        ordered = np.append(np.unique(self.offsets), self._size)
        self._ends = ordered[np.searchsorted(ordered, self.offsets, side="right")]
        self._file = path.open("rb")
        self.image(0)  # the first record shows whether the two belong together

    def __len__(self) -> int:
        return len(self.offsets)

    def fingerprint(self) -> str:
        """Of the size of the file and the places of its records."""
        return fingerprint_of_bytes(str(self._size).encode(), self.offsets.astype("<i8").tobytes())

    def image(self, position: int) -> Tuple[bytes, float]:
        """The file of an image, and its label.

        Parameters
        ----------
        position : int
            From 0, in the order of the index.

        Raises
        ------
        BadRecordError
            If there is no image record at the indexed place.
        """
        start = int(self.offsets[position])
        # Unlike seek and read, pread has no position that threads would have to share.
        span = os.pread(self._file.fileno(), min(int(self._ends[position]) - start, _MOST_SPAN), start)
        try:
            record = _join_parts(span)
            flag, label, _, _ = IMAGE_HEADER.unpack_from(record)
            if flag:  # the number of labels that follow; the first is the class
                (label,) = struct.unpack_from("<f", record, IMAGE_HEADER.size)
        except (ValueError, struct.error):
            raise BadRecordError(
                f"{self.path}: no image record at byte {start:,}, where {self.index_path.name} has number {position}: "
                "the file is damaged, or the index belongs to another file"
            ) from None
        return record[IMAGE_HEADER.size + flag * _FLOAT :], label

    def span(self, position: int) -> Span:
        """Where the file of an image is, if its header has a single label; up to three zeros may follow it."""
        start, end = int(self.offsets[position]), int(self._ends[position])
        header = min(FRAME.size + IMAGE_HEADER.size, end - start)
        return Span(str(self.path), start + header, end - start - header)


def _read_index(path: Path) -> np.ndarray:
    """Offsets (N,) int64, in the order of the file."""
    offsets: List[int] = []
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        found = _INDEX_LINE.fullmatch(line)
        if not found:
            raise DataError(f"{path}, line {number}: expected a number, a tab and an offset, not {line[:40]!r}")
        offsets.append(int(found[1]))
    if not offsets:
        raise DataError(f"{path}: expected a line for each record, and it has none")
    return np.array(offsets, np.int64)


def _join_parts(span: bytes) -> bytes:
    """One record from the bytes that start with it."""
    parts: List[bytes] = []
    position = 0
    while True:
        magic, word = FRAME.unpack_from(span, position)
        kind, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
        position += FRAME.size
        part = span[position : position + length]
        if magic != MAGIC or len(part) < length or (kind in (WHOLE, FIRST)) == bool(parts):
            raise ValueError("not a record")
        parts.append(part)
        if kind in (WHOLE, LAST):
            return struct.pack("<I", MAGIC).join(parts)
        position += length  # parts but the last have a length that is a multiple of four, so that no padding follows

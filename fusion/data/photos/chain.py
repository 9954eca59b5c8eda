"""Follows a RecordIO file from record to record before MXNet's own thread does, which at a false word ends the process.

Each record begins with a magic number and its length, and the next one follows where that length ends. These few words
of each record are read here, and nothing between them: about a second for a million records that are in memory, and one
access to the disk for each of those that are not. Records of `python -m fusion prepare imagenet` are believed without
it: they were checked when they were written, and their journal says how long the files have to be.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...reading import ReadingError, read_json
from .header import MOST_PIXELS
from .records import FIRST, FRAME, IMAGE_HEADER, LAST, LENGTH_BITS, MAGIC, WHOLE

#: Of the journal that `fusion.data.photos.prepare` writes, in bytes.
LARGEST_JOURNAL = 100_000

_WORD = 4
_LENGTH = (1 << LENGTH_BITS) - 1

#: The first two words of a PNG file, and behind how many words it has its width and height.
_PNG_WORDS = np.frombuffer(b"\x89PNG\r\n\x1a\n", "<u4")
_PNG_WIDTH, _PNG_HEIGHT = 4, 5

#: The first words of WebP, GIF and TIFF files, and the first half of a word of BMP files.
_OTHER_WORDS = np.frombuffer(b"RIFFGIF8II*\0MM\0*", "<u4")
_BMP_START = int.from_bytes(b"BM", "little")


def check_chain(path: Path, offsets: np.ndarray) -> None:
    """Refuse a .rec file at which MXNet's iterator would end the process.

    Parameters
    ----------
    path : Path
        The .rec file; beside it may be the journal of `fusion.data.photos.prepare`.
    offsets : ndarray
        (N,) int64, where the index says that records begin; each is followed by at least two words.

    Raises
    ------
    DataError
        If a record is not where the index or the record before it says, or is no image record, or something follows
        the last one, or a photo is a PNG of more than `MOST_PIXELS` pixels, or neither JPEG nor PNG.
    """
    if _is_believed(path):
        return
    size = path.stat().st_size
    starts = np.unique(offsets)
    if size % _WORD or (starts % _WORD).any():
        raise _fault(path, size // _WORD * _WORD, "records begin and end at multiples of four bytes, and this does not")
    words = np.memmap(path, "<u4", mode="r")
    if hasattr(mmap, "MADV_RANDOM"):
        words._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # or all that lies between is read as well
    ends = np.append(starts[1:], size)
    others = ~_are_plain(words, starts, ends)
    for start, end in zip(starts[others].tolist(), ends[others].tolist()):
        _follow(path, words, start, end)
    _refuse_images(path, words, starts)


def _is_believed(path: Path) -> bool:
    """Whether `prepare` has written these records, and nothing has changed them since."""
    index, journal = path.with_suffix(".idx"), path.with_suffix(".journal.json")
    try:
        state = read_json(journal, LARGEST_JOURNAL)
        noted = journal.stat().st_mtime_ns
        return bool(state["finished"]) and all(
            file.stat().st_size == state["lengths"][file.suffix] and file.stat().st_mtime_ns <= noted
            for file in (path, index)
        )
    except (ReadingError, OSError, KeyError, TypeError):
        return False


def _are_plain(words: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Which of these places have a record of one part that ends where the next one begins."""
    magic, word = words[starts // _WORD], words[starts // _WORD + 1]
    following = starts + FRAME.size + -(-(word & _LENGTH).astype(np.int64) // _WORD) * _WORD
    return np.asarray((magic == MAGIC) & (word >> LENGTH_BITS == WHOLE) & (following == ends))


def _follow(path: Path, words: np.ndarray, start: int, end: int) -> None:
    """Follow what lies between two indexed places: records of several parts, or records that are not in the index."""
    position, inside = start, False
    while position < end:
        if position + FRAME.size > end or words[position // _WORD] != MAGIC:
            raise _fault(path, position, "no record begins there")
        word = int(words[position // _WORD + 1])
        kind = word >> LENGTH_BITS
        if (kind in (WHOLE, FIRST)) == inside:
            raise _fault(path, position, "the parts of the record there are not in order")
        inside = kind not in (WHOLE, LAST)
        position += FRAME.size + -(-(word & _LENGTH) // _WORD) * _WORD
    if inside or position != end:
        raise _fault(path, start, f"the record there does not end at byte {end:,}, where the next one begins")


def _refuse_images(path: Path, words: np.ndarray, starts: np.ndarray) -> None:
    """Refuse records that are too short for an image, PNG files of too many pixels, and other kinds of files."""
    first = starts // _WORD
    word = words[first + 1]
    whole = word >> LENGTH_BITS == WHOLE
    first, length = first[whole], (word[whole] & _LENGTH).astype(np.int64)
    labels = words[np.minimum(first + FRAME.size // _WORD, len(words) - 1)].astype(np.int64)
    head = IMAGE_HEADER.size + _WORD * labels
    short = np.flatnonzero(length < head)
    if short.size:
        raise _fault(path, int(first[short[0]]) * _WORD, "the record there is too short for an image and its label")
    long = length - head >= _WORD * (_PNG_HEIGHT + 1)
    photo = ((FRAME.size + head) // _WORD + first)[long]
    strange = np.flatnonzero(np.isin(words[photo], _OTHER_WORDS) | (words[photo] & 0xFFFF == _BMP_START))
    if strange.size:
        what = "a photo that is neither JPEG nor PNG, which MXNet's reader may not know"
        raise _fault(path, int(photo[strange[0]]) * _WORD, what)
    png = photo[(words[photo] == _PNG_WORDS[0]) & (words[photo + 1] == _PNG_WORDS[1])]
    width, height = (words[png + place].byteswap().astype(np.float64) for place in (_PNG_WIDTH, _PNG_HEIGHT))
    large = np.flatnonzero(width * height > MOST_PIXELS)
    if large.size:
        size = f"{width[large[0]]:.0f}x{height[large[0]]:.0f}"
        raise _fault(path, int(png[large[0]]) * _WORD, f"a PNG of {size}; expected at most {MOST_PIXELS:,} pixels")


def _fault(path: Path, position: int, reason: str) -> DataError:
    return DataError(
        f"{path}, byte {position:,}: {reason}: the file is damaged, or {path.with_suffix('.idx').name} belongs to "
        "another file; write both again (python -m fusion prepare imagenet), or read what can be read with "
        "data.pipeline=python"
    )

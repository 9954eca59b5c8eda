"""WebP, BMP, GIF and TIFF files before they are decoded: size, whether they are whole, and their first image alone.

Pillow decodes them, and is given only what it needs for the first image: what else such a file may hold (comments,
other pages, other frames, notes of programs) can take any time and memory, and nobody looks at it here.
"""

from __future__ import annotations

import struct
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .kinds import TITLES, UPRIGHT, BadPhotoError, Header, read_orientation

_EXIF = b"Exif\0\0"


class FirstImage(NamedTuple):
    """The first image of a file.

    Attributes
    ----------
    header : Header
        Of the image as it is stored.
    data : bytes
        A file of the same kind that has this image, and no orientation.
    """

    header: Header
    data: bytes


def kind_of(data: bytes) -> Optional[str]:
    """Which of these kinds a file is, by how it begins; None for any other."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    return "BMP" if data.startswith(b"BM") else None


def first_image(data: bytes, kind: str) -> FirstImage:
    """The first image of a file.

    Parameters
    ----------
    data : bytes
        The whole file.
    kind : str
        Of this file, by `kind_of`.

    Raises
    ------
    BadPhotoError
        If it is cut short or damaged, or has no size.
    """
    try:
        found = _READERS[kind](data)
    except (struct.error, IndexError):  # beyond the end
        raise BadPhotoError(f"{TITLES[kind]} without its end") from None
    if found.header.height <= 0 or found.header.width <= 0:
        raise BadPhotoError(f"{TITLES[kind]} without a size")
    return found


# --- WebP ------------------------------------------------------------------------------------------------------------

#: Behind the name and the length of a chunk: the key frame's start code, or the signature of a lossless image.
_KEY_FRAME, _LOSSLESS = b"\x9d\x01\x2a", 0x2F
_ALPHA = 0x10


def _webp(data: bytes) -> FirstImage:
    """Source: RFC 9649, WebP Image Format."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise BadPhotoError("WebP without its end")
    header, orientation = None, UPRIGHT
    for name, start, stop in _riff_chunks(data, end):
        if header is None:
            header = _webp_size(name, data[start : min(stop, start + 10)])
        if name == b"EXIF" and orientation == UPRIGHT:
            exif = data[start:stop]
            orientation = read_orientation(exif[len(_EXIF) :] if exif.startswith(_EXIF) else exif)
    if header is None:
        raise BadPhotoError("WebP without a size")
    return FirstImage(header._replace(orientation=orientation), data[:end])


def _riff_chunks(data: bytes, end: int) -> Iterator[Tuple[bytes, int, int]]:
    """The name of each chunk, and where its content begins and ends."""
    position = 12
    while position + 8 <= end:
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if position + 8 + length > end:
            raise BadPhotoError("WebP without its end")
        yield data[position : position + 4], position + 8, position + 8 + length
        position += 8 + length + length % 2


def _webp_size(name: bytes, content: bytes) -> Optional[Header]:
    """The size that a chunk says, if it is one that says it."""
    if name == b"VP8X":
        width, height = (1 + int.from_bytes(content[place : place + 3], "little") for place in (4, 7))
        return Header(height, width, 4 if content[0] & _ALPHA else 3, "WEBP")
    if name == b"VP8 " and content[3:6] == _KEY_FRAME:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 6))
        return Header(height, width, 3, "WEBP")
    if name == b"VP8L" and content[0] == _LOSSLESS:
        (bits,) = struct.unpack_from("<I", content, 1)
        return Header(1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), 4 if bits >> 28 & 1 else 3, "WEBP")
    return None


# --- BMP -------------------------------------------------------------------------------------------------------------

#: The length of the oldest header, whose sides have two bytes each.
_CORE = 12

#: How pixels may be stored: as they are, or by masks of bits. Run lengths are not read: a few bytes of them can stand
#: for any number of pixels.
_BMP_PLAIN = (0, 3)


def _bmp(data: bytes) -> FirstImage:
    """Source: the documentation of Windows, BITMAPFILEHEADER and BITMAPINFOHEADER."""
    start, length = struct.unpack_from("<II", data, 10)
    compression = 0
    if length == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression not in _BMP_PLAIN:
        raise BadPhotoError(f"a compressed BMP (method {compression}), which is not read: save it as PNG")
    height = abs(height)  # negative: from top to bottom
    if start + (width * bits + 31) // 32 * 4 * height > len(data):
        raise BadPhotoError("BMP without its end")
    return FirstImage(Header(height, width, 4 if bits == 32 else 3, "BMP"), data)


# --- GIF -------------------------------------------------------------------------------------------------------------

_SCREEN = 13
_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_GRAPHIC_CONTROL = 0xF9


def _gif(data: bytes) -> FirstImage:
    """Source: Graphics Interchange Format, version 89a, CompuServe 1990."""
    width, height = struct.unpack_from("<HH", data, 6)
    position = head = _SCREEN + _colour_table(data[10])
    control = b""
    image: Optional[bytes] = None
    while data[position] != _TRAILER:
        start = position
        if data[position] == _EXTENSION:
            position = _behind_blocks(data, position + 2)
            if data[start + 1] == _GRAPHIC_CONTROL and image is None:
                control = data[start:position]
        elif data[position] == _IMAGE:
            left, top, across, down = struct.unpack_from("<HHHH", data, position + 1)
            position = _behind_blocks(data, position + 10 + _colour_table(data[position + 9]) + 1)
            if image is None:
                image = data[start:position]
                # As viewers do, the canvas is as large as its first image needs.
                width, height = max(width, left + across), max(height, top + down)
                if not across or not down:
                    raise BadPhotoError("GIF without a size")
        else:
            raise BadPhotoError(f"a damaged GIF (no block begins with {data[position]})")
    if image is None:
        raise BadPhotoError("GIF without an image")
    return FirstImage(Header(height, width, 3, "GIF"), data[:head] + control + image + bytes([_TRAILER]))


def _colour_table(flags: int) -> int:
    """The bytes of the table of colours that the flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _behind_blocks(data: bytes, position: int) -> int:
    """Where a chain of blocks ends, which each begin with their length."""
    while data[position]:
        position += 1 + data[position]
    return position + 1


# --- TIFF ------------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _ORIENTATION, _SAMPLES = 256, 257, 274, 277
_STRIPS, _TILES = (273, 279), (324, 325)
_TILE_SIZE = (322, 323)

#: What decoding needs of a TIFF file, by the numbers of the fields; all others are left out.
_NEEDED = frozenset(
    (
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332),
        *(338, 339, 347, 529, 530, 531, 532),
    )
)

#: How many bytes a value of each type has, by the number of the type.
_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)

#: Whole numbers of one, two and four bytes, by the numbers of their types.
_INTEGERS = {1: "B", 3: "H", 4: "I"}

#: Tiles of more pixels are no photo's.
_LARGEST_TILE = 2**26


def _tiff(data: bytes) -> FirstImage:
    """Source: TIFF revision 6.0, Adobe 1992."""
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entries: Dict[int, bytes] = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(f"{order}H", data, place)
        entries.setdefault(tag, data[place : place + 12])
    struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)
    numbers = {tag: _numbers(data, order, entry) for tag, entry in entries.items() if tag in _TO_READ}
    if len(numbers.get(_WIDTH, ())) != 1 or len(numbers.get(_HEIGHT, ())) != 1:
        raise BadPhotoError("TIFF without a size")
    for places, lengths in (_STRIPS, _TILES):
        pairs = zip(numbers.get(places, ()), numbers.get(lengths, ()))
        if any(place + length > len(data) for place, length in pairs):
            raise BadPhotoError("TIFF without its end")
    if all(places not in numbers for places, _ in (_STRIPS, _TILES)):
        raise BadPhotoError("TIFF without pixels")
    across, down = (max(numbers.get(tag, (0,)), default=0) for tag in _TILE_SIZE)
    if across * down > _LARGEST_TILE:
        raise BadPhotoError(f"a TIFF with tiles of {across}x{down} pixels; expected at most {_LARGEST_TILE:,}")
    kept = [entry for tag, entry in sorted(entries.items()) if tag in _NEEDED]
    for entry in kept:
        kind, count, place = struct.unpack_from(f"{order}HII", entry, 2)
        length = count * (_BYTES[kind] if kind < len(_BYTES) else 0)
        if length > 4 and place + length > len(data):
            raise BadPhotoError("TIFF without its end")
    fields = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)  # no other page
    alone = data[:start] + fields + data[start + len(fields) :]
    (orientation,) = (numbers.get(_ORIENTATION) or [UPRIGHT])[:1]
    channels = (numbers.get(_SAMPLES) or [1])[0]
    header = Header(numbers[_HEIGHT][0], numbers[_WIDTH][0], channels, "TIFF")
    return FirstImage(header._replace(orientation=orientation if 1 <= orientation <= 8 else UPRIGHT), alone)


_TO_READ = frozenset((_WIDTH, _HEIGHT, _ORIENTATION, _SAMPLES, *_STRIPS, *_TILES, *_TILE_SIZE))


def _numbers(data: bytes, order: str, entry: bytes) -> List[int]:
    """The whole numbers of a field; none of a field of another type."""
    kind, count, place = struct.unpack_from(f"{order}HII", entry, 2)
    letter = _INTEGERS.get(kind)
    if letter is None:
        return []
    size = struct.calcsize(letter) * count
    if size <= 4:
        return list(struct.unpack_from(f"{order}{count}{letter}", entry, 8))
    if place + size > len(data):
        raise BadPhotoError("TIFF without its end")
    return list(struct.unpack_from(f"{order}{count}{letter}", data, place))


_READERS: Dict[str, Callable[[bytes], FirstImage]] = {"WEBP": _webp, "BMP": _bmp, "GIF": _gif, "TIFF": _tiff}

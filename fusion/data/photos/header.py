"""What an image file says before anything is decoded: size, kind, orientation, and whether it is whole.

Every reader of images begins here, whichever library decodes afterwards, so that all of them refuse the same files:

- A photo has at most `MOST_PIXELS` pixels and a file at most `MOST_BYTES` bytes.
- A file has its end; what stands behind the end is ignored. Phones and editors write there, and no viewer minds.
- A photo is shown as the orientation tag of its EXIF data says.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Optional, Union

from .kinds import TITLES, UPRIGHT, BadPhotoError, Header, read_orientation
from .rarer import first_image, kind_of

__all__ = [
    "MOST_BYTES",
    "MOST_PIXELS",
    "MOST_WEBP_PIXELS",
    "UPRIGHT",
    "BadPhotoError",
    "Header",
    "read_file",
    "read_header",
]

#: The most pixels that are decoded, 89 million: with three bytes each they take a quarter of a GiB, so that each thread
#: can have a photo. Pillow warns from the same number on. Cameras of 61 megapixels are below it, and the largest photos
#: of data sets far below.
MOST_PIXELS = 2**28 // 3

#: The same of WebP, whose decoder takes some twenty bytes for each.
MOST_WEBP_PIXELS = MOST_PIXELS // 2

#: The most bytes that a file has: no file needs more than its pixels without any compression.
MOST_BYTES = 2**28

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

_END_OF_JPEG = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that begin with the size
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_EXIF_MARKER, _EXIF = 0xE1, b"Exif\0\0"

#: Progressive JPEG files have some ten scans. Each takes time for all pixels, and a small file can have any number.
_MOST_SCANS = 500


def read_file(path: Union[str, Path]) -> bytes:
    """The bytes of an image file.

    Raises
    ------
    BadPhotoError
        If there are more than `MOST_BYTES`.
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:  # noqa: PTH123  a million of them
        size = os.fstat(file.fileno()).st_size
        if size > MOST_BYTES:
            raise BadPhotoError(f"a file of {size:,} bytes; expected at most {MOST_BYTES:,}")
        return file.read()


def read_header(data: bytes) -> Header:
    """Size, kind and orientation of an image file, without decoding it; of several images, those of the first.

    Parameters
    ----------
    data : bytes
        The whole file: a JPEG whose end is missing is refused, as its decoder would fill the rest with grey.

    Raises
    ------
    BadPhotoError
        If it is empty, of another kind, cut short, or has too many pixels.
    """
    if not data:
        raise BadPhotoError("empty file")
    if data.startswith(JPEG):
        found = _jpeg_header(data)
    elif data.startswith(PNG):
        found = _png_header(data)
    else:
        kind = kind_of(data)
        if kind is None:
            raise BadPhotoError("no image of a known kind")
        found = first_image(data, kind).header
    most = MOST_WEBP_PIXELS if found.kind == "WEBP" else MOST_PIXELS
    if found.height * found.width > most:
        pixels, title = found.height * found.width, TITLES[found.kind]
        of_kind = "" if most == MOST_PIXELS else f" of a {title} file"
        raise BadPhotoError(
            f"{found.width}x{found.height} are {pixels:,} pixels; expected at most {most:,}{of_kind}: scale it down"
        )
    if found.orientation >= 5:
        return found._replace(height=found.width, width=found.height)
    return found


def _jpeg_header(data: bytes) -> Header:
    """The header of a JPEG file with its size as stored."""
    found: Optional[Header] = None
    orientation = UPRIGHT
    progressive = False
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:  # decoders skip what stands between two markers
            position += 1
            continue
        if marker == 0xFF:  # padding
            position += 1
        elif marker in _BARE:
            position += 2
        elif marker == _START_OF_SCAN:
            break
        else:
            end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            if marker in _FRAMES and position + 10 <= len(data):
                height, width, channels = struct.unpack_from(">HHB", data, position + 5)
                found = Header(height, width, channels, "JPEG")
                progressive = marker & 3 == 2
            elif marker == _EXIF_MARKER and orientation == UPRIGHT and data.startswith(_EXIF, position + 4):
                orientation = read_orientation(data[position + 4 + len(_EXIF) : end])
            position = end
    if found is None or found.height == 0 or found.width == 0:
        raise BadPhotoError("JPEG without a size")
    if data.rfind(_END_OF_JPEG, position) < 0:
        raise BadPhotoError("JPEG without its end")
    if progressive and data.count(b"\xff\xda", position) > _MOST_SCANS:
        raise BadPhotoError(f"a progressive JPEG of more than {_MOST_SCANS} scans")
    return found._replace(orientation=orientation)


def _png_header(data: bytes) -> Header:
    """The header of a PNG file with its size as stored, once the chain of its chunks has led to its end."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise BadPhotoError("damaged PNG header")
    width, height, _, kind = struct.unpack_from(">IIBB", data, 16)
    orientation = UPRIGHT
    position = len(PNG)
    while position + 12 <= len(data):
        chunk = data[position + 4 : position + 8]
        if chunk == b"IEND":
            break
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if chunk == b"eXIf":
            orientation = read_orientation(data[position + 8 : end - 4])
        position = end
    else:
        raise BadPhotoError("PNG without its end")
    if height == 0 or width == 0:
        raise BadPhotoError("PNG without a size")
    return Header(height, width, {0: 1, 4: 4, 6: 4}.get(kind, 3), "PNG", orientation)

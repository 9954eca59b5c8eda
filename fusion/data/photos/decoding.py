"""JPEG and PNG files to pixels: what a header says, and decoding by OpenCV, which is imported when a photo needs it."""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Any, NamedTuple, Optional

import numpy as np

from ...errors import DataError
from ..transparency import has_transparency, to_rgb

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_FIRST_CHUNK = 33  # of a PNG file, after its header
_END_OF_JPEG = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that begin with the size
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


class BadPhotoError(Exception):
    """These bytes are not a whole photo; the message says why."""


class Header(NamedTuple):
    """What the header of a file says of its photo.

    Attributes
    ----------
    height, width : int
        In pixels, as stored.
    channels : int
        1 is grey, 3 colour, 4 CMYK or transparent.
    is_jpeg : bool
        Else PNG.
    """

    height: int
    width: int
    channels: int
    is_jpeg: bool


@lru_cache(maxsize=None)
def opencv() -> Any:
    """OpenCV, with one thread per call: the batches have threads of their own.

    Raises
    ------
    DataError
        If it is not installed, or lacks a system library that it needs.
    """
    try:
        import cv2
    except ImportError as error:
        raise DataError(
            f"photos are decoded by OpenCV, which cannot be imported ({error}): python -m pip install "
            "opencv-python-headless, which needs no graphical libraries"
        ) from None
    cv2.setNumThreads(1)
    return cv2


def read_header(data: bytes) -> Header:
    """Size and kind of a JPEG or PNG file, without decoding it.

    Parameters
    ----------
    data : bytes
        The whole file: a JPEG whose end is missing is refused, as its decoder would fill the rest with grey.

    Raises
    ------
    BadPhotoError
        If it is empty, of another kind, or cut short.
    """
    if not data:
        raise BadPhotoError("empty file")
    if data.startswith(_JPEG):
        return _jpeg_header(data)
    if data.startswith(_PNG):
        return _png_header(data)
    raise BadPhotoError("neither JPEG nor PNG")


def _jpeg_header(data: bytes) -> Header:
    found: Optional[Header] = None
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
            if marker in _FRAMES and position + 10 <= len(data):
                height, width, channels = struct.unpack_from(">HHB", data, position + 5)
                found = Header(height, width, channels, is_jpeg=True)
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if found is None or found.height == 0 or found.width == 0:
        raise BadPhotoError("JPEG without a size")
    if data.rfind(_END_OF_JPEG, position) < 0:
        raise BadPhotoError("JPEG without its end")
    return found


def _png_header(data: bytes) -> Header:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise BadPhotoError("damaged PNG header")
    width, height, _, kind = struct.unpack_from(">IIBB", data, 16)
    if b"IEND" not in data[-64:]:
        raise BadPhotoError("PNG without its end")
    if height == 0 or width == 0:
        raise BadPhotoError("PNG without a size")
    return Header(height, width, {0: 1, 4: 4, 6: 4}.get(kind, 3), is_jpeg=False)


def decode(data: bytes, reduction: int = 1) -> np.ndarray:
    """The pixels of a JPEG or PNG file as they are stored (no rotation by EXIF), what is transparent on white.

    Parameters
    ----------
    data : bytes
        The file.
    reduction : {1, 2, 4, 8}
        Of a JPEG: decode at this fraction of its size, rounded up.

    Returns
    -------
    numpy.ndarray
        (H, W, 3) uint8 in OpenCV's order: blue, green, red.

    Raises
    ------
    BadPhotoError
        If the decoder gives up.
    """
    cv2 = opencv()
    if data.startswith(_PNG):
        if has_transparency(data):
            return _decode_on_white(data)
        data = _without_profile(data)
    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags[reduction] | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BadPhotoError(f"cannot be decoded ({str(error).strip().splitlines()[0]})") from None
    if image is None:
        raise BadPhotoError("cannot be decoded")
    return np.asarray(image)


def _without_profile(png: bytes) -> bytes:
    """A PNG file without its colour profile, which is not applied, and of which libpng may complain on the terminal."""
    position = _FIRST_CHUNK
    while png[position + 4 : position + 8] not in (b"IDAT", b""):
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        if png[position + 4 : position + 8] == b"iCCP":
            return png[:position] + png[end:]
        position = end
    return png


def _decode_on_white(data: bytes) -> np.ndarray:
    """A transparent PNG file by Pillow, which knows every way in which PNG stores transparency; OpenCV drops some."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()  # checksums too; once GluonCV is imported, Pillow would fill damaged parts with grey
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.ascontiguousarray(np.asarray(to_rgb(image))[..., ::-1])
    except Exception as error:  # for damaged files, Pillow's decoders raise nearly anything
        raise BadPhotoError(f"cannot be decoded ({error or type(error).__name__})") from None

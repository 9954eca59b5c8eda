"""Image files to pixels: JPEG by TurboJPEG, PNG by OpenCV, which is imported for the first one, others by Pillow."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import DataError
from ..transparency import bands_on_white, has_transparency
from .header import BadPhotoError, Header, read_header
from .jpeg import decode_jpeg
from .orientation import turned
from .pillow import decode_by_pillow

#: Decoding a JPEG at its smallest size finds the same faults as at its full size.
_CHECK_REDUCTION = 8

_FIRST_CHUNK = 33  # of a PNG file, after its header


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


def decode(data: bytes, header: Header, reduction: int = 1) -> np.ndarray:
    """The pixels of an image file as they are stored, before they are turned, what is transparent on white.

    Parameters
    ----------
    data : bytes
        The file.
    header : Header
        Of this file: it has been looked at before, so that no file of too many pixels comes here.
    reduction : {1, 2, 4, 8}
        Of a JPEG: decode at this fraction of its size, rounded up.

    Returns
    -------
    numpy.ndarray
        (H, W, 3) uint8 in OpenCV's order: blue, green, red.

    Raises
    ------
    BadPhotoError
        If it is damaged.
    """
    height, width = (-(-side // reduction) for side in header.stored_size)
    if header.is_jpeg:
        found = _decode_jpeg(data, header, reduction)
    else:
        found = _decode_png(data, header) if header.kind == "PNG" else decode_by_pillow(data, header)
    if found.shape != (height, width, 3):
        raise BadPhotoError(f"its header says {width}x{height}, and there are {found.shape[1]}x{found.shape[0]} pixels")
    return found


def decode_shown(data: bytes) -> np.ndarray:
    """The pixels of an image file as they are shown, (H, W, 3) uint8: blue, green, red.

    Raises
    ------
    BadPhotoError
        If it is no whole photo.
    """
    header = read_header(data)
    return turned(decode(data, header), header.orientation)


def refuse_damaged(data: bytes) -> Header:
    """Decode a file only to see whether it is sound; its header.

    Raises
    ------
    BadPhotoError
        If it is no whole photo.
    """
    header = read_header(data)
    decode(data, header, _CHECK_REDUCTION if header.is_jpeg else 1)
    return header


def _decode_jpeg(data: bytes, header: Header, reduction: int) -> np.ndarray:
    found = decode_jpeg(data, *header.stored_size, reduction)
    return _by_opencv(data, reduction) if found is None else found


def _decode_png(data: bytes, header: Header) -> np.ndarray:
    return _decode_on_white(data, header) if has_transparency(data) else _by_opencv(_without_profile(data), 1)


def _by_opencv(data: bytes, reduction: int) -> np.ndarray:
    cv2 = opencv()
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
    """A PNG file up to its end, without its colour profile, which is not applied, and of which libpng may complain.

    Behind the end of a file without pixels, OpenCV would go on to read chunks, and take the memory that they say.
    """
    profile = slice(0, 0)
    position = _FIRST_CHUNK
    while position < len(png):
        chunk = png[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        if chunk == b"iCCP":
            profile = slice(position, end)
        if chunk == b"IEND":
            png = png[:end]
        position = end
    return png[: profile.start] + png[profile.stop :] if profile.stop else png


def _decode_on_white(data: bytes, header: Header) -> np.ndarray:
    """A transparent PNG file by Pillow, which knows every way in which PNG stores transparency; OpenCV drops some."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()  # checksums too; once GluonCV is imported, Pillow would fill damaged parts with grey
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            pixels = np.empty((*header.stored_size, 3), np.uint8)
            for top, band in bands_on_white(image):
                pixels[top : top + band.height] = np.asarray(band)[..., ::-1]
            return pixels
    except Exception as error:  # for damaged files, Pillow's decoders raise nearly anything
        raise BadPhotoError(f"cannot be decoded ({error or type(error).__name__})") from None

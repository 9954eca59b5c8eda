"""Image and mask files to pixels. Images go by the rule of photos; masks keep the very values that are stored."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from ..photos.decoding import decode_shown, opencv
from ..photos.header import BadPhotoError, read_header
from ..photos.kinds import TITLES
from ..photos.orientation import turned

if TYPE_CHECKING:
    from PIL import Image

#: Where a PNG file has its bits per channel and its colour type, and the type of grey without transparency.
_BITS, _COLOUR_TYPE, _GREY = 24, 25, 0


def read_image(data: bytes) -> np.ndarray:
    """The pixels of an image file of any mode, what is transparent on white: see `fusion.data.photos.decoding`.

    Parameters
    ----------
    data : bytes
        The file. Of 16 bits per channel the upper 8 are kept.

    Returns
    -------
    ndarray
        (H, W, 3) uint8, red, green, blue.

    Raises
    ------
    BadPhotoError
        If it is no whole image.
    """
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(decode_shown(data), cv2.COLOR_BGR2RGB))


def read_mask(data: bytes) -> np.ndarray:
    """The values of a mask: grey levels, or indices into a palette, whatever colours that has.

    Parameters
    ----------
    data : bytes
        A PNG file: of grey levels of 1 to 16 bits, of palette indices, or of colours whose channels are all the same.

    Returns
    -------
    ndarray
        (H, W), integers.

    Raises
    ------
    BadPhotoError
        If it is no whole PNG file, or one of colours.
    """
    from PIL import Image

    header = read_header(data)
    if header.kind != "PNG":
        reason = ", which does not keep the values of a mask" if header.is_jpeg else ""
        raise BadPhotoError(f"a {TITLES[header.kind]} file{reason}; expected PNG")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()  # checksums too; once GluonCV is imported, Pillow would fill damaged parts with zeros
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            values = _single_channel(image)
    except BadPhotoError:
        raise
    except Exception as error:  # for damaged files, Pillow's decoders raise nearly anything
        raise BadPhotoError(f"cannot be decoded ({error or type(error).__name__})") from None
    if data[_COLOUR_TYPE] == _GREY and data[_BITS] < 8 and values.dtype != bool:
        values = values // (255 // (2 ** data[_BITS] - 1))  # Pillow spreads 2 and 4 bits over 0 to 255
    values = values.astype(np.uint8) if values.dtype == bool else values
    return turned(values, header.orientation)


def _single_channel(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if values.ndim == 2:
        return values
    if image.mode == "LA":
        return values[..., 0]
    if image.mode in ("RGB", "RGBA") and (values[..., :1] == values[..., 1:3]).all():
        return values[..., 0]
    raise BadPhotoError(f"a mask of colours (mode {image.mode}); expected one channel that has the number of a class")

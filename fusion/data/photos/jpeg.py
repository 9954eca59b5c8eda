"""JPEG files by libjpeg-turbo's TurboJPEG, which says when a file is damaged.

Where bytes are missing or changed, libjpeg paints what it can and mentions it by a warning; OpenCV and Pillow leave the
warning out, and hand over a photo of which most may be wrong. TurboJPEG turns it into an error. It takes as long as
OpenCV and gives the same pixels, bit for bit. A JPEG has no checksum: a changed byte after which the rest still reads
as a JPEG is known to nobody.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Optional

import numpy as np

from .header import BadPhotoError

logger = logging.getLogger(__name__)

#: How the messages begin that are no damage: a kind that TurboJPEG does not convert, and remarks on the file's head.
_NO_DAMAGE = (
    "Unsupported color conversion",
    "Could not determine subsampling",
    "Warning: unknown JFIF revision",
    "Unknown Adobe color transform",
)


@lru_cache(maxsize=None)
def _turbojpeg() -> Optional[Any]:
    """simplejpeg, which has TurboJPEG; None where it is not installed, which is told once."""
    try:
        import simplejpeg
    except ImportError as error:
        logger.warning(
            "simplejpeg cannot be imported (%s), and without it no damage in the middle of a JPEG is noticed: "
            "python -m pip install simplejpeg",
            error,
        )
        return None
    return simplejpeg


def decode_jpeg(data: bytes, height: int, width: int, reduction: int = 1, colours: str = "BGR") -> Optional[np.ndarray]:
    """The pixels of a JPEG file as they are stored.

    Parameters
    ----------
    data : bytes
        The file.
    height, width : int
        As stored, by its header.
    reduction : {1, 2, 4, 8}
        Decode at this fraction of the size, rounded up.
    colours : {"BGR", "RGB"}
        The order of the channels.

    Returns
    -------
    ndarray or None
        (H, W, 3) uint8; None where another decoder has to do it.

    Raises
    ------
    BadPhotoError
        If libjpeg finds damage.
    """
    decoder = _turbojpeg()
    if decoder is None:
        return None
    least = {} if reduction == 1 else {"min_height": -(-height // reduction), "min_width": -(-width // reduction)}
    try:
        return np.asarray(decoder.decode_jpeg(data, colours, **least))
    except ValueError as error:
        if str(error).startswith(_NO_DAMAGE):
            return None
        raise BadPhotoError(f"a damaged JPEG ({error})") from None

"""Image files in Pillow: those that it alone decodes, and how it is kept from filling up what is missing of a file."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator

import numpy as np

from ..transparency import bands_on_white
from .kinds import BadPhotoError, Header
from .rarer import first_image, kind_of

if TYPE_CHECKING:
    from PIL.Image import Image

_lock = threading.Lock()
_inside = 0
_before = False


@contextmanager
def strictly() -> Iterator[None]:
    """Have Pillow refuse a file that was cut off: once GluonCV is imported, Pillow would fill the rest with grey.

    Any number of threads may be in it at once; when the last one leaves it, Pillow is as before.
    """
    from PIL import ImageFile

    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _before


def opened(data: bytes, header: Header) -> Image:
    """An image file in Pillow, as it is stored; of several images the first one.

    Parameters
    ----------
    data : bytes
        The file.
    header : Header
        Of this file. Pillow chooses no decoder by itself: some of its others start programs.

    Raises
    ------
    BadPhotoError
        If Pillow finds another size than the header has, by which it was let in.
    """
    from PIL import Image

    kind = kind_of(data)
    alone = data if kind is None else first_image(data, kind).data
    image = Image.open(io.BytesIO(alone), formats=(header.kind,))
    height, width = header.stored_size
    if image.size != (width, height):
        image.close()
        raise BadPhotoError(f"its header says {width}x{height}, and Pillow finds {image.width}x{image.height}")
    return image


def decode_by_pillow(data: bytes, header: Header) -> np.ndarray:
    """The pixels of a file as they are stored, what is transparent on white: (H, W, 3) uint8, blue, green, red.

    Raises
    ------
    BadPhotoError
        If it is damaged, or of a sort that Pillow does not read.
    """
    from PIL import UnidentifiedImageError

    try:
        with strictly(), opened(data, header) as image:
            pixels = np.empty((*header.stored_size, 3), np.uint8)
            for top, band in bands_on_white(image):
                pixels[top : top + band.height] = np.asarray(band)[..., ::-1]
            return pixels
    except BadPhotoError:
        raise
    except UnidentifiedImageError:
        raise BadPhotoError("damaged, or of a sort that this Pillow does not read") from None
    except Exception as error:  # for damaged files, Pillow's decoders raise nearly anything
        raise BadPhotoError(f"cannot be decoded ({error or type(error).__name__})") from None

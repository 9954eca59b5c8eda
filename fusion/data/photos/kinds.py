"""The kinds of image files that are read, and what every reader knows of a file before it decodes any pixel."""

from __future__ import annotations

import struct
from typing import NamedTuple, Tuple

#: Pillow's names of the kinds of files, and how messages name them.
TITLES = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "BMP": "BMP", "GIF": "GIF", "TIFF": "TIFF"}

#: All of them, for messages.
ANY_IMAGE = f"{', '.join(list(TITLES.values())[:-1])} or {list(TITLES.values())[-1]}"

#: The orientation of a photo that is shown as it is stored. Of others see `fusion.data.photos.orientation`.
UPRIGHT = 1

_ORIENTATION_TAG = 0x0112


class BadPhotoError(Exception):
    """These bytes are not a whole photo; the message says why."""


class Header(NamedTuple):
    """What the header of a file says of its photo.

    Attributes
    ----------
    height, width : int
        In pixels, as the photo is shown.
    channels : int
        1 is grey, 3 colour, 4 CMYK or transparent.
    kind : str
        Of `TITLES`.
    orientation : int
        From 1 to 8, as EXIF numbers them: how the stored pixels are turned and mirrored to be shown. From 5 on rows are
        stored as columns.
    """

    height: int
    width: int
    channels: int
    kind: str
    orientation: int = UPRIGHT

    @property
    def is_jpeg(self) -> bool:
        """Whether it can be decoded at a fraction of its size."""
        return self.kind == "JPEG"

    @property
    def stored_size(self) -> Tuple[int, int]:
        """Height and width as stored."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_orientation(exif: bytes) -> int:
    """The orientation of EXIF data from its TIFF header on; upright where there is none, or it makes no sense."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return UPRIGHT
    try:
        magic, first = struct.unpack_from(f"{order}HI", exif, 2)
        (count,) = struct.unpack_from(f"{order}H", exif, first)
        for entry in range(first + 2, first + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if magic == 42 and tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:  # entries beyond the end
        pass
    return UPRIGHT

"""Images with transparent parts: they are put on white, by every reader, as a browser shows them.

What a PNG file says of the colours of fully transparent pixels is arbitrary; without a background it would be seen.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

#: Of a PNG file: where the kind of its pixels is, and the kinds with an alpha channel.
_KIND_AT, _WITH_ALPHA = 25, (4, 6)


def on_white(image: Image) -> Image:
    """An image of Pillow in RGB, its transparent parts on white."""
    from PIL import Image as Images

    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    background = Images.new("RGBA", coloured.size, "white")
    return Images.alpha_composite(background, coloured).convert("RGB")


def may_be_transparent(data: bytes) -> bool:
    """Whether a file is a PNG whose pixels have an alpha channel, or one with a transparent colour."""
    if not data.startswith(b"\x89PNG") or len(data) <= _KIND_AT:
        return False
    return data[_KIND_AT] in _WITH_ALPHA or b"tRNS" in data[: max(data.find(b"IDAT"), 0)]


def decode_on_white(data: bytes) -> np.ndarray:
    """The pixels of such a file on white, (H, W, 3) uint8, in OpenCV's order: blue, green, red."""
    from PIL import Image as Images

    with Images.open(io.BytesIO(data), formats=("PNG",)) as image:
        return np.ascontiguousarray(np.asarray(on_white(image))[..., ::-1])

"""Images of any mode as RGB: transparent ones on white, by whichever library they are decoded, and 16 bits as 8.

A transparent pixel still stores a colour, which no viewer shows and which may be anything; a reader that just drops
the alpha channel would give these hidden colours to the network. White is what most pages show such images on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, Tuple

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})

#: A PNG file's colour type stands at this byte; these two types have an alpha channel.
_COLOUR_TYPE = 25
_ALPHA_TYPES = frozenset({4, 6})

#: Pixels that are put on white at a time.
_BAND = 2**20


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB, what is transparent in it on white.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode of 8 bits per channel, or of grey levels of 16 bits, of which the upper 8 are kept.

    Returns
    -------
    PIL.Image.Image
        Mode "RGB"; where nothing is transparent, the same colours.

    Raises
    ------
    ValueError
        If its pixels have another range.
    """
    from PIL import Image

    image = eight_bits(image)
    if not _has_alpha(image):
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
    shown = Image.new("RGB", image.size)
    for top, band in bands_on_white(image):
        shown.paste(band, (0, top))
    return shown


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def eight_bits(image: Image.Image) -> Image.Image:
    """Grey levels of 16 bits as such of 8, of which they keep the upper ones; an image of 8 bits is returned as it is.

    Pillow's own conversion would make all levels from 255 on white. Colours of 16 bits it reads as 8 by itself.

    Parameters
    ----------
    image : PIL.Image.Image
        As it was opened.

    Raises
    ------
    ValueError
        If its pixels are of 32 bits or fractions: nothing says which of them is white.
    """
    from PIL import Image

    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and max(transparent, default=0) > 255:  # the colour of a PNG file of 16 bits
        image.info["transparency"] = tuple(level >> 8 for level in transparent)
    if not image.mode.startswith(("I", "F")):
        return image
    if not image.mode.startswith("I;16") and (image.mode, image.format) != ("I", "PNG"):  # as older versions name it
        raise ValueError(f"pixels of mode {image.mode!r}, whose range is not known; expected 8 or 16 bits per channel")
    levels = np.asarray(image)
    grey = Image.fromarray((levels >> 8).astype(np.uint8))
    if transparent is None:
        return grey
    alpha = Image.fromarray(np.where(levels == transparent, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, alpha))


def bands_on_white(image: Image.Image) -> Iterator[Tuple[int, Image.Image]]:
    """An image on white from top to bottom, in bands: of a large one each step would be a copy more.

    Parameters
    ----------
    image : PIL.Image.Image
        As in `to_rgb`.

    Yields
    ------
    int, PIL.Image.Image
        The first row of a band, and the band, of mode "RGB".
    """
    from PIL import Image

    image = eight_bits(image)
    width, height = image.size
    rows, transparent = max(1, _BAND // width), _has_alpha(image)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(height, top + rows)))
        if transparent:
            band = band.convert("RGBA")
            band = Image.alpha_composite(Image.new("RGBA", band.size, (255, 255, 255, 255)), band)
        yield top, band.convert("RGB")


def has_transparency(png: bytes) -> bool:
    """Whether a PNG file says that some of its pixels may be transparent: by an alpha channel, or by a tRNS chunk."""
    return png[_COLOUR_TYPE] in _ALPHA_TYPES or b"tRNS" in png[: png.find(b"IDAT")]

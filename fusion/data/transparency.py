"""Transparent images are shown on white, by whichever library they are decoded.

A transparent pixel still stores a colour, which no viewer shows and which may be anything; a reader that just drops
the alpha channel would give these hidden colours to the network. White is what most pages show such images on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, Tuple

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
        Of any mode of 8 bits per channel.

    Returns
    -------
    PIL.Image.Image
        Mode "RGB"; where nothing is transparent, the same colours.
    """
    from PIL import Image

    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
    shown = Image.new("RGB", image.size)
    for top, band in bands_on_white(image):
        shown.paste(band, (0, top))
    return shown


def bands_on_white(image: Image.Image) -> Iterator[Tuple[int, Image.Image]]:
    """A transparent image on white from top to bottom, in bands: of a large one each step would be a copy more.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode with transparency.

    Yields
    ------
    int, PIL.Image.Image
        The first row of a band, and the band, of mode "RGB".
    """
    from PIL import Image

    width, height = image.size
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(height, top + rows))).convert("RGBA")
        yield top, Image.alpha_composite(Image.new("RGBA", band.size, (255, 255, 255, 255)), band).convert("RGB")


def has_transparency(png: bytes) -> bool:
    """Whether a PNG file says that some of its pixels may be transparent: by an alpha channel, or by a tRNS chunk."""
    return png[_COLOUR_TYPE] in _ALPHA_TYPES or b"tRNS" in png[: png.find(b"IDAT")]

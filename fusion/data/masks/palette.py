"""Colours of classes, and masks drawn over their images."""

from __future__ import annotations

import numpy as np

from .labels import IGNORE, Labels

#: The colour of the target of binary masks, and of pixels that do not count.
TARGET_COLOUR, IGNORED_COLOUR = (230, 30, 60), (225, 225, 225)

#: How much of the image a mask hides.
_OPACITY = 0.55


def class_colours(count: int) -> np.ndarray:
    """The colours of Pascal VOC, which most viewers of masks know: a number's bits, spread over three channels.

    Parameters
    ----------
    count : int
        At most 256. The first colour is black.

    Returns
    -------
    ndarray
        (count, 3) uint8.
    """
    rest = np.arange(count)
    colours = np.zeros((count, 3), np.uint8)
    for place in range(7, -1, -1):
        for channel in range(3):
            colours[:, channel] |= ((rest >> channel & 1) << place).astype(np.uint8)
        rest = rest >> 3
    return colours


def label_colours(labels: Labels) -> np.ndarray:
    """A colour for each value of masks in memory, (256, 3) uint8: of the classes, and of `IGNORE`.

    Where there is no background the colours begin with the second of `class_colours`, since the first is black.
    """
    if labels.binary:
        colours = np.zeros((256, 3), np.uint8)
        colours[1] = TARGET_COLOUR
    else:
        colours = class_colours(256) if labels.has_background else np.roll(class_colours(256), -1, axis=0)
    colours[IGNORE] = IGNORED_COLOUR
    return colours


def colour_table(labels: Labels) -> bytes:
    """The palette of PNG files of a set's masks, for Pillow's `putpalette`: a colour for each value of a *file*."""
    colours = np.zeros((256, 3), np.uint8)
    known = label_colours(labels)
    for value, number in labels.numbers.items():
        colours[value] = known[number]
    return colours.tobytes()


def paint(image: np.ndarray, mask: np.ndarray, labels: Labels) -> np.ndarray:
    """A mask over its image: classes in their colours, a background as the image is, ignored pixels light grey.

    Parameters
    ----------
    image : ndarray
        (H, W, 3) uint8.
    mask : ndarray
        (H, W) uint8, numbers of classes or `IGNORE`.
    labels : Labels
        Of the set.

    Returns
    -------
    ndarray
        (H, W, 3) uint8.
    """
    painted = np.rint((1 - _OPACITY) * image + _OPACITY * label_colours(labels)[mask]).astype(np.uint8)
    if labels.has_background:
        painted[mask == 0] = image[mask == 0]
    return painted

"""An image and its mask together to a training crop: mirrored, scaled, cut out, blurred, its colours changed.

The recipe is that of asymmetric contextual modulation as released (Dai et al., arXiv 2009.14530), which has it from
GluonCV's segmentation data sets: the longer side is drawn, what lies beyond the image is filled, and half of the crops
are blurred. Here a crop beyond the image's borders has the image at a random place in it, not always at the top left,
and an image that shrinks is averaged over areas. New is the crop that is sure to have a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple, Union

import numpy as np

from ..photos.decoding import opencv
from ..photos.photo import colour_change
from .labels import IGNORE
from .maskset import resized_mask

#: What lies beyond the image: "ignore" has a plain colour and does not count, "background" is black and background.
PADDINGS = ("ignore", "background")

#: Largest standard deviation of the blur, in pixels.
MOST_BLUR = 1.0


@dataclass(frozen=True)
class MaskAugmentation:
    """From an image and its mask to a crop of both; the same whichever thread calls it, as it keeps nothing.

    Parameters
    ----------
    height, width : int
        Of the crop, in pixels.
    flip : bool
        Mirror half of the images left to right.
    long_side : (int, int), optional
        The longer side is scaled to a number of pixels drawn evenly from this range.
    scale : (float, float)
        Without `long_side`: the image is scaled by a factor drawn evenly from this range.
    fill : (int, int, int)
        The colour beyond the image, from 0 to 255.
    fill_class : int
        What the mask has there: `IGNORE`, or 0 for the background.
    target_probability : float
        How often a crop is placed so that it has a target: see `choose_pixel`.
    has_background : bool
        Whether 0 is the background, and so no target.
    blur_probability : float
        How often a crop is blurred, by a Gaussian with a standard deviation drawn evenly from 0 to 1 pixel.
    jitter : float
        Brightness, contrast and saturation change by up to this share: see `fusion.data.photos.photo.colour_change`.
    """

    height: int
    width: int
    flip: bool = True
    long_side: Optional[Tuple[int, int]] = None
    scale: Tuple[float, float] = (1.0, 1.0)
    fill: Tuple[int, int, int] = (0, 0, 0)
    fill_class: int = IGNORE
    target_probability: float = 0.0
    has_background: bool = True
    blur_probability: float = 0.0
    jitter: float = 0.0

    def __call__(self, image: np.ndarray, mask: np.ndarray, draw: np.random.Generator) -> Tuple[np.ndarray, np.ndarray]:
        """Crop an image and its mask.

        Parameters
        ----------
        image : ndarray
            (H, W, 3) uint8.
        mask : ndarray
            (H, W) uint8, numbers of classes or `IGNORE`.
        draw : numpy.random.Generator
            Source of the random numbers; nothing else decides the result.

        Returns
        -------
        ndarray, ndarray
            (height, width, 3) uint8 and (height, width) uint8.
        """
        if self.flip and draw.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        image, mask = rescaled(image, mask, self._size(image.shape[0], image.shape[1], draw))
        top, left = self._place(mask, draw)
        rows, columns = _overlap(top, self.height, mask.shape[0]), _overlap(left, self.width, mask.shape[1])
        part = self._changed(np.ascontiguousarray(image[rows, columns]), draw)
        above, before = rows.start - top, columns.start - left
        borders = (above, self.height - above - len(part), before, self.width - before - part.shape[1])
        return _filled(part, borders, self.fill), _filled(mask[rows, columns], borders, self.fill_class)

    def _size(self, height: int, width: int, draw: np.random.Generator) -> Tuple[int, int]:
        """Height and width that the image is scaled to."""
        if self.long_side is not None:
            factor = int(draw.integers(self.long_side[0], self.long_side[1] + 1)) / max(height, width)
        else:
            factor = draw.uniform(*self.scale)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _place(self, mask: np.ndarray, draw: np.random.Generator) -> Tuple[int, int]:
        """The top left corner of the crop in the scaled image; below 0 where the image is smaller than the crop."""
        target = None
        if draw.random() < self.target_probability:
            target = choose_pixel(mask, self.has_background, draw)
        lengths = zip((self.height, self.width), mask.shape, target or (None, None))
        top, left = (_start(length, size, pixel, draw) for length, size, pixel in lengths)
        return top, left

    def _changed(self, part: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """The part of the image that is in the crop, blurred and with its colours changed."""
        cv2 = opencv()
        blurred, deviation = draw.random() < self.blur_probability, MOST_BLUR * draw.random()
        if blurred and deviation > 0:
            part = cv2.GaussianBlur(part, (0, 0), deviation)
        change = colour_change(part, self.jitter, 0.0, draw)
        return part if change is None else np.asarray(cv2.transform(part, change))


def rescaled(image: np.ndarray, mask: np.ndarray, size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """An image and its mask at another size.

    The image is scaled by area where it shrinks, which avoids aliasing, else bilinearly; a pixel of the mask has the
    value of the nearest, so that no class is mixed from two.

    Parameters
    ----------
    image, mask : ndarray
        (H, W, 3) uint8 and (H, W) uint8.
    size : (int, int)
        Height and width.
    """
    if size == mask.shape:
        return image, mask
    cv2 = opencv()
    height, width = size
    smaller = height <= mask.shape[0] and width <= mask.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    scaled = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=interpolation)
    return np.asarray(scaled), resized_mask(np.ascontiguousarray(mask), height, width)


def choose_pixel(mask: np.ndarray, has_background: bool, draw: np.random.Generator) -> Optional[Tuple[int, int]]:
    """A random pixel of a target: one of the classes that the mask has, each as likely, and any of its pixels.

    Parameters
    ----------
    mask : ndarray
        (H, W) uint8.
    has_background : bool
        Whether 0 is no target.
    draw : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    (int, int) or None
        Row and column; None where there is no target.
    """
    counts = np.bincount(mask.ravel(), minlength=256)
    counts[IGNORE] = 0
    if has_background:
        counts[0] = 0
    present = np.flatnonzero(counts)
    if not present.size:
        return None
    number = present[draw.integers(present.size)]
    place = np.flatnonzero(mask == number)[draw.integers(counts[number])]
    row, column = divmod(int(place), mask.shape[1])
    return row, column


def _start(length: int, size: int, pixel: Optional[int], draw: np.random.Generator) -> int:
    """Where a crop of a length begins along one side of an image, drawn evenly from all that fit.

    A crop that is smaller than the image lies inside of it, a larger one around it. With `pixel`, that pixel is in it.
    """
    low, high = min(0, size - length), max(0, size - length)
    if pixel is not None:
        low, high = max(low, pixel - length + 1), min(high, pixel)
    return int(draw.integers(low, high + 1))


def _filled(
    part: np.ndarray, borders: Tuple[int, int, int, int], value: Union[int, Tuple[int, int, int]]
) -> np.ndarray:
    """A part of an image with pixels of one value above, below, left and right of it."""
    cv2 = opencv()
    return np.asarray(
        cv2.copyMakeBorder(np.ascontiguousarray(part), *borders, borderType=cv2.BORDER_CONSTANT, value=value)
    )


def _overlap(start: int, length: int, size: int) -> slice:
    """The part of an image's side that a crop has."""
    return slice(max(0, start), min(size, start + length))

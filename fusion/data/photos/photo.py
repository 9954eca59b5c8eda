"""Photos of any size to a network's input: decoding, the random resized crop, colour, and the centre crop.

The recipe is that of Inception (Szegedy et al., arXiv 1409.4842) as MXNet's own pipelines have it: a crop of 8 to 100 %
of the area with an aspect of 3/4 to 4/3, mirrored half of the time, brightness, contrast and saturation by ±40 %, and
the lighting noise of AlexNet (Krizhevsky et al., 2012). OpenCV decodes; it is imported when a photo is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Optional, Tuple

import numpy as np

from .decoding import decode, opencv
from .header import Header, read_header
from .orientation import stored_place, turned

if TYPE_CHECKING:
    from ..autoaugment import Policy

#: Crops that are tried before the largest centre crop is taken instead, as in MXNet.
ATTEMPTS = 10

#: Shares of red, green and blue in grey.
GREY = np.array([0.299, 0.587, 0.114])

#: Principal components of the colours of ImageNet, and their sizes, on pixels from 0 to 255 (as in MXNet).
COLOUR_SIZES = np.array([55.46, 4.794, 1.148])
COLOUR_AXES = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])

#: A photo that is longer than this many times its shorter side has its ends cut off before it is scaled. Panoramas are
#: shorter.
LONGEST = 16

#: A JPEG can be decoded at one of these fractions of its size, which takes less time.
_REDUCTIONS = (8, 4, 2)


class Box(NamedTuple):
    """A rectangle of a photo as it is shown, in pixels from its top left corner."""

    top: int
    left: int
    height: int
    width: int


# --- Part of a photo -------------------------------------------------------------------------------------------------


def reduction_for(header: Header, box: Box, height: int, width: int) -> int:
    """The largest fraction to decode at that still leaves a box at least as large as the wanted size.

    Parameters
    ----------
    header : Header
        Of the photo.
    box : Box
        What is cut out of it, in full pixels.
    height, width : int
        What the box is scaled to.
    """
    if header.is_jpeg:
        for reduction in _REDUCTIONS:
            if box.height >= reduction * height and box.width >= reduction * width:
                return reduction
    return 1


def decode_box(data: bytes, header: Header, box: Box, height: int, width: int) -> np.ndarray:
    """A box of a photo, scaled: (height, width, 3) uint8, blue, green, red.

    A box that shrinks is scaled by area, which avoids aliasing, and a box that grows by cubic interpolation. Where one
    side shrinks and the other grows, it is scaled bilinearly, as MXNet's ImageRecordIter does with its inter_method 9.
    A photo that is much larger than needed is decoded at a fraction of its size. The box is turned once it is cut out.
    """
    cv2 = opencv()
    reduction = reduction_for(header, box, height, width)
    image = decode(data, header, reduction)
    place, size = stored_place(box[:2], box[2:], (header.height, header.width), header.orientation)
    rows, columns = (
        slice(round(start / reduction), round((start + length) / reduction)) for start, length in zip(place, size)
    )
    part = turned(image[rows, columns], header.orientation)
    if part.shape[0] > height and part.shape[1] > width:
        interpolation = cv2.INTER_AREA
    elif part.shape[0] < height and part.shape[1] < width:
        interpolation = cv2.INTER_CUBIC
    else:
        interpolation = cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=interpolation))


# --- Boxes -----------------------------------------------------------------------------------------------------------


def random_box(
    height: int, width: int, area: Tuple[float, float], aspect: Tuple[float, float], draw: np.random.Generator
) -> Box:
    """The box of a random resized crop.

    Parameters
    ----------
    height, width : int
        Of the photo, in pixels.
    area : (float, float)
        Least and greatest share of the photo's area, drawn uniformly.
    aspect : (float, float)
        Least and greatest width by height, drawn uniformly in its logarithm.
    draw : numpy.random.Generator
        Source of the random numbers, of which it always takes as many.

    Returns
    -------
    Box
        The first of ten tries that fits, or the largest centre box of an allowed aspect.
    """
    shares, ratios, tops, lefts = draw.random((4, ATTEMPTS))
    areas = (area[0] + (area[1] - area[0]) * shares) * (height * width)
    aspects = np.exp(np.log(aspect[0]) + (np.log(aspect[1]) - np.log(aspect[0])) * ratios)
    widths = np.rint(np.sqrt(areas * aspects)).astype(int)
    heights = np.rint(np.sqrt(areas / aspects)).astype(int)
    fits = (widths <= width) & (heights <= height) & (widths > 0) & (heights > 0)
    if not fits.any():
        return _largest_box(height, width, aspect)
    first = int(fits.argmax())
    box_height, box_width = int(heights[first]), int(widths[first])
    top, left = int(tops[first] * (height - box_height + 1)), int(lefts[first] * (width - box_width + 1))
    return Box(top, left, box_height, box_width)


def _largest_box(height: int, width: int, aspect: Tuple[float, float]) -> Box:
    box_width = min(width, max(1, round(height * aspect[1])))
    box_height = min(height, max(1, round(width / aspect[0])))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def centre_crop(data: bytes, size: int, share: float) -> np.ndarray:
    """A test photo: its shorter side to size / share, then the centre.

    Parameters
    ----------
    data : bytes
        The file.
    size : int
        S, in pixels.
    share : float
        How much of the shorter side the crop keeps, 0.875 in the recipe: it is scaled to 256 for 224, to 366 for 320.

    Returns
    -------
    numpy.ndarray
        (S, S, 3) uint8, red, green, blue.

    Raises
    ------
    BadPhotoError
        If it cannot be read.
    """
    cv2 = opencv()
    header = read_header(data)
    shorter = resized_side(size, share)
    box = middle_box(header.height, header.width)
    scale = shorter / min(box.height, box.width)
    height, width = max(shorter, round(box.height * scale)), max(shorter, round(box.width * scale))
    scaled = decode_box(data, header, box, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return np.asarray(cv2.cvtColor(scaled[top : top + size, left : left + size], cv2.COLOR_BGR2RGB))


def middle_box(height: int, width: int) -> Box:
    """What is scaled of a photo of which only the centre is wanted: all of it, or of a very long one the middle part.

    A photo of 30,000 by 1 pixels whose shorter side is scaled to 256 would take 6 GB, and the centre is one pixel of
    it. What is left out here moves the scale and the centre by less than a pixel of the result.

    Parameters
    ----------
    height, width : int
        Of the photo, in pixels.
    """
    longest = LONGEST * min(height, width)
    rows, columns = _kept(height, longest), _kept(width, longest)
    return Box((height - rows) // 2, (width - columns) // 2, rows, columns)


def _kept(side: int, longest: int) -> int:
    """How much of a side is kept, so that as much is left out on either end."""
    return side if side <= longest else longest + (side - longest) % 2


def resized_side(size: int, share: float) -> int:
    """The shorter side before the centre crop: size / share, rounded up as in the original."""
    return int(np.ceil(round(size / share, 6)))


# --- Colour ----------------------------------------------------------------------------------------------------------


def colour_change(image: np.ndarray, jitter: float, lighting: float, draw: np.random.Generator) -> Optional[np.ndarray]:
    """Brightness, contrast and saturation in random order, then lighting, as one affine map of the colours.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W, 3) uint8, red, green, blue; contrast is changed around its mean.
    jitter : float
        Each factor is drawn from 1 − jitter to 1 + jitter.
    lighting : float
        Standard deviation of the factors by which the colours' principal components are added.
    draw : numpy.random.Generator
        Source of the random numbers, of which it takes as many whatever the settings.

    Returns
    -------
    numpy.ndarray or None
        (3, 4): a matrix and, in the last column, what is added, on pixels from 0 to 255; None where nothing changes.
    """
    factors = 1 + jitter * (2 * draw.random(3) - 1)
    order = draw.permutation(3)
    added = COLOUR_AXES @ (COLOUR_SIZES * lighting * draw.standard_normal(3))
    if jitter == 0 and lighting == 0:
        return None
    matrix, shift = np.eye(3), np.zeros(3)
    mean = np.array(opencv().mean(image)[:3])
    for which in order:
        factor = factors[which]
        if which == _SATURATION:
            towards_grey = factor * np.eye(3) + (1 - factor) * np.tile(GREY, (3, 1))
            matrix, shift = towards_grey @ matrix, towards_grey @ shift
        else:
            pivot = GREY @ (matrix @ mean + shift) if which == _CONTRAST else 0.0
            matrix, shift = factor * matrix, factor * shift + (1 - factor) * pivot
    return np.column_stack([matrix, shift + added])


_CONTRAST, _SATURATION = 1, 2


# --- A training photo ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhotoAugmentation:
    """From the bytes of a photo to the uint8 image that a training batch normalises.

    Parameters
    ----------
    size : int
        S, height and width of the result in pixels.
    area, aspect : (float, float)
        As in `random_box`.
    flip : bool
        Mirror half of the photos left to right.
    policy : Policy, optional
        AutoAugment, on the crop and before the colours.
    jitter, lighting : float
        As in `colour_change`.
    """

    size: int
    area: Tuple[float, float] = (0.08, 1.0)
    aspect: Tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    policy: Optional[Policy] = None
    jitter: float = 0.4
    lighting: float = 0.1

    def __call__(self, data: bytes, draw: np.random.Generator) -> np.ndarray:
        """The file of a photo to (S, S, 3) uint8, red, green, blue; `BadPhotoError` if it cannot be read."""
        cv2 = opencv()
        header = read_header(data)
        box = random_box(header.height, header.width, self.area, self.aspect, draw)
        image = cv2.cvtColor(decode_box(data, header, box, self.size, self.size), cv2.COLOR_BGR2RGB)
        mirrored = draw.random() < 0.5
        if self.flip and mirrored:
            image = cv2.flip(image, 1)
        if self.policy is not None:
            from ..autoaugment import auto_augment  # and with it Pillow

            image = auto_augment(image[None], self.policy, draw)[0]
        change = colour_change(image, self.jitter, self.lighting, draw)
        return np.asarray(image if change is None else cv2.transform(image, change))

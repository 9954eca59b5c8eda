"""UCI handwritten digits: 1,797 real 8x8 scans that come with the package, for runs without a download.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, CC BY 4.0 (see `DIGITS_LICENSE.md`). These are the test part of that data set
(`optdigits.tes`), as scikit-learn ships it; its training part is not included.

It is for checking within seconds that training works. The training and test images share their writers, so that the
accuracy says little about the handwriting of others, and nothing about the results of the paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from .description import IMAGES, Description
from .imageset import ImageSet

TITLE = "UCI digits"
CLASSES = tuple("0123456789")
SCANS_FILE = Path(__file__).with_name("digits.npz")
SIDE = 32  # pixels, as CIFAR, so that the same networks and crops fit
FULL_INK = 16  # a scan's value counts the inked pixels of a 4x4 block
EVERY = 5  # every fifth scan, from the first, is a test image: 360 of 1,797


def load(split: str) -> ImageSet:
    """The digits as 32x32 grey images in three equal channels, with a fixed split.

    Every fifth scan, in the order of the source, is in the test split (360), all others (1,437) are in the training
    split; both hold all ten digits, the test split 26 to 48 of each.

    Parameters
    ----------
    split : {"train", "test"}
        Which part.

    Returns
    -------
    ImageSet
        `images` (1437 or 360, 32, 32, 3); ink is 255 and paper is 0.

    Raises
    ------
    DataError
        If the split is neither of the two, or the packaged file is missing.
    """
    scans, labels = _read_scans()
    is_test = np.arange(len(scans)) % EVERY == 0
    masks = {"train": ~is_test, "test": is_test}
    if split not in masks:
        raise DataError(f"{TITLE} have no split {split!r}; expected 'train' or 'test'")
    images = upsample(scans[masks[split]], SIDE)
    return ImageSet(images, labels[masks[split]], CLASSES, TITLE)


def upsample(scans: np.ndarray, side: int) -> np.ndarray:
    """Bilinear enlargement of square scans to RGB bytes, pixel centres aligned at the half pixel, edges repeated.

    Parameters
    ----------
    scans : numpy.ndarray, shape (N, S, S)
        Ink, 0 to 16.
    side : int
        Height and width of the result, in pixels.

    Returns
    -------
    numpy.ndarray, shape (N, side, side, 3), uint8
        Ink, 0 to 255, the same in every channel.
    """
    weights = _bilinear_weights(scans.shape[1], side)
    grey = weights @ scans.astype(np.float32) @ weights.T
    grey = np.rint(grey * (255 / FULL_INK)).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


def _bilinear_weights(source: int, target: int) -> np.ndarray:
    """Matrix (target, source) that interpolates linearly along one axis; each row sums to 1."""
    centres = (np.arange(target) + 0.5) * (source / target) - 0.5
    centres = centres.clip(0, source - 1)
    distance = np.abs(centres[:, np.newaxis] - np.arange(source))
    return (1 - distance).clip(0).astype(np.float32)


def _read_scans() -> tuple[np.ndarray, np.ndarray]:
    """Scans (1797, 8, 8) uint8 and labels (1797,) int64, in the order of the source."""
    try:
        with np.load(str(SCANS_FILE), allow_pickle=False) as stored:
            return stored["scans"], stored["labels"].astype(np.int64)
    except FileNotFoundError:
        raise DataError(f"{SCANS_FILE} is missing; it is part of this package: install the package again") from None


DESCRIPTION = Description(
    name="digits", title=TITLE, load=load, kind=IMAGES, needs_folder=False, fixed_classes=True, size=SIDE
)

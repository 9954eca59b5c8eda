"""What a network receives in the first batches of a run: inputs that differ, near mean 0 and deviation 1."""

from __future__ import annotations

from typing import Iterator, List, Sequence, Tuple

import numpy as np

from ..data.loader import Batch
from .settings import AugmentSettings

#: So many images say enough.
ENOUGH = 1000

#: Of an image, about so many rows and columns are looked at.
_ROWS = 32

#: A channel of the inputs beyond these is not normalised. Dark, bright and flat photos stay within them, also where
#: they are only scaled to 0 to 1 or to -1 to 1; a factor of 255 does not.
_FAR_MEAN, _LOW_STD, _HIGH_STD = 4.0, 0.02, 8.0

#: Mean and deviation in each other's place would fit the images by so much better, and fit so badly as they are.
_BETTER, _BAD = 0.7, 0.4

#: Pixels between 0 and 1 that differ by less than this from image to image are one and the same.
_ALIKE = 0.001

#: Pixels between 0 and 1 with a lower mean are black.
_BLACK = 1 / 64

_Values = Sequence[float]


class FirstInputs:
    """Adds up the first batches of a run.

    Attributes
    ----------
    images : int
        How many were looked at.
    """

    def __init__(self) -> None:
        self.images = 0
        self._pixels = 0
        self._sum = np.zeros(3)
        self._squares = np.zeros(3)
        self._differences = 0.0

    @property
    def enough(self) -> bool:
        """Whether the rest of the run need not be looked at."""
        return self.images >= ENOUGH

    def add(self, batch: Batch) -> None:
        """Look at a batch."""
        step = max(1, min(batch.images.shape[2:]) // _ROWS)
        part = batch.images[:, :, ::step, ::step].astype(np.float64)
        self.images += len(part)
        self._pixels += part[:, 0].size
        self._sum += part.sum(axis=(0, 2, 3))
        self._squares += (part**2).sum(axis=(0, 2, 3))
        self._differences = max(self._differences, float((part - part[0]).std()))

    def statistics(self) -> Tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel, as the network receives it."""
        mean = self._sum / self._pixels
        return mean, np.sqrt(np.maximum(self._squares / self._pixels - mean**2, 0))

    def doubts(self, augment: AugmentSettings) -> List[str]:
        """What is wrong with the inputs; nothing, as a rule.

        Parameters
        ----------
        augment : AugmentSettings
            With the mean and deviation by which they were normalised.
        """
        if not self.images:
            return []
        mean, std = self.statistics()
        if self.images > 1 and self._differences * max(augment.std) < _ALIKE:
            return [
                f"the first {self.images:,} inputs of the network are all alike: look at some of them with python -m "
                "fusion browse"
            ]
        return list(_about_normalisation(mean, std, augment))


def _about_normalisation(mean: np.ndarray, std: np.ndarray, augment: AugmentSettings) -> Iterator[str]:
    own_mean, own_std = np.array(augment.mean), np.array(augment.std)
    pixel_mean, pixel_std = own_mean + own_std * mean, own_std * std
    far = np.abs(mean).max() > _FAR_MEAN or std.min() < _LOW_STD or std.max() > _HIGH_STD
    cause = _cause(pixel_mean, pixel_std, own_mean, own_std, far)
    if far or cause:
        yield (
            f"the network's inputs have means of {_shown(mean)} and deviations of {_shown(std)} by channel, and should "
            f"be near 0 and 1{cause or ''}. Pixels between 0 and 1 have here, with all that is done to them, "
            f"augment.mean={_shown(pixel_mean)} and augment.std={_shown(pixel_std)}"
        )


def _cause(pixel_mean: np.ndarray, pixel_std: np.ndarray, own_mean: np.ndarray, own_std: np.ndarray, far: bool) -> str:
    """What was probably done to the settings, as a part of a sentence; empty if that is not plain."""
    own = _misfit(pixel_mean, pixel_std, own_mean, own_std)
    could_be = own > _BAD and bool((own_mean < own_std).all() and (own_mean > 0).all())
    if could_be and _misfit(pixel_mean, pixel_std, own_std, own_mean) < _BETTER * own:
        return ": augment.mean and augment.std stand in each other's place"
    if not far:
        return ""
    if pixel_mean.max() < _BLACK:
        return ": the images are nearly black, as if pixels between 0 and 1 had been saved as bytes"
    for factor, words in ((1 / 255, "for pixels from 0 to 255: divide them by 255"), (255, "divided by 255 twice")):
        for mean, std in (
            (own_mean * factor, own_std * factor),
            (own_mean * factor, own_std),
            (own_mean, own_std * factor),
        ):
            if _misfit(pixel_mean, pixel_std, mean, std) < 1:
                return f": augment.mean and augment.std, or one of them, are {words}"
    return ""


def _misfit(pixel_mean: np.ndarray, pixel_std: np.ndarray, mean: np.ndarray, std: np.ndarray) -> float:
    """How far pixels would be from mean 0 and deviation 1."""
    spread = np.abs(np.log(np.maximum(pixel_std, 1e-9) / std)).max()
    return float(max(np.abs((pixel_mean - mean) / std).max(), spread))


def _shown(values: np.ndarray) -> str:
    return f"[{', '.join(f'{value:.3g}' for value in values)}]"

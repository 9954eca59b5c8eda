"""What happens to a batch of training images: AutoAugment, crop, flip, normalisation, mixup or CutMix, label smoothing.

Everything but AutoAugment is vectorised over the batch. Mixup: Zhang et al., arXiv 1710.09412, with one λ per batch
and the reversed batch as partner, as the original did. CutMix: Yun et al., arXiv 1905.04899, likewise with one λ and
one box per batch. Label smoothing: Szegedy et al., arXiv 1512.00567.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .autoaugment import POLICIES, POLICY_NAMES, Policy, auto_augment, named_policy

#: The three bytes of a pixel as one item, which NumPy moves faster than three.
_PIXEL = np.dtype("V3")

__all__ = [
    "POLICIES",
    "POLICY_NAMES",
    "Augmentation",
    "Normalisation",
    "crop_and_flip",
    "cutmix",
    "mix",
    "mixup",
    "named_policy",
    "smooth_one_hot",
]


class Normalisation:
    """Pixels 0 to 255 to zero mean and unit variance per channel.

    Parameters
    ----------
    mean, std : sequence of 3 float
        Of pixels between 0 and 1.

    Attributes
    ----------
    scale, shift : ndarray
        (1, 3, 1, 1) float32: a pixel is multiplied by `scale`, then `shift` is added.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        deviation = np.asarray(std, dtype=np.float64)
        self.scale = (1 / (255 * deviation)).astype(np.float32).reshape(1, 3, 1, 1)
        self.shift = (-np.asarray(mean, dtype=np.float64) / deviation).astype(np.float32).reshape(1, 3, 1, 1)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """From (B, 3, H, W) uint8, however it lies in memory, to float32 in C order."""
        normalised = images.astype(np.float32, order="C")
        normalised *= self.scale
        normalised += self.shift
        return normalised


def crop_and_flip(images: np.ndarray, padding: int, flip: bool, draw: np.random.Generator) -> np.ndarray:
    """A random crop of the zero-padded images at their own size, half of them mirrored.

    Parameters
    ----------
    images : ndarray
        (B, H, W, 3) uint8.
    padding : int
        Pixels on each side.
    flip : bool
        Mirror each image left to right with a chance of one half.
    draw : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    ndarray
        (B, 3, H, W) uint8, a view of (B, H, W, 3).
    """
    count, height, width = images.shape[:3]
    top, left = draw.integers(2 * padding + 1, size=(2, count))
    mirrored = draw.random(count) < 0.5
    padded = np.zeros((count, height + 2 * padding, width + 2 * padding, 3), dtype=np.uint8)
    padded[:, padding : padding + height, padding : padding + width] = images
    pixels = padded.view(_PIXEL)[..., 0]
    windows = sliding_window_view(pixels, (height, width), axis=(1, 2))  # type: ignore[call-overload]  # (B, y, x, H, W)
    cropped = windows[np.arange(count), top, left]
    if flip:
        cropped[mirrored] = cropped[mirrored, :, ::-1]
    return cropped[..., None].view(np.uint8).transpose(0, 3, 1, 2)


def smooth_one_hot(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """Targets (B, classes) float32 from labels (B,): 1 − s on the label, and s spread over all classes."""
    targets = np.full((len(labels), classes), smoothing / classes, dtype=np.float32)
    targets[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    return targets


def mixup(images: np.ndarray, targets: np.ndarray, share: float) -> Tuple[np.ndarray, np.ndarray]:
    """Each image and target times λ, plus 1 − λ times those of its partner in the reversed batch.

    Parameters
    ----------
    images, targets : ndarray
        (B, ...) float32.
    share : float
        λ, between 0 and 1.
    """
    mine, partner = np.float32(share), np.float32(1 - share)
    return images * mine + images[::-1] * partner, targets * mine + targets[::-1] * partner


def cutmix(
    images: np.ndarray, targets: np.ndarray, share: float, draw: np.random.Generator
) -> Tuple[np.ndarray, np.ndarray]:
    """A box of each image replaced by its partner's in the reversed batch, and the targets mixed by area.

    Parameters
    ----------
    images : ndarray
        (B, C, H, W).
    targets : ndarray
        (B, classes) float32.
    share : float
        λ, between 0 and 1: the box has 1 − λ of the image's area, unless the border cuts a part of it off. The targets
        are mixed by the area that is left.
    draw : numpy.random.Generator
        Source of the box's centre.
    """
    height, width = images.shape[2:]
    side = np.sqrt(1 - share)
    (top, bottom), (left, right) = (_interval(length, int(length * side), draw) for length in (height, width))
    mixed = images.copy()
    mixed[:, :, top:bottom, left:right] = images[::-1, :, top:bottom, left:right]
    partner = (bottom - top) * (right - left) / (height * width)
    return mixed, targets * np.float32(1 - partner) + targets[::-1] * np.float32(partner)


def _interval(length: int, size: int, draw: np.random.Generator) -> Tuple[int, int]:
    """Start and end of `size` pixels around a random one, cut off at the ends of `length`."""
    start = int(draw.integers(length)) - size // 2
    return max(0, start), min(length, start + size)


def mix(
    images: np.ndarray, targets: np.ndarray, mixup_alpha: float, cutmix_alpha: float, draw: np.random.Generator
) -> Tuple[np.ndarray, np.ndarray]:
    """Mixup or CutMix, whichever is on; where both are, one of them is drawn with a chance of one half.

    Parameters
    ----------
    images, targets : ndarray
        (B, C, H, W) and (B, classes) float32.
    mixup_alpha, cutmix_alpha : float
        λ ~ Beta(alpha, alpha), one per batch; 0 is off.
    draw : numpy.random.Generator
        Source of the random numbers.
    """
    if cutmix_alpha > 0 and (mixup_alpha == 0 or draw.random() < 0.5):
        return cutmix(images, targets, draw.beta(cutmix_alpha, cutmix_alpha), draw)
    if mixup_alpha > 0:
        return mixup(images, targets, draw.beta(mixup_alpha, mixup_alpha))
    return images, targets


@dataclass(frozen=True)
class Augmentation:
    """The whole way from stored images to what a training step reads.

    Parameters
    ----------
    normalise : Normalisation
        To the network's input.
    classes : int
        Columns of the targets.
    crop_padding, flip
        As in `crop_and_flip`.
    policy : Policy, optional
        AutoAugment or RandAugment, before the crop.
    mixup_alpha, cutmix_alpha : float
        As in `mix`.
    mixup_epochs : int
        How many epochs, from the first on, have mixup or CutMix.
    smoothing : float
        Label smoothing, which is independent of mixup.
    """

    normalise: Normalisation
    classes: int
    crop_padding: int = 0
    flip: bool = False
    policy: Optional[Policy] = None
    mixup_alpha: float = 0.0
    mixup_epochs: int = 0
    smoothing: float = 0.0
    cutmix_alpha: float = 0.0

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, draw: np.random.Generator, epoch: int
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Images (B, H, W, 3) uint8 and labels (B,) to images (B, 3, H, W) float32 and targets (B, classes)."""
        if self.policy is not None:
            images = auto_augment(images, self.policy, draw)
        inputs = self.normalise(crop_and_flip(images, self.crop_padding, self.flip, draw))
        targets = smooth_one_hot(labels, self.classes, self.smoothing)
        if epoch < self.mixup_epochs:
            return mix(inputs, targets, self.mixup_alpha, self.cutmix_alpha, draw)
        return inputs, targets

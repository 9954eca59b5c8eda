"""How a network answers whole images: padded to its stride, by windows that slide over them, and mirrored as well.

Logits are averaged, over windows where they overlap and over an image and its mirror image: as mmsegmentation's sliding
inference averages them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, List, Tuple

import numpy as np
from PIL import Image

from ...compat import mx
from ...data.augment import Normalisation
from ...data.loader import Batch


@dataclass(frozen=True)
class Whole:
    """From whole images to logits of the same height and width.

    Parameters
    ----------
    net : callable
        From (B, 3, h, w) to logits (B, C, h, w), where h and w are multiples of `stride`.
    stride : int
        Pixels that one pixel of the network's coarsest map spans.
    padding : {"reflect", "zeros"}
        What images are padded with, below and on the right, to such a size; the logits there are cut off.
    tile : int
        Side of the windows that slide over an image that is larger; 0 is the whole image at once.
    overlap : int
        Pixels that two neighbouring windows share, at least.
    flips : bool
        Whether the logits are averaged with those of the mirrored image.
    """

    net: Any
    stride: int = 1
    padding: str = "reflect"
    tile: int = 0
    overlap: int = 0
    flips: bool = False

    def __call__(self, images: Any) -> Any:
        """Logits (B, C, H, W) of images (B, 3, H, W), NDArrays on one device."""
        logits = self._windows(images)
        if self.flips:
            logits = (logits + mx.nd.flip(self._windows(mx.nd.flip(images, axis=3)), axis=3)) / 2
        return logits

    def _windows(self, images: Any) -> Any:
        height, width = images.shape[2:]
        if not self.tile or max(height, width) <= self.tile:
            return self._padded(images)
        total, count = None, np.zeros((1, 1, height, width), np.float32)
        for rows in places(height, self.tile, self.overlap):
            for columns in places(width, self.tile, self.overlap):
                logits = self._padded(images[:, :, rows, columns])
                if total is None:
                    total = mx.nd.zeros((*logits.shape[:2], height, width), ctx=logits.context)
                total[:, :, rows, columns] += logits
                count[:, :, rows, columns] += 1
                # Each window is finished before the next, so that the windows of a large image do not fill the memory.
                total.wait_to_read()
        return mx.nd.broadcast_div(total, mx.nd.array(count, ctx=images.context))

    def _padded(self, images: Any) -> Any:
        height, width = images.shape[2:]
        padded = pad(images, -height % self.stride, -width % self.stride, self.padding)
        logits = self.net(padded)
        return logits if padded is images else logits[:, :, :height, :width]


def places(length: int, tile: int, overlap: int) -> List[slice]:
    """Windows along a side: each as long as the tile, or as the side; the last one ends where the side ends.

    Parameters
    ----------
    length, tile : int
        Of the side and of the windows, in pixels.
    overlap : int
        Pixels that two neighbours share, at least; less than the tile.
    """
    if length <= tile:
        return [slice(0, length)]
    step = tile - overlap
    count = -(-(length - tile) // step) + 1
    starts = [min(number * step, length - tile) for number in range(count)]
    return [slice(start, start + tile) for start in starts]


def pad(images: Any, below: int, right: int, how: str) -> Any:
    """Pad images (B, C, H, W), an NDArray, with as many rows below and columns on the right, and not where both are 0.

    A reflection that is longer than the image goes on from its other end.
    """
    if not below and not right:
        return images
    if how == "zeros":
        edges = (0, 0, 0, 0, 0, below, 0, right)
        return mx.nd.pad(images, mode="constant", pad_width=edges, constant_value=0)
    for axis, more in ((2, below), (3, right)):
        if more:
            place = np.pad(np.arange(images.shape[axis]), (0, more), mode="reflect")
            images = mx.nd.take(images, mx.nd.array(place, ctx=images.context), axis=axis)
    return images


# --- Test images ------------------------------------------------------------------------------------------------------


def whole_batches(data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]) -> Iterator[Batch]:
    """Every test image as it is; images of one size share a batch."""
    for images, masks in data.in_order(batch_size, shard):
        yield Batch(normalise(images.transpose(0, 3, 1, 2)), masks)


def resized_batches(
    data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int], side: int
) -> Iterator[Batch]:
    """Every test image scaled to a square, bilinear, and its mask likewise, by the nearest pixel.

    So were the published figures of ACM (arXiv 2009.14530) measured, with a side of 512 pixels: image and mask are
    scaled from their own sizes, even where these differ.
    """
    rank, size = shard
    for start in range(rank * batch_size, len(data), size * batch_size):
        samples = [data.stored(number) for number in range(start, min(start + batch_size, len(data)))]
        images = np.stack([shown(sample.image, side) for sample in samples])
        masks = np.stack([scaled(sample.mask, side, side, Image.Resampling.NEAREST) for sample in samples])
        yield Batch(normalise(images.transpose(0, 3, 1, 2)), masks)


def shown(image: np.ndarray, side: int) -> np.ndarray:
    """An image (H, W, 3) uint8 as a network is shown it: scaled to a square, bilinear; as it is where `side` is 0."""
    return scaled(image, side, side, Image.Resampling.BILINEAR) if side else image


def restored(answer: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The answer (h, w) uint8 to an image that was shown in another size, in the image's own: the nearest pixels."""
    height, width = image.shape[:2]
    return answer if answer.shape == (height, width) else scaled(answer, height, width, Image.Resampling.NEAREST)


def scaled(pixels: np.ndarray, height: int, width: int, how: Any) -> np.ndarray:
    """An image (H, W, 3) or a mask (H, W), uint8, of another size."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), how))

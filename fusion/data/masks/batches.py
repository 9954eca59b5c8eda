"""Training batches of crops of images and masks, which are read while the network works.

A batch is a function of the seed, the epoch and its number alone, as in `fusion.data.loader`: the draws of an image
come from the seed, the epoch and its place in the epoch's order, so that neither the number of threads nor that of the
workers that share an epoch changes what is drawn for it.
"""

from __future__ import annotations

from typing import Callable, Tuple

import numpy as np

from ..augment import Normalisation
from ..loader import Batch, ChunkedBatches, generator
from .augment import MaskAugmentation
from .maskset import MaskSet

#: What a random draw is for: see `fusion.data.loader`, which has 0 and 1, `fusion.training.engine`, which has 2, and
#: `fusion.data.photos.batches`, which has 10 and 11.
_CROP = 20


class MaskBatches(ChunkedBatches):
    """The batches of any epoch; a last one that is not full is left out.

    Parameters
    ----------
    data : MaskSet
        The training images.
    augmentation : MaskAugmentation
        From an image and its mask to a crop of both.
    normalise : Normalisation
        To the network's input.
    batch_size : int
        B, over all devices of all processes.
    seed : int
        Of the run.
    workers : int
        Threads that prepare batches, which do not depend on how many there are.
    shard : (int, int)
        Rank and size of a process among several: of `size` equal parts of each batch, it makes number `rank`.

    Raises
    ------
    ValueError
        If the set has fewer images than a batch, or a batch cannot be cut into such parts.
    """

    #: Images that a thread takes at a time.
    chunk = 4

    def __init__(
        self,
        data: MaskSet,
        augmentation: MaskAugmentation,
        normalise: Normalisation,
        batch_size: int,
        seed: int,
        workers: int = 1,
        shard: Tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(data, batch_size, seed, workers, shard)
        self.augmentation = augmentation
        self.normalise = normalise

    def part(self, epoch: int, part: int, order: np.ndarray) -> Tuple[Callable[[range], None], Callable[[], Batch]]:
        """As `fusion.data.loader.ChunkedBatches.part`.

        The targets of a batch are (B, height, width) uint8, numbers of classes or `IGNORE`.
        """
        height, width = self.augmentation.height, self.augmentation.width
        images = np.empty((self.part_size, 3, height, width), np.float32)
        masks = np.empty((self.part_size, height, width), np.uint8)

        def fill(places: range) -> None:
            for place in places:
                crop, masks[place] = self._crop(epoch, part * self.part_size + place, order)
                images[place] = self.normalise(crop.transpose(2, 0, 1)[None])[0]

        return fill, lambda: Batch(images, masks)

    def _crop(self, epoch: int, place: int, order: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """The crop of the image at a place in an epoch's order."""
        sample = self.data.read(int(order[place]))
        return self.augmentation(sample.image, sample.mask, generator(self.seed, _CROP, epoch, place))

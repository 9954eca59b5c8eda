"""Training batches of crops of images and masks, which are read while the network works.

A batch is a function of the seed, the epoch and its number alone, as in `fusion.data.loader`: the draws of an image
come from the seed, the epoch and its place in the epoch's order, so that neither the number of threads nor that of the
workers that share an epoch changes what is drawn for it.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Iterator, List, Tuple

import numpy as np

from ..augment import Normalisation
from ..loader import Batch, Batches, generator
from ..turns import in_turn
from .augment import MaskAugmentation
from .maskset import MaskSet

#: What a random draw is for: see `fusion.data.loader`, which has 0 and 1, `fusion.training.engine`, which has 2, and
#: `fusion.data.photos.batches`, which has 10 and 11.
_ORDER, _CROP = 0, 20

#: Batches that are kept ready, in addition to those that threads are working on.
_READY = 2

#: Images that a thread takes at a time.
_CHUNK = 4


class MaskBatches(Batches):
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

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number `start` on.

        Parameters
        ----------
        epoch, start : int
            From 0.

        Yields
        ------
        Batch
            In order; the same for the same seed, whichever batches were made before. Targets are (B, height, width)
            uint8, numbers of classes or `IGNORE`.

        Raises
        ------
        DataError
            If an image or mask cannot be read.
        """
        order = generator(self.seed, _ORDER, epoch).permutation(len(self.data))
        ahead = _READY + -(-self.workers * _CHUNK // self.part_size)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="batches") as pool:
            yield from in_turn(lambda number: self._submit(pool, epoch, number, order), range(start, len(self)), ahead)

    def _submit(self, pool: ThreadPoolExecutor, epoch: int, number: int, order: np.ndarray) -> List[Future[Any]]:
        """Queue a batch: its chunks of images, and after them the task that waits for all of them."""
        height, width = self.augmentation.height, self.augmentation.width
        images = np.empty((self.part_size, 3, height, width), np.float32)
        masks = np.empty((self.part_size, height, width), np.uint8)
        first = (number * self.size + self.rank) * self.part_size

        def fill(row: int) -> None:
            for place in range(row, min(row + _CHUNK, self.part_size)):
                crop, masks[place] = self._crop(epoch, first + place, order)
                images[place] = self.normalise(crop.transpose(2, 0, 1)[None])[0]

        def finish() -> Batch:
            for chunk in chunks:
                chunk.result()
            return Batch(images, masks)

        chunks = [pool.submit(fill, row) for row in range(0, self.part_size, _CHUNK)]
        return [*chunks, pool.submit(finish)]

    def _crop(self, epoch: int, place: int, order: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """The crop of the image at a place in an epoch's order."""
        sample = self.data.read(int(order[place]))
        return self.augmentation(sample.image, sample.mask, generator(self.seed, _CROP, epoch, place))

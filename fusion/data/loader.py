"""Batches of augmented images; the seed, the epoch and a batch's number determine it, so that it can be made again.

Images stay uint8 in memory and are cropped, flipped and normalised one batch at a time. Threads prepare the next
batches while the network works: NumPy releases Python's lock, so that they run side by side.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable, ClassVar, Iterator, List, Tuple

import numpy as np

from ..words import counted
from .augment import Augmentation, Normalisation
from .imageset import DataSet, ImageSet
from .turns import in_turn

#: Batches that are kept ready, in addition to those that threads are working on.
_READY = 2

#: What a random draw is for, so that no two draws share their numbers.
_ORDER, _BATCH = 0, 1


@dataclass(frozen=True)
class Batch:
    """What one step reads.

    Attributes
    ----------
    images : ndarray
        (B, 3, H, W) float32, normalised.
    targets : ndarray
        (B, classes) float32, rows that sum to 1; of images with masks (B, H, W) uint8, numbers of classes.
    """

    images: np.ndarray
    targets: np.ndarray


def generator(*key: int) -> np.random.Generator:
    """A random generator that depends on nothing but its key.

    Parameters
    ----------
    *key : int
        Numbers of at least 0: the seed, then what is drawn, the epoch, the batch.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


class Batches:
    """How an epoch of a data set is cut into batches, and each batch into the parts of several processes.

    Parameters
    ----------
    data : ImageSet or PhotoSet
        The training images, N.
    batch_size : int
        B, over all devices of all processes. The last N mod B images of an epoch's order are left out of that epoch.
    seed : int
        Of the run.
    workers : int
        Threads that prepare batches.
    shard : tuple of two int
        Rank and size of a process among several: of `size` equal parts of each batch, it makes number `rank`.

    Raises
    ------
    ValueError
        If the set has fewer images than a batch, or a batch cannot be cut into such parts.
    """

    def __init__(self, data: Any, batch_size: int, seed: int, workers: int, shard: Tuple[int, int]) -> None:
        if len(data) < batch_size:
            raise ValueError(
                f"a batch of {batch_size} is more than the {counted(len(data), 'training image')}: use a smaller "
                "data.batch_size"
            )
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.rank, self.size = shard
        if not 0 <= self.rank < self.size or batch_size % self.size:
            raise ValueError(
                f"part {self.rank} of {self.size} of a batch of {batch_size}; expected a part from 0 to {self.size - 1}"
                " and a batch size that the parts divide"
            )

    @property
    def part_size(self) -> int:
        """How many images of each batch this process makes."""
        return self.batch_size // self.size

    @property
    def ahead(self) -> int:
        """How many batches are queued and not yet given, at most."""
        return self.workers + _READY

    def __len__(self) -> int:
        return len(self.data) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number `start` on.

        Parameters
        ----------
        epoch, start : int
            From 0.

        Yields
        ------
        Batch
            In order; the same for the same seed, whichever batches were made before.

        Raises
        ------
        DataError
            If what is needed of an image cannot be read.
        """
        order = generator(self.seed, _ORDER, epoch).permutation(len(self.data))
        with ThreadPoolExecutor(self.workers, thread_name_prefix="batches") as pool:
            yield from in_turn(
                lambda number: self.submit(pool, epoch, number, order), range(start, len(self)), self.ahead
            )

    def submit(self, pool: ThreadPoolExecutor, epoch: int, number: int, order: np.ndarray) -> List[Future[Any]]:
        """Queue what makes a batch, or this process's part of it.

        Parameters
        ----------
        pool : ThreadPoolExecutor
            The threads.
        epoch, number : int
            Of the batch, from 0.
        order : ndarray
            (N,): the number of the image at each place of the epoch.

        Returns
        -------
        list of Future
            The tasks, of which the last gives the `Batch`.
        """
        raise NotImplementedError


class TrainingBatches(Batches):
    """The batches of any epoch; a last one that is not full is left out, as in the original.

    Parameters
    ----------
    data : ImageSet
        The training images.
    augmentation : Augmentation
        From a batch of stored images to one that a step reads.
    batch_size : int
        B, over all devices of all processes.
    seed : int
        Of the run.
    workers : int
        Threads that prepare batches, which do not depend on how many there are.
    shard : tuple of two int
        Rank and size of a process among several: of `size` equal parts of each batch, it makes number `rank`.

    Raises
    ------
    ValueError
        If the set has fewer images than a batch, or a batch cannot be cut into such parts.
    """

    def __init__(
        self,
        data: ImageSet,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        workers: int = 1,
        shard: Tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(data, batch_size, seed, workers, shard)
        self.augmentation = augmentation

    def submit(self, pool: ThreadPoolExecutor, epoch: int, number: int, order: np.ndarray) -> List[Future[Any]]:
        """As `Batches.submit`: one task."""
        return [pool.submit(self.make, epoch, number, order)]

    def make(self, epoch: int, number: int, order: np.ndarray) -> Batch:
        """One batch of an epoch's order (N,), or this process's part of it."""
        part = number * self.size + self.rank
        rows = order[part * self.part_size : (part + 1) * self.part_size]
        draw = generator(self.seed, _BATCH, epoch, part)
        return Batch(*self.augmentation(self.data.images[rows], self.data.labels[rows], draw, epoch))


class ChunkedBatches(Batches):
    """Batches whose images are read one by one: threads take `chunk` of them at a time.

    Parameters and errors as `Batches`.
    """

    chunk: ClassVar[int]

    @property
    def ahead(self) -> int:
        """As `Batches.ahead`; a batch may be less than what the threads take at a time."""
        return _READY + -(-self.workers * self.chunk // self.part_size)

    def part(self, epoch: int, part: int, order: np.ndarray) -> Tuple[Callable[[range], None], Callable[[], Batch]]:
        """How the images of a part of an epoch are made.

        Parameters
        ----------
        epoch : int
            From 0.
        part : int
            Which part of the epoch's order, whose first image is at the place part · `part_size`.
        order : ndarray
            (N,): the number of the image at each place.

        Returns
        -------
        fill, finish : callable
            The first makes some images of the part, by their places in it; the second gives the batch of all of them.
        """
        raise NotImplementedError

    def submit(self, pool: ThreadPoolExecutor, epoch: int, number: int, order: np.ndarray) -> List[Future[Any]]:
        """As `Batches.submit`: the chunks of images, and after them the task that waits for all of them."""
        fill, finish = self.part(epoch, number * self.size + self.rank, order)
        places = range(self.part_size)
        chunks = [pool.submit(fill, places[row : row + self.chunk]) for row in places[:: self.chunk]]

        def whole() -> Batch:
            for chunk in chunks:
                chunk.result()
            return finish()

        return [*chunks, pool.submit(whole)]


def evaluation_batches(
    data: DataSet, normalise: Normalisation, batch_size: int, shard: Tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Every image once, in order and without augmentation; a last batch that is not full repeats its first image.

    Parameters
    ----------
    data : DataSet
        The test images.
    normalise : Normalisation
        From uint8 images to the network's input.
    batch_size : int
        B.
    shard : tuple of two int
        Rank and size of a process among several: every `size`-th batch, starting at `rank`.

    Yields
    ------
    Batch
        The targets are integer labels (n,); a last batch that was not full has fewer labels than images.
    """
    for images, labels in data.in_order(batch_size, shard):
        missing = batch_size - len(images)
        if missing:
            images = np.concatenate([images, np.repeat(images[:1], missing, axis=0)])
        yield Batch(normalise(images.transpose(0, 3, 1, 2)), labels)

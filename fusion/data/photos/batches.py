"""Training batches of photos that are decoded while the network works.

A batch is a function of the seed, the epoch and its number alone, as in `fusion.data.loader`: the draws of a photo come
from the seed, the epoch and its place in the epoch's order, so that neither the number of threads, nor the source of
the photos, nor the number of workers that share an epoch changes what is drawn for that photo.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Callable, Dict, Tuple

import numpy as np

from ...errors import DataError
from ...words import counted
from ..augment import Normalisation, mix, smooth_one_hot
from ..loader import Batch, ChunkedBatches, generator
from .header import BadPhotoError
from .photo import PhotoAugmentation
from .photoset import CHUNK, PhotoSet, first_few

logger = logging.getLogger(__name__)

#: What a random draw is for: see `fusion.data.loader`, which has 0 and 1, and `fusion.training.engine`, which has 2.
_BATCH = 1
_PHOTO, _REPLACEMENT = 10, 11

#: Other photos that are tried in place of a bad one, before the whole data set is taken to be unreadable.
_TRIES = 100


@dataclass(frozen=True)
class Targets:
    """From the labels of a batch to its targets, by label smoothing and mixup.

    Parameters
    ----------
    classes : int
        Columns of the targets.
    mixup_alpha, cutmix_alpha : float
        As in `fusion.data.augment.mix`.
    mixup_epochs : int
        How many epochs, from the first on, have mixup or CutMix.
    smoothing : float
        Label smoothing.
    """

    classes: int
    mixup_alpha: float = 0.0
    mixup_epochs: int = 0
    smoothing: float = 0.0
    cutmix_alpha: float = 0.0

    def __call__(self, images: np.ndarray, labels: np.ndarray, draw: np.random.Generator, epoch: int) -> Batch:
        """Images (B, 3, S, S) float32 and labels (B,) int64 to what a step reads."""
        targets = smooth_one_hot(labels, self.classes, self.smoothing)
        if epoch < self.mixup_epochs:
            return Batch(*mix(images, targets, self.mixup_alpha, self.cutmix_alpha, draw))
        return Batch(images, targets)


class BadPhotos:
    """Counts the photos that cannot be read, each once, up to a limit.

    Parameters
    ----------
    data : PhotoSet
        Whose photos they are.
    limit : int
        How many are replaced by others; one more is an error.
    """

    def __init__(self, data: PhotoSet, limit: int) -> None:
        self._data = data
        self._limit = limit
        self._lock = threading.Lock()
        self.reasons: Dict[int, str] = {}

    def add(self, number: int, reason: str) -> None:
        """Count a photo, and warn of it.

        Raises
        ------
        DataError
            If there are more than the limit: the message gives their number and names the first few.
        """
        with self._lock:
            if number not in self.reasons:
                self.reasons[number] = reason
                name = self._data.photos.name(number)
                logger.warning("%s: %s; another photo takes its place", name, reason)
            count = len(self.reasons)
            if count > self._limit:
                raise DataError(
                    f"{self._data.title}: {counted(count, 'training photo')} cannot be read, and data.max_bad_images "
                    f"allows {self._limit}: {first_few(self._data.photos, self.reasons)}; mend or remove them, or "
                    "raise it"
                )


class PhotoBatches(ChunkedBatches):
    """The batches of any epoch; a last one that is not full is left out.

    Parameters
    ----------
    data : PhotoSet
        The training photos.
    augmentation : PhotoAugmentation
        From a photo's bytes to its crop.
    normalise : Normalisation
        To the network's input.
    targets : Targets
        Label smoothing and mixup.
    batch_size : int
        B, over all devices of all processes.
    seed : int
        Of the run.
    workers : int
        Threads that prepare batches, which do not depend on how many there are.
    max_bad : int
        How many unreadable photos are replaced by others; one more is an error.
    shard : (int, int)
        Rank and size of a process among several: of `size` equal parts of each batch, it makes number `rank`.

    Raises
    ------
    ValueError
        If the set has fewer photos than a batch, or a batch cannot be cut into such parts.
    """

    chunk = CHUNK

    def __init__(
        self,
        data: PhotoSet,
        augmentation: PhotoAugmentation,
        normalise: Normalisation,
        targets: Targets,
        batch_size: int,
        seed: int,
        workers: int = 1,
        max_bad: int = 0,
        shard: Tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(data, batch_size, seed, workers, shard)
        self.augmentation = augmentation
        self.normalise = normalise
        self.targets = targets
        self.bad = BadPhotos(data, max_bad)

    def part(self, epoch: int, part: int, order: np.ndarray) -> Tuple[Callable[[range], None], Callable[[], Batch]]:
        """As `fusion.data.loader.ChunkedBatches.part`; more bad photos than allowed are an error."""
        images = np.empty((self.part_size, 3, self.augmentation.size, self.augmentation.size), np.float32)
        labels = np.empty(self.part_size, np.int64)
        first = part * self.part_size

        def fill(places: range) -> None:
            found = [self._photo(epoch, first + place, order) for place in places]
            rows = slice(places.start, places.stop)
            images[rows] = self.normalise(np.stack([image for image, _ in found]).transpose(0, 3, 1, 2))
            labels[rows] = [label for _, label in found]

        def finish() -> Batch:
            return self.targets(images, labels, generator(self.seed, _BATCH, epoch, part), epoch)

        return fill, finish

    def _photo(self, epoch: int, place: int, order: np.ndarray) -> Tuple[np.ndarray, int]:
        """The crop and label of the photo at a place in an epoch's order, or of another photo where that one is bad."""
        number = int(order[place])
        for attempt in range(_TRIES):
            try:
                data, label = self.data.photos.read(number)
                return self.augmentation(data, generator(self.seed, _PHOTO, epoch, place)), label
            except BadPhotoError as error:
                self.bad.add(number, str(error))
                number = int(generator(self.seed, _REPLACEMENT, epoch, place, attempt).integers(len(self.data)))
        raise DataError(
            f"{self.data.title}: {_TRIES} photos in a row cannot be read, the last of them "
            f"{self.data.photos.name(number)}: run python -m fusion prepare imagenet to list them all"
        )

"""Training batches by MXNet's own ImageRecordIter, for recipes that it can follow.

It decodes and augments in C++ and draws from the same distributions as `fusion.data.photos.photo`, but not the same
numbers: a run with it is repeatable with the same number of `data.workers`, and differs from a run with the Python
pipeline. It reads records only, has no AutoAugment, replaces no bad photos, and cannot share a batch among several
processes. It drops the alpha channel of a transparent PNG file, whose hidden colours it then shows, where the Python
pipeline puts the photo on white. It turns a JPEG as its EXIF data says, as the Python pipeline does, and no PNG file;
and it does not notice a damaged JPEG, for which `python -m fusion prepare imagenet` looks.

Its `seed_aug` is not set: with it, MXNet 1.9.1 restarts its random numbers at every batch, so that an epoch has no more
different crops than a batch has photos. Without it they restart when an iterator is made, which here is once per epoch:
the run's seed and the epoch decide the order of the photos, and so which random numbers each photo gets.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np

from ...compat import mx
from ...errors import DataError
from ..augment import Normalisation
from ..loader import Batch, Batches, generator, in_turn
from .batches import Targets
from .photo import PhotoAugmentation
from .photoset import PhotoSet, RecordPhotos

#: What a random draw is for: see `fusion.data.photos.batches`.
_BATCH, _NATIVE = 1, 12
_SEEDS = 2**31 - 1

#: ImageRecordIter's choice of interpolation that `fusion.data.photos.photo.decode_box` makes too.
_BY_DIRECTION = 9

#: Batches that are kept ready, in addition to those that ImageRecordIter keeps itself.
_READY = 2


class NativeBatches(Batches):
    """The batches of any epoch; a last one that is not full is left out.

    Parameters
    ----------
    data : PhotoSet
        The training photos, in records.
    augmentation : PhotoAugmentation
        Without a policy.
    normalise, targets, batch_size, seed
        As in `fusion.data.photos.batches.PhotoBatches`.
    workers : int
        Threads that decode; the random numbers depend on how many there are.
    shard : (int, int)
        Only (0, 1), which is the whole of each batch.

    Raises
    ------
    ValueError
        If the set has fewer photos than a batch, or ImageRecordIter cannot do what is asked for.
    DataError
        If the records are damaged in a way that would end the process.
    """

    def __init__(
        self,
        data: PhotoSet,
        augmentation: PhotoAugmentation,
        normalise: Normalisation,
        targets: Targets,
        batch_size: int,
        seed: int,
        workers: int = 1,
        shard: Tuple[int, int] = (0, 1),
    ) -> None:
        if not isinstance(data.photos, RecordPhotos):
            raise ValueError("data.pipeline=native reads records only: data.source=record, or data.pipeline=python")
        if augmentation.policy is not None:
            raise ValueError("data.pipeline=native has no AutoAugment: set data.pipeline=python")
        if shard != (0, 1):
            raise ValueError("data.pipeline=native cannot share an epoch among processes: set data.pipeline=python")
        super().__init__(data, batch_size, seed, workers, shard)
        self.augmentation = augmentation
        self.normalise = normalise
        self.targets = targets
        self._path = data.photos.path
        data.photos.check_chain()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number `start` on; those before it are made too, and not given.

        Parameters
        ----------
        epoch, start : int
            From 0.

        Raises
        ------
        DataError
            If ImageRecordIter stops, as it does at a photo that it cannot decode.
        """
        with self._telling():
            source = self._iterator(epoch)  # reads the first batch already
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            made = in_turn(
                lambda number: [pool.submit(self._next, source, epoch, number, number >= start)],
                range(len(self)),
                _READY,
            )
            yield from (batch for batch in made if batch is not None)

    def _iterator(self, epoch: int) -> Any:
        order = generator(self.seed, _NATIVE, epoch).integers(_SEEDS)
        return mx.io.ImageRecordUInt8Iter(
            path_imgrec=str(self._path),
            path_imgidx=str(self._path.with_suffix(".idx")),
            data_shape=(3, self.augmentation.size, self.augmentation.size),
            batch_size=self.batch_size,
            shuffle=True,
            seed=int(order),
            preprocess_threads=self.workers,
            round_batch=False,
            verbose=False,
            **native_arguments(self.augmentation),
        )

    def _next(self, source: Any, epoch: int, number: int, wanted: bool) -> Optional[Batch]:
        with self._telling():
            found = source.next()
        if not wanted:
            return None
        images, labels = found.data[0].asnumpy(), found.label[0].asnumpy().astype(np.int64)
        self._check_labels(labels)
        return self.targets(self.normalise(images), labels, generator(self.seed, _BATCH, epoch, number), epoch)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn the end of ImageRecordIter into a message that says what to do."""
        try:
            yield
        except (mx.base.MXNetError, StopIteration) as error:
            reason = (str(error).strip() or "it ended early").splitlines()[-1].strip()
            raise DataError(
                f"{self._path}: MXNet's ImageRecordIter stopped, as it does at a photo that it cannot decode "
                f"({reason}); data.pipeline=python can replace some by others (data.max_bad_images)"
            ) from None

    def _check_labels(self, labels: np.ndarray) -> None:
        classes = len(self.data.classes)
        if labels.min() < 0 or labels.max() >= classes:
            strange = labels[(labels < 0) | (labels >= classes)][0]
            raise DataError(f"{self._path}: label {strange} names no class; expected 0 to {classes - 1}")


def native_arguments(augmentation: PhotoAugmentation) -> Dict[str, Any]:
    """The same augmentation as arguments of ImageRecordIter."""
    return {
        "random_resized_crop": True,
        "min_random_area": augmentation.area[0],
        "max_random_area": augmentation.area[1],
        "min_aspect_ratio": augmentation.aspect[0],
        "max_aspect_ratio": augmentation.aspect[1],
        "inter_method": _BY_DIRECTION,
        "rand_mirror": augmentation.flip,
        "brightness": augmentation.jitter,
        "contrast": augmentation.jitter,
        "saturation": augmentation.jitter,
        "pca_noise": augmentation.lighting,
    }

"""A set of images with masks on disk, and how they are read: one by one, at full size, ahead of who asks for them."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Protocol, Sequence, Set, Tuple

import numpy as np

from ...errors import DataError, nearest
from ...progress import progress
from ..listing import SHOWN
from ..photos.decoding import opencv
from ..photos.header import BadPhotoError
from ..turns import in_turn
from .labels import IGNORE, Labels, binary_labels, class_labels
from .relabelled import RelabelledMasks

logger = logging.getLogger(__name__)

#: What is done to a mask of another size than its image.
MISMATCHES = ("error", "resize")

#: The settings of every set of images with masks.
SETTINGS = (
    "data.train_split",
    "data.test_split",
    "augment.crop_size",
    "augment.long_side",
    "augment.scale",
    "augment.padding",
    "augment.target_probability",
    "augment.blur_probability",
    "augment.colour_jitter",
)

#: Bytes of decoded images and masks that a set keeps in memory, so that a small one is decoded only once.
KEPT_BYTES = 256 * 2**20

#: Images that are kept ready, in addition to those that threads are working on.
_READY = 2

#: Images that a thread checks at a time.
_CHUNK = 16


class Sample(NamedTuple):
    """An image and its mask.

    Attributes
    ----------
    name : str
        As the lists have it.
    image : ndarray
        (H, W, 3) uint8, red, green, blue.
    mask : ndarray
        (H, W) uint8: the number of each pixel's class, or `IGNORE`.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray


class Facts(NamedTuple):
    """What a check finds out about an image and its mask.

    Attributes
    ----------
    image, mask : (int, int)
        Height and width.
    classes : frozenset of int
        The numbers that the mask has.
    """

    image: Tuple[int, int]
    mask: Tuple[int, int]
    classes: FrozenSet[int]


class MaskSource(Protocol):
    """Where images and masks are, by number. What cannot be read is a `BadPhotoError` that names the file."""

    def __len__(self) -> int:
        """Count the images."""

    def name(self, number: int) -> str:
        """The name of an image, as the lists have it."""

    def files(self, number: int) -> Tuple[str, str]:
        """What messages call the image and the mask."""

    def read_image(self, number: int) -> np.ndarray:
        """The image, (H, W, 3) uint8."""

    def read_mask(self, number: int) -> np.ndarray:
        """Numbers of classes, (h, w) uint8."""

    def look(self, number: int) -> Facts:
        """The sizes of an image and its mask, and which classes the mask has, without decoding the image."""

    def fingerprint(self) -> str:
        """Of the files."""


class MaskSet:
    """One split of a data set of images with masks.

    Parameters
    ----------
    source : MaskSource
        Where they are.
    labels : Labels
        The classes.
    title : str
        For tables and logs.
    mismatch : {"error", "resize"}
        What is done to a mask of another size than its image: refuse it, or resize it to the image's size, each pixel
        getting the value of the nearest.
    workers : int
        Threads that read and decode.
    kept_bytes : int
        How much memory decoded images and masks may take that are kept for the next time.
    """

    def __init__(
        self,
        source: MaskSource,
        labels: Labels,
        title: str,
        mismatch: str = "error",
        workers: int = 1,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.source = source
        self.labels = labels
        self.title = title
        self.mismatch = mismatch
        self.workers = workers
        self._room = kept_bytes
        self._kept: Dict[int, Sample] = {}
        self._lock = threading.Lock()

    @property
    def classes(self) -> Tuple[str, ...]:
        """Class names in the order of their numbers; of binary masks, the target's alone."""
        return self.labels.classes

    @property
    def named(self) -> bool:
        """Whether the data names its classes."""
        return self.labels.named

    def fingerprint(self) -> str:
        """Of the files."""
        return self.source.fingerprint()

    def relabelled(self, places: Sequence[int], classes: Tuple[str, ...]) -> MaskSet:
        """The same images with the numbers of a network: number n in masks becomes `places[n]`, of its classes."""
        labels = binary_labels(classes[0]) if len(classes) == 1 else class_labels(classes)
        return MaskSet(RelabelledMasks(self.source, places), labels, self.title, self.mismatch, self.workers)

    @property
    def binary(self) -> bool:
        """Whether masks have 1 for the only class and 0 for the background, which is no class."""
        return self.labels.binary

    def __len__(self) -> int:
        return len(self.source)

    def name(self, number: int) -> str:
        """The name of an image, as the lists have it."""
        return self.source.name(number)

    def stored(self, number: int) -> Sample:
        """An image and its mask, each at the size that its file has.

        Raises
        ------
        DataError
            If one of them cannot be read, or the mask has a value that is no class's.
        """
        try:
            return Sample(self.name(number), self.source.read_image(number), self.source.read_mask(number))
        except BadPhotoError as error:
            raise DataError(f"{self.title}: {error}; mend or remove it") from None

    def read(self, number: int) -> Sample:
        """An image and its mask at the image's size; neither can be written to, as the set may keep them.

        Raises
        ------
        DataError
            As `stored`, or if the sizes differ and are not to be mended.
        """
        kept = self._kept.get(number)
        if kept is None:
            kept = self._decode(number)
            self._keep(number, kept)
        return kept

    def _decode(self, number: int) -> Sample:
        """An image and its mask at the image's size, from their files."""
        found = self.stored(number)
        height, width = found.image.shape[:2]
        if found.mask.shape == (height, width):
            return found
        if self.mismatch == "error":
            facts = Facts((height, width), (found.mask.shape[0], found.mask.shape[1]), frozenset())
            raise DataError(f"{self.title}: {self._sizes(number, facts)}; {_MEND}")
        return found._replace(mask=resized_mask(found.mask, height, width))

    def _keep(self, number: int, sample: Sample) -> None:
        """Keep a sample for the next time it is read, if there is room."""
        sample.image.flags.writeable = sample.mask.flags.writeable = False
        size = sample.image.nbytes + sample.mask.nbytes
        with self._lock:
            if number not in self._kept and size <= self._room:
                self._room -= size
                self._kept[number] = sample

    def samples(self, shard: Tuple[int, int] = (0, 1)) -> Iterator[Sample]:
        """Every image once, in order, whole and at its full size, decoded ahead by threads.

        Parameters
        ----------
        shard : (int, int)
            The rank and size of a process among several: it gets every `size`-th image, starting at `rank`.

        Raises
        ------
        DataError
            As `read`.
        """
        rank, size = shard
        return self._read_ahead(range(rank, len(self), size))

    def in_order(self, batch_size: int, shard: Tuple[int, int] = (0, 1)) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Every image once: images (n, H, W, 3) uint8 and masks (n, H, W) uint8.

        n is at most `batch_size`, and less wherever the next image has another size. With `shard`, the rank and size of
        a process among several: every `size`-th group of `batch_size` images, starting at group `rank`.
        """
        rank, size = shard
        starts = range(rank * batch_size, len(self), size * batch_size)
        groups = [range(start, min(start + batch_size, len(self))) for start in starts]
        stream = self._read_ahead([number for group in groups for number in group])
        for group in groups:
            for same in _of_one_size(list(islice(stream, len(group)))):
                yield np.stack([sample.image for sample in same]), np.stack([sample.mask for sample in same])

    def _read_ahead(self, numbers: Sequence[int]) -> Iterator[Sample]:
        with ThreadPoolExecutor(self.workers, thread_name_prefix="masks") as pool:
            yield from in_turn(lambda number: [pool.submit(self.read, number)], numbers, self.workers + _READY)

    # --- Checking -----------------------------------------------------------------------------------------------------

    def check(self, split: str) -> None:
        """Look at every image's size and at every mask, so that a long run does not fail on one of them.

        Parameters
        ----------
        split : {"train", "test"}
            A class that no mask has is worth a warning; training masks that all say the same are an error.

        Raises
        ------
        DataError
            If files cannot be read, masks have unknown values, or sizes differ and are not to be mended: the message
            gives their number and names the first few.
        """
        faults: Dict[int, str] = {}
        mended: Dict[int, str] = {}
        classes: Set[int] = set()

        def look(start: int) -> int:
            numbers = range(start, min(start + _CHUNK, len(self)))
            for number in numbers:
                try:
                    facts = self.source.look(number)
                except BadPhotoError as error:
                    faults[number] = str(error)
                    continue
                classes.update(facts.classes)
                if facts.image != facts.mask:
                    mended[number] = self._sizes(number, facts)
            return len(numbers)

        title = f"{self.title}, masks"
        with ThreadPoolExecutor(self.workers) as pool, progress(title, len(self), unit="images") as meter:
            for count in pool.map(look, range(0, len(self), _CHUNK)):
                meter.update(count)
        self._report(faults, mended)
        self._check_classes(split, classes - {IGNORE})

    def _report(self, faults: Dict[int, str], mended: Dict[int, str]) -> None:
        """Refuse the faults; masks of another size are one, unless they are to be resized."""
        if faults:
            raise DataError(
                f"{self.title}: {len(faults)} of {len(self)} images and masks cannot be used: {_first_few(faults)}"
            )
        if not mended:
            return
        what = f"{len(mended)} of {len(self)} masks have another size than their image: {_first_few(mended)}"
        if self.mismatch == "error":
            raise DataError(f"{self.title}: {what}; {_MEND}")
        logger.warning("%s: %s; they are resized", self.title, what)

    def _check_classes(self, split: str, present: Set[int]) -> None:
        """Refuse training masks that leave nothing to learn; warn of classes that no mask has."""
        if split == "train" and len(present) < 2:
            only = f"only {self.labels.name(min(present))!r}" if present else "only pixels that do not count"
            raise DataError(f"{self.title}: the masks have {only}: there is nothing to tell apart")
        count = 2 if self.binary else len(self.classes)
        without = [self.labels.name(number) for number in range(count) if number not in present]
        if without:
            shown = ", ".join(without[:SHOWN]) + (", ..." if len(without) > SHOWN else "")
            logger.warning("%s: no mask has %d of %d classes: %s", self.title, len(without), count, shown)

    def _sizes(self, number: int, facts: Facts) -> str:
        image, mask = self.source.files(number)
        (height, width), (mask_height, mask_width) = facts.image, facts.mask
        return f"{image} is {width}x{height} and {mask} is {mask_width}x{mask_height}"


_MEND = (
    "mend or remove it, or set data.mask_mismatch=resize, which gives each pixel of the image the value of the nearest "
    "pixel of the mask"
)


def refuse_unknown_mismatch(mismatch: str) -> None:
    """Refuse a name that is none of `MISMATCHES`."""
    if mismatch not in MISMATCHES:
        raise DataError(f"mask_mismatch {mismatch!r} is unknown; {nearest(mismatch, MISMATCHES)}")


def resized_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask (h, w) at another size, each pixel with the value of the nearest: no value is mixed from two."""
    cv2 = opencv()
    # INTER_NEAREST takes the corner of a pixel for its place, and so moves a mask by up to half a pixel.
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def _of_one_size(samples: Sequence[Sample]) -> Iterator[List[Sample]]:
    """The same samples, cut wherever the size changes."""
    same: List[Sample] = []
    for sample in samples:
        if same and sample.image.shape != same[0].image.shape:
            yield same
            same = []
        same.append(sample)
    if same:
        yield same


def _first_few(faults: Dict[int, str]) -> str:
    numbers = sorted(faults)
    return ", ".join(faults[number] for number in numbers[:SHOWN]) + (", ..." if len(numbers) > SHOWN else "")

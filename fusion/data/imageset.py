"""Labelled images held in memory: what every data set of this package loads into.

CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) take 150 MB as bytes,
so that the whole split fits in memory and no reader process stands between the disk and the network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Protocol, Sequence, Tuple

import numpy as np

from ..errors import DataError
from .fingerprint import fingerprint_of_bytes, fingerprint_of_files


class DataSet(Protocol):
    """What training and evaluation need of a split, whether its images are in memory or decoded when needed."""

    @property
    def classes(self) -> Tuple[str, ...]:
        """Class names in label order."""

    @property
    def title(self) -> str:
        """The name for tables and logs."""

    @property
    def named(self) -> bool:
        """Whether the data names its classes; otherwise this package has numbered them."""

    def fingerprint(self) -> str:
        """A short text that is another one for other files: see `fusion.data.fingerprint`."""

    def relabelled(self, places: Sequence[int], classes: Tuple[str, ...]) -> DataSet:
        """The same images with the labels of a network: label n becomes `places[n]`, of the network's classes."""

    def __len__(self) -> int:
        """Count the images."""

    def in_order(self, batch_size: int, shard: Tuple[int, int] = (0, 1)) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Every image once, as a test shows it: images (n, H, W, 3) uint8 and labels (n,), n ≤ batch_size.

        With `shard`, the rank and size of a process among several: every `size`-th batch, starting at `rank`.
        """


@dataclass(frozen=True, eq=False)  # no field-wise ==: it has no truth value for arrays
class ImageSet:
    """One split of a data set: images of one size, their labels, and the names of the classes.

    Parameters
    ----------
    images : numpy.ndarray, shape (N, H, W, 3), uint8
        RGB images, 0 to 255, rows from the top.
    labels : numpy.ndarray, shape (N,), int64
        The class of each image: an index into `classes`.
    classes : tuple of str
        Class names in label order; a class may have no images in this split.
    title : str
        The name for tables and logs, e.g. "CIFAR-100 (20 superclasses)".
    files : tuple of Path
        Where each image comes from, if each has a file in the folder of its class.

    Raises
    ------
    DataError
        If a shape, type or label is not as above, or the set is empty.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    title: str
    files: tuple[Path, ...] = ()

    #: Every set in memory names its classes.
    named = True

    def __post_init__(self) -> None:
        """Check everything that later stages rely on."""
        self._check_images()
        self._check_classes()
        self._check_labels()

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def in_order(self, batch_size: int, shard: Tuple[int, int] = (0, 1)) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Every image once, as it is: images (n, H, W, 3) uint8 and labels (n,) int64, n ≤ batch_size.

        With `shard`, the rank and size of a process among several: every `size`-th batch, starting at `rank`.
        """
        rank, size = shard
        for start in range(rank * batch_size, len(self), size * batch_size):
            yield self.images[start : start + batch_size], self.labels[start : start + batch_size]

    def fingerprint(self) -> str:
        """Of the names and sizes of the files; without files, of the labels and the shape of the images."""
        if self.files:
            names = [f"{path.parent.name}/{path.name}" for path in self.files]
            return fingerprint_of_files(names, self.files.__getitem__)
        return fingerprint_of_bytes(str(self.images.shape).encode(), self.labels.tobytes())

    def relabelled(self, places: Sequence[int], classes: Tuple[str, ...]) -> ImageSet:
        """The same images with the labels of a network: label n becomes `places[n]`, of the network's classes."""
        return replace(self, labels=np.array(places, np.int64)[self.labels], classes=classes)

    def _check_images(self) -> None:
        if not isinstance(self.images, np.ndarray) or self.images.dtype != np.uint8:
            found = getattr(self.images, "dtype", type(self.images).__name__)
            raise DataError(f"{self.title}: images are {found}; expected a numpy array of uint8 (0 to 255)")
        if self.images.ndim != 4 or self.images.shape[3] != 3:
            raise DataError(f"{self.title}: images have the shape {self.images.shape}; expected (N, H, W, 3), RGB last")
        if self.images.size == 0:
            raise DataError(f"{self.title}: no images (shape {self.images.shape}); expected at least one")

    def _check_classes(self) -> None:
        if not isinstance(self.classes, tuple) or not all(isinstance(name, str) for name in self.classes):
            raise DataError(f"{self.title}: classes are {self.classes!r}; expected a tuple of names in label order")
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise DataError(f"{self.title}: class names occur more than once: {', '.join(twice)}; each needs its own")

    def _check_labels(self) -> None:
        if not isinstance(self.labels, np.ndarray) or self.labels.dtype != np.int64:
            found = getattr(self.labels, "dtype", type(self.labels).__name__)
            raise DataError(f"{self.title}: labels are {found}; expected a numpy array of int64")
        expected = (len(self.images),)
        if self.labels.shape != expected:
            raise DataError(f"{self.title}: labels have the shape {self.labels.shape}; expected {expected}")
        outside = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.classes)))
        if outside.size:
            first = int(outside[0])
            raise DataError(
                f"{self.title}: label {self.labels[first]} of image {first} names no class; "
                f"expected 0 to {len(self.classes) - 1} ({outside.size} such labels)"
            )

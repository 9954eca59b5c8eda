"""A set of photos on disk, in class folders or in a RecordIO file, and the view of them that a test shows."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Deque, Dict, Iterator, NamedTuple, Protocol, Sequence, Tuple

import numpy as np

from ...errors import DataError
from ...progress import progress
from ...words import counted
from ..fingerprint import fingerprint_of_files
from ..listing import SHOWN, list_files
from ..span import Span, file_span
from .chain import check_chain
from .header import BadPhotoError, read_file, read_header
from .photo import centre_crop
from .records import BadRecordError, RecordFile

#: Beside records: the names of their classes, one per line, in label order.
CLASSES_FILE = "classes.txt"

#: Photos that a thread takes at a time.
CHUNK = 8


class Photos(Protocol):
    """Where photos are: their files' bytes and labels by number."""

    def __len__(self) -> int:
        """Count the photos."""

    def read(self, number: int) -> Tuple[bytes, int]:
        """The file of a photo, and its label; `BadPhotoError` where it cannot be read."""

    def name(self, number: int) -> str:
        """The name of a photo for messages."""

    def fingerprint(self) -> str:
        """Of the files."""

    def span(self, number: int) -> Span:
        """Where the file of a photo is."""


class FolderPhotos:
    """Photos as files, one folder per class, in the order of their sorted paths.

    Parameters
    ----------
    folder : Path
        Holds the class folders.
    classes : tuple of str
        Their names in label order.
    split : {"train", "test"}
        A class without any photo is an error in "train", and a warning in "test".
    """

    def __init__(self, folder: Path, classes: Tuple[str, ...], split: str) -> None:
        paths, self._labels = list_files(folder, classes, split)
        self._names = [os.path.join(path.parent.name, path.name) for path in paths]  # noqa: PTH118  a million of them
        self._folder = str(folder)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, number: int) -> Tuple[bytes, int]:
        """The file of a photo, and its label."""
        try:
            return read_file(self.name(number)), int(self._labels[number])
        except OSError as error:
            raise BadPhotoError(error.strerror or type(error).__name__) from None

    def name(self, number: int) -> str:
        """The path of the file."""
        return os.path.join(self._folder, self._names[number])  # noqa: PTH118

    def fingerprint(self) -> str:
        """Of the names in the class folders, and of sizes."""
        return fingerprint_of_files(self._names, self.name)

    def span(self, number: int) -> Span:
        """The whole file."""
        return file_span(self.name(number))


class RecordPhotos:
    """Photos in a RecordIO file, in the order of its index.

    Parameters
    ----------
    path : Path
        The .rec file.
    classes : int
        How many there are: each label must be below this.
    """

    def __init__(self, path: Path, classes: int) -> None:
        self.path = path
        self._records = RecordFile(path)
        self._classes = classes

    def __len__(self) -> int:
        return len(self._records)

    def read(self, number: int) -> Tuple[bytes, int]:
        """The file of a photo, and its label; `DataError` where the label names no class."""
        try:
            data, label = self._records.image(number)
        except BadRecordError:
            raise BadPhotoError("no image record there") from None
        if not (label == int(label) and 0 <= label < self._classes):
            raise DataError(
                f"{self.name(number)}: label {label:g} names no class; expected a whole number from 0 to "
                f"{self._classes - 1}: set data.classes to the number of classes, or mend {CLASSES_FILE}"
            )
        return data, int(label)

    def check_chain(self) -> None:
        """Refuse records at which MXNet's own reader would end the process: see `fusion.data.photos.chain`."""
        check_chain(self.path, self._records.offsets)

    def name(self, number: int) -> str:
        """The file and the number of the record."""
        return f"{self.path}, record {number}"

    def fingerprint(self) -> str:
        """Of the size of the file and of its index."""
        return self._records.fingerprint()

    def span(self, number: int) -> Span:
        """The record without its header, which has a label and a number of its own."""
        return self._records.span(number)


class RelabelledPhotos:
    """Photos with other labels.

    Parameters
    ----------
    photos : Photos
        Where they are.
    places : sequence of int
        The new label for each old one.
    """

    def __init__(self, photos: Photos, places: Sequence[int]) -> None:
        self._photos = photos
        self._places = tuple(places)

    def __len__(self) -> int:
        return len(self._photos)

    def read(self, number: int) -> Tuple[bytes, int]:
        """The file of a photo, and its new label."""
        data, label = self._photos.read(number)
        return data, self._places[label]

    def name(self, number: int) -> str:
        """As the photos have it."""
        return self._photos.name(number)

    def fingerprint(self) -> str:
        """As the photos have it."""
        return self._photos.fingerprint()

    def span(self, number: int) -> Span:
        """As the photos have it."""
        return self._photos.span(number)


class PhotoView(NamedTuple):
    """How test photos are shown to the network.

    Attributes
    ----------
    size : int
        Height and width of the centre crop in pixels.
    share : float
        How much of the resized photo's shorter side the crop keeps.
    workers : int
        Threads that decode.
    """

    size: int = 224
    share: float = 0.875
    workers: int = 1


class PhotoSet:
    """One split of a large data set, whose photos are read when they are asked for.

    Parameters
    ----------
    photos : Photos
        Where they are.
    classes : tuple of str
        Class names in label order.
    title : str
        For tables and logs.
    view : PhotoView
        For the test split: what `in_order` gives.
    named : bool
        Whether the classes have names; those of records without a list have only numbers.
    """

    def __init__(
        self, photos: Photos, classes: Tuple[str, ...], title: str, view: PhotoView, named: bool = True
    ) -> None:
        self.photos = photos
        self.named = named
        self.classes = classes
        self.title = title
        self.view = view

    def __len__(self) -> int:
        return len(self.photos)

    def fingerprint(self) -> str:
        """Of the files."""
        return self.photos.fingerprint()

    def relabelled(self, places: Sequence[int], classes: Tuple[str, ...]) -> PhotoSet:
        """The same photos with the labels of a network: label n becomes `places[n]`, of the network's classes."""
        return PhotoSet(RelabelledPhotos(self.photos, places), classes, self.title, self.view)

    def in_order(self, batch_size: int, shard: Tuple[int, int] = (0, 1)) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Every photo once as the test shows it: images (n, S, S, 3) uint8 and labels (n,) int64, n ≤ batch_size.

        With `shard`, the rank and size of a process among several: every `size`-th batch, starting at `rank`.

        Raises
        ------
        DataError
            If a photo cannot be read: an error rate over the others would be that of another test set.
        """
        rank, size = shard
        starts = range(rank * batch_size, len(self), size * batch_size)
        numbers = [number for start in starts for number in range(start, min(start + batch_size, len(self)))]
        ahead = 2 * batch_size + self.view.workers * CHUNK
        with ThreadPoolExecutor(self.view.workers, thread_name_prefix="photos") as pool:
            pending: Deque[Future[Tuple[np.ndarray, int]]] = deque()
            following = 0
            try:
                for done in range(0, len(numbers), batch_size):
                    upcoming = numbers[following : done + ahead]
                    pending.extend(pool.submit(self._show, number) for number in upcoming)
                    following += len(upcoming)
                    shown = [pending.popleft().result() for _ in numbers[done : done + batch_size]]
                    images, labels = zip(*shown)
                    yield np.stack(images), np.array(labels, np.int64)
            finally:
                for future in pending:
                    future.cancel()

    def _show(self, number: int) -> Tuple[np.ndarray, int]:
        try:
            data, label = self.photos.read(number)
            return centre_crop(data, self.view.size, self.view.share), label
        except BadPhotoError as error:
            raise DataError(f"{self.title}: {self.photos.name(number)}: {error}; mend or remove this photo") from None

    def check(self) -> None:
        """Check header, size and end of every photo, so that a long run does not fail at its first evaluation.

        Raises
        ------
        DataError
            If some are empty, cut short, too large or no photos: the message gives their number and names the first
            few.
        """
        faults: Dict[int, str] = {}

        def look(start: int) -> int:
            numbers = range(start, min(start + CHUNK, len(self)))
            for number in numbers:
                try:
                    read_header(self.photos.read(number)[0])
                except BadPhotoError as error:
                    faults[number] = str(error)
            return len(numbers)

        title = f"{self.title}, test photos"
        with ThreadPoolExecutor(self.view.workers) as pool, progress(title, len(self), unit="photos") as meter:
            for count in pool.map(look, range(0, len(self), CHUNK)):
                meter.update(count)
        if faults:
            raise DataError(
                f"{self.title}: {len(faults)} of {counted(len(self), 'test photo')} cannot be read: "
                f"{first_few(self.photos, faults)}; mend or remove them"
            )


def first_few(photos: Photos, faults: Dict[int, str]) -> str:
    """The first few faulty photos by number, each with its fault, as a part of a message."""
    numbers = sorted(faults)[:SHOWN]
    shown = ", ".join(f"{photos.name(number)} ({faults[number]})" for number in numbers)
    return shown + (", ..." if len(faults) > SHOWN else "")

"""ImageNet, or any large set of photos: one folder a class, or MXNet's RecordIO files, decoded when they are needed.

Both sources give the same images in the same order, so that a run does not depend on which one it reads::

    root/train/<class>/*.JPEG                 root/train.rec, root/train.idx
    root/val/<class>/*.JPEG   (or test)       root/val.rec, root/val.idx        (or test)
                                              root/classes.txt                  a name a line, in label order

`python -m fusion prepare imagenet` writes the second from the first. Source: Russakovsky et al., "ImageNet Large Scale
Visual Recognition Challenge", arXiv 1409.0575.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Deque, Dict, Iterator, List, NamedTuple, Optional, Protocol, Tuple

import numpy as np

from ..errors import DataError, nearest
from ..progress import progress
from .image_folder import SPLIT_FOLDERS, class_names, list_files, split_folder
from .photos.photo import BadPhotoError, centre_crop, read_header
from .photos.records import BadRecordError, RecordFile

SOURCES = ("auto", "folder", "record")
CLASSES_FILE = "classes.txt"
SHOWN = 5  # faulty photos that a message names

#: Photos that a thread takes at a time.
CHUNK = 8


class Photos(Protocol):
    """Where photos are: their files' bytes and labels by number."""

    def __len__(self) -> int:
        """Count the photos."""

    def read(self, number: int) -> Tuple[bytes, int]:
        """The file of a photo, and its label; `BadPhotoError` where that cannot be had."""

    def name(self, number: int) -> str:
        """What a message calls a photo."""


class FolderPhotos:
    """Photos as files, one folder a class, in the order of their sorted paths.

    Parameters
    ----------
    folder : Path
        Holds the class folders.
    classes : tuple of str
        Their names in label order.
    """

    def __init__(self, folder: Path, classes: Tuple[str, ...]) -> None:
        paths, self._labels = list_files(folder, classes)
        self._names = [os.path.join(path.parent.name, path.name) for path in paths]  # noqa: PTH118  a million of them
        self._folder = str(folder)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, number: int) -> Tuple[bytes, int]:
        """The file of a photo, and its label."""
        try:
            with open(self.name(number), "rb") as file:  # noqa: PTH123
                return file.read(), int(self._labels[number])
        except OSError as error:
            raise BadPhotoError(error.strerror or type(error).__name__) from None

    def name(self, number: int) -> str:
        """The path of the file."""
        return os.path.join(self._folder, self._names[number])  # noqa: PTH118


class RecordPhotos:
    """Photos in a RecordIO file, in the order of its index.

    Parameters
    ----------
    path : Path
        The .rec file.
    classes : int
        Labels are below this.
    """

    def __init__(self, path: Path, classes: int) -> None:
        self.path = path
        self._records = RecordFile(path)
        self._classes = classes

    def __len__(self) -> int:
        return len(self._records)

    def read(self, number: int) -> Tuple[bytes, int]:
        """The file of a photo, and its label; `DataError` where the label is none of the classes'."""
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

    def name(self, number: int) -> str:
        """The file and the number of the record."""
        return f"{self.path}, record {number}"


class PhotoView(NamedTuple):
    """How test photos are shown to the network.

    Attributes
    ----------
    size : int
        Height and width of the centre crop in pixels.
    share : float
        Of the resized photo's shorter side that the crop keeps.
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
    """

    def __init__(self, photos: Photos, classes: Tuple[str, ...], title: str, view: PhotoView) -> None:
        self.photos = photos
        self.classes = classes
        self.title = title
        self.view = view

    def __len__(self) -> int:
        return len(self.photos)

    def in_order(self, batch_size: int, shard: Tuple[int, int] = (0, 1)) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Every photo once as the test shows it: images (n, S, S, 3) uint8 and labels (n,) int64, n ≤ batch_size.

        Of `shard[1]` batches it takes one, `shard[0]` first, as a process among several does.

        Raises
        ------
        DataError
            If a photo cannot be read: an error rate over the others would be of another test set.
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
        """Look at the header and the end of every photo, before a long run finds out at its first evaluation.

        Raises
        ------
        DataError
            If some are empty, cut short or no photos, with their number and the first few.
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
                f"{self.title}: {len(faults)} of {len(self)} test photos cannot be read: "
                f"{first_few(self.photos, faults)}; mend or remove them"
            )


def first_few(photos: Photos, faults: Dict[int, str]) -> str:
    """The first faulty photos by number, each with what is wrong, as a part of a message."""
    numbers = sorted(faults)[:SHOWN]
    shown = ", ".join(f"{photos.name(number)} ({faults[number]})" for number in numbers)
    return shown + (", ..." if len(faults) > SHOWN else "")


def load(
    root: os.PathLike[str] | str,
    split: str,
    size: int = 224,
    *,
    source: str = "auto",
    classes: Optional[int] = None,
    crop_share: float = 0.875,
    workers: int = 1,
) -> PhotoSet:
    """One split of ImageNet or of a data set laid out like it.

    Parameters
    ----------
    root : path-like
        The folder that holds the class folders' folders, or the records.
    split : {"train", "test"}
        Which part; the second is in `val`, `validation` or `test`.
    size : int, default 224
        Height and width of the test photos, in pixels.
    source : {"auto", "folder", "record"}
        Which of the two to read; "auto" takes what is there and refuses to choose.
    classes : int, optional
        How many there must be; needed for records without a `classes.txt`.
    crop_share : float, default 0.875
        Of the resized test photo's shorter side that is kept.
    workers : int, default 1
        Threads that decode test photos.

    Returns
    -------
    PhotoSet
        The test split has been checked for unreadable photos.

    Raises
    ------
    DataError
        If files are missing, damaged, or of another number of classes.
    """
    path = Path(root).expanduser()
    if source not in SOURCES:
        raise DataError(f"source {source!r} is unknown; {nearest(str(source), SOURCES)}")
    names, photos = _OPEN[find_source(path) if source == "auto" else source](path, split, classes)
    if classes is not None and len(names) != classes:
        raise DataError(f"{path} has {len(names)} classes, and data.classes is {classes}: set it right, or null")
    loaded = PhotoSet(photos, names, f"photos of {path.resolve().name}", PhotoView(size, crop_share, workers))
    if split == "test":
        loaded.check()
    return loaded


def find_source(root: Path) -> str:
    """Whether a folder holds class folders or records.

    Raises
    ------
    DataError
        If it holds neither, or both.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; say with data.dir=PATH where the photos are")
    has_records = any((root / f"train{suffix}").exists() for suffix in (".rec", ".idx"))
    has_folders = (root / "train").is_dir()
    if has_records and has_folders:
        raise DataError(f"{root} holds both train/ and train.rec: say which to read with data.source=folder or record")
    if not has_records and not has_folders:
        raise DataError(
            f"{root} holds neither train/ (with a folder for each class) nor train.rec with train.idx; expected one of "
            "them, and the same named val or test. Where the class folders are in one folder P without parts, "
            "mkdir DIR; ln -s P DIR/train; ln -s P DIR/val makes a data set that is tested on what it trains on"
        )
    return "record" if has_records else "folder"


def _open_folder(root: Path, split: str, classes: Optional[int]) -> Tuple[Tuple[str, ...], Photos]:
    names = class_names(split_folder(root, "train"))
    return names, FolderPhotos(split_folder(root, split), names)


def _open_records(root: Path, split: str, classes: Optional[int]) -> Tuple[Tuple[str, ...], Photos]:
    path = record_path(root, split)
    names = _record_classes(root, classes)
    return names, RecordPhotos(path, len(names))


_OPEN = {"folder": _open_folder, "record": _open_records}


def record_path(root: Path, split: str) -> Path:
    """The .rec file of a split; that it has its index is for `RecordFile` to say."""
    if split not in SPLIT_FOLDERS:
        raise DataError(f"photos have no split {split!r}; expected one of {', '.join(SPLIT_FOLDERS)}")
    candidates: List[Path] = [root / f"{name}.rec" for name in SPLIT_FOLDERS[split]]
    for path in candidates:
        if path.exists() or path.with_suffix(".idx").exists():
            return path
    wanted = " or ".join(path.name for path in candidates)
    raise DataError(f"{root} has no records for the {split} split; expected {wanted}, with its .idx")


def _record_classes(root: Path, classes: Optional[int]) -> Tuple[str, ...]:
    path = root / CLASSES_FILE
    if path.is_file():
        names = tuple(path.read_text(encoding="utf-8").split("\n"))
        names = names[:-1] if names[-1] == "" else names
        if len(set(names)) != len(names) or not all(names):
            raise DataError(f"{path}: expected a different name on each line, one for each class")
        return names
    if classes is None:
        raise DataError(
            f"{root} has no {CLASSES_FILE}, which names the classes of its records, one a line: say how many there are "
            "with data.classes=1000"
        )
    return tuple(str(label) for label in range(classes))

"""CIFAR-10 and CIFAR-100 from their official binary archives.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html, which also describes the format: records of one label byte (CIFAR-10) or
two (CIFAR-100: superclass, then class) and 3,072 bytes of one 32x32 image, the red plane first, rows from the top.

Only the *binary* version is read. The "python" version of the same archives is a set of pickles, and unpickling runs
whatever code a file carries. A download must never be able to do that, and so such archives are refused.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Mapping

import numpy as np

from ..errors import DataError, nearest
from .archive import DAMAGED, unpack
from .description import IMAGES, Description
from .download import download as fetch
from .download import verify
from .imageset import ImageSet
from .listing import relative_to

logger = logging.getLogger(__name__)

SIDE = 32  # pixels
IMAGE_BYTES = 3 * SIDE * SIDE

#: Of an archive, at most: headers, names of classes and a page about the data set.
_OTHER_BYTES = 1 << 20

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# In label order, as in the archive's coarse_label_names.txt.
CIFAR100_SUPERCLASSES = (
    "aquatic_mammals",
    "fish",
    "flowers",
    "food_containers",
    "fruit_and_vegetables",
    "household_electrical_devices",
    "household_furniture",
    "insects",
    "large_carnivores",
    "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores",
    "medium_mammals",
    "non-insect_invertebrates",
    "people",
    "reptiles",
    "small_mammals",
    "trees",
    "vehicles_1",
    "vehicles_2",
)

# In label order, as in the archive's fine_label_names.txt.
# fmt: off
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger",
    "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)
# fmt: on


@dataclass(frozen=True)
class LabelByte:
    """One label byte of a record: the name of the labelling, its classes, and the data set's title under it."""

    name: str
    classes: tuple[str, ...]
    title: str


@dataclass(frozen=True)
class Archive:
    """Layout of one official archive.

    Parameters
    ----------
    url : str
        Where it is published; its last part is the archive's file name.
    md5 : str
        Its published MD5 sum.
    folder : str
        The folder that it unpacks to.
    members : mapping of str to tuple of str
        The record files of each split, in order.
    records : mapping of str to int
        Records in each file, by split.
    label_bytes : tuple of LabelByte
        What stands before the image in each record.
    pickled : tuple of str
        Names of the refused python version: its archive and the folder it unpacks to.
    """

    url: str
    md5: str
    folder: str
    members: Mapping[str, tuple[str, ...]]
    records: Mapping[str, int]
    label_bytes: tuple[LabelByte, ...]
    pickled: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """Name of the archive on disk."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def record_bytes(self) -> int:
        """Length of one record."""
        return len(self.label_bytes) + IMAGE_BYTES

    @property
    def unpacked_bytes(self) -> int:
        """What all record files have together."""
        return self.record_bytes * sum(self.records[split] * len(names) for split, names in self.members.items())


CIFAR10 = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    members={"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)},
    records={"train": 10000, "test": 10000},
    label_bytes=(LabelByte("fine", CIFAR10_CLASSES, "CIFAR-10"),),
    pickled=("cifar-10-python.tar.gz", "cifar-10-batches-py"),
)

CIFAR100 = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    members={"train": ("train.bin",), "test": ("test.bin",)},
    records={"train": 50000, "test": 10000},
    label_bytes=(
        LabelByte("coarse", CIFAR100_SUPERCLASSES, "CIFAR-100 (20 superclasses)"),
        LabelByte("fine", CIFAR100_CLASSES, "CIFAR-100 (100 fine labels)"),
    ),
    pickled=("cifar-100-python.tar.gz", "cifar-100-python"),
)


def load(
    archive: Archive,
    split: str,
    root: str | os.PathLike[str],
    *,
    labels: str = "fine",
    url: str | None = None,
    download: bool = True,
) -> ImageSet:
    """One split of CIFAR, from the unpacked files or the archive under `root`, or downloaded to it.

    Looked for in this order: the record files in `root` itself, in the folder that the archive unpacks to, and the
    archive, which is read in place: nothing is unpacked to disk. An archive's MD5 sum is checked on every load.

    Parameters
    ----------
    archive : Archive
        `CIFAR10` or `CIFAR100`.
    split : {"train", "test"}
        Which part: 50,000 or 10,000 images.
    root : path-like
        The folder that holds the data, or is to hold the download.
    labels : {"fine", "coarse"}, default "fine"
        For CIFAR-100, the 100 classes or the 20 superclasses; CIFAR-10 has only "fine", its 10 classes.
    url : str, optional
        Another address of the same archive.
    download : bool, default True
        Whether the archive may be downloaded (about 170 MB) if it is not there.

    Returns
    -------
    ImageSet
        `images` (50000 or 10000, 32, 32, 3).

    Raises
    ------
    DataError
        If the data is missing, damaged, of the refused python version, or cannot be downloaded; if there is no such
        split or labelling.
    """
    if split not in archive.members:
        raise DataError(f"{archive.folder} has no split {split!r}; expected one of {', '.join(archive.members)}")
    column = _label_column(archive, labels)
    root = Path(root).expanduser()
    if root.is_file():
        raise DataError(f"{root} is a file; expected the folder that holds {archive.file_name} or {archive.folder}")
    parts = _read_unpacked(archive, split, root)
    if parts is None:
        parts = _read_archive(archive, split, _obtain(archive, split, root, url or archive.url, download))
    return _decode(archive, split, parts, column)


def _label_column(archive: Archive, labels: str) -> int:
    known = [byte.name for byte in archive.label_bytes]
    if labels not in known:
        raise DataError(f"{archive.folder} has no labels {labels!r}; {nearest(labels, known)}")
    return known.index(labels)


def _read_unpacked(archive: Archive, split: str, root: Path) -> dict[str, bytes] | None:
    """Contents of the split's record files by their paths, or None where no folder has them all."""
    for folder in (root, root / archive.folder):
        paths = [folder / name for name in archive.members[split]]
        if all(path.is_file() for path in paths):
            for path in paths:
                _check_size(archive, split, str(path), path.stat().st_size)
            return {str(path): path.read_bytes() for path in paths}
    return None


def _obtain(archive: Archive, split: str, root: Path, url: str, download: bool) -> Path:
    """Path of the verified archive, which is downloaded where it is missing, if that is allowed."""
    path = root / archive.file_name
    if path.exists():
        verify(path, archive.md5)
        return path
    _refuse_incomplete(archive, split, root)
    _refuse_pickles(archive, root)
    hint = "" if root.exists() else relative_to(root)
    if not download:
        raise DataError(
            f"no {archive.file_name} and no {archive.folder} under {root}{hint}; "
            f"allow the download, or fetch {url} and put it there"
        )
    if hint:
        logger.warning("%s: no such folder%s: the data is downloaded to it", root, hint)
    logger.info("downloading %s to %s", url, path)
    return fetch(url, path, archive.md5)


def _refuse_incomplete(archive: Archive, split: str, root: Path) -> None:
    """A half-unpacked folder is a mistake to be told, not a reason for a long download."""
    for folder in (root, root / archive.folder):
        missing = [name for name in archive.members[split] if not (folder / name).is_file()]
        if any((folder / name).is_file() for names in archive.members.values() for name in names):
            raise DataError(
                f"{folder} lacks {', '.join(missing)}; unpack {archive.file_name} again, or put it in {root} as it is"
            )


def _refuse_pickles(archive: Archive, root: Path) -> None:
    for path in [root / name for name in archive.pickled] + [root] * (root.name in archive.pickled):
        if path.exists():
            raise DataError(
                f"{path} is the python version of the data set, a set of pickles, and reading those can run "
                f"code; it is refused. Get the binary version, {archive.url}, and put it in {root}"
            )


def _read_archive(archive: Archive, split: str, path: Path) -> dict[str, bytes]:
    """Contents of the split's record files, read from the .tar.gz into memory by their expected names only."""
    wanted = {f"{archive.folder}/{name}": name for name in archive.members[split]}
    parts: dict[str, bytes] = {}
    try:
        for member, read in unpack(path, archive.unpacked_bytes + _OTHER_BYTES):
            if member.name in wanted and member.isreg():
                _check_size(archive, split, f"{path}:{member.name}", member.size)
                parts[member.name] = read()
            if len(parts) == len(wanted):
                break  # the rest need not be decompressed
    except DAMAGED as error:
        raise DataError(f"{path} is not a readable .tar.gz ({error}); get {archive.url} again") from error
    missing = [name for name in wanted if name not in parts]
    if missing:
        raise DataError(f"{path} holds no {', '.join(missing)}; expected the layout of {archive.url}")
    return {f"{path}:{name}": parts[name] for name in wanted}


def _check_size(archive: Archive, split: str, name: str, size: int) -> None:
    records = archive.records[split]
    expected = records * archive.record_bytes
    if size != expected:
        raise DataError(
            f"{name} has {size:,} bytes; expected {expected:,} ({records:,} records of {archive.record_bytes:,}): "
            f"get {archive.url} again"
        )


def _decode(archive: Archive, split: str, parts: Mapping[str, bytes], column: int) -> ImageSet:
    """Records to images (N, 32, 32, 3) and labels (N,)."""
    records = archive.records[split]
    images = np.empty((len(parts) * records, SIDE, SIDE, 3), np.uint8)
    labels = np.empty(len(images), np.int64)
    first = len(archive.label_bytes)
    for k, (name, content) in enumerate(parts.items()):
        table = np.frombuffer(content, np.uint8).reshape(records, archive.record_bytes)
        _check_labels(archive, name, table)
        rows = slice(k * records, (k + 1) * records)
        labels[rows] = table[:, column]
        images[rows] = table[:, first:].reshape(records, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    chosen = archive.label_bytes[column]
    return ImageSet(images, labels, chosen.classes, chosen.title)


def _check_labels(archive: Archive, name: str, table: np.ndarray) -> None:
    for column, byte in enumerate(archive.label_bytes):
        outside = np.flatnonzero(table[:, column] >= len(byte.classes))
        if outside.size:
            record = int(outside[0])
            raise DataError(
                f"{name}: record {record} has the {byte.name} label {table[record, column]}; expected 0 to "
                f"{len(byte.classes) - 1} ({outside.size} such records): get {archive.url} again"
            )


CIFAR10_DESCRIPTION = Description(
    name="cifar10",
    title="CIFAR-10",
    load=partial(load, CIFAR10),
    kind=IMAGES,
    options=("root", "url", "download"),
    fixed_classes=True,
    classes={byte.name: byte.classes for byte in CIFAR10.label_bytes},
    size=SIDE,
)

CIFAR100_DESCRIPTION = Description(
    name="cifar100",
    title="CIFAR-100",
    load=partial(load, CIFAR100),
    kind=IMAGES,
    options=("root", "labels", "url", "download"),
    fixed_classes=True,
    classes={byte.name: byte.classes for byte in CIFAR100.label_bytes},
    size=SIDE,
)

"""Which files a split has: lists of names, and for each name its image and its mask.

A list is a text file with one name per line, with or without the suffix of the image. Images may lie in folders below
the folder of images; the names then begin with these folders, and masks lie in folders of the same names.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ...errors import DataError
from ...reading import ReadingError, read_lines
from ...words import shortened
from ..fingerprint import fingerprint_of_files
from ..listing import SHOWN, SPLIT_FOLDERS, SUFFIXES, images_below, visible
from ..photos.header import BadPhotoError, read_file, read_header
from .decoding import read_image, read_mask
from .labels import Labels, values_of
from .maskset import Facts

logger = logging.getLogger(__name__)

_LIST = ".txt"


class Pair(NamedTuple):
    """An image and its mask.

    Attributes
    ----------
    name : str
        Without suffix.
    image, mask : Path
        The files.
    """

    name: str
    image: Path
    mask: Path


# --- Lists -----------------------------------------------------------------------------------------------------------


def split_names(split: str, train_split: str, test_split: str) -> Tuple[str, ...]:
    """The names that a split's list may have; the first that exists is taken.

    Parameters
    ----------
    split : {"train", "test"}
        Which part of the data set.
    train_split, test_split : str
        What the settings call the two. "test" is also found as val or validation, as in folders of images.

    Raises
    ------
    DataError
        If there is no such part.
    """
    if split not in SPLIT_FOLDERS:
        raise DataError(f"a set of masks has no split {split!r}; expected one of {', '.join(SPLIT_FOLDERS)}")
    if split == "train":
        return (train_split,)
    return SPLIT_FOLDERS["test"] if test_split == "test" else (test_split,)


def find_list(folder: Path, names: Sequence[str]) -> Optional[Path]:
    """The first list of these names that a folder has; the suffix .txt may be left out."""
    candidates = [folder / (name if name.endswith(_LIST) else f"{name}{_LIST}") for name in names]
    return next((path for path in candidates if path.is_file()), None)


def existing_list(folder: Path, names: Sequence[str], setting: str) -> Path:
    """The list of a split.

    Raises
    ------
    DataError
        If there is none; the message names the lists that there are.
    """
    found = find_list(folder, names)
    if found is not None:
        return found
    others = [path.name for path in visible(folder) if path.suffix == _LIST] if folder.is_dir() else []
    wanted = " or ".join(name if name.endswith(_LIST) else f"{name}{_LIST}" for name in names)
    raise DataError(
        f"{folder} has no {wanted}, with the name of an image on each line (found: {', '.join(others) or 'no lists'}); "
        f"say with {setting} which list to take"
    )


def read_list(path: Path) -> List[str]:
    """The names of a list; empty lines do not count.

    Raises
    ------
    DataError
        If it cannot be read, has no name, or has a name twice.
    """
    try:
        lines = [line.strip() for line in read_lines(path)]
    except ReadingError as error:
        raise DataError(f"{path}: cannot be read as a text file of names ({error})") from None
    first: Dict[str, int] = {}
    for number, name in enumerate(lines, start=1):
        if not name:
            continue
        if name in first:
            raise DataError(f"{path}: {name!r} is on line {first[name]} and again on line {number}; remove one of them")
        first[name] = number
    if not first:
        raise DataError(f"{path} has no names; expected one per line")
    return list(first)


def refuse_shared(train: Path, test: Path) -> None:
    """Refuse a name that is in the list of training images and in that of test images.

    Where both are the same list that is what was asked for, and only a warning says what the figures mean.

    Raises
    ------
    DataError
        With the number of such names, and the first few.
    """
    if train == test:
        logger.warning("%s is the list of training images and of test images: the figures say nothing of others", train)
        return
    known = {_stem(name) for name in read_list(train)}
    shared = [name for name in read_list(test) if _stem(name) in known]
    if shared:
        shown = ", ".join(shared[:SHOWN]) + (", ..." if len(shared) > SHOWN else "")
        raise DataError(
            f"{len(shared)} names are in {train} and in {test} as well: {shown}; a network would be tested on what it "
            "was trained on: mend the lists, or choose others with data.train_split and data.test_split"
        )


def _stem(name: str) -> str:
    """A name without the suffix of an image, if it has one."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


# --- Files -----------------------------------------------------------------------------------------------------------


def find_pairs(where: Path, names: Sequence[str], images: Path, masks: Path, suffix: str) -> List[Pair]:
    """The image and the mask of each name of a list.

    Parameters
    ----------
    where : Path
        The list, for messages.
    names : sequence of str
        Of the list.
    images, masks : Path
        The folders.
    suffix : str
        What the name of a mask has after that of its image, such as "_pixels0.png"; .png may be left out.

    Raises
    ------
    DataError
        If a folder is missing, or a name has no image, two images, or no mask: with their number and the first few.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; expected the {folder.name} of {where.name} in it")
    ending = suffix if suffix.lower().endswith(".png") else f"{suffix}.png"
    known: Dict[str, List[str]] = {}
    for path in images_below(images):
        inside = path.relative_to(images)
        known.setdefault(inside.with_suffix("").as_posix(), []).append(inside.as_posix())
    pairs = [_pair(where, name, known, images, masks, ending) for name in names]
    _refuse_missing(where, [pair.name for pair in pairs if pair.image == images], f"image in {images}", "")
    missing = [pair for pair in pairs if not pair.mask.is_file()]
    if missing:
        hint = _suffix_hint(missing[0], masks)
        _refuse_missing(where, [pair.name for pair in missing], f"mask *{ending} in {masks}", hint)
    return pairs


def _pair(where: Path, name: str, known: Dict[str, List[str]], images: Path, masks: Path, ending: str) -> Pair:
    """The pair of a name, its image the folder itself where there is none."""
    stem = name if name in known else _stem(name)
    files = known.get(stem, [])
    if len(files) > 1:
        files = [file for file in files if file == name] or files
    if len(files) > 1:
        raise DataError(
            f"{where}: {name!r} is the name of {len(files)} images in {images}: {', '.join(sorted(files))}; write the "
            "one that is meant with its suffix, or remove the others"
        )
    return Pair(stem, images / files[0] if files else images, masks / f"{stem}{ending}")


def _refuse_missing(where: Path, names: Sequence[str], what: str, hint: str) -> None:
    if names:
        shown = ", ".join(map(shortened, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
        raise DataError(f"{where}: {len(names)} names have no {what}: {shown}{hint}; mend the list, or add the files")


def _suffix_hint(pair: Pair, masks: Path) -> str:
    """Which `data.mask_suffix` would find the mask of a pair, as a part of a message."""
    name = PurePosixPath(pair.name).name
    folder = (masks / pair.name).parent
    found = [path.name for path in visible(folder) if path.name.startswith(name)] if folder.is_dir() else []
    endings = [file[len(name) :] for file in found if not file[len(name)].isalnum()]
    return f" (there is {name}{endings[0]}: set data.mask_suffix={endings[0]})" if endings else ""


# --- Reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of a file before the reason why it cannot be used."""
    try:
        yield
    except BadPhotoError as error:
        raise BadPhotoError(f"{path}: {error}") from None
    except OSError as error:
        raise BadPhotoError(f"{path}: {error.strerror or type(error).__name__}") from None


class MaskFiles:
    """Images and masks that are files.

    Parameters
    ----------
    pairs : sequence of Pair
        The files.
    labels : Labels
        What the values of masks mean.
    """

    def __init__(self, pairs: Sequence[Pair], labels: Labels) -> None:
        self._pairs = pairs
        self._labels = labels

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, number: int) -> str:
        """The name, without suffix."""
        return self._pairs[number].name

    def files(self, number: int) -> Tuple[str, str]:
        """The paths of the image and of the mask."""
        return str(self._pairs[number].image), str(self._pairs[number].mask)

    def fingerprint(self) -> str:
        """Of the names in the order of the list, and of sizes of images and masks."""
        files = [path for pair in self._pairs for path in (pair.image, pair.mask)]
        names = [name for pair in self._pairs for name in (f"{pair.name}{pair.image.suffix}", pair.mask.name)]
        return fingerprint_of_files(names, files.__getitem__)

    def read_image(self, number: int) -> np.ndarray:
        """The image, (H, W, 3) uint8."""
        path = self._pairs[number].image
        with naming(path):
            return read_image(read_file(path))

    def read_mask(self, number: int) -> np.ndarray:
        """Numbers of classes, (h, w) uint8."""
        path = self._pairs[number].mask
        with naming(path):
            return self._labels.find(read_mask(read_file(path)))

    def look(self, number: int) -> Facts:
        """The sizes of an image and its mask, and which classes the mask has."""
        path = self._pairs[number].image
        with naming(path):
            header = read_header(read_file(path))
        mask = self.read_mask(number)
        height, width = mask.shape
        return Facts((header.height, header.width), (height, width), frozenset(values_of(mask)))

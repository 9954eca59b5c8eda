"""Image files as commands take them: files, folders and patterns, read a batch at a time, the unreadable ones noted."""

from __future__ import annotations

import glob
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

import numpy as np

from ..data.listing import SUFFIXES, images_below
from ..errors import DataError
from .trained import Preparation

#: The exit status of a command that did without some of its images.
SOME_UNREADABLE = 1


@dataclass(frozen=True)
class Unreadable:
    """A file that was asked for and cannot be used.

    Attributes
    ----------
    file : Path
        Which.
    reason : str
        Why, with the file's name.
    """

    file: Path
    reason: str


@dataclass(frozen=True)
class ImageBatch:
    """Some images, and what could not be read among them.

    Attributes
    ----------
    files : list of Path
        Of the images.
    images : ndarray
        (n, size, size, 3) uint8, red, green, blue, as the network is shown them; n may be 0.
    unreadable : list of Unreadable
        The others.
    """

    files: List[Path]
    images: np.ndarray
    unreadable: List[Unreadable]


def find_images(words: Sequence[str]) -> List[Path]:
    """The image files that words of a command line name, each once.

    Parameters
    ----------
    words : sequence of str
        Files, whatever their suffix; folders, searched with all that they hold for JPEG and PNG files; patterns such
        as 'photos/**/*.jpg', for shells that leave them as they are. A file that is not there is returned too, to be
        reported with those that cannot be read.

    Raises
    ------
    DataError
        If a folder or pattern yields no image at all, or there is none whatever.
    """
    found: List[Path] = []
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            found += _within(path)
        elif path.exists() or not glob.has_magic(word):
            found.append(path)
        else:
            found += _matching(word)
    if not found:
        raise DataError("no images: say which files or folders")
    return list(dict.fromkeys(found))


def images_within(folder: Path) -> List[Path]:
    """The images below a folder by their suffixes, sorted; hidden files and folders are left out."""
    return sorted(images_below(folder))


def _within(folder: Path) -> List[Path]:
    files = images_within(folder)
    if not files:
        raise DataError(f"{folder}: no images in this folder; expected *{', *'.join(SUFFIXES)} in it or deeper")
    return files


def _matching(pattern: str) -> List[Path]:
    names = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207  Path's takes no absolute one
    paths = [Path(name) for name in sorted(names)]
    images = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not images:
        raise DataError(f"{pattern!r}: no file or folder of this name, and no image matches it as a pattern")
    return images


def read_batches(files: Sequence[Path], preparation: Preparation, batch_size: int) -> Iterator[ImageBatch]:
    """Image files, a batch at a time.

    Parameters
    ----------
    files : sequence of Path
        Which.
    preparation : Preparation
        How an image becomes the network's input.
    batch_size : int
        Files a batch.

    Raises
    ------
    DataError
        If the batch size is not positive.
    """
    if batch_size < 1:
        raise DataError(f"--batch-size {batch_size}: expected at least 1")
    for start in range(0, len(files), batch_size):
        yield _read(files[start : start + batch_size], preparation)


def _read(files: Sequence[Path], preparation: Preparation) -> ImageBatch:
    good: List[Tuple[Path, np.ndarray]] = []
    bad: List[Unreadable] = []
    for file in files:
        try:
            good.append((file, preparation.read(file)))
        except DataError as error:
            bad.append(Unreadable(file, str(error)))
    side = preparation.size
    images = np.stack([image for _, image in good]) if good else np.empty((0, side, side, 3), np.uint8)
    return ImageBatch([file for file, _ in good], images, bad)


def report_unreadable(unreadable: Sequence[Unreadable]) -> None:
    """Say on standard error which files cannot be read, a line each."""
    for bad in unreadable:
        print(f"left out: {bad.reason}", file=sys.stderr)

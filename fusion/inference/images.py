"""Image files as every command takes them: files, folders and patterns, read in batches.

Hidden files and folders, whose names start with a dot (such as the `._a.jpg` that macOS writes beside `a.jpg`), are
left out unless they are named themselves. Files that cannot be read are noted, and do not stop the others.
"""

from __future__ import annotations

import glob
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

import numpy as np

from ..data.listing import SUFFIXES, images_below
from ..errors import ConfigError, DataError
from .trained import Preparation

#: The exit status of a command that had to leave out some of its images.
SOME_UNREADABLE = 1


@dataclass(frozen=True)
class Unreadable:
    """A file that was asked for and cannot be read.

    Attributes
    ----------
    file : Path
        The file.
    reason : str
        A message that names the file and says why.
    """

    file: Path
    reason: str


@dataclass(frozen=True)
class ImageBatch:
    """Images, and the files among theirs that could not be read.

    Attributes
    ----------
    files : list of Path
        The n files that could be read.
    images : ndarray
        Their pixels as the network is shown them, (n, size, size, 3) uint8, red, green, blue; n may be 0.
    unreadable : list of Unreadable
        The other files.
    """

    files: List[Path]
    images: np.ndarray = field(repr=False)
    unreadable: List[Unreadable]


def find_images(words: Sequence[str]) -> List[Path]:
    """The image files that the words of a command line name, each once.

    Parameters
    ----------
    words : sequence of str
        Files, whatever their suffix; folders, which are searched for image files at every depth; patterns such
        as `photos/**/*.jpg`, for shells that leave them as they are. A file that does not exist is returned too, so
        that it is reported with those that cannot be read.

    Returns
    -------
    list of Path
        In the order of the words; the files of a folder or pattern are sorted.

    Raises
    ------
    DataError
        If there are no words, or a folder or pattern has no image at all.
    """
    found: List[Path] = []
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            found += images_in_folder(path)
        elif path.exists() or not glob.has_magic(word):
            found.append(path)
        else:
            found += _matching(word)
    if not found:
        raise DataError("no images: say which files or folders")
    return list(dict.fromkeys(found))


def images_in_folder(folder: Path) -> List[Path]:
    """The image files in a folder and in the folders within it, sorted, without hidden ones.

    Raises
    ------
    DataError
        If there is none, or no such folder.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "not there"
        raise DataError(f"{folder}: no images: expected a folder, and this is {found}")
    files = sorted(images_below(folder))
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
    """Read image files in batches.

    Parameters
    ----------
    files : sequence of Path
        The files.
    preparation : Preparation
        How an image becomes the network's input.
    batch_size : int
        How many files a batch has.

    Returns
    -------
    iterator of ImageBatch
        Each batch is read when it is asked for.

    Raises
    ------
    ConfigError
        If the batch size is not positive. It is raised at once, before the first batch is asked for.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: expected at least 1")
    return (_read(files[start : start + batch_size], preparation) for start in range(0, len(files), batch_size))


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
    """Say on standard error which files cannot be read, one line per file."""
    for bad in unreadable:
        print(f"left out: {bad.reason}", file=sys.stderr)

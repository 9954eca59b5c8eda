"""Which files and folders count as data: visible entries, images by their suffix, the folders of splits and classes.

Everything that looks into a folder of images goes by these rules. An entry whose name begins with a dot is hidden and
never counts, such as the `._photo.jpg` that macOS writes beside each file on a foreign disk, or a `.cache` folder.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..errors import DataError, nearest
from ..words import counted, shortened

logger = logging.getLogger(__name__)

#: The folders that a split may be in; the first that exists is taken.
SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val", "validation")}
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SHOWN = 5  # names that a message lists


#: Line breaks, and what Python makes of bytes that are not UTF-8.
_NOT_ON_A_LINE = re.compile("[\n\r\ud800-\udfff]")


def visible(folder: Path) -> List[Path]:
    """The entries of a folder that are not hidden, sorted by name."""
    return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208


def visible_folders(folder: Path) -> List[Path]:
    """The folders in a folder that are not hidden, sorted by name."""
    return [path for path in visible(folder) if path.is_dir()]


def has_folders(folder: Path) -> bool:
    """Whether there is a visible folder in a folder; of many files none is asked what it is."""
    with os.scandir(folder) as entries:
        return any(not entry.name.startswith(".") and entry.is_dir() for entry in entries)


def is_image(name: str) -> bool:
    """Whether a file of this name counts as an image, whatever the case of its suffix."""
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def images_below(folder: Path) -> Iterator[Path]:
    """The images in a folder and in the visible folders below it, in no particular order."""
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found = (Path(where) / name for name in files if is_image(name))
        yield from (path for path in found if path.is_file())


def existing_folder(root: Path) -> Path:
    """The folder of a data set itself, once it is certain that it exists.

    Raises
    ------
    DataError
        If there is no such folder. A relative path is explained: a run's config keeps `data.dir` as it was typed, and
        a command that is run elsewhere looks for it in another place.
    """
    if root.is_dir():
        return root
    fault = "is a file" if root.exists() else "no such folder"
    raise DataError(f"{root}: {fault}{relative_to(root)}; say with data.dir=PATH which folder the data is in")


def relative_to(root: Path) -> str:
    """What a relative path is relative to, as part of a message; empty for an absolute path."""
    if root.is_absolute():
        return ""
    return (
        f" in {Path.cwd()} (this path is relative: it begins at the folder that a command is run from, and a run's "
        "data.dir began at the folder that the run was started from; an absolute path is the same everywhere)"
    )


def split_folder(root: Path, split: str) -> Path:
    """The folder of a split, by the first of its names that exists."""
    if split not in SPLIT_FOLDERS:
        raise DataError(f"an image folder has no split {split!r}; expected one of {', '.join(SPLIT_FOLDERS)}")
    existing_folder(root)
    chosen = first_with_classes(root, split)
    if chosen is not None:
        return chosen
    wanted = " or ".join(f"{name}/<class>/*.jpg" for name in SPLIT_FOLDERS[split])
    found = ", ".join(path.name for path in visible_folders(root)[:SHOWN])
    raise DataError(f"{root} has no {split} part; expected {wanted} in it (found: {found or 'no folders'})")


def first_with_classes(root: Path, split: str) -> Optional[Path]:
    """The first folder of a split that has class folders; if none has, the last that exists, and None without any.

    Kaggle's ImageNet has a `test/` of photos whose classes are secret beside the `val/` whose classes are known. So one
    that has no class folder is passed over, and of folders without any, the last counts: a flat `val/` may have a list.
    """
    there = [root / name for name in SPLIT_FOLDERS[split] if (root / name).is_dir()]
    with_classes = [folder for folder in there if has_folders(folder)]
    chosen = next(iter([*with_classes, *reversed(there)]), None)
    for folder in there[: there.index(chosen)] if chosen is not None else ():
        logger.info("%s: no class folders, so not read; %s is", folder, chosen)
    return chosen


def class_names(train: Path) -> Tuple[str, ...]:
    """The names of the class folders of the training images, sorted.

    Raises
    ------
    DataError
        If there are none, or only one: a network that can give only one answer learns nothing. Also for a name that
        cannot be written on a line.
    """
    classes = tuple(path.name for path in visible_folders(train))
    if not classes:
        raise DataError(f"{train} has no folders; expected one for each class, with its images in it")
    refuse_single_class(train, classes)
    impossible = [name for name in classes if _NOT_ON_A_LINE.search(name)]
    if impossible:
        raise DataError(
            f"{train}: the name of the folder {shortened(impossible[0])!r} has a line break, or is not UTF-8, and the "
            "names of classes are written one per line: rename the folder"
        )
    return classes


def refuse_single_class(where: Union[Path, str], classes: Sequence[str]) -> None:
    """Refuse a data set of one class: its loss is 0 from the first step, so that training would change nothing."""
    if len(classes) == 1:
        raise DataError(
            f"{where} has a single class, {shortened(classes[0])!r}: a network that can give only one answer learns "
            "nothing; expected at least two classes"
        )


def list_files(folder: Path, classes: Tuple[str, ...], split: str) -> Tuple[List[Path], np.ndarray]:
    """The images of a split, class by class, each class sorted by name.

    Parameters
    ----------
    folder : Path
        Holds a folder for each class.
    classes : tuple of str
        The names of the classes in label order.
    split : {"train", "test"}
        A class without any image is an error in "train", and a warning in "test".

    Returns
    -------
    paths : list of Path
        N images.
    labels : numpy.ndarray, shape (N,), int64
        The class of each.

    Raises
    ------
    DataError
        If a folder is none of the classes', a class has no training image, or there are no images at all.
    """
    present = visible_folders(folder)
    strange = [path.name for path in present if path.name not in classes]
    if strange:
        raise DataError(
            f"{folder}: no training class is named {', '.join(map(repr, strange[:SHOWN]))} "
            f"({len(strange)} such folders); {nearest(strange[0], classes)}"
        )
    if not present:
        raise DataError(
            f"{folder} has no folders; expected one for each class, with its images in it{_of_flat(folder)}"
        )
    paths: List[Path] = []
    labels: List[int] = []
    for path in present:
        files = _class_files(path)
        paths += files
        labels += [classes.index(path.name)] * len(files)
    check_classes(folder, classes, labels, split)
    return paths, np.array(labels, np.int64)


def _of_flat(folder: Path) -> str:
    """What to do about images that are in no class folder, as the end of a message."""
    flat = sum(is_image(path.name) for path in visible(folder))
    if not flat:
        return ""
    return (
        f" (of {counted(flat, 'image')} in the folder itself no class is known; with a list of their classes, such as "
        "LOC_val_solution.csv, python -m fusion prepare imagenet makes records: --val-classes)"
    )


def check_classes(where: Path, classes: Sequence[str], labels: Sequence[int], split: str) -> None:
    """Refuse a class without training images; warn of a class without test images.

    Nothing can be learnt about the first. The second can be answered, and only its error is unknown.

    Raises
    ------
    DataError
        If a class has no training image, or no class has a test image.
    """
    present = set(labels)
    without = [name for label, name in enumerate(classes) if label not in present]
    if not without:
        return
    named = ", ".join(map(repr, without[:SHOWN])) + (", ..." if len(without) > SHOWN else "")
    if split != "train" and present:
        logger.warning("%s has no images for %d of %d classes: %s", where, len(without), len(classes), named)
        return
    found = _found_instead(where / without[0])
    raise DataError(
        f"{where}: {len(without)} of {len(classes)} classes have no images: {named}{found}; expected "
        f"*{', *'.join(SUFFIXES)} in the folder of each class"
    )


def _found_instead(folder: Path) -> str:
    """What the folder of a class without images holds, as part of a message; nothing where there is no such folder."""
    if not folder.is_dir():
        return ""
    names = ", ".join(path.name for path in visible(folder)[:SHOWN])
    return f" (in {folder.name}: {names or 'nothing'})"


def _class_files(folder: Path) -> List[Path]:
    """The images of a class, sorted by name."""
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    images = sorted(name for name in names if is_image(name))
    if images and len(images) < len(names):
        others = counted(len(names) - len(images), "entry is", "entries are")
        logger.warning("%s: %s no %s, left out", folder, others, "/".join(SUFFIXES))
    return [folder / name for name in images]

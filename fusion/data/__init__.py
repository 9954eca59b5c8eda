"""Data sets by name, each an `ImageSet` in memory or a `PhotoSet` on disk.

`digits` comes with the package; `cifar10` and `cifar100` are read from their official binary archives, which are
downloaded if need be; `image_folder` reads any folder of images into memory; `imagenet` reads photos from folders or
RecordIO files when they are needed. Importing this needs nothing but NumPy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Mapping

from ..errors import DataError, nearest
from . import cifar, digits, image_folder, imagenet
from .description import Description
from .imageset import DataSet, ImageSet

__all__ = ["DataSet", "Description", "ImageSet", "describe", "list_datasets", "load_dataset"]

SPLITS = ("train", "test")

#: Every data set. To add one, write its file, which ends with its description, and a line here.
_DESCRIPTIONS = {
    description.name: description
    for description in (
        digits.DESCRIPTION,
        cifar.CIFAR10_DESCRIPTION,
        cifar.CIFAR100_DESCRIPTION,
        image_folder.DESCRIPTION,
        imagenet.DESCRIPTION,
    )
}

#: What an option is when nobody has set it: any other value must mean something to the data set.
_UNSET = {
    "labels": "fine",
    "url": None,
    "size": 32,
    "fit": "exact",
    "source": "auto",
    "classes": None,
    "crop_share": 0.875,
}


def list_datasets() -> list[str]:
    """Names that `load_dataset` knows.

    Returns
    -------
    list of str
        Sorted.
    """
    return sorted(_DESCRIPTIONS)


def describe(name: str) -> Description:
    """The description of a data set.

    Raises
    ------
    DataError
        If there is none of this name; the nearest are named.
    """
    if name not in _DESCRIPTIONS:
        raise DataError(f"data set {name!r} is unknown; {nearest(str(name), _DESCRIPTIONS)}")
    return _DESCRIPTIONS[name]


def load_dataset(
    name: str,
    split: str,
    root: str | os.PathLike[str] | None = None,
    *,
    labels: str = "fine",
    url: str | None = None,
    size: int = 32,
    fit: str = "exact",
    download: bool = True,
    source: str = "auto",
    classes: int | None = None,
    crop_share: float = 0.875,
    workers: int = 1,
) -> DataSet:
    """Load one split of a data set by its name.

    Parameters
    ----------
    name : {"digits", "cifar10", "cifar100", "image_folder", "imagenet"}
        Which data set.
    split : {"train", "test"}
        Which part.
    root : path-like, optional
        The folder of the data; needed by all but "digits", which leaves it unread.
    labels : {"fine", "coarse"}, default "fine"
        For "cifar100": its 100 classes or its 20 superclasses.
    url : str, optional
        For CIFAR: another address of the same archive.
    size : int, default 32
        For "image_folder": height and width of the loaded images, in pixels; for "imagenet": of the test photos' crop;
        the others have 32.
    fit : {"exact", "resize"}, default "exact"
        For "image_folder": refuse images of another size, or scale and crop them.
    download : bool, default True
        Whether CIFAR may be downloaded to `root` if it is not there.
    source : {"auto", "folder", "record"}, default "auto"
        For "imagenet": what to read where `root` holds both.
    classes : int, optional
        For "imagenet": how many there must be.
    crop_share : float, default 0.875
        For "imagenet": what the test photos' centre crop keeps of the shorter side.
    workers : int, default 1
        For "imagenet": threads that decode test photos.

    Returns
    -------
    DataSet
        The images, labels and class names: a `PhotoSet` for "imagenet", else an `ImageSet`.

    Raises
    ------
    DataError
        If the name, split or an option is unknown or means nothing to this data set, or the data is missing or
        damaged.
    """
    known = describe(name)
    if split not in SPLITS:
        raise DataError(f"{name} has no split {split!r}; expected 'train' or 'test'")
    given: dict[str, Any] = {"root": root, "labels": labels, "url": url, "size": size, "fit": fit, "download": download}
    given.update(source=source, classes=classes, crop_share=crop_share, workers=workers)
    _refuse_meaningless(known, given)
    if known.needs_folder and root is None:
        raise DataError(f"{name} needs the folder of its data; say where with data.dir=PATH")
    try:
        return known.load(split=split, **{option: given[option] for option in known.options})
    except DataError as error:
        raise _with_place(error, root) from None


def _with_place(error: DataError, root: str | os.PathLike[str] | None) -> DataError:
    """The error, with where the folder was looked for if it is not there and was given relative to another one."""
    path = None if root is None else Path(root).expanduser()
    if path is None or path.is_absolute() or path.exists():
        return error
    return DataError(
        f"{error}. The folder {path} was looked for in {Path.cwd()}: a relative data.dir is relative to the folder in "
        "which a command runs, and a run may have begun in another one; give data.dir=PATH, best an absolute one"
    )


def _refuse_meaningless(known: Description, given: Mapping[str, object]) -> None:
    """Refuse an option that has no effect: such a mistake would otherwise show only in the results."""
    for option, unset in _UNSET.items():
        if given[option] != unset and option not in known.options:
            fitting = ", ".join(name for name in list_datasets() if option in describe(name).options)
            raise DataError(
                f"{option}={given[option]!r} means nothing to {known.name}; it is for {fitting}: leave it out"
            )

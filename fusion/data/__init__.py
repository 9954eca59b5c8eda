"""Data sets by name, each an `ImageSet` in memory or a `PhotoSet` on disk.

`digits` comes with the package; `cifar10` and `cifar100` are read from their official binary archives, which are
downloaded if need be; `image_folder` reads any folder of images into memory; `imagenet` reads photos from folders or
RecordIO files when they are needed. Importing this needs nothing but NumPy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Mapping

from ..errors import DataError, nearest
from . import cifar, digits, image_folder, imagenet
from .imageset import DataSet, ImageSet

__all__ = ["DataSet", "ImageSet", "list_datasets", "load_dataset"]

SPLITS = ("train", "test")


@dataclass(frozen=True)
class _Source:
    """How to load a data set, and which of the options of `load_dataset` mean something to it."""

    load: Callable[..., DataSet]
    options: tuple[str, ...] = ()


_SOURCES = {
    "digits": _Source(digits.load),
    "cifar10": _Source(partial(cifar.load, cifar.CIFAR10), ("root", "url", "download")),
    "cifar100": _Source(partial(cifar.load, cifar.CIFAR100), ("root", "labels", "url", "download")),
    "image_folder": _Source(image_folder.load, ("root", "size", "fit")),
    "imagenet": _Source(imagenet.load, ("root", "size", "source", "classes", "crop_share", "workers")),
}

# What an option is when nobody has set it: any other value must mean something to the data set.
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
    return sorted(_SOURCES)


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
    if name not in _SOURCES:
        raise DataError(f"data set {name!r} is unknown; {nearest(str(name), _SOURCES)}")
    if split not in SPLITS:
        raise DataError(f"{name} has no split {split!r}; expected 'train' or 'test'")
    known = _SOURCES[name]
    given: dict[str, Any] = {"root": root, "labels": labels, "url": url, "size": size, "fit": fit, "download": download}
    given.update(source=source, classes=classes, crop_share=crop_share, workers=workers)
    _refuse_meaningless(name, known, given)
    if "root" in known.options and root is None:
        raise DataError(f"{name} needs the folder of its data; say where with data.dir=PATH")
    return known.load(split=split, **{option: given[option] for option in known.options})


def _refuse_meaningless(name: str, source: _Source, given: Mapping[str, object]) -> None:
    """A setting without effect is a mistake that would otherwise show only in the results."""
    for option, unset in _UNSET.items():
        if given[option] != unset and option not in source.options:
            fitting = ", ".join(other for other in list_datasets() if option in _SOURCES[other].options)
            raise DataError(f"{option}={given[option]!r} means nothing to {name}; it is for {fitting}: leave it out")


def describe(name: str) -> Any:
    """Until the descriptions are here."""
    from types import SimpleNamespace

    return SimpleNamespace(task="classification", kind="photos" if name == "imagenet" else "images")

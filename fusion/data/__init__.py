"""Data sets by name, each an `ImageSet` in memory, or a `PhotoSet` or `MaskSet` on disk.

`digits` comes with the package; `cifar10` and `cifar100` are read from their official binary archives, which are
downloaded where they are missing; `image_folder` reads any folder of images into memory; `imagenet` reads photos from
folders or RecordIO files when they are needed; `mask_folder`, `voc_masks` and `coco_masks` read images with masks. Each
file ends with its data set's `Description`. Importing this package needs nothing but NumPy.
"""

from __future__ import annotations

import os
from typing import Any, Mapping

from ..errors import DataError, nearest
from . import cifar, digits, image_folder, imagenet
from .description import IMAGES, MASKS, PHOTOS, Description
from .imageset import DataSet, ImageSet
from .masks import coco, folder

__all__ = [
    "IMAGES",
    "MASKS",
    "MAX_BAD_IMAGES",
    "PHOTOS",
    "DataSet",
    "Description",
    "ImageSet",
    "describe",
    "list_datasets",
    "load_dataset",
    "settings_of_others",
]

SPLITS = ("train", "test")

#: Unreadable training images that are passed over unless `data.max_bad_images` says otherwise.
MAX_BAD_IMAGES = 10

#: Every data set; another one is a file with its description, and a line here.
DESCRIPTIONS = {
    description.name: description
    for description in (
        digits.DESCRIPTION,
        cifar.CIFAR10_DESCRIPTION,
        cifar.CIFAR100_DESCRIPTION,
        image_folder.DESCRIPTION,
        imagenet.DESCRIPTION,
        folder.DESCRIPTION,
        folder.VOC_DESCRIPTION,
        coco.DESCRIPTION,
    )
}

#: The values of options that nobody has set: any other value must mean something to the data set.
_UNSET = {
    "labels": "fine",
    "url": None,
    "size": 32,
    "fit": "exact",
    "source": "auto",
    "classes": None,
    "crop_share": 0.875,
    "train_split": "train",
    "test_split": "test",
    "mask_suffix": ".png",
    "ignore": None,
    "mask_mismatch": "error",
    "max_bad_images": 0,
}


def list_datasets() -> list[str]:
    """Names that `load_dataset` knows.

    Returns
    -------
    list of str
        Sorted.
    """
    return sorted(DESCRIPTIONS)


def describe(name: str) -> Description:
    """What is known of a data set without loading it.

    Parameters
    ----------
    name : str
        Of `list_datasets()`.

    Raises
    ------
    DataError
        If there is no such data set; the message names the nearest.
    """
    if name not in DESCRIPTIONS:
        raise DataError(f"data set {name!r} is unknown; {nearest(name, DESCRIPTIONS)}")
    return DESCRIPTIONS[name]


def settings_of_others(name: str) -> dict[str, str]:
    """The settings that mean nothing to a data set, each with the names of the data sets that it is for.

    Parameters
    ----------
    name : str
        Of `list_datasets()`.
    """
    known = describe(name).settings
    found: dict[str, str] = {}
    for other in DESCRIPTIONS.values():
        for key in other.settings:
            if key not in known:
                found[key] = f"{found[key]}, {other.name}" if key in found else other.name
    return found


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
    train_split: str = "train",
    test_split: str = "test",
    mask_suffix: str = ".png",
    ignore: int | None = None,
    mask_mismatch: str = "error",
    max_bad_images: int = 0,
) -> DataSet:
    """Load one split of a data set by its name.

    Parameters
    ----------
    name : str
        Of `list_datasets()`.
    split : {"train", "test"}
        Which part.
    root : path-like, optional
        The folder of the data; needed by all but "digits", which does not read it.
    labels : {"fine", "coarse"}, default "fine"
        For "cifar100": its 100 classes or its 20 superclasses.
    url : str, optional
        For CIFAR: another address of the same archive.
    size : int, default 32
        For "image_folder", the height and width of the loaded images in pixels; for "imagenet", those of the test
        photos' crop; the images of the others have 32.
    fit : {"exact", "resize"}, default "exact"
        For "image_folder": refuse images of another size, or scale and crop them.
    download : bool, default True
        Whether CIFAR may be downloaded to `root` if it is not there.
    source : {"auto", "folder", "record"}, default "auto"
        For "imagenet": class folders or RecordIO files; "auto" is whichever of them `root` holds.
    classes : int, optional
        For "imagenet": how many classes there must be.
    crop_share : float, default 0.875
        For "imagenet": how much of the shorter side the centre crop of a test photo keeps.
    workers : int, default 1
        For "imagenet" and masks: threads that decode test images.
    train_split, test_split : str
        For masks: the lists of training and of test images.
    mask_suffix : str, default ".png"
        For masks that are files: what the name of a mask has after that of its image.
    ignore : int, optional
        For masks that are files: the value of pixels that are not counted.
    mask_mismatch : {"error", "resize"}, default "error"
        For masks that are files: what is done to a mask of another size than its image.
    max_bad_images : int, default 0
        For "image_folder": how many unreadable training images are passed over.

    Returns
    -------
    DataSet
        The images, labels and class names: a `PhotoSet` for "imagenet", a `MaskSet` for masks, else an `ImageSet`.

    Raises
    ------
    DataError
        If the name, split or an option is unknown or means nothing to this data set, or the data is missing or
        damaged.

    Examples
    --------
    >>> test = load_dataset("digits", "test")
    >>> test.images.shape, test.classes[:3], len(test)
    ((360, 32, 32, 3), ('0', '1', '2'), 360)
    """
    known = describe(name)
    if split not in SPLITS:
        raise DataError(f"{name} has no split {split!r}; expected 'train' or 'test'")
    given: dict[str, Any] = {"root": root, "labels": labels, "url": url, "size": size, "fit": fit, "download": download}
    given.update(source=source, classes=classes, crop_share=crop_share, workers=workers, ignore=ignore)
    given.update(train_split=train_split, test_split=test_split, mask_suffix=mask_suffix, mask_mismatch=mask_mismatch)
    given.update(max_bad_images=max_bad_images)
    _refuse_meaningless(known, given)
    if known.needs_folder and root is None:
        raise DataError(f"{name} needs the folder of its data; say where with data.dir=PATH")
    return known.load(split=split, **{option: given[option] for option in known.options})


def _refuse_meaningless(known: Description, given: Mapping[str, object]) -> None:
    """Refuse a setting without effect: otherwise the mistake would show only in the results."""
    for option, unset in _UNSET.items():
        if given[option] != unset and option not in known.options:
            fitting = ", ".join(other for other in list_datasets() if option in DESCRIPTIONS[other].options)
            raise DataError(
                f"{option}={given[option]!r} means nothing to {known.name}; it is for {fitting}: leave it out"
            )

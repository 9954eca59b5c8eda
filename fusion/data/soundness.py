"""What a look at a data set finds that would spoil a run's figures, or leave nothing to learn, without any error."""

from __future__ import annotations

from itertools import islice
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import DataError
from ..words import counted
from .duplicates import FilePictures, find_copies, pictures
from .imageset import ImageSet
from .listing import SHOWN, refuse_single_class
from .masks.maskset import MaskSet
from .photos.photoset import PhotoSet

#: Files that a run compares before it begins. To open each file of a million takes minutes, or hours on a slow disk;
#: `python -m fusion doctor --images` does it once for a data set.
MOST_FILES = 10_000


def look_over(train: Any, test: Any, most_files: Optional[int] = MOST_FILES) -> List[str]:
    """Look at the two splits of a data set.

    Parameters
    ----------
    train, test : ImageSet, PhotoSet or MaskSet
        The splits. Others are not looked at.
    most_files : int, optional
        Files are compared with each other if there are no more than this; None is any number.

    Returns
    -------
    list of str
        What a user should know, one sentence or two for each finding.

    Raises
    ------
    DataError
        If there is nothing to learn: all training images are the same, or of one class.
    """
    if not all(isinstance(split, (ImageSet, PhotoSet, MaskSet)) for split in (train, test)):
        return []
    _refuse_one_class(train)
    _refuse_alike(train)
    return [*_about_masks(train), *_about_test_labels(test), *_about_copies(train, test, most_files)]


# --- One class, all alike ---------------------------------------------------------------------------------------------


def _refuse_one_class(train: Any) -> None:
    """Refuse images in memory of one class. Folders of a single class are refused where they are listed."""
    if isinstance(train, ImageSet):
        present = np.unique(train.labels)
        refuse_single_class(f"{train.title}: the training set", [train.classes[label] for label in present])


def _refuse_alike(train: Any) -> None:
    if _all_equal(_contents(train), len(train)):
        raise DataError(
            f"{train.title}: all {len(train):,} training images are the same one, so that there is nothing to learn; "
            "look at what wrote them"
        )


def _contents(data: Any) -> Iterable[bytes]:
    """The bytes of each image, one after the other."""
    if isinstance(data, ImageSet):
        return (image.tobytes() for image in data.images)
    found = pictures(data)
    assert isinstance(found, FilePictures)
    return (found.read(number) for number in range(len(found)))


def _all_equal(contents: Iterable[Any], count: int) -> bool:
    """Whether two or more are all the same: usually known from the first two. What cannot be read equals nothing."""
    if count < 2:
        return False
    stream = iter(contents)
    first = next(stream)
    return bool(first) and all(other == first for other in stream)


def _about_masks(train: Any) -> List[str]:
    """Training masks that are all the same."""
    if not isinstance(train, MaskSet):
        return []
    masks = (train.stored(number).mask for number in range(len(train)))
    if not _all_equal(((*mask.shape, mask.tobytes()) for mask in masks), len(train)):
        return []
    return [
        f"{train.title}: all {len(train):,} training masks are the same one: a network learns to give it whatever "
        "the image is. Look at what wrote the masks"
    ]


def _about_test_labels(test: Any) -> List[str]:
    """Test images of one class."""
    if not isinstance(test, ImageSet):
        return []
    present = np.unique(test.labels)
    if len(present) > 1 or len(test) < 2 or len(test.classes) < 2:
        return []
    name = test.classes[present[0]]
    return [
        f"{test.title}: all {len(test):,} test images are of the class {name!r}: a network that always answers "
        f"{name!r} has no error on them. Test on images of all classes"
    ]


# --- Copies -----------------------------------------------------------------------------------------------------------


def _about_copies(train: Any, test: Any, most_files: Optional[int]) -> List[str]:
    """Test images that are training images, and images with two labels."""
    of_train, of_test = pictures(train), pictures(test)
    count = len(of_train) + len(of_test)
    if isinstance(of_train, FilePictures) and most_files is not None and count > most_files:
        return [
            f"{train.title}: more than {most_files:,} files are not looked at for copies before a run; "
            "python -m fusion doctor --images data.dir=PATH finds test images that are training images as well, and "
            "images with two labels"
        ]
    copies = find_copies(of_train, of_test)
    found = []
    if copies.shared:
        share = len(copies.shared) / len(of_test)
        pairs = _first_pairs(copies.shared, of_test.name, of_train.name)
        verb = "is" if len(copies.shared) == 1 else "are"
        found.append(
            f"{train.title}: {len(copies.shared):,} of {counted(len(of_test), 'test image')} ({100 * share:.3g} %) "
            f"{verb} among the training images too, so that the figures on the test set are too good: {pairs}. Remove "
            "them from one of the two"
        )
    if copies.contradicting:
        what = "two masks" if isinstance(train, MaskSet) else "two labels"
        pairs = _first_pairs(copies.contradicting, of_train.name, of_train.name)
        images = counted(len(copies.contradicting), "training image has", "training images have")
        found.append(
            f"{train.title}: {images} a copy that says something else, so that one image has {what}: {pairs}. Keep "
            "the right one of each"
        )
    if 2 * copies.distinct <= len(of_train):
        found.append(
            f"{train.title}: the {len(of_train):,} training images are {copies.distinct:,} different ones and copies "
            "of them. Look at what wrote them"
        )
    return found


def _first_pairs(pairs: Sequence[Tuple[int, int]], left: Callable[[int], str], right: Callable[[int], str]) -> str:
    shown = ", ".join(f"{left(one)} = {right(other)}" for one, other in islice(pairs, SHOWN))
    return shown + (", ..." if len(pairs) > SHOWN else "")

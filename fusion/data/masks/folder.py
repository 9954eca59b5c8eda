"""A folder of images and masks with lists of names, and Pascal VOC's layout of the same.

::

    root/images/NAME.jpg         root/JPEGImages/NAME.jpg
    root/masks/NAME.png          root/SegmentationClass/NAME.png
    root/train.txt, test.txt     root/ImageSets/Segmentation/train.txt, val.txt
    root/classes.txt

Any list can be trained or tested on, such as trainval.txt. Pascal VOC: Everingham et al., "The Pascal Visual Object
Classes Challenge", International Journal of Computer Vision 88, 2010. Its masks have a palette, and 255 on the outlines
of objects, which do not count.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Optional

from ..description import MASKS, Description
from ..listing import existing_folder
from .files import MaskFiles, existing_list, find_list, find_pairs, read_list, refuse_shared, split_names
from .labels import IGNORE, Labels, class_labels, read_labels
from .maskset import SETTINGS, MaskSet, refuse_unknown_mismatch

VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


@dataclass(frozen=True)
class Layout:
    """Where a data set has its files, relative to its folder.

    Attributes
    ----------
    images, masks, lists : str
        The folders.
    labels : callable
        From the folder and the ignored value to the labels.
    """

    images: str
    masks: str
    lists: str
    labels: Callable[[Path, Optional[int]], Labels]


def _voc_labels(root: Path, ignore: Optional[int]) -> Labels:
    return class_labels(VOC_CLASSES, IGNORE if ignore is None else ignore)


FOLDER = Layout("images", "masks", ".", read_labels)
VOC = Layout("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", _voc_labels)


def load(
    root: os.PathLike[str] | str,
    split: str,
    layout: Layout = FOLDER,
    *,
    train_split: str = "train",
    test_split: str = "test",
    mask_suffix: str = ".png",
    ignore: Optional[int] = None,
    mask_mismatch: str = "error",
    workers: int = 1,
) -> MaskSet:
    """One split of a folder of images with masks; every mask has been read once, so that its values are known to fit.

    Parameters
    ----------
    root : path-like
        The folder of the data set.
    split : {"train", "test"}
        Which part.
    layout : Layout
        Where in the folder the files are.
    train_split, test_split : str
        The lists of the two; without a list named test, val or validation is taken in its place.
    mask_suffix : str
        What the name of a mask has after that of its image.
    ignore : int, optional
        The value of pixels that are not counted; of VOC it is 255 unless another is given.
    mask_mismatch : {"error", "resize"}
        What is done to a mask of another size than its image.
    workers : int
        Threads that read.

    Raises
    ------
    DataError
        If a list, file or class is missing or does not fit, the training masks have no target at all, or a name is in
        both lists.
    """
    path = Path(root).expanduser()
    refuse_unknown_mismatch(mask_mismatch)
    existing_folder(path)
    lists = path / layout.lists
    found = existing_list(lists, split_names(split, train_split, test_split), f"data.{split}_split")
    both = [find_list(lists, split_names(part, train_split, test_split)) for part in ("train", "test")]
    if both[0] is not None and both[1] is not None:
        refuse_shared(both[0], both[1])
    labels = layout.labels(path, ignore)
    pairs = find_pairs(found, read_list(found), path / layout.images, path / layout.masks, mask_suffix)
    title = f"{path.resolve().name} ({found.stem})"
    data = MaskSet(MaskFiles(pairs, labels), labels, title, mask_mismatch, workers)
    data.check(split)
    return data


_OPTIONS = ("root", "train_split", "test_split", "mask_suffix", "ignore", "mask_mismatch", "workers")

DESCRIPTION = Description(
    name="mask_folder",
    title="a folder of images with masks",
    load=load,
    kind=MASKS,
    options=_OPTIONS,
    task="segmentation",
    settings=(*SETTINGS, "data.mask_suffix", "data.ignore", "data.mask_mismatch"),
)

VOC_DESCRIPTION = Description(
    name="voc_masks",
    title="Pascal VOC's segmentation, or images with masks laid out like it",
    load=partial(load, layout=VOC),
    kind=MASKS,
    options=_OPTIONS,
    task="segmentation",
    settings=DESCRIPTION.settings,
)

"""COCO's instance annotations as masks of classes: the background and the categories, in the order of their numbers.

::

    root/annotations/instances_train2017.json, instances_val2017.json
    root/train2017/*.jpg, root/val2017/*.jpg             (or root/images/train2017, ...)

Objects are drawn when an image is read. Pixels of a crowd and pixels that objects of two classes claim do not count.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Tuple

import numpy as np

from ...errors import DataError
from ..description import MASKS, Description
from ..fingerprint import fingerprint_of_files
from ..listing import SHOWN, existing_folder
from ..photos.header import read_file, read_header
from .annotations import Annotations, annotation_file, class_mask, image_folder, read_annotations
from .decoding import read_image
from .files import naming, split_names
from .labels import IGNORE, class_labels
from .maskset import SETTINGS, Facts, MaskSet

BACKGROUND = "background"


class CocoMasks:
    """The images of a file of annotations, with masks that are drawn when they are asked for.

    Parameters
    ----------
    annotations : Annotations
        What is in the images.
    folder : Path
        Of the images.
    """

    def __init__(self, annotations: Annotations, folder: Path) -> None:
        self._annotations = annotations
        self._images = annotations.images
        self._folder = folder
        self._numbers = {category: number for number, category in enumerate(annotations.categories, start=1)}

    def __len__(self) -> int:
        return len(self._images)

    def name(self, number: int) -> str:
        """The name of the file, without suffix."""
        return Path(self._images[number].file).stem

    def files(self, number: int) -> Tuple[str, str]:
        """The path of the image, and what its mask is drawn from."""
        return str(self._folder / self._images[number].file), f"its entry in {self._annotations.path}"

    def fingerprint(self) -> str:
        """Of the images' names in the order of the annotations, and of the sizes of both."""
        files = [self._annotations.path, *(self._folder / image.file for image in self._images)]
        return fingerprint_of_files(["", *(image.file for image in self._images)], files.__getitem__)

    def read_image(self, number: int) -> np.ndarray:
        """The image, (H, W, 3) uint8."""
        path = self._folder / self._images[number].file
        with naming(path):
            return read_image(read_file(path))

    def read_mask(self, number: int) -> np.ndarray:
        """Numbers of classes, (h, w) uint8."""
        with naming(self._annotations.path):
            return class_mask(self._images[number], self._numbers)

    def look(self, number: int) -> Facts:
        """The sizes of an image and its annotation, and the classes of its objects, which are not drawn."""
        image = self._images[number]
        path = self._folder / image.file
        with naming(path):
            header = read_header(read_file(path))
        classes = {0, *(self._numbers[each.category] for each in image.instances if not each.crowd)}
        return Facts((header.height, header.width), (image.height, image.width), frozenset(classes))


def load(
    root: os.PathLike[str] | str,
    split: str,
    *,
    train_split: str = "train",
    test_split: str = "test",
    workers: int = 1,
) -> MaskSet:
    """One split of COCO, or of annotations in its format.

    Parameters
    ----------
    root : path-like
        The folder that holds `annotations` and the images.
    split : {"train", "test"}
        Which part.
    train_split, test_split : str
        What the files call the two, such as train2017, with the year or without; without annotations of a part named
        test, val or validation is taken in its place.
    workers : int
        Threads that read.

    Raises
    ------
    DataError
        If the annotations or images are missing, damaged, or do not belong together.
    """
    path = Path(root).expanduser()
    existing_folder(path)
    file = annotation_file(path, split_names(split, train_split, test_split), f"data.{split}_split")
    annotations = read_annotations(file)
    if not annotations.images:
        raise DataError(f"{file} has no images")
    folder = image_folder(path, annotations.part)
    missing = [image.file for image in annotations.images if not (folder / image.file).is_file()]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise DataError(f"{folder} lacks {len(missing)} of the {len(annotations.images)} images of {file}: {shown}")
    labels = class_labels((BACKGROUND, *annotations.categories.values()), IGNORE)
    data = MaskSet(
        CocoMasks(annotations, folder), labels, f"{path.resolve().name} ({annotations.part})", workers=workers
    )
    data.check(split)
    return data


DESCRIPTION = Description(
    name="coco_masks",
    title="COCO's instance annotations, or others in its format, as masks",
    load=load,
    kind=MASKS,
    options=("root", "train_split", "test_split", "workers"),
    task="segmentation",
    settings=SETTINGS,
)

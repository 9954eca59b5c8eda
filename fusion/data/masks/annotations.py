"""COCO's files of instance annotations: images, categories, and where in an image each object is.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", arXiv 1405.0312; the format is described at
https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ...errors import DataError
from ...reading import ReadingError, read_json
from ..listing import visible
from ..photos.header import BadPhotoError
from .labels import IGNORE
from .rasterise import Segmentation, rasterise

_ANNOTATIONS, _PREFIX = "annotations", "instances_"

#: In bytes. That of COCO's training images of 2017 has 450 million.
_LARGEST_FILE = 2 * 1024**3

#: Of an image; a photo has a twentieth of it.
_MOST_PIXELS = 2**28


@dataclass(frozen=True)
class Instance:
    """One object, or a region of many.

    Attributes
    ----------
    category : int
        The number of its category.
    segmentation : sequence or mapping
        As `rasterise` takes it.
    area : float
        In pixels.
    crowd : bool
        Whether it is a region of many objects that are not told apart.
    """

    category: int
    segmentation: Segmentation
    area: float
    crowd: bool


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and what is in it.

    Attributes
    ----------
    file : str
        Its name in the folder of images.
    height, width : int
        In pixels.
    instances : list of Instance
        In the order of their identifiers.
    """

    file: str
    height: int
    width: int
    instances: List[Instance]


@dataclass(frozen=True)
class Annotations:
    """What a file of annotations has.

    Attributes
    ----------
    path : Path
        The file.
    categories : dict of int to str
        Names by number, in the order of the numbers.
    images : list of AnnotatedImage
        In the order of the names of their files.
    """

    path: Path
    categories: Dict[int, str]
    images: List[AnnotatedImage]

    @property
    def part(self) -> str:
        """What the name of the file calls it, such as train2017."""
        return self.path.stem[len(_PREFIX) :]


def annotation_file(root: Path, names: Sequence[str], setting: str) -> Path:
    """The file of annotations of a split.

    Parameters
    ----------
    root : Path
        Holds `annotations`.
    names : sequence of str
        What the split may be called, such as train; the first that is there is taken, with a year or without.
    setting : str
        Which setting says what the split is called, for messages.

    Raises
    ------
    DataError
        If there is none, or several.
    """
    folder = root / _ANNOTATIONS
    files = [path for path in visible(folder) if path.name.startswith(_PREFIX)] if folder.is_dir() else []
    for name in names:
        found = [path for path in files if re.fullmatch(rf"{_PREFIX}{re.escape(name)}\d*\.json", path.name)]
        if len(found) > 1:
            shown = ", ".join(path.name for path in found)
            raise DataError(f"{folder} has {shown}; say with {setting} which one, such as {name}2017")
        if found:
            return found[0]
    wanted = " or ".join(f"{_PREFIX}{name}2017.json" for name in names)
    raise DataError(
        f"{folder} has no {wanted} (found: {', '.join(path.name for path in files) or 'no instance annotations'}); "
        "expected the annotations of COCO, as they are unpacked"
    )


def image_folder(root: Path, part: str) -> Path:
    """The folder of the images of a part, such as train2017, which may lie in `images`.

    Raises
    ------
    DataError
        If there is none.
    """
    for folder in (root / part, root / "images" / part):
        if folder.is_dir():
            return folder
    raise DataError(f"{root} has neither {part} nor images/{part}, with the images of its annotations")


def read_annotations(path: Path) -> Annotations:
    """Read a file of instance annotations.

    Raises
    ------
    DataError
        If it cannot be read, or is no such file.
    """
    try:
        content = read_json(path, _LARGEST_FILE)
    except ReadingError as error:
        raise DataError(f"{path}: cannot be read as a file of annotations ({error})") from None
    try:
        return _annotations(path, content)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise DataError(f"{path}: not a file of COCO's instance annotations ({reason})") from None


def _annotations(path: Path, content: Any) -> Annotations:
    categories = {int(each["id"]): str(each["name"]) for each in content["categories"]}
    instances: Dict[int, List[Instance]] = defaultdict(list)
    for each in sorted(content["annotations"], key=lambda annotation: annotation["id"]):
        if each["category_id"] not in categories:
            raise ValueError(f"annotation {each['id']} is of category {each['category_id']}, which has no name")
        crowd = bool(each.get("iscrowd", 0))
        instances[each["image_id"]].append(
            Instance(each["category_id"], each["segmentation"], float(each["area"]), crowd)
        )
    images = [
        AnnotatedImage(str(each["file_name"]), *_size(each), instances.pop(each["id"], []))
        for each in content["images"]
    ]
    if instances:
        raise ValueError(f"annotations of image {next(iter(instances))}, which is not in the list of images")
    return Annotations(path, dict(sorted(categories.items())), sorted(images, key=lambda image: image.file))


def _size(image: Dict[str, Any]) -> Tuple[int, int]:
    height, width = int(image["height"]), int(image["width"])
    if min(height, width) < 1 or height * width > _MOST_PIXELS:
        raise ValueError(f"an image of {height}x{width} pixels")
    return height, width


def class_mask(image: AnnotatedImage, numbers: Dict[int, int]) -> np.ndarray:
    """The class of each pixel, from the objects of an image.

    A pixel that objects of two classes claim does not count, and neither does one of a crowd where no object is.

    Parameters
    ----------
    image : AnnotatedImage
        With its objects.
    numbers : dict of int to int
        From the number of a category to that of a class; objects of others are background, which is 0.

    Returns
    -------
    ndarray
        (H, W) uint8, numbers of classes or `IGNORE`.

    Raises
    ------
    BadPhotoError
        If an object has impossible pixels.
    """
    mask = np.zeros((image.height, image.width), np.uint8)
    crowd = np.zeros(mask.shape, bool)
    for instance in image.instances:
        if instance.category not in numbers:
            continue
        pixels = _pixels(instance, image)
        if instance.crowd:
            crowd |= pixels
            continue
        number = numbers[instance.category]
        mask[pixels] = np.where((mask[pixels] == 0) | (mask[pixels] == number), number, IGNORE)
    mask[crowd & (mask == 0)] = IGNORE
    return mask


def _pixels(instance: Instance, image: AnnotatedImage) -> np.ndarray:
    try:
        return rasterise(instance.segmentation, image.height, image.width)
    except (ValueError, KeyError, OverflowError, TypeError, StopIteration) as error:
        raise BadPhotoError(f"{image.file}: an annotation cannot be drawn ({error})") from None

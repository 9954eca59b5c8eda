"""python -m fusion prepare stopsign: stop signs from COCO's annotations, as a folder of images and masks.

The paper evaluates long skip connections on a data set "StopSign", a subset of COCO, and does not say which images it
has. This is a rule of our own, so that figures on it can be compared with each other, and not with the paper's:

- An image is taken where COCO's annotations of 2017 have at least one stop sign in it that is not small: category 13,
  not a crowd, with an area of at least 32² = 1,024 pixels. COCO's own evaluation calls smaller objects small.
- All stop signs of such an image are the target, also small ones. A crowd of stop signs does not count.
- Images of train2017 are for training (train.txt), those of val2017 for testing (val.txt).

Images are copied as they are. Every file has its name only once it is whole, and the lists come last: after an
interruption, the same command goes on.
"""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from ...errors import DataError
from ...files import whole_file, write_text
from ...progress import progress
from ..listing import SHOWN
from ..photos.decoding import refuse_damaged
from ..photos.header import BadPhotoError, read_file
from ..turns import in_turn
from .annotations import AnnotatedImage, annotation_file, class_mask, image_folder, read_annotations
from .files import naming
from .labels import CLASSES_FILE, IGNORE, binary_labels
from .palette import colour_table

CATEGORY, NAME = 13, "stop sign"

#: COCO's evaluation calls objects of fewer pixels small.
LEAST_AREA = 32**2

#: The parts of COCO by the lists that are made of them.
PARTS = {"train": ("train2017", "train"), "val": ("val2017", "val")}


@dataclass(frozen=True)
class Report:
    """What was written for one part.

    Attributes
    ----------
    part : str
        "train" or "val".
    images, signs : int
        Images that were taken, and stop signs in them without crowds.
    crowds : int
        Crowds of stop signs in these images.
    small_only : int
        Images that were left out because all their stop signs are small.
    target_share : float
        Of the pixels, how many are a stop sign.
    """

    part: str
    images: int
    signs: int
    crowds: int
    small_only: int
    target_share: float


@dataclass(frozen=True)
class _Part:
    """One part of the source: its annotations and images, those to take, and how many have only small stop signs."""

    name: str
    file: Path
    folder: Path
    images: List[AnnotatedImage]
    small_only: int


def is_sign(image: AnnotatedImage, least_area: float) -> bool:
    """Whether an image has a stop sign of at least an area, which is no crowd."""
    return any(each.category == CATEGORY and not each.crowd and each.area >= least_area for each in image.instances)


def prepare(coco: Path, target: Path, least_area: float = LEAST_AREA, workers: int = 1) -> List[Report]:
    """Write images/, masks/, train.txt, val.txt, classes.txt and README.txt.

    Parameters
    ----------
    coco : Path
        Holds `annotations` with the instances of train2017 and val2017, and the images of both.
    target : Path
        Made if it does not exist.
    least_area : float
        Of the largest stop sign of an image that is taken, in pixels.
    workers : int
        Threads that draw and copy.

    Returns
    -------
    list of Report
        One for each part.

    Raises
    ------
    DataError
        If annotations or images are missing or do not belong together, or no image has a stop sign.
    """
    if not coco.is_dir():
        raise DataError(f"{coco}: no such folder; expected one with annotations, train2017 and val2017")
    parts = [_find(coco, name, least_area) for name in PARTS]
    _refuse_shared(*parts)
    for folder in ("images", "masks"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    reports = [_write(part, target, workers) for part in parts]
    write_text(target / CLASSES_FILE, f"{NAME}\n")
    write_text(target / "README.txt", _readme(reports, least_area))
    for part in parts:
        write_text(target / f"{part.name}.txt", "".join(f"{Path(image.file).stem}\n" for image in part.images))
    return reports


def _find(coco: Path, name: str, least_area: float) -> _Part:
    """The images of a part that have a stop sign, once it is certain that all of them are there."""
    file = annotation_file(coco, PARTS[name], "--coco")
    annotations = read_annotations(file)
    if annotations.categories.get(CATEGORY) != NAME:
        found = annotations.categories.get(CATEGORY, "no category")
        raise DataError(f"{file}: number {CATEGORY} is {found!r}; expected {NAME!r}, as in COCO's annotations of 2017")
    folder = image_folder(coco, annotations.part)
    taken = [image for image in annotations.images if is_sign(image, least_area)]
    with_any = sum(is_sign(image, 0) for image in annotations.images)
    if not taken:
        raise DataError(f"{file}: no image has a {NAME} of at least {least_area:g} pixels")
    missing = [image.file for image in taken if not (folder / image.file).is_file()]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise DataError(f"{folder} lacks {len(missing)} of the {len(taken)} images with a {NAME}: {shown}")
    return _Part(name, file, folder, taken, with_any - len(taken))


def _refuse_shared(one: _Part, other: _Part) -> None:
    """Refuse images of one name in both parts, one of which would take the place of the other."""
    shared = sorted({image.file for image in one.images} & {image.file for image in other.images})
    if shared:
        shown = ", ".join(shared[:SHOWN]) + (", ..." if len(shared) > SHOWN else "")
        raise DataError(
            f"{len(shared)} images are in {one.file.name} and in {other.file.name} as well: {shown}; expected COCO's "
            "own annotations, whose parts have different images"
        )


def _write(part: _Part, target: Path, workers: int) -> Report:
    """Write the images and masks of a part that are not written yet."""
    signs, pixels = 0, 0
    title = f"{part.name}, drawing and copying"

    def submit(number: int) -> List[Future[Tuple[int, int]]]:
        return [pool.submit(_write_image, part.folder, part.images[number], target)]

    with ThreadPoolExecutor(workers) as pool, progress(title, len(part.images), unit="images") as meter:
        for found in in_turn(submit, range(len(part.images)), 2 * workers):
            signs, pixels = signs + found[0], pixels + found[1]
            meter.update(1)
    own = [each for image in part.images for each in image.instances if each.category == CATEGORY]
    crowds = sum(each.crowd for each in own)
    return Report(part.name, len(part.images), len(own) - crowds, crowds, part.small_only, signs / pixels)


def _write_image(folder: Path, image: AnnotatedImage, target: Path) -> Tuple[int, int]:
    """Write an image and its mask; how many pixels are a stop sign, and how many there are."""
    path = folder / image.file
    try:
        with naming(path):
            data = read_file(path)
            header = refuse_damaged(data)
        mask = class_mask(image, {CATEGORY: 1})
    except BadPhotoError as error:
        raise DataError(f"{error}; mend it, or unpack the images and annotations of COCO again") from None
    if (header.height, header.width) != mask.shape:
        raise DataError(
            f"{path} is {header.width}x{header.height}, and its annotations are of {image.width}x{image.height}: they "
            "do not belong together"
        )
    _write_bytes(target / "images" / path.name, data)
    _write_bytes(target / "masks" / f"{path.stem}.png", _png(mask))
    return int((mask == 1).sum()), mask.size


def _write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, unless it is there already."""
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    with whole_file(path) as aside:
        aside.write_bytes(data)


def _png(mask: np.ndarray) -> bytes:
    """A PNG file of indices, with colours for viewers."""
    from PIL import Image

    labels = binary_labels(NAME, IGNORE)
    image = Image.fromarray(labels.stored(mask))
    image.putpalette(colour_table(labels))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _readme(reports: List[Report], least_area: float) -> str:
    counts: Dict[str, str] = {
        report.part: f"{report.images:,} images with {report.signs:,} stop signs and {report.crowds:,} crowds; "
        f"{100 * report.target_share:.2f} % of the pixels are a stop sign; {report.small_only:,} images with only "
        "smaller stop signs were left out"
        for report in reports
    }
    lines = "\n".join(f"- {part}.txt: {text}." for part, text in counts.items())
    return f"""Stop signs from the instance annotations of COCO 2017, written by python -m fusion prepare stopsign.

Rule: an image is taken if it has at least one stop sign (category {CATEGORY}, no crowd) with an area of at least
{least_area:g} pixels. All stop signs of such an image are the target. Crowds of stop signs do not count.

{lines}

Masks have 0 for the background, 1 for a stop sign and 255 for what does not count. To train on them:
data.name=mask_folder data.dir=THIS_FOLDER data.ignore=255

The paper of attentional feature fusion does not say which images of COCO its data set StopSign has, so that its figures
cannot be compared with those on this one. The images and annotations are COCO's and have its licences:
https://cocodataset.org/#termsofuse
"""

"""A data set as folders of image files, one folder per class, read into memory.

The layout is that of ImageNet's training archive, common to most frameworks (e.g. Gluon's `ImageFolderDataset`)::

    root/train/<class>/*.jpg
    root/test/<class>/*.jpg        (or `val`, or `validation`; the first of these names that is there)

Class folders hold the files themselves: folders within them are not read. Nothing is cached, as 50,000 JPEG files of
CIFAR's size are decoded in seconds.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, Iterator, Sequence

import numpy as np

from ..errors import DataError, nearest
from ..machine import processors
from ..progress import progress
from ..words import counted
from .description import IMAGES, Description
from .imageset import ImageSet
from .listing import SHOWN, check_classes, class_names, list_files, split_folder
from .photos.header import UPRIGHT, BadPhotoError, Header, read_file, read_header
from .photos.jpeg import decode_jpeg
from .photos.kinds import ANY_IMAGE
from .photos.orientation import turned
from .photos.photo import middle_box
from .photos.pillow import opened, strictly
from .transparency import to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

_CMYK = 4  # channels
BATCH = 128  # files that a thread takes at a time


class _SizeError(Exception):
    """A sound image that is not of the wanted size."""


@dataclass(frozen=True)
class _Fault:
    """A file that cannot be used, and why."""

    path: Path
    error: Exception


def load(
    root: str | os.PathLike[str],
    split: str,
    size: int = 32,
    *,
    fit: str = "exact",
    max_bad_images: int = 0,
    workers: int | None = None,
) -> ImageSet:
    """One split of an image folder, with the images in the order of their sorted paths.

    The sorted folder names under `train` are the classes, for either split. Images are turned as the orientation tag of
    their EXIF data says, and converted to RGB, transparent ones on white. Memory: 3 * size**2 bytes per image, for
    instance 150 MB for 50,000 images of size 32.

    Parameters
    ----------
    root : path-like
        The folder that holds `train` and `test`.
    split : {"train", "test"}
        Which part.
    size : int, default 32
        Height and width of the loaded images, in pixels.
    fit : {"exact", "resize"}, default "exact"
        What to do with an image of another size: "exact" refuses it; "resize" scales its shorter side to `size`
        (Pillow, bilinear) and cuts out the centre.
    max_bad_images : int, default 0
        How many unreadable training images are passed over, each with a warning. An unreadable test image is an error:
        an error rate over the others would be that of another test set.
    workers : int, optional
        Threads that read and decode; by default one per processor.

    Returns
    -------
    ImageSet
        `images` (N, size, size, 3), without those that were passed over.

    Raises
    ------
    DataError
        If a folder is missing, a class has no (readable) training images, a test folder is none of the training
        classes', or more files than that are unreadable, or some are not of the wanted size: the message gives their
        number and names the first few.
    """
    root = Path(root).expanduser()
    if fit not in _FITS:
        raise DataError(f"fit {fit!r} is unknown; {nearest(fit, _FITS)}")
    if size < 1:
        raise DataError(f"size {size} is impossible; expected the side of the images in pixels, e.g. 32")
    folder = split_folder(root, split)
    classes = class_names(split_folder(root, "train"))
    paths, labels = list_files(folder, classes, split)
    about = f"{counted(len(paths), 'image')} of {counted(len(classes), 'class', 'classes')}"
    logger.info("%s: %s, %.0f MB", folder, about, len(paths) * 3e-6 * size**2)
    images, faults = _read_all(folder, paths, size, fit, workers or processors())
    title = f"image folder {root.resolve().name}"
    unreadable = _unreadable(folder, faults, size, len(paths), max_bad_images if split == "train" else 0)
    if not unreadable:
        return ImageSet(images, labels, classes, title, tuple(paths))
    for fault in unreadable:
        logger.warning("%s: %s; it is passed over", fault.path, _reason(fault))
    bad = {fault.path for fault in unreadable}
    kept = np.array([path not in bad for path in paths])
    check_classes(folder, classes, labels[kept].tolist(), split)
    return ImageSet(images[kept], labels[kept], classes, title, tuple(path for path in paths if path not in bad))


def _read_all(
    folder: Path, paths: Sequence[Path], size: int, fit: str, workers: int
) -> tuple[np.ndarray, list[_Fault]]:
    """Decode every file with a pool of threads, which run side by side: Pillow releases Python's lock meanwhile.

    The rows of files that could not be used hold anything.
    """
    images = np.empty((len(paths), size, size, 3), np.uint8)
    faults: list[_Fault] = []

    def read_batch(start: int) -> tuple[int, list[_Fault]]:
        rows = range(start, min(start + BATCH, len(paths)))
        return len(rows), list(_read_rows(images, paths, rows, _FITS[fit]))

    title = str(folder)
    with strictly(), ThreadPoolExecutor(workers) as pool, progress(title, len(paths), unit="images") as meter:
        for count, new_faults in pool.map(read_batch, range(0, len(paths), BATCH)):
            faults += new_faults
            meter.update(count)
    return images, faults


def _read_rows(
    images: np.ndarray, paths: Sequence[Path], rows: Iterable[int], fit: Callable[[Image, int], Image]
) -> Iterator[_Fault]:
    """Fill these rows of `images`; yield the files that could not be used."""
    for row in rows:
        try:
            images[row] = _read_image(paths[row], len(images[row]), fit)
        except Exception as error:  # for damaged files, Pillow's decoders raise nearly anything
            yield _Fault(paths[row], error)


def read_scaled(path: Path, size: int) -> np.ndarray:
    """One image, its shorter side scaled to `size`, then its centre cut out: (size, size, 3) uint8.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        with strictly():
            return _read_image(path, size, _resize)
    except Exception as error:  # as in `_read_rows`
        raise DataError(f"{path}: {_reason(_Fault(path, error))}; expected {ANY_IMAGE}") from None


def _read_image(path: Path, size: int, fit: Callable[[Image, int], Image]) -> np.ndarray:
    """One image, (size, size, 3) uint8."""
    data = read_file(path)
    header = read_header(data)
    if fit is _exact and (header.height, header.width) != (size, size):  # before any pixel is decoded
        raise _SizeError(f"{header.width}x{header.height}")
    with _opened(data, header) as image:
        return np.asarray(fit(_shown(image, header), size))


def _opened(data: bytes, header: Header) -> Image:
    """An image file in Pillow, as it is stored; a JPEG once libjpeg has found no damage in it."""
    from PIL import Image

    if header.is_jpeg:
        pixels = decode_jpeg(data, *header.stored_size, colours="RGB")
        if pixels is not None and header.channels != _CMYK:  # which Pillow converts in a way of its own
            return Image.fromarray(pixels)
    return opened(data, header)


def _shown(image: Image, header: Header) -> Image:
    """RGB, on white, turned."""
    from PIL import Image

    found = to_rgb(image)
    if header.orientation == UPRIGHT:
        return found
    return Image.fromarray(turned(np.asarray(found), header.orientation))


def _exact(image: Image, size: int) -> Image:
    return image


def _resize(image: Image, size: int) -> Image:
    """Shorter side to `size`, bilinear, then the centre."""
    from PIL import Image

    box = middle_box(image.height, image.width)
    if (box.height, box.width) != (image.height, image.width):
        image = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    width, height = image.size
    shorter = min(width, height)
    width, height = round(width * size / shorter), round(height * size / shorter)
    left, top = (width - size) // 2, (height - size) // 2
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    return scaled.crop((left, top, left + size, top + size))


_FITS: dict[str, Callable[[Image, int], Image]] = {"exact": _exact, "resize": _resize}


def _unreadable(folder: Path, faults: Sequence[_Fault], size: int, total: int, most: int) -> list[_Fault]:
    """The unreadable files, if they are not too many; those first: their number does not change with the settings."""
    wrong_size = [fault for fault in faults if isinstance(fault.error, _SizeError)]
    unreadable = [fault for fault in faults if not isinstance(fault.error, _SizeError)]
    if len(unreadable) > most:
        allowed, advice = (f", and data.max_bad_images allows {most}", ", or raise it") if most else ("", "")
        raise DataError(
            f"{folder}: {len(unreadable)} of {counted(total, 'image')} cannot be read{allowed}: "
            f"{_first_few(folder, unreadable)}; mend or remove them{advice}"
        )
    if wrong_size:
        raise DataError(
            f"{folder}: {len(wrong_size)} of {counted(total, 'image')} have another size than {size}x{size}: "
            f"{_first_few(folder, wrong_size)}; "
            f"set data.fit=resize to scale and crop them, or data.size to the size that they have"
        )
    return unreadable


def _first_few(folder: Path, faults: Sequence[_Fault]) -> str:
    shown = [f"{fault.path.relative_to(folder)} ({_reason(fault)})" for fault in faults[:SHOWN]]
    return ", ".join(shown) + (", ..." if len(faults) > SHOWN else "")


def _reason(fault: _Fault) -> str:
    """Why, without the path that Pillow repeats."""
    from PIL import UnidentifiedImageError

    if isinstance(fault.error, BadPhotoError):
        return str(fault.error)
    if isinstance(fault.error, UnidentifiedImageError):
        return "damaged, or of a sort that this Pillow does not read"
    if isinstance(fault.error, OSError) and fault.error.strerror:
        return fault.error.strerror
    return str(fault.error) or type(fault.error).__name__


DESCRIPTION = Description(
    name="image_folder",
    title="image folder",
    load=load,
    kind=IMAGES,
    options=("root", "size", "fit", "max_bad_images"),
    settings=("data.max_bad_images",),
)

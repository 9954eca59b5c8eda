"""ImageNet, or any large set of photos, in class folders or in MXNet's RecordIO files, decoded when they are needed.

Both sources give the same images in the same order, so that a run does not depend on which one it reads::

    root/train/<class>/*.JPEG                 root/train.rec, root/train.idx
    root/val/<class>/*.JPEG   (or test)       root/val.rec, root/val.idx        (or test)
                                              root/classes.txt                  one name per line, in label order

`python -m fusion prepare imagenet` writes the second from the first. Source: Russakovsky et al., "ImageNet Large Scale
Visual Recognition Challenge", arXiv 1409.0575.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Optional, Tuple

from ..errors import DataError, nearest
from ..reading import ReadingError, read_lines
from .description import PHOTOS, Description
from .listing import SPLIT_FOLDERS, class_names, existing_folder, refuse_single_class, split_folder
from .photos.photoset import CLASSES_FILE, FolderPhotos, Photos, PhotoSet, PhotoView, RecordPhotos

SOURCES = ("auto", "folder", "record")


def load(
    root: os.PathLike[str] | str,
    split: str,
    size: int = 224,
    *,
    source: str = "auto",
    classes: Optional[int] = None,
    crop_share: float = 0.875,
    workers: int = 1,
) -> PhotoSet:
    """One split of ImageNet or of a data set laid out like it.

    Parameters
    ----------
    root : path-like
        The folder that holds `train` and `val` with their class folders, or the records.
    split : {"train", "test"}
        Which part; the second is in `val`, `validation` or `test`.
    size : int, default 224
        Height and width of the test photos, in pixels.
    source : {"auto", "folder", "record"}
        Which of the two to read; "auto" takes the one that exists, and refuses to choose where both do.
    classes : int, optional
        How many there must be; needed for records without a `classes.txt`.
    crop_share : float, default 0.875
        Of the resized test photo's shorter side that is kept.
    workers : int, default 1
        Threads that decode test photos.

    Returns
    -------
    PhotoSet
        The test split has been checked for unreadable photos.

    Raises
    ------
    DataError
        If files are missing or damaged, or there is another number of classes.
    """
    path = Path(root).expanduser()
    if source not in SOURCES:
        raise DataError(f"source {source!r} is unknown; {nearest(source, SOURCES)}")
    existing_folder(path)
    names, photos = _OPEN[find_source(path) if source == "auto" else source](path, split, classes)
    if classes is not None and len(names) != classes:
        raise DataError(
            f"{path} has {len(names)} classes, and data.classes is {classes}: set it to {len(names)}, or to null"
        )
    loaded = PhotoSet(
        photos, names, f"photos of {path.resolve().name}", PhotoView(size, crop_share, workers), _are_names(path, names)
    )
    if split == "test":
        loaded.check()
    return loaded


def find_source(root: Path) -> str:
    """Whether a folder holds class folders or records.

    Raises
    ------
    DataError
        If it holds neither, or both.
    """
    has_records = any((root / f"train{suffix}").exists() for suffix in (".rec", ".idx"))
    has_folders = (root / "train").is_dir()
    if has_records and has_folders:
        raise DataError(f"{root} holds both train/ and train.rec: say which to read with data.source=folder or record")
    if not has_records and not has_folders:
        raise DataError(
            f"{root} holds neither train/ (with a folder for each class) nor train.rec with train.idx; expected one of "
            "them, and the same named val or test. Where the class folders are in one folder P without parts, "
            "mkdir DIR; ln -s P DIR/train; ln -s P DIR/val makes a data set that is tested on what it trains on"
        )
    return "record" if has_records else "folder"


def _open_folder(root: Path, split: str, classes: Optional[int]) -> Tuple[Tuple[str, ...], Photos]:
    names = class_names(split_folder(root, "train"))
    return names, FolderPhotos(split_folder(root, split), names, split)


def _open_records(root: Path, split: str, classes: Optional[int]) -> Tuple[Tuple[str, ...], Photos]:
    path = record_path(root, split)
    names = _record_classes(root, classes)
    refuse_single_class(root, names)
    return names, RecordPhotos(path, len(names))


_OPEN = {"folder": _open_folder, "record": _open_records}


def record_path(root: Path, split: str) -> Path:
    """The .rec file of a split; whether its index exists too is checked by `RecordFile`."""
    if split not in SPLIT_FOLDERS:
        raise DataError(f"photos have no split {split!r}; expected one of {', '.join(SPLIT_FOLDERS)}")
    candidates: List[Path] = [root / f"{name}.rec" for name in SPLIT_FOLDERS[split]]
    for path in candidates:
        if path.exists() or path.with_suffix(".idx").exists():
            return path
    wanted = " or ".join(path.name for path in candidates)
    raise DataError(f"{root} has no records for the {split} split; expected {wanted}, with its .idx")


def _record_classes(root: Path, classes: Optional[int]) -> Tuple[str, ...]:
    path = root / CLASSES_FILE
    if path.is_file():
        try:
            names = tuple(line.strip() for line in read_lines(path))
        except ReadingError as error:
            raise DataError(f"{path}: cannot be read as a text file of class names ({error})") from None
        if len(set(names)) != len(names) or not all(names) or not names:
            raise DataError(f"{path}: expected a different name on each line, one for each class")
        return names
    if classes is None:
        raise DataError(
            f"{root} has no {CLASSES_FILE}, which names the classes of its records, one per line: say how many there "
            "are with data.classes=1000"
        )
    return tuple(str(label) for label in range(classes))


def _are_names(root: Path, names: Tuple[str, ...]) -> bool:
    """Whether somebody has named the classes: not those of records without a list."""
    numbers = tuple(str(label) for label in range(len(names)))
    return names != numbers or (root / CLASSES_FILE).is_file() or (root / "train").is_dir()


DESCRIPTION = Description(
    name="imagenet",
    title="ImageNet, or photos laid out like it",
    load=load,
    kind=PHOTOS,
    options=("root", "size", "source", "classes", "crop_share", "workers"),
    settings=(
        "data.source",
        "data.pipeline",
        "data.classes",
        "data.crop_share",
        "data.max_bad_images",
        "augment.crop_area",
        "augment.crop_aspect",
        "augment.colour_jitter",
        "augment.lighting",
    ),
)

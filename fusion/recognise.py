"""Which data sets a folder holds, by the names of the files and folders in it."""

from __future__ import annotations

from pathlib import Path
from typing import List, NamedTuple

from .words import counted


class Recognised(NamedTuple):
    """A data set that was recognised: what to call it, its folder, and the name by which it is loaded."""

    title: str
    path: Path
    name: str


def recognised(folder: Path) -> List[Recognised]:
    """The data sets that are recognised in a folder, or in the folders directly in it."""
    found: List[Recognised] = []
    inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for place in [folder, *inside]:
        if (place / "data_batch_1.bin").is_file() or any(place.glob("cifar-10-binary.tar.gz")):
            found.append(Recognised("CIFAR-10", place, "cifar10"))
        if (place / "train.bin").is_file() or any(place.glob("cifar-100-binary.tar.gz")):
            found.append(Recognised("CIFAR-100", place, "cifar100"))
        if (place / "train.rec").is_file() and (place / "val.rec").is_file():
            found.append(Recognised("ImageNet as RecordIO", place, "imagenet"))
        for test in ("test", "val"):
            if _class_folders(place / "train") and _class_folders(place / test):
                classes = _class_folders(place / "train")
                title = f"image folders (train and {test}, {counted(classes, 'class', 'classes')})"
                found.append(Recognised(title, place, "imagenet"))
    return found


def _class_folders(folder: Path) -> int:
    return sum(1 for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else 0

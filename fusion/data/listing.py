"""What a folder of images holds. Hidden entries, such as the `._name.jpg` of macOS, are never a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import List

#: Endings of images, in lower case.
SUFFIXES = (".jpg", ".jpeg", ".png")


def visible(folder: Path) -> List[Path]:
    """The entries of a folder that are not hidden, sorted by name."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def subfolders(folder: Path) -> List[Path]:
    """The folders in a folder, sorted, without hidden ones."""
    return [path for path in visible(folder) if path.is_dir()]


def is_image(path: Path) -> bool:
    """Whether a name ends as those of JPEG and PNG files do."""
    return path.name.lower().endswith(SUFFIXES)


def images_below(folder: Path) -> List[Path]:
    """The JPEG and PNG files in a folder and in the folders within it, sorted, without hidden files and folders."""
    return sorted(
        path
        for path in folder.rglob("*")
        if is_image(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )

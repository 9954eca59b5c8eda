"""The photos of ImageNet as they come: class folders or the official archives, and who says the class of each photo.

The source is a folder that holds, for each part, class folders or the official archive as it was downloaded::

    train/<class>/*.JPEG     or  ILSVRC2012_img_train.tar
    val/<class>/*.JPEG       or  val/*.JPEG, or ILSVRC2012_img_val.tar, with a file that says each photo's class

Archives are read in place: an `Entry` says where in its file a photo lies.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Container, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ...errors import DataError, nearest
from ...reading import ReadingError, read_lines
from ...words import counted, shortened
from ..archive import DAMAGED, list_archive
from ..listing import (
    SHOWN,
    SUFFIXES,
    check_classes,
    class_names,
    first_with_classes,
    has_folders,
    is_image,
    list_files,
    refuse_single_class,
    split_folder,
    visible,
)

TRAIN_ARCHIVE, VAL_ARCHIVE = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


#: What ends a class in a list: the next column, or a blank and a number, as of Kaggle's boxes.
_END = re.compile(r"\s*[,;\t]|\s+(?=[0-9])")


class Entry(NamedTuple):
    """A photo of the source.

    Attributes
    ----------
    path : str
        The file that holds it: its own, or an archive.
    offset, length : int
        Where in that file.
    name : str
        What lists and reports call it.
    label : int
        Its class.
    """

    path: str
    offset: int
    length: int
    name: str
    label: int


def list_parts(source: Path, val_classes: Optional[Path]) -> Tuple[Tuple[str, ...], Dict[str, List[Entry]]]:
    """The class names of a source in label order, and the photos of each of its parts, "train" and "val".

    Parameters
    ----------
    source : Path
        As this module's head says.
    val_classes : Path, optional
        The classes of validation photos that are not in class folders: see `read_val_classes`.

    Raises
    ------
    DataError
        If the source has another layout, an archive is damaged, or a training class has no photo.
    """
    if (source / "train").is_dir():
        training = split_folder(source, "train")
        classes = class_names(training)
        parts = {"train": _folder_entries(training, classes, "train")}
    elif (source / TRAIN_ARCHIVE).is_file():
        classes, entries = _train_archive_entries(source / TRAIN_ARCHIVE)
        parts = {"train": entries}
    else:
        raise DataError(f"{source} has neither train/ with a folder for each class nor {TRAIN_ARCHIVE}")
    folder, archive = first_with_classes(source, "test"), source / VAL_ARCHIVE
    if folder is not None and has_folders(folder):
        parts["val"] = _folder_entries(folder, classes, "test")
    elif archive.is_file() and (folder is None or folder.name == "test"):
        parts["val"] = _with_classes(list(_archive_entries(archive, 0, 0)), archive, val_classes, classes)
    elif folder is not None:
        parts["val"] = _with_classes(_flat_entries(folder), folder, val_classes, classes)
    return classes, parts


def _folder_entries(folder: Path, classes: Tuple[str, ...], split: str) -> List[Entry]:
    paths, labels = list_files(folder, classes, split)
    sizes = [path.stat().st_size for path in paths]
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    return [Entry(str(path), 0, *about) for path, *about in zip(paths, sizes, names, labels.tolist())]


def _flat_entries(folder: Path) -> List[Entry]:
    paths = [path for path in visible(folder) if is_image(path.name)]
    return [Entry(str(path), 0, path.stat().st_size, path.name, 0) for path in paths]


def _archive_entries(archive: Path, start: int, label: int, folder: str = "") -> Iterator[Entry]:
    """The photos of an archive that begins at a byte of a file, sorted by name."""
    try:
        members = list_archive(archive, start)
    except DAMAGED as error:
        raise DataError(f"{archive}: not a whole archive ({error}); download it again") from None
    for member in members:
        name = member.name.rsplit("/", 1)[-1]
        if is_image(name):
            yield Entry(str(archive), member.offset_data, member.size, f"{folder}{name}", label)


def _train_archive_entries(archive: Path) -> Tuple[Tuple[str, ...], List[Entry]]:
    """The classes and photos of an archive that holds an archive for each class."""
    try:
        members = [member for member in list_archive(archive) if member.name.endswith(".tar")]
    except DAMAGED as error:
        raise DataError(f"{archive}: not a whole archive ({error}); download it again") from None
    if not members:
        raise DataError(f"{archive}: expected an archive for each class in it, such as n01440764.tar")
    classes = tuple(member.name.rsplit("/", 1)[-1][: -len(".tar")] for member in members)
    entries: List[Entry] = []
    for label, member in enumerate(members):
        entries += _archive_entries(archive, member.offset_data, label, f"{classes[label]}/")
    refuse_single_class(archive, classes)
    check_classes(archive, classes, [entry.label for entry in entries], "train")
    return classes, entries


# --- The classes of flat validation photos ---------------------------------------------------------------------------


def _with_classes(
    entries: List[Entry], where: Path, val_classes: Optional[Path], classes: Tuple[str, ...]
) -> List[Entry]:
    """The same photos, in the order of class folders, with their labels."""
    if not entries:
        raise DataError(f"{where} holds no photos; expected class folders, or ILSVRC2012_val_00000001.JPEG and so on")
    if val_classes is None:
        raise DataError(
            f"{where}: file names do not say the classes of {counted(len(entries), 'photo')}; name a file that does "
            "with --val-classes, such as LOC_val_solution.csv"
        )
    labels = read_val_classes(val_classes, [entry.name for entry in entries], classes)
    check_classes(where, classes, labels, "test")
    named = [
        entry._replace(label=label, name=f"{classes[label]}/{entry.name}") for entry, label in zip(entries, labels)
    ]
    return sorted(named, key=lambda entry: (entry.label, entry.name))


def read_val_classes(path: Path, names: Sequence[str], classes: Tuple[str, ...]) -> List[int]:
    """The labels of photos from a file of their classes.

    Parameters
    ----------
    path : Path
        A line for each photo: its name, with or without suffix, and its class, with a tab, comma or blank between them;
        or its class alone, in the order of the photos' names. A class may have blanks and commas in its name. What
        follows a class is not read, so that Kaggle's LOC_val_solution.csv can be given, and neither is a first line of
        headings.
    names : sequence of str
        Of the photos.
    classes : tuple of str
        Of the training photos, in label order.

    Returns
    -------
    list of int
        In the order of `names`.

    Raises
    ------
    DataError
        If the file is missing, names an unknown class, or has no class for a photo or two.
    """
    try:
        lines = [line.strip() for line in read_lines(path) if line.strip()]
    except ReadingError as error:
        raise DataError(f"{path}: cannot be read as a text file of classes ({error})") from None
    known = {name: label for label, name in enumerate(classes)}
    stems = {_stem(name) for name in names}
    rows = [_split_row(line, stems) for line in lines]
    if all(key is None for key, _ in rows):
        found = _in_order(path, lines, names, known)
    else:
        found = _by_name(path, rows, known)
    missing = [name for name in names if _stem(name) not in found]
    if missing:
        raise DataError(f"{path} has no class for {counted(len(missing), 'photo')}: {', '.join(missing[:SHOWN])}")
    return [found[_stem(name)] for name in names]


def _split_row(line: str, stems: Container[str]) -> Tuple[Optional[str], str]:
    """The photo's name in a line, without its suffix, and the rest of the line; None where no photo is named."""
    for separator in ("\t", ",", ";"):
        first, _, rest = line.partition(separator)
        key = _stem(_unquoted(first))
        if key in stems:
            return key, _unquoted(rest)
    for blanks in re.finditer(r"\s+", line):
        key = _stem(_unquoted(line[: blanks.start()]))
        if key in stems:
            return key, _unquoted(line[blanks.end() :])
    return None, line


def _in_order(path: Path, lines: List[str], names: Sequence[str], known: Mapping[str, int]) -> Dict[str, int]:
    """The label of each photo, from classes in the order of the photos' names."""
    lines = [_unquoted(line) for line in lines]
    if len(lines) == len(names) + 1 and lines[0] not in known:
        lines = lines[1:]  # headings
    if len(lines) != len(names):
        found = f"{counted(len(lines), 'class', 'classes')} for {counted(len(names), 'photo')}"
        raise DataError(f"{path} has {found}; expected one line per photo, or lines that begin with a photo's name")
    return {key: _label(path, key, line, line, known) for key, line in zip(map(_stem, sorted(names)), lines)}


def _by_name(path: Path, rows: List[Tuple[Optional[str], str]], known: Mapping[str, int]) -> Dict[str, int]:
    """The label of each photo that is named; lines about other photos are not read."""
    found: Dict[str, int] = {}
    for key, rest in rows:
        if key is None:
            continue
        label = _label(path, key, rest, _class_in(rest, known), known)
        if found.setdefault(key, label) != label:
            raise DataError(f"{path} has two classes for {key}: remove one of the lines")
    return found


def _label(path: Path, key: str, text: str, name: str, known: Mapping[str, int]) -> int:
    if name not in known:
        shown = shortened(text)
        raise DataError(
            f"{path}: {shown!r}, of {key}, is none of the training classes: {nearest(name, known)} (the numbers of the "
            "development kit's ground truth are not class names)"
        )
    return known[name]


def _class_in(text: str, known: Container[str]) -> str:
    """The class that a text is, or begins with, the longest of several; without any, what should have been one."""
    ends = [found.start() for found in _END.finditer(text)]
    candidates = [_unquoted(text), *(_unquoted(text[:end]) for end in reversed(ends))]
    return next((name for name in candidates if name in known), candidates[-1])


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _stem(name: str) -> str:
    ending = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)]

"""python -m fusion prepare imagenet: checks the photos of ImageNet and writes them as MXNet's RecordIO files.

The source is a folder that holds, for each part, class folders or the official archive as it was downloaded::

    train/<class>/*.JPEG     or  ILSVRC2012_img_train.tar
    val/<class>/*.JPEG       or  val/*.JPEG, or ILSVRC2012_img_val.tar, with a file that says each photo's class

Files are stored as they are, so that a run on the records is the run on the folders. What is being written has another
name until it is whole; after an interruption the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ...errors import DataError, nearest
from ...files import write_text
from ...machine import processors
from ..image_folder import SPLIT_FOLDERS, class_names, list_files, split_folder
from ..listing import SUFFIXES, is_image, subfolders, visible
from .photoset import CLASSES_FILE, SHOWN
from .writing import Entry, PartWriter, Report

TRAIN_ARCHIVE, VAL_ARCHIVE = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def prepare(source: Path, target: Path, val_classes: Optional[Path] = None, workers: int = 1) -> List[Report]:
    """Check the photos of a folder and write train.rec and val.rec with their indexes, lists and reports.

    Parameters
    ----------
    source : Path
        As this module's head says.
    target : Path
        Made if need be; needs as much room as the photos.
    val_classes : Path, optional
        The classes of validation photos that are not in class folders: see `read_val_classes`.
    workers : int, default 1
        Threads that read and check.

    Returns
    -------
    list of Report
        One for each part that the source has.

    Raises
    ------
    DataError
        If the source is not laid out so, there is no room, or the target holds something else.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; expected one with train/ and val/, or the official archives")
    classes, parts = _list_parts(source, val_classes)
    target.mkdir(parents=True, exist_ok=True)
    _write_classes(target / CLASSES_FILE, classes)
    return [PartWriter(target, part, entries).write(workers) for part, entries in parts.items()]


# --- What there is ---------------------------------------------------------------------------------------------------


def _list_parts(source: Path, val_classes: Optional[Path]) -> Tuple[Tuple[str, ...], Dict[str, List[Entry]]]:
    if (source / "train").is_dir():
        folder = split_folder(source, "train")
        classes = class_names(folder)
        parts = {"train": _folder_entries(folder, classes)}
    elif (source / TRAIN_ARCHIVE).is_file():
        classes, entries = _train_archive_entries(source / TRAIN_ARCHIVE)
        parts = {"train": entries}
    else:
        raise DataError(f"{source} has neither train/ with a folder for each class nor {TRAIN_ARCHIVE}")
    folders = [source / name for name in SPLIT_FOLDERS["test"] if (source / name).is_dir()]
    if folders and subfolders(folders[0]):
        parts["val"] = _folder_entries(split_folder(source, "test"), classes)
    elif folders:
        parts["val"] = _with_classes(_flat_entries(folders[0]), folders[0], val_classes, classes)
    elif (source / VAL_ARCHIVE).is_file():
        archive = source / VAL_ARCHIVE
        parts["val"] = _with_classes(list(_archive_entries(archive, 0, 0)), archive, val_classes, classes)
    return classes, parts


def _folder_entries(folder: Path, classes: Tuple[str, ...]) -> List[Entry]:
    paths, labels = list_files(folder, classes)
    sizes = [path.stat().st_size for path in paths]
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    return [Entry(str(path), 0, *about) for path, *about in zip(paths, sizes, names, labels.tolist())]


def _flat_entries(folder: Path) -> List[Entry]:
    paths = [path for path in visible(folder) if is_image(path)]
    return [Entry(str(path), 0, path.stat().st_size, path.name, 0) for path in paths]


def _archive_entries(archive: Path, start: int, label: int, folder: str = "") -> Iterator[Entry]:
    """The photos of an archive that begins at a byte of a file, sorted by name."""
    try:
        with archive.open("rb") as file:
            file.seek(start)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                members = sorted((member for member in tar if member.isfile()), key=lambda member: member.name)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{archive}: not a whole archive ({error}); download it again") from None
    for member in members:
        name = member.name.rsplit("/", 1)[-1]
        if name.lower().endswith(SUFFIXES) and not name.startswith("."):
            yield Entry(str(archive), member.offset_data, member.size, f"{folder}{name}", label)


def _train_archive_entries(archive: Path) -> Tuple[Tuple[str, ...], List[Entry]]:
    """The archive of archives, one a class."""
    try:
        with tarfile.open(archive, mode="r:") as tar:
            members = sorted((member for member in tar if member.name.endswith(".tar")), key=lambda m: m.name)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{archive}: not a whole archive ({error}); download it again") from None
    if not members:
        raise DataError(f"{archive}: expected an archive for each class in it, such as n01440764.tar")
    classes = tuple(member.name.rsplit("/", 1)[-1][: -len(".tar")] for member in members)
    entries: List[Entry] = []
    for label, member in enumerate(members):
        entries += _archive_entries(archive, member.offset_data, label, f"{classes[label]}/")
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
            f"{where}: the names of these {len(entries):,} photos do not say their classes; name a file that does with "
            "--val-classes, such as LOC_val_solution.csv"
        )
    labels = read_val_classes(val_classes, [entry.name for entry in entries], classes)
    named = [
        entry._replace(label=label, name=f"{classes[label]}/{entry.name}") for entry, label in zip(entries, labels)
    ]
    return sorted(named, key=lambda entry: (entry.label, entry.name))


def read_val_classes(path: Path, names: Sequence[str], classes: Tuple[str, ...]) -> List[int]:
    """The labels of photos from a file of their classes.

    Parameters
    ----------
    path : Path
        A line for each photo: its name, with or without suffix, and its class, with a comma, tab or blank between them
        (what follows is not read, so that Kaggle's LOC_val_solution.csv is one); or its class alone, in the order of
        the photos' names. A first line `ImageId,...` is passed over.
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
        If the file is missing, names another class, or leaves a photo out.
    """
    try:
        lines = [re.split(r"[,\s]+", line.strip()) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a text file of classes ({error})") from None
    rows = [line for line in lines if line != [""] and line[0] != "ImageId"]
    in_order = all(len(row) == 1 for row in rows)
    if in_order and len(rows) != len(names):
        raise DataError(f"{path} has {len(rows):,} classes for {len(names):,} photos; expected one a line for each")
    short = sorted(names)
    keys = [_stem(name) for name in short] if in_order else [_stem(row[0]) for row in rows]
    known = {name: label for label, name in enumerate(classes)}
    found: Dict[str, int] = {}
    for key, row in zip(keys, rows):
        name = row[0] if in_order else row[min(1, len(row) - 1)]
        if name not in known:
            raise DataError(
                f"{path}: {name!r}, of {key}, is none of the training classes: {nearest(name, classes)} (the numbers "
                "of the development kit's ground truth are not class names)"
            )
        found[key] = known[name]
    missing = [name for name in names if _stem(name) not in found]
    if missing:
        raise DataError(f"{path} has no class for {len(missing):,} photos: {', '.join(missing[:SHOWN])}")
    return [found[_stem(name)] for name in names]


def _stem(name: str) -> str:
    return re.sub(r"\.(jpe?g|png)$", "", name, flags=re.IGNORECASE)


# --- Checking and writing --------------------------------------------------------------------------------------------


def _write_classes(path: Path, classes: Tuple[str, ...]) -> None:
    text = "".join(f"{name}\n" for name in classes)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise DataError(f"{path} names other classes than the source: empty the folder, or name another --target")
    write_text(path, text)


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `prepare`."""
    parser = commands.add_parser("prepare", help="check a large data set and write it as RecordIO files")
    parser.add_argument("data", choices=("imagenet",), help="photos in class folders, or the official archives")
    parser.add_argument("--source", type=Path, required=True, metavar="DIR", help="holds train and val, or archives")
    parser.add_argument("--target", type=Path, required=True, metavar="DIR", help="for train.rec, val.rec and others")
    parser.add_argument(
        "--val-classes", type=Path, metavar="FILE", help="photo and class a line, where val is one flat folder"
    )
    parser.add_argument("--workers", type=int, help="threads (default: every processor)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    workers = processors() if arguments.workers is None else arguments.workers
    if workers < 1:
        raise DataError(f"--workers {workers}: expected at least 1")
    reports = prepare(arguments.source, arguments.target, arguments.val_classes, workers)
    if arguments.json:
        print(json.dumps({report.part: asdict(report) for report in reports}))
        return
    for report in reports:
        print(f"{report.records}: {report.images:,} photos of {report.classes:,} classes")
        print(f"  {report.left_out:,} left out, {report.remarked:,} others with a remark")
        for line in report.examples:
            print(f"  {line}")

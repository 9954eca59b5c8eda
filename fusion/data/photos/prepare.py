"""python -m fusion prepare imagenet: checks the photos of ImageNet and writes them as MXNet's RecordIO files.

The source is a folder that holds, for each part, class folders or the official archive as it was downloaded::

    train/<class>/*.JPEG     or  ILSVRC2012_img_train.tar
    val/<class>/*.JPEG       or  val/*.JPEG, or ILSVRC2012_img_val.tar, with a file that says each photo's class

Files are stored as they are, so that a run on the records is the run on the folders. What is being written has another
name until it is whole; after an interruption the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ...compat import mx
from ...errors import DataError, nearest
from ...processors import processors
from ...progress import progress
from ..image_folder import SPLIT_FOLDERS, SUFFIXES, class_names, list_files, split_folder
from ..imagenet import CLASSES_FILE, SHOWN
from .photo import BadPhotoError, decode, read_header

TRAIN_ARCHIVE, VAL_ARCHIVE = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"

#: Photos between two points that an interrupted run goes on from.
STRETCH = 512

#: The smallest size that JPEG can be decoded at finds the same faults.
_CHECK_REDUCTION = 8
_CMYK = 4

#: A part's files, the records last, so that they are there only when all the others are.
_SUFFIXES = (".idx", ".lst", ".report.txt", ".rec")


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


class Finding(NamedTuple):
    """What checking a photo came to.

    Attributes
    ----------
    data : bytes or None
        The file, unless it cannot be read.
    remark : str
        For the report; empty for a sound photo.
    """

    data: Optional[bytes]
    remark: str


@dataclass(frozen=True)
class Report:
    """What became of one part.

    Attributes
    ----------
    part : str
        "train" or "val".
    records : str
        The .rec file.
    classes, images : int
        How many were written.
    left_out, remarked : int
        Photos that cannot be read, and others with something to know about them.
    examples : list of str
        The first few of both; the .report.txt file beside the records has all.
    """

    part: str
    records: str
    classes: int
    images: int
    left_out: int
    remarked: int
    examples: List[str]


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
    return [_Part(target, part, entries).write(workers) for part, entries in parts.items()]


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
    if folders and any(path.is_dir() for path in folders[0].iterdir()):
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
    paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(SUFFIXES))
    return [Entry(str(path), 0, path.stat().st_size, path.name, 0) for path in paths if path.name[0] != "."]


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


def check(entry: Entry) -> Finding:
    """Read and decode a photo; what is wrong with it, or worth knowing."""
    try:
        data = _read(entry)
        header = read_header(data)
        decode(data, _CHECK_REDUCTION if header.is_jpeg else 1)
    except BadPhotoError as error:
        return Finding(None, f"left out: {error}")
    remarks = []
    if header.is_jpeg and header.channels == _CMYK:
        remarks.append("CMYK, converted when it is decoded")
    if not header.is_jpeg and not entry.name.lower().endswith(".png"):
        remarks.append("a PNG file by another name")
    return Finding(data, "; ".join(remarks))


def _read(entry: Entry) -> bytes:
    try:
        with open(entry.path, "rb") as file:  # noqa: PTH123  a million of them
            file.seek(entry.offset)
            return file.read(entry.length)
    except OSError as error:
        raise BadPhotoError(error.strerror or type(error).__name__) from None


def _write_classes(path: Path, classes: Tuple[str, ...]) -> None:
    text = "".join(f"{name}\n" for name in classes)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise DataError(f"{path} names other classes than the source: empty the folder, or name another --target")
    _replace(path, text)


def _replace(path: Path, text: str) -> None:
    """Write a file at once: there is the old one or the new one, never a part of it."""
    aside = path.with_name(f"{path.name}.part")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


class _Part:
    """Writes one part, in stretches that are noted in a journal when they are on the disk."""

    def __init__(self, target: Path, part: str, entries: List[Entry]) -> None:
        self.part = part
        self.entries = entries
        self.finals = {suffix: target / f"{part}{suffix}" for suffix in _SUFFIXES}
        self.asides = {suffix: target / f"{part}{suffix}.part" for suffix in _SUFFIXES}
        self.journal = target / f"{part}.journal.json"
        self.stretch = target / f"{part}.stretch"
        listed = "\n".join(f"{entry.label} {entry.length} {entry.name}" for entry in entries)
        self.fingerprint = hashlib.sha256(listed.encode()).hexdigest()

    def write(self, workers: int) -> Report:
        """Go on until all photos are written, then give the files their names."""
        state = self._state()
        if not state["finished"]:
            self._check_room(state)
            title = f"{self.part}, checking and writing"
            with ThreadPoolExecutor(workers) as pool, progress(
                title, len(self.entries), unit="photos", done=state["done"]
            ) as meter:
                while state["done"] < len(self.entries):
                    stretch = self.entries[state["done"] : state["done"] + STRETCH]
                    state = self._append(state, stretch, list(pool.map(check, stretch)))
                    meter.update(len(stretch))
            self._publish(state)
        return self._report()

    def _state(self) -> Dict[str, Any]:
        """Where an earlier run stopped, with its files cut off there; or the beginning."""
        if self.journal.exists():
            state: Dict[str, Any] = json.loads(self.journal.read_text(encoding="utf-8"))
            if state["fingerprint"] != self.fingerprint:
                raise DataError(
                    f"{self.journal} is of other photos than the source has now: remove {self.part}.* there, "
                    "or name another --target"
                )
            if not state["finished"]:
                self._cut(state)
            return state
        if self.finals[".rec"].exists():
            raise DataError(f"{self.finals['.rec']} was not written by this command: name another --target")
        state = {"fingerprint": self.fingerprint, "done": 0, "written": 0, "finished": False}
        state["lengths"] = dict.fromkeys(_SUFFIXES, 0)
        for path in self.asides.values():
            path.write_bytes(b"")
        return state

    def _cut(self, state: Dict[str, Any]) -> None:
        for suffix, length in state["lengths"].items():
            path = self.asides[suffix]
            if path.exists():
                os.truncate(path, length)
            elif state["done"] < len(self.entries):
                raise DataError(f"{path} is gone, so that {self.journal} is of no use: remove it and begin again")

    def _check_room(self, state: Dict[str, Any]) -> None:
        needed = sum(entry.length for entry in self.entries[state["done"] :])
        free = shutil.disk_usage(self.journal.parent).free
        if needed > free:
            raise DataError(
                f"{self.journal.parent} has room for {free / 1e9:,.1f} GB, and the rest of the {self.part} photos are "
                f"{needed / 1e9:,.1f} GB: free some, or name another --target"
            )

    def _append(self, state: Dict[str, Any], stretch: Sequence[Entry], findings: Sequence[Finding]) -> Dict[str, Any]:
        """Write a stretch by MXNet's own writer, put it after what there is, and note it."""
        lengths, number = dict(state["lengths"]), state["written"]
        texts = {".idx": "", ".lst": "", ".report.txt": ""}
        writer = mx.recordio.MXIndexedRecordIO(f"{self.stretch}.idx", f"{self.stretch}.rec", "w")
        for entry, finding in zip(stretch, findings):
            if finding.remark:
                texts[".report.txt"] += f"{entry.name}\t{finding.remark}\n"
            if finding.data is None:
                continue
            texts[".idx"] += f"{number}\t{lengths['.rec'] + writer.tell()}\n"
            texts[".lst"] += f"{number}\t{entry.label}\t{entry.name}\n"
            writer.write_idx(number, mx.recordio.pack(mx.recordio.IRHeader(0, entry.label, number, 0), finding.data))
            number += 1
        writer.close()
        with Path(f"{self.stretch}.rec").open("rb") as records:
            lengths[".rec"] += self._extend(".rec", records.read())
        for suffix, text in texts.items():
            lengths[suffix] += self._extend(suffix, text.encode())
        new = {**state, "done": state["done"] + len(stretch), "written": number, "lengths": lengths}
        _replace(self.journal, json.dumps(new))
        return new

    def _extend(self, suffix: str, data: bytes) -> int:
        with self.asides[suffix].open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return len(data)

    def _publish(self, state: Dict[str, Any]) -> None:
        if not state["written"]:
            raise DataError(f"none of the {len(self.entries):,} {self.part} photos can be read: {self._remarks()[:1]}")
        for suffix in _SUFFIXES:
            if self.asides[suffix].exists():
                self.asides[suffix].replace(self.finals[suffix])
        _replace(self.journal, json.dumps({**state, "finished": True}))
        for suffix in (".rec", ".idx"):
            stretch = Path(f"{self.stretch}{suffix}")
            if stretch.exists():
                stretch.unlink()

    def _remarks(self) -> List[str]:
        paths = (self.finals[".report.txt"], self.asides[".report.txt"])
        return next(path for path in paths if path.exists()).read_text(encoding="utf-8").splitlines()

    def _report(self) -> Report:
        lines = self._remarks()
        left_out = sum("\tleft out: " in line for line in lines)
        return Report(
            part=self.part,
            records=str(self.finals[".rec"]),
            classes=len({entry.label for entry in self.entries}),
            images=len(self.entries) - left_out,
            left_out=left_out,
            remarked=len(lines) - left_out,
            examples=[line.replace("\t", ": ") for line in lines[:SHOWN]],
        )


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `prepare`."""
    parser = commands.add_parser("prepare")
    parser.add_argument("data", choices=("imagenet",), help="photos in class folders, or the official archives")
    parser.add_argument("--source", type=Path, required=True, metavar="DIR", help="holds train and val, or archives")
    parser.add_argument("--target", type=Path, required=True, metavar="DIR", help="for train.rec, val.rec and others")
    parser.add_argument(
        "--val-classes", type=Path, metavar="FILE", help="one photo and its class per line, if val is one flat folder"
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

"""python -m fusion prepare imagenet: checks the photos of ImageNet and writes them as MXNet's RecordIO files.

`fusion.data.photos.sources` says what the source may be. Files are stored as they are, so that a run on the records is
the same as a run on the folders. A file that is being written has another name until it is whole; after an
interruption, the same command continues where it stopped.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ...compat import mx
from ...errors import DataError
from ...files import write_text
from ...locks import HeldError, Lock
from ...progress import progress
from ...reading import ReadingError, read_json, read_lines
from ..listing import SHOWN
from .chain import LARGEST_JOURNAL
from .decoding import refuse_damaged
from .header import MOST_BYTES, UPRIGHT, BadPhotoError
from .kinds import TITLES
from .photoset import CLASSES_FILE
from .sources import Entry, list_parts

#: Photos between two points at which an interrupted run can continue.
STRETCH = 512

_CMYK = 4

#: No part has more bytes, nor more photos.
_MOST = 2**60

#: The files of a part, the records last: where the records exist, so do all the others.
_SUFFIXES = (".idx", ".lst", ".report.txt", ".rec")


class Finding(NamedTuple):
    """The outcome of checking a photo.

    Attributes
    ----------
    data : bytes or None
        The content of the file; None where the photo cannot be read.
    remark : str
        For the report; empty for a sound photo.
    """

    data: Optional[bytes]
    remark: str


@dataclass(frozen=True)
class Report:
    """What was written for one part.

    Attributes
    ----------
    part : str
        "train" or "val".
    records : str
        The .rec file.
    classes, images : int
        How many were written.
    left_out, remarked : int
        How many photos cannot be read, and how many others have a remark in the report.
    examples : list of str
        The first few lines about either; the .report.txt file beside the records has all of them.
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
        As `fusion.data.photos.sources` says.
    target : Path
        Made if it does not exist; needs as much room as the photos.
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
        If the source has another layout, there is no room, or the target holds other files of these names.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; expected one with train/ and val/, or the official archives")
    classes, parts = list_parts(source, val_classes)
    target.mkdir(parents=True, exist_ok=True)
    with _held(target):
        _write_classes(target / CLASSES_FILE, classes)
        return [_Part(target, part, entries).write(workers) for part, entries in parts.items()]


@contextmanager
def _held(target: Path) -> Iterator[None]:
    """Keep other processes from appending to the same files."""
    lock = Lock(target / "prepare.lock")
    try:
        lock.take()
    except HeldError as held:
        raise DataError(
            f"{target}: process {held.process} writes records there; wait for its end, or name another --target"
        ) from None
    try:
        yield
    finally:
        lock.release()


# --- Checking and writing --------------------------------------------------------------------------------------------


def check(entry: Entry) -> Finding:
    """Read and decode a photo, and say what is wrong with it or should be known about it."""
    try:
        data = _read(entry)
        header = refuse_damaged(data)
    except BadPhotoError as error:
        return Finding(None, f"left out: {error}")
    remarks = []
    if header.is_jpeg and header.channels == _CMYK:
        remarks.append("CMYK, converted when it is decoded")
    if header.kind == "PNG" and not entry.name.lower().endswith(".png"):
        remarks.append("a PNG file by another name")
    if header.kind not in ("JPEG", "PNG"):
        remarks.append(f"a {TITLES[header.kind]} file, which data.pipeline=native may not read")
    if header.kind == "PNG" and header.orientation != UPRIGHT:
        remarks.append("a PNG file with an EXIF orientation, which data.pipeline=native does not follow")
    return Finding(data, "; ".join(remarks))


def _read(entry: Entry) -> bytes:
    if entry.length > MOST_BYTES:
        raise BadPhotoError(f"a file of {entry.length:,} bytes; expected at most {MOST_BYTES:,}")
    try:
        with open(entry.path, "rb") as file:  # noqa: PTH123  a million of them
            file.seek(entry.offset)
            return file.read(entry.length)
    except OSError as error:
        raise BadPhotoError(error.strerror or type(error).__name__) from None


def _write_classes(path: Path, classes: Tuple[str, ...]) -> None:
    text = "".join(f"{name}\n" for name in classes)
    if path.exists() and _content(path) != text:
        raise DataError(f"{path} names other classes than the source: empty the folder, or name another --target")
    write_text(path, text)


def _content(path: Path) -> str:
    try:
        return "".join(f"{line}\n" for line in read_lines(path))
    except ReadingError as error:
        raise DataError(f"{path}: cannot be read as a text file of class names ({error}); remove it") from None


def _is_state(value: Any) -> bool:
    """Whether a value of a journal has the fields of a state, each of its type and in its range."""
    if not isinstance(value, dict):
        return False
    counts, lengths = [value.get("done"), value.get("written")], value.get("lengths")
    return (
        isinstance(value.get("fingerprint"), str)
        and isinstance(value.get("finished"), bool)
        and isinstance(lengths, dict)
        and sorted(lengths) == sorted(_SUFFIXES)
        and all(type(number) is int and 0 <= number < _MOST for number in (*counts, *lengths.values()))
    )


class _Part:
    """Writes one part in stretches of photos; a journal notes each stretch once it is on the disk."""

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
        """Write all photos that are not written yet, then give the files their names."""
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
        """Where an earlier run stopped, with its files cut to that length; else the beginning."""
        if self.journal.exists():
            state = self._noted()
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

    def _noted(self) -> Dict[str, Any]:
        """What the journal says."""
        reason = "it is no state that this command has written"
        try:
            state: Dict[str, Any] = read_json(self.journal, LARGEST_JOURNAL)
            if _is_state(state):
                return state
        except ReadingError as error:
            reason = str(error)
        raise DataError(
            f"{self.journal}: damaged ({reason}): remove {self.part}.* there and run this command again, or name "
            "another --target"
        )

    def _cut(self, state: Dict[str, Any]) -> None:
        for suffix, length in state["lengths"].items():
            path = self.asides[suffix]
            if path.exists():
                os.truncate(path, length)
            elif state["done"] < len(self.entries):
                raise DataError(
                    f"{path} is missing, and {self.journal} is of no use without it: remove the journal, and run this "
                    "command again"
                )

    def _check_room(self, state: Dict[str, Any]) -> None:
        needed = sum(entry.length for entry in self.entries[state["done"] :])
        free = shutil.disk_usage(self.journal.parent).free
        if needed > free:
            raise DataError(
                f"{self.journal.parent} has room for {free / 1e9:,.1f} GB, and the rest of the {self.part} photos are "
                f"{needed / 1e9:,.1f} GB: free some, or name another --target"
            )

    def _append(self, state: Dict[str, Any], stretch: Sequence[Entry], findings: Sequence[Finding]) -> Dict[str, Any]:
        """Write a stretch by MXNet's own writer, append it to the part's files, and note it in the journal."""
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
        length = writer.tell()
        writer.close()
        lengths[".rec"] += self._extend(".rec", self._whole_stretch(length))
        for suffix, text in texts.items():
            lengths[suffix] += self._extend(suffix, text.encode())
        new = {**state, "done": state["done"] + len(stretch), "written": number, "lengths": lengths}
        write_text(self.journal, json.dumps(new))
        return new

    def _whole_stretch(self, length: int) -> bytes:
        """What MXNet's writer has written, which reports no error on a full disk."""
        path = Path(f"{self.stretch}.rec")
        data = path.read_bytes()
        if len(data) != length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return data

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
        for suffix in (".rec", ".idx"):
            stretch = Path(f"{self.stretch}{suffix}")
            if stretch.exists():
                stretch.unlink()
        write_text(self.journal, json.dumps({**state, "finished": True}))

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

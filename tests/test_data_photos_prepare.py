"""Preparation: what is written, what is left out, flat and archived sources, and going on after an interruption."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from photos import encoded, make_folders, smooth
from PIL import Image

from fusion.__main__ import main
from fusion.compat import mx
from fusion.data import imagenet, load_dataset
from fusion.data.photos import prepare as prepare_imagenet
from fusion.data.photos import sources
from fusion.data.photos.prepare import prepare
from fusion.data.photos.sources import read_val_classes
from fusion.errors import DataError
from fusion.locks import Lock

CLASSES = ("n01", "n02", "n03")


@pytest.fixture
def source(tmp_path):
    return make_folders(tmp_path / "source")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "target"


def photos(root, split):
    data = imagenet.load(root, split)
    return [data.photos.read(number) for number in range(len(data))]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(path):
    return [line.split("\t")[2] for line in path.read_text().splitlines()]


# --- What is written -------------------------------------------------------------------------------------------------


def test_records_are_mxnets_and_hold_the_files_as_they_are(source, target):
    prepare(source, target)
    reader = mx.recordio.MXIndexedRecordIO(str(target / "train.idx"), str(target / "train.rec"), "r")
    assert reader.keys == list(range(12))
    header, data = mx.recordio.unpack(reader.read_idx(4))
    assert (header.label, header.id) == (1, 4)
    assert data == (source / "train" / "b" / "000.JPEG").read_bytes()
    assert (target / "classes.txt").read_text() == "a\nb\nc\n"
    assert (target / "train.lst").read_text().splitlines()[4] == "4\t1\tb/000.JPEG"


def test_index_finds_the_photos_of_all_stretches(source, target, monkeypatch):
    monkeypatch.setattr(prepare_imagenet, "STRETCH", 5)
    prepare(source, target)
    assert photos(target, "train") == photos(source, "train")


def test_nothing_else_is_left(source, target):
    prepare(source, target)
    suffixes = ("idx", "journal.json", "lst", "rec", "report.txt")
    expected = {f"{part}.{suffix}" for part in ("train", "val") for suffix in suffixes}
    assert set(files(target)) == {"classes.txt", *expected}


def test_threads_change_nothing(source, tmp_path):
    for workers in (1, 4):
        prepare(source, tmp_path / str(workers), workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "4")


def test_unreadable_photos_are_left_out_and_told(source, target):
    folder = source / "train" / "b"
    (folder / "000.JPEG").write_bytes(b"")
    (folder / "001.JPEG").write_bytes((folder / "001.JPEG").read_bytes()[:-100])
    (folder / "002.JPEG").write_text("<html>")
    Image.new("CMYK", (20, 20)).save(folder / "003.JPEG", "JPEG")
    (folder / "004.JPEG").write_bytes(encoded(smooth(20, 20)))
    report = prepare(source, target)[0]
    assert (report.classes, report.images, report.left_out, report.remarked) == (3, 11, 3, 2)
    assert (target / "train.report.txt").read_text().splitlines() == [
        "b/000.JPEG\tleft out: empty file",
        "b/001.JPEG\tleft out: JPEG without its end",
        "b/002.JPEG\tleft out: no image of a known kind",
        "b/003.JPEG\tCMYK, converted when it is decoded",
        "b/004.JPEG\ta PNG file by another name",
    ]
    assert len(photos(target, "train")) == 11
    assert names(target / "train.lst")[3:7] == ["a/003.JPEG", "b/003.JPEG", "b/004.JPEG", "c/000.JPEG"]


def test_part_without_a_readable_photo_is_refused(source, target):
    for path in (source / "val").rglob("*.JPEG"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 12 val photos can be read"):
        prepare(source, target)
    assert not (target / "val.rec").exists()


# --- Other layouts ---------------------------------------------------------------------------------------------------


def flat_names(count=6):
    return [f"ILSVRC2012_val_{number + 1:08}.JPEG" for number in range(count)]


def make_flat(folder, count=6):
    folder.mkdir(parents=True)
    for number, name in enumerate(flat_names(count)):
        (folder / name).write_bytes(encoded(smooth(20, 20, number), ".jpg"))


@pytest.fixture
def official(tmp_path):
    """The two archives, and the class of each validation photo."""
    root = make_folders(tmp_path / "official", (2, 3, 1), ("train",))
    make_flat(root / "flat")
    with tarfile.open(root / sources.VAL_ARCHIVE, "w") as tar:
        for path in sorted((root / "flat").iterdir(), reverse=True):
            tar.add(path, path.name)
    with tarfile.open(root / sources.TRAIN_ARCHIVE, "w") as tar:
        for folder in sorted((root / "train").iterdir(), reverse=True):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as class_tar:
                for path in folder.iterdir():
                    class_tar.add(path, path.name)
            about = tarfile.TarInfo(f"{folder.name}.tar")
            about.size = len(inner.getvalue())
            inner.seek(0)
            tar.addfile(about, inner)
    (root / "classes.csv").write_text("".join(f"{name},{'bca'[n % 3]}\n" for n, name in enumerate(flat_names())))
    return root


def test_archives_are_the_folders_that_they_hold(official, tmp_path):
    with_folders = tmp_path / "with_folders"
    shutil.copytree(official / "train", with_folders / "train")
    for number, name in enumerate(flat_names()):
        folder = with_folders / "val" / "bca"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(official / "flat" / name, folder)
    shutil.rmtree(official / "train")
    prepare(official, tmp_path / "one", official / "classes.csv")
    prepare(with_folders, tmp_path / "other")
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_flat_folder_is_the_archive(official, tmp_path):
    prepare(official, tmp_path / "one", official / "classes.csv")
    (official / "flat").rename(official / "val")
    prepare(official, tmp_path / "other", official / "classes.csv")
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_kaggles_layout_with_photos_of_secret_classes_prepares_and_trains(official, tmp_path):
    prepare(official, tmp_path / "one", official / "classes.csv")
    (official / "flat").rename(official / "val")
    (official / "test").mkdir()
    (official / "test" / "ILSVRC2012_test_00000001.JPEG").write_bytes(encoded(smooth(20, 20), ".jpg"))
    prepare(official, tmp_path / "other", official / "classes.csv")
    assert files(tmp_path / "one") == files(tmp_path / "other")
    for number, name in enumerate(flat_names()):
        folder = official / "val" / "bca"[number % 3]
        folder.mkdir(exist_ok=True)
        (official / "val" / name).rename(folder / name)
    assert photos(official, "test") == photos(tmp_path / "one", "test")
    assert len(load_dataset("image_folder", "test", official, size=20)) == 6


def test_flat_photos_that_are_trained_from_are_told_of_the_list(official):
    (official / "flat").rename(official / "val")
    with pytest.raises(DataError, match="of 6 images in the folder itself no class is known; .*--val-classes"):
        imagenet.load(official, "test")


def test_flat_photos_beside_the_archive_of_those_with_classes_are_passed_over(official, tmp_path):
    prepare(official, tmp_path / "one", official / "classes.csv")
    (official / "flat").rename(official / "test")
    prepare(official, tmp_path / "other", official / "classes.csv")
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_flat_photos_without_their_classes_are_refused(official, target):
    with pytest.raises(DataError, match="file names do not say the classes of 6 photos; .*--val-classes"):
        prepare(official, target)
    assert not target.exists()


def test_damaged_archive_is_refused(official, target):
    shutil.rmtree(official / "train")
    (official / sources.TRAIN_ARCHIVE).write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match="not a whole archive"):
        prepare(official, target)


@pytest.mark.parametrize(
    "text",
    [
        "ImageId,PredictionString\nILSVRC2012_val_00000002,n03 1 2 3 4 n03 5 6 7 8\nILSVRC2012_val_00000001,n01 9 9\n",
        "ILSVRC2012_val_00000002.JPEG n03\nILSVRC2012_val_00000001.JPEG n01\n",
        "\nILSVRC2012_val_00000002\tn03\n\nILSVRC2012_val_00000001\tn01",
        "n01\nn03\n",
    ],
)
def test_files_of_classes(tmp_path, text):
    (tmp_path / "classes").write_text(text)
    assert read_val_classes(tmp_path / "classes", flat_names(2), CLASSES) == [0, 2]
    assert read_val_classes(tmp_path / "classes", flat_names(2)[::-1], CLASSES) == [2, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n01\nn02\nn03\n", "has 3 classes for 2 photos"),
        ("n01\nn04\n", "'n04', of ILSVRC2012_val_00000002, is none of the training classes: did you mean"),
        ("490\n361\n", "the numbers of the development kit's ground truth are not class names"),
        ("ILSVRC2012_val_00000001 n01\n", "no class for 1 photo: ILSVRC2012_val_00000002.JPEG"),
        ("", "has 0 classes for 2 photos"),
        (
            "cat ILSVRC2012_val_00000001\ncat ILSVRC2012_val_00000002\n",
            "'cat ILSVRC2012_val_00000001', of .* is none of",
        ),
        ("ILSVRC2012_val_00000001 n01 n02\nILSVRC2012_val_00000002 n01\n", "'n01 n02', of .* is none of"),
        (
            "ILSVRC2012_val_00000001 n01\nILSVRC2012_val_00000002 n01\nILSVRC2012_val_00000001 n02\n",
            "two classes for ILSVRC2012_val_00000001",
        ),
    ],
)
def test_file_of_classes_that_does_not_fit(tmp_path, text, message):
    (tmp_path / "classes").write_text(text)
    with pytest.raises(DataError, match=message):
        read_val_classes(tmp_path / "classes", flat_names(2), CLASSES)


#: Names as people give them, with blanks, commas and figures.
NAMED = ("cat", "great white shark", "great white shark, white shark", "size 10")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "lines",
    [
        ["great white shark", "great white shark, white shark", "size 10", "cat"],
        ["class", "great white shark", "great white shark, white shark", "size 10", "cat"],
        ["a.jpg great white shark", "b.jpg great white shark, white shark", "my c.png size 10", "d cat"],
        ["a.jpg,great white shark", 'b.jpg,"great white shark, white shark"', "my c,size 10", "d,cat,and more"],
        ["image\tclass", "a\tgreat white shark", "b\tgreat white shark, white shark", "my c\tsize 10", "d\tcat\t1"],
        ["image;class", "d;cat", "my c;size 10", "b;great white shark, white shark", "a;great white shark 1 2"],
    ],
)
def test_classes_of_several_words_in_files_of_any_editor(tmp_path, lines, end, encoding):
    (tmp_path / "classes").write_bytes(end.join([*lines, ""]).encode(encoding))
    assert read_val_classes(tmp_path / "classes", ["a.jpg", "b.jpg", "d.jpg", "my c.png"], NAMED) == (
        [1, 2, 3, 0] if lines[0] in NAMED or lines[0] == "class" else [1, 2, 0, 3]
    )


def test_unknown_class_is_answered_with_the_few_nearest_of_many(tmp_path):
    (tmp_path / "classes").write_text("a great white whale\n")
    with pytest.raises(DataError, match="is none of the training classes: 1,000 names are known, of") as found:
        read_val_classes(tmp_path / "classes", ["a.jpg"], tuple(f"n{number:08}" for number in range(1000)))
    assert len(str(found.value)) < 400


def test_file_of_classes_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a text file"):
        read_val_classes(tmp_path / "classes", flat_names(2), CLASSES)


@pytest.mark.parametrize(
    "make", [lambda root: None, lambda root: root.mkdir(), lambda root: (root / "val").mkdir(parents=True)]
)
def test_source_that_is_none(tmp_path, target, make):
    make(tmp_path / "source")
    with pytest.raises(DataError, match="source"):
        prepare(tmp_path / "source", target)


def test_hidden_folder_does_not_make_a_flat_part_one_of_class_folders(official, tmp_path):
    prepare(official, tmp_path / "one", official / "classes.csv")
    (official / "flat").rename(official / "val")
    (official / "val" / ".thumbnails").mkdir()
    (official / "val" / "._ILSVRC2012_val_00000001.JPEG").write_bytes(b"resource fork")
    prepare(official, tmp_path / "other", official / "classes.csv")
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_training_class_without_photos_is_refused_in_an_archive_too(official, target):
    with tarfile.open(official / sources.TRAIN_ARCHIVE, "a") as tar:
        inner = io.BytesIO()
        tarfile.open(fileobj=inner, mode="w").close()
        about = tarfile.TarInfo("emu.tar")
        about.size = len(inner.getvalue())
        inner.seek(0)
        tar.addfile(about, inner)
    shutil.rmtree(official / "train")
    with pytest.raises(DataError, match="1 of 4 classes have no images: 'emu'"):
        prepare(official, target, official / "classes.csv")
    assert not target.exists()


def test_class_without_validation_photos_is_told(official, target, caplog):
    names = flat_names()
    (official / "classes.csv").write_text("".join(f"{name},{'ab'[n % 2]}\n" for n, name in enumerate(names)))
    prepare(official, target, official / "classes.csv")
    assert "has no images for 1 of 3 classes: 'c'" in caplog.text


# --- Going on --------------------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Stands for the end of the process."""


def stop_at(monkeypatch, count, where=os, name="fsync"):
    """Let the process end at its n-th write to the disk, or at another call."""
    calls = []
    real = getattr(where, name)

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == count:
            raise StoppedError
        return real(*arguments)

    monkeypatch.setattr(where, name, stopping)


WRITES = [(number + 1, os, "fsync") for number in range(33)]
RENAMES = [(number + 1, Path, "replace") for number in range(17)]


@pytest.mark.parametrize("stop", [*WRITES, *RENAMES])
def test_stopped_anywhere_it_goes_on_to_the_same_files(source, tmp_path, monkeypatch, stop):
    monkeypatch.setattr(prepare_imagenet, "STRETCH", 5)
    (source / "train" / "b" / "000.JPEG").write_bytes(b"")
    prepare(source, tmp_path / "whole")
    target = tmp_path / "target"
    with monkeypatch.context() as patch:
        stop_at(patch, *stop)
        with pytest.raises(StoppedError):
            prepare(source, target)
    for part in ("train", "val"):  # records that have their name are whole, and so is all that belongs to them
        if (target / f"{part}.rec").exists():
            for suffix in (".rec", ".idx", ".lst", ".report.txt"):
                assert files(target)[part + suffix] == files(tmp_path / "whole")[part + suffix]
    prepare(source, target)
    found, expected = files(target), files(tmp_path / "whole")
    assert {name: data for name, data in found.items() if not name.endswith(".part")} == expected


def test_what_is_done_is_not_done_again(source, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_imagenet, "STRETCH", 5)
    target = tmp_path / "target"
    with monkeypatch.context() as patch:
        stop_at(patch, 8)  # the classes, a stretch of four files and its journal, and into the second
        with pytest.raises(StoppedError):
            prepare(source, target)
    checked = []
    real = prepare_imagenet.check
    monkeypatch.setattr(prepare_imagenet, "check", lambda entry: checked.append(entry.name) or real(entry))
    prepare(source, target)
    assert len(checked) == 24 - 5
    checked.clear()
    reports = prepare(source, target)
    assert not checked
    assert [report.images for report in reports] == [12, 12]


def test_another_source_is_refused(source, target):
    prepare(source, target)
    (source / "train" / "a" / "000.JPEG").unlink()
    with pytest.raises(DataError, match="is of other photos than the source has now"):
        prepare(source, target)
    (source / "train" / "d").mkdir()
    with pytest.raises(DataError, match="classes.txt names other classes"):
        shutil.copy(source / "train" / "a" / "001.JPEG", source / "train" / "d")
        prepare(source, target)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[" * 10_000,
        lambda text: "[]",
        lambda text: text.replace('"done": 12', '"done": -1'),
        lambda text: text.replace('"written": 12', '"written": "12"'),
        lambda text: text.replace('".rec": ', '".rec": 1e3, "rec": '),
        lambda text: text.replace('"lengths"', '"length"'),
    ],
)
def test_damaged_journal_is_refused(source, target, change):
    prepare(source, target)
    journal = target / "train.journal.json"
    text = journal.read_text()
    assert change(text) != text
    journal.write_text(change(text))
    with pytest.raises(DataError, match=r"train\.journal\.json: damaged \(.*remove train\.\* there"):
        prepare(source, target)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_list_of_classes_that_an_editor_has_saved_again_still_fits(source, target, end):
    prepare(source, target)
    (target / "classes.txt").write_bytes(end.join(["a", "b", "c", ""]).encode("utf-8-sig"))
    prepare(source, target)
    assert imagenet.load(target, "train").classes == ("a", "b", "c")


def test_records_of_others_are_not_overwritten(source, target):
    target.mkdir()
    (target / "train.rec").write_bytes(b"precious")
    with pytest.raises(DataError, match="was not written by this command"):
        prepare(source, target)
    assert (target / "train.rec").read_bytes() == b"precious"


def test_no_room_is_told_before_anything_is_written(source, target, monkeypatch):
    usage = shutil.disk_usage(source)._replace(free=1000)
    monkeypatch.setattr(prepare_imagenet.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="has room for 0.0 GB"):
        prepare(source, target)


# --- The command -----------------------------------------------------------------------------------------------------


def test_command_tells_what_it_wrote(source, target, capsys):
    (source / "val" / "c" / "001.JPEG").write_bytes(b"")
    words = ["prepare", "imagenet", "--source", str(source), "--target", str(target)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "train.rec: 12 photos of 3 classes" in told
    assert "c/001.JPEG: left out: empty file" in told
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["val"]["left_out"] == 1 and found["val"]["images"] == 11


def test_command_ends_with_a_message(tmp_path, capsys):
    assert main(["prepare", "imagenet", "--source", str(tmp_path / "gone"), "--target", str(tmp_path)]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_second_process_is_refused_while_one_writes(source, target):
    target.mkdir()
    lock = Lock(target / "prepare.lock")
    lock.take()
    with pytest.raises(DataError, match=f"process {os.getpid()} writes records there"):
        prepare(source, target)
    assert sorted(files(target)) == ["prepare.lock"]
    lock.release()
    prepare(source, target)
    assert "prepare.lock" not in files(target)


def test_records_that_a_full_disk_cut_off_are_not_taken(source, target, monkeypatch):
    """MXNet's writer closes its file without a word."""
    close = mx.recordio.MXIndexedRecordIO.close

    def cut(self):
        uri = self.uri if isinstance(self.uri, str) else self.uri.value.decode()
        close(self)
        if self.flag == "w" and Path(uri).exists():
            os.truncate(uri, max(0, Path(uri).stat().st_size - 5))

    with monkeypatch.context() as full:
        full.setattr(mx.recordio.MXIndexedRecordIO, "close", cut)
        with pytest.raises(OSError, match="No space left on device"):
            prepare(source, target)
    assert not (target / "train.rec").exists()
    prepare(source, target)
    assert len(photos(target, "train")) == 12

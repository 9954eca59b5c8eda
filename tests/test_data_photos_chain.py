"""Records that would end the process in MXNet's thread are one error before it starts."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
from photos import AS_THEY_ARE, encoded, make_folders, png_header, smooth, write_records

from fusion.data import imagenet
from fusion.data.photos import chain
from fusion.data.photos.batches import Targets
from fusion.data.photos.native import NativeBatches
from fusion.data.photos.photo import PhotoAugmentation
from fusion.data.photos.prepare import prepare
from fusion.data.photos.records import MAGIC
from fusion.errors import DataError

PHOTOS = [encoded(smooth(20 + number, 30, number), ".jpg") for number in range(6)]


def batches(folder):
    data = imagenet.load(folder, "train", classes=6)
    return NativeBatches(data, PhotoAugmentation(16), AS_THEY_ARE, Targets(6), len(data), 0)


@pytest.fixture
def records(tmp_path):
    return write_records(tmp_path / "train.rec", PHOTOS, list(range(6)))


def offsets(path):
    return [int(line.split("\t")[1]) for line in path.with_suffix(".idx").read_text().splitlines()]


def with_length(path, change, number=3):
    data = bytearray(path.read_bytes())
    place = offsets(path)[number] + 4
    struct.pack_into("<I", data, place, struct.unpack_from("<I", data, place)[0] + change)
    path.write_bytes(data)


def with_index(path, change):
    lines = path.with_suffix(".idx").read_text().splitlines()
    path.with_suffix(".idx").write_text("".join(f"{line}\n" for line in change(lines)))


def with_bytes(path, change):
    path.write_bytes(change(path.read_bytes()))


FAULTS = {
    "trash behind the last record": (
        lambda path: with_bytes(path, lambda data: data + b"trash, and more of it..."),
        "no record begins there",
    ),
    "zeros behind the last record": (
        lambda path: with_bytes(path, lambda data: data + bytes(4096)),
        "the record there does not end|no record begins there",
    ),
    "trash of an odd length": (lambda path: with_bytes(path, lambda data: data + b"abc"), "multiples of four bytes"),
    "a length that is too large": (lambda path: with_length(path, 400), "no record begins|does not end at byte"),
    "a length that is too small": (lambda path: with_length(path, -400), "no record begins there"),
    "an absurd length": (lambda path: with_length(path, 2**28), "does not end at byte"),
    "a last part without a first": (lambda path: with_length(path, 3 << 29, 2), "are not in order"),
    "a wrong magic number": (
        lambda path: with_bytes(path, lambda data: data[: offsets(path)[2]] + b"XXXX" + data[offsets(path)[2] + 4 :]),
        "no record begins there",
    ),
    "an index of other places": (
        lambda path: with_index(path, lambda lines: [*lines[:3], f"3\t{offsets(path)[3] + 4}", *lines[4:]]),
        "no record begins|does not end at byte",
    ),
    "an index of odd places": (
        lambda path: with_index(path, lambda lines: [*lines[:3], f"3\t{offsets(path)[3] + 1}", *lines[4:]]),
        "multiples of four bytes",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_chain_is_an_error_before_mxnet_reads_it(records, fault):
    change, message = FAULTS[fault]
    change(records)
    with pytest.raises(DataError, match=rf"train.rec, byte [\d,]+: .*({message}).*prepare imagenet"):
        batches(records.parent)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (struct.pack("<IfQQ", 0, 3, 3, 0)[:8], "too short for an image and its label"),
        (struct.pack("<IfQQ", 10**6, 3, 3, 0) + PHOTOS[3], "too short for an image and its label"),
        (struct.pack("<IfQQ", 0, 3, 3, 0) + png_header(30_000, 3_000), "a PNG of 3000x30000; expected at most 89,478"),
        (struct.pack("<IfQQ", 1, 0, 3, 0) + bytes(4) + png_header(3_000, 30_000), "a PNG of 30000x3000; expected"),
    ],
)
def test_record_that_is_no_image_is_an_error(tmp_path, record, message):
    from fusion.compat import mx

    path = tmp_path / "train.rec"
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for number, photo in enumerate(PHOTOS):
        good = mx.recordio.pack(mx.recordio.IRHeader(0, number, number, 0), photo)
        writer.write_idx(number, record if number == 3 else good)
    writer.close()
    with pytest.raises(DataError, match=message):
        batches(tmp_path)


def test_sound_records_are_read_in_any_order_of_the_index_and_with_gaps(records):
    assert len(list(batches(records.parent).epoch(0))) == 1
    for change in (lambda lines: lines[::-1], lambda lines: lines[1:4:2]):
        with_index(records, change)
        assert len(list(batches(records.parent).epoch(0))) == 1


def test_record_of_several_parts_is_followed(tmp_path):
    """A photo that has the magic number in it is stored in parts."""
    photo = encoded(smooth(20, 30), ".jpg")
    photo += bytes(-len(photo) % 4) + struct.pack("<I", MAGIC) + b"more"
    path = write_records(tmp_path / "train.rec", [PHOTOS[0], photo, PHOTOS[1]], [0, 1, 2])
    assert path.read_bytes().count(struct.pack("<I", MAGIC)) == 4
    assert next(batches(tmp_path).epoch(0)).images.shape == (3, 3, 16, 16)
    with_length(path, 4, 1)
    with pytest.raises(DataError, match="no record begins there|does not end at byte"):
        batches(tmp_path)


# --- Records that are believed ---------------------------------------------------------------------------------------


@pytest.fixture
def prepared(tmp_path):
    prepare(make_folders(tmp_path / "source", splits=("train",)), tmp_path / "target")
    return tmp_path / "target" / "train.rec"


def looked_at(path, monkeypatch):
    looked = []
    monkeypatch.setattr(chain, "_refuse_images", lambda *words: looked.append(words))
    chain.check_chain(path, np.array(offsets(path)))
    return bool(looked)


def test_records_of_prepare_are_believed_until_they_change(prepared, monkeypatch):
    assert not looked_at(prepared, monkeypatch)
    noted = (prepared.parent / "train.journal.json").stat().st_mtime_ns
    os.utime(prepared, ns=(noted + 1, noted + 1))  # now may be the same tick of the file system's clock
    assert looked_at(prepared, monkeypatch)


def test_changed_records_of_prepare_are_not_believed(prepared):
    with prepared.open("ab") as file:
        file.write(b"trash, and more of it...")
    with pytest.raises(DataError, match="no record begins there"):
        chain.check_chain(prepared, np.array(offsets(prepared)))


NESTED = pytest.param("[" * 50_000, id="nested without end")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"finished": true}', '{"finished": true, "lengths": 3}', NESTED])
def test_damaged_journal_is_not_believed(prepared, monkeypatch, text):
    (prepared.parent / "train.journal.json").write_text(text)
    assert looked_at(prepared, monkeypatch)


def test_journal_of_other_lengths_is_not_believed(prepared, monkeypatch):
    journal = prepared.parent / "train.journal.json"
    state = json.loads(journal.read_text())
    state["lengths"][".rec"] += 4
    journal.write_text(json.dumps(state))
    assert looked_at(prepared, monkeypatch)

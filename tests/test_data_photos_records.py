"""Records: those of MXNet's writer, from any thread, the magic number in them, and files that do not fit."""

from __future__ import annotations

import random
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from photos import write_records

from fusion.compat import mx
from fusion.data.photos.records import MAGIC, BadRecordError, RecordFile
from fusion.errors import DataError

WORD = struct.pack("<I", MAGIC)
FILES = [b"", b"a", b"four", b"fives", bytes(range(256)) * 40]


@pytest.fixture
def path(tmp_path):
    return write_records(tmp_path / "train.rec", FILES, [3, 0, 2, 1, 7])


def test_images_and_labels_are_those_that_were_written(path):
    records = RecordFile(path)
    assert len(records) == 5
    assert [records.image(number) for number in range(5)] == list(zip(FILES, [3, 0, 2, 1, 7]))


@pytest.mark.parametrize(
    "data", [WORD, WORD * 3, b"abcd" + WORD, b"abcd" + WORD + b"efgh" + WORD + b"ij", b"x" + WORD, b"abc" + WORD * 2]
)
def test_magic_number_inside_a_record(tmp_path, data):
    records = RecordFile(write_records(tmp_path / "a.rec", [b"before", data, b"after"], [0, 1, 2]))
    assert [records.image(number)[0] for number in range(3)] == [b"before", data, b"after"]


def test_random_bytes_full_of_magic_numbers_read_as_mxnet_reads_them(tmp_path):
    draw = random.Random(0)
    words = [WORD, WORD, b"abcd", b"\0\0\0\0", b"x"]
    files = [b"".join(draw.choices(words, k=draw.randrange(30))) for _ in range(200)]
    path = write_records(tmp_path / "a.rec", files, [0] * 200)
    theirs = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "r")
    records = RecordFile(path)
    for number in range(200):
        assert records.image(number)[0] == mx.recordio.unpack(theirs.read_idx(number))[1] == files[number]


def test_first_of_several_labels_is_the_class(tmp_path):
    path = tmp_path / "a.rec"
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    writer.write_idx(0, mx.recordio.pack(mx.recordio.IRHeader(0, [5, 1, 2], 0, 0), b"file"))
    writer.close()
    assert RecordFile(path).image(0) == (b"file", 5)


def test_order_is_that_of_the_index(path):
    index = path.with_suffix(".idx")
    index.write_text("".join(reversed(index.read_text().splitlines(keepends=True))))
    assert [RecordFile(path).image(number)[0] for number in range(5)] == FILES[::-1]


def test_threads_share_a_file(tmp_path):
    files = [bytes([number]) * (number * 13) for number in range(256)]
    records = RecordFile(write_records(tmp_path / "a.rec", files, range(256)))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(records.image, range(256))) == list(zip(files, range(256)))


@pytest.mark.parametrize(("missing", "other"), [(".idx", "train.rec"), (".rec", "train.idx")])
def test_half_of_the_pair_is_refused(path, missing, other):
    path.with_suffix(missing).unlink()
    with pytest.raises(DataError, match=rf"train\{missing}: no such file, and {other} is of no use without it"):
        RecordFile(path)


@pytest.mark.parametrize("text", ["", "0 0\n", "[[[\t0\n", "-1\t0\n", "1_0\t0\n", "0\tx\n", "0\t0\n1\n", "0\t-4\n"])
def test_index_that_is_none_is_refused(path, text):
    path.with_suffix(".idx").write_text(text)
    with pytest.raises(DataError, match="train.idx"):
        RecordFile(path)


def test_index_beyond_the_end_is_refused(path):
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"beyond the end of train.rec \(40 bytes\)"):
        RecordFile(path)


def test_index_of_another_file_is_refused(path):
    path.with_suffix(".idx").write_text("0\t4\n1\t8\n")
    with pytest.raises(BadRecordError, match="no image record at byte 4, where train.idx has number 0"):
        RecordFile(path)


def test_damaged_record_is_told_and_the_others_can_be_read(path):
    data = bytearray(path.read_bytes())
    offsets = [int(line.split("\t")[1]) for line in path.with_suffix(".idx").read_text().splitlines()]
    data[offsets[2]] ^= 1
    path.write_bytes(data)
    records = RecordFile(path)
    with pytest.raises(BadRecordError, match="number 2"):
        records.image(2)
    assert [records.image(number)[0] for number in (0, 1, 3, 4)] == [FILES[number] for number in (0, 1, 3, 4)]


def test_record_cut_short_is_told(path):
    path.write_bytes(path.read_bytes()[:-1000])
    records = RecordFile(path)
    with pytest.raises(BadRecordError, match="number 4"):
        records.image(4)

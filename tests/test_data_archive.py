"""Tar archives: what is listed and unpacked, and headers that lie, each of which would fill the memory or never end."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from fusion.data.archive import DAMAGED, list_archive, unpack

FILES = {"b.txt": b"second", "a.txt": b"first" * 300}


def packed(files=FILES, change=None):
    """A tar file; `change` alters the header of its first member."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return (change or bytes)(stream.getvalue())


def with_field(start, new):
    """Changes a field of the first header, whose checksum is then right."""

    def change(data):
        head = bytearray(data[:512])
        head[start : start + len(new)] = new
        head[148:156] = b" " * 8
        head[148:156] = f"{sum(head):06o}\0 ".encode()
        return bytes(head) + data[512:]

    return change


SIZE, TYPE = 124, 156

#: What Python did with it.
BAD = {
    "size of 8 GB (end of the data)": with_field(SIZE, b"77777777777\0"),
    "size of -1024 (never ended)": with_field(SIZE, b"\xff" * 10 + b"\xfc\x00"),
    "size past 64 bits (traceback, never ended)": with_field(SIZE, b"\x80" + b"\xff" * 11),
    "long name of 8 GB (memory)": lambda data: with_field(TYPE, b"L")(with_field(SIZE, b"77777777777\0")(data)),
    "name for a name for a name (traceback)": lambda data: with_field(TYPE, b"L")(data)[:1024] * 3000 + data,
    "cut": lambda data: data[:1000],
    "nothing": lambda data: b"",
}


def test_files_are_listed_by_name_wherever_the_archive_begins(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"x" * 100 + packed())
    members = list_archive(path, 100)
    assert [member.name for member in members] == ["a.txt", "b.txt"]
    data = path.read_bytes()
    assert [data[m.offset_data :][: m.size] for m in members] == [FILES["a.txt"], FILES["b.txt"]]


def test_files_are_unpacked_in_their_order(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(packed()))
    assert {member.name: read() for member, read in unpack(path, 20_000)} == FILES


@pytest.mark.parametrize("case", BAD)
def test_header_that_lies_is_damage(tmp_path, case):
    data = packed(change=BAD[case])
    (tmp_path / "a.tar").write_bytes(data)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(data))
    with pytest.raises(DAMAGED):
        list_archive(tmp_path / "a.tar")
    with pytest.raises(DAMAGED):
        list(unpack(tmp_path / "a.tar.gz", 10**7))


def test_archive_that_unpacks_to_more_than_it_may_is_given_up(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(packed({name: bytes(1_500_000) for name in "ab"})))
    with pytest.raises(tarfile.ReadError, match="unpacks to more than 2,000,000 bytes"):
        for _ in unpack(path, 2 * 10**6):
            pass

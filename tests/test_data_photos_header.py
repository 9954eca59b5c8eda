"""What is refused before anything is decoded, and that all readers refuse the same: too many pixels, too many bytes."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from photos import encoded, png_header, smooth
from PIL import Image

from fusion.__main__ import main
from fusion.data import image_folder, imagenet
from fusion.data.image_folder import read_scaled
from fusion.data.masks.decoding import read_image, read_mask
from fusion.data.photos import header
from fusion.data.photos.decoding import decode_shown, refuse_damaged
from fusion.data.photos.header import MOST_PIXELS, BadPhotoError, read_header
from fusion.data.photos.photo import PhotoAugmentation, centre_crop
from fusion.data.photos.prepare import prepare
from fusion.errors import DataError
from fusion.inference.trained import Preparation

LARGE = png_header(30_000, 3_000)  # 90 million pixels in 80 bytes
LIMIT = "3000x30000 are 90,000,000 pixels; expected at most 89,478,485: scale it down"


def large_jpeg():
    """A small JPEG file whose header says that it is a large one."""
    data = bytearray(encoded(smooth(16, 16), ".jpg"))
    place = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, place + 5, 30_000, 3_000)
    return bytes(data)


READERS = {
    "header": read_header,
    "training photo": lambda data: PhotoAugmentation(16)(data, np.random.default_rng(0)),
    "test photo": lambda data: centre_crop(data, 16, 0.875),
    "image with a mask": read_image,
    "mask": read_mask,
    "prepare": refuse_damaged,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("data", [LARGE, large_jpeg()], ids=["PNG", "JPEG"])
def test_no_reader_decodes_more_pixels_than_the_limit(reader, data):
    tracemalloc.start()
    try:
        with pytest.raises(BadPhotoError, match=LIMIT):
            READERS[reader](data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [LARGE, large_jpeg()], ids=["PNG", "JPEG"])
def test_files_of_too_many_pixels_are_named(data, tmp_path):
    for part in ("train", "val"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "good.png").write_bytes(encoded(smooth(16, 16)))
    (tmp_path / "val" / "a" / "large.png").write_bytes(data)
    for fit in ("exact", "resize"):
        with pytest.raises(DataError, match=f"1 of 3 images cannot be read: a.large.png .{LIMIT}"):
            image_folder.load(tmp_path, "test", 16, fit=fit)
    with pytest.raises(DataError, match=f"1 of 3 test photos cannot be read: .*large.png .{LIMIT}"):
        imagenet.load(tmp_path, "test")
    for options in ({"photos": True}, {"photos": False}, {"photos": False, "whole": True}):
        with pytest.raises(DataError, match=f"large.png: {LIMIT}"):
            Preparation(16, 1.0, (0,) * 3, (1,) * 3, **options).read(tmp_path / "val" / "a" / "large.png")
    assert prepare(tmp_path, tmp_path / "out")[1].examples == [f"a/large.png: left out: {LIMIT}"]


def test_predict_names_what_it_leaves_out(tmp_path, capsys):
    (tmp_path / "large.png").write_bytes(LARGE)
    (tmp_path / "good.png").write_bytes(encoded(smooth(32, 32)))
    words = ["predict", "--model", "aff_resnet8", str(tmp_path / "large.png"), str(tmp_path / "good.png")]
    assert main([*words, "--checkpoint", "missing"]) == 2
    capsys.readouterr()


def test_as_many_pixels_as_the_limit_are_read():
    assert read_header(png_header(MOST_PIXELS // 5, 5))[:2] == (MOST_PIXELS // 5, 5)


def test_file_of_too_many_bytes_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(smooth(16, 16)) + bytes(5000))
    monkeypatch.setattr(header, "MOST_BYTES", 5000)
    with pytest.raises(BadPhotoError, match=r"a file of 5,\d\d\d bytes; expected at most 5,000"):
        header.read_file(path)
    with pytest.raises(DataError, match=r"a file of 5,\d\d\d bytes"):
        read_scaled(path, 16)
    monkeypatch.setattr(header, "MOST_BYTES", 6000)
    assert len(header.read_file(path)) > 5000


def test_progressive_file_of_very_many_scans_is_refused():
    file = io.BytesIO()
    Image.fromarray(smooth(64, 64)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    scan = data.rindex(b"\xff\xda")
    assert read_header(data)[:2] == (64, 64)
    with pytest.raises(BadPhotoError, match="more than 500 scans"):
        read_header(data[:-2] + data[scan:-2] * 500 + data[-2:])


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("trailer", [b"\0", b"\0" * 1000, b"IEND" * 50, encoded(smooth(8, 8), ".jpg"), LARGE])
def test_bytes_after_the_end_are_ignored_by_all_readers(suffix, trailer, tmp_path):
    data = encoded(smooth(16, 16), suffix)
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / f"0{suffix}").write_bytes(data + (trailer if name == "b" else b""))
    for fit in ("exact", "resize"):
        one, other = image_folder.load(tmp_path, "train", 16, fit=fit).images
        assert (one == other).all()
    assert (decode_shown(data + trailer) == decode_shown(data)).all()
    assert (read_image(data + trailer) == read_image(data)).all()
    assert (centre_crop(data + trailer, 8, 0.875) == centre_crop(data, 8, 0.875)).all()
    assert prepare(tmp_path, tmp_path / "out")[0].left_out == 0


def test_mask_with_bytes_after_its_end_is_read():
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    assert (read_mask(file.getvalue() + bytes(1000)) == mask).all()


@pytest.mark.parametrize("cut", [1, 12, 13, 80])
def test_png_without_its_end_is_refused_whatever_stands_in_its_pixels(cut):
    data = encoded(smooth(40, 60))
    with pytest.raises(BadPhotoError, match="PNG without its end"):
        read_header(data[:-cut])
    with pytest.raises(BadPhotoError, match="PNG without its end"):
        read_header(data[:-cut].replace(data[60:64], b"IEND"))

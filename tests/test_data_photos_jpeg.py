"""Damaged JPEG files: what libjpeg reports as corrupt is bad for every reader, and sound files keep their pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from photos import AS_THEY_ARE, encoded, mutated, smooth
from PIL import Image

from fusion.data import image_folder, imagenet
from fusion.data.masks.decoding import read_image
from fusion.data.photos import jpeg
from fusion.data.photos.batches import PhotoBatches, Targets
from fusion.data.photos.decoding import decode_shown, opencv, refuse_damaged
from fusion.data.photos.header import BadPhotoError, read_header
from fusion.data.photos.jpeg import decode_jpeg
from fusion.data.photos.photo import PhotoAugmentation, centre_crop
from fusion.data.photos.prepare import prepare
from fusion.errors import DataError
from fusion.inference.trained import Preparation


def detailed(height=120, width=160, **options):
    """A JPEG file with about as many bytes per pixel as photos have."""
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    file = io.BytesIO()
    Image.fromarray((smooth(height, width) + noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG", **options)
    return file.getvalue()


DAMAGED = mutated(detailed(), "missing middle", np.random.default_rng(1))


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize(("kind", "least"), [("missing middle", 98), ("zeros", 98), ("20 bytes", 85)])
def test_damage_is_noticed(kind, least, options):
    data, draw = detailed(**options), np.random.default_rng(1)
    caught = 0
    for _ in range(100):
        try:
            decode_shown(mutated(data, kind, draw))
        except BadPhotoError:
            caught += 1
    assert caught >= least  # a JPEG has no checksum: some damage reads as another picture


def test_a_changed_byte_is_noticed_where_libjpeg_notices_it():
    data, draw = detailed(), np.random.default_rng(2)
    start, caught = data.index(b"\xff\xda") + 12, 0
    for place in draw.integers(start, len(data) - 2, 200):
        found = bytearray(data)
        found[place] ^= 255
        try:
            decode_shown(bytes(found))
        except BadPhotoError:
            caught += 1
    assert 15 < caught < 100  # most of the wrong pictures are whole by all rules of the format


READERS = {
    "training photo": lambda data: PhotoAugmentation(16)(data, np.random.default_rng(0)),
    "test photo": lambda data: centre_crop(data, 16, 0.875),
    "image with a mask": read_image,
    "prepare": refuse_damaged,
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_damage(reader):
    with pytest.raises(BadPhotoError, match=r"a damaged JPEG \(Corrupt JPEG data"):
        READERS[reader](DAMAGED)
    READERS[reader](detailed())


@pytest.fixture
def folder(tmp_path):
    for part in ("train", "val"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                (tmp_path / part / name / f"{number}.jpg").write_bytes(detailed())
        (tmp_path / part / "a" / "2.jpg").write_bytes(DAMAGED)
    return tmp_path


def test_damaged_files_are_named(folder):
    with pytest.raises(DataError, match=r"1 of 8 images cannot be read: a.2.jpg \(a damaged JPEG"):
        image_folder.load(folder, "train", 16, fit="resize")
    for options in ({"photos": True}, {"photos": False}, {"photos": False, "whole": True}):
        with pytest.raises(DataError, match=r"2.jpg: a damaged JPEG \(Corrupt JPEG data"):
            Preparation(16, 1.0, (0,) * 3, (1,) * 3, **options).read(folder / "val" / "a" / "2.jpg")
    with pytest.raises(DataError, match="2.jpg: a damaged JPEG .*; mend or remove this photo"):
        list(imagenet.load(folder, "test").in_order(8))
    (line,) = prepare(folder, folder / "out")[0].examples
    assert line.startswith("a/2.jpg: left out: a damaged JPEG (Corrupt JPEG data")


def test_training_counts_damaged_photos(folder):
    data = imagenet.load(folder, "train")
    made = PhotoBatches(data, PhotoAugmentation(16), AS_THEY_ARE, Targets(2), 8, seed=0, max_bad=1)
    assert len(list(made.epoch(0))) == 1
    assert list(made.bad.reasons) == [2] and "a damaged JPEG" in made.bad.reasons[2]
    with pytest.raises(DataError, match="1 training photo cannot be read, and data.max_bad_images allows 0"):
        list(PhotoBatches(data, PhotoAugmentation(16), AS_THEY_ARE, Targets(2), 8, seed=0).epoch(0))


# --- Sound files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 30, "optimize": True}]
)
def test_pixels_are_those_of_opencv(options, reduction):
    data = detailed(101, 163, **options)
    cv2 = opencv()
    flag = {1: 1, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), flag[reduction])
    assert (decode_jpeg(data, 101, 163, reduction) == expected).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [(16, 16), (1, 1), (7, 16)])
def test_image_folder_has_the_pixels_of_pillow(mode, size, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], {"L": 1, "RGB": 3, "CMYK": 4}[mode]))
    path = tmp_path / "a.jpg"
    Image.fromarray(noise.astype(np.uint8).squeeze(-1) if mode == "L" else noise.astype(np.uint8), mode).save(path)
    with Image.open(path) as image:
        expected = image.convert("RGB")
    assert (
        np.asarray(image_folder._opened(path.read_bytes(), read_header(path.read_bytes())).convert("RGB"))
        == np.asarray(expected)
    ).all()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_are_decoded_as_by_opencv(mode):
    file = io.BytesIO()
    Image.new(mode, (30, 20), 90 if mode == "L" else (10, 80, 150, 20)).save(file, "JPEG")
    data = file.getvalue()
    assert (decode_shown(data) == opencv().imdecode(np.frombuffer(data, np.uint8), 1)).all()


def test_remark_on_the_head_is_no_damage():
    data = bytearray(detailed())
    assert data[6:11] == b"JFIF\0"
    data[11] = 2  # a revision that libjpeg does not know
    assert (decode_shown(bytes(data)) == decode_shown(detailed())).all()


def test_without_simplejpeg_photos_are_read_and_it_is_told_once(monkeypatch, caplog):
    expected = decode_shown(detailed())
    monkeypatch.setitem(__import__("sys").modules, "simplejpeg", None)
    jpeg._turbojpeg.cache_clear()
    try:
        assert (decode_shown(detailed()) == expected).all()
        decode_shown(encoded(smooth(20, 20), ".jpg"))
    finally:
        jpeg._turbojpeg.cache_clear()
    assert caplog.text.count("python -m pip install simplejpeg") == 1

"""EXIF orientation: the eight ways, and that every reader of images goes by them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from photos import AS_THEY_ARE, encoded, smooth, with_orientation, write_records
from PIL import Image, ImageOps

from fusion.data import image_folder, imagenet
from fusion.data.masks.decoding import read_image, read_mask
from fusion.data.photos.batches import PhotoBatches, Targets
from fusion.data.photos.decoding import decode_shown
from fusion.data.photos.header import read_header
from fusion.data.photos.native import NativeBatches
from fusion.data.photos.orientation import stored_place, turned
from fusion.data.photos.photo import Box, PhotoAugmentation, centre_crop, decode_box
from fusion.data.photos.prepare import prepare
from fusion.inference.trained import Preparation

ALL = range(1, 9)
PICTURE = smooth(24, 40)


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_photo_is_shown_as_pillow_shows_it(orientation, form):
    data = with_orientation(PICTURE, orientation, form)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert read_header(data)[:2] == (24, 40)
    assert (decode_shown(data)[..., ::-1] == expected).all()
    assert np.abs(expected.astype(int) - PICTURE).max() < (9 if form == "JPEG" else 1)


@pytest.mark.parametrize("orientation", ALL)
def test_every_reader_shows_the_same(orientation, tmp_path):
    data, upright = with_orientation(PICTURE, orientation, "PNG"), encoded(PICTURE)
    (tmp_path / "turned.png").write_bytes(data)
    (tmp_path / "upright.png").write_bytes(upright)
    assert (centre_crop(data, 16, 0.875) == centre_crop(upright, 16, 0.875)).all()
    assert (read_image(data) == PICTURE).all()
    for options in ({"photos": True}, {"photos": False}, {"photos": False, "whole": True}):  # predict, gradcam, maps
        shown = Preparation(16, 1.0, (0,) * 3, (1,) * 3, **options)
        assert (shown.read(tmp_path / "turned.png") == shown.read(tmp_path / "upright.png")).all()
    augment = PhotoAugmentation(16)
    one, other = (augment(file, np.random.default_rng(3)) for file in (data, upright))
    assert (one == other).all()


@pytest.mark.parametrize("orientation", ALL)
def test_mask_is_turned_by_its_own_tag(orientation):
    values = np.arange(15, dtype=np.uint8).reshape(3, 5)
    assert (read_mask(with_orientation(values, orientation, "PNG")) == values).all()


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("fit", ["exact", "resize"])
def test_image_folder_turns(orientation, fit, tmp_path):
    picture = smooth(8, 8) if fit == "exact" else PICTURE
    for name, data in (("a", with_orientation(picture, orientation, "PNG")), ("b", encoded(picture))):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.png").write_bytes(data)
    one, other = image_folder.load(tmp_path, "train", 8, fit=fit).images
    assert (one == other).all()


@pytest.mark.parametrize("orientation", ALL)
def test_box_is_cut_out_of_the_photo_as_it_is_shown(orientation):
    data = with_orientation(PICTURE, orientation, "PNG")
    part = decode_box(data, read_header(data), Box(3, 7, 11, 20), 11, 20)
    assert (part[..., ::-1] == PICTURE[3:14, 7:27]).all()


@pytest.mark.parametrize("orientation", ALL)
def test_large_photo_is_turned_after_it_was_decoded_at_a_fraction(orientation):
    data, upright = with_orientation(smooth(320, 400), orientation), with_orientation(smooth(320, 400), 1)
    box = Box(40, 100, 240, 260)
    one, other = (decode_box(file, read_header(file), box, 30, 32) for file in (data, upright))
    assert np.abs(one.astype(int) - other).max() <= 4


@pytest.mark.parametrize("orientation", ALL)
def test_stored_place_is_what_is_turned(orientation):
    stored = np.arange(35).reshape(5, 7)
    shown = turned(stored, orientation)
    (top, left), (height, width) = stored_place((1, 2), (3, 2), shown.shape, orientation)
    assert (turned(stored[top : top + height, left : left + width], orientation) == shown[1:4, 2:4]).all()


def test_both_pipelines_turn_photos_alike(tmp_path):
    picture = smooth(60, 90)
    write_records(tmp_path / "train.rec", [with_orientation(picture, way) for way in ALL], list(range(8)))
    data = imagenet.load(tmp_path, "train", classes=8)
    plain = PhotoAugmentation(16, area=(1.0, 1.0), aspect=(1.5, 1.5), flip=False, jitter=0.0, lighting=0.0)
    found = []
    for kind in (PhotoBatches, NativeBatches):
        batch = next(kind(data, plain, AS_THEY_ARE, Targets(8), 8, 0).epoch(0))
        found.append(batch.images[batch.targets.argmax(axis=1).argsort()])
        assert np.abs(found[-1] - found[-1][0]).max() <= 6  # the eight files of one picture are one picture
    assert np.abs(found[0] - found[1]).max() <= 3


def test_preparation_keeps_the_tag_and_tells_of_one_that_the_native_pipeline_does_not_follow(tmp_path):
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
        for number, form in enumerate(("JPEG", "PNG")):
            data = with_orientation(PICTURE, 6, form)
            (tmp_path / "train" / name / f"{number}.{form.lower()}").write_bytes(data)
    (report,) = prepare(tmp_path, tmp_path / "out")
    assert report.left_out == 0
    assert [line.split(":")[0] for line in report.examples] == ["a/1.png", "b/1.png"]
    assert "EXIF orientation, which data.pipeline=native does not follow" in report.examples[0]
    photos = imagenet.load(tmp_path / "out", "train").photos
    assert {read_header(photos.read(number)[0]).orientation for number in range(4)} == {6}


def tiff(order, tag=0x0112, value=6, magic=42, count=1):
    high = order == ">"
    parts = (magic, 8, count, tag, 3, 1, value)
    widths = (2, 4, 2, 2, 2, 4, 2)
    return (b"MM" if high else b"II") + b"".join(
        number.to_bytes(width, "big" if high else "little") for number, width in zip(parts, widths)
    )


@pytest.mark.parametrize(
    ("exif", "expected"),
    [
        (tiff("<"), 6),
        (tiff(">"), 6),
        (tiff(">", value=0), 1),
        (tiff("<", value=9), 1),
        (tiff("<", tag=0x0113), 1),
        (tiff("<", magic=41), 1),
        (tiff("<", tag=0x0100, count=65535), 1),
        (b"", 1),
        (b"XX*\0", 1),
        (b"II*\0\xff\xff\xff\xff", 1),
    ],
)
def test_tag_in_either_byte_order_and_tags_that_make_no_sense(exif, expected):
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "JPEG", exif=b"Exif\0\0" + exif)
    assert read_header(file.getvalue()).orientation == expected

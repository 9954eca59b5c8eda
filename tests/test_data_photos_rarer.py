"""WebP, BMP, GIF, TIFF and 16 bits: every reader shows them as the same picture in PNG, within the same limits."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from photos import encoded, smooth, with_orientation, write_records
from PIL import Image, ImageFile

from fusion.data import image_folder, imagenet
from fusion.data.image_folder import read_scaled
from fusion.data.listing import SUFFIXES
from fusion.data.masks.decoding import read_image, read_mask
from fusion.data.photos import pillow
from fusion.data.photos.chain import check_chain
from fusion.data.photos.decoding import decode_shown, opencv, refuse_damaged
from fusion.data.photos.header import BadPhotoError, read_header
from fusion.data.photos.photo import PhotoAugmentation, centre_crop
from fusion.data.photos.prepare import prepare
from fusion.errors import DataError
from fusion.inference.images import find_images
from fusion.inference.trained import Preparation

#: Of each kind: the suffix, and what Pillow needs to store pixels as they are.
KINDS = {
    "WEBP": (".webp", {"lossless": True, "exact": True}),
    "BMP": (".bmp", {}),
    "GIF": (".gif", {}),
    "TIFF": (".tif", {}),
}
ALL = {
    **KINDS,
    "TIFF, LZW": (".tiff", {"compression": "tiff_lzw"}),
    "TIFF, deflate": (".TIF", {"compression": "tiff_adobe_deflate"}),
}


def saved(image, kind, **options):
    file = io.BytesIO()
    kind = kind.split(",")[0]
    image.save(file, kind, **{**ALL[kind][1], **options} if kind in ALL else options)
    return file.getvalue()


def as_kind(picture, kind, **options):
    """A file of a picture, and the picture as this kind keeps it: GIF has 256 colours."""
    image = Image.fromarray(picture)
    if kind == "GIF":
        image = image.quantize(64)
    return saved(image, kind, **{**ALL[kind][1], **options}), np.asarray(image.convert("RGB"))


PICTURE = smooth(30, 40)


# --- All readers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_every_reader_of_photos_shows_it_as_the_same_picture_in_png(kind):
    data, kept = as_kind(PICTURE, kind)
    png = encoded(kept)
    assert read_header(data)[:2] == (30, 40)
    for read in (
        decode_shown,
        read_image,
        lambda each: centre_crop(each, 16, 0.875),
        lambda each: PhotoAugmentation(16)(each, np.random.default_rng(0)),
    ):
        np.testing.assert_array_equal(read(data), read(png))
    assert refuse_damaged(data).kind == kind.split(",")[0]


def test_folders_of_every_kind_are_read_alike(tmp_path):
    rows = []
    for kind, (suffix, _) in ALL.items():
        folder = tmp_path / "train" / kind
        folder.mkdir(parents=True)
        data, kept = as_kind(PICTURE, kind)
        (folder / f"0{suffix}").write_bytes(data)
        (folder / "1.png").write_bytes(encoded(kept))
        rows.append(folder / f"0{suffix}")
    (tmp_path / "val").symlink_to(tmp_path / "train")
    found = image_folder.load(tmp_path, "train", 16, fit="resize").images
    np.testing.assert_array_equal(found[0::2], found[1::2])
    assert sorted(find_images([str(tmp_path / "train")])) == sorted(tmp_path.glob("train/*/*"))
    ((shown, _),) = imagenet.load(tmp_path, "test", 16).in_order(len(found))
    np.testing.assert_array_equal(shown[0::2], shown[1::2])
    for path in rows:
        for options in ({"photos": True}, {"photos": False}, {"photos": False, "whole": True}):
            preparation = Preparation(16, 1.0, (0,) * 3, (1,) * 3, **options)
            np.testing.assert_array_equal(preparation.read(path), preparation.read(path.parent / "1.png"))
    (report, _) = prepare(tmp_path, tmp_path / "out")
    assert (report.images, report.left_out, report.remarked) == (12, 0, 6)
    assert "which data.pipeline=native may not read" in report.examples[0]


def test_each_suffix_is_one_of_a_kind_that_is_read(tmp_path):
    assert {suffix.lower() for suffix, _ in ALL.values()} | {".jpg", ".jpeg", ".png"} == set(SUFFIXES)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_picture_is_turned_as_its_file_says(kind, orientation, tmp_path):
    data = with_orientation(PICTURE, orientation, kind)
    np.testing.assert_array_equal(read_image(data), PICTURE)
    path = tmp_path / "a"
    path.write_bytes(data)
    png = tmp_path / "b.png"
    png.write_bytes(encoded(PICTURE))
    np.testing.assert_array_equal(read_scaled(path, 16), read_scaled(png, 16))


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "GIF"])
def test_what_is_transparent_is_white(kind):
    hidden = np.dstack([PICTURE, np.where(np.mgrid[0:30, 0:40][1] < 20, 0, 255).astype(np.uint8)])
    found = read_image(saved(Image.fromarray(hidden), kind))
    assert (found[:, :20] == 255).all()
    assert np.abs(found[:, 20:].astype(int) - PICTURE[:, 20:]).max() <= (40 if kind == "GIF" else 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_of_several_images_the_first_is_shown(kind):
    first, others = Image.fromarray(PICTURE).quantize(64), [Image.new("P", (40, 30)) for _ in range(2)]
    others[0].putpalette([9, 9, 9])
    images = [image.convert("RGB") if kind != "GIF" else image for image in (first, *others)]
    data = saved(images[0], kind, save_all=True, append_images=images[1:])
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames > 1
    np.testing.assert_array_equal(read_image(data), np.asarray(first.convert("RGB")))


def test_gif_whose_first_image_is_part_of_the_screen_has_the_size_of_the_screen():
    data = bytearray(as_kind(PICTURE, "GIF")[0])
    struct.pack_into("<HH", data, 6, 50, 35)
    assert read_header(bytes(data))[:2] == (35, 50)
    assert read_image(bytes(data)).shape == (35, 50, 3)


# --- 16 bits ---------------------------------------------------------------------------------------------------------

#: All levels of 16 bits in equal steps, of which Pillow's own conversion makes 255 from the first few on.
LEVELS = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)


def tiff_of(levels, order):
    """An uncompressed TIFF of grey levels of 16 bits in either order of bytes."""
    pixels = levels.astype(f"{order}u2").tobytes()
    height, width = levels.shape
    fields = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    fields.append((279, len(pixels)))
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in fields)
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(pixels))
    return head + pixels + struct.pack(f"{order}H", len(fields)) + entries + bytes(4)


def grey_files():
    yield "PNG", saved(Image.fromarray(LEVELS), "PNG")
    yield "TIFF", saved(Image.fromarray(LEVELS), "TIFF")
    yield "TIFF, LZW", saved(Image.fromarray(LEVELS), "TIFF", compression="tiff_lzw")
    yield "TIFF, little end first", tiff_of(LEVELS, "<")
    yield "TIFF, big end first", tiff_of(LEVELS, ">")


@pytest.mark.parametrize(("name", "data"), list(grey_files()))
def test_grey_of_16_bits_keeps_its_upper_8(name, data, tmp_path):
    wanted = np.repeat((LEVELS >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(read_image(data), wanted)
    for part in "ab":
        (tmp_path / "train" / part).mkdir(parents=True)
        (tmp_path / "train" / part / "0.png").write_bytes(data if part == "a" else encoded(wanted))
    one, other = image_folder.load(tmp_path, "train", 16, fit="resize").images
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_colours_of_16_bits_keep_their_upper_8(suffix, tmp_path):
    colours = np.stack([LEVELS, LEVELS[::-1], LEVELS[:, ::-1]], axis=-1)
    done, data = opencv().imencode(suffix, colours[..., ::-1])
    assert done
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data.tobytes())
    np.testing.assert_array_equal(read_image(data.tobytes()), (colours >> 8).astype(np.uint8))
    found = read_scaled(path, 30)
    np.testing.assert_array_equal(found, (colours[:, 5:35] >> 8).astype(np.uint8))


def test_transparent_level_of_16_bits_is_white_and_no_other():
    levels = np.array([[0, 300, 65535], [299, 301, 257]], np.uint16)
    data = saved(Image.fromarray(levels), "PNG", transparency=300)
    assert read_image(data)[..., 0].tolist() == [[0, 255, 255], [1, 1, 1]]


def test_pixels_of_no_known_range_are_refused(tmp_path):
    data = saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(BadPhotoError, match="range is not known; expected 8 or 16 bits"):
        read_image(data)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tif: .*range is not known; expected 8 or 16 bits"):
        read_scaled(tmp_path / "a.tif", 4)


# --- Limits ----------------------------------------------------------------------------------------------------------


def large(kind):
    """A small file whose header says 3,000 by 30,000 pixels."""
    if kind == "BMP":  # which cannot be small: pixels are stored as they are, here as bits
        return struct.pack("<2sIIIIiiHHIIiiII", b"BM", 0, 0, 62, 40, 3000, 30_000, 1, 1, 0, 0, 0, 0, 0, 0) + bytes(
            8 + 376 * 30_000
        )
    if kind == "WEBP":
        chunk = b"\x10\0\0\0" + (2999).to_bytes(3, "little") + (29_999).to_bytes(3, "little")
        inner = as_kind(PICTURE, "WEBP")[0][12:]
        body = b"WEBPVP8X" + struct.pack("<I", 10) + chunk + inner
        return b"RIFF" + struct.pack("<I", len(body)) + body
    data = bytearray(as_kind(PICTURE, kind)[0])
    if kind == "GIF":
        struct.pack_into("<HH", data, 6, 3000, 30_000)
        return bytes(data)
    first = struct.unpack_from("<I", data, 4)[0]
    for place in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12):
        tag = struct.unpack_from("<H", data, place)[0]
        if tag in (256, 257):
            struct.pack_into("<HII", data, place + 2, 4, 1, 3000 if tag == 256 else 30_000)
    return bytes(data)


def limit(kind):
    most = "44,739,242 of a WebP file" if kind == "WEBP" else "89,478,485"
    return f"3000x30000 are 90,000,000 pixels; expected at most {most}: scale it down"


@pytest.mark.parametrize("kind", KINDS)
def test_no_reader_decodes_more_pixels_than_the_limit(kind, tmp_path):
    data = large(kind)
    path = tmp_path / f"a{KINDS[kind][0]}"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        for read in (read_header, read_image, read_mask, refuse_damaged, lambda each: centre_crop(each, 16, 0.875)):
            with pytest.raises(BadPhotoError, match=limit(kind)):
                read(data)
        with pytest.raises(DataError, match=limit(kind)):
            read_scaled(path, 16)
        assert tracemalloc.get_traced_memory()[1] < 2**20 + 2 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ALL)
def test_file_that_is_cut_short_is_refused_also_once_gluoncv_is_imported(kind, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as GluonCV does
    data, _ = as_kind(PICTURE, kind)
    for length in sorted({*range(2, 60), *range(60, len(data), 97), len(data) - 1}):
        with pytest.raises(BadPhotoError):
            refuse_damaged(data[:length])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF, LZW", "TIFF, deflate"])
def test_damage_within_the_pixels_is_noticed(kind, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data, _ = as_kind(smooth(64, 64), kind)
    noticed = 0
    for place in range(len(data) // 3, len(data) - 40, max(1, len(data) // 50)):
        try:
            read_image(data[:place] + b"\xff" * 20 + data[place + 20 :])
        except BadPhotoError:
            noticed += 1
    assert noticed > 5


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("trailer", [b"\0", bytes(1000), b";" * 50])
def test_bytes_after_the_end_are_ignored(kind, trailer):
    data, _ = as_kind(PICTURE, kind)
    np.testing.assert_array_equal(read_image(data + trailer), read_image(data))


@pytest.mark.parametrize("kind", KINDS)
def test_mask_of_another_kind_than_png_is_refused(kind):
    with pytest.raises(BadPhotoError, match="expected PNG"):
        read_mask(as_kind(PICTURE, kind)[0])


def test_bmp_of_run_lengths_is_refused():
    data = bytearray(as_kind(PICTURE, "BMP")[0])
    struct.pack_into("<I", data, 30, 1)
    with pytest.raises(BadPhotoError, match="a compressed BMP .*save it as PNG"):
        read_header(bytes(data))


def test_tiff_of_large_tiles_is_refused():
    pixels = bytes(64)
    fields = [(256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (322, 2**15), (323, 2**15), (324, 8), (325, 64)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    data = struct.pack("<2sHI", b"II", 42, 72) + pixels + struct.pack("<H", len(fields)) + entries + bytes(4)
    with pytest.raises(BadPhotoError, match="tiles of 32768x32768 pixels"):
        read_header(data)


@pytest.mark.parametrize("kind", KINDS)
def test_records_of_other_kinds_are_not_given_to_mxnet(kind, tmp_path):
    files = [encoded(PICTURE), as_kind(PICTURE, kind)[0]]
    path = write_records(tmp_path / "train.rec", files, [0, 1])
    offsets = np.array([int(line.split("\t")[1]) for line in path.with_suffix(".idx").read_text().splitlines()])
    with pytest.raises(DataError, match="neither JPEG nor PNG"):
        check_chain(path, offsets)
    check_chain(write_records(tmp_path / "png.rec", files[:1] * 2, [0, 1]), offsets)


def test_pillow_is_strict_until_the_last_thread_has_left(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    first, second = pillow.strictly(), pillow.strictly()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    second.__exit__(None, None, None)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True

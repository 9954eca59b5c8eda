"""Photos: headers and damaged files, decoding at a fraction, where crops lie, what colours become, the centre crop."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from photos import encoded, smooth
from PIL import Image, ImageFile

from fusion.data.autoaugment import POLICIES
from fusion.data.photos import photo
from fusion.data.photos.decoding import decode_shown, opencv
from fusion.data.photos.header import BadPhotoError, Header, read_header
from fusion.data.photos.photo import (
    Box,
    PhotoAugmentation,
    centre_crop,
    colour_change,
    decode_box,
    random_box,
    reduction_for,
    resized_side,
)
from fusion.data.transparency import to_rgb
from fusion.errors import DataError

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)


def generator(seed=0):
    return np.random.default_rng(seed)


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def decibels(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


# --- Headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("RGB", {"format": "JPEG"}, Header(20, 30, 3, "JPEG")),
        ("RGB", {"format": "JPEG", "progressive": True}, Header(20, 30, 3, "JPEG")),
        ("L", {"format": "JPEG"}, Header(20, 30, 1, "JPEG")),
        ("CMYK", {"format": "JPEG"}, Header(20, 30, 4, "JPEG")),
        ("RGB", {"format": "PNG"}, Header(20, 30, 3, "PNG")),
        ("L", {"format": "PNG"}, Header(20, 30, 1, "PNG")),
        ("RGBA", {"format": "PNG"}, Header(20, 30, 4, "PNG")),
        ("P", {"format": "PNG"}, Header(20, 30, 3, "PNG")),
    ],
)
def test_header_of_each_kind(mode, options, expected):
    data = saved(Image.new(mode, (30, 20)), **options)
    assert read_header(data) == expected
    assert decode_shown(data).shape == (20, 30, 3)


def test_header_is_that_of_the_photo_and_not_of_its_thumbnail():
    thumbnail = saved(Image.new("RGB", (5, 4)), format="JPEG")
    data = saved(Image.new("RGB", (30, 20)), format="JPEG", exif=b"Exif\0\0" + thumbnail)
    assert read_header(data)[:2] == (20, 30)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "empty file"),
        (lambda data: b"<html>not found</html>", "no image of a known kind"),
        (lambda data: data[: len(data) // 2], "JPEG without its end"),
        (lambda data: data[:60], "JPEG without a size"),
    ],
)
def test_damaged_jpeg_is_refused(damage, reason):
    data = encoded(smooth(40, 60), ".jpg")
    with pytest.raises(BadPhotoError, match=reason):
        read_header(damage(data))


def test_truncated_jpeg_with_a_whole_thumbnail_is_refused():
    thumbnail = saved(Image.new("RGB", (5, 4)), format="JPEG")
    data = saved(Image.fromarray(smooth(40, 60)), format="JPEG", exif=b"Exif\0\0" + thumbnail)
    with pytest.raises(BadPhotoError, match="without its end"):
        read_header(data[:-300])


def test_bytes_after_the_end_do_no_harm():
    assert read_header(encoded(smooth(40, 60), ".jpg") + b"\0" * 1000)[:2] == (40, 60)


def test_truncated_png_is_refused():
    with pytest.raises(BadPhotoError, match="PNG without its end"):
        read_header(encoded(smooth(40, 60))[:-80])


def test_what_the_decoder_refuses_is_a_bad_photo():
    data = encoded(smooth(40, 60))
    with pytest.raises(BadPhotoError, match="cannot be decoded"):
        decode_shown(data[:100] + b"\0" * 8 + data[108:])


# --- Transparency ----------------------------------------------------------------------------------------------------


def clear_and_opaque(mode):
    """Two pixels of red, the left one fully transparent, in each way that PNG has of saying so; its bytes."""
    if mode == "RGBA":
        image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
        image.putpixel((0, 0), (200, 0, 0, 0))
        return saved(image, format="PNG")
    if mode == "LA":
        image = Image.new("LA", (2, 1), (90, 255))
        image.putpixel((0, 0), (90, 0))
        return saved(image, format="PNG")
    if mode == "P":
        image = Image.new("P", (2, 1), 1)
        image.putpalette([10, 20, 30, 200, 0, 0])
        image.putpixel((0, 0), 0)
        return saved(image, format="PNG", transparency=0)
    image = Image.new(mode, (2, 1), {"RGB": (200, 0, 0), "L": 90}[mode])
    hidden = {"RGB": (10, 20, 30), "L": 10}[mode]
    image.putpixel((0, 0), hidden)
    return saved(image, format="PNG", transparency=hidden)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparent_pixels_are_white_and_the_others_as_they_are(mode):
    shown = decode_shown(clear_and_opaque(mode))[0, :, ::-1].tolist()
    assert shown == [[255, 255, 255], [90, 90, 90] if mode in ("LA", "L") else [200, 0, 0]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_both_readers_show_transparent_images_alike(tmp_path, mode):
    (tmp_path / "a.png").write_bytes(clear_and_opaque(mode))
    assert (
        decode_shown((tmp_path / "a.png").read_bytes())[..., ::-1] == np.asarray(on_white(tmp_path / "a.png"))
    ).all()


def on_white(path):
    with Image.open(path) as image:
        return to_rgb(image)


def test_half_transparent_is_half_white():
    assert decode_shown(saved(Image.new("RGBA", (1, 1), (0, 100, 200, 128)), format="PNG"))[0, 0].tolist() == [
        227,
        177,
        127,
    ]


@pytest.mark.parametrize("lenient", [False, True])  # the second as after an import of GluonCV
def test_damaged_transparent_file_is_a_bad_photo(monkeypatch, lenient):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    data = saved(Image.fromarray(np.dstack([smooth(40, 60), np.full((40, 60), 9, np.uint8)])), format="PNG")
    middle = len(data) // 2
    with pytest.raises(BadPhotoError, match="cannot be decoded"):
        decode_shown(data[:middle] + b"\0" * 40 + data[middle + 40 :])


# --- Decoding --------------------------------------------------------------------------------------------------------


def test_pixels_are_those_of_the_file():
    picture = smooth(21, 34)
    assert (decode_shown(encoded(picture))[..., ::-1] == picture).all()


@pytest.mark.parametrize(
    ("side", "expected"), [(100, 1), (199, 1), (200, 2), (399, 2), (400, 4), (799, 4), (800, 8), (9000, 8)]
)
def test_reduction_leaves_at_least_the_wanted_size(side, expected):
    header = Header(9000, 9000, 3, "JPEG")
    assert reduction_for(header, Box(0, 0, side, 9000), 100, 100) == expected
    assert reduction_for(header, Box(0, 0, 9000, side), 100, 100) == expected
    assert reduction_for(header._replace(kind="PNG"), Box(0, 0, side, side), 100, 100) == 1


@pytest.mark.parametrize("box", [Box(0, 0, 800, 1000), Box(101, 77, 450, 470), Box(255, 501, 544, 499)])
def test_reduced_decoding_loses_no_quality(box, monkeypatch):
    data = encoded(smooth(800, 1000), ".jpg")
    header = read_header(data)
    assert reduction_for(header, box, 100, 100) > 1
    reduced = decode_box(data, header, box, 100, 100)
    monkeypatch.setattr(photo, "reduction_for", lambda *_: 1)
    assert decibels(reduced, decode_box(data, header, box, 100, 100)) > 38


def test_box_is_cut_out_where_it_lies():
    picture = smooth(60, 90)
    data = encoded(picture)
    cut = decode_box(data, read_header(data), Box(7, 11, 20, 30), 20, 30)
    assert (cut[..., ::-1] == picture[7:27, 11:41]).all()


def encoded_by_pillow():
    return saved(Image.new("RGB", (30, 20)), format="PNG")


def test_opencv_that_cannot_be_imported_is_told(monkeypatch):
    opencv.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DataError, match="opencv-python-headless"):
        decode_shown(encoded_by_pillow())
    monkeypatch.undo()
    assert decode_shown(encoded_by_pillow()).shape == (20, 30, 3)


# --- Boxes -----------------------------------------------------------------------------------------------------------


def test_boxes_lie_inside_and_have_the_asked_for_area_and_aspect():
    draw = generator()
    boxes = np.array([random_box(300, 400, AREA, ASPECT, draw) for _ in range(2000)])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all() and (top + height <= 300).all() and (left + width <= 400).all()
    areas, aspects = height * width / (300 * 400), width / height
    assert 0.078 < areas.min() < 0.09 and 0.9 < areas.max() <= 1
    assert 0.74 < aspects.min() < 0.76 and 1.32 < aspects.max() < 1.345
    assert abs(np.median(np.log(aspects[areas < 0.5]))) < 0.02  # a larger one that is high does not fit
    assert {0} <= set(top) and {0} <= set(left)
    assert abs((top / np.maximum(300 - height, 1)).mean() - 0.5) < 0.03
    assert abs((left / np.maximum(400 - width, 1)).mean() - 0.5) < 0.03


def test_last_row_and_column_can_be_in_a_box():
    draw = generator()
    boxes = [random_box(4, 4, (0.2, 0.3), (1, 1), draw) for _ in range(200)]
    assert {box.top + box.height for box in boxes} == {box.left + box.width for box in boxes} == {2, 3, 4}


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(10, 1000, Box(0, 493, 10, 13)), (1000, 10, Box(493, 0, 13, 10)), (1, 1, Box(0, 0, 1, 1))],
)
def test_photo_that_no_box_fits_has_its_largest_centre(height, width, expected):
    box = random_box(height, width, (0.9, 1.0), ASPECT, generator())
    assert box == expected


def test_box_takes_the_same_number_of_draws_whatever_comes_out():
    left = []
    for side in (1, 300):
        draw = generator()
        random_box(side, 300, AREA, ASPECT, draw)
        left.append(draw.random())
    assert left[0] == left[1]


# --- The centre crop -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "side"), [(224, 256), (320, 366), (112, 128), (96, 110)])
def test_shorter_side_before_the_crop(size, side):
    assert resized_side(size, 0.875) == side


@pytest.mark.parametrize("sides", [(1, 30_000), (30_000, 1), (3, 9_999)])
def test_long_photo_is_cut_before_it_is_scaled(monkeypatch, sides):
    sizes = []
    real = photo.decode_box
    monkeypatch.setattr(photo, "decode_box", lambda *words: sizes.append(words[-2:]) or real(*words))
    assert centre_crop(encoded(np.full((*sides, 3), 77, np.uint8)), 224, 0.875).shape == (224, 224, 3)
    assert max(sizes[0]) <= 18 * 256


@pytest.mark.parametrize("sides", [(40, 60), (25, 400), (400, 25), (60, 959), (8, 333), (333, 8)])
def test_what_is_cut_off_a_long_photo_is_not_missed(monkeypatch, sides):
    data = encoded(smooth(*sides))
    found = centre_crop(data, 28, 0.875)
    monkeypatch.setattr(photo, "LONGEST", 10**9)
    whole = centre_crop(data, 28, 0.875)
    if max(sides) <= 16 * min(sides):
        assert (found == whole).all()
    assert np.abs(found.astype(int) - whole).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 64), (64, 64), (20, 31)])
def test_centre_crop_is_the_centre_of_the_resized_photo(height, width):
    crop = centre_crop(encoded(smooth(height, width)), 28, 0.875)
    assert crop.shape == (28, 28, 3)
    shorter = min(height, width)
    half_y, half_x = 0.875 * shorter / height / 2, 0.875 * shorter / width / 2
    for end, sign in ((0, -1), (-1, 1)):
        assert crop[:, end, 0].mean() / 255 == pytest.approx(0.5 + sign * half_x * 27 / 28, abs=0.03)
        assert crop[end, :, 1].mean() / 255 == pytest.approx(0.5 + sign * half_y * 27 / 28, abs=0.03)


# --- Colour ----------------------------------------------------------------------------------------------------------


def changed(image, matrix):
    return image @ matrix[:, :3].T + matrix[:, 3]


def only(which, factor, order=(0, 1, 2)):
    """A generator that draws this factor for one of brightness, contrast and saturation, and no lighting."""

    class Draw:
        def random(self, size):
            return np.where(np.arange(size) == which, (factor - 1) / 0.8 + 0.5, 0.5)

        def permutation(self, size):
            return np.array(order)

        def standard_normal(self, size):
            return np.zeros(size)

    return Draw()


def test_brightness_scales():
    image = smooth(8, 9)
    found = changed(image, colour_change(image, 0.4, 0.1, only(0, 1.3)))
    np.testing.assert_allclose(found, image * 1.3, rtol=1e-9)


def test_contrast_is_about_the_mean_grey():
    image = smooth(8, 9)
    mean = (image @ [0.299, 0.587, 0.114]).mean()
    found = changed(image, colour_change(image, 0.4, 0.1, only(1, 0.7)))
    np.testing.assert_allclose(found, mean + 0.7 * (image - mean), rtol=1e-9)


def test_saturation_is_about_each_pixels_grey():
    image = smooth(8, 9)
    grey = (image @ [0.299, 0.587, 0.114])[..., None]
    found = changed(image, colour_change(image, 0.4, 0.1, only(2, 1.2)))
    np.testing.assert_allclose(found, grey + 1.2 * (image - grey), rtol=1e-9, atol=1e-9)


def test_changes_follow_each_other_in_the_drawn_order():
    class Draw(type(only(0, 1))):
        def random(self, size):
            return np.array([0.9, 0.2, 0.7])

        def permutation(self, size):
            return np.array([1, 0, 2])

    image = smooth(8, 9).astype(float)
    brightness, contrast, saturation = 1 + 0.4 * (2 * np.array([0.9, 0.2, 0.7]) - 1)
    step = (image @ [0.299, 0.587, 0.114]).mean() * (1 - contrast) + contrast * image
    step = brightness * step
    step = saturation * step + (1 - saturation) * (step @ [0.299, 0.587, 0.114])[..., None]
    np.testing.assert_allclose(changed(image, colour_change(smooth(8, 9), 0.4, 0.0, Draw())), step, rtol=1e-9)


def test_factors_and_lighting_are_as_wide_as_asked():
    image = np.full((4, 4, 3), 100, np.uint8)
    draw = generator()
    changes = np.array([colour_change(image, 0.4, 0.0, draw) for _ in range(3000)])
    grey = changed(np.array([100.0, 100, 100]), changes[0])  # a grey photo has only its brightness changed
    np.testing.assert_allclose(grey, grey[0])
    factors = np.array([changed(np.array([100.0, 100, 100]), change)[0] for change in changes]) / 100
    assert 0.6 <= factors.min() < 0.61 and 1.39 < factors.max() <= 1.4 and abs(factors.mean() - 1) < 0.02
    shifts = np.array([colour_change(image, 0.0, 0.1, draw)[:, 3] for _ in range(3000)])
    expected = photo.COLOUR_AXES @ np.diag((0.1 * photo.COLOUR_SIZES) ** 2) @ photo.COLOUR_AXES.T
    np.testing.assert_allclose(np.cov(shifts.T), expected, rtol=0.1, atol=0.1)


def test_without_jitter_and_lighting_nothing_changes():
    assert colour_change(smooth(4, 4), 0.0, 0.0, generator()) is None


# --- The whole way ---------------------------------------------------------------------------------------------------

WHOLE = {"area": (1.0, 1.0), "aspect": (1.0, 1.0), "jitter": 0.0, "lighting": 0.0}


def test_flip_mirrors_half_of_the_photos_left_to_right():
    picture = smooth(16, 16)
    data = encoded(picture)
    draw = generator()
    found = [PhotoAugmentation(16, **WHOLE)(data, draw) for _ in range(400)]
    mirrored = [(image == picture[:, ::-1]).all() for image in found]
    assert all((image == picture).all() or flipped for image, flipped in zip(found, mirrored))
    assert 170 < sum(mirrored) < 230
    still = PhotoAugmentation(16, flip=False, **WHOLE)
    assert all((still(data, draw) == picture).all() for _ in range(20))


def test_colours_saturate_and_stay_in_their_channels():
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 0] = 250
    draw = generator(1)
    found = np.stack(
        [PhotoAugmentation(16, **{**WHOLE, "jitter": 0.4})(encoded(picture), draw)[0, 0] for _ in range(99)]
    )
    assert found[:, 0].max() == 255 and found[:, 0].min() > 100
    assert found[:, 1:].min() == 0 and found[:, 1:].max() < 100


def test_policy_acts_on_the_crop_before_the_colours():
    invert = ((("Invert", 1.0, 0), ("Invert", 0.0, 0)),)
    picture = smooth(16, 16)
    found = PhotoAugmentation(16, flip=False, policy=invert, **WHOLE)(encoded(picture), generator())
    assert (found == 255 - picture).all()


def test_everything_together_is_repeatable_and_of_the_asked_for_size():
    augment = PhotoAugmentation(24, policy=POLICIES["cifar10"])
    data = encoded(smooth(50, 70), ".jpg")
    one, same, other = (augment(data, generator(seed)) for seed in (1, 1, 2))
    assert one.shape == (24, 24, 3) and one.dtype == np.uint8
    assert (one == same).all() and (one != other).any()

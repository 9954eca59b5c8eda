"""AutoAugment: the published policy, each operation against Pillow and plain arithmetic, and how the draws act."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from fusion.data.autoaugment import CIFAR10_POLICY, OPERATIONS, POLICIES, apply_operation, auto_augment
from fusion.data.loader import generator

GREY = (128, 128, 128)
#: The operations of table 6 of arXiv 1805.09501 but for Cutout and Sample Pairing, which its table 7 does not use.
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Color", "Contrast", "Brightness", "Sharpness")
UNSIGNED = ("Posterize", "Solarize", "AutoContrast", "Equalize", "Invert")


def picture(width=33, height=31, seed=0):
    """Smooth colours with some noise, of few dark and bright pixels, so that every operation changes it."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    slopes = np.stack([x * 4, y * 4, (x + y) * 2], axis=-1) + 50
    return Image.fromarray((slopes + draw.integers(0, 40, size=slopes.shape)).clip(30, 220).astype(np.uint8))


def pixels(image):
    return np.asarray(image).astype(int)


def affine(image, matrix, resample=Image.Resampling.NEAREST):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=GREY)


def expected_of(image, name, magnitude, sign):
    """What the paper's range says, as Pillow does it."""
    width, height = image.size
    shear = sign * 0.3 * magnitude / 9
    shift = sign * (150 / 331) * magnitude / 9
    factor = 1 + sign * 0.9 * magnitude / 9
    results = {
        "ShearX": lambda: affine(image, (1, shear, 0, 0, 1, 0), Image.Resampling.BICUBIC),
        "ShearY": lambda: affine(image, (1, 0, 0, shear, 1, 0), Image.Resampling.BICUBIC),
        "TranslateX": lambda: affine(image, (1, 0, shift * width, 0, 1, 0)),
        "TranslateY": lambda: affine(image, (1, 0, 0, 0, 1, shift * height)),
        "Rotate": lambda: image.rotate(sign * 30 * magnitude / 9, fillcolor=GREY),
        "Color": lambda: ImageEnhance.Color(image).enhance(factor),
        "Contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "Brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "Sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "Posterize": lambda: ImageOps.posterize(image, [8, 8, 7, 7, 6, 6, 5, 5, 4, 4][magnitude]),
        "Solarize": lambda: ImageOps.solarize(image, [256, 227, 199, 170, 142, 113, 85, 56, 28, 0][magnitude]),
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
    }
    return results[name]()


# --- The policy ------------------------------------------------------------------------------------------------------


def test_policy_is_25_pairs_of_known_operations_in_their_ranges():
    assert POLICIES["cifar10"] is CIFAR10_POLICY
    assert len(CIFAR10_POLICY) == 25
    for pair in CIFAR10_POLICY:
        assert len(pair) == 2
        for name, probability, magnitude in pair:
            assert name in OPERATIONS
            assert 0 <= probability <= 1
            assert round(10 * probability) == pytest.approx(10 * probability)
            assert magnitude in range(10)


def test_policy_is_that_of_table_7():
    """The table's rows, spelt as operation, tenths of the probability, magnitude."""
    table = """
        Invert 1 7 Contrast 2 6, Rotate 7 2 TranslateX 3 9, Sharpness 8 1 Sharpness 9 3, ShearY 5 8 TranslateY 7 9,
        AutoContrast 5 8 Equalize 9 2, ShearY 2 7 Posterize 3 7, Color 4 3 Brightness 6 7, Sharpness 3 9 Brightness 7 9,
        Equalize 6 5 Equalize 5 1, Contrast 6 7 Sharpness 6 5, Color 7 7 TranslateX 5 8, Equalize 3 7 AutoContrast 4 8,
        TranslateY 4 3 Sharpness 2 6, Brightness 9 6 Color 2 8, Solarize 5 2 Invert 0 3, Equalize 2 0 AutoContrast 6 0,
        Equalize 2 8 Equalize 6 4, Color 9 9 Equalize 6 6, AutoContrast 8 4 Solarize 2 8, Brightness 1 3 Color 7 0,
        Solarize 4 5 AutoContrast 9 3, TranslateY 9 9 TranslateY 7 9, AutoContrast 9 2 Solarize 8 3,
        Equalize 8 8 Invert 1 3, TranslateY 7 9 AutoContrast 9 1
    """
    rows = [row.split() for row in table.split(",")]
    expected = [tuple((row[k], int(row[k + 1]) / 10, int(row[k + 2])) for k in (0, 3)) for row in rows]
    assert list(CIFAR10_POLICY) == expected


def test_operations_are_those_of_table_6():
    assert set(OPERATIONS) == {*SIGNED, *UNSIGNED}


# --- The operations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", [*SIGNED, *UNSIGNED])
def test_operation_at_every_magnitude_is_pillows_own_call(name, sign):
    image = picture()
    for magnitude in range(10):
        found = apply_operation(image, name, magnitude, sign)
        assert found.size == image.size
        assert found.mode == "RGB"
        np.testing.assert_array_equal(
            pixels(found), pixels(expected_of(image, name, magnitude, sign)), f"{name} at {magnitude}"
        )
    assert image == picture()


@pytest.mark.parametrize("name", SIGNED)
def test_sign_changes_the_direction_and_defaults_to_plus(name):
    image = picture()
    plus, minus = apply_operation(image, name, 7, 1), apply_operation(image, name, 7, -1)
    assert (pixels(plus) != pixels(minus)).any()
    assert plus == apply_operation(image, name, 7)


@pytest.mark.parametrize("name", UNSIGNED)
def test_operation_without_direction_ignores_the_sign(name):
    image = picture()
    assert apply_operation(image, name, 7, 1) == apply_operation(image, name, 7, -1)


@pytest.mark.parametrize("name", [*SIGNED, "Posterize", "Solarize"])
def test_magnitude_0_is_no_change(name):
    image = picture()
    assert apply_operation(image, name, 0) == image


@pytest.mark.parametrize("name", [*SIGNED, *UNSIGNED])
def test_magnitude_9_is_a_change(name):
    image = picture()
    assert apply_operation(image, name, 9) != image


@pytest.mark.parametrize(("name", "axis"), [("TranslateX", 1), ("TranslateY", 0)])
def test_translation_moves_by_its_share_of_the_side_and_fills_with_grey(name, axis):
    """150 of 331 pixels are 45.3 of 100; the sign plus moves to the left and to the top."""
    image = picture(100, 100)
    before = pixels(image)
    for sign in (1, -1):
        after = pixels(apply_operation(image, name, 9, sign))
        before_, after_ = (np.moveaxis(values, axis, 0)[::sign] for values in (before, after))
        np.testing.assert_array_equal(after_[:54], before_[45 : 45 + 54])
        np.testing.assert_array_equal(after_[56:], 128)


def test_colour_operations_are_plain_arithmetic():
    image = picture()
    before = pixels(image)
    np.testing.assert_array_equal(pixels(apply_operation(image, "Invert", 0)), 255 - before)
    np.testing.assert_array_equal(pixels(apply_operation(image, "Posterize", 9)), before // 16 * 16)
    np.testing.assert_array_equal(pixels(apply_operation(image, "Solarize", 9)), 255 - before)
    halved = pixels(apply_operation(image, "Solarize", 5))
    np.testing.assert_array_equal(halved, np.where(before < 113, before, 255 - before))
    np.testing.assert_allclose(pixels(apply_operation(image, "Brightness", 9, -1)), before * 0.1, atol=1)
    np.testing.assert_allclose(pixels(apply_operation(image, "Brightness", 9, 1)), (before * 1.9).clip(0, 255), atol=1)
    grey = pixels(image.convert("L"))[..., np.newaxis]
    np.testing.assert_allclose(pixels(apply_operation(image, "Color", 9, -1)), grey + 0.1 * (before - grey), atol=1)
    stretched = pixels(apply_operation(image, "AutoContrast", 0))
    assert stretched.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert stretched.max(axis=(0, 1)).tolist() == [255, 255, 255]


# --- How the draws act -----------------------------------------------------------------------------------------------


def batch(count, seed=0, side=6):
    return np.random.default_rng(seed).integers(0, 256, size=(count, side, side, 3), dtype=np.uint8)


def one_pair(first, second=("Invert", 0.0, 0)):
    return ((first, second),)


def test_batch_keeps_its_shape_and_is_left_unchanged():
    images = batch(60)
    before = images.copy()
    found = auto_augment(images, CIFAR10_POLICY, generator(1))
    assert found.shape == images.shape
    assert found.dtype == np.uint8
    assert (found != images).any()
    np.testing.assert_array_equal(images, before)


def test_batch_may_be_of_any_height_and_width():
    images = np.random.default_rng(0).integers(0, 256, size=(30, 7, 11, 3), dtype=np.uint8)
    assert auto_augment(images, CIFAR10_POLICY, generator(1)).shape == images.shape


def test_same_key_gives_the_same_images():
    images = batch(60)
    one = auto_augment(images, CIFAR10_POLICY, generator(2, 1))
    np.testing.assert_array_equal(one, auto_augment(images, CIFAR10_POLICY, generator(2, 1)))
    assert (one != auto_augment(images, CIFAR10_POLICY, generator(2, 2))).any()


def test_result_of_an_image_does_not_depend_on_its_neighbours():
    images, others = batch(20), batch(20, seed=1)
    mixed = np.concatenate([images[:10], others[10:]])
    one, two = (auto_augment(given, CIFAR10_POLICY, generator(3)) for given in (images, mixed))
    np.testing.assert_array_equal(one[:10], two[:10])


def test_draws_are_the_same_in_number_whatever_acts():
    states = []
    for probability in (0.0, 0.5, 1.0):
        draw = generator(4)
        auto_augment(batch(20), one_pair(("Invert", probability, 0)), draw)
        states.append(draw.random())
    assert len(set(states)) == 1


def test_probability_0_is_never_and_1_is_always():
    images = batch(300)
    np.testing.assert_array_equal(auto_augment(images, one_pair(("Invert", 0.0, 9)), generator(5)), images)
    np.testing.assert_array_equal(auto_augment(images, one_pair(("Invert", 1.0, 9)), generator(5)), 255 - images)


def test_probability_is_the_share_of_images_and_the_two_operations_are_independent():
    images = np.full((4000, 1, 1, 3), 200, np.uint8)  # Invert makes 55, Posterize at 9 makes 192 or 48
    found = auto_augment(images, one_pair(("Invert", 0.3, 0), ("Posterize", 0.6, 9)), generator(6))[:, 0, 0, 0]
    shares = {value: float((found == value).mean()) for value in (200, 55, 192, 48)}
    expected = {200: 0.7 * 0.4, 55: 0.3 * 0.4, 192: 0.7 * 0.6, 48: 0.3 * 0.6}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(4000))


def test_second_operation_acts_on_the_result_of_the_first():
    images = np.full((5, 2, 2, 3), 200, np.uint8)
    invert, posterize = ("Invert", 1.0, 0), ("Posterize", 1.0, 9)
    np.testing.assert_array_equal(auto_augment(images, one_pair(invert, posterize), generator(7)), 48)
    np.testing.assert_array_equal(auto_augment(images, one_pair(posterize, invert), generator(7)), 63)


def test_pairs_are_drawn_evenly_and_not_mixed():
    images = np.full((3000, 1, 1, 3), 200, np.uint8)
    never = ("Invert", 0.0, 0)
    policy = ((("Invert", 1.0, 0), never), (("Posterize", 1.0, 9), never), (never, never))
    found = auto_augment(images, policy, generator(8))[:, 0, 0, 0]
    shares = [float((found == value).mean()) for value in (55, 192, 200)]
    assert shares == pytest.approx([1 / 3] * 3, abs=4 * 0.48 / np.sqrt(3000))


def test_sign_of_each_operation_is_drawn_evenly():
    images = np.full((2000, 1, 1, 3), 100, np.uint8)
    found = auto_augment(images, one_pair(("Brightness", 1.0, 9)), generator(9))[:, 0, 0, 0]
    assert set(found.tolist()) == {10, 190}
    assert float((found == 10).mean()) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2000))


def test_signs_of_the_two_operations_are_independent():
    images = np.full((400, 1, 1, 3), 100, np.uint8)
    bright = ("Brightness", 1.0, 5)
    found = auto_augment(images, one_pair(bright, bright), generator(10))[:, 0, 0, 0]
    assert set(found.tolist()) == {25, 75, 225}

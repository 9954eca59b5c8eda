"""AutoAugment and RandAugment: the published policies, each operation against Pillow, and how the draws act."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from fusion.data.autoaugment import (
    CIFAR10_POLICY,
    IMAGENET_POLICY,
    OPERATIONS,
    POLICIES,
    POLICY_NAMES,
    RANDAUGMENT_OPERATIONS,
    RandAugment,
    apply_operation,
    auto_augment,
    named_policy,
    operate,
)
from fusion.data.loader import generator

GREY = (128, 128, 128)
#: The operations of table 6 of arXiv 1805.09501 but for Cutout and Sample Pairing, which its table 7 does not use.
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Color", "Contrast", "Brightness", "Sharpness")
UNSIGNED = ("Posterize", "Solarize", "AutoContrast", "Equalize", "Invert")
#: Bits and threshold at each magnitude of RandAugment from 0, by hand; above the last they stay.
BITS = [8, 8, 7, 7, 6, 6, 6, 5, 5, 4, 4, 4, 3, 3, 2, 2, 2, 1]
THRESHOLDS = [256, 230, 204, 179, 153, 128, 102, 76, 51, 25, 0]


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


def expected_of_layer(image, name, magnitude, sign):
    """The same of RandAugment, whose 10 is the end of the range."""
    width, height = image.size
    part = magnitude / 10
    factor = max(0, 1 + sign * 0.9 * part)
    results = {
        "Identity": lambda: image,
        "ShearX": lambda: affine(image, (1, sign * 0.3 * part, 0, 0, 1, 0), Image.Resampling.BICUBIC),
        "ShearY": lambda: affine(image, (1, 0, 0, sign * 0.3 * part, 1, 0), Image.Resampling.BICUBIC),
        "TranslateX": lambda: affine(image, (1, 0, sign * (150 / 331) * part * width, 0, 1, 0)),
        "TranslateY": lambda: affine(image, (1, 0, 0, 0, 1, sign * (150 / 331) * part * height)),
        "Rotate": lambda: image.rotate(sign * 30 * part, fillcolor=GREY),
        "Color": lambda: ImageEnhance.Color(image).enhance(factor),
        "Contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "Brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "Sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "Posterize": lambda: ImageOps.posterize(image, BITS[min(magnitude, len(BITS) - 1)]),
        "Solarize": lambda: ImageOps.solarize(image, THRESHOLDS[min(magnitude, len(THRESHOLDS) - 1)]),
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
    }
    return results[name]()


# --- The policy ------------------------------------------------------------------------------------------------------


#: Rows of the paper's tables, spelt as operation, tenths of the probability, magnitude.
TABLES = {
    "cifar10": """
        Invert 1 7 Contrast 2 6, Rotate 7 2 TranslateX 3 9, Sharpness 8 1 Sharpness 9 3, ShearY 5 8 TranslateY 7 9,
        AutoContrast 5 8 Equalize 9 2, ShearY 2 7 Posterize 3 7, Color 4 3 Brightness 6 7, Sharpness 3 9 Brightness 7 9,
        Equalize 6 5 Equalize 5 1, Contrast 6 7 Sharpness 6 5, Color 7 7 TranslateX 5 8, Equalize 3 7 AutoContrast 4 8,
        TranslateY 4 3 Sharpness 2 6, Brightness 9 6 Color 2 8, Solarize 5 2 Invert 0 3, Equalize 2 0 AutoContrast 6 0,
        Equalize 2 8 Equalize 6 4, Color 9 9 Equalize 6 6, AutoContrast 8 4 Solarize 2 8, Brightness 1 3 Color 7 0,
        Solarize 4 5 AutoContrast 9 3, TranslateY 9 9 TranslateY 7 9, AutoContrast 9 2 Solarize 8 3,
        Equalize 8 8 Invert 1 3, TranslateY 7 9 AutoContrast 9 1
    """,
    "imagenet": """
        Posterize 4 8 Rotate 6 9, Solarize 6 5 AutoContrast 6 5, Equalize 8 8 Equalize 6 3, Posterize 6 7 Posterize 6 6,
        Equalize 4 7 Solarize 2 4, Equalize 4 4 Rotate 8 8, Solarize 6 3 Equalize 6 7, Posterize 8 5 Equalize 10 2,
        Rotate 2 3 Solarize 6 8, Equalize 6 8 Posterize 4 6, Rotate 8 8 Color 4 0, Rotate 4 9 Equalize 6 2,
        Equalize 0 7 Equalize 8 8, Invert 6 4 Equalize 10 8, Color 6 4 Contrast 10 8, Rotate 8 8 Color 10 2,
        Color 8 8 Solarize 8 7, Sharpness 4 7 Invert 6 8, ShearX 6 5 Equalize 10 9, Color 4 0 Equalize 6 3,
        Equalize 4 7 Solarize 2 4, Solarize 6 5 AutoContrast 6 5, Invert 6 4 Equalize 10 8, Color 6 4 Contrast 10 8,
        Equalize 8 8 Equalize 6 3
    """,
}


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_policy_is_25_pairs_of_known_operations_in_their_ranges(name):
    assert len(POLICIES[name]) == 25
    for pair in POLICIES[name]:
        assert len(pair) == 2
        for operation, probability, magnitude in pair:
            assert operation in OPERATIONS
            assert 0 <= probability <= 1
            assert round(10 * probability) == pytest.approx(10 * probability)
            assert magnitude in range(10)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_policy_is_that_of_the_papers_table(name):
    rows = [row.split() for row in TABLES[name].split(",")]
    expected = [tuple((row[k], int(row[k + 1]) / 10, int(row[k + 2])) for k in (0, 3)) for row in rows]
    assert list(POLICIES[name]) == expected


def test_policies_have_the_names_of_the_settings():
    assert POLICY_NAMES == ("none", "cifar10", "imagenet", "randaugment")
    assert named_policy("none", 2, 9) is None
    assert named_policy("cifar10", 2, 9) is CIFAR10_POLICY
    assert named_policy("imagenet", 2, 9) is IMAGENET_POLICY
    assert named_policy("randaugment", 3, 5) == RandAugment(layers=3, magnitude=5)


def test_operations_are_those_of_table_6():
    assert set(OPERATIONS) == {*SIGNED, *UNSIGNED, "Identity"}


def test_randaugment_draws_from_identity_and_all_but_invert():
    assert len(RANDAUGMENT_OPERATIONS) == 14
    assert set(RANDAUGMENT_OPERATIONS) == {*SIGNED, *UNSIGNED, "Identity"} - {"Invert"}


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


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", RANDAUGMENT_OPERATIONS)
def test_operation_at_every_magnitude_of_randaugment_is_pillows_own_call(name, sign):
    image = picture()
    for magnitude in range(31):
        found = operate(image, name, magnitude / 10, sign)
        assert found.size == image.size
        np.testing.assert_array_equal(
            pixels(found), pixels(expected_of_layer(image, name, magnitude, sign)), f"{name} at {magnitude}"
        )
    assert image == picture()


def unusual_pictures():
    """Of one colour, of two, of few levels, without dark or bright ones, of one pixel, and noise."""
    draw = np.random.default_rng(1)
    for level in (0, 1, 127, 254, 255):
        yield np.full((5, 7, 3), level, np.uint8)
        yield np.full((1, 1, 3), level, np.uint8)
    for low, high in ((0, 255), (0, 1), (254, 255), (100, 130), (3, 200)):
        for height, width in ((3, 2), (20, 31), (64, 64)):
            yield draw.integers(low, high + 1, size=(height, width, 3), dtype=np.uint8)
            yield np.where(draw.random((height, width, 3)) < 0.9, high, low).astype(np.uint8)
    for scale in (5, 30, 90):
        yield draw.normal(128, scale, size=(40, 40, 3)).clip(0, 255).astype(np.uint8)
        yield (draw.exponential(scale, size=(40, 40, 3))).clip(0, 255).astype(np.uint8)
    mixed = draw.integers(0, 256, size=(30, 30, 3), dtype=np.uint8)
    mixed[..., 1] = 77
    yield mixed


@pytest.mark.parametrize("name", UNSIGNED)
def test_operation_on_unusual_pictures_is_pillows_own_call(name):
    for pixels_of in unusual_pictures():
        image = Image.fromarray(pixels_of)
        for magnitude in (0, 3, 5, 9):
            found, expected = apply_operation(image, name, magnitude), expected_of(image, name, magnitude, 1)
            np.testing.assert_array_equal(pixels(found), pixels(expected), f"{name} at {magnitude}")


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


# --- RandAugment -----------------------------------------------------------------------------------------------------


def test_randaugment_keeps_shape_and_input_and_depends_on_its_key_alone():
    images = batch(60)
    before = images.copy()
    found = auto_augment(images, RandAugment(2, 9), generator(11, 1))
    assert found.shape == images.shape
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(found, auto_augment(images, RandAugment(2, 9), generator(11, 1)))
    assert (found != auto_augment(images, RandAugment(2, 9), generator(11, 2))).any()


def test_randaugment_draws_every_operation_evenly():
    """Each operation's result on one image tells which it was; two that look alike are counted together."""
    image = np.asarray(picture(12, 12))
    images = np.repeat(image[None], 7000, axis=0)
    found = auto_augment(images, RandAugment(1, 10), generator(12))
    expected, counts = {}, {}
    for name in RANDAUGMENT_OPERATIONS:
        for sign in (1, -1):
            result = pixels(expected_of_layer(Image.fromarray(image), name, 10, sign)).astype(np.uint8).tobytes()
            expected[result] = expected.get(result, 0) + 1 / 28
    for result in found:
        counts[result.tobytes()] = counts.get(result.tobytes(), 0) + 1
    assert len(expected) > 20
    assert counts.keys() == expected.keys()
    for result, share in expected.items():
        assert counts[result] / 7000 == pytest.approx(share, abs=4.5 * np.sqrt(share * (1 - share) / 7000))


def test_layers_of_randaugment_follow_each_other():
    images = batch(300, side=5)
    for layers in (1, 3):
        found = auto_augment(images, RandAugment(layers, 9), generator(13))
        draw = generator(13)
        chosen = draw.integers(14, size=(300, layers))
        signs = np.where(draw.random((300, layers)) < 0.5, -1, 1)
        for image, result, numbers, row_signs in zip(images, found, chosen, signs):
            expected = Image.fromarray(image)
            for number, sign in zip(numbers, row_signs):
                expected = expected_of_layer(expected, RANDAUGMENT_OPERATIONS[number], 9, int(sign))
            np.testing.assert_array_equal(result, pixels(expected))


def test_randaugment_at_0_changes_by_nothing_but_what_has_no_magnitude():
    images = np.repeat(np.asarray(picture(9, 9))[None], 200, axis=0)
    found = auto_augment(images, RandAugment(1, 0), generator(14))
    image = picture(9, 9)
    allowed = [pixels(image), pixels(ImageOps.autocontrast(image)), pixels(ImageOps.equalize(image))]
    assert all(any((result == one).all() for one in allowed) for result in found)

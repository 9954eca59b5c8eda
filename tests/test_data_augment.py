"""Crops, flips, normalisation, label smoothing and mixup of training batches against their plain definitions."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.data.augment import Augmentation, Normalisation, crop_and_flip, cutmix, mix, mixup, smooth_one_hot
from fusion.data.loader import generator

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PLAIN = Normalisation((0, 0, 0), (1, 1, 1))


def pictures(count, height=6, width=5, seed=0):
    """Noise, so that no two windows are alike."""
    return np.random.default_rng(seed).integers(1, 256, size=(count, height, width, 3), dtype=np.uint8)


# --- Normalisation ---------------------------------------------------------------------------------------------------


def test_normalisation_is_pixels_over_255_less_mean_over_deviation():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, axis=1)
    expected = (images / 255.0 - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    found = Normalisation(MEAN, STD)(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_normalisation_keeps_channels_apart():
    images = np.full((2, 3, 4, 4), 255, np.uint8)
    found = Normalisation((0.0, 0.5, 1.0), (1.0, 0.25, 0.1))(images)
    for channel, value in enumerate((1.0, 2.0, 0.0)):
        np.testing.assert_allclose(found[:, channel], value, atol=1e-6)


def test_normalisation_leaves_the_images_unchanged():
    images = pictures(2).transpose(0, 3, 1, 2).copy()
    before = images.copy()
    Normalisation(MEAN, STD)(images)
    np.testing.assert_array_equal(images, before)


# --- Crop and flip ---------------------------------------------------------------------------------------------------


def placements(image, cropped, padding):
    """(top, left, mirrored) of every window of a zero-padded image (H, W, 3) that a crop (3, H, W) is."""
    height, width = image.shape[:2]
    padded = np.zeros((height + 2 * padding, width + 2 * padding, 3), np.uint8)
    padded[padding : padding + height, padding : padding + width] = image
    found = []
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[top : top + height, left : left + width]
            for mirrored in (False, True):
                expected = window[:, ::-1] if mirrored else window
                if (expected.transpose(2, 0, 1) == cropped).all():
                    found.append((top, left, mirrored))
    return found


def test_no_padding_and_no_flip_only_put_channels_first():
    images = pictures(4)
    found = crop_and_flip(images, 0, False, generator(1))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, images.transpose(0, 3, 1, 2))


def test_every_crop_is_a_window_of_the_padded_image_and_all_windows_occur():
    padding, images = 2, pictures(600)
    crops = crop_and_flip(images, padding, True, generator(2))
    assert crops.shape == (600, 3, 6, 5)
    found = [placements(image, crop, padding) for image, crop in zip(images, crops)]
    assert [len(places) for places in found] == [1] * len(images)
    offsets = range(2 * padding + 1)
    every = {(top, left, mirrored) for top in offsets for left in offsets for mirrored in (False, True)}
    assert {places[0] for places in found} == every


def test_offsets_of_the_two_sides_are_even_and_independent():
    padding, count = 1, 4500
    images = np.zeros((count, 3, 3, 3), np.uint8)
    images[:, 1, 1] = 255  # where the centre ends up tells the offset
    crops = crop_and_flip(images, padding, False, generator(3))
    rows, columns = np.nonzero(crops[:, 0])[1:]
    counts = np.bincount(3 * rows + columns, minlength=9)
    deviation = np.sqrt(count * (1 / 9) * (8 / 9))
    assert (abs(counts - count / 9) < 4 * deviation).all()


def test_half_of_the_images_are_mirrored_exactly():
    images = pictures(2000)
    plain = images.transpose(0, 3, 1, 2)
    found = crop_and_flip(images, 0, True, generator(4))
    same = (found == plain).all(axis=(1, 2, 3))
    mirrored = (found == plain[..., ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)


def test_flips_are_drawn_and_not_by_position():
    image = pictures(1)
    flips = []
    for key in range(40):
        found = crop_and_flip(image.repeat(8, axis=0), 0, True, generator(12, key))
        flips.append((found != image.transpose(0, 3, 1, 2)).any(axis=(1, 2, 3)))
    shares = np.mean(flips, axis=0)
    assert (abs(shares - 0.5) < 4 * 0.5 / np.sqrt(40)).all()
    assert len({tuple(row) for row in np.array(flips).tolist()}) > 30


def test_flip_setting_changes_neither_the_crops_nor_the_draws_that_follow():
    images = pictures(64)
    with_flip, without = generator(5), generator(5)
    flipped = crop_and_flip(images, 2, True, with_flip)
    plain = crop_and_flip(images, 2, False, without)
    assert with_flip.random() == without.random()
    same = (flipped == plain).all(axis=(1, 2, 3))
    mirrored = (flipped == plain[..., ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert mirrored.any()


def test_crops_follow_the_key_of_the_generator():
    images = pictures(16)
    one = crop_and_flip(images, 2, True, generator(6, 1))
    np.testing.assert_array_equal(one, crop_and_flip(images, 2, True, generator(6, 1)))
    assert (one != crop_and_flip(images, 2, True, generator(6, 2))).any()


def test_crop_leaves_the_images_unchanged():
    images = pictures(16)
    before = images.copy()
    for padding in (0, 2):
        crop_and_flip(images, padding, True, generator(7))[:] = 0
        np.testing.assert_array_equal(images, before)


# --- Label smoothing and mixup ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothed_target_is_one_less_its_share_on_the_label(classes, smoothing):
    labels = np.array([0, classes - 1, 1, 1])
    targets = smooth_one_hot(labels, classes, smoothing)
    assert targets.dtype == np.float32
    expected = np.full((4, classes), smoothing / classes)
    expected[np.arange(4), labels] = 1 - smoothing + smoothing / classes
    np.testing.assert_allclose(targets, expected, atol=1e-7)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixup_adds_the_partner_of_the_reversed_batch(count, share):
    draw = np.random.default_rng(0)
    images = draw.normal(size=(count, 3, 4, 4)).astype(np.float32)
    targets = draw.dirichlet(np.ones(7), size=count).astype(np.float32)
    mixed, mixed_targets = mixup(images, targets, share)
    assert mixed.dtype == mixed_targets.dtype == np.float32
    for row in range(count):
        partner = count - 1 - row
        np.testing.assert_allclose(mixed[row], share * images[row] + (1 - share) * images[partner], atol=1e-6)
        np.testing.assert_allclose(mixed_targets[row], share * targets[row] + (1 - share) * targets[partner], atol=1e-6)
    np.testing.assert_allclose(mixed_targets.sum(axis=1), 1, atol=1e-6)


def test_middle_of_an_odd_batch_is_mixed_with_itself():
    images = pictures(5).transpose(0, 3, 1, 2).astype(np.float32)
    targets = smooth_one_hot(np.arange(5), 5, 0.0)
    mixed, mixed_targets = mixup(images, targets, 0.25)
    np.testing.assert_allclose(mixed[2], images[2], rtol=1e-6)
    np.testing.assert_allclose(mixed_targets[2], targets[2], atol=1e-7)


def test_mixup_leaves_its_inputs_unchanged():
    images, targets = np.ones((4, 3, 2, 2), np.float32), smooth_one_hot(np.arange(4), 4, 0.1)
    before = targets.copy()
    mixup(images, targets, 0.3)
    np.testing.assert_array_equal(images, 1)
    np.testing.assert_array_equal(targets, before)


# --- CutMix ----------------------------------------------------------------------------------------------------------


def coded(count, height=6, width=5):
    """Images whose every pixel is the image's number, and a target of each."""
    images = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 3, height, width), np.float32)
    return images, smooth_one_hot(np.arange(count), count, 0.0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_cutmix_is_one_box_of_the_reversed_batch_and_targets_follow_its_area(share):
    images, targets = coded(4, 20, 30)
    before = images.copy()
    for key in range(40):
        mixed, mixed_targets = cutmix(images, targets, share, generator(20, key))
        taken = mixed[0, 0] == 3
        for row, partner in enumerate((3, 2, 1, 0)):
            np.testing.assert_array_equal(mixed[row], np.where(taken, partner, row)[None].repeat(3, axis=0))
        rows, columns = np.flatnonzero(taken.any(axis=1)), np.flatnonzero(taken.any(axis=0))
        assert taken.sum() == len(rows) * len(columns)
        assert len(rows) <= int(20 * np.sqrt(1 - share))
        assert len(columns) <= int(30 * np.sqrt(1 - share))
        area = taken.mean()
        np.testing.assert_allclose(mixed_targets, (1 - area) * targets + area * targets[::-1], atol=1e-6)
        assert mixed_targets.dtype == mixed.dtype == np.float32
    np.testing.assert_array_equal(images, before)


def test_box_of_cutmix_has_its_share_of_the_sides_where_the_border_does_not_cut_it():
    images, targets = coded(2, 20, 30)
    sizes = set()
    for key in range(300):
        taken = cutmix(images, targets, 0.75, generator(21, key))[0][0, 0] == 1
        sizes.add((int(taken.any(axis=1).sum()), int(taken.any(axis=0).sum())))
    assert max(sizes) == (10, 15)
    assert min(height for height, _ in sizes) == 5
    assert min(width for _, width in sizes) in (7, 8)


def test_every_pixel_may_be_in_the_box_of_cutmix():
    images, targets = coded(2)
    taken = sum(cutmix(images, targets, 0.8, generator(22, key))[0][0, 0] for key in range(400))
    assert (taken > 0).all()
    assert (taken < 400).all()


def test_middle_image_of_an_odd_batch_is_its_own_partner():
    images, targets = coded(5)
    mixed, mixed_targets = cutmix(images, targets, 0.3, generator(23))
    np.testing.assert_array_equal(mixed[2], images[2])
    np.testing.assert_allclose(mixed_targets[2], targets[2], atol=1e-6)


def test_one_of_mixup_and_cutmix_is_drawn_a_batch():
    images, targets = coded(2, 16, 16)
    images = images + 1
    kinds = []
    for key in range(600):
        mixed, _ = mix(images, targets, 1.0, 1.0, generator(24, key))
        values = np.unique(mixed[0])
        kinds.append("cutmix" if set(values.tolist()) <= {1.0, 2.0} else "mixup")
        assert len(values) <= 2
    assert kinds.count("cutmix") / 600 == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(600))


def test_mix_without_the_other_is_the_one_and_without_both_nothing():
    images, targets = coded(4)
    draw = generator(25)
    found, expected = mix(images, targets, 0.3, 0, generator(25)), mixup(images, targets, draw.beta(0.3, 0.3))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    draw = generator(25)
    found, expected = mix(images, targets, 0, 0.3, generator(25)), cutmix(images, targets, draw.beta(0.3, 0.3), draw)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert mix(images, targets, 0, 0, generator(25))[0] is images


def test_cutmix_is_off_in_the_last_epochs_and_keeps_smoothing():
    augmentation = Augmentation(PLAIN, 8, mixup_epochs=2, smoothing=0.1, cutmix_alpha=1.0)
    plain = Augmentation(PLAIN, 8, smoothing=0.1)
    images, labels = pictures(8), np.arange(8)
    changed = []
    for epoch in range(4):
        inputs, targets = augmentation(images, labels, generator(26, epoch), epoch)
        expected, expected_targets = plain(images, labels, generator(26, epoch), epoch)
        share = (targets[0, 0] - 0.0125) / 0.9
        np.testing.assert_allclose(targets, share * expected_targets + (1 - share) * expected_targets[::-1], atol=1e-6)
        taken = inputs != expected
        np.testing.assert_array_equal(inputs[taken], expected[::-1][taken])
        changed.append(bool(taken.any()))
    assert changed == [True, True, False, False]


# --- The whole way ---------------------------------------------------------------------------------------------------


def shares_drawn(alpha, count):
    """λ of many batches, read off the targets of two labels."""
    augmentation = Augmentation(PLAIN, 2, mixup_alpha=alpha, mixup_epochs=1)
    images, labels = np.zeros((2, 1, 1, 3), np.uint8), np.array([0, 1])
    return np.sort([augmentation(images, labels, generator(0, k), 0)[1][0, 0] for k in range(count)])


def test_share_of_mixup_is_uniform_at_alpha_1():
    shares = shares_drawn(1.0, 800)
    steps = np.arange(1, 801) / 800
    largest_gap = max(abs(shares - steps).max(), abs(shares - steps + 1 / 800).max())
    assert largest_gap < 1.63 / np.sqrt(800)  # Kolmogorov-Smirnov at 1 %


def test_share_of_mixup_has_the_moments_of_a_symmetric_beta():
    for alpha in (0.2, 4.0):
        shares = shares_drawn(alpha, 600)
        assert abs(shares.mean() - 0.5) < 0.07
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("count", [6, 7])
def test_smoothing_and_mixup_act_alone_and_together(smoothing, alpha, count):
    """Label smoothing without mixup crashed the original."""
    augmentation = Augmentation(PLAIN, 10, mixup_alpha=alpha, mixup_epochs=3, smoothing=smoothing)
    images, labels = pictures(count), np.arange(count)
    inputs, targets = augmentation(images, labels, generator(8), 2)
    assert inputs.shape == (count, 3, 6, 5)
    assert inputs.dtype == targets.dtype == np.float32
    share = 1.0
    if alpha:
        share = float((targets[0, 0] - smoothing / 10) / (1 - smoothing))
        assert 0.001 < share < 0.999
    own = np.full((count, 10), smoothing / 10)
    own[np.arange(count), labels] += 1 - smoothing
    np.testing.assert_allclose(targets, share * own + (1 - share) * own[::-1], atol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    pixels = images.transpose(0, 3, 1, 2) / 255.0
    np.testing.assert_allclose(inputs, share * pixels + (1 - share) * pixels[::-1], atol=1e-6)


def test_mixup_is_off_in_the_last_epochs_and_changes_no_crop():
    options = {"crop_padding": 2, "flip": True, "smoothing": 0.1}
    mixing = Augmentation(Normalisation(MEAN, STD), 8, mixup_alpha=1.0, mixup_epochs=3, **options)
    plain = Augmentation(Normalisation(MEAN, STD), 8, **options)
    images, labels = pictures(8), np.arange(8)
    for epoch in range(6):
        inputs, targets = mixing(images, labels, generator(9, epoch), epoch)
        expected, expected_targets = plain(images, labels, generator(9, epoch), epoch)
        if epoch < 3:
            share = (targets[0, 0] - targets[0, 1]) / 0.9
            np.testing.assert_allclose(inputs, share * expected + (1 - share) * expected[::-1], atol=1e-4)
            assert abs(inputs - expected).max() > 0.01
        else:
            np.testing.assert_array_equal(inputs, expected)
            np.testing.assert_array_equal(targets, expected_targets)


def test_policy_acts_before_the_crop():
    always_invert = ((("Invert", 1.0, 0), ("Invert", 0.0, 0)),)
    images = np.zeros((40, 3, 3, 3), np.uint8)
    inverted, _ = Augmentation(PLAIN, 2, crop_padding=1, policy=always_invert)(
        images, np.zeros(40, np.int64), generator(10), 0
    )
    assert set(np.unique(inverted)) == {0.0, 1.0}  # white pictures, and the black of the padding
    placed = Augmentation(PLAIN, 2, crop_padding=0, policy=always_invert)(
        images, np.zeros(40, np.int64), generator(10), 0
    )[0]
    np.testing.assert_array_equal(placed, 1.0)


def test_same_key_gives_the_same_batch_to_the_bit():
    from fusion.data.augment import POLICIES

    augmentation = Augmentation(
        Normalisation(MEAN, STD),
        classes=16,
        crop_padding=2,
        flip=True,
        policy=POLICIES["cifar10"],
        mixup_alpha=1.0,
        mixup_epochs=1,
        smoothing=0.1,
    )
    images, labels = pictures(16, 8, 8), np.arange(16)
    before = images.copy()
    inputs, targets = augmentation(images, labels, generator(11, 1), 0)
    again, again_targets = augmentation(images, labels, generator(11, 1), 0)
    np.testing.assert_array_equal(inputs, again)
    np.testing.assert_array_equal(targets, again_targets)
    np.testing.assert_array_equal(images, before)
    other, _ = augmentation(images, labels, generator(11, 2), 0)
    assert (inputs != other).any()
